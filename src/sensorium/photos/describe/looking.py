"""One looking process: decodes a photo once and lets every pass that is due look at it.

It speaks the frames of ``intake.worker`` with ``passes``, which started it, and ends when that one does. What
a pass needs (a network, a reader of text) is opened at its first photo. Originals are only read.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

from sensorium.errors import BadImageError, SensoriumError
from sensorium.media.formats import open_file
from sensorium.media.image import decode, open_image
from sensorium.photos.files.stamps import Stamp
from sensorium.photos.intake.worker import receive, send

if TYPE_CHECKING:
    from PIL import Image


@dataclass(frozen=True, slots=True)
class Look:
    """What a pass is given: an upright RGB picture, perhaps decoded smaller than the original.

    ``width`` and ``height`` are those of the original, upright.
    """

    path: str
    image: Image.Image
    width: int
    height: int


class Looking(Protocol):
    """The part of a pass that a looking process knows."""

    side: int

    def opened(self) -> Callable[[Look], object]:
        """What is called for each photo."""


@dataclass(frozen=True, slots=True)
class Task:
    """A photo (id) to look at, as it was indexed, with the names of the passes that want it."""

    photo: int
    path: str
    stamp: Stamp
    size: tuple[int, int]
    passes: tuple[str, ...]
    video: bool = False

    def each(self) -> list[Task]:
        """The same photo for each pass alone."""
        return [replace(self, passes=(name,)) for name in self.passes]


@dataclass(frozen=True, slots=True)
class Answer:
    """What passes found, or their reasons why not, by name.

    ``waiting`` is set instead when nothing can be said now: a fault of disk or rights, or the file is no
    longer the one that was indexed. ``unready`` says the same of single passes, whose networks cannot be
    opened. ``given_up`` marks the death of the process.
    """

    task: Task
    found: Mapping[str, object] = field(default_factory=dict)
    reasons: Mapping[str, str] = field(default_factory=dict)
    waiting: str | None = None
    unready: Mapping[str, str] = field(default_factory=dict)
    given_up: bool = False


class Eyes:
    """The passes of one process by name, opened when first needed."""

    def __init__(self, passes: Mapping[str, Looking]) -> None:
        self._passes = passes
        self._opened: dict[str, Callable[[Look], object]] = {}
        self._unready: dict[str, str] = {}  # passes that cannot be opened, and why

    def look(self, task: Task) -> Answer:
        """Never raises for what a file holds."""
        try:
            with open_file(task.path) as file:
                if _stamp(file.fileno()) != task.stamp:
                    return Answer(task, waiting="it changed since it was indexed: run `sensorium index`")
                image = _picture(file, task, max(self._passes[name].side for name in task.passes))
        except BadImageError as error:
            return Answer(task, reasons=dict.fromkeys(task.passes, str(error)))
        except MemoryError:
            return Answer(task, reasons=dict.fromkeys(task.passes, "not enough memory to decode it"))
        except OSError as error:
            return Answer(task, waiting=f"cannot be read: {(error.strerror or str(error)).lower()}")
        found: dict[str, object] = {}
        reasons: dict[str, str] = {}
        for name in task.passes:
            self._open(name)
            if name in self._unready:
                continue
            try:
                found[name] = self._opened[name](Look(task.path, image, *task.size))
            except BadImageError as error:
                reasons[name] = str(error)
            except MemoryError:
                reasons[name] = "not enough memory to describe it"
        return Answer(task, found, reasons, unready=dict(self._unready))

    def _open(self, name: str) -> None:
        if name in self._opened or name in self._unready:
            return
        try:
            self._opened[name] = self._passes[name].opened()
        except SensoriumError as error:
            self._unready[name] = str(error)


def _picture(file: BinaryIO, task: Task, side: int) -> Image.Image:
    """The photo upright, its shortest side at least ``side`` pixels where it has so many; a film's poster."""
    if task.video:
        from sensorium.media.video import read_poster

        return read_poster(file)
    with open_image(file) as opened:
        return decode(opened, smallest=side)


def _stamp(descriptor: int) -> Stamp:
    status = os.fstat(descriptor)
    return Stamp(status.st_size, status.st_mtime_ns)


def single_threaded() -> None:
    """Let OpenCV compute in the calling thread: there is one looking process for each processor."""
    import cv2

    cv2.setNumThreads(1)
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # what it says is for developers


def main() -> None:
    """Serve until the input ends. The first frame is the setup, each other one a Task."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the one who started us decides when to stop
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # decoders written in C print at times
    questions: Any = sys.stdin.buffer
    try:
        eyes = Eyes(receive(questions))
        while True:
            send(answers, eyes.look(receive(questions)))
    except (EOFError, BrokenPipeError):
        return


if __name__ == "__main__":
    main()

"""One reading process: takes the path of a file, gives back its pixels and facts, and again.

It imports the decoders and nothing else, so that it stays small and a crash in a decoder costs one
process. It speaks pickled frames over its standard input and output with the process that started it
(``pool.py``) and ends when that one does. Originals are opened for reading only.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import signal
import struct
import sys
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from sensorium.errors import BadImageError
from sensorium.media.image import ImageSpec, decode, fit_image, open_image
from sensorium.photos.describe import Facts, describe, stored_orientation
from sensorium.photos.names import join
from sensorium.photos.scan import Stamp

_HEADER = struct.Struct("<Q")


@dataclass(frozen=True, slots=True)
class Task:
    """A file to read. When its content is one of ``known`` (SHA-256) nobody needs its pixels."""

    root: str
    path: str
    stamp: Stamp
    known: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Reading:
    """What came of a task: facts and pixels (uint8 [height, width, 3]), or the reason why not.

    ``stamp`` is of the bytes that were read. ``passing`` marks a fault of disk or rights rather than
    of the file: worth trying again although the file is the same.
    """

    task: Task
    stamp: Stamp
    sha256: bytes | None = None
    facts: Facts | None = None
    pixels: NDArray[np.uint8] | None = None
    reason: str | None = None
    passing: bool = False


def read(task: Task, spec: ImageSpec) -> Reading:
    """Read, hash, decode, turn upright, fit and describe one file. Never raises for what a file holds."""
    stamp = task.stamp
    try:
        with open(join(task.root, task.path), "rb") as file:  # noqa: PTH123 - the name may be any bytes
            stamp = _stamp(file)
            digest = hashlib.file_digest(file, "sha256").digest()
            facts, pixels = _look(file, task, None if digest in task.known else spec)
            if _stamp(file) != stamp:
                return Reading(task, stamp, reason="it was being written while it was read", passing=True)
    except BadImageError as error:
        return Reading(task, stamp, reason=str(error))
    except MemoryError:
        return Reading(task, stamp, reason="not enough memory to decode it")
    except OSError as error:
        return Reading(
            task, stamp, reason=f"cannot be read: {(error.strerror or str(error)).lower()}", passing=True
        )
    return Reading(task, stamp, digest, facts, pixels)


def _look(file: BinaryIO, task: Task, spec: ImageSpec | None) -> tuple[Facts, NDArray[np.uint8] | None]:
    pixels = None
    with open_image(file) as image:
        size, name = image.size, PurePosixPath(task.path).name
        # PNG keeps its EXIF behind the pixels: asking now would decode it before its size is checked.
        turned = None if image.format == "PNG" else stored_orientation(image)
        if spec is not None:
            pixels = fit_image(decode(image, smallest=spec.decode_side), spec)
        turned = stored_orientation(image) if turned is None else turned
        return describe(image, size=size, orientation=turned, name=name), pixels


def _stamp(file: BinaryIO) -> Stamp:
    status = os.fstat(file.fileno())
    return Stamp(status.st_size, status.st_mtime_ns)


def send(stream: BinaryIO, message: object) -> None:
    """Write one frame: its length, then the pickled message."""
    body = pickle.dumps(message, protocol=5)
    stream.write(_HEADER.pack(len(body)))
    stream.write(body)
    stream.flush()


def receive(stream: BinaryIO) -> Any:
    """Read one frame. Raises EOFError when the other side has ended."""
    header = stream.read(_HEADER.size)
    if len(header) < _HEADER.size:
        raise EOFError
    (length,) = _HEADER.unpack(header)
    body = stream.read(length)
    if len(body) < length:
        raise EOFError
    return pickle.loads(body)  # noqa: S301 - from the process that started this one, or that this one started


def main() -> None:
    """Serve until the input ends. The first frame is the ImageSpec, each other one a Task."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the one who started us decides when to stop
    # Decoders written in C print to standard output at times; the frames get a pipe of their own.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    questions = sys.stdin.buffer
    try:
        spec = receive(questions)
        while True:
            send(answers, read(receive(questions), spec))
    except (EOFError, BrokenPipeError):
        return


if __name__ == "__main__":
    main()

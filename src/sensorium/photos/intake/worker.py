"""One reading process: takes the path of a file, gives back its pixels and facts, and again.

It imports the decoders and nothing else, so that it stays small and a crash in a decoder costs one
process. It speaks pickled frames over its standard input and output with the process that started it
(``pool.py``) and ends when that one does. Originals are opened for reading only.
"""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import signal
import struct
import sys
import time
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any, BinaryIO, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from sensorium.errors import BadImageError
from sensorium.media.formats import open_file
from sensorium.media.image import ImageSpec, decode, fit_image, open_image
from sensorium.media.video import MOST_LOOKS, is_video, read_video
from sensorium.photos.describe.facts import Facts
from sensorium.photos.describe.picture import describe, stored_orientation
from sensorium.photos.describe.sidecars import MOST_BYTES, with_sidecar
from sensorium.photos.describe.video import describe_film
from sensorium.photos.duplicates.hashing import hash_of
from sensorium.photos.files.companions import Companion, sidecars
from sensorium.photos.files.names import join
from sensorium.photos.files.stamps import Stamp, inode_of

_HEADER = struct.Struct("<Q")


@dataclass(frozen=True, slots=True)
class Task:
    """A file to read. When its content is one of ``known`` (SHA-256) nobody needs its pixels.

    ``content`` is given for a file that is as it was and only to be described again: neither its pixels
    nor its hash are wanted. ``companions`` belong to it; sidecars among them are read as well.
    """

    root: str
    path: str
    stamp: Stamp
    known: tuple[bytes, ...] = ()
    companions: tuple[Companion, ...] = ()
    content: bytes | None = None


@dataclass(frozen=True, slots=True)
class Reading:
    """What came of a task: facts and pixels (uint8 [height, width, 3]), or the reason why not.

    ``stamp`` is of the bytes that were read. ``passing`` marks a fault of disk or rights rather than
    of the file: worth trying again although the file is the same. ``seconds`` went by, and the
    processor worked for ``processor`` of them. ``perceptual_hash`` is that of `duplicates.hashing`. A
    video has ``frames`` (uint8 [n, height, width, 3]) of ``moments`` (seconds); its pixels are those of one.
    """

    task: Task
    stamp: Stamp
    sha256: bytes | None = None
    facts: Facts | None = None
    pixels: NDArray[np.uint8] | None = None
    reason: str | None = None
    passing: bool = False
    inode: int | None = None
    seconds: float = 0.0
    processor: float = 0.0
    perceptual_hash: bytes | None = None
    frames: NDArray[np.uint8] | None = None
    moments: tuple[float, ...] = ()


def read(task: Task, spec: ImageSpec) -> Reading:
    """Read, hash, decode, turn upright, fit and describe one file. Never raises for what a file holds."""
    stamp = task.stamp
    try:
        with open_file(join(task.root, task.path)) as file:
            status = os.fstat(file.fileno())
            stamp = Stamp(status.st_size, status.st_mtime_ns)
            as_before = task.content if stamp == task.stamp else None
            digest = as_before or _digest(file)
            wanted = as_before is None and digest not in task.known
            seen = _look(file, task, spec if wanted else None)
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
    return Reading(
        task,
        stamp,
        digest,
        seen.facts,
        seen.pixels,
        inode=inode_of(status),
        perceptual_hash=seen.perceptual_hash,
        frames=seen.frames,
        moments=seen.moments,
    )


class _Seen(NamedTuple):
    """What a look at a file gave, in the terms of `Reading`."""

    facts: Facts
    pixels: NDArray[np.uint8] | None = None
    perceptual_hash: bytes | None = None
    frames: NDArray[np.uint8] | None = None
    moments: tuple[float, ...] = ()


def _look(file: BinaryIO, task: Task, spec: ImageSpec | None) -> _Seen:
    name = PurePosixPath(task.path).name
    seen = _film(file, spec, name) if is_video(file) else _picture(file, spec, name)
    facts = seen.facts
    for sidecar in sidecars(task.companions):
        content = _sidecar(join(task.root, sidecar.path))
        if content is not None:
            facts = with_sidecar(facts, content, PurePosixPath(sidecar.path).name)
    return seen._replace(facts=facts)


def _picture(file: BinaryIO, spec: ImageSpec | None, name: str) -> _Seen:
    pixels = mark = None
    with open_image(file) as image:
        size = image.size
        # PNG keeps its EXIF behind the pixels: asking now would decode it before its size is checked.
        turned = None if image.format == "PNG" else stored_orientation(image)
        if spec is not None:
            decoded = decode(image, smallest=spec.decode_side)
            pixels, mark = fit_image(decoded, spec), hash_of(decoded)
        turned = stored_orientation(image) if turned is None else turned
        return _Seen(describe(image, size=size, orientation=turned, name=name), pixels, mark)


def _film(file: BinaryIO, spec: ImageSpec | None, name: str) -> _Seen:
    if spec is None:
        return _Seen(describe_film(read_video(file, side=1, looks=1), name))
    film = read_video(file, side=spec.decode_side, looks=MOST_LOOKS)
    frames = np.stack([fit_image(frame.image, spec) for frame in film.frames])
    poster = film.frames[film.poster].image
    moments = tuple(frame.at for frame in film.frames)
    return _Seen(describe_film(film, name), frames[film.poster], hash_of(poster), frames, moments)


def _sidecar(path: str) -> bytes | None:
    """The content of a sidecar; None when it cannot be read: the photo counts, not what is said of it."""
    try:
        with open_file(path) as file:
            return file.read(MOST_BYTES + 1)
    except (OSError, BadImageError):
        return None


def _digest(file: BinaryIO) -> bytes:
    return hashlib.file_digest(cast("io.BufferedReader", file), "sha256").digest()


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
            task = receive(questions)
            start, worked = time.perf_counter(), time.process_time()
            reading = read(task, spec)
            seconds, processor = time.perf_counter() - start, time.process_time() - worked
            send(answers, replace(reading, seconds=seconds, processor=processor))
    except (EOFError, BrokenPipeError):
        return


if __name__ == "__main__":
    main()

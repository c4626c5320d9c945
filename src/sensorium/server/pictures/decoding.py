"""What the decoding processes of the server do: pictures of originals and uploads, small and harmless.

Whatever a hostile file does to a decoder, it does it here and not to the server: a crash, or a picture that
takes for ever, costs one process (see ``decoders``). Nothing but decoders is imported. Originals are opened
for reading only.
"""

from __future__ import annotations

import io
import os
import signal
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sensorium.errors import SensoriumError
from sensorium.media.image import ImageSpec, decode, extent, fit_image, open_image
from sensorium.photos.files.originals import Original, open_original
from sensorium.photos.intake.worker import receive, send

BOUNDS: dict[int, tuple[int, int]] = {240: (720, 240), 720: (2160, 720), 1600: (1600, 1600)}
"""Widest and highest of each size of thumbnail, in pixels. The rows of a grid are bounded by their height."""

TOLD = (SensoriumError, OSError, MemoryError)
"""What a picture or a disk can be at fault for; anything else ends the process, with its traceback."""

_NICE = 5  # a search that is under way comes before the pictures beside it
FACE = 160  # pixels of a face's thumbnail, either way
_AROUND = 0.35  # of a face's own size that is shown around it
_QUALITY = {240: 78, 720: 80, 1600: 82}
_EFFORT = {240: 4, 720: 3, 1600: 2}  # WebP's method: large ones are asked for one at a time and waited for


@dataclass(frozen=True, slots=True)
class Drawn:
    """A thumbnail: WebP ``content``, and the bytes that were added to the cache."""

    content: bytes
    stored: int


@dataclass(frozen=True, slots=True)
class Uploaded:
    """A picture from outside as a network takes it, uint8 [height, width, 3], and small to be shown, WebP."""

    pixels: NDArray[np.uint8]
    shown: bytes


def draw(original: Original, size: int, places: dict[int, Path]) -> Drawn:
    """The thumbnail of an original, and its file with those of smaller sizes that are not there yet.

    Where a file cannot be written (a full disk) the thumbnail is given all the same.

    Raises:
        OriginalError: The original cannot be opened.
        BadImageError: It is no whole picture.
    """
    with open_original(original) as file:
        picture = _picture(file, original, size)
        content, stored = b"", 0
        for wanted in sorted((other for other in places if other <= size), reverse=True):
            if wanted != size and places[wanted].exists():
                continue
            picture = _within(picture, BOUNDS[wanted])
            webp = _webp(picture, wanted)
            stored += _keep(places[wanted], webp)
            content = content or webp
    return Drawn(content, stored)


def draw_face(original: Original, box: tuple[float, float, float, float], place: Path) -> Drawn:
    """A square thumbnail of a face: ``box`` is left, top, right, bottom as shares of the upright picture.

    Raises OriginalError and BadImageError as ``draw``.
    """
    left, top, right, bottom = box
    share = max(min(right - left, bottom - top), 0.01)
    with open_original(original) as file:
        smallest = min(round(FACE / share), 1 << 16)
        picture = _read(file, original, smallest)
        width, height = picture.size
        side = max((right - left) * width, (bottom - top) * height) * (1 + 2 * _AROUND)
        side = max(1.0, min(side, width, height))
        x = min(max((left + right) / 2 * width - side / 2, 0.0), width - side)
        y = min(max((top + bottom) / 2 * height - side / 2, 0.0), height - side)
        pixels = max(1, min(FACE, round(side)))
        square = (x, y, x + side, y + side)
        face = picture.resize((pixels, pixels), Image.Resampling.BICUBIC, box=square)
        webp = _webp(face, 720)
    return Drawn(webp, _keep(place, webp))


def take_upload(content: bytes, spec: ImageSpec) -> Uploaded:
    """A picture that was sent here, ready for a network. Raises BadImageError."""
    with open_image(io.BytesIO(content)) as image:
        picture = decode(image, smallest=max(spec.decode_side, BOUNDS[240][1]))
        return Uploaded(fit_image(picture, spec), _webp(_within(picture, BOUNDS[240]), 240))


def _picture(file: BinaryIO, original: Original, size: int) -> Image.Image:
    """The picture, decoded no larger than a thumbnail of this size needs."""
    scale = _scale((original.width, original.height), BOUNDS[size])
    return _read(file, original, max(1, round(min(original.width, original.height) * scale)))


def _read(file: BinaryIO, original: Original, smallest: int) -> Image.Image:
    if original.kind == "video":
        from sensorium.media.video import read_poster

        return read_poster(file)
    with open_image(file) as image:
        return decode(image, smallest=smallest)


def _scale(size: tuple[int, int], bounds: tuple[int, int]) -> float:
    return min(1.0, bounds[0] / max(size[0], 1), bounds[1] / max(size[1], 1))


def _within(picture: Image.Image, bounds: tuple[int, int]) -> Image.Image:
    """The picture made as small as the bounds ask for, never larger."""
    left, top, right, bottom = box = extent(picture)
    width, height = right - left, bottom - top
    scale = min(1.0, bounds[0] / width, bounds[1] / height)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    if size == picture.size:
        return picture
    return picture.resize(size, Image.Resampling.BICUBIC, box=box, reducing_gap=2.0)


def _webp(picture: Image.Image, size: int) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "WEBP", quality=_QUALITY[size], method=_EFFORT[size])
    return buffer.getvalue()


def _keep(place: Path, content: bytes) -> int:
    """Write a file beside its place and move it there; how many bytes were added."""
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        descriptor, beside = tempfile.mkstemp(prefix=".", dir=place.parent)
    except OSError:
        return 0
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        Path(beside).replace(place)
    except OSError:
        Path(beside).unlink(missing_ok=True)
        return 0
    return len(content)


def main() -> None:
    """Serve until the input ends: frames of a function and its arguments, each answered by what it gives."""
    if hasattr(os, "nice"):
        os.nice(_NICE)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the server, which then ends this process
    # Decoders written in C print to standard output at times; the frames get a pipe of their own.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    try:
        receive(sys.stdin.buffer)  # what every reading process is told first; nothing here
        while True:
            work, arguments = receive(sys.stdin.buffer)
            try:
                answer = (True, work(*arguments))
            except TOLD as error:
                answer = (False, error)
            send(answers, answer)
    except (EOFError, BrokenPipeError):
        return


if __name__ == "__main__":
    main()

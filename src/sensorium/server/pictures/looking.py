"""What the decoding processes do for asking: a photo or a film as the model that answers is shown it.

As in ``decoding``, whatever a hostile file does to a decoder costs one process. Originals are opened for
reading only.
"""

from __future__ import annotations

from dataclasses import dataclass

from sensorium.media.image import decode, extent, open_image
from sensorium.media.video import sample
from sensorium.photos.files.names import printable
from sensorium.photos.files.originals import Original, open_original
from sensorium.skills.answer.shown import FRAMES, Film, Picture

SIDE = 4096
"""Longest side of a picture that is shown, in pixels: a photo of 12 megapixels stays as it is."""

_FRAME_SIDE = 768  # pixels on a frame's shortest side


@dataclass(frozen=True, slots=True)
class Opened:
    """What is shown, and the width and height of the upright original in pixels."""

    shown: Picture | Film
    size: tuple[int, int]


def look(original: Original) -> Opened:
    """A photo upright, at most ``SIDE`` pixels on its longer side, or a film by evenly spaced frames.

    Raises OriginalError when the file cannot be opened, BadImageError when it is no whole picture or film.
    """
    return _film(original) if original.kind == "video" else _picture(original)


def _picture(original: Original) -> Opened:
    scale = min(1.0, SIDE / max(original.width, original.height, 1))
    with open_original(original) as file, open_image(file) as image:
        picture = decode(image, smallest=max(1, round(min(original.width, original.height) * scale)))
    left, top, right, bottom = box = extent(picture)
    whole = round(right - left), round(bottom - top)
    scale = min(1.0, SIDE / max(whole))
    size = max(1, round(whole[0] * scale)), max(1, round(whole[1] * scale))
    if size != picture.size:
        from PIL import Image

        picture = picture.resize(size, Image.Resampling.BICUBIC, box=box, reducing_gap=2.0)
    name = printable(original.name)
    key = f"{original.sha256.hex()} {size[0]} {size[1]}"
    return Opened(Picture(name, *size, key, picture.convert("RGB")), (original.width, original.height))


def _film(original: Original) -> Opened:
    name, key = printable(original.name), original.sha256.hex()
    with open_original(original) as file:
        found = sample(file, FRAMES, side=_FRAME_SIDE)
    frames = tuple(Picture.of(frame.image, f"{name} at {frame.at:.1f} s") for frame in found.frames)
    times = tuple(frame.at for frame in found.frames)
    film = Film(name, found.width, found.height, key, found.duration, frames, times)
    return Opened(film, (original.width, original.height))

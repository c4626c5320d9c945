"""What the decoding processes do for cutting: a photo as the network looks at it, and the finished cut-out.

As in ``decoding``, whatever a hostile file does to a decoder costs one process. Originals are opened for
reading only; what is cut out is a new picture without metadata.
"""

from __future__ import annotations

import io
import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sensorium.errors import SensoriumError
from sensorium.media.image import decode, extent, open_image
from sensorium.photos.files.originals import Original, open_original
from sensorium.photos.files.stamps import Stamp

if TYPE_CHECKING:
    from sensorium.skills.segment.masks import Geometry

_EFFORT = 2  # zlib's level: a person waits, and the file may be of 50 megapixels


class ChangedError(SensoriumError):
    """The file is another one than when it was looked at, so that a mask does not belong to it any more."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A photo made small, upright: uint8 [height, width, 3], and what its file was then."""

    pixels: NDArray[np.uint8]
    stamp: Stamp


@dataclass(frozen=True, slots=True)
class Shape:
    """What is cut out: logits float32 [grid, grid], above 0 inside, and how they lie over a picture."""

    geometry: Geometry
    logits: NDArray[np.float32]


def see(original: Original, side: int) -> Seen:
    """A photo whose longer side is ``side`` pixels, or its own size where that is smaller.

    Raises OriginalError when the file cannot be opened, BadImageError when it is no whole picture.
    """
    scale = min(1.0, side / max(original.width, original.height, 1))
    with open_original(original) as file:
        stamp = _stamp(file)
        with open_image(file) as image:
            picture = decode(image, smallest=max(1, round(min(original.width, original.height) * scale)))
    left, top, right, bottom = box = extent(picture)
    scale = min(1.0, side / max(right - left, bottom - top))
    size = max(1, round((right - left) * scale)), max(1, round((bottom - top) * scale))
    if size != picture.size:
        picture = picture.resize(size, Image.Resampling.BICUBIC, box=box, reducing_gap=2.0)
    return Seen(np.asarray(picture), stamp)


def cut_out(original: Original, stamp: Stamp, shape: Shape, cropped: bool) -> bytes:
    """A cut-out of the original at its full size: PNG with alpha, that of the file's own included.

    ``stamp`` is that of the file when the mask was made; ``cropped`` leaves only the thing and a pixel around
    it. Raises OriginalError and BadImageError as ``see``, and ChangedError.
    """
    from sensorium.skills.segment import pictures
    from sensorium.skills.segment.masks import mask_of

    with open_original(original) as file:
        if _stamp(file) != stamp:
            raise ChangedError("the photo was changed after it was looked at: open it again")
        picture = pictures.read(file).rgba
    geometry = replace(shape.geometry, size=picture.size)
    mask = mask_of(geometry.spread(shape.logits) > 0, 0.0, 0.0, (geometry, shape.logits))
    result = mask.cut_out(picture, cropped=cropped)
    # What is left out must not travel along unseen below the transparency.
    pixels = np.array(result)
    pixels[pixels[..., 3] == 0] = 0
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=_EFFORT)
    return buffer.getvalue()


def _stamp(file: BinaryIO) -> Stamp:
    status = os.fstat(file.fileno())
    return Stamp(status.st_size, status.st_mtime_ns)

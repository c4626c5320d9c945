"""From a picture to what a network takes, and back: resize, crop, normalise, and the inverse for coordinates.

The arithmetic is Pillow's on 8-bit pixels, because that is what the public checkpoints were trained
behind: a resize of float tensors without antialiasing moves CLIP's embedding to a cosine of about 0.94.
Every rounding here (truncated long side, floored crop offset) is part of that contract, so that the
pixels equal those of the reference's Pillow processors one for one.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from sensorium.media.decode import decode, default_pixel_limit, extent, open_image, read_image, to_rgb
from sensorium.media.formats import PHOTO_EXTENSIONS, RAW_EXTENSIONS, open_file, sniff

__all__ = [
    "PHOTO_EXTENSIONS",
    "PREPARATION_VERSION",
    "RAW_EXTENSIONS",
    "ImageSpec",
    "Prepared",
    "decode",
    "default_pixel_limit",
    "extent",
    "fit_image",
    "normalize",
    "open_file",
    "open_image",
    "prepare",
    "read_image",
    "sniff",
    "to_rgb",
]

Resample = Literal["nearest", "bilinear", "bicubic", "lanczos", "box", "hamming"]
Fit = Literal["crop", "squash", "longest"]

PREPARATION_VERSION = 2
"""Part of the identity of an embedding: raised whenever the same file would give other pixels."""

_LONGEST = 16
# Of pictures that the resize would make longer than this many times the crop, only that part is resized.


@dataclass(frozen=True)
class ImageSpec:
    """The preparation that travels with a checkpoint.

    ``crop`` brings the shortest side to ``resize`` and cuts ``height`` x ``width`` from the middle;
    ``squash`` brings both sides to ``height`` x ``width`` at once, whatever that does to proportions;
    ``longest`` brings the longest side to ``resize`` and fills up to ``height`` x ``width`` at the right and
    the bottom, with what is zero after normalising.
    """

    height: int
    """Rows that the network takes."""
    width: int
    """Columns that the network takes."""
    fit: Fit
    resize: int
    """Shortest side before the crop; longest side where that is meant; ``height`` when squashed."""
    resample: Resample
    mean: tuple[float, float, float]
    """Subtracted from values in [0,1], per channel."""
    std: tuple[float, float, float]
    """Divided by, per channel."""

    def __post_init__(self) -> None:
        """Refuse values that no picture could be prepared with.

        Raises:
            ValueError: Names the field.
        """
        if min(self.height, self.width, self.resize) < 1:
            raise ValueError(f"height, width and resize must be positive: {self}")
        if self.fit not in get_args(Fit) or self.resample not in get_args(Resample):
            raise ValueError(
                f"fit must be one of {get_args(Fit)}, resample one of {get_args(Resample)}: {self}"
            )
        if self.fit == "longest" and self.resize > min(self.height, self.width):
            raise ValueError(f"resize must fit into height and width: {self}")
        if len(self.mean) != 3 or len(self.std) != 3 or not all(value > 0 for value in self.std):
            raise ValueError(f"mean and std need three values, std above zero: {self}")

    @property
    def decode_side(self) -> int:
        """The ``smallest`` to hand to `read_image`: one and a half times what the resize wants.

        JPEG's own reduction is close to a box filter, so some pixels must be left for the proper one. Cosines
        to a full decode, mini-clip over 50 photos of over a megapixel: mean 0.9993, least 0.995; at the side
        itself 0.998 and 0.982, at twice the side 0.9994 and 0.992. Photos of 12 megapixels are then read at
        1/8 for 224 pixels, which takes three quarters of the time of 1/4.
        """
        if self.fit == "longest":  # here outlines count, and a very long picture has a very short side
            return 2 * self.resize
        return 3 * (self.resize if self.fit == "crop" else max(self.height, self.width)) // 2


class Placement(NamedTuple):
    """Where a picture lies in the prepared one: resized size, then offset of the crop; all in pixels."""

    width: int
    height: int
    left: int
    top: int


@dataclass(frozen=True)
class Prepared:
    """A picture as the network takes it, and the way back.

    ``pixels`` is float32 [3, height, width], normalised. A point (x, y) of the original lies at
    ``point * scale - offset`` in it; both are pairs (x, y) and pixel i covers [i, i + 1).
    """

    pixels: NDArray[np.float32]
    scale: tuple[float, float]
    offset: tuple[float, float]

    def to_original(self, coordinates: ArrayLike) -> NDArray[np.float64]:
        """Points [n, 2] as (x, y), or boxes [n, 4] as (x0, y0, x1, y1), in pixels of the original."""
        values, pair = _pairs(coordinates)
        original: NDArray[np.float64] = (values + np.tile(self.offset, pair)) / np.tile(self.scale, pair)
        return original

    def from_original(self, coordinates: ArrayLike) -> NDArray[np.float64]:
        """The inverse of `to_original`: pixels of the original to pixels of the network's input."""
        values, pair = _pairs(coordinates)
        prepared: NDArray[np.float64] = values * np.tile(self.scale, pair) - np.tile(self.offset, pair)
        return prepared


def placement(width: float, height: float, spec: ImageSpec) -> Placement:
    """Where a picture of ``width`` x ``height`` ends up. Negative offsets: it is smaller than the crop."""
    if spec.fit == "squash":
        return Placement(spec.width, spec.height, 0, 0)
    if spec.fit == "longest":
        scale = spec.resize / max(width, height)
        return Placement(max(1, int(width * scale + 0.5)), max(1, int(height * scale + 0.5)), 0, 0)
    # Truncated and not rounded, in this order of operations: as the checkpoints' own processors do it.
    if width <= height:
        new_width, new_height = spec.resize, int(spec.resize * height / width)
    else:
        new_width, new_height = int(spec.resize * width / height), spec.resize
    return Placement(new_width, new_height, (new_width - spec.width) // 2, (new_height - spec.height) // 2)


def fit_image(image: Image.Image, spec: ImageSpec) -> NDArray[np.uint8]:
    """Resize and crop to what the network takes, still bytes: uint8 [height, width, 3].

    Equal pixel for pixel to the reference's Pillow processors. A side that the crop exceeds is filled with
    black around the picture, as there; so is the rest of a ``longest`` one.
    """
    image = to_rgb(image)
    box = extent(image)
    place = placement(box[2] - box[0], box[3] - box[1], spec)
    if max(place.width, place.height) > _LONGEST * max(spec.height, spec.width, spec.resize):
        image, place = _resize_kept_part(image, box, place, spec)
    else:
        image = image.resize((place.width, place.height), _resampling(spec.resample), box=box)
    pixels = np.asarray(image)
    if spec.fit == "crop":
        pixels = _centre_crop(pixels, place, spec)
    if spec.fit == "longest":
        pixels = np.pad(pixels, ((0, spec.height - place.height), (0, spec.width - place.width), (0, 0)))
    return np.ascontiguousarray(pixels)


def normalize(pixels: NDArray[np.uint8], spec: ImageSpec) -> NDArray[np.float32]:
    """Bytes to what the network takes: uint8 [b, h, w, 3] to float32 [b, 3, h, w], (x / 255 - mean) / std."""
    if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[3] != 3:
        raise ValueError(f"pixels must be uint8 [batch, height, width, 3], got {pixels.dtype} {pixels.shape}")
    batch, height, width, _ = pixels.shape
    values = np.empty((batch, 3, height, width), np.float32)
    for channel, table in enumerate(normalised_bytes(spec.mean, spec.std)):
        np.take(table, pixels[..., channel], out=values[:, channel], mode="clip")
    return values


def prepare(image: Image.Image, spec: ImageSpec, *, original: tuple[int, int] | None = None) -> Prepared:
    """Prepare one picture and remember where everything came from.

    Args:
        image: An upright picture, as `read_image` returns it.
        spec: The checkpoint's preparation.
        original: Upright (width, height) of the file when ``image`` was decoded at reduced size, so that
            `Prepared.to_original` answers in the file's pixels.
    """
    left, top, right, bottom = extent(image)
    place = placement(right - left, bottom - top, spec)
    width, height = original or (right - left, bottom - top)
    pixels = normalize(fit_image(image, spec)[None], spec)[0]
    if spec.fit == "longest":
        pixels[:, place.height :] = 0
        pixels[:, :, place.width :] = 0
    return Prepared(
        pixels=pixels,
        scale=(place.width / width, place.height / height),
        offset=(float(place.left), float(place.top)),
    )


def _centre_crop(pixels: NDArray[np.uint8], place: Placement, spec: ImageSpec) -> NDArray[np.uint8]:
    top, left = place.top, place.left
    if top < 0 or left < 0:
        # Floored negative offsets put the odd pixel of padding before the picture, as the reference does.
        canvas = np.zeros((max(spec.height, place.height), max(spec.width, place.width), 3), np.uint8)
        above, before = max(0, -top), max(0, -left)
        canvas[above : above + place.height, before : before + place.width] = pixels
        pixels, top, left = canvas, max(0, top), max(0, left)
    return pixels[top : top + spec.height, left : left + spec.width]


def _resize_kept_part(
    image: Image.Image, box: tuple[float, float, float, float], place: Placement, spec: ImageSpec
) -> tuple[Image.Image, Placement]:
    """Resize only the part of a very long picture that the crop keeps: the rest would fill the memory.

    The filter still sees the pixels around that part. Pillow may take its two passes in another order than
    for the whole, which rounds differently: by up to 23 levels on noise.
    """
    left, top = max(0, place.left), max(0, place.top)
    width, height = min(place.width, spec.width), min(place.height, spec.height)
    across, down = (box[2] - box[0]) / place.width, (box[3] - box[1]) / place.height
    part = image.resize(
        (width, height),
        _resampling(spec.resample),
        box=(
            box[0] + left * across,
            box[1] + top * down,
            min(box[2], box[0] + (left + width) * across),
            min(box[3], box[1] + (top + height) * down),
        ),
    )
    return part, Placement(width, height, min(0, place.left), min(0, place.top))


def _resampling(name: Resample) -> Image.Resampling:
    return Image.Resampling[name.upper()]


@lru_cache(maxsize=64)
def normalised_bytes(mean: tuple[float, ...], std: tuple[float, ...]) -> tuple[NDArray[np.float32], ...]:
    """The normalised value of each byte, per channel, rounded to float32 where the reference rounds."""
    unit = (np.arange(256, dtype=np.float64) * (1 / 255)).astype(np.float32)
    return tuple((unit - np.float32(m)) / np.float32(s) for m, s in zip(mean, std, strict=True))


def _pairs(coordinates: ArrayLike) -> tuple[NDArray[np.float64], int]:
    values = np.asarray(coordinates, np.float64)
    if values.ndim != 2 or values.shape[1] not in (2, 4):
        raise ValueError(f"points [n, 2] or boxes [n, 4] expected, got {values.shape}")
    return values, values.shape[1] // 2

"""A plan carried out on pixels: bytes for each view, and patches in the orders that networks expect.

Everything is read from the plan; the arithmetic is Pillow's on 8-bit pixels, as in `sensorium.media.image`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sensorium.media.decode import extent, to_rgb
from sensorium.media.image import ImageSpec, Resample, fit_image, normalised_bytes
from sensorium.media.resizing.plan import ResizePlan, Sheet
from sensorium.media.resizing.policies import CentreCrop, Policy

Number = TypeVar("Number", bound=np.generic)

_BAND = 1 << 21
"""Pixels that are filled up to a square at a time: the square of 10,000 a side would take 300 MB."""


@dataclass(frozen=True)
class PictureSpec:
    """How a checkpoint wants pictures of any shape: which plan is made, and what becomes of its pixels."""

    policy: Policy
    resample: Resample
    mean: tuple[float, float, float]
    """Subtracted from values in [0, 1], per channel."""
    std: tuple[float, float, float]
    """Divided by, per channel."""
    fill: tuple[int, int, int]
    """Red, green, blue of the padding, where the policy pads."""


class NaFlexPatches(NamedTuple):
    """``patches`` [most, p * p * c], ``mask`` int32 [most] of the filled ones, ``shape`` (rows, columns)."""

    patches: NDArray[np.generic]
    mask: NDArray[np.int32]
    shape: tuple[int, int]


def carry_out(
    image: Image.Image, plan: ResizePlan, resample: Resample, fill: tuple[int, int, int] = (0, 0, 0)
) -> list[NDArray[np.uint8]]:
    """The pixels of every view of a plan, in its order: uint8 [height, width, 3] each.

    One resize a sheet; tiles are cut from it, so that their seams are those of the references. Equal pixel
    for pixel to transformers' Pillow processors, but for the middle square of what is over 16 to 1.

    Args:
        image: An upright picture, as `read_image` returns it; decoded at reduced size it is understood to
            be the plan's picture.
        plan: Made for the picture's size.
        resample: The checkpoint's filter.
        fill: Red, green, blue of the padding.

    Raises:
        ValueError: The plan was made for a picture of another shape.
    """
    image = to_rgb(image)
    left, top, right, bottom = extent(image)
    across, down = (right - left) / plan.width, (bottom - top) / plan.height
    # A reduced decode rounds nothing away (`extent` has fractions), so the two ratios agree to a few pixels.
    if max(abs(across - down) * plan.width, abs(across - down) * plan.height) > 2 and across != down:
        raise ValueError(
            f"the plan is for {plan.width} x {plan.height} pixels, "
            f"the picture has {image.width} x {image.height}"
        )
    if isinstance(plan.policy, CentreCrop):
        # The references resize the whole and cut; a resize of the part alone may round in another order.
        side = plan.policy.side
        crop = ImageSpec(side, side, "crop", side, resample, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
        return [fit_image(image, crop)]
    sheets = []
    for sheet in plan.sheets:
        box = (
            left + sheet.source.left * across,
            top + sheet.source.top * down,
            min(right, left + sheet.source.right * across),
            min(bottom, top + sheet.source.bottom * down),
        )
        sheets.append(_sheet(image, sheet, box, Image.Resampling[resample.upper()], fill))
    return [
        np.ascontiguousarray(
            sheets[view.sheet][view.top : view.top + view.height, view.left : view.left + view.width]
        )
        for view in plan.views
    ]


def normalise(view: NDArray[np.uint8], spec: PictureSpec) -> NDArray[np.float32]:
    """A view's bytes to what the network takes: uint8 [h, w, 3] to float32 [3, h, w], (x / 255 - mean) / std.

    Rounded to float32 after each step, as the references' Pillow processors do.

    Raises:
        ValueError: No such view.
    """
    if view.dtype != np.uint8 or view.ndim != 3 or view.shape[2] != 3:
        raise ValueError(f"a view must be uint8 [height, width, 3], got {view.dtype} {view.shape}")
    values = np.empty((3, *view.shape[:2]), np.float32)
    for channel, table in enumerate(normalised_bytes(spec.mean, spec.std)):
        np.take(table, view[..., channel], out=values[channel], mode="clip")
    return values


def _sheet(
    image: Image.Image,
    sheet: Sheet,
    box: tuple[float, float, float, float],
    resampling: Image.Resampling,
    fill: tuple[int, int, int],
) -> NDArray[np.uint8]:
    if sheet.pad_first:
        return _square_first(image, sheet, box, resampling, fill)
    left, top = round(sheet.picture.left), round(sheet.picture.top)
    width = max(1, min(round(sheet.picture.width), sheet.width - left))
    height = max(1, min(round(sheet.picture.height), sheet.height - top))
    pixels = np.asarray(image.resize((width, height), resampling, box=box))
    if (width, height) == (sheet.width, sheet.height):
        return pixels
    canvas = np.empty((sheet.height, sheet.width, 3), np.uint8)
    canvas[:] = fill
    canvas[top : top + height, left : left + width] = pixels
    return canvas


def _square_first(
    image: Image.Image,
    sheet: Sheet,
    box: tuple[float, float, float, float],
    resampling: Image.Resampling,
    fill: tuple[int, int, int],
) -> NDArray[np.uint8]:
    """Fill up to a square, then resize, without ever holding the square.

    Pillow resizes along x first and rounds to bytes in between, so doing so by hand, a few rows at a time,
    and along y afterwards gives the same bytes.
    """
    left, columns, start_x, stop_x = _padded(
        sheet.padding.left, sheet.width, sheet.scale_x, sheet.source.width, box[::2]
    )
    top, rows, start_y, stop_y = _padded(
        sheet.padding.top, sheet.height, sheet.scale_y, sheet.source.height, box[1::2]
    )
    columns, rows = max(columns, left + image.width), max(rows, top + image.height)
    narrow = Image.new("RGB", (sheet.width, rows), fill)
    step = max(1, _BAND // columns)
    for start in range(0, image.height, step):
        count = min(step, image.height - start)
        band = Image.new("RGB", (columns, count), fill)
        band.paste(image.crop((0, start, image.width, start + count)), (left, 0))
        band = band.resize((sheet.width, count), resampling, box=(start_x, 0, stop_x, count))
        narrow.paste(band, (0, top + start))
    size = sheet.width, sheet.height
    return np.asarray(narrow.resize(size, resampling, box=(0, start_y, sheet.width, stop_y)))


def _padded(
    padding: float, side: int, scale: float, source: float, span: tuple[float, ...]
) -> tuple[int, int, float, float]:
    """One axis of a filled square, in the pixels of a picture that may be decoded at reduced size.

    Returns where the picture goes, how long the axis is, and between which points of it the square lies:
    whole numbers for a full decode, else fractions.
    """
    reduced = (span[1] - span[0]) / source
    before = round(padding / scale * reduced, 6) - span[0]
    paste = max(0, math.ceil(before))
    start = paste - before
    stop = start + round(side / scale * reduced, 6)
    return paste, math.ceil(stop), start, stop


def patchify_qwen(
    frames: NDArray[Number], patch: int, merge: int, frames_in_patch: int
) -> tuple[NDArray[Number], tuple[int, int, int]]:
    """Frames as Qwen2-VL's sequence of patches, in which each merge x merge neighbourhood is consecutive.

    Shapes: frames [t, c, h, w] -> patches [t' * h / p * w / p, c * frames_in_patch * p * p], ordered
    (t', h, w in merged units, merge, merge), each patch (c, frame, row, column). The last frame is repeated
    until the frames fill whole patches, so a still picture, t = 1, is duplicated.

    Args:
        frames: Any number type, sides multiples of ``patch * merge``.
        patch: Side of a patch in pixels.
        merge: Patches along the side of one token.
        frames_in_patch: Frames that one patch holds (``temporal_patch_size``).

    Returns:
        The patches, and the grid (t', rows, columns) in patches: ``grid_thw``.

    Raises:
        ValueError: Frames of another shape.
    """
    unit = patch * merge
    if frames.ndim != 4 or not frames.size or frames.shape[2] % unit or frames.shape[3] % unit:
        raise ValueError(f"frames must be [t, c, h, w] with sides in multiples of {unit}, got {frames.shape}")
    missing = -len(frames) % frames_in_patch
    frames = np.concatenate([frames, np.repeat(frames[-1:], missing, axis=0)])
    count, channels, height, width = frames.shape
    times, rows, columns = count // frames_in_patch, height // patch, width // patch
    patches = frames.reshape(
        times, frames_in_patch, channels, rows // merge, merge, patch, columns // merge, merge, patch
    ).transpose(0, 3, 6, 4, 7, 2, 1, 5, 8)
    flat = patches.reshape(times * rows * columns, channels * frames_in_patch * patch * patch)
    return flat, (times, rows, columns)


def patchify_naflex(pixels: NDArray[Number], patch: int, most_patches: int) -> NaFlexPatches:
    """One picture as SigLIP 2's sequence of patches, filled with zeros up to ``most_patches``.

    Shapes: pixels [c, h, w] -> patches [most_patches, p * p * c], each patch (row, column, c); the mask is 1
    where there is a patch.

    Raises:
        ValueError: Pixels of another shape, or more patches than ``most_patches``.
    """
    if pixels.ndim != 3 or not pixels.size or pixels.shape[1] % patch or pixels.shape[2] % patch:
        raise ValueError(f"pixels must be [c, h, w] with sides in multiples of {patch}, got {pixels.shape}")
    channels, height, width = pixels.shape
    rows, columns = height // patch, width // patch
    count = rows * columns
    if count > most_patches:
        raise ValueError(f"{rows} x {columns} patches exceed the sequence of {most_patches}")
    sequence = np.zeros((most_patches, patch * patch * channels), pixels.dtype)
    grid = pixels.reshape(channels, rows, patch, columns, patch)
    sequence[:count] = grid.transpose(1, 3, 2, 4, 0).reshape(count, -1)
    mask = (np.arange(most_patches) < count).astype(np.int32)
    return NaFlexPatches(sequence, mask, (rows, columns))

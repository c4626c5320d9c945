"""How is a very long picture read? As the whole, padded, and overlapping windows along its long side."""

from __future__ import annotations

import math

from sensorium.media.resizing.parts import all_of, fitted, nearest, placed, separate, whole
from sensorium.media.resizing.plan import Box, ResizePlan, Sheet
from sensorium.media.resizing.policies import Crops, Native, Strips

# Of `Native` plans: windows of 8 to 1 stay readable after patching, and a dozen views is what tilings use.
_NATIVE_RATIO, _NATIVE_OVERLAP, _NATIVE_WINDOWS = 8.0, 0.1, 12


def plan_strips(width: int, height: int, policy: Strips) -> ResizePlan:
    """The whole picture, then the windows from left to right or top to bottom, each in a square tile."""
    parts = windows(width, height, policy.window_ratio, policy.overlap, policy.most_windows)
    return _tiles(width, height, policy, parts, (1, len(parts)) if width >= height else (len(parts), 1))


def plan_crops(width: int, height: int, policy: Crops) -> ResizePlan:
    """The whole picture, then the chosen boxes in their order.

    Raises:
        ValueError: A box that is empty, not finite, or outside of the picture.
    """
    parts = [_inside(Box(*map(float, box)), width, height) for box in policy.boxes]
    return _tiles(width, height, policy, parts, (1, max(1, len(parts))))


def _tiles(
    width: int, height: int, policy: Strips | Crops, parts: list[Box], grid: tuple[int, int]
) -> ResizePlan:
    sources = [whole(width, height), *parts]
    if isinstance(policy, Strips) and len(parts) == 1:
        sources = parts  # the only window is the whole
    sheets = [fitted(source, policy.tile, policy.tile) for source in sources]
    views = [all_of(number, sheet, policy.token_side) for number, sheet in enumerate(sheets)]
    return separate(width, height, policy, sheets, views, grid)


def _inside(box: Box, width: int, height: int) -> Box:
    if not all(map(math.isfinite, box)):
        raise ValueError(f"a crop must have finite numbers, got {tuple(box)}")
    cut = Box(max(0.0, box.left), max(0.0, box.top), min(width, box.right), min(height, box.bottom))
    if cut.width <= 0 or cut.height <= 0:
        raise ValueError(f"the crop {tuple(box)} shows nothing of a picture of {width} x {height}")
    return cut


def windows(width: int, height: int, ratio: float, overlap: float, most: int) -> list[Box]:
    """Windows of about ``ratio`` to one that cover the long side in whole pixels, at equal distances.

    Where ``most`` of them do not reach they get longer, never fewer pixels of the picture.
    """
    long, short = max(width, height), min(width, height)
    length = min(long, math.ceil(ratio * short))
    shared = int(length * overlap)
    count = 1 if length >= long else min(most, math.ceil((long - shared) / (length - shared)))
    length = max(length, math.ceil(long / (count - (count - 1) * overlap)))
    length = min(length, long)
    starts = [0] if count == 1 else [number * (long - length) // (count - 1) for number in range(count)]
    if width >= height:
        return [Box(float(start), 0.0, float(start + length), float(height)) for start in starts]
    return [Box(0.0, float(start), float(width), float(start + length)) for start in starts]


def plan_native_strips(width: int, height: int, policy: Native) -> ResizePlan:
    """Strips in whole tokens with at most ``most_pixels`` in all, proportions kept, never enlarged.

    The whole gets a quarter of the budget, or as much as it can use. With a budget of one or two tokens
    there is only the whole.
    """
    most = policy.most_pixels // policy.token_side**2
    everything = whole(width, height)
    overview = _within(everything, max(1, most // 4), policy.token_side)
    left = most - overview.width * overview.height // policy.token_side**2
    sheets = [overview]
    parts: list[Box] = []
    if left >= 2 and min(overview.scale_x, overview.scale_y) < 1:
        parts = windows(width, height, _NATIVE_RATIO, _NATIVE_OVERLAP, min(_NATIVE_WINDOWS, left))
        sheets += [_within(part, left // len(parts), policy.token_side) for part in parts]
    views = [all_of(number, sheet, policy.token_side) for number, sheet in enumerate(sheets)]
    count = max(1, len(parts))
    return separate(width, height, policy, sheets, views, (1, count) if width >= height else (count, 1))


def _within(source: Box, tokens: int, side: int) -> Sheet:
    """The source in its proportions on a sheet of at most ``tokens`` whole tokens."""
    wide = source.width >= source.height
    long, short = (source.width, source.height) if wide else (source.height, source.width)
    most_rows = max(1, min(math.isqrt(tokens), math.ceil(short / side)))
    scale = max(
        min(1.0, rows * side / short, tokens // rows * side / long) for rows in range(1, most_rows + 1)
    )
    rows = max(1, math.ceil(short * scale / side - 1e-9))
    columns = min(tokens // rows, math.ceil(long * scale / side - 1e-9))
    size = nearest(long * scale, columns * side), nearest(short * scale, rows * side)
    if wide:
        return placed(source, size, columns * side, rows * side)
    return placed(source, size[::-1], rows * side, columns * side)

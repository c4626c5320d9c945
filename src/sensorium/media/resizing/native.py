"""Which size of its own? Pictures in whole patches, as large as a cap allows: Qwen2-VL and NaFlex."""

from __future__ import annotations

import math

from sensorium.media.resizing.parts import all_of, separate, stretched, whole
from sensorium.media.resizing.plan import ResizePlan
from sensorium.media.resizing.policies import NaFlex, Native
from sensorium.media.resizing.strips import plan_native_strips


def plan_native(width: int, height: int, policy: Native) -> ResizePlan:
    """One view in multiples of the token's side, or strips where the picture is too long."""
    if max(width, height) / min(width, height) > policy.longest_ratio:
        return plan_native_strips(width, height, policy)
    new_width, new_height = smart_size(width, height, policy)
    sheet = stretched(whole(width, height), new_width, new_height)
    return separate(width, height, policy, [sheet], [all_of(0, sheet, policy.token_side)], (1, 1))


def smart_size(width: int, height: int, policy: Native) -> tuple[int, int]:
    """(width, height) that the network gets: both sides at least one token, within the cap.

    ``round`` is Python's, halves to even: 70 -> 56, 98 -> 112 for a side of 28, as in both references.
    """
    side = policy.token_side
    least_side = side if policy.rounding == "original" else 0
    new_width = max(least_side, round(width / side) * side)
    new_height = max(least_side, round(height / side) * side)
    if new_width * new_height > policy.most_pixels:
        new_width, new_height = _shrunk(width, height, policy)
    elif new_width * new_height < policy.least_pixels:
        grow = math.sqrt(policy.least_pixels / (height * width))
        new_width = math.ceil(width * grow / side) * side
        new_height = math.ceil(height * grow / side) * side
    if policy.cap == "hard" and new_width * new_height > policy.most_pixels:
        return _capped(width, height, policy)
    return max(side, new_width), max(side, new_height)


def _shrunk(width: int, height: int, policy: Native) -> tuple[int, int]:
    side, shrink = policy.token_side, math.sqrt((height * width) / policy.most_pixels)
    return (
        max(side, math.floor(width / shrink / side) * side),
        max(side, math.floor(height / shrink / side) * side),
    )


def _capped(width: int, height: int, policy: Native) -> tuple[int, int]:
    """Shrunk, and the long side shortened against the proportions where the short one is a single token."""
    side = policy.token_side
    new_width, new_height = _shrunk(width, height, policy)
    if new_width >= new_height:
        new_width = min(new_width, max(1, policy.most_pixels // new_height // side) * side)
    else:
        new_height = min(new_height, max(1, policy.most_pixels // new_width // side) * side)
    return new_width, new_height


def plan_naflex(width: int, height: int, policy: NaFlex) -> ResizePlan:
    """One view in whole patches, at most so many of them."""
    new_width, new_height = _naflex_size(width, height, policy)
    sheet = stretched(whole(width, height), new_width, new_height)
    return separate(width, height, policy, [sheet], [all_of(0, sheet, policy.patch)], (1, 1))


def _naflex_size(width: int, height: int, policy: NaFlex) -> tuple[int, int]:
    """The reference bisects the scale in [1e-6, 100] down to 1e-5; so its results depend on these numbers."""
    patch, low, high = policy.patch, 1e-6, 100.0
    while high - low >= 1e-5:
        scale = (low + high) / 2
        across, down = _patches(width * scale, patch), _patches(height * scale, patch)
        if across * down <= policy.most_patches:
            low = scale
        else:
            high = scale
    across, down = _patches(width * low, patch), _patches(height * low, patch)
    if across * down > policy.most_patches:  # longer than a million patches
        across, down = min(across, policy.most_patches), min(down, policy.most_patches)
    return across * patch, down * patch


def _patches(side: float, patch: int) -> int:
    return max(1, math.ceil(side / patch))

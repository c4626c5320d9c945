"""How is this picture shown under this policy?"""

from __future__ import annotations

import operator

from sensorium.media.resizing.native import plan_naflex, plan_native
from sensorium.media.resizing.parts import all_of, fitted, nearest, separate, stretched, whole
from sensorium.media.resizing.plan import Box, ResizePlan, Sheet
from sensorium.media.resizing.policies import (
    AnyresTiles,
    CentreCrop,
    Crops,
    InternVlTiles,
    Letterbox,
    NaFlex,
    Native,
    Policy,
    SplitLongest,
    Squash,
    Strips,
    check,
)
from sensorium.media.resizing.strips import plan_crops, plan_strips
from sensorium.media.resizing.tiles import plan_anyres, plan_internvl, plan_longest


def plan(width: int, height: int, policy: Policy) -> ResizePlan:
    """Show a picture of ``width`` x ``height`` pixels, upright, under a policy.

    Raises:
        ValueError: A size that no picture has, or numbers in the policy that contradict each other.
    """
    width, height = _side(width, width, height), _side(height, width, height)
    check(policy)
    match policy:
        case Squash():
            sheet = stretched(whole(width, height), policy.width, policy.height)
            return separate(width, height, policy, [sheet], [all_of(0, sheet, policy.token_side)], (1, 1))
        case Letterbox():
            sheet = _letterbox(width, height, policy)
            return separate(width, height, policy, [sheet], [all_of(0, sheet, policy.token_side)], (1, 1))
        case CentreCrop():
            sheet = _middle(width, height, policy.side)
            return separate(width, height, policy, [sheet], [all_of(0, sheet, policy.token_side)], (1, 1))
        case AnyresTiles():
            return plan_anyres(width, height, policy)
        case InternVlTiles():
            return plan_internvl(width, height, policy)
        case Native():
            return plan_native(width, height, policy)
        case NaFlex():
            return plan_naflex(width, height, policy)
        case SplitLongest():
            return plan_longest(width, height, policy)
        case Crops():
            return plan_crops(width, height, policy)
        case Strips():
            return plan_strips(width, height, policy)


def _side(side: int, width: int, height: int) -> int:
    problem = f"a picture has whole sides of at least one pixel, not {width!r} x {height!r}"
    try:
        whole_side = operator.index(side)
    except TypeError:
        raise ValueError(problem) from None
    if isinstance(side, bool) or whole_side < 1:
        raise ValueError(problem)
    return whole_side


def _letterbox(width: int, height: int, policy: Letterbox) -> Sheet:
    source = whole(width, height)
    if policy.pad_first:
        longest = max(width, height)
        scale = policy.width / longest
        left, top = (longest - width) // 2 * scale, (longest - height) // 2 * scale
        picture = Box(left, top, left + width * scale, top + height * scale)
        return Sheet(source, picture, policy.width, policy.height, True)
    if policy.anchor == "centre":
        return fitted(source, policy.width, policy.height)
    scale = min(policy.width / width, policy.height / height)
    size = nearest(width * scale, policy.width), nearest(height * scale, policy.height)
    return Sheet(source, whole(*size), policy.width, policy.height, False)


def _middle(width: int, height: int, side: int) -> Sheet:
    """What remains of the middle when the longer side is cut: its length and the cut are rounded down."""
    short = min(width, height)
    resized_width, resized_height = int(side * width / short), int(side * height / short)
    left, top = (resized_width - side) // 2, (resized_height - side) // 2
    source = Box(
        left * width / resized_width,
        top * height / resized_height,
        (left + side) * width / resized_width,
        (top + side) * height / resized_height,
    )
    return stretched(source, side, side)

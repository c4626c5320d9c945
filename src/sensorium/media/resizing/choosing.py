"""Which way of showing a picture suits its shape and the tokens there are?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from sensorium.errors import SensoriumError
from sensorium.media.resizing.plan import ResizePlan, name
from sensorium.media.resizing.planning import plan
from sensorium.media.resizing.policies import AnyresTiles, InternVlTiles, NaFlex, Native, Policy, Strips

_NEARLY = 0.9
"""Detail that is as good as the best, as a share of it: beyond that, fewer tokens are worth more."""
_BENT = 2.0
"""A distortion beyond which a way of showing is taken only if no other one fits."""


def choose(width: int, height: int, budget_tokens: int, policies: Sequence[Policy]) -> ResizePlan:
    """The cheapest plan within the budget among those that show nearly the most detail.

    Detail is the scale at which the whole picture is seen, at most its own size. Ways that stretch one side
    over twice as much as the other come last. A policy whose numbers may be lowered is lowered until it fits.

    Args:
        width: Of the upright picture, in pixels.
        height: Of the upright picture, in pixels.
        budget_tokens: Tokens of the language model that the picture may take.
        policies: What the network can be shown; earlier ones win ties.

    Raises:
        SensoriumError: Nothing fits; names the cheapest way and its price.
        ValueError: No policies, or a size that no picture has.
    """
    if not policies:
        raise ValueError("at least one policy must be allowed")
    plans = [_within(width, height, policy, budget_tokens) for policy in policies]
    fitting = [candidate for candidate in plans if candidate.tokens <= budget_tokens]
    if not fitting:
        cheapest = min(plans, key=lambda candidate: candidate.tokens)
        raise SensoriumError(
            f"a picture of {width} x {height} does not fit into {budget_tokens} tokens: the cheapest way, "
            f"{name(cheapest.policy)}, takes {cheapest.tokens}; allow that many or fewer pictures at once"
        )
    straight = [candidate for candidate in fitting if candidate.detail[1] <= _BENT] or fitting
    most = max(candidate.detail[0] for candidate in straight)
    good = [candidate for candidate in straight if candidate.detail[0] >= _NEARLY * most]
    best = min(good, key=lambda candidate: (candidate.tokens, candidate.detail[1]))
    return replace(best, reason=_reason(best, plans, fitting, straight, good, budget_tokens))


def _reason(
    best: ResizePlan,
    plans: list[ResizePlan],
    fitting: list[ResizePlan],
    straight: list[ResizePlan],
    good: list[ResizePlan],
    budget: int,
) -> str:
    parts = [f"chosen because it shows the whole at {best.detail[0]:.0%} of its size"]
    if len(good) > 1:
        parts.append(f"for the fewest tokens of {len(good)} that do nearly as well")
    elif len(straight) > 1:
        parts.append("which is the most")
    if len(plans) > len(fitting):
        parts.append(f"{len(plans) - len(fitting)} did not fit into {budget} tokens")
    if len(fitting) > len(straight):
        parts.append(f"{len(fitting) - len(straight)} would bend the picture")
    if best.detail[1] > _BENT:
        parts.append(f"every one that fits bends the picture, this one {best.detail[1]:.1f} to 1")
    return ", ".join(parts)


def _within(width: int, height: int, policy: Policy, budget: int) -> ResizePlan:
    """The policy's plan, with its numbers lowered as far as the budget needs; it may still exceed it."""
    best = plan(width, height, policy)
    if best.tokens <= budget:
        return best
    for lower in _lowered(policy, budget):
        best = plan(width, height, lower)
        if best.tokens <= budget:
            break
    return best


def _lowered(policy: Policy, budget: int) -> list[Policy]:
    """Cheaper forms of a policy, dearest first; a network takes any of them."""
    match policy:
        case Native() if budget >= 1:
            most = budget * policy.token_side**2
            return [
                replace(policy, most_pixels=most, least_pixels=min(policy.least_pixels, most), cap="hard")
            ]
        case NaFlex() if budget >= 1:
            return [replace(policy, most_patches=budget)]
        case InternVlTiles():
            counts = range(policy.most_tiles - 1, policy.least_tiles - 1, -1)
            return [replace(policy, most_tiles=count) for count in counts]
        case Strips():
            return [replace(policy, most_windows=count) for count in range(policy.most_windows - 1, 0, -1)]
        case AnyresTiles():
            areas = sorted({columns * rows for columns, rows in policy.grids}, reverse=True)
            return [
                replace(policy, grids=tuple(grid for grid in policy.grids if grid[0] * grid[1] <= area))
                for area in areas[1:]
            ]
        case _:
            return []

"""How masks are gathered in a round of the data engine: by clicks on proposals, or by a grid of clicks alone.

Section 4 of "Segment Anything" (arXiv 2304.02643). All masks here are at half the side of the square picture,
where the decoder draws them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sensorium.models.sam.prompt_encoder import FOREGROUND, PADDING
from sensorium.models.sam.pyramid import Pyramid
from sensorium.models.sam.sam import Sam
from sensorium.skills.segment.everything import grid
from sensorium.skills.segment.masks import stability_of
from sensorium.train.data.gathered import Bits, Kept, Yield
from sensorium.train.data.scene_shards import Shard
from sensorium.train.data.scenes import SMALLEST
from sensorium.train.mask_losses import overlaps
from sensorium.train.recipes.mini_sam import correction

_TOGETHER = 64  # prompts that are decoded at once
_LARGEST = 0.95  # share of the picture above which a mask is the picture


@dataclass(frozen=True)
class Rules:
    """When a mask is good enough.

    Attributes:
        enough: Overlap with what was meant at which the oracle stops clicking.
        acceptable: ... that a mask needs to be kept after ``most_clicks``, and to count as a thing's.
        most_clicks: After which the oracle goes on to the next thing.
        side: Clicks a row and a column where nobody points.
        quality, stability: What a mask needs by the model's own account to be kept unseen.
        same: Overlap above which the better of two masks stays.
    """

    enough: float = 0.9
    acceptable: float = 0.75
    most_clicks: int = 8
    side: int = 16
    quality: float = 0.85
    stability: float = 0.9
    same: float = 0.7


def given(shard: Shard, place: int) -> Yield:
    """The masks of a picture as they are known."""
    masks = shard.masks_of(place)
    return Yield(
        place, tuple(Kept(mask > 0, "given", 0, 1.0) for mask in masks), things=len(masks), found=len(masks)
    )


@torch.no_grad()
def assisted(network: Sam, shard: Shard, place: int, rules: Rules) -> Yield:
    """The oracle points at every thing of a picture and clicks where the model's answers are wrong.

    What is kept is the model's last answer and not the truth: an annotator has no other brush here.
    """
    truth = shard.masks_of(place)
    kept, wasted = _pointed(network, shard, place, truth, rules)
    return Yield(place, tuple(kept), wasted, len(truth), len(kept))


@torch.no_grad()
def semi_automatic(network: Sam, shard: Shard, place: int, rules: Rules) -> Yield:
    """What the model is sure of is kept unseen; the oracle points at the things that are missing."""
    truth = shard.masks_of(place)
    sure = _sure(network, shard, place, rules, truth)
    missing = np.array([not _holds(sure, thing, rules.acceptable) for thing in truth], bool)
    kept, wasted = _pointed(network, shard, place, truth[missing], rules)
    found = len(truth) - int(missing.sum()) + len(kept)
    return Yield(place, (*sure, *kept), wasted, len(truth), found)


@torch.no_grad()
def automatic(network: Sam, shard: Shard, place: int, rules: Rules) -> Yield:
    """What the model is sure of; nobody looks."""
    truth = shard.masks_of(place)
    sure = _sure(network, shard, place, rules, truth)
    known = len(truth) or None
    found = sum(_holds(sure, thing, rules.acceptable) for thing in truth)
    return Yield(place, tuple(sure), 0, known, found if known else None)


@torch.no_grad()
def proposals(network: Sam, shard: Shard, place: int, rules: Rules) -> list[tuple[Bits, float]]:
    """Masks of a grid of clicks with their predicted qualities, best first, each thing once."""
    embedding = _embedding(network, shard, place)
    side = network.look(embedding)
    clicks = torch.tensor(grid(rules.side, shard.shape.side, shard.shape.side), dtype=torch.float32)
    masks: list[Tensor] = []
    qualities: list[Tensor] = []
    for start in range(0, len(clicks), _TOGETHER):
        logits, quality = network.decode(side, *_first(clicks[start : start + _TOGETHER, None]))
        logits, quality = logits[:, 1:].flatten(0, 1), quality[:, 1:].flatten()
        share = (logits > 0).float().mean(dim=(-2, -1))
        stable = torch.from_numpy(stability_of(logits.numpy()))
        good = (quality >= rules.quality) & (stable >= rules.stability)
        good &= (share >= SMALLEST) & (share <= _LARGEST)
        masks.append(logits[good] > 0)
        qualities.append(quality[good])
    together, scores = torch.cat(masks), torch.cat(qualities)
    return [(together[i].numpy(), float(scores[i])) for i in _each_once(together, scores, rules.same)]


def _each_once(masks: Tensor, scores: Tensor, same: float) -> list[int]:
    """Rows of masks [n, h, w] that stay, best first: none overlaps a better one more than that."""
    flat = masks.flatten(1).float()
    both = flat @ flat.T
    areas = flat.sum(dim=1)
    overlap = both / (areas[:, None] + areas[None, :] - both).clamp(min=1)
    left = scores.argsort(descending=True, stable=True).tolist()
    kept: list[int] = []
    while left:
        best = left.pop(0)
        kept.append(best)
        left = [other for other in left if overlap[best, other] <= same]
    return kept


def _sure(network: Sam, shard: Shard, place: int, rules: Rules, truth: NDArray[np.uint8]) -> list[Kept]:
    found = [bits for bits, _ in proposals(network, shard, place, rules)]
    return [Kept(bits, "model", 0, _nearest(bits, truth)) for bits in found]


def _nearest(bits: Bits, truth: NDArray[np.uint8]) -> float | None:
    """Overlap with the thing that is nearest; None where no thing is known."""
    return max((_overlap(bits, thing > 0) for thing in truth), default=None)


def _holds(masks: Sequence[Kept], thing: NDArray[np.uint8], least: float) -> bool:
    return any(_overlap(mask.bits, thing > 0) >= least for mask in masks)


def _overlap(one: Bits, other: Bits) -> float:
    union = int(np.count_nonzero(one | other))
    return int(np.count_nonzero(one & other)) / max(1, union)


def _pointed(
    network: Sam, shard: Shard, place: int, things: NDArray[np.uint8], rules: Rules
) -> tuple[list[Kept], int]:
    """Masks of the things, which are pointed at together, and the clicks on those that were given up."""
    if not len(things):
        return [], 0
    embedding = _embedding(network, shard, place)
    target = torch.from_numpy(things.astype(np.float32))
    clicks, labels = correction(torch.full_like(target, -1.0), target, draw=False)
    points, labels = _first(clicks)
    logits, _ = network.decode(network.look(embedding), points, labels)
    reached = overlaps(logits, target[:, None].expand_as(logits))
    chosen = reached[:, 1:].argmax(dim=1) + 1  # of the candidates the annotator takes what he meant
    rows = torch.arange(len(target))
    best, score = logits[rows, chosen], reached[rows, chosen]
    count = torch.ones(len(target), dtype=torch.int64)
    for _ in range(rules.most_clicks - 1):
        open_ = score < rules.enough
        if not open_.any():
            break
        more = correction(best, target, draw=False)
        points, labels = torch.cat((points, more[0]), 1), torch.cat((labels, more[1]), 1)
        looked = network.look(embedding, best[:, None].clamp(-32, 32))
        answer, _ = network.decode(looked, points, labels)
        now = answer[:, 0]
        best = torch.where(open_[:, None, None], now, best)
        score = torch.where(open_, overlaps(now, target), score)
        count += open_.long()
    kept: list[Kept] = []
    wasted = 0
    for mask, overlap, clicked in zip(best, score.tolist(), count.tolist(), strict=True):
        if overlap >= rules.acceptable and (mask > 0).any():
            kept.append(Kept((mask > 0).numpy(), "oracle", clicked, overlap))
        else:
            wasted += clicked
    return kept, wasted


def _embedding(network: Sam, shard: Shard, place: int) -> Tensor:
    assert isinstance(network.image_encoder, Pyramid)
    return network.image_encoder.joined(*shard.features([place]))


def _first(clicks: Tensor) -> tuple[Tensor, Tensor]:
    """Prompts of one click each, [p, 1, 2], as points [p, 2, 2] and labels [p, 2]."""
    labels = torch.tensor([FOREGROUND, PADDING]).expand(len(clicks), -1)
    return torch.cat((clicks, torch.zeros_like(clicks)), dim=1), labels

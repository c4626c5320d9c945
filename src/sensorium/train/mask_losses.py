"""Losses of masks, as Segment Anything is trained (section 3 and appendix A of arXiv 2304.02643).

Each returns a value a mask; the tasks sum them, as everything that the loop adds up is a sum.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def focal(logits: Tensor, target: Tensor, *, alpha: float = 0.25, gamma: float = 2.0) -> Tensor:
    """Focal loss (Lin et al. 2017, arXiv 1708.02002, equation 5), the mean over pixels.

    Shapes: logits and target (0 or 1) ``[..., h, w]`` -> ``[...]``.
    """
    cross_entropy = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    surprise = torch.exp(-cross_entropy)  # the probability given to what is true
    balance = alpha * target + (1 - alpha) * (1 - target)
    return (balance * (1 - surprise) ** gamma * cross_entropy).mean(dim=(-2, -1))


def dice(logits: Tensor, target: Tensor) -> Tensor:
    """Dice loss (Milletari et al. 2016, arXiv 1606.04797), ``[..., h, w] -> [...]``, 0 to 1."""
    probability = logits.sigmoid()
    both = (probability * target).sum(dim=(-2, -1))
    return 1 - (2 * both + 1) / (probability.sum(dim=(-2, -1)) + target.sum(dim=(-2, -1)) + 1)


def overlaps(logits: Tensor, target: Tensor) -> Tensor:
    """Intersection over union of the masks that the logits draw, ``[..., h, w] -> [...]``; no gradient."""
    drawn, wanted = logits > 0, target > 0.5
    both = (drawn & wanted).sum(dim=(-2, -1))
    return both / (drawn | wanted).sum(dim=(-2, -1)).clamp(min=1)


def mask_loss(
    logits: Tensor,
    quality: Tensor,
    target: Tensor,
    *,
    focal_weight: float = 20.0,
    alpha: float = 0.25,
    spread: float = 0.0,
) -> tuple[Tensor, Tensor, Tensor]:
    """The loss of the best of several masks, and that of all predicted qualities.

    One click may mean several things, so the candidate that comes nearest is told to come nearer, and the
    others, by the share ``spread`` of the loss, to come along: without it a candidate that starts badly never
    learns. The paper has 20 and 0.25 for focal loss, and no spread.

    Shapes: logits ``[p, c, h, w]``, quality ``[p, c]``, target ``[p, h, w]``. Returns the mask loss ``[p]``,
    the quality loss ``[p]`` (squared error, the mean over candidates) and their overlaps ``[p, c]``.
    """
    wanted = target[:, None].expand_as(logits)
    each = focal_weight * focal(logits, wanted, alpha=alpha) + dice(logits, wanted)
    reached = overlaps(logits, wanted).to(quality.dtype)
    nearest = (1 - spread) * each.min(dim=1).values + spread * each.mean(dim=1)
    return nearest, ((quality - reached) ** 2).mean(dim=1), reached

"""One token out of the scores of all: filters, then a draw. Pure functions over ``[b, vocabulary]``.

Filters set what they exclude to minus infinity, and agree with those of transformers, as the tests show.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sensorium.errors import SensoriumError


@dataclass(frozen=True)
class Sampling:
    """How tokens are chosen. The plain ``Sampling()`` is greedy: the most likely one, always."""

    temperature: float = 0.0
    """0: greedy; 1: as the network says; above: more even."""
    top_k: int | None = None
    """Only so many of the most likely tokens."""
    top_p: float | None = None
    """Only the most likely tokens that together reach this probability (arXiv 1904.09751)."""
    min_p: float | None = None
    """Only tokens at least this fraction as likely as the most likely one (arXiv 2407.01082)."""
    repetition_penalty: float = 1.0
    """Above 1: tokens that are there already, prompt included, become less likely (arXiv 1909.05858)."""
    seed: int = 0
    """The same seed, prompt and settings give the same text, alone or in a batch with others."""

    def __post_init__(self) -> None:
        """Refuse values that mean nothing.

        Raises:
            SensoriumError: Names the setting and its range.
        """
        wanted = {
            "temperature must be 0 or more": self.temperature >= 0,
            "top_k must be 1 or more": self.top_k is None or self.top_k >= 1,
            "top_p must be above 0 and at most 1": self.top_p is None or 0 < self.top_p <= 1,
            "min_p must be from 0 to 1": self.min_p is None or 0 <= self.min_p <= 1,
            "repetition_penalty must be above 0": self.repetition_penalty > 0,
        }
        for text, holds in wanted.items():
            if not holds:  # NaN, too, fails every comparison
                raise SensoriumError(f"{text}: {self}")


def penalize(logits: Tensor, seen: Tensor, penalty: float) -> Tensor:
    """Divide scores ``[b, vocabulary]`` of ``seen`` tokens ``[b, n]`` by ``penalty``, multiply negative ones.

    Ids below 0 stand for no token, so rows of unequal length can share a batch.
    """
    counted = seen.clamp(min=0)
    score = logits.gather(1, counted)
    changed = torch.where(score < 0, score * penalty, score / penalty)
    out = torch.cat((logits, logits[:, :1]), dim=1)  # one more column, for what stands for no token
    out.scatter_(1, torch.where(seen < 0, logits.shape[1], seen), changed)
    return out[:, :-1]


def keep_top_k(logits: Tensor, k: int) -> Tensor:
    """Only the k highest scores of each row, and those equal to the last of them."""
    least = logits.topk(min(k, logits.shape[-1]), dim=-1).values[:, -1:]
    return logits.masked_fill(logits < least, float("-inf"))


def keep_top_p(logits: Tensor, p: float) -> Tensor:
    """Only the most likely tokens of each row whose probabilities together reach ``p``, at least one."""
    ordered, order = logits.sort(dim=-1)  # ascending, so that small probabilities are added up first
    out = ordered.softmax(dim=-1).cumsum(dim=-1) <= 1 - p
    out[:, -1] = False
    return logits.masked_fill(out.scatter(1, order, out), float("-inf"))


def keep_min_p(logits: Tensor, p: float) -> Tensor:
    """Only tokens at least ``p`` times as likely as the most likely one of the row."""
    likely = logits.softmax(dim=-1)
    out = likely < p * likely.amax(dim=-1, keepdim=True)
    out.scatter_(1, likely.argmax(dim=-1, keepdim=True), False)
    return logits.masked_fill(out, float("-inf"))


def filtered(logits: Tensor, sampling: Sampling, seen: Tensor) -> Tensor:
    """Scores after every filter of ``sampling``, in the order that transformers uses.

    Shapes: logits ``[b, vocabulary]``, seen ``[b, n]`` ids (below 0: none) -> float32 ``[b, vocabulary]``.
    """
    scores = logits.float()
    if sampling.repetition_penalty != 1 and seen.shape[1]:
        scores = penalize(scores, seen, sampling.repetition_penalty)
    if sampling.temperature == 0:
        return scores
    scores = scores / sampling.temperature
    if sampling.top_k is not None:
        scores = keep_top_k(scores, sampling.top_k)
    if sampling.top_p is not None:
        scores = keep_top_p(scores, sampling.top_p)
    if sampling.min_p is not None:
        scores = keep_min_p(scores, sampling.min_p)
    return scores


def pick(logits: Tensor, sampling: Sampling, seen: Tensor, generator: torch.Generator) -> int:
    """One token for one row of scores ``[1, vocabulary]``; ``seen`` as in `filtered`."""
    scores = filtered(logits, sampling, seen)
    if sampling.temperature == 0:
        return int(scores.argmax(dim=-1))
    return int(torch.multinomial(scores.softmax(dim=-1).cpu(), 1, generator=generator))

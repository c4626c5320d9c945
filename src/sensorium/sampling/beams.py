"""Beam search: the continuations that are most likely as a whole (Graves 2012, arXiv 1211.3711).

Scores, length penalty and stopping rules are those of transformers' ``generate``, so texts agree with it.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from sensorium.models.decoder import Decoder
from sensorium.sampling.generate import Reading, advance
from sensorium.sampling.pick import penalize


@dataclass(frozen=True)
class BeamSettings:
    """How beams are kept and compared."""

    beams: int
    most: int
    """The most tokens of a text, its end token included."""
    length_penalty: float = 1.0
    """Scores are divided by length to this power: above 0 favours long texts."""
    early: bool | Literal["never"] = False
    """True: stop when there are ``beams`` whole texts. False: when the best open one, as long as it is, is
    worse than the worst of them. "never": when even the longest possible one would be."""
    repetition_penalty: float = 1.0


@dataclass(frozen=True)
class Beam:
    """One whole text."""

    ids: tuple[int, ...]
    """Its tokens; the end token is the last one, unless the text was cut at ``most``."""
    score: float
    """The sum of the logarithms of its tokens' probabilities, divided by length to the penalty's power."""


def search(
    decoder: Decoder,
    reading: Reading,
    settings: BeamSettings,
    *,
    end_ids: Collection[int],
    prompt_ids: Tensor | None = None,
) -> list[Beam]:
    """The best continuations of one prompt, best first.

    Args:
        decoder: The network.
        reading: Of one prompt.
        settings: How many beams, and how they are compared.
        end_ids: Tokens that end a text.
        prompt_ids: ``[n]`` ids that a repetition penalty counts besides the text itself.

    Raises:
        ValueError: The numbers of beams and tokens are not positive.
    """
    if settings.beams < 1 or settings.most < 1:
        raise ValueError(f"beams and tokens must be at least 1: {settings}")
    rows = settings.beams
    most = min(settings.most, decoder.config.context_length - int(reading.position.max()) + 1)
    reading = reading.expand(rows)
    texts = torch.empty(rows, 0, dtype=torch.long, device=reading.position.device)
    scores = torch.full((rows,), -1e9, device=texts.device)
    scores[0] = 0.0  # the rows are still the same: count one of them
    whole: list[Beam] = []
    prompt = texts.new_empty(0) if prompt_ids is None else prompt_ids
    while True:
        length = texts.shape[1] + 1
        likely = _likelihoods(reading.logits, texts, prompt, settings.repetition_penalty)
        values, parents, tokens = _best(likely + scores[:, None], max(2, 1 + len(end_ids)) * rows)
        ends = torch.tensor([token in end_ids or length == most for token in tokens.tolist()])
        full = len(whole) == rows and settings.early is True
        for rank in range(rows):  # only the best count as whole: the others are there to go on with
            if ends[rank] and not full:
                ids = (*texts[parents[rank]].tolist(), int(tokens[rank]))
                whole.append(Beam(ids, float(values[rank]) / length**settings.length_penalty))
        whole = sorted(whole, key=lambda beam: -beam.score)[:rows]
        if bool(ends.all()):
            return whole
        going = (values + ends * -1e9).topk(rows).indices
        scores, texts = values[going], torch.cat((texts[parents[going]], tokens[going, None]), dim=1)
        if len(whole) == rows and (
            settings.early is True or not _hope(scores, whole, length, most, settings)
        ):
            return whole
        kept = Reading(reading.logits, reading.cache.select(parents[going]), reading.position[parents[going]])
        reading = advance(decoder, kept, tokens[going].tolist())


def _likelihoods(logits: Tensor, texts: Tensor, prompt: Tensor, penalty: float) -> Tensor:
    likely = logits.float().log_softmax(dim=-1)
    if penalty == 1:
        return likely
    return penalize(likely, torch.cat((prompt.expand(len(texts), -1), texts), dim=1), penalty)


def _best(scores: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Scores ``[beams, vocabulary]`` -> the highest values, their rows and their tokens, ``[count]`` each."""
    values, places = scores.flatten().topk(count)
    return values, places // scores.shape[1], places % scores.shape[1]


def _hope(scores: Tensor, whole: list[Beam], length: int, most: int, settings: BeamSettings) -> bool:
    """Whether an open text may still become better than the worst whole one."""
    longest = most if settings.early == "never" and settings.length_penalty > 0 else length
    return bool(float(scores[0]) / longest**settings.length_penalty > whole[-1].score)

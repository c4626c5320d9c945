"""What the parts of photos add to a search: the nearest one tells best whether the unwanted is there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np

from sensorium.photos.search.calibration import Floats, Question, shared
from sensorium.photos.vectors.index import VectorIndex
from sensorium.photos.vectors.sieve import Ids


class Parts(Protocol):
    """What a search needs of the parts of photos; see ``vectors.regions``."""

    def sample(self) -> Ids:
        """Some photos with parts, ascending."""

    def closest(self, queries: Sequence[Floats], ids: Ids) -> list[Floats]:
        """For each query [d] the score [n] of the nearest part of photos [n]; NaN where none is known."""


def measured(
    index: VectorIndex,
    parts: Parts,
    questions: Sequence[Question],
    weights: Sequence[float],
    unwanted: Sequence[int],
) -> list[Question]:
    """The questions, those at the places ``unwanted`` with their ``of_parts``.

    Measured on a sample, like ``ordinary`` and ``shared``; nothing changes where no photo has parts.
    """
    ids = parts.sample()
    asked = list(questions)
    if not len(ids) or not unwanted:
        return asked
    wanted = [
        (question.evidence(index.scores(question.vector, ids)) - question.ordinary, weight)
        for question, weight in zip(questions, weights, strict=True)
        if weight > 0
    ]
    above = np.zeros(len(ids), np.float32)
    if wanted:
        above = np.average([rows for rows, _ in wanted], axis=0, weights=[weight for _, weight in wanted])
    nearest = parts.closest([questions[place].vector for place in unwanted], ids)
    for place, scores in zip(unwanted, nearest, strict=True):
        evidence = questions[place].evidence(scores)
        known = np.isfinite(evidence) & np.isfinite(above)
        if known.any():
            ordinary = float(np.median(evidence[known]))
            of_parts = ordinary, shared(evidence[known] - ordinary, above[known])
            asked[place] = replace(questions[place], of_parts=of_parts)
    return asked

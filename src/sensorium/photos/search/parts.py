"""What the parts of photos add to a search.

The nearest part of a photo tells best whether something unwanted is there. For what is wanted the mean of two
scores is asked, the whole picture's and its nearest part's. That mean has a middle, a spread and a chance of
its own, which are measured as ``calibration`` measures those of whole pictures, when ``describe.regions`` has
looked at the parts.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from sensorium.photos.search import calibration
from sensorium.photos.search.calibration import Calibration, Floats, Question, Reached, shared
from sensorium.photos.vectors.index import VectorIndex
from sensorium.photos.vectors.regions import Sample
from sensorium.photos.vectors.sieve import Ids

MEASURED = 4096
"""Photos whose parts are measured; what more of them do is extrapolated."""

_GROWTH = 1.25  # so many more or fewer photos with parts are measured again


class Parts(Protocol):
    """What a search needs of the parts of photos; see ``vectors.regions``."""

    def sample(self, queries: Sequence[Floats]) -> tuple[Ids, list[Floats]]:
        """Some photos [s], and for each query [d] the scores [s] of their nearest parts."""

    def closest(self, queries: Sequence[Floats], ids: Ids) -> list[Floats]:
        """For each query [d] the score [n] of the nearest part of photos [n]; NaN where none is known."""


@dataclass(frozen=True, slots=True)
class PartCalibration:
    """What the mean of both scores reaches by chance, and the spread of that of things to see.

    ``digest`` is that of the background texts.
    """

    digest: str
    reached: Reached
    spread: float

    def fits(self, photos: int) -> bool:
        """Whether it still serves so many photos with parts."""
        return 1 / _GROWTH <= max(photos, 1) / max(self.reached.photos, 1) <= _GROWTH

    def text(self) -> str:
        """As a library keeps it."""
        sizes, chance = self.reached.sizes.tolist(), self.reached.chance.tolist()
        return json.dumps([self.digest, self.spread, self.reached.photos, sizes, chance])

    @classmethod
    def read(cls, text: str | None) -> PartCalibration | None:
        """That of a text; None when it is not one of today's background texts."""
        try:
            digest, spread, photos, sizes, chance = json.loads(text or "null")
            reached = Reached(int(photos), np.array(sizes, np.int64), np.array(chance, np.float32))
            found = cls(str(digest), reached, float(spread))
        except (TypeError, ValueError):
            return None
        sound = sizes and len(sizes) == len(chance) and found.spread > 0
        return found if sound and digest == calibration.background().digest else None


def measure(prompts: Floats, whole: Floats, parts: Sample, photos: int) -> PartCalibration:
    """Compare the background texts with photos and their parts.

    Args:
        prompts: Vectors [m, d] of the background texts.
        whole: Vectors [n, d] of the photos.
        parts: Of the same photos.
        photos: Of how many photos these are a part.
    """
    texts = prompts - calibration.centre(prompts)

    def joint(some: Floats) -> Floats:
        return calibration.mean(whole @ some.T, _closest(parts, some))

    spread = float(joint(texts[calibration.background().shown]).std())
    reached = calibration.reach(joint, len(whole), texts, photos, np.random.default_rng(0))
    return PartCalibration(calibration.background().digest, reached, spread if spread > 1e-6 else 1.0)


def _closest(parts: Sample, texts: Floats) -> Floats:
    """The scores [n, t] of photos' nearest parts with texts [t, d]; one matrix product for each photo."""
    rows = zip(parts.numbers, parts.factors, strict=True)
    return np.stack([((numbers @ texts.T) * factors[:, None]).max(axis=0) for numbers, factors in rows])


@dataclass(frozen=True, slots=True)
class Asked:
    """The terms of a query before parts are looked at.

    ``queries`` are the vectors [d] of terms in words, None for pictures, of which parts tell nothing;
    ``among`` is how many photos are searched.
    """

    questions: Sequence[Question]
    queries: Sequence[Floats | None]
    weights: Sequence[float]
    among: int


def measured(
    index: VectorIndex,
    parts: Parts,
    whole: Calibration,
    joint: PartCalibration | None,
    asked: Asked,
) -> list[Question]:
    """The questions with their ``of_parts`` or ``with_parts``; as they were where no photo has parts.

    Both are measured on a sample of photos; ``with_parts`` needs what ``measure`` found.
    """
    questions = list(asked.questions)
    places = [place for place, query in enumerate(asked.queries) if query is not None]
    ids, scores = parts.sample([questions[place].vector for place in places])
    if not len(ids):
        return questions
    closest = dict(zip(places, scores, strict=True))
    above = np.zeros(len(ids), np.float32)
    total = sum(weight for weight in asked.weights if weight > 0)
    for place, (query, weight) in enumerate(zip(asked.queries, asked.weights, strict=True)):
        if weight > 0:
            question = questions[place]
            pictures = index.scores(question.vector, ids)
            evidence, ordinary = question.evidence(pictures), question.ordinary
            if query is not None and joint is not None:
                both = calibration.mean(pictures, closest[place])
                rule = whole.rule(query, asked.among, both[~np.isnan(both)], joint.reached, joint.spread)
                question = questions[place] = replace(question, with_parts=rule)
                evidence, ordinary = question.joint(pictures, closest[place]), rule[2]
            above += (evidence - ordinary) * np.float32(weight / total)
    for place in places:
        if asked.weights[place] < 0:
            evidence = questions[place].evidence(closest[place])
            known = np.isfinite(evidence) & np.isfinite(above)
            if known.any():
                middle = float(np.median(evidence[known]))
                of_parts = middle, shared(evidence[known] - middle, above[known])
                questions[place] = replace(questions[place], of_parts=of_parts)
    return questions

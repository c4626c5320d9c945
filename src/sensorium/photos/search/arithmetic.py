"""Words and pictures added and subtracted: `beach - people`, `this.jpg + snow`, "without dogs".

Subtracting vectors mixes two questions: a photo that is no beach at all and shows nobody then beats a beach
with a person far away. Here each term is asked by itself, and its evidence becomes a likelihood; a photo is
wanted as far as it shows all that is wanted (weighted geometric mean) and nothing of what is unwanted:

    score = prod p_i ** (w_i / sum w)  *  prod (1 - q_j) ** |w_j|

An unwanted thing in a corner still disturbs. So ``q`` does not wait for the evidence with which a photo may
answer: it rises as soon as a photo has more of the thing than an ordinary photo of the library. More, that
is, than what is wanted explains: men look like people, so ``people - men`` asks for what goes beyond that.

Where the parts of a photo were looked at (``describe.regions``), the nearest of them is asked about the
unwanted thing in the place of the whole picture: more of what fills a corner is found, and fewer photos are
suspected wrongly. What is wanted is asked of both, and the mean of the two scores counts: small things are
found by it, and what fills the picture is not lost.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from sensorium.photos.search.calibration import Question, evidence_of, probability

Floats = NDArray[np.float32]

SUSPECTED = 0.1
"""Evidence above what is ordinary and explained, at which an unwanted thing is as likely there as not ..."""

SHARPNESS = 8.0
"""... and the slope of its likelihood there."""

SUSPECTED_IN_PART = 0.3
"""The same for the nearest part of a photo."""

TELLING = 1.2
"""The same where nothing is wanted: then every photo that is left out wrongly is one too many."""

TELLING_IN_PART = 1.6
"""Both: it leaves out as many photos wrongly as ``TELLING`` does."""


def combined(
    questions: Sequence[Question],
    weights: Sequence[float],
    scores: Sequence[Floats],
    closest: Mapping[int, Floats] | None = None,
) -> Floats:
    """Evidence [n] for a sum of terms.

    A single wanted term keeps its evidence. With unwanted terms only, the evidence is that of their absence.

    Args:
        questions: The terms.
        weights: Each term's, below 0 for unwanted ones.
        scores: Each term's [n].
        closest: By the place of a term the scores [n] of photos' nearest parts; NaN where not known.

    Raises:
        ValueError: There is no term.
    """
    if not questions:
        raise ValueError("a sum needs at least one term")
    closest = closest or {}
    terms = [
        (question, weight, *_evidence(question, found, closest.get(place)))
        for place, (question, weight, found) in enumerate(zip(questions, weights, scores, strict=True))
    ]
    if len(terms) == 1 and weights[0] > 0:
        return terms[0][2]
    total = sum(weight for weight in weights if weight > 0)
    logarithm = np.zeros(len(scores[0]), np.float64)
    above = np.zeros(len(scores[0]), np.float64)  # evidence for what is wanted, above an ordinary photo's
    for _, weight, evidence, ordinary in terms:
        if weight > 0:
            logarithm += np.log(np.maximum(probability(evidence), 1e-12)) * (weight / total)
            above += (evidence - ordinary) * (weight / total)
    whole, part = (SUSPECTED, SUSPECTED_IN_PART) if total else (TELLING, TELLING_IN_PART)
    for place, (question, weight, evidence, ordinary) in enumerate(terms):
        if weight < 0:
            beyond = evidence - ordinary - question.shared * above - whole
            if place in closest and question.of_parts is not None:
                ordinary_part, shared = question.of_parts
                nearest = question.evidence(closest[place]) - ordinary_part - shared * above - part
                beyond = np.where(np.isnan(nearest), beyond, nearest)
            there = 1 / (1 + np.exp(-SHARPNESS * np.clip(beyond, -10, 10)))
            logarithm += -weight * np.log(np.maximum(1 - there, 1e-12))
    likelihood = np.clip(np.exp(logarithm), 1e-12, 1 - 1e-6)
    result: Floats = (np.log(likelihood / (1 - likelihood)) + evidence_of(0.5)).astype(np.float32)
    return result


def _evidence(question: Question, scores: Floats, closest: Floats | None) -> tuple[Floats, Floats]:
    """Evidence for a term [n], and that of ordinary photos [n]: of both scores where parts are known."""
    evidence, ordinary = question.evidence(scores), np.full(len(scores), question.ordinary, np.float32)
    if closest is None or question.with_parts is None:
        return evidence, ordinary
    joint = question.joint(scores, closest)
    known = ~np.isnan(joint)
    ordinary[known] = question.with_parts[2]
    return np.where(known, joint, evidence), ordinary

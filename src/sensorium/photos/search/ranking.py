"""From query vectors to hits: which photos, how likely, in which order, and why they are shown.

Filter first, then an exact scan of what is left. Each photo's score becomes evidence and that a likelihood
(``calibration``); terms are joined by ``arithmetic``. Where the photo's own words match the query as well,
both likelihoods are joined as independent witnesses: ``1 - (1 - looks) * (1 - words)``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np
from numpy.typing import NDArray

from sensorium.photos.database.store import Pipeline, Store
from sensorium.photos.describe.picture import local_time
from sensorium.photos.files.names import join
from sensorium.photos.files.scan import reason_offline
from sensorium.photos.query.model import Query
from sensorium.photos.search import arithmetic
from sensorium.photos.search.calibration import (
    FOUND,
    LEAST,
    WEAK,
    Question,
    cut_off,
    evidence_of,
    probability,
)
from sensorium.photos.search.parts import Parts
from sensorium.photos.search.reasons import Said
from sensorium.photos.vectors.index import VectorIndex
from sensorium.photos.vectors.matrix import Matrix, open_matrix
from sensorium.photos.vectors.moments import Moments
from sensorium.photos.vectors.regions import Regions
from sensorium.photos.vectors.sieve import Ids

if TYPE_CHECKING:
    from sensorium.photos.vectors.hnsw import HnswCache

Verdict = Literal["found", "weak", "nothing"]

_NO_VECTOR = -20.0  # evidence of a photo that only its words can find
_IN_PARTS = 512  # photos whose parts one search looks at
_STEPS = 1e4  # evidence is ordered in steps of 1 / this, so that rounding of a scan changes no order


@dataclass(frozen=True, slots=True)
class Hit:
    """One photo of an answer.

    ``score`` is the likelihood, 0 to 1, that the photo shows what was asked for; 1 where only facts were
    asked for; for ``similar`` the cosine with the picture. ``taken_at`` is the time on the spot, with its
    zone when the photo tells it. ``place`` is where it was taken. ``why`` says why it is here, ``why_zh`` the
    same in Chinese. ``id`` is the photo's. ``moment`` is the second of a video that shows it. ``row`` is what
    the library says of the photo, for whoever shows more of it.
    """

    path: Path
    score: float
    taken_at: datetime | None
    place: str | None
    why: str
    id: int = 0
    moment: float | None = None
    why_zh: str = ""
    row: Any = field(default=None, repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Results(Sequence[Hit]):
    """A page of an answer.

    Attributes:
        hits: The photos of this page, in their order.
        query: How the words were understood.
        total: All photos of the answer, on all pages.
        verdict: ``found``; ``weak``: all that is there looks only a little like it; ``nothing``.
        closest: When nothing was found, what comes nearest, though it does not fit.
        cursor: What the next page starts from; None on the last one.
        note: Why nothing was found, in one line, when there is something to say about it.
        note_zh: The same in Chinese.
    """

    hits: tuple[Hit, ...]
    query: Query
    total: int
    verdict: Verdict
    closest: tuple[Hit, ...] = ()
    cursor: str | None = None
    note: str | None = None
    note_zh: str | None = None

    def __len__(self) -> int:
        return len(self.hits)

    @overload
    def __getitem__(self, place: int) -> Hit: ...

    @overload
    def __getitem__(self, place: slice) -> tuple[Hit, ...]: ...

    def __getitem__(self, place: int | slice) -> Hit | tuple[Hit, ...]:
        return self.hits[place]

    def __iter__(self) -> Iterator[Hit]:
        return iter(self.hits)


@dataclass(frozen=True, slots=True)
class Ranked:
    """Photos with their evidence, best first, equal ones by rising id.

    Attributes:
        ids, keys: Photos that pass the cut-off, and what they are ordered by.
        closest, closest_keys: The best photos, passing or not.
        best: The best evidence by looks.
        verdict: What the best photo is worth.
    """

    ids: Ids
    keys: NDArray[np.int64]
    closest: Ids
    closest_keys: NDArray[np.int64]
    best: float | None
    verdict: Verdict


class Searcher:
    """The vectors of one library, as it is now at each call."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._matrix: tuple[int, Matrix] | None = None
        self._moments: Moments | None = None
        self._regions: tuple[int, Regions] | None = None
        self._asked = 0
        self._graph: HnswCache | None = None

    def nearest(
        self, pipeline: Pipeline, query: NDArray[np.float32], k: int, *, without: int | None = None
    ) -> list[tuple[int, float]]:
        """Ids and scores of the ``k`` photos nearest to a query [d], best first, never ``without``."""
        index = self.read(pipeline)
        query, wanted = np.ascontiguousarray(query, np.float32), k + (without is not None)
        found = (self._shortcut(index) or index).search(query, wanted)
        ids, scores = self.watch(index).with_videos(*found, query, wanted)
        pairs = zip(ids.tolist(), scores.tolist(), strict=True)
        return [(photo, score) for photo, score in pairs if photo != without][:k]

    def regions(self, pipeline: Pipeline) -> Regions:
        """The parts of a pipeline's photos."""
        if self._regions is None or self._regions[0] != pipeline.id:
            self._regions = pipeline.id, Regions(self._store, pipeline)
        return self._regions[1]

    def read(self, pipeline: Pipeline) -> Matrix:
        """The vectors of a pipeline; what changed since the last call is read. Raises LibraryError."""
        if self._matrix is None or self._matrix[0] != pipeline.id:
            self._matrix = pipeline.id, open_matrix(self._store, pipeline)
            self._asked, self._graph = 0, None
        else:
            self._matrix[1].refresh()
        return self._matrix[1]

    def watch(self, index: Matrix) -> Moments:
        """What ``read`` gave, with the frames of videos. Raises LibraryError."""
        if self._moments is None or self._moments.matrix is not index:
            self._moments = Moments(self._store, index)
        self._moments.refresh()
        return self._moments

    def _shortcut(self, index: Matrix) -> HnswCache | None:
        """The graph of a very large library, where there is one, from a process's second question on.

        Opening it takes longer than an exact search, so a process that asks once never does.
        """
        from sensorium.photos.vectors import hnsw

        self._asked += 1
        if self._asked == 2 and len(index) > hnsw.FROM:
            self._graph = hnsw.open_hnsw(index)
        return self._graph


def rank(
    index: VectorIndex,
    questions: Sequence[Question],
    weights: Sequence[float],
    *,
    among: Ids | None = None,
    words: Mapping[int, float] | None = None,
    hidden: Ids | None = None,
    everything: bool = False,
    best: float | None = None,
    closest: int = 5,
    parts: Parts | None = None,
) -> Ranked:
    """Compare photos with the terms of a query, at least one.

    Args:
        index: The library's vectors.
        questions: The terms.
        weights: Theirs; what has a weight below 0 is unwanted.
        among: Only these photos, sorted.
        words: Likelihood of photos whose own words match.
        hidden: Photos to leave out.
        everything: Whether to let all pass.
        best: The best evidence by looks that decides the cut-off, where an earlier page has measured it.
        closest: How many of the best to name, passing or not.
        parts: The parts of photos: those of the best ``_IN_PARTS`` are looked at.
    """
    ids = _candidates(index, questions, weights, among, closest, everything=everything)
    looked = _Looked(index, questions, weights, parts)
    evidence = looked.evidence(ids, hidden)
    found = best if best is not None else _highest(evidence)
    passing = _passing(found, weights, everything)
    kept = evidence >= passing
    if words:
        ids, evidence, kept = _with_words(looked, ids, evidence, kept, words)
    keys = np.round(evidence.astype(np.float64) * _STEPS).astype(np.int64)
    order = np.lexsort((ids, -keys))
    if hidden is not None and len(hidden):
        order = order[~np.isin(ids[order], hidden)]
    passed = order[kept[order]]
    return Ranked(
        ids[passed],
        keys[passed],
        ids[order[:closest]],
        keys[order[:closest]],
        found if math.isfinite(found) else None,
        verdict_of(_highest(evidence[kept])) if not everything else verdict_of(_highest(evidence)),
    )


def _passing(best: float, weights: Sequence[float], everything: bool) -> float:
    """The evidence that a photo needs to be shown."""
    if everything:
        return -math.inf
    if max(weights) < 0:
        return evidence_of(0.5)  # only unwanted things: whatever rather lacks them
    return cut_off(best) if best >= WEAK else math.inf


def verdict_of(best: float) -> Verdict:
    """What an answer is worth whose best photo has this evidence."""
    return "found" if best >= FOUND else "weak" if best >= WEAK else "nothing"


def likelihood(key: int) -> float:
    """The likelihood of a photo that was ordered by this key."""
    return float(likelihoods(np.array([key]))[0])


def likelihoods(keys: NDArray[np.int64]) -> NDArray[np.float32]:
    """The likelihoods [n] of photos that were ordered by these keys [n]."""
    return probability((keys / _STEPS).astype(np.float32))


def _highest(evidence: NDArray[np.float32]) -> float:
    return float(evidence.max()) if len(evidence) else -math.inf


def _candidates(
    index: VectorIndex,
    questions: Sequence[Question],
    weights: Sequence[float],
    among: Ids | None,
    closest: int,
    *,
    everything: bool,
) -> Ids:
    """All photos that could pass. The evidence of a sum is at most that of its best wanted term."""
    if everything or max(weights) < 0:
        there = index.ids()
        return there if among is None else np.intersect1d(there, among, assume_unique=True)
    if any(question.with_parts is not None for question in questions):
        closest = max(closest, _IN_PARTS)  # a part may show what the whole picture hardly does
    found = [
        index.above(question.vector, question.score(LEAST), among, closest)[0]
        for question, weight in zip(questions, weights, strict=True)
        if weight > 0
    ]
    return np.unique(np.concatenate(found))


@dataclass(frozen=True, slots=True)
class _Looked:
    """The terms of a query, and what photos are compared with."""

    index: VectorIndex
    questions: Sequence[Question]
    weights: Sequence[float]
    parts: Parts | None

    def evidence(self, ids: Ids, hidden: Ids | None = None) -> NDArray[np.float32]:
        """Evidence [n] of the sum of terms for photos [n]; very little for one without a vector."""
        scores = [self.index.scores(question.vector, ids) for question in self.questions]
        evidence = self._combined(scores, {})
        places = [place for place, question in enumerate(self.questions) if question.in_parts]
        if self.parts is not None and places:
            chosen = np.arange(len(ids)) if hidden is None else np.flatnonzero(~np.isin(ids, hidden))
            if max(self.weights) < 0:
                chosen = chosen[-_IN_PARTS:]  # those that came last: such an answer begins with the newest
            elif len(chosen) > _IN_PARTS:
                chosen = chosen[np.lexsort((ids[chosen], -evidence[chosen]))[:_IN_PARTS]]
            nearest = self.parts.closest([self.questions[place].vector for place in places], ids[chosen])
            closest = dict(zip(places, nearest, strict=True))
            evidence[chosen] = self._combined([row[chosen] for row in scores], closest)
        return evidence

    def _combined(
        self, scores: Sequence[NDArray[np.float32]], closest: Mapping[int, NDArray[np.float32]]
    ) -> NDArray[np.float32]:
        combined = arithmetic.combined(self.questions, self.weights, scores, closest)
        return np.nan_to_num(combined, nan=_NO_VECTOR)


def _with_words(
    looked: _Looked,
    ids: Ids,
    evidence: NDArray[np.float32],
    kept: NDArray[np.bool_],
    words: Mapping[int, float],
) -> tuple[Ids, NDArray[np.float32], NDArray[np.bool_]]:
    """The photos with those added whose words match, the evidence of both witnesses, and which ones pass."""
    others = np.setdiff1d(np.fromiter(words, np.int64), ids)
    if len(others):
        ids = np.concatenate((ids, others))
        evidence = np.concatenate((evidence, looked.evidence(others)))
        kept = np.concatenate((kept, np.ones(len(others), bool)))
    kept, joined, seen = kept.copy(), evidence.copy(), probability(evidence)
    for place, photo in enumerate(ids.tolist()):
        if photo in words:
            doubt = (1 - float(seen[place])) * (1 - words[photo])
            joined[place] = evidence_of(min(1 - doubt, 1 - 1e-6))
            kept[place] = True
    return ids, joined, kept


def hits(
    store: Store,
    found: list[tuple[int, float]],
    why: Callable[[Any], Said],
    moments: Mapping[int, float] | None = None,
) -> list[Hit]:
    """Hits for ids and scores, in their order. ``why`` explains a photo from its row.

    ``moments`` are the seconds of videos that show what was asked for, by id.
    """
    rows = store.photos([photo for photo, _ in found])
    placed = cache(place)
    offline = {root: reason_offline(root) is not None for root in {row.root for row in rows.values()}}
    made = []
    for photo, score in found:
        row = rows.get(photo)
        if row is None:
            continue
        said = why(row)
        if offline[row.root]:
            said = Said(f"{said.en}, offline now", f"{said.zh}，现在离线")
        made.append(
            Hit(
                path=Path(join(row.root, row.path)),
                score=score,
                taken_at=local_time(row.taken_at, row.taken_offset),
                place=placed(row.country, row.region, row.city, row.latitude, row.longitude),
                why=said.en,
                id=photo,
                moment=None if moments is None else moments.get(photo),
                why_zh=said.zh,
                row=row,
            )
        )
    return made


def place(
    country: str | None, region: str | None, city: int | None, latitude: float | None, longitude: float | None
) -> str | None:
    """Where a photo was taken: "Kyoto, Japan", or coordinates ("48.8584°N 2.2945°E") far from any town."""
    if country is not None:
        from sensorium.photos import places

        name: str | None = places.label(places.Located(country, region, city))
        if name:
            return name
    if latitude is None or longitude is None:
        return None
    north = f"{abs(latitude):.4f}°{'N' if latitude >= 0 else 'S'}"
    return f"{north} {abs(longitude):.4f}°{'E' if longitude >= 0 else 'W'}"

"""The nearest vectors, exactly. An index is a disposable copy of what the library file holds.

Vectors have unit length and are kept as float16; a score is the inner product with the query, which is
the cosine. Equal scores come in the order of their ids, so the same library gives the same answer, and a
photo has the same score whichever way it is found: ``score`` is the only place where scores are made.

Rows are looked through by a ``Sieve``, and those that could be among the best by what the sieve promises
are scored from their float16 numbers. So the answer is brute force's, ties and filters included; how far a
sieve is off decides only how many rows are scored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol, TypeVar

import numpy as np

from sensorium.photos.vectors.sieve import BLOCK, Halves, Ids, Mask, NumpySieve, Scores, Sieve

NUMPY_UP_TO = 20_000
"""Vectors up to which NumPy answers within what importing Faiss alone would cost a cold process."""

DIRECT = 2048
"""Selected ids up to which scoring each of them costs less than a scan."""

_MARGIN = 448  # rows fetched beyond those wanted: they cost little, a second look costs a second scan

_Work = TypeVar("_Work")


class Each(Protocol):
    """``map``, or an executor's."""

    def __call__(self, work: Callable[[_Work], None], items: Iterable[_Work], /) -> Iterable[None]:
        """Do some work for each item, in any order or side by side; done when the answer is used up."""


class VectorIndex(Protocol):
    """What a search needs of an index, whoever implements it."""

    def __len__(self) -> int: ...

    def ids(self) -> Ids:
        """Everything that can answer, ascending."""

    def search(self, query: Scores, k: int, ids: Ids | None = None) -> tuple[Ids, Scores]:
        """The ``k`` best for a query [d], best first; only among ``ids`` [m] when given."""

    def above(self, query: Scores, least: float, ids: Ids | None = None, k: int = 0) -> tuple[Ids, Scores]:
        """All that score at least ``least``, best first, and the ``k`` best even if they score less."""

    def scores(self, query: Scores, ids: Ids) -> Scores:
        """The score of each of ``ids`` [m], in their order; NaN where there is no vector."""


class Rows:
    """Vectors that stay as they are: ``ids`` [n], ascending, and ``halves`` [n, d], n at least 1.

    ``hidden`` [n] marks those that do not answer. ``check`` is called with positions and their halves before
    these are used, and raises when they are not what was written.
    """

    def __init__(
        self,
        ids: Ids,
        halves: Halves,
        sieve: Sieve,
        hidden: Mask | None = None,
        check: Callable[[Ids, Halves], None] | None = None,
    ) -> None:
        self.ids, self.halves, self.sieve = ids, halves, sieve
        self.hidden = hidden if hidden is not None and hidden.any() else None
        self._check = check

    def __len__(self) -> int:
        """How many answer."""
        return len(self.ids) - (0 if self.hidden is None else int(np.count_nonzero(self.hidden)))

    def hiding(self, hidden: Mask | None) -> Rows:
        """The same rows with other ones hidden."""
        return Rows(self.ids, self.halves, self.sieve, hidden, self._check)

    def admitted(self, ids: Ids | None) -> Mask | None:
        """Which rows may answer, among ascending ``ids`` when given; None when all may."""
        if ids is None:
            return None if self.hidden is None else ~self.hidden
        low, high = np.searchsorted(ids, (self.ids[0], self.ids[-1] + 1))
        mask: Mask
        if 8 * (high - low) < len(self.ids):  # looking each up costs less than going through all rows
            mask = np.zeros(len(self.ids), bool)
            mask[self.positions(ids[low:high])[1]] = True
            return mask
        mask = np.isin(self.ids, ids[low:high], assume_unique=True)
        return mask if self.hidden is None else mask & ~self.hidden

    def positions(self, ids: Ids) -> tuple[Ids, Ids]:
        """Of ascending ``ids`` those that may answer here: where they stand in ``ids``, and in these rows."""
        places = np.flatnonzero((ids >= self.ids[0]) & (ids <= self.ids[-1]))
        positions = np.searchsorted(self.ids, ids[places])
        here = self.ids[positions] == ids[places]
        if self.hidden is not None:
            here &= ~self.hidden[positions]
        return places[here], positions[here]

    def take(self, positions: Ids) -> Halves:
        """Copies of the halves at positions, checked."""
        halves = self.halves[positions]
        if self._check is not None:
            self._check(positions, halves)
        return halves

    def score(self, query: Scores, positions: Ids) -> Scores:
        """Scores at positions. Row by row: the sum never depends on which rows are scored with it."""
        if isinstance(self.sieve, NumpySieve):
            return self.sieve.scores(query, positions)
        scores = np.empty(len(positions), np.float32)
        for start in range(0, len(positions), BLOCK):
            part = positions[start : start + BLOCK]
            np.vecdot(self.take(part).astype(np.float32), query, out=scores[start : start + BLOCK])
        return scores


class Hunt:
    """One search through one ``Rows``: what the sieve let through so far, and whether more may follow."""

    def __init__(self, rows: Rows, query: Scores, ids: Ids | None) -> None:
        self.rows, self.query = rows, query
        self.allowed = rows.admitted(ids)
        self.most = len(rows.ids) if self.allowed is None else int(np.count_nonzero(self.allowed))
        self.error = rows.sieve.error(query)
        self.wanted = self.seen = 0
        self.positions: Ids = np.empty(0, np.int64)
        self.approximate: Scores = np.empty(0, np.float32)
        self.found = self.positions, self.approximate

    def begin(self, k: int, least: float) -> None:
        """Want the ``k`` best, and about as many as reach ``least``."""
        if least < np.inf:
            k = max(k, self.rows.sieve.expected(self.query, least - self.error, self.allowed))
        self.wanted = k + _MARGIN

    def look(self) -> None:
        """Fetch as many as are wanted now."""
        self.seen = min(self.wanted, self.most)
        self.positions, self.approximate = self.rows.sieve.first(self.query, self.seen, self.allowed)

    def take_all(self) -> None:
        """Fetch everything without a look."""
        everything = np.arange(len(self.rows.ids)) if self.allowed is None else np.flatnonzero(self.allowed)
        self.positions, self.seen = everything, self.most
        self.approximate = np.full(len(everything), np.inf, np.float32)

    def hides(self, threshold: float) -> bool:
        """Whether a row that was not fetched could reach a score."""
        if self.seen >= self.most:
            return False
        return not self.seen or bool(self.approximate[-1] + self.error >= threshold)

    def score(self, threshold: float) -> None:
        """Find out the scores of the fetched rows that could reach a score."""
        positions = np.sort(self.positions[self.approximate + self.error >= threshold])
        self.found = self.rows.ids[positions], self.rows.score(self.query, positions)


def find(
    parts: Sequence[Rows],
    query: Scores,
    k: int,
    least: float = np.inf,
    ids: Ids | None = None,
    each: Each = map,
) -> tuple[Ids, Scores]:
    """Everything that scores at least ``least``, and the ``k`` best in any case; best first.

    An id answers in one part at most. ``each`` may look through several parts at the same time.
    """
    query = np.ascontiguousarray(query, np.float32)
    if not np.isfinite(query).all():  # nothing resembles it
        return np.empty(0, np.int64), np.empty(0, np.float32)
    if ids is not None:
        ids = ascending(ids)
        if len(ids) <= DIRECT:
            scores = score_all(parts, query, ids, each)
            there = ~np.isnan(scores)
            return _cut(ids[there], scores[there], k, least)
    hunts = [Hunt(part, query, ids) for part in parts]
    everything = k >= sum(hunt.most for hunt in hunts)
    for hunt in hunts:
        if everything:
            hunt.take_all()
        hunt.begin(k, least)
    threshold = -np.inf
    while pending := [hunt for hunt in hunts if hunt.hides(threshold)]:
        list(each(Hunt.look, pending))
        # What the k best so far score, the k best of all score at least.
        threshold = max(threshold, min(least, _kth(hunts, k)))
        for hunt in pending:
            hunt.wanted *= 4
    list(each(lambda hunt: hunt.score(threshold), hunts))
    found = [(np.empty(0, np.int64), np.empty(0, np.float32)), *(hunt.found for hunt in hunts)]
    reaching, scores = (np.concatenate(column) for column in zip(*found, strict=True))
    return _cut(reaching, scores, k, least)


def _kth(hunts: Sequence[Hunt], k: int) -> float:
    """A score that k rows reach: the least of those that look best so far; -inf while they are fewer."""
    if k == 0:
        return np.inf
    approximate = np.concatenate([hunt.approximate for hunt in hunts])
    if len(approximate) < k:
        return -np.inf
    floor = np.partition(approximate, -k)[-k]
    return min(
        float(hunt.rows.score(hunt.query, hunt.positions[best]).min())
        for hunt in hunts
        if (best := hunt.approximate >= floor).any()
    )


def _cut(ids: Ids, scores: Scores, k: int, least: float) -> tuple[Ids, Scores]:
    return ordered(ids, scores, max(k, int(np.count_nonzero(scores >= least))))


def score_all(parts: Sequence[Rows], query: Scores, ids: Ids, each: Each = map) -> Scores:
    """Scores of ascending ``ids``, NaN where no part answers for one."""
    scores = np.full(len(ids), np.nan, np.float32)

    def fill(part: Rows) -> None:
        places, positions = part.positions(ids)
        scores[places] = part.score(query, positions)

    list(each(fill, parts))
    return scores


def ascending(ids: Ids) -> Ids:
    """The ids, each once, ascending; the array itself when it is so already."""
    ids = np.asarray(ids, np.int64)
    return ids if bool(np.all(ids[1:] > ids[:-1])) else np.unique(ids)


def ordered(ids: Ids, scores: Scores, k: int) -> tuple[Ids, Scores]:
    """The first ``k`` by falling score, then by rising id."""
    order = np.lexsort((ids, -scores))[:k]
    return ids[order], scores[order]


def scores_in_order(parts: Sequence[Rows], query: Scores, ids: Ids, each: Each = map) -> Scores:
    """Scores of ids in any order, as ``VectorIndex.scores`` has them."""
    query = np.ascontiguousarray(query, np.float32)
    distinct, places = np.unique(np.asarray(ids, np.int64), return_inverse=True)
    return score_all(parts, query, distinct, each)[places]


class NumpyExact:
    """An index in memory that is filled at once: for measurements of some thousand vectors."""

    _sieve: Callable[[Halves], Sieve] = NumpySieve

    def __init__(self) -> None:
        self._parts: tuple[Rows, ...] = ()

    def __len__(self) -> int:
        return sum(map(len, self._parts))

    def ids(self) -> Ids:
        """As in VectorIndex."""
        return np.concatenate([np.empty(0, np.int64), *(part.ids for part in self._parts)])

    def rebuild(self, ids: Ids, vectors: Halves) -> None:
        """Replace the content: ids [n], ascending, and vectors [n, d]."""
        self._parts = (Rows(ids, vectors, type(self)._sieve(vectors)),) if len(ids) else ()

    def search(self, query: Scores, k: int, ids: Ids | None = None) -> tuple[Ids, Scores]:
        """As in VectorIndex."""
        return find(self._parts, query, k, ids=ids)

    def above(self, query: Scores, least: float, ids: Ids | None = None, k: int = 0) -> tuple[Ids, Scores]:
        """As in VectorIndex."""
        return find(self._parts, query, k, least, ids)

    def scores(self, query: Scores, ids: Ids) -> Scores:
        """As in VectorIndex."""
        return scores_in_order(self._parts, query, ids)

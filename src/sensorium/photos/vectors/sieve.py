"""A quick look at all rows of a matrix, with a bound on how wrong it is: which rows could be the best?

A sieve gives each row an approximate score that differs from the row's score by at most ``error``. Whoever
scores exactly all rows whose approximate score comes within that of the best ones has lost nothing.

``NumpySieve`` is never off: few rows are soon multiplied. ``FaissSieve`` scans one byte a number, of the
query as well, which processors multiply fastest. Rounding costs least when all numbers of a vector are alike
in size, but CLIP's vectors have a part in common and a few dimensions far larger than the rest. So the mean
is taken off and the rest is turned by a fixed rotation, which leaves inner products as they are and spreads
large numbers evenly. Its bound is the Cauchy-Schwarz inequality over what rounding left of row and query.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from functools import cache
from hashlib import shake_256
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int64]
Halves = NDArray[np.float16]
Scores = NDArray[np.float32]
Mask = NDArray[np.bool_]
Codes = NDArray[np.uint8]

BLOCK = 8192  # rows at a time wherever a float32 copy is made: 16 MB of 512 dimensions
_RECENT = 8  # queries whose scores a small sieve keeps: the terms of what is asked at the same time
_SAMPLE = 1024  # rows by which a sieve guesses how many are above a score
_UNIT = 2.0**-22  # of float32 arithmetic; four times what one operation loses


class Sieve(Protocol):
    """Approximate scores of rows, and how far they can be from the scores."""

    def error(self, query: Scores) -> float:
        """The greatest difference of an approximate score from the score."""

    def first(self, query: Scores, count: int, allowed: Mask | None) -> tuple[Ids, Scores]:
        """Positions of the ``count`` best by approximate score, best first, with that score.

        Only positions that ``allowed`` [n] admits, when it is given; fewer when there are no more.
        """

    def expected(self, query: Scores, least: float, allowed: Mask | None) -> int:
        """A guess, rather high, of how many approximate scores reach ``least``."""


class NumpySieve:
    """The scores themselves, from a float32 copy of the rows [n, d]: no import, no preparation.

    One search asks several times about the same query, so that the scores of the last ones are kept. Safe to
    use from several threads.
    """

    def __init__(self, halves: Halves) -> None:
        self._rows = halves.astype(np.float32)
        self._recent: OrderedDict[bytes, Scores] = OrderedDict()
        self._lock = threading.Lock()

    def error(self, query: Scores) -> float:
        """As in Sieve."""
        return 0.0

    def scores(self, query: Scores, positions: Ids) -> Scores:
        """Scores at positions."""
        known = self._recent.get(query.tobytes())
        if known is None and 4 * len(positions) <= len(self._rows):
            scores: Scores = np.vecdot(self._rows[positions], query)
            return scores
        if known is None:  # copying rows would cost more than multiplying them all
            known = self._every(query)
        return known[positions]

    def _every(self, query: Scores) -> Scores:
        key = query.tobytes()
        known = self._recent.get(key)
        if known is None:
            known = np.vecdot(self._rows, query)
            with self._lock:
                self._recent[key] = known
                while len(self._recent) > _RECENT:
                    self._recent.popitem(last=False)
        return known

    def first(self, query: Scores, count: int, allowed: Mask | None) -> tuple[Ids, Scores]:
        """As in Sieve."""
        positions: Ids = np.arange(len(self._rows)) if allowed is None else np.flatnonzero(allowed)
        scores = self.scores(query, positions)
        if count < len(scores):
            best = np.argpartition(scores, -count)[-count:]
            positions, scores = positions[best], scores[best]
        order = np.argsort(-scores)
        return positions[order], scores[order]

    def expected(self, query: Scores, least: float, allowed: Mask | None) -> int:
        """As in Sieve; exact, because it costs no more."""
        above = self._every(query) >= least
        return int(np.count_nonzero(above if allowed is None else above & allowed))


@cache
def rotation(dim: int) -> NDArray[np.float32]:
    """An orthogonal matrix [d, d] without large entries: fixed random signs, then a cosine transform."""
    drawn = np.frombuffer(shake_256(b"sensorium").digest(-(-dim // 8)), np.uint8)
    signs = 1.0 - 2.0 * np.unpackbits(drawn)[:dim]
    frequency, place = np.arange(dim)[:, None], np.arange(dim) + 0.5
    waves = np.sqrt(2 / dim) * np.cos(np.pi / dim * frequency * place)
    waves[0] /= np.sqrt(2)
    turned: NDArray[np.float32] = (waves * signs).astype(np.float32)
    return turned


@dataclass(frozen=True, slots=True)
class Coding:
    """How rows were turned into bytes: ``rotation @ (row - centre)`` is about ``step * (code - 128)``.

    ``centre`` and ``step`` are [d]. ``reach`` is the greatest length of what rounding left of a row, and
    ``length`` the greatest of what it kept, both counted in steps.
    """

    centre: NDArray[np.float32]
    step: NDArray[np.float32]
    reach: float
    length: float


def encode(halves: Halves) -> tuple[Coding, Codes]:
    """One byte a number for rows [n, d], n at least 1, with the coding that fits them best."""
    count, dim = halves.shape
    starts = range(0, count, BLOCK)
    total = np.zeros(dim)
    for start in starts:
        total += halves[start : start + BLOCK].sum(axis=0, dtype=np.float64)
    centre = (total / count).astype(np.float32)

    def turned(start: int) -> NDArray[np.float32]:
        rows: NDArray[np.float32] = (halves[start : start + BLOCK].astype(np.float32) - centre) @ rotation(
            dim
        ).T
        return rows

    step = np.zeros(dim, np.float32)
    for start in starts:
        np.maximum(step, np.abs(turned(start)).max(axis=0) / np.float32(127), out=step)
    divisor = np.where(step > 0, step, np.float32(1))
    codes = np.empty(halves.shape, np.uint8)
    reach = length = 0.0
    for start in starts:
        steps = turned(start) / divisor
        kept = np.rint(steps)
        left = steps - kept
        codes[start : start + BLOCK] = (kept + 128).astype(np.uint8)
        reach = max(reach, float(np.vecdot(left, left).max()))
        length = max(length, float(np.vecdot(kept, kept).max()))
    return Coding(centre, step, 1.001 * float(np.sqrt(reach)) + 1e-3, 1.001 * float(np.sqrt(length))), codes


def faiss_module() -> Any:
    """Faiss, imported at the first use: a cold search of a small library never needs it."""
    import faiss

    return faiss


def index_of(codes: Codes) -> Any:
    """A Faiss index that holds a copy of codes [n, d]."""
    faiss = faiss_module()
    index = faiss.IndexScalarQuantizer(
        codes.shape[1], faiss.ScalarQuantizer.QT_8bit_direct_signed, faiss.METRIC_INNER_PRODUCT
    )
    index.is_trained = True  # there is nothing to learn: a code is the number itself
    index.add_sa_codes(np.ascontiguousarray(codes))
    return index


class FaissSieve:
    """Faiss' scan of one byte a number, a quarter of the memory traffic of float32.

    ``index`` is what ``index_of`` made, or the same over mapped memory; ``codes`` [n, d] are its own.
    """

    def __init__(self, index: Any, coding: Coding, codes: Codes) -> None:
        self._index = index
        self._coding = coding
        self._codes = codes  # the index may only look at this memory
        self._every = max(1, len(codes) // _SAMPLE)
        self._sample = codes[:: self._every].astype(np.float32) - 128

    @classmethod
    def of(cls, halves: Halves) -> FaissSieve:
        """A sieve that keeps its codes in memory."""
        coding, codes = encode(halves)
        return cls(index_of(codes), coding, codes)

    def error(self, query: Scores) -> float:
        """As in Sieve."""
        coding = self._coding
        weights = self._weights(query)
        rounded, unit = _rounded(weights)
        by_rows = coding.reach * np.linalg.norm(weights)
        by_query = coding.length * np.linalg.norm(weights - unit * rounded)
        greatest = np.abs(query) @ np.abs(coding.centre) + 127 * np.abs(weights).sum()
        return float(by_rows + by_query + len(query) * _UNIT * greatest)

    def first(self, query: Scores, count: int, allowed: Mask | None) -> tuple[Ids, Scores]:
        """As in Sieve."""
        parameters, faiss = None, faiss_module()
        if allowed is not None:
            bits = np.packbits(allowed, bitorder="little")
            parameters = faiss.SearchParameters(sel=faiss.IDSelectorBitmap(bits))
        rounded, unit = _rounded(self._weights(query))
        scores, positions = self._index.search(rounded[None], count, params=parameters)
        found = positions[0] >= 0
        return positions[0][found], unit * scores[0][found] + query @ self._coding.centre

    def expected(self, query: Scores, least: float, allowed: Mask | None) -> int:
        """As in Sieve, from a sample."""
        above = self._sample @ self._weights(query) + query @ self._coding.centre >= least
        if allowed is not None:
            above &= allowed[:: self._every]
        hits = int(np.count_nonzero(above))
        return int((hits + 2 * hits**0.5) * self._every)

    def _weights(self, query: Scores) -> Scores:
        """What a step of a code adds to a score, by dimension."""
        weights: Scores = (rotation(len(query)) @ query) * self._coding.step
        return weights


def _rounded(weights: Scores) -> tuple[Scores, np.float32]:
    """Whole numbers from -127 to 127, and the unit by which they are multiplied to be about the weights.

    Faiss cuts what is behind the decimal point where it has fast instructions for whole numbers.
    """
    unit = np.abs(weights).max() / np.float32(127)
    if not unit > 0:  # nothing to weigh, or nothing to be made of it
        return np.zeros_like(weights), np.float32(0)
    return np.rint(weights / unit), unit

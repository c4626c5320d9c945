"""The nearest vectors, exactly. An index is a disposable copy of what the library file holds.

Vectors have unit length and are kept as float16; a score is the inner product with the query, which is
the cosine. Equal scores come in the order of their ids, so the same library gives the same answer.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int64]
Halves = NDArray[np.float16]
Scores = NDArray[np.float32]

NUMPY_UP_TO = 20_000
"""Vectors up to which NumPy answers within what importing Faiss alone would cost a cold process."""


class VectorIndex(Protocol):
    """What a search needs of an index, whoever implements it."""

    def __len__(self) -> int: ...

    def rebuild(self, ids: Ids, vectors: Halves) -> None:
        """Replace the content: ids [n], ascending, and vectors [n, d]."""

    def add(self, ids: Ids, vectors: Halves) -> None:
        """Add vectors whose ids are greater than all that are there."""

    def search(self, query: Scores, k: int, ids: Ids | None = None) -> tuple[Ids, Scores]:
        """The ``k`` best for a query [d], best first; only among ``ids`` [m] when given."""


def index_for(count: int, dim: int) -> VectorIndex:
    """The exact index that answers soonest from a cold process for this many vectors."""
    return NumpyExact(dim) if count <= NUMPY_UP_TO else FaissExact(dim)


class NumpyExact:
    """One matrix product over float32 copies: for small libraries, where any import costs more."""

    def __init__(self, dim: int) -> None:
        self._ids: Ids = np.empty(0, np.int64)
        self._matrix: NDArray[np.float32] = np.empty((0, dim), np.float32)

    def __len__(self) -> int:
        return len(self._ids)

    def rebuild(self, ids: Ids, vectors: Halves) -> None:
        """As in VectorIndex."""
        self._ids, self._matrix = ids, vectors.astype(np.float32)

    def add(self, ids: Ids, vectors: Halves) -> None:
        """As in VectorIndex."""
        self._ids = np.concatenate((self._ids, ids))
        self._matrix = np.concatenate((self._matrix, vectors.astype(np.float32)))

    def search(self, query: Scores, k: int, ids: Ids | None = None) -> tuple[Ids, Scores]:
        """As in VectorIndex."""
        if ids is None:
            among, scores = self._ids, self._matrix @ query
        else:
            positions = positions_of(ids, self._ids)
            among, scores = self._ids[positions], self._matrix[positions] @ query
        if k < len(scores):
            # Everything that ties with the last place takes part in the order.
            kept = np.flatnonzero(scores >= np.partition(scores, -k)[-k])
            among, scores = among[kept], scores[kept]
        return ordered(among, scores, k)


class FaissExact:
    """Faiss' flat scan over float16 codes, which are the bytes of the library's own rows."""

    def __init__(self, dim: int) -> None:
        import faiss

        self._faiss: Any = faiss
        self._dim = dim
        self._ids: Ids = np.empty(0, np.int64)
        self._flat: Any = self._empty()

    def __len__(self) -> int:
        return len(self._ids)

    def _empty(self) -> Any:
        faiss = self._faiss
        return faiss.IndexScalarQuantizer(
            self._dim, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT
        )

    def rebuild(self, ids: Ids, vectors: Halves) -> None:
        """As in VectorIndex."""
        self._ids, self._flat = np.empty(0, np.int64), self._empty()
        self.add(ids, vectors)

    def add(self, ids: Ids, vectors: Halves) -> None:
        """As in VectorIndex."""
        self._ids = np.concatenate((self._ids, ids))
        self._flat.add_sa_codes(np.ascontiguousarray(vectors, dtype="<f2").view(np.uint8))

    def search(self, query: Scores, k: int, ids: Ids | None = None) -> tuple[Ids, Scores]:
        """As in VectorIndex."""
        parameters, most = None, len(self)
        if ids is not None:
            positions = positions_of(ids, self._ids)
            most = len(positions)
            selector = self._faiss.IDSelectorBatch(positions)
            parameters = self._faiss.SearchParameters(sel=selector)
        wanted = min(k, most)
        if not wanted:
            return np.empty(0, np.int64), np.empty(0, np.float32)
        fetched = min(wanted + 16, most)
        while True:
            scores, positions = self._flat.search(query[None], fetched, params=parameters)
            # The heap keeps any of several equal last ones: look further until the tie ends.
            if fetched == most or scores[0, -1] < scores[0, wanted - 1]:
                return ordered(self._ids[positions[0]], scores[0], k)
            fetched = min(4 * fetched, most)


def positions_of(ids: Ids, among: Ids) -> NDArray[np.int64]:
    """Positions, in the ascending ``among``, of those ``ids`` that are there; each once, ascending."""
    ids = np.unique(ids)
    positions = np.searchsorted(among, ids)
    inside = positions < len(among)
    found: NDArray[np.int64] = positions[inside][among[positions[inside]] == ids[inside]]
    return found


def ordered(ids: Ids, scores: Scores, k: int) -> tuple[Ids, Scores]:
    """The first ``k`` by falling score, then by rising id."""
    order = np.lexsort((ids, -scores))[:k]
    return ids[order], scores[order]

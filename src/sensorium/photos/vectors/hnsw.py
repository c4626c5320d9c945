"""A graph for libraries of more than a million vectors: a disposable shortcut, never the only way.

It is built on request, beside the matrix, and answers unfiltered searches only. What it finds is scored
exactly like everything else, and what was written since it was built is scanned, so it can miss photos but
never show a wrong score or an old vector. Its recall is measured against the exact search on queries that the
caller finds typical; a graph that finds too little is not kept. Filters and everything above a score
are the matrix's own.
"""

from __future__ import annotations

import json
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sensorium.photos.vectors.index import ordered
from sensorium.photos.vectors.matrix import Matrix
from sensorium.photos.vectors.sieve import BLOCK, Ids, Scores, faiss_module

FROM = 1_000_000
"""Vectors up to which the exact search is fast enough to have nothing beside it."""

NEEDED = 0.999
"""Recall at 20 below which a graph is not kept."""

_LINKS, _EFFORT = 32, 512  # neighbours of a node; how many nodes a search keeps in view
_MEASURED_AT = 20


class HnswCache:
    """A graph over the vectors that a matrix held once. ``recall`` is what was measured when it was built."""

    def __init__(self, matrix: Matrix, graph: Any, generation: int, recall: float) -> None:
        self.recall = recall
        self._matrix, self._graph, self._generation = matrix, graph, generation

    def search(self, query: Scores, k: int) -> tuple[Ids, Scores]:
        """The ``k`` best for a query [d], best first: nearly all of them, with exact scores."""
        faiss = faiss_module()
        effort = faiss.SearchParametersHNSW(efSearch=max(_EFFORT, 4 * k))
        asked = np.ascontiguousarray(query, np.float32)[None]
        found = self._graph.search(asked, min(2 * k + 32, self._graph.ntotal), params=effort)[1][0]
        fresh = self._matrix.written_since(self._generation)
        near = np.setdiff1d(found[found >= 0], fresh)
        scores = self._matrix.scores(query, near)
        there = ~np.isnan(scores)  # photos may have gone since
        since = self._matrix.search(query, k, fresh)
        return ordered(np.append(near[there], since[0]), np.append(scores[there], since[1]), k)


def build_hnsw(matrix: Matrix, queries: NDArray[np.float32]) -> HnswCache | None:
    """Build and keep the graph of a matrix; takes minutes a million vectors, and the memory of its codes.

    Args:
        matrix: What it is to stand for.
        queries: Typical queries [n, d], by which its recall is measured.

    Returns:
        None when the matrix has too few vectors to need one, or the graph would find too few of the best.
    """
    if len(matrix) <= FROM:
        return None
    faiss = faiss_module()
    generation, ids = matrix.generation, matrix.ids()
    inner = faiss.IndexHNSWSQ(
        matrix.pipeline.dim, faiss.ScalarQuantizer.QT_8bit, _LINKS, faiss.METRIC_INNER_PRODUCT
    )
    inner.train(matrix.rows(ids[:: max(1, len(ids) // 50_000)]).astype(np.float32))
    graph = faiss.IndexIDMap(inner)
    for start in range(0, len(ids), BLOCK):
        some = ids[start : start + BLOCK]
        graph.add_with_ids(matrix.rows(some).astype(np.float32), some)
    cache = HnswCache(matrix, graph, generation, 0.0)
    cache.recall = _recall(cache, matrix, queries)
    if cache.recall < NEEDED:
        return None
    with suppress(OSError, RuntimeError):  # where it cannot be kept it still serves this process
        _keep(cache, graph, matrix)
    return cache


def open_hnsw(matrix: Matrix) -> HnswCache | None:
    """The graph that was kept for a matrix; None when there is none that can be believed."""
    path = matrix.beside("graph")
    try:
        stamp = json.loads(_stamp(path).read_bytes())
        same = stamp["key"] == matrix.key() and stamp["check"] == _check(path)
        if not same or stamp["generation"] > matrix.generation:
            return None
        graph = faiss_module().read_index(str(path))
        return HnswCache(matrix, graph, int(stamp["generation"]), float(stamp["recall"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _recall(cache: HnswCache, matrix: Matrix, queries: NDArray[np.float32]) -> float:
    shares = []
    for query in queries:
        true = matrix.search(query, _MEASURED_AT)[0]
        shares.append(len(np.intersect1d(cache.search(query, _MEASURED_AT)[0], true)) / len(true))
    return float(np.mean(shares))


def _keep(cache: HnswCache, graph: Any, matrix: Matrix) -> None:
    path = matrix.beside("graph")
    beside = path.with_name(f"{path.name}.part")
    _stamp(path).unlink(missing_ok=True)  # until the new one is complete there is none
    faiss_module().write_index(graph, str(beside))
    stamp = {
        "key": matrix.key(),
        "generation": cache._generation,
        "recall": cache.recall,
        "check": _check(beside),
    }
    beside.replace(path)
    _stamp(path).write_text(json.dumps(stamp), encoding="ascii")


def _stamp(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")


def _check(path: Path) -> int:
    value = 0
    with path.open("rb") as file:
        while block := file.read(1 << 24):
            value = zlib.crc32(block, value)
    return value

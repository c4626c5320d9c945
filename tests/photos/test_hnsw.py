"""The graph of a very large library: exact scores, nothing old, nothing that was not asked for."""

import numpy as np
import pytest
from matrix_library import Shelf, unit

from sensorium.photos.vectors import hnsw
from sensorium.photos.vectors.hnsw import build_hnsw, open_hnsw
from sensorium.photos.vectors.matrix import open_matrix


@pytest.fixture
def shelf(tmp_path, monkeypatch) -> Shelf:
    monkeypatch.setattr(hnsw, "FROM", 1000)
    shelf = Shelf(tmp_path)
    shelf.add(1500)
    return shelf


def check(shelf: Shelf, cache, matrix) -> None:
    for _ in range(10):
        query = shelf.query()
        ids, scores = cache.search(query, 10)
        assert len(np.intersect1d(ids, shelf.brute(query, 10))) >= 9
        assert scores.tolist() == matrix.scores(query, ids).tolist()


def test_it_finds_what_the_exact_search_finds(shelf):
    matrix = open_matrix(shelf.store, shelf.pipeline)
    (shelf.store.folder / "matrix").mkdir()
    cache = build_hnsw(matrix, unit(shelf.rng, 30).astype(np.float32))
    assert cache.recall >= 0.999
    check(shelf, cache, matrix)
    again = open_hnsw(matrix)
    assert again.recall == cache.recall
    check(shelf, again, matrix)


def test_it_never_shows_what_is_gone_and_knows_what_is_new(shelf):
    matrix = open_matrix(shelf.store, shelf.pipeline)
    cache = build_hnsw(matrix, unit(shelf.rng, 10).astype(np.float32))
    everything = list(shelf.truth)
    shelf.delete(everything[:300])
    shelf.lose(everything[300:500])
    shelf.change(everything[500:700])
    shelf.add(100)
    matrix.refresh()
    check(shelf, cache, matrix)


def test_small_libraries_have_none(shelf, monkeypatch):
    matrix = open_matrix(shelf.store, shelf.pipeline)
    monkeypatch.setattr(hnsw, "FROM", 1500)
    assert build_hnsw(matrix, unit(shelf.rng, 3).astype(np.float32)) is None
    assert open_hnsw(matrix) is None


def test_a_graph_that_finds_too_little_is_not_kept(shelf, monkeypatch):
    matrix = open_matrix(shelf.store, shelf.pipeline)
    monkeypatch.setattr(hnsw, "NEEDED", 1.1)
    assert build_hnsw(matrix, unit(shelf.rng, 3).astype(np.float32)) is None


@pytest.mark.parametrize("name", ["1.graph", "1.graph.json"])
def test_a_damaged_graph_is_not_believed(shelf, name):
    matrix = open_matrix(shelf.store, shelf.pipeline)
    (shelf.store.folder / "matrix").mkdir()
    build_hnsw(matrix, unit(shelf.rng, 3).astype(np.float32))
    path = shelf.store.folder / "matrix" / name
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 64
    path.write_bytes(content)
    assert open_hnsw(matrix) is None

"""Exact search, by either engine, against plain arithmetic."""

import numpy as np
import pytest

from sensorium.photos.vectors import FaissExact, NumpyExact, VectorIndex

DIM = 24


def data(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((count, DIM)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    ids = np.sort(rng.choice(10 * count, count, replace=False)).astype(np.int64)
    query = rng.standard_normal(DIM).astype(np.float32)
    return ids, rows.astype(np.float16), query / np.linalg.norm(query)


def brute(ids, rows, query, k, allowed=None):
    scores = rows.astype(np.float64) @ query
    pairs = [(-s, i) for s, i in zip(scores, ids, strict=True) if allowed is None or i in allowed]
    return [i for _, i in sorted(pairs)[:k]]


@pytest.fixture(params=[NumpyExact, FaissExact])
def index(request) -> VectorIndex:
    return request.param(DIM)


@pytest.mark.parametrize("k", [1, 20, 500, 5000])
def test_equals_brute_force(index, k):
    ids, rows, query = data(3000)
    index.rebuild(ids, rows)
    found, scores = index.search(query, k)
    assert found.tolist() == brute(ids, rows, query, k)
    assert np.all(np.diff(scores) <= 0)
    assert scores[0] == pytest.approx(float(rows[ids == found[0]][0].astype(np.float32) @ query), abs=1e-4)


@pytest.mark.parametrize("share", [0.5, 0.01, 0.0004])
def test_filtered_equals_brute_force(index, share):
    ids, rows, query = data(5000)
    index.rebuild(ids, rows)
    allowed = np.random.default_rng(1).choice(ids, int(share * 5000), replace=False)
    found, _ = index.search(query, 20, np.append(allowed, [-5, 10**9]))
    assert found.tolist() == brute(ids, rows, query, 20, set(allowed.tolist()))


def test_ties_come_in_the_order_of_ids(index):
    ids, rows, query = data(200)
    rows[:] = rows[0]
    index.rebuild(ids, rows)
    assert index.search(query, 7)[0].tolist() == ids[:7].tolist()
    assert index.search(query, 3, ids[50:])[0].tolist() == ids[50:53].tolist()


def test_growing_equals_rebuilding(index):
    ids, rows, query = data(300)
    index.rebuild(ids[:100], rows[:100])
    index.add(ids[100:], rows[100:])
    assert len(index) == 300
    assert index.search(query, 10)[0].tolist() == brute(ids, rows, query, 10)
    index.rebuild(ids[:5], rows[:5])
    assert len(index) == 5
    assert sorted(index.search(query, 10)[0].tolist()) == ids[:5].tolist()


def test_nothing_to_find(index):
    query = data(2)[2]
    assert len(index.search(query, 5)[0]) == 0
    index.rebuild(*data(3)[:2])
    assert len(index.search(query, 5, np.array([10**9]))[0]) == 0

"""Exact search, by either engine, against plain arithmetic."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sensorium.photos.vectors import index as vectors
from sensorium.photos.vectors import sieve
from sensorium.photos.vectors.index import NumpyExact, Rows, find
from sensorium.photos.vectors.sieve import FaissSieve, NumpySieve

DIMS = (24, 64)  # Faiss has other instructions where 64 divides


class FaissExact(NumpyExact):
    """As large libraries are looked through."""

    _sieve = FaissSieve.of


def unit(rng: np.random.Generator, shape: tuple[int, int], kind: str = "even") -> np.ndarray:
    """Rows of unit length: of even numbers, or with what real models have."""
    rows = rng.standard_normal(shape)
    if kind == "skewed":  # a large part in common, a few dimensions far larger than the rest, one of no use
        rows[:, ::7] *= 8
        rows[:, 1] = 0
        rows += 4 * rng.standard_normal(shape[1])
    elif kind == "bursts":  # many shots of a few scenes
        rows = rows[rng.integers(0, min(4, shape[0]), shape[0])] + 0.01 * rows
    elif kind == "copies":
        rows = rows[rng.integers(0, min(3, shape[0]), shape[0])]
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def data(count: int, seed: int = 0, dim: int = 24, kind: str = "even"):
    rng = np.random.default_rng(seed)
    rows = unit(rng, (count, dim), kind).astype(np.float16)
    ids = np.sort(rng.choice(10 * count, count, replace=False)).astype(np.int64)
    near = rows[rng.integers(count)] + 0.1 * rng.standard_normal(dim)
    return ids, rows, (near / np.linalg.norm(near)).astype(np.float32)


def brute(ids, rows, query, k, allowed=None) -> list[int]:
    scores = np.vecdot(rows.astype(np.float32), query).tolist()
    pairs = [(-s, i) for s, i in zip(scores, ids.tolist(), strict=True) if allowed is None or i in allowed]
    return [i for _, i in sorted(pairs)[:k]]


@pytest.fixture(params=[NumpyExact, FaissExact])
def index(request):
    return request.param()


@pytest.fixture(autouse=True)
def looks(monkeypatch):
    """Small enough selections and margins that the sieves have something to do."""
    monkeypatch.setattr(vectors, "DIRECT", 10)
    monkeypatch.setattr(vectors, "_MARGIN", 8)


@pytest.mark.parametrize("k", [1, 20, 500, 5000])
def test_equals_brute_force(index, k):
    ids, rows, query = data(3000)
    index.rebuild(ids, rows)
    found, scores = index.search(query, k)
    assert found.tolist() == brute(ids, rows, query, k)
    assert np.all(np.diff(scores) <= 0)
    exact = rows[ids == found[0]][0].astype(np.float64) @ query
    assert scores[0] == pytest.approx(exact, abs=1e-6)


KINDS = st.sampled_from(["even", "skewed", "bursts", "copies"])


@settings(max_examples=60, deadline=None)
@given(
    engine=st.sampled_from([NumpyExact, FaissExact]),
    kind=KINDS,
    dim=st.sampled_from(DIMS),
    count=st.integers(1, 900),
    k=st.integers(0, 60),
    share=st.sampled_from([None, 0.5, 0.1, 0.01]),
    seed=st.integers(0, 10**6),
)
def test_any_content_any_filter_equals_brute_force(engine, kind, dim, count, k, share, seed):
    ids, rows, query = data(count, seed, dim, kind)
    index = engine()
    index.rebuild(ids, rows)
    rng = np.random.default_rng(seed)
    among = None if share is None else rng.permutation(rng.choice(ids, max(1, int(share * count)), False))
    allowed = None if among is None else set(among.tolist())
    found, scores = index.search(query, k, among)
    assert found.tolist() == brute(ids, rows, query, k, allowed)
    assert index.scores(query, found).tolist() == scores.tolist()
    everything = np.vecdot(rows.astype(np.float32), query)
    least = float(rng.choice(everything))
    above = [i for i, s in zip(ids.tolist(), everything.tolist(), strict=True)
             if s >= least and (allowed is None or i in allowed)]  # fmt: skip
    expected = brute(ids, rows, query, max(len(above), k), allowed)
    assert index.above(query, least, among, k)[0].tolist() == expected


@settings(max_examples=60, deadline=None)
@given(
    kind=KINDS,
    dim=st.sampled_from(DIMS),
    count=st.integers(1, 400),
    size=st.sampled_from([1e-6, 1.0, 30.0]),
    seed=st.integers(0, 10**6),
)
def test_a_sieve_is_never_further_off_than_it_says(kind, dim, count, size, seed):
    _, rows, query = data(count, seed, dim, kind)
    rng = np.random.default_rng(seed)
    spiky = np.zeros(dim, np.float32)
    spiky[rng.integers(dim)] = 1
    for made in (NumpySieve(rows), FaissSieve.of(rows)):
        for one in (query, spiky, unit(rng, (1, dim), "skewed")[0]):
            asked = (size * one).astype(np.float32)
            positions, approximate = made.first(asked, count, None)
            assert sorted(positions.tolist()) == list(range(count))
            scores = np.vecdot(rows.astype(np.float32), asked)
            assert np.abs(approximate - scores[positions]).max() <= made.error(asked)


def test_the_bound_of_one_byte_a_number_leaves_little_to_score():
    """For 512 even dimensions: 2 % of the length of the query."""
    rng = np.random.default_rng(0)
    for kind in ("even", "skewed"):
        made = FaissSieve.of(unit(rng, (5000, 512), kind).astype(np.float16))
        query = unit(rng, (1, 512), kind)[0]
        assert made.error(query) < 0.025


def test_the_rotation_keeps_inner_products():
    for dim in (1, 7, 24, 512):
        turned = sieve.rotation(dim)
        assert np.abs(turned @ turned.T - np.eye(dim)).max() < 1e-5


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


def test_nothing_to_find(index):
    query = data(2)[2]
    assert len(index.search(query, 5)[0]) == 0
    assert len(index.above(query, -1.0, k=5)[0]) == 0
    index.rebuild(*data(3)[:2])
    assert len(index.search(query, 5, np.array([10**9]))[0]) == 0
    assert len(index.search(query, 5, np.empty(0, np.int64))[0]) == 0


def test_nothing_resembles_what_is_no_number(index):
    ids, rows, _ = data(500)
    index.rebuild(ids, rows)
    for odd in (np.nan, np.inf):
        assert len(index.search(np.full(24, odd, np.float32), 5)[0]) == 0


def test_scores_come_in_the_order_asked_and_once_for_each_time_asked(index):
    ids, rows, query = data(500)
    index.rebuild(ids, rows)
    asked = np.array([ids[400], ids[3], -1, ids[400], 10**9])
    scores = index.scores(query, asked)
    expected = np.vecdot(rows[[400, 3, 400]].astype(np.float32), query)
    assert scores[[0, 1, 3]].tolist() == expected.tolist()
    assert np.isnan(scores[[2, 4]]).all()


def test_a_score_does_not_depend_on_how_a_photo_was_found():
    """Copies of a photo tie, in whatever part, selection or number they are scored."""
    ids, rows, query = data(700, kind="copies")
    parts = [Rows(ids[i::3], rows[i::3], FaissSieve.of(rows[i::3])) for i in range(3)]
    found, scores = find(parts, query, 650)
    assert found.tolist() == brute(ids, rows, query, 650)
    assert len(set(scores.tolist())) <= 3

"""Filters against transformers' on random scores, and draws that follow them."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers.generation import logits_process as reference

from sensorium.errors import SensoriumError
from sensorium.sampling.pick import (
    Sampling,
    filtered,
    keep_min_p,
    keep_top_k,
    keep_top_p,
    penalize,
    pick,
)

NOTHING = torch.empty(1, 0, dtype=torch.long)


@st.composite
def scores(draw: st.DrawFn) -> Tensor:
    """Rows of random scores, some far apart, some tied, some excluded."""
    rows, width = draw(st.integers(1, 3)), draw(st.integers(2, 40))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 10_000)))
    values = torch.randn(rows, width, generator=generator) * draw(st.sampled_from([0.1, 1.0, 8.0]))
    if draw(st.booleans()):
        values = values.round()
    if draw(st.booleans()):
        values[:, 0] = float("-inf")
    return values


def assert_same(ours: Tensor, theirs: Tensor) -> None:
    assert torch.equal(ours.isneginf(), theirs.isneginf())
    torch.testing.assert_close(ours, theirs, rtol=0, atol=0)


@settings(max_examples=150, deadline=None)
@given(
    scores(), st.integers(1, 60), st.floats(0.01, 0.999), st.floats(0.0, 1.0), st.floats(0.5, 2.0), st.data()
)
def test_filters_are_the_references(
    values: Tensor, k: int, top_p: float, min_p: float, penalty: float, data: st.DataObject
) -> None:
    seen = torch.tensor(
        [data.draw(st.lists(st.integers(0, values.shape[1] - 1), min_size=5, max_size=5)) for _ in values]
    )
    before = values.clone()
    assert_same(keep_top_k(values, k), reference.TopKLogitsWarper(k)(seen, values))
    assert_same(keep_top_p(values, top_p), reference.TopPLogitsWarper(top_p)(seen, values))
    assert_same(keep_min_p(values, min_p), reference.MinPLogitsWarper(min_p)(seen, values))
    theirs = reference.RepetitionPenaltyLogitsProcessor(penalty)(seen, values.clone())
    assert_same(penalize(values, seen, penalty), theirs)
    assert torch.equal(values, before), "an argument was changed"


@settings(max_examples=60, deadline=None)
@given(scores(), st.floats(0.2, 3.0), st.integers(1, 20), st.floats(0.05, 1.0), st.floats(0.0, 0.5))
def test_all_filters_follow_the_references_order(
    values: Tensor, temperature: float, k: int, top_p: float, min_p: float
) -> None:
    seen = torch.zeros(len(values), 1, dtype=torch.long)
    chain: list[Any] = [
        reference.RepetitionPenaltyLogitsProcessor(1.3),
        reference.TemperatureLogitsWarper(temperature),
        reference.TopKLogitsWarper(k),
        reference.TopPLogitsWarper(top_p),
        reference.MinPLogitsWarper(min_p),
    ]
    theirs = values.clone()
    for step in chain:
        theirs = step(seen, theirs)
    assert_same(filtered(values, Sampling(temperature, k, top_p, min_p, 1.3), seen), theirs)


def test_rows_of_unequal_length_are_penalized_together() -> None:
    values = torch.randn(2, 9, generator=torch.Generator().manual_seed(0))
    together = penalize(values, torch.tensor([[3, 4, 8], [-1, -1, 5]]), 1.7)
    assert torch.equal(together[:1], penalize(values[:1], torch.tensor([[3, 4, 8]]), 1.7))
    assert torch.equal(together[1:], penalize(values[1:], torch.tensor([[5]]), 1.7))
    nobody = penalize(values, torch.full((2, 2), -1), 1.7)
    assert torch.equal(nobody, values)


def test_greedy_is_the_highest_whatever_the_seed() -> None:
    values = torch.tensor([[0.1, 2.0, 1.9]])
    for seed in range(20):
        assert pick(values, Sampling(seed=seed), NOTHING, torch.Generator().manual_seed(seed)) == 1
    punished = Sampling(repetition_penalty=4.0)
    assert pick(values, punished, torch.tensor([[1]]), torch.Generator()) == 2


def test_draws_follow_the_probabilities() -> None:
    values = torch.tensor([[math.log(0.5), math.log(0.3), math.log(0.15), math.log(0.05)]])
    generator, counts = torch.Generator().manual_seed(0), [0] * 4
    for _ in range(4000):
        counts[pick(values, Sampling(temperature=1.0), NOTHING, generator)] += 1
    for count, expected in zip(counts, (0.5, 0.3, 0.15, 0.05), strict=True):
        assert abs(count / 4000 - expected) < 4 * math.sqrt(expected * (1 - expected) / 4000)
    top = {pick(values, Sampling(temperature=1.0, top_k=2), NOTHING, generator) for _ in range(200)}
    assert top == {0, 1}


def test_the_same_seed_draws_the_same() -> None:
    values = torch.randn(1, 50, generator=torch.Generator().manual_seed(1))

    def drawn(seed: int) -> list[int]:
        generator = torch.Generator().manual_seed(seed)
        return [pick(values, Sampling(temperature=1.5), NOTHING, generator) for _ in range(30)]

    assert drawn(7) == drawn(7)
    assert drawn(7) != drawn(8)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"temperature": -0.1}, "temperature"),
        ({"temperature": math.nan}, "temperature"),
        ({"top_k": 0}, "top_k"),
        ({"top_p": 0.0}, "top_p"),
        ({"top_p": 1.1}, "top_p"),
        ({"min_p": -1.0}, "min_p"),
        ({"repetition_penalty": 0.0}, "repetition_penalty"),
    ],
)
def test_settings_that_mean_nothing_are_refused(change: dict[str, Any], named: str) -> None:
    with pytest.raises(SensoriumError, match=f"^{named} must be"):
        Sampling(**change)

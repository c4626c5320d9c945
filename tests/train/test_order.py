"""The order of items is a pure function of the step, and processes share it without loss or repetition."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sensorium.errors import SensoriumError
from sensorium.train.order import Place, Shuffled, generator, split


@given(st.integers(1, 30), st.integers(1, 30), st.integers(0, 5))
def test_wrapped_batches_are_equal_and_take_every_item_once_an_epoch(
    length: int, batch: int, seed: int
) -> None:
    order = Shuffled(length, batch, seed)
    batches = [order.places(step) for step in range(order.steps(3))]
    assert {len(places) for places in batches} == {batch} == {order.smallest}
    stream = [place for places in batches for place in places]
    assert len(stream) - 3 * length < batch
    for epoch in range(3):
        items = [place.item for place in stream if place.epoch == epoch]
        assert items == [place.item for place in stream[epoch * length : (epoch + 1) * length]]
        assert sorted(items) == list(range(length))


@given(st.integers(1, 30), st.integers(1, 30))
def test_kept_and_dropped_remainders(length: int, batch: int) -> None:
    keep = Shuffled(length, batch, last="keep")
    sizes = [len(keep.places(step)) for step in range(keep.steps(2))]
    assert sum(sizes) == 2 * length
    assert min(sizes) == keep.smallest
    seen = Counter(place for step in range(keep.steps(2)) for place in keep.places(step))
    assert set(seen.values()) == {1}
    assert len(seen) == 2 * length
    if batch <= length:
        drop = Shuffled(length, batch, last="drop")
        left_out = [
            {
                place.item
                for step in range(drop.steps(1))
                for place in drop.places(epoch * drop.steps(1) + step)
            }
            for epoch in range(2)
        ]
        assert [len(items) for items in left_out] == [length - length % batch] * 2


@given(st.integers(1, 40), st.integers(1, 4), st.integers(1, 4))
def test_processes_share_a_batch_without_loss_or_repetition(count: int, size: int, accumulate: int) -> None:
    places = [Place(0, item) for item in range(count)]
    if count < size * accumulate:
        with pytest.raises(SensoriumError, match="cannot be shared"):
            split(places, 0, size, accumulate)
        return
    parts = [part for rank in range(size) for part in split(places, rank, size, accumulate)]
    assert sorted(place.item for part in parts for place in part) == list(range(count))
    lengths = [len(part) for part in parts]
    assert max(lengths) - min(lengths) <= 1


def test_seeds_epochs_and_items_draw_differently_and_repeatably() -> None:
    assert Shuffled(50, 50, 1).places(0) == Shuffled(50, 50, 1).places(0)
    first, second = Shuffled(50, 50, 1).places(0), Shuffled(50, 50, 1).places(1)
    assert [p.item for p in first] != [p.item for p in second]
    assert first != Shuffled(50, 50, 2).places(0)
    draws = {
        float(generator(seed, Place(epoch, item)).random())
        for seed in (0, 1)
        for epoch in (0, 1)
        for item in (0, 1)
    }
    assert len(draws) == 8
    assert generator(3, Place(4, 5)).random() == generator(3, Place(4, 5)).random()


def test_impossible_batches_are_refused() -> None:
    with pytest.raises(SensoriumError, match="0 items"):
        Shuffled(0, 4)
    with pytest.raises(SensoriumError, match="last='drop'"):
        Shuffled(3, 4, last="drop")

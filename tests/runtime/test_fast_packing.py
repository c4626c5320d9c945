"""Weights in groups: how far rounding may take them, and what is refused."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sensorium.runtime.packing import pack


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 2**32 - 1),
    rows=st.integers(1, 5),
    columns=st.integers(1, 70),
    bits=st.sampled_from([4, 8]),
    group=st.sampled_from([1, 8, 32, 64]),
    size=st.floats(1e-2, 1e3),
)
def test_every_weight_stays_within_a_step(
    seed: int, rows: int, columns: int, bits: int, group: int, size: float
) -> None:
    weight = (np.random.default_rng(seed).standard_normal((rows, columns)) * size).astype(np.float32)
    packed = pack(weight, bits=bits, group=group)
    width = math.gcd(columns, group)
    assert packed.codes.shape == (rows, columns // width, width)
    error = np.abs(packed.restore() - weight).reshape(packed.codes.shape)
    steps = np.abs(packed.scales.astype(np.float32))
    # half a step from rounding, one where the positive side ends, and float16 turns the scale by 2^-11
    inside = packed.codes < (1 << (bits - 1)) - 1
    slack = (1 << (bits - 1)) * 2.0**-10
    assert (error <= steps * np.where(inside, 0.5 + slack, 1.0 + slack) + 1e-6).all()
    assert packed.codes.min() >= -(1 << (bits - 1))


def test_the_largest_of_a_group_and_zeros_are_kept() -> None:
    weight = np.array([[4.0, -1.0, 0.5, 0.0] + [0.0] * 4], np.float32)
    packed = pack(weight, bits=4, group=4)
    assert packed.codes.tolist() == [[[-8, 2, -1, 0], [0, 0, 0, 0]]]
    np.testing.assert_array_equal(packed.restore(), weight)


def test_nibbles_are_two_in_a_byte() -> None:
    packed = pack(np.array([[-8.0, 7.0, 3.0]], np.float32), bits=4, group=4 * 3)
    assert packed.codes.ravel().tolist() == [-8, 7, 3]
    assert packed.nibbles().tolist() == [0x78, 0x03]


@pytest.mark.parametrize(
    ("weight", "bits", "message"),
    [
        ([[1.0]], 3, "4 or 8 bits, not 3"),
        ([[float("nan")]], 4, "not finite"),
        ([[1e9]], 4, "weights beyond 524032 cannot be packed"),
    ],
)
def test_what_cannot_be_packed_is_refused(weight: list[list[float]], bits: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        pack(np.array(weight, np.float32), bits=bits, group=32)

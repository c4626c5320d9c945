"""Positions that follow the image to another size."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sensorium.nn.positions import resize_positions

grids = st.tuples(st.integers(1, 7), st.integers(1, 7))


@settings(max_examples=40, deadline=None)
@given(grids, grids, st.integers(0, 2), st.booleans())
def test_shape_prefix_and_constants(
    old: tuple[int, int], new: tuple[int, int], prefix: int, antialias: bool
) -> None:
    table = torch.full((prefix + old[0] * old[1], 3), 2.5)
    table[:prefix] = torch.randn(prefix, 3)
    out = resize_positions(table, old, new, prefix=prefix, antialias=antialias)
    assert out.shape == (prefix + new[0] * new[1], 3)
    assert torch.equal(out[:prefix], table[:prefix])
    torch.testing.assert_close(out[prefix:], torch.full((new[0] * new[1], 3), 2.5))


def test_native_grid_is_untouched() -> None:
    table = torch.randn(7, 4)
    assert resize_positions(table, (2, 3), (2, 3), prefix=1, antialias=False) is table


def test_rows_and_columns_are_not_exchanged() -> None:
    rows = torch.arange(4.0).repeat_interleave(6).unsqueeze(1)  # a 4 x 6 grid that varies downwards only
    out = resize_positions(rows, (4, 6), (8, 3), prefix=0, antialias=True).reshape(8, 3)
    assert torch.allclose(out, out[:, :1].expand(-1, 3), atol=1e-5)
    assert (out[1:, 0] > out[:-1, 0]).all()


@pytest.mark.parametrize("new", [(10, 10), (3, 3)])
def test_antialiasing_is_another_kernel(new: tuple[int, int]) -> None:
    """Also when the grid grows: which of the two a checkpoint means has to be known."""
    table = torch.randn(49, 8)
    a, b = (resize_positions(table, (7, 7), new, prefix=0, antialias=flag) for flag in (True, False))
    assert (a - b).abs().max() > 1e-2


def test_type_is_kept() -> None:
    out = resize_positions(torch.randn(4, 2).bfloat16(), (2, 2), (3, 3), prefix=0, antialias=True)
    assert out.dtype == torch.bfloat16

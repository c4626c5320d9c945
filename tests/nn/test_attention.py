"""Attention against its definition, written out."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from sensorium.nn.attention import Attention, attend, attention_weights
from sensorium.nn.blocks import PostNormBlock, PreNormBlock


def explicit(q: Tensor, k: Tensor, v: Tensor, allowed: Tensor) -> Tensor:
    """One query at a time, in double precision."""
    q, k, v = q.double(), k.double(), v.double()
    out = torch.zeros(*q.shape[:-1], v.shape[-1], dtype=torch.double)
    for index in range(q.shape[2]):
        scores = (q[:, :, index : index + 1] * k).sum(-1) / math.sqrt(q.shape[-1])  # [b, heads, n]
        scores[~allowed[:, :, index]] = -torch.inf
        weights = scores.exp() / scores.exp().sum(-1, keepdim=True)
        out[:, :, index] = (weights.unsqueeze(-1) * v).sum(2)
    return out


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 3),
    st.integers(1, 3),
    st.integers(1, 6),
    st.integers(1, 7),
    st.integers(1, 5),
    st.integers(0, 999),
)
def test_attend_is_its_definition(b: int, heads: int, m: int, n: int, dim: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    q, k, v = (torch.randn(b, heads, rows, dim, generator=generator) for rows in (m, n, n))
    everything = torch.ones(b, heads, m, n, dtype=torch.bool)
    torch.testing.assert_close(attend(q, k, v), explicit(q, k, v, everything).float())
    mask = torch.rand(b, 1, 1, n, generator=generator) > 0.4
    mask[..., 0] = True  # every query sees something
    masked = attend(q, k, v, mask=mask)
    torch.testing.assert_close(masked, explicit(q, k, v, everything & mask).float())
    if m == n:
        causal = attend(q, k, v, causal=True)
        torch.testing.assert_close(causal, explicit(q, k, v, everything.tril()).float())


def test_weights_are_those_that_attend_uses() -> None:
    q, k, v = (torch.randn(2, 3, 5, 4) for _ in range(3))
    mask = torch.tensor([[True, True, False, True, False]])
    weights = attention_weights(q, k, mask=mask)
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 3, 5))
    assert (weights[..., [2, 4]] == 0).all()
    torch.testing.assert_close(weights @ v, attend(q, k, v, mask=mask))


@pytest.mark.parametrize(
    "block", [PreNormBlock(12, 3, 20, "gelu", 1e-6), PostNormBlock(12, 3, 20, "gelu", 1e-6)]
)
def test_some_rows_are_the_rows_of_all(block: PreNormBlock | PostNormBlock) -> None:
    tokens = torch.randn(2, 7, 12)
    mask = torch.tensor([[1, 1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 1, 1, 1]], dtype=torch.bool)[:, None, None]
    with torch.no_grad():
        full = block(tokens, mask=mask)
        torch.testing.assert_close(block(tokens, tokens[:, 2:4], mask=mask), full[:, 2:4])


def test_width_must_divide_into_heads() -> None:
    with pytest.raises(ValueError, match="10 is not a multiple of 3"):
        Attention(10, 3)

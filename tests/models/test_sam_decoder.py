"""The mask decoder's attention against its textbook form: products in another order, the same numbers."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from sensorium.models.sam.mask_decoder import CrossAttention

WIDTH, INNER, HEADS = 24, 12, 3


def lively() -> CrossAttention:
    torch.manual_seed(0)
    layer = CrossAttention(WIDTH, INNER, HEADS)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.normal_(std=0.5)
    return layer


def textbook(layer: CrossAttention, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Every token and every place projected, then compared."""

    def split(x: Tensor) -> Tensor:
        return x.reshape(x.shape[0], x.shape[1], HEADS, -1).transpose(1, 2)

    q, k, v = split(layer.q(queries)), split(layer.k(keys)), split(layer.v(values))
    weights = (q @ k.transpose(2, 3) / (INNER / HEADS) ** 0.5).softmax(3)
    out: Tensor = layer.out((weights @ v).transpose(1, 2).flatten(2))
    return out


@pytest.mark.parametrize("shared", [1, 5])
@pytest.mark.parametrize("training", [False, True])
def test_attention_is_that_of_the_textbook(shared: int, training: bool) -> None:
    layer = lively().train(training)
    tokens, other = torch.randn(5, 7, WIDTH), torch.randn(5, 7, WIDTH)
    placed, places = torch.randn(shared, 40, WIDTH), torch.randn(shared, 40, WIDTH)
    spread, spread_places = (x.expand(5, -1, -1) for x in (placed, places))
    for ours, theirs in (
        (layer.among(tokens, other), textbook(layer, tokens, tokens, other)),
        (layer.from_places(tokens, placed, places), textbook(layer, tokens, spread, spread_places)),
        (layer.to_places(tokens, other, placed), textbook(layer, spread, tokens, other)),
    ):
        assert ours.shape == theirs.shape
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def test_gradients_are_those_of_the_textbook_and_reach_every_weight() -> None:
    layer = lively().train()
    tokens, other, places = torch.randn(2, 7, WIDTH), torch.randn(2, 7, WIDTH), torch.randn(2, 40, WIDTH)

    def gradients(read: Tensor, told: Tensor) -> dict[str, Tensor]:
        layer.zero_grad()
        (read.square().sum() + told.square().sum()).backward()
        return {name: parameter.grad.clone() for name, parameter in layer.named_parameters()}

    ours = gradients(layer.from_places(tokens, places, places), layer.to_places(tokens, other, places))
    theirs = gradients(textbook(layer, tokens, places, places), textbook(layer, places, tokens, other))
    scale = max(float(gradient.abs().max()) for gradient in theirs.values())
    for name, expected in theirs.items():
        torch.testing.assert_close(ours[name], expected, rtol=1e-4, atol=1e-5 * scale, msg=name)

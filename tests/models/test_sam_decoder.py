"""The mask decoder's attention against its textbook form: products in another order, the same numbers."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import tiny_sam
from sensorium.models.sam.mask_decoder import CrossAttention, _assembled
from sensorium.models.sam.prompt_encoder import BACKGROUND, BOTTOM_RIGHT, FOREGROUND, PADDING, TOP_LEFT
from sensorium.models.sam.pyramid import Pyramid

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


def test_a_click_is_told_what_the_image_shows_there_and_boxes_are_not() -> None:
    network = tiny_sam.network()
    decoder, width, grid = network.mask_decoder, network.config.width, network.config.grid
    assert decoder.seen is not None
    embedding = torch.randn(1, 2 * width, grid, grid)
    side = network.look(embedding)
    row, column = 2, 5
    centre = torch.tensor([[[(column + 0.5) / grid, (row + 0.5) / grid]] * 5])
    labels = torch.tensor([[FOREGROUND, BACKGROUND, PADDING, TOP_LEFT, BOTTOM_RIGHT]])
    tokens = torch.randn(1, 5, width)
    told = decoder.told(tokens, centre, labels, side) - tokens
    shown = decoder.seen(embedding[0, :, row, column])
    torch.testing.assert_close(told[0, :2], torch.stack((shown, shown)))
    assert not told[0, 2:].any()


def test_prompts_of_one_image_and_of_images_of_their_own_are_told_the_same() -> None:
    network = tiny_sam.network()
    config = network.config
    points, labels = torch.rand(3, 2, 2), torch.tensor([[1, 0], [1, -1], [2, 3]])
    embedding = torch.randn(1, 2 * config.width, config.grid, config.grid)
    tokens = torch.zeros(3, 2, config.width)
    together = network.mask_decoder.told(tokens, points, labels, network.look(embedding))
    apart = network.mask_decoder.told(tokens, points, labels, network.look(embedding.repeat(3, 1, 1, 1)))
    torch.testing.assert_close(together, apart)
    assert together.any()


def test_details_of_the_image_are_added_where_they_are_seen() -> None:
    network = tiny_sam.network()
    pyramid, decoder = network.image_encoder, network.mask_decoder
    assert isinstance(pyramid, Pyramid)
    levels = pyramid.trunk.levels(torch.randn(1, 3, tiny_sam.SIDE, tiny_sam.SIDE))[1:]
    side = network.look(pyramid.joined(*levels))
    fine = pyramid.details(levels[0])  # [1, width / 4, side / 4, side / 4]
    assert side.details is not None
    grid = network.config.grid
    for row, column in ((0, 0), (5, 2), (15, 15)):
        place = row // 2 * grid + column // 2
        quarter = row % 2 * 2 + column % 2
        torch.testing.assert_close(side.details[0, place, quarter], fine[0, :, row, column])
    # and the decoder's own upscaled places are in that order: one place drawn brighter is found there
    with torch.no_grad():
        for layer in (decoder.upscale1, decoder.upscale2):
            layer.weight.zero_()
            assert layer.bias is not None
            layer.bias.zero_()
        decoder.upscale2.weight.fill_(1.0)
    bright = torch.zeros_like(side.details)
    bright[0, 3 * grid + 4, 2, 0] = 10  # the lower left quarter of the cell in row 3, column 4
    drawn = _assembled(decoder._upscaled(side.image, bright)[..., 0][:, None], grid)[0, 0]
    changed = (drawn - decoder._upscaled(side.image, torch.zeros_like(bright))[0, 0, 0]).abs() > 1e-6
    assert changed.nonzero().tolist() == [[14, 16], [14, 17], [15, 16], [15, 17]]

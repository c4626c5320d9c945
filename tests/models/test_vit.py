"""The vision transformer by itself; parity with other libraries is in tests/weights."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from sensorium.models.vit import Vit, VitClassifier, VitClassifierConfig, VitConfig

CONFIG = VitConfig(
    image_size=(24, 32),
    patch=8,
    channels=3,
    width=16,
    depth=3,
    heads=2,
    mlp_width=24,
    activation="gelu",
    norm_eps=1e-6,
    class_token=True,
    class_position=True,
    registers=0,
    patch_bias=True,
    qkv_bias=True,
    pre_norm=False,
    pool="class",
    position_antialias=True,
)
REGISTERS = replace(CONFIG, class_token=False, class_position=False, registers=4, pool="mean")
MAPPED = replace(CONFIG, class_token=False, class_position=False, pool="map")
CLASS_REGISTERS = replace(CONFIG, class_position=False, registers=2)


def network(config: VitConfig) -> Vit:
    torch.manual_seed(0)
    vit = Vit(config)
    for parameter in vit.parameters():
        parameter.data = torch.randn_like(parameter) * 0.3
    return vit.eval()


@pytest.mark.parametrize("config", [CONFIG, CLASS_REGISTERS, replace(CONFIG, pre_norm=True)])
def test_class_token_alone_is_the_first_of_all_tokens(config: VitConfig) -> None:
    vit, pixels = network(config), torch.randn(2, 3, 24, 32)
    with torch.no_grad():
        torch.testing.assert_close(vit(pixels), vit.tokens(pixels)[:, 0])


def test_mean_pooling_leaves_registers_out() -> None:
    """Mean of the patches before the norm, as timm's ``avg`` pooling with ``fc_norm``."""
    vit, pixels = network(REGISTERS), torch.randn(2, 3, 24, 32)
    with torch.no_grad():
        x = vit.embed(pixels)
        assert x.shape == (2, 4 + 12, 16)
        for block in vit.blocks:
            x = block(x)
        torch.testing.assert_close(vit(pixels), vit.norm(x[:, 4:].mean(1)))


@pytest.mark.parametrize(
    ("config", "prefix"), [(CONFIG, 1), (REGISTERS, 4), (MAPPED, 0), (CLASS_REGISTERS, 3)]
)
@pytest.mark.parametrize(("height", "width"), [(24, 32), (40, 16), (31, 33), (8, 8)])
def test_any_size_and_its_attention_maps(config: VitConfig, prefix: int, height: int, width: int) -> None:
    vit, pixels = network(config), torch.randn(2, 3, height, width)
    count = prefix + (height // 8) * (width // 8)
    assert config.prefix == prefix
    with torch.no_grad():
        assert vit(pixels).shape == (2, 16)
        assert vit.tokens(pixels).shape == (2, count, 16)
        maps = vit.attention_maps(pixels)
    assert [tuple(m.shape) for m in maps] == [(2, 2, count, count)] * 3
    for m in maps:
        torch.testing.assert_close(m.sum(-1), torch.ones(2, 2, count))


def test_without_positions_patches_are_a_set() -> None:
    """With the table at zero, exchanging patches exchanges tokens: position comes from the table alone."""
    vit = network(MAPPED)
    vit.positions.data.zero_()
    pixels = torch.randn(1, 3, 24, 32)
    turned = pixels.clone()
    turned[..., :8], turned[..., 8:16] = pixels[..., 8:16], pixels[..., :8]
    with torch.no_grad():
        torch.testing.assert_close(vit(pixels), vit(turned))
        assert not torch.allclose(vit.tokens(pixels), vit.tokens(turned), atol=1e-3)


def test_images_of_a_batch_do_not_meet() -> None:
    vit, pixels = network(CONFIG), torch.randn(3, 3, 24, 32)
    with torch.no_grad():
        torch.testing.assert_close(vit(pixels)[1:2], vit(pixels[1:2]))


def test_every_parameter_learns() -> None:
    for config in (CONFIG, REGISTERS, MAPPED, replace(CONFIG, pre_norm=True)):
        vit = network(config)
        loss: Tensor = vit(torch.randn(2, 3, 24, 32)).square().sum()
        loss.backward()
        for name, parameter in vit.named_parameters():
            assert parameter.grad is not None, name
            if not name.endswith("k.bias"):  # a constant added to all keys changes no softmax
                assert parameter.grad.abs().sum() > 0, name


def test_classifier() -> None:
    pixels = torch.randn(2, 3, 24, 32)
    assert VitClassifier(VitClassifierConfig(CONFIG, 5)).eval()(pixels).shape == (2, 5)
    headless = VitClassifier(VitClassifierConfig(CONFIG, 0)).eval()
    with torch.no_grad():
        assert torch.equal(headless(pixels), headless.vit(pixels))


def test_class_pooling_needs_a_class_token() -> None:
    with pytest.raises(ValueError, match="class token"):
        Vit(replace(CONFIG, class_token=False))


def test_pixels_are_cast_to_the_networks_type() -> None:
    vit = network(CONFIG).bfloat16()
    with torch.no_grad():
        assert vit(torch.randn(1, 3, 24, 32)).dtype == torch.bfloat16

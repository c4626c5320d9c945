"""EfficientNet-Lite against a plain twin with batch normalisation and explicit padding."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from sensorium.models.efficientnet import (
    LITE0,
    LITE1,
    LITE2,
    EfficientNet,
    EfficientNetConfig,
    SameConv,
    Stage,
)
from sensorium.train.data.mini_clip_parts import folded

TINY = EfficientNetConfig(8, (Stage(3, 1, 1, 8, 1), Stage(5, 2, 6, 12, 2), Stage(3, 2, 6, 16, 2)), 24, 10)


def same_conv(x, weight, stride, groups):
    """TensorFlow's padding, spelled out: the output is ceil(side / stride), the odd pixel right and below."""
    kernel = weight.shape[-1]
    pads = []
    for side in (x.shape[3], x.shape[2]):
        total = max((math.ceil(side / stride) - 1) * stride + kernel - side, 0)
        pads += [total // 2, total - total // 2]
    return F.conv2d(F.pad(x, pads), weight, None, stride, 0, 1, groups)


def random_published(config):
    """Random weights with running statistics, under the names of the published files."""
    state = {}

    def conv(name, norm, outputs, inputs, kernel):
        state[f"{name}.weight"] = torch.randn(outputs, inputs, kernel, kernel) / (inputs * kernel**2) ** 0.5
        state[f"{norm}.weight"] = torch.rand(outputs) + 0.5
        state[f"{norm}.bias"] = torch.randn(outputs) * 0.3
        state[f"{norm}.running_mean"] = torch.randn(outputs) * 0.3
        state[f"{norm}.running_var"] = torch.rand(outputs) + 0.5

    conv("_conv_stem", "_bn0", config.stem_width, 3, 3)
    inputs, number = config.stem_width, 0
    for stage in config.stages:
        for _ in range(stage.depth):
            block, hidden = f"_blocks.{number}.", inputs * stage.expand
            if stage.expand > 1:
                conv(f"{block}_expand_conv", f"{block}_bn0", hidden, inputs, 1)
            conv(f"{block}_depthwise_conv", f"{block}_bn1", hidden, 1, stage.kernel)
            conv(f"{block}_project_conv", f"{block}_bn2", stage.width, hidden, 1)
            inputs, number = stage.width, number + 1
    conv("_conv_head", "_bn1", config.head_width, inputs, 1)
    state["_fc.weight"], state["_fc.bias"] = (
        torch.randn(config.classes, config.head_width),
        torch.randn(config.classes),
    )
    return state


def published_forward(state, config, x):
    def step(x, name, norm, stride=1, groups=1):
        x = same_conv(x, state[f"{name}.weight"], stride, groups)
        parts = [state[f"{norm}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")]
        return F.batch_norm(x, *parts, eps=1e-3)

    x = F.relu6(step(x, "_conv_stem", "_bn0", 2))
    number = 0
    for stage in config.stages:
        for index in range(stage.depth):
            block, y = f"_blocks.{number}.", x
            if stage.expand > 1:
                y = F.relu6(step(y, f"{block}_expand_conv", f"{block}_bn0"))
            stride = stage.stride if index == 0 else 1
            y = F.relu6(step(y, f"{block}_depthwise_conv", f"{block}_bn1", stride, y.shape[1]))
            y = step(y, f"{block}_project_conv", f"{block}_bn2")
            x = x + y if stride == 1 and x.shape[1] == y.shape[1] else y
            number += 1
    x = F.relu6(step(x, "_conv_head", "_bn1")).mean((2, 3))
    return x @ state["_fc.weight"].T + state["_fc.bias"]


@pytest.mark.parametrize("size", [(32, 32), (33, 47), (48, 31)])
def test_folded_network_equals_its_twin_with_batch_norms(size):
    torch.manual_seed(0)
    published = random_published(TINY)
    network = EfficientNet(TINY).eval()
    network.load_state_dict(folded(published))
    pixels = torch.randn(2, 3, *size)
    with torch.no_grad():
        torch.testing.assert_close(
            network(pixels), published_forward(published, TINY, pixels), rtol=1e-4, atol=1e-4
        )


@pytest.mark.parametrize(
    ("side", "kernel", "stride"), [(7, 3, 2), (8, 3, 2), (9, 5, 2), (10, 5, 2), (10, 5, 1)]
)
def test_padding_is_tensorflows(side, kernel, stride):
    torch.manual_seed(1)
    conv = SameConv(4, 4, kernel, stride, depthwise=True)
    nn.init.zeros_(conv.bias)
    x = torch.randn(1, 4, side, side + 1)
    torch.testing.assert_close(conv(x), same_conv(x, conv.weight, stride, 4))


@pytest.mark.parametrize(
    ("config", "parameters"), [(LITE0, 4_631_000), (LITE1, 5_389_848), (LITE2, 6_063_024)]
)
def test_sizes_are_the_published_ones(config, parameters):
    with torch.device("meta"):
        network = EfficientNet(config)
    # what the published files hold, each pair of batch-norm parameters counting as the one bias it became
    assert sum(p.numel() for p in network.parameters()) == parameters

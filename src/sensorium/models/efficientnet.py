"""EfficientNet-Lite (Tan & Le 2019, arXiv 1905.11946; the Lite variants of the TPU reference code).

Against the paper: no squeeze-and-excitation, ReLU6 for Swish, and a stem and head that do not scale with
the width, which is what makes the Lite networks good to run in 8 bits. Against the published weights:
every batch normalisation is folded into the convolution before it, so that a convolution with a bias is
the only kind of layer left, and nothing here depends on a running statistic.

Padding is TensorFlow's "same": the odd pixel goes to the right and to the bottom. It depends on the size
of the input, so any height and width can be taken, and each gives what the reference gives.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class Stage:
    """Blocks of one width: the first may halve the picture, the others keep it."""

    kernel: int
    stride: int
    expand: int
    width: int
    depth: int


@dataclass(frozen=True)
class EfficientNetConfig:
    """What varies between the Lite networks."""

    stem_width: int
    stages: tuple[Stage, ...]
    head_width: int
    classes: int


def _lite(widths: tuple[int, ...], depths: tuple[int, ...]) -> EfficientNetConfig:
    kernels, strides, expands = (3, 3, 5, 3, 5, 5, 3), (1, 2, 2, 2, 1, 2, 1), (1, 6, 6, 6, 6, 6, 6)
    stages = tuple(Stage(*values) for values in zip(kernels, strides, expands, widths, depths, strict=True))
    return EfficientNetConfig(stem_width=32, stages=stages, head_width=1280, classes=1000)


LITE0 = _lite((16, 24, 40, 80, 112, 192, 320), (1, 2, 2, 3, 3, 4, 1))
LITE1 = _lite((16, 24, 40, 80, 112, 192, 320), (1, 3, 3, 4, 4, 5, 1))
LITE2 = _lite((16, 24, 48, 88, 120, 208, 352), (1, 3, 3, 4, 4, 5, 1))


class SameConv(nn.Conv2d):
    """A convolution padded like TensorFlow's "same", with a bias, optionally one filter a channel."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, *, depthwise: bool = False):
        super().__init__(inputs, outputs, kernel, stride, groups=inputs if depthwise else 1)

    def forward(self, x: Tensor) -> Tensor:
        """``[b, inputs, h, w] -> [b, outputs, ceil(h / stride), ceil(w / stride)]``."""
        (kernel, _), (stride, _) = self.kernel_size, self.stride
        below, right = (max((-(-side // stride) - 1) * stride + kernel - side, 0) for side in x.shape[2:])
        if below == right and below % 2 == 0:  # symmetric: the convolution pads by itself
            return F.conv2d(x, self.weight, self.bias, self.stride, below // 2, 1, self.groups)
        x = F.pad(x, (right // 2, right - right // 2, below // 2, below - below // 2))
        return F.conv2d(x, self.weight, self.bias, self.stride, 0, 1, self.groups)


class InvertedBottleneck(nn.Module):
    """Widen, look around channel by channel, narrow; added to its input where the shape allows.

    MobileNetV2's block (arXiv 1801.04381, figure 3b). There is no activation after the narrowing.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expand: int) -> None:
        super().__init__()
        hidden = inputs * expand
        self.expand = SameConv(inputs, hidden, 1) if expand > 1 else None
        self.depthwise = SameConv(hidden, hidden, kernel, stride, depthwise=True)
        self.project = SameConv(hidden, outputs, 1)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """``[b, inputs, h, w] -> [b, outputs, h / stride, w / stride]``."""
        y = x if self.expand is None else F.relu6(self.expand(x))
        y = self.project(F.relu6(self.depthwise(y)))
        out: Tensor = x + y if self.residual else y
        return out


class EfficientNetTrunk(nn.Module):
    """Pixels to maps of features at every scale, without the classifier's head."""

    def __init__(self, config: EfficientNetConfig) -> None:
        super().__init__()
        self.config = config
        self.stem = SameConv(3, config.stem_width, 3, 2)
        blocks: list[InvertedBottleneck] = []
        inputs = config.stem_width
        for stage in config.stages:
            for index in range(stage.depth):
                stride = stage.stride if index == 0 else 1
                blocks.append(InvertedBottleneck(inputs, stage.width, stage.kernel, stride, stage.expand))
                inputs = stage.width
        self.blocks = nn.ModuleList(blocks)

    def levels(self, pixels: Tensor) -> list[Tensor]:
        """Pixels ``[b, 3, h, w]`` in about [-1, 1] -> maps at 1/2, 1/4, 1/8, 1/16, 1/32, each its last."""
        x = F.relu6(self.stem(pixels))
        found: list[Tensor] = []
        for block in self.blocks:
            assert isinstance(block, InvertedBottleneck)
            if block.depthwise.stride[0] > 1:
                found.append(x)
            x = block(x)
        return [*found, x]


class EfficientNet(EfficientNetTrunk):
    """Pixels to a map of features, and from features to ImageNet's classes."""

    def __init__(self, config: EfficientNetConfig) -> None:
        super().__init__(config)
        self.head = SameConv(config.stages[-1].width, config.head_width, 1)
        self.classifier = nn.Linear(config.head_width, config.classes)

    def features(self, pixels: Tensor) -> Tensor:
        """Pixels ``[b, 3, h, w]`` in about [-1, 1] -> ``[b, head_width, h / 32, w / 32]``, never below 0."""
        return F.relu6(self.head(self.levels(pixels)[-1]))

    def forward(self, pixels: Tensor) -> Tensor:
        """Pixels ``[b, 3, h, w]`` -> class logits ``[b, classes]``."""
        out: Tensor = self.classifier(self.features(pixels).mean(dim=(2, 3)))
        return out

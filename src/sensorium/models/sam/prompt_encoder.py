"""The prompt encoder of Segment Anything: points, boxes and earlier masks become tokens and a map.

Section 3 and appendix A of the paper; positions are random Fourier features (arXiv 2006.10739).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from sensorium.models.sam.config import SamConfig
from sensorium.nn.mlp import activate
from sensorium.nn.norms import ChannelNorm

PADDING, BACKGROUND, FOREGROUND, TOP_LEFT, BOTTOM_RIGHT = -1, 0, 1, 2, 3
"""Labels of points: none (a prompt without a box ends with it), off the thing, on it, corners of a box."""


class FourierPositions(nn.Module):
    """Points of the unit square as sines and cosines of fixed random frequencies."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.frequencies = nn.Parameter(torch.empty(2, width // 2).normal_(), requires_grad=False)

    def forward(self, points: Tensor) -> Tensor:
        """Points ``[..., 2]``, x and y within 0 to 1 -> ``[..., width]``."""
        centred = 2 * points.to(self.frequencies.dtype) - 1
        # no matrix product: engines of 16 bits would round a click by a pixel for it
        angles = (
            2 * math.pi * (centred[..., :1] * self.frequencies[0] + centred[..., 1:] * self.frequencies[1])
        )
        return torch.cat((angles.sin(), angles.cos()), dim=-1)

    def grid(self, size: int) -> Tensor:
        """Positions of the centres of ``size`` x ``size`` cells: ``[width, size, size]``."""
        centres = (torch.arange(size, device=self.frequencies.device) + 0.5) / size
        y, x = torch.meshgrid(centres, centres, indexing="ij")
        placed: Tensor = self(torch.stack((x, y), dim=-1))
        return placed.permute(2, 0, 1)


class MaskEmbedding(nn.Module):
    """An earlier mask, as logits at four times the embedding's resolution, as a map to add to it."""

    def __init__(self, width: int, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, channels // 4, 2, stride=2)
        self.norm1 = ChannelNorm(channels // 4, eps=1e-6)
        self.conv2 = nn.Conv2d(channels // 4, channels, 2, stride=2)
        self.norm2 = ChannelNorm(channels, eps=1e-6)
        self.conv3 = nn.Conv2d(channels, width, 1)

    def forward(self, masks: Tensor) -> Tensor:
        """Logits ``[b, 1, 4 grid, 4 grid] -> [b, width, grid, grid]``."""
        x = activate(self.norm1(self.conv1(masks)), "gelu")
        out: Tensor = self.conv3(activate(self.norm2(self.conv2(x)), "gelu"))
        return out


class PromptEncoder(nn.Module):
    """Points and box corners to tokens, an earlier mask or its absence to a map."""

    def __init__(self, config: SamConfig) -> None:
        super().__init__()
        self.image_size, self.size = config.vision.image_size, config.grid
        self.positions = FourierPositions(config.width)
        self.kinds = nn.ParameterList(torch.empty(config.width).normal_() for _ in range(4))  # labels 0 to 3
        self.padding = nn.Parameter(torch.empty(config.width).normal_())
        self.no_mask = nn.Parameter(torch.empty(config.width).normal_())
        self.mask = MaskEmbedding(config.width, config.mask_channels)

    def forward(self, points: Tensor, labels: Tensor) -> Tensor:
        """Points ``[p, n, 2]`` (x, y in the square's pixels), labels ``[p, n]`` -> ``[p, n, width]``.

        A prompt without a box must end with one point labelled ``PADDING``, wherever it lies: so the
        published networks were trained.
        """
        return self.at(points, labels, self.image_size)

    def at(self, points: Tensor, labels: Tensor, side: int) -> Tensor:
        """As ``forward``, on a picture of another side in pixels: positions are relative to it."""
        placed = self.positions((points + 0.5) / side)  # the centre of the pixel
        kinds = torch.stack(tuple(self.kinds))[labels.clamp(min=0)]
        padding = self.padding.expand_as(placed)
        return torch.where((labels == PADDING)[..., None], padding, placed + kinds)

    def dense(self, masks: Tensor | None) -> Tensor:
        """What is added to the embedding: ``[p or 1, width, grid, grid]``; masks as in ``MaskEmbedding``."""
        if masks is None:
            return self.no_mask[None, :, None, None].expand(1, -1, self.size, self.size)
        out: Tensor = self.mask(masks)
        return out

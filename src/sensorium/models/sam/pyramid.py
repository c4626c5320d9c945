"""The image encoder of mini-sam: EfficientNet's scales, joined from the coarsest down.

"Feature pyramid networks" (Lin et al. 2017, arXiv 1612.03144): what a thing is, is known at 1/32 of the
resolution; where it ends, at 1/4. Both meet at 1/8, twice as fine as the published encoders' 1/16. Behind the
``out_channels`` that the decoder's tokens look at lie the details at 1/4, which it adds where it draws masks,
as in SAM 2 (arXiv 2408.00714, section 4, "mask decoder"): the four of each cell one behind the other.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sensorium.models.efficientnet import EfficientNetTrunk
from sensorium.models.sam.config import PyramidConfig
from sensorium.nn.norms import ChannelNorm


class Pyramid(nn.Module):
    """Pixels ``[b, 3, image_size, image_size]`` -> embedding ``[b, 2 * out_channels, grid, grid]``."""

    def __init__(self, config: PyramidConfig) -> None:
        super().__init__()
        width = config.out_channels
        widths = [stage.width for stage in config.trunk.stages]
        of_level = {4: widths[1], 8: widths[2], 16: widths[4], 32: widths[6]}
        self.config = config
        self.trunk = EfficientNetTrunk(config.trunk)
        self.fine = nn.Conv2d(of_level[4], width, 3, stride=2, padding=1)
        self.level8 = nn.Conv2d(of_level[8], width, 1)
        self.level16 = nn.Conv2d(of_level[16], width, 1)
        self.level32 = nn.Conv2d(of_level[32], width, 1)
        self.smooth16 = nn.Conv2d(width, width, 3, padding=1)
        self.norm16 = ChannelNorm(width, eps=1e-6)
        self.smooth8 = nn.Conv2d(width, width, 3, padding=1)
        self.norm8 = ChannelNorm(width, eps=1e-6)
        self.out = nn.Conv2d(width, width, 3, padding=1)
        self.norm = ChannelNorm(width, eps=1e-6)
        self.details = nn.Conv2d(of_level[4], width // 4, 1)

    def forward(self, pixels: Tensor) -> Tensor:
        """The embedding, from normalised pixels that are zero where the picture does not reach."""
        _, x4, x8, x16, x32 = self.trunk.levels(pixels.to(self.trunk.stem.weight.dtype))
        return self.joined(x4, x8, x16, x32)

    def joined(self, x4: Tensor, x8: Tensor, x16: Tensor, x32: Tensor) -> Tensor:
        """The maps of the trunk at 1/4, 1/8, 1/16 and 1/32 -> the embedding."""
        coarse = F.interpolate(self.level32(x32), scale_factor=2.0, mode="nearest")
        middle = F.gelu(self.norm16(self.smooth16(self.level16(x16) + coarse)))
        x = self.level8(x8) + self.fine(x4) + F.interpolate(middle, scale_factor=2.0, mode="nearest")
        x = x + F.gelu(self.norm8(self.smooth8(x)))
        details = F.pixel_unshuffle(self.details(x4), 2)
        return torch.cat((self.norm(self.out(x)), details), dim=1)

"""The light image encoder of MobileSAM (arXiv 2306.14289): TinyViT of 5 million weights (arXiv 2207.10666).

Convolutions at a quarter of the resolution, then three stages of attention in windows at 1/8, 1/16 and 1/16,
each block with a depthwise convolution between attention and perceptron. Positions are a learned bias for
each distance within a window. Against TinyViT: the last stage keeps the resolution, and SAM's neck follows.

Windows that reach over the edge are filled with zeros before the norm, as in the published network.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sensorium.models.sam.config import TinyVitConfig
from sensorium.models.sam.image_encoder import Neck, from_windows, into_windows
from sensorium.nn.attention import attend


class ConvNorm(nn.Module):
    """A convolution without bias and the batch normalisation after it."""

    def __init__(self, a: int, b: int, kernel: int = 1, *, stride: int = 1, groups: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(a, b, kernel, stride, kernel // 2, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(b)

    def forward(self, x: Tensor) -> Tensor:
        """``[b, a, h, w] -> [b, b, h / stride, w / stride]``."""
        out: Tensor = self.norm(self.conv(x))
        return out


class ConvBlock(nn.Module):
    """MBConv: widen, filter each channel, narrow, add (arXiv 1801.04381)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.expand = ConvNorm(width, 4 * width)
        self.depthwise = ConvNorm(4 * width, 4 * width, 3, groups=4 * width)
        self.project = ConvNorm(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """``[b, width, h, w] -> [b, width, h, w]``."""
        return F.gelu(x + self.project(F.gelu(self.depthwise(F.gelu(self.expand(x))))))


class Merging(nn.Module):
    """The step between two stages: other width, half the resolution or the same."""

    def __init__(self, width: int, out: int, stride: int) -> None:
        super().__init__()
        self.expand = ConvNorm(width, out)
        self.depthwise = ConvNorm(out, out, 3, stride=stride, groups=out)
        self.project = ConvNorm(out, out)

    def forward(self, x: Tensor) -> Tensor:
        """``[b, width, h, w] -> [b, out, h / stride, w / stride]``."""
        y: Tensor = self.project(F.gelu(self.depthwise(F.gelu(self.expand(x)))))
        return y


class BiasedAttention(nn.Module):
    """Attention within windows with a learned bias for each distance; normalises its input itself."""

    def __init__(self, width: int, heads: int, side: int) -> None:
        super().__init__()
        self.heads, self.side = heads, side
        self.norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)  # head by head: its queries, its keys, its values
        self.out = nn.Linear(width, width)
        self.biases = nn.Parameter(torch.zeros(heads, side * side))  # by rows apart * side + columns apart

    def forward(self, windows: Tensor) -> Tensor:
        """``[n, side, side, width] -> [n, side, side, width]``."""
        n, side = windows.shape[0], self.side
        qkv = self.qkv(self.norm(windows)).reshape(n, side * side, self.heads, 3, -1)
        q, k, v = qkv.permute(3, 0, 2, 1, 4)  # each [n, heads, tokens, dim]
        places = torch.arange(side * side, device=windows.device)
        rows = (places[:, None] // side - places[None, :] // side).abs()
        columns = (places[:, None] % side - places[None, :] % side).abs()
        read = attend(q, k, v, bias=self.biases[:, rows * side + columns])
        joined: Tensor = self.out(read.transpose(1, 2).reshape(windows.shape))
        return joined


class MixedBlock(nn.Module):
    """Attention in windows, a depthwise convolution, a perceptron."""

    def __init__(self, width: int, heads: int, side: int) -> None:
        super().__init__()
        self.attention = BiasedAttention(width, heads, side)
        self.local = ConvNorm(width, width, 3, groups=width)
        self.norm = nn.LayerNorm(width)
        self.up = nn.Linear(width, 4 * width)
        self.down = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """``[b, width, h, w] -> [b, width, h, w]``."""
        h, w = x.shape[2:]
        windows = into_windows(x.permute(0, 2, 3, 1), self.attention.side)
        x = x + from_windows(self.attention(windows), h, w).permute(0, 3, 1, 2)
        x = self.local(x)
        tokens: Tensor = x.permute(0, 2, 3, 1)
        tokens = tokens + self.down(F.gelu(self.up(self.norm(tokens))))
        return tokens.permute(0, 3, 1, 2)


class Stage(nn.Module):
    """Blocks of one resolution, and the step to the next."""

    def __init__(self, blocks: list[nn.Module], merging: Merging | None) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.merging = merging

    def forward(self, x: Tensor) -> Tensor:
        """``[b, width, h, w]`` -> what the next stage takes."""
        for block in self.blocks:
            x = block(x)
        return x if self.merging is None else self.merging(x)


class TinyVit(nn.Module):
    """Pixels ``[b, 3, image_size, image_size]`` -> embedding ``[b, out_channels, grid, grid]``."""

    def __init__(self, config: TinyVitConfig) -> None:
        super().__init__()
        c, widths = config, config.widths
        self.config = config
        self.stem1 = ConvNorm(3, widths[0] // 2, 3, stride=2)
        self.stem2 = ConvNorm(widths[0] // 2, widths[0], 3, stride=2)
        self.stages = nn.ModuleList()
        for i, width in enumerate(widths):
            blocks: list[nn.Module] = [
                MixedBlock(width, c.heads[i], c.windows[i]) if i else ConvBlock(width)
                for _ in range(c.depths[i])
            ]
            last = i == len(widths) - 1
            step = None if last else Merging(width, widths[i + 1], 2 if i < len(widths) - 2 else 1)
            self.stages.append(Stage(blocks, step))
        self.neck = Neck(widths[-1], c.out_channels, 1e-6)

    def forward(self, pixels: Tensor) -> Tensor:
        """The embedding, from normalised pixels that are zero where the picture does not reach."""
        x = self.stem2(F.gelu(self.stem1(pixels.to(self.stem1.conv.weight.dtype))))
        for stage in self.stages:
            x = stage(x)
        embedding: Tensor = self.neck(x)
        return embedding

"""The image encoder of Segment Anything: a ViT with windows, as ViTDet made it (arXiv 2203.16527).

Twelve to thirty-two blocks see windows of 14 x 14 patches and four see everything; each adds decomposed
relative positions (arXiv 2112.01526, equation 4): the bias between a query and a key is the query's product
with a learned vector for their distance in rows, plus one for that in columns. The query enters it unscaled.
Windows that reach over the edge are filled with zeros after the norm, and these are attended like others.

The bias of a global block would be a table of heads x 4096 x 4096 (3.2 GB for ViT-H): it is made and used for
a block of query rows at a time.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sensorium.models.sam.config import SamVisionConfig
from sensorium.nn.attention import attend
from sensorium.nn.mlp import Mlp
from sensorium.nn.norms import ChannelNorm

_QUERIES = 512  # of a global block that are compared at once


def into_windows(grid: Tensor, side: int) -> Tensor:
    """Cut a grid ``[b, h, w, width]`` into windows ``[b * n, side, side, width]``, filled up with zeros."""
    b, h, w, width = grid.shape
    grid = F.pad(grid, (0, 0, 0, -w % side, 0, -h % side))
    rows, columns = grid.shape[1] // side, grid.shape[2] // side
    windows = grid.reshape(b, rows, side, columns, side, width).transpose(2, 3)
    return windows.reshape(b * rows * columns, side, side, width)


def from_windows(windows: Tensor, h: int, w: int) -> Tensor:
    """The inverse of ``into_windows``: ``[b * n, side, side, width]`` -> ``[b, h, w, width]``."""
    side, width = windows.shape[1], windows.shape[3]
    rows, columns = -(-h // side), -(-w // side)
    grid = windows.reshape(-1, rows, columns, side, side, width).transpose(2, 3)
    return grid.reshape(-1, rows * side, columns * side, width)[:, :h, :w]


def relative(table: Tensor, size: int) -> Tensor:
    """Vectors for pairs of positions on one axis: table ``[2 size - 1, dim]`` -> ``[size, size, dim]``."""
    places = torch.arange(size, device=table.device)
    return table[places[:, None] - places[None, :] + size - 1]


class RelativeAttention(nn.Module):
    """Self-attention over a square grid with decomposed relative positions."""

    def __init__(self, width: int, heads: int, size: int, *, bias: bool) -> None:
        super().__init__()
        self.heads, self.size = heads, size
        self.q = nn.Linear(width, width, bias=bias)
        self.k = nn.Linear(width, width, bias=bias)
        self.v = nn.Linear(width, width, bias=bias)
        self.out = nn.Linear(width, width)
        self.rows = nn.Parameter(torch.zeros(2 * size - 1, width // heads))
        self.columns = nn.Parameter(torch.zeros(2 * size - 1, width // heads))

    def forward(self, grid: Tensor) -> Tensor:
        """Tokens ``[b, size, size, width] -> [b, size, size, width]``."""
        b, size, width = grid.shape[0], self.size, grid.shape[3]
        tokens = grid.reshape(b, size * size, width)
        q, k, v = self._split(self.q(tokens)), self._split(self.k(tokens)), self._split(self.v(tokens))
        by_row, by_column = relative(self.rows, size), relative(self.columns, size)
        step = max(1, _QUERIES // size)  # rows of queries at once
        parts = []
        for row in range(0, size, step):
            part = q[:, :, row * size : (row + step) * size]
            shape = (b, self.heads, part.shape[2] // size, size, -1)
            queries = part.reshape(shape)  # [b, heads, rows, columns, dim]
            rows = torch.einsum("bnrcd,rkd->bnrck", queries, by_row[row : row + step])
            columns = torch.einsum("bnrcd,ckd->bnrck", queries, by_column)
            bias = (rows[..., :, None] + columns[..., None, :]).reshape(b, self.heads, -1, size * size)
            parts.append(attend(part, k, v, bias=bias))
        heads = torch.cat(parts, dim=2) if len(parts) > 1 else parts[0]
        joined: Tensor = self.out(heads.transpose(1, 2).reshape(b, size, size, width))
        return joined

    def _split(self, x: Tensor) -> Tensor:
        return x.reshape(x.shape[0], x.shape[1], self.heads, -1).transpose(1, 2)  # [b, heads, n, dim]


class WindowBlock(nn.Module):
    """A pre-norm block whose attention sees a window, or everything where ``window`` is 0."""

    def __init__(self, config: SamVisionConfig, window: int) -> None:
        super().__init__()
        c = config
        self.window = window
        self.norm1 = nn.LayerNorm(c.width, eps=c.norm_eps)
        self.attention = RelativeAttention(c.width, c.heads, window or c.grid, bias=c.qkv_bias)
        self.norm2 = nn.LayerNorm(c.width, eps=c.norm_eps)
        self.mlp = Mlp(c.width, c.mlp_width, c.activation)

    def forward(self, grid: Tensor) -> Tensor:
        """Tokens ``[b, h, w, width] -> [b, h, w, width]``."""
        h, w = grid.shape[1], grid.shape[2]
        normed = self.norm1(grid)
        if self.window:
            seen = from_windows(self.attention(into_windows(normed, self.window)), h, w)
        else:
            seen = self.attention(normed)
        grid = grid + seen
        out: Tensor = grid + self.mlp(self.norm2(grid))
        return out


class Neck(nn.Module):
    """Two convolutions that narrow the tokens to the embedding."""

    def __init__(self, width: int, out_channels: int, norm_eps: float) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, out_channels, 1, bias=False)
        self.norm1 = ChannelNorm(out_channels, eps=norm_eps)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.norm2 = ChannelNorm(out_channels, eps=norm_eps)

    def forward(self, x: Tensor) -> Tensor:
        """``[b, width, h, w] -> [b, out_channels, h, w]``."""
        out: Tensor = self.norm2(self.conv2(self.norm1(self.conv1(x))))
        return out


class ImageEncoder(nn.Module):
    """Pixels ``[b, channels, image_size, image_size]`` -> embedding ``[b, out_channels, grid, grid]``."""

    def __init__(self, config: SamVisionConfig) -> None:
        super().__init__()
        c = config
        self.config = config
        self.patch_embedding = nn.Conv2d(c.channels, c.width, c.patch, stride=c.patch)
        self.positions = nn.Parameter(torch.zeros(c.grid, c.grid, c.width))
        self.blocks = nn.ModuleList(
            WindowBlock(c, 0 if i in c.global_blocks else c.window) for i in range(c.depth)
        )
        self.neck = Neck(c.width, c.out_channels, 1e-6)

    def forward(self, pixels: Tensor) -> Tensor:
        """The embedding, from normalised pixels that are zero where the picture does not reach."""
        x = self.patch_embedding(pixels.to(self.patch_embedding.weight.dtype)).permute(0, 2, 3, 1)
        x = x + self.positions
        for block in self.blocks:
            x = block(x)
        embedding: Tensor = self.neck(x.permute(0, 3, 1, 2))
        return embedding

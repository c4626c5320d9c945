"""The vision tower of Qwen2.5-VL: patches of pictures of any size, packed one behind the other.

Section 2.1.1 of arXiv 2502.13923. Most blocks attend within windows, a few within a whole frame; positions
are rotary in two dimensions; four neighbours are merged into one token. Nothing is padded: patches are put
into the order of their windows once, and segments of equal length attend together as one batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sensorium.nn.attention import attend, attention_weights
from sensorium.nn.mlp import GatedMlp
from sensorium.nn.norms import RMSNorm
from sensorium.nn.rotary import rotate

Grid = tuple[int, int, int]
"""Frames (pairs of them), rows and columns of patches of a picture or film."""
_THETA = 10_000.0
_EPS = 1e-6


@dataclass(frozen=True)
class QwenVisionConfig:
    """What varies between published Qwen2.5-VL towers. Nothing has a default: the checkpoint says."""

    patch: int  # side of a square patch, pixels
    frames: int  # frames of a patch: a still picture is shown twice
    channels: int
    merge: int  # side of the square of patches that become one token
    width: int
    depth: int
    heads: int
    mlp_width: int
    window: int  # side of a window, pixels
    full_blocks: tuple[int, ...]  # blocks that attend within a whole frame
    out_width: int  # of the language model

    @property
    def head_dim(self) -> int:
        """Values of one head."""
        return self.width // self.heads

    @property
    def window_tokens(self) -> int:
        """Side of a window in merged tokens."""
        return self.window // self.patch // self.merge


Segments = list[Tensor]
"""For each length that occurs: which patches attend together, ``[segments, length]``."""


class PatchEmbedding(nn.Module):
    """The published convolution over whole patches, whose stride is its kernel: a linear map of each."""

    def __init__(self, config: QwenVisionConfig) -> None:
        super().__init__()
        c = config
        self.weight = nn.Parameter(
            torch.empty(c.width, c.channels, c.frames, c.patch, c.patch).normal_(std=0.02)
        )

    def forward(self, patches: Tensor) -> Tensor:
        """Patches ``[n, channels * frames * patch^2] -> [n, width]``."""
        return F.linear(patches.to(self.weight.dtype), self.weight.flatten(1))


class VisionBlock(nn.Module):
    """Attention within segments, then a gated perceptron, each behind its norm."""

    def __init__(self, config: QwenVisionConfig) -> None:
        super().__init__()
        c = config
        self.heads = c.heads
        self.norm1 = RMSNorm(c.width, _EPS)
        self.q = nn.Linear(c.width, c.width)
        self.k = nn.Linear(c.width, c.width)
        self.v = nn.Linear(c.width, c.width)
        self.out = nn.Linear(c.width, c.width)
        self.norm2 = RMSNorm(c.width, _EPS)
        self.mlp = GatedMlp(c.width, c.mlp_width, bias=True)

    def forward(self, x: Tensor, segments: Segments, cosines: Tensor, sines: Tensor) -> Tensor:
        """Patches ``[n, width] -> [n, width]``; cosines and sines ``[n, head_dim]``."""
        q, k, v = self._heads(self.norm1(x), cosines, sines)
        read = torch.empty_like(x)
        for rows in segments:
            together = (side[rows].transpose(1, 2) for side in (q, k, v))  # [segments, heads, length, dim]
            part = attend(*together)
            read[rows.flatten()] = part.transpose(1, 2).reshape(-1, x.shape[1])
        x = x + self.out(read)
        after: Tensor = x + self.mlp(self.norm2(x))
        return after

    def weights(self, x: Tensor, rows: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
        """Where the patches of one segment ``[length]`` look: ``[heads, length, length]``."""
        q, k, _ = self._heads(self.norm1(x), cosines, sines)
        return attention_weights(q[rows].transpose(0, 1)[None], k[rows].transpose(0, 1)[None])[0]

    def _heads(self, x: Tensor, cosines: Tensor, sines: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        q, k, v = (layer(x).unflatten(1, (self.heads, -1)) for layer in (self.q, self.k, self.v))
        # turned in float32: sixteen bits would lose places far from the corner
        turned = (
            rotate(side.float().transpose(0, 1)[None], cosines[None], sines[None])[0].transpose(0, 1)
            for side in (q, k)
        )
        q, k = (side.to(v.dtype) for side in turned)
        return q, k, v  # [n, heads, dim]


class Merger(nn.Module):
    """Squares of neighbouring patches to one token of the language model."""

    def __init__(self, config: QwenVisionConfig) -> None:
        super().__init__()
        self.inside = config.width * config.merge**2
        self.norm = RMSNorm(config.width, _EPS)
        self.up = nn.Linear(self.inside, self.inside)
        self.down = nn.Linear(self.inside, config.out_width)

    def forward(self, x: Tensor) -> Tensor:
        """``[n, width] -> [n / merge^2, out_width]``; the patches of a square follow each other."""
        out: Tensor = self.down(F.gelu(self.up(self.norm(x).reshape(-1, self.inside))))
        return out


class QwenVision(nn.Module):
    """Patches of any number of pictures and films to tokens of the language model."""

    def __init__(self, config: QwenVisionConfig) -> None:
        super().__init__()
        c = config
        self.config = config
        self.patch_embedding = PatchEmbedding(c)
        self.blocks = nn.ModuleList(VisionBlock(c) for _ in range(c.depth))
        self.merger = Merger(c)

    def forward(self, patches: Tensor, grids: Sequence[Grid]) -> Tensor:
        """Patches ``[n, channels * frames * patch^2]``, in squares of ``merge``, picture behind picture.

        n is the sum of the products of the grids. Returns ``[n / merge^2, out_width]`` in reading order.
        Raises ValueError when the counts do not agree.
        """
        x, order, cosines, sines = self._ordered(patches, grids)
        whole, windows = self._segments(grids, x.device)
        for index, block in enumerate(self.blocks):
            x = block(x, whole if index in self.config.full_blocks else windows, cosines, sines)
        merged = self.merger(x)
        out = torch.empty_like(merged)
        out[order] = merged
        return out

    def looks(self, patches: Tensor, grid: Grid) -> list[Tensor]:
        """Where the patches of one picture look in the blocks that see all of it.

        Each ``[heads, n, n]``, rows and columns in the order of the merged tokens' squares as given.
        """
        x, order, cosines, sines = self._ordered(patches, [grid])
        whole, windows = self._segments([grid], x.device)
        unit = self.config.merge**2
        back = (order.argsort()[:, None] * unit + torch.arange(unit, device=x.device)).flatten()
        found = []
        for index, block in enumerate(self.blocks):
            assert isinstance(block, VisionBlock)
            full = index in self.config.full_blocks
            if full:
                rows = back[: grid[1] * grid[2]]
                found.append(block.weights(x, rows, cosines, sines))
            x = block(x, whole if full else windows, cosines, sines)
        return found

    def _ordered(self, patches: Tensor, grids: Sequence[Grid]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Embedded patches in the order of windows, that order (of squares), cosines and sines."""
        c = self.config
        for frames, rows, columns in grids:
            if rows % c.merge or columns % c.merge or min(frames, rows, columns) < 1:
                raise ValueError(f"a grid of {rows} x {columns} patches has no squares of {c.merge}")
        if sum(t * h * w for t, h, w in grids) != len(patches):
            raise ValueError(f"{len(patches)} patches do not fill the grids {list(grids)}")
        x = self.patch_embedding(patches)
        order = window_order(c, grids)[0].to(x.device)
        cosines, sines = self._turns(grids, x.device)
        unit = c.merge**2
        x, cosines, sines = (
            side.unflatten(0, (-1, unit))[order].flatten(0, 1) for side in (x, cosines, sines)
        )
        return x, order, cosines, sines

    def _turns(self, grids: Sequence[Grid], device: torch.device) -> tuple[Tensor, Tensor]:
        """Cosines and sines ``[n, head_dim]``: half of a head turns by the row, half by the column."""
        dim = self.config.head_dim // 2
        exponents = torch.arange(0, dim, 2, dtype=torch.float32, device=device) / dim
        turning = 1.0 / (_THETA**exponents)
        places = torch.cat([places_of(grid, self.config.merge) for grid in grids]).to(device)  # [n, 2]
        angle = (places[..., None].float() * turning).flatten(1)
        angle = torch.cat((angle, angle), dim=1)
        return angle.cos(), angle.sin()

    def _segments(self, grids: Sequence[Grid], device: torch.device) -> tuple[Segments, Segments]:
        """Which patches, in the order of windows, attend together: whole frames, and windows."""
        frames = [h * w for t, h, w in grids for _ in range(t)]
        unit = self.config.merge**2
        windows = [count * unit for count in window_order(self.config, grids)[1]]
        return _grouped(frames, device), _grouped(windows, device)


def places_of(grid: Grid, merge: int) -> Tensor:
    """Row and column of each patch, squares of ``merge`` one behind the other: int64 ``[n, 2]``."""
    frames, rows, columns = grid
    row, column = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    squares = [
        axis.reshape(rows // merge, merge, columns // merge, merge).transpose(1, 2).flatten()
        for axis in (row, column)
    ]
    return torch.stack(squares, dim=-1).repeat(frames, 1)


def window_order(config: QwenVisionConfig, grids: Sequence[Grid]) -> tuple[Tensor, list[int]]:
    """The merged tokens window by window, and how many each window has; a window never crosses a frame."""
    side = config.window_tokens
    order: list[Tensor] = []
    counts: list[int] = []
    start = 0
    for frames, patch_rows, patch_columns in grids:
        rows, columns = patch_rows // config.merge, patch_columns // config.merge
        for _ in range(frames):
            index = torch.arange(rows * columns).reshape(rows, columns) + start
            for top in range(0, rows, side):
                for left in range(0, columns, side):
                    window = index[top : top + side, left : left + side].flatten()
                    order.append(window)
                    counts.append(len(window))
            start += rows * columns
    return torch.cat(order), counts


def _grouped(lengths: Sequence[int], device: torch.device) -> Segments:
    starts = torch.tensor([0, *lengths]).cumsum(0)[:-1]
    every = torch.tensor(lengths)
    return [
        (starts[every == length][:, None] + torch.arange(length)).to(device)
        for length in sorted(set(lengths))
    ]

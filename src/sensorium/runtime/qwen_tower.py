"""Qwen2.5-VL's tower as one graph for pictures of every shape.

Windows and frames differ in length, so each kind is one batch padded to its longest, with a mask; which
patches belong together is an input. One graph then serves all grids, compiled once.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from sensorium.models.qwen_vl.vision import Grid, QwenVision, Segments, VisionBlock, window_order
from sensorium.nn.attention import attend
from sensorium.runtime.graph import Graph, accelerate

_UNSEEN = -1e30
_TRIALS: tuple[Grid, Grid] = ((1, 16, 24), (1, 20, 12))  # grids whose windows are whole and cut


class _Padded(nn.Module):
    """The tower with its segments as inputs."""

    def __init__(self, vision: QwenVision) -> None:
        super().__init__()
        self.vision = vision

    def forward(
        self,
        patches: Tensor,
        cosines: Tensor,
        sines: Tensor,
        windows: Tensor,
        window_mask: Tensor,
        window_back: Tensor,
        frames: Tensor,
        frame_mask: Tensor,
        frame_back: Tensor,
    ) -> Tensor:
        x = self.vision.patch_embedding(patches)
        for index, block in enumerate(self.vision.blocks):
            assert isinstance(block, VisionBlock)
            full = index in self.vision.config.full_blocks
            rows, mask, back = (
                (frames, frame_mask, frame_back) if full else (windows, window_mask, window_back)
            )
            sides = block._heads(block.norm1(x), cosines, sines)
            q, k, v = (side[rows].transpose(1, 2) for side in sides)  # [segments, heads, longest, dim]
            read = attend(q, k, v, mask=mask).transpose(1, 2).flatten(2).flatten(0, 1)
            x = x + block.out(read[back])
            x = x + block.mlp(block.norm2(x))
        merged: Tensor = self.vision.merger(x)
        return merged[None]


class FastQwenVision:
    """A tower called as `QwenVision` is, run by the fastest engine of this machine."""

    def __init__(self, vision: QwenVision, *, key: str) -> None:
        """Measure the engines, or open what was stored under ``key``. The tower is in float32 on the CPU.

        Raises:
            SensoriumError: As `runtime.graph.accelerate`.
        """
        self.config = vision.config
        self._vision = vision
        c = vision.config
        values = c.channels * c.frames * c.patch**2
        noise = torch.Generator().manual_seed(0)
        grids = [(1, rows // 2 * c.merge, columns // 2 * c.merge) for _, rows, columns in _TRIALS]
        samples = [
            self._inputs(torch.randn(rows * columns, values, generator=noise), [(1, rows, columns)])[0]
            for _, rows, columns in grids
        ]
        dynamic = [(0,), (0,), (0,), (0, 1), (0, 3), (0,), (0, 1), (0, 3), (0,)]
        everything = tuple(range(len(dynamic)))  # no input is of one row of a batch
        self.graph: Graph = accelerate(
            _Padded(vision).eval(), samples, key=key, dynamic=dynamic, shared=everything
        )

    @torch.no_grad()
    def __call__(self, patches: Tensor, grids: Sequence[Grid]) -> Tensor:
        """Arguments, result and errors as those of `QwenVision.forward`."""
        inputs, order = self._inputs(patches, grids)
        merged = torch.from_numpy(self.graph(*inputs)[0])
        out = torch.empty_like(merged)
        out[order] = merged
        return out

    def _inputs(self, patches: Tensor, grids: Sequence[Grid]) -> tuple[tuple[np.ndarray, ...], Tensor]:
        vision, unit = self._vision, self.config.merge**2
        if sum(t * h * w for t, h, w in grids) != len(patches):
            raise ValueError(f"{len(patches)} patches do not fill the grids {list(grids)}")
        order = window_order(self.config, grids)[0]
        sides = (patches.float(), *vision._turns(grids, patches.device))
        arrays = [side.reshape(-1, unit, side.shape[1])[order].flatten(0, 1) for side in sides]
        frames, windows = vision._segments(grids, patches.device)
        arrays += [*_padded(windows), *_padded(frames)]
        return tuple(np.ascontiguousarray(array.numpy()) for array in arrays), order


def _padded(segments: Segments) -> list[Tensor]:
    """Segments as one batch: members ``[s, longest]``, mask ``[s, 1, 1, longest]``, and where each patch
    is.
    """
    longest = max(rows.shape[1] for rows in segments)
    count = sum(len(rows) for rows in segments)
    members = torch.zeros(count, longest, dtype=torch.long)
    mask = torch.full((count, 1, 1, longest), _UNSEEN)
    back = torch.empty(sum(rows.numel() for rows in segments), dtype=torch.long)
    start = 0
    for rows in segments:
        length, stop = rows.shape[1], start + len(rows)
        members[start:stop, :length], mask[start:stop, :, :, :length] = rows, 0.0
        places = torch.arange(start, stop)[:, None] * longest + torch.arange(length)
        back[rows.flatten()] = places.flatten()
        start = stop
    return [members, mask, back]

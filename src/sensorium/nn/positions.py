"""Learned positions of image patches, and how they follow the image to another size."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def resize_positions(
    table: Tensor, old: tuple[int, int], new: tuple[int, int], *, prefix: int, antialias: bool
) -> Tensor:
    """Learned positions of an ``old`` patch grid, resampled bicubically to a ``new`` one.

    Shapes: table ``[prefix + old_h * old_w, width]`` -> ``[prefix + new_h * new_w, width]``. The first
    ``prefix`` rows belong to tokens that have no place in the image (the class token) and stay as they
    are. ``antialias`` is part of the checkpoint's convention: timm and open_clip resample with it,
    transformers without it, and the two differ even when the grid grows (another cubic kernel).
    """
    if old == new:
        return table
    rest, grid = table[:prefix], table[prefix:]
    grid = grid.float().T.reshape(1, -1, *old)  # [1, width, old_h, old_w]
    grid = F.interpolate(grid, size=new, mode="bicubic", align_corners=False, antialias=antialias)
    grid = grid.squeeze(0).permute(1, 2, 0).flatten(0, 1).to(table.dtype)
    return torch.cat((rest, grid))

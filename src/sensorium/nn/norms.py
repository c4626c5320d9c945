"""Norms that PyTorch does not have in the layout or the precision that a network needs."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ChannelNorm(nn.LayerNorm):
    """Layer normalisation over the channels of a map, each place by itself: ``[b, c, h, w]`` to the same."""

    def forward(self, x: Tensor) -> Tensor:
        """Mean 0 and variance 1 over the channels, then weight and bias."""
        last = F.layer_norm(x.permute(0, 2, 3, 1), self.normalized_shape, self.weight, self.bias, self.eps)
        return last.permute(0, 3, 1, 2)


class RMSNorm(nn.Module):
    """Division by the root of the mean square (Zhang and Sennrich 2019, arXiv 1910.07467): ``[..., width]``.

    The mean is taken in float32 and the result cast back BEFORE the weight is multiplied, as Llama's
    checkpoints were trained: ``torch.nn.RMSNorm`` rounds after the weight, which differs in bfloat16.
    """

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        """Mean square 1 over the last dimension, then the weight."""
        wide = x.float()
        normed = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + self.eps)
        return self.weight * normed.to(x.dtype)

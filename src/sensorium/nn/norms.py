"""Norms that PyTorch does not have in the layout that a network needs."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class ChannelNorm(nn.LayerNorm):
    """Layer normalisation over the channels of a map, each place by itself: ``[b, c, h, w]`` to the same."""

    def forward(self, x: Tensor) -> Tensor:
        """Mean 0 and variance 1 over the channels, then weight and bias."""
        last = F.layer_norm(x.permute(0, 2, 3, 1), self.normalized_shape, self.weight, self.bias, self.eps)
        return last.permute(0, 3, 1, 2)

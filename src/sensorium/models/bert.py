"""BERT's encoder (Devlin et al. 2018, arXiv 1810.04805): the text tower of Chinese-CLIP and of e5.

Without the pre-training heads and the tanh pooler: what reads the tokens decides how to pool them.
All tokens are of type 0, as every use here has it. Dropout is left out: this is inference and fine-tuning.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sensorium.nn.blocks import PostNormBlock
from sensorium.nn.mlp import Activation


@dataclass(frozen=True)
class BertConfig:
    """What varies between published BERT encoders."""

    vocabulary: int
    context_length: int
    types: int
    width: int
    depth: int
    heads: int
    mlp_width: int
    activation: Activation
    norm_eps: float


class Bert(nn.Module):
    """Token ids to vectors in context."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        c = config
        self.config = config
        self.embedding = nn.Embedding(c.vocabulary, c.width)
        self.positions = nn.Parameter(torch.empty(c.context_length, c.width).normal_(std=0.02))
        self.types = nn.Parameter(torch.empty(c.types, c.width).normal_(std=0.02))
        self.norm = nn.LayerNorm(c.width, eps=c.norm_eps)
        self.blocks = nn.ModuleList(
            PostNormBlock(c.width, c.heads, c.mlp_width, c.activation, c.norm_eps) for _ in range(c.depth)
        )

    def embed(self, ids: Tensor) -> Tensor:
        """Ids ``[b, n] -> [b, n, width]``: words, positions from 0 and type 0, normalised."""
        x = self.embedding(ids) + self.types[0] + self.positions[: ids.shape[1]]
        out: Tensor = self.norm(x)
        return out

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Ids ``[b, n]`` and mask ``[b, n]`` (non-zero where a token is) -> tokens ``[b, n, width]``."""
        x, readable = self.embed(ids), attendable(mask)
        for block in self.blocks:
            x = block(x, mask=readable)
        return x

    def first(self, ids: Tensor, mask: Tensor) -> Tensor:
        """The first token alone, ``[b, width]``: the same value, without the last block's other rows."""
        x, readable = self.embed(ids), attendable(mask)
        for block in self.blocks[:-1]:
            x = block(x, mask=readable)
        first: Tensor = self.blocks[-1](x, x[:, :1], mask=readable)
        return first.squeeze(1)

    def mean(self, ids: Tensor, mask: Tensor) -> Tensor:
        """The mean over the tokens present, ``[b, width]``, as e5 pools."""
        x: Tensor = self(ids, mask)
        present = mask.to(x.dtype).unsqueeze(-1)
        return (x * present).sum(dim=1) / present.sum(dim=1)


def attendable(mask: Tensor) -> Tensor:
    """Token mask ``[b, n]`` -> boolean ``[b, 1, 1, n]`` for every head and query."""
    return (mask != 0)[:, None, None, :]

"""Connectors: how what a picture tower sees becomes tokens of a language model. Interchangeable by shape.

Each takes tokens ``[b, n, source]`` to ``[b, m, target]``. A linear map and a perceptron (LLaVA, arXiv
2304.08485, and 1.5, 2310.03744) keep every token; a resampler (Flamingo, 2204.14198, section 3.1.1) and a
Q-Former (``models/qformer.py``) read any number of them with a fixed number of queries.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sensorium.models.qformer import QFormer, QFormerConfig
from sensorium.nn.attention import Attention
from sensorium.nn.mlp import Activation, Mlp, activate


@dataclass(frozen=True)
class MlpConfig:
    """Linear maps with an activation between them; one map has none."""

    layers: int
    activation: Activation
    bias: bool


@dataclass(frozen=True)
class ResamplerConfig:
    """Learned queries that read all tokens, block after block."""

    queries: int
    depth: int
    heads: int
    mlp_width: int
    activation: Activation
    norm_eps: float


ConnectorConfig = MlpConfig | ResamplerConfig | QFormerConfig


def in_places(embeds: Tensor, places: Tensor, pictures: Sequence[Tensor]) -> Tensor:
    """Words ``[b, n, width]`` with what was seen in the places that are kept for it, in order.

    ``places`` boolean ``[b, n]``; ``pictures`` tokens ``[m, width]`` of each. Raises ValueError when there
    are more or fewer places than tokens.
    """
    given = torch.cat(list(pictures)) if pictures else embeds.new_zeros(0, embeds.shape[-1])
    if int(places.sum()) != len(given):
        raise ValueError(f"{int(places.sum())} places for pictures, {len(given)} tokens of pictures")
    return embeds.masked_scatter(places[..., None], given.to(embeds.dtype))


class MlpConnector(nn.Module):
    """Each token by itself: ``[..., source] -> [..., target]``."""

    def __init__(self, config: MlpConfig, source: int, target: int) -> None:
        super().__init__()
        if config.layers < 1:
            raise ValueError(f"a connector of {config.layers} layers connects nothing")
        self.activation: Activation = config.activation
        widths = [source] + [target] * config.layers
        self.layers = nn.ModuleList(nn.Linear(a, b, bias=config.bias) for a, b in itertools.pairwise(widths))

    def forward(self, x: Tensor) -> Tensor:
        """The maps one after the other."""
        for index, layer in enumerate(self.layers):
            x = layer(x if index == 0 else activate(x, self.activation))
        return x


class ResamplerBlock(nn.Module):
    """Queries read the picture and themselves, then a perceptron; norms before, residuals around."""

    def __init__(self, config: ResamplerConfig, width: int) -> None:
        super().__init__()
        c = config
        self.image_norm = nn.LayerNorm(width, eps=c.norm_eps)
        self.query_norm = nn.LayerNorm(width, eps=c.norm_eps)
        self.attention = Attention(width, c.heads, bias=False)
        self.norm = nn.LayerNorm(width, eps=c.norm_eps)
        self.mlp = Mlp(width, c.mlp_width, c.activation)

    def forward(self, queries: Tensor, image: Tensor, mask: Tensor | None) -> Tensor:
        """Queries ``[b, m, width]``, image ``[b, n, width]`` -> ``[b, m, width]``; mask as in `attend`."""
        asking = self.query_norm(queries)
        read = torch.cat((self.image_norm(image), asking), dim=1)
        x = queries + self.attention(asking, read, mask=mask)
        out: Tensor = x + self.mlp(self.norm(x))
        return out


class Resampler(nn.Module):
    """Any number of tokens to a fixed number: ``[b, n, source] -> [b, queries, target]``."""

    def __init__(self, config: ResamplerConfig, source: int, target: int) -> None:
        super().__init__()
        self.config = config
        self.project = nn.Linear(source, target)
        self.queries = nn.Parameter(torch.empty(config.queries, target).normal_(std=0.02))
        self.blocks = nn.ModuleList(ResamplerBlock(config, target) for _ in range(config.depth))
        self.norm = nn.LayerNorm(target, eps=config.norm_eps)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """``mask`` ``[b, n]``: non-zero where a token is, for pictures of different sizes in a batch."""
        image = self.project(x)
        queries = self.queries.expand(len(x), -1, -1)
        seen = None
        if mask is not None:
            own = mask.new_ones(len(x), self.config.queries)
            seen = (torch.cat((mask, own), dim=1) != 0)[:, None, None, :]
        for block in self.blocks:
            queries = block(queries, image, seen)
        out: Tensor = self.norm(queries)
        return out


class QFormerConnector(nn.Module):
    """A Q-Former and a linear map: ``[b, n, source] -> [b, queries, target]``, as in BLIP-2."""

    def __init__(self, config: QFormerConfig, target: int) -> None:
        super().__init__()
        self.qformer = QFormer(config)
        self.project = nn.Linear(config.width, target)

    def forward(self, x: Tensor) -> Tensor:
        """What the queries found."""
        out: Tensor = self.project(self.qformer(x))
        return out


def connector(config: ConnectorConfig, source: int, target: int) -> nn.Module:
    """The connector that a config describes, from a tower of width ``source`` to a decoder of ``target``.

    Raises ValueError when a Q-Former was made for another tower.
    """
    if isinstance(config, MlpConfig):
        return MlpConnector(config, source, target)
    if isinstance(config, ResamplerConfig):
        return Resampler(config, source, target)
    if config.image_width != source:
        raise ValueError(f"the Q-Former reads {config.image_width} channels, the tower has {source}")
    return QFormerConnector(config, target)

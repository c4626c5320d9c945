"""Vision transformer: "An image is worth 16x16 words" (Dosovitskiy et al. 2020, arXiv 2010.11929).

One class is the plain ViT of google and timm and the image tower of every CLIP here. Differences from
the paper, each a field of ``VitConfig``: a norm before the blocks (CLIP), no class token (SigLIP), register
tokens (arXiv 2309.16588), attention or mean pooling. Dropout is left out: no published checkpoint uses it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from sensorium.nn.attention import Attention
from sensorium.nn.blocks import PreNormBlock
from sensorium.nn.mlp import Activation, Mlp
from sensorium.nn.positions import resize_positions


@dataclass(frozen=True)
class VitConfig:
    """What varies between published vision transformers. Nothing has a default: the checkpoint says."""

    image_size: tuple[int, int]  # height, width in pixels that the position table was made for
    patch: int  # side of a square patch, pixels
    channels: int
    width: int
    depth: int
    heads: int
    mlp_width: int
    activation: Activation
    norm_eps: float
    class_token: bool
    class_position: bool  # whether the class token has a row in the position table
    registers: int  # register tokens after the class token; they have no position
    patch_bias: bool
    qkv_bias: bool
    pre_norm: bool  # a norm between the embedding and the first block (CLIP)
    pool: Literal["class", "mean", "map"]  # class token; mean of patches; SigLIP's attention pooling
    position_antialias: bool  # convention of position resizing, see nn.positions

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of patches at the native size."""
        return self.image_size[0] // self.patch, self.image_size[1] // self.patch

    @property
    def prefix(self) -> int:
        """How many tokens stand before the patches."""
        return int(self.class_token) + self.registers


class AttentionPool(nn.Module):
    """SigLIP's "MAP head": one learned query reads all tokens, then a residual MLP (arXiv 2106.04560)."""

    def __init__(
        self, width: int, heads: int, mlp_width: int, activation: Activation, norm_eps: float
    ) -> None:
        super().__init__()
        self.probe = nn.Parameter(torch.empty(width).normal_(std=width**-0.5))
        self.attention = Attention(width, heads)
        self.norm = nn.LayerNorm(width, eps=norm_eps)
        self.mlp = Mlp(width, mlp_width, activation)

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens ``[b, n, width] -> [b, width]``."""
        probe = self.probe.expand(tokens.shape[0], 1, -1)
        x: Tensor = self.attention(probe, tokens)
        x = x + self.mlp(self.norm(x))
        return x.squeeze(1)


class Vit(nn.Module):
    """Image to one vector (``forward``), to all tokens (``tokens``), or to ``attention_maps``."""

    def __init__(self, config: VitConfig) -> None:
        super().__init__()
        if config.pool == "class" and not config.class_token:
            raise ValueError("pooling the class token needs a class token")
        c, width = config, config.width
        self.config = config
        rows = c.grid[0] * c.grid[1] + int(c.class_token and c.class_position)
        self.patch_embedding = nn.Conv2d(c.channels, width, c.patch, stride=c.patch, bias=c.patch_bias)
        self.class_token = nn.Parameter(torch.empty(width).normal_(std=0.02)) if c.class_token else None
        self.registers = (
            nn.Parameter(torch.empty(c.registers, width).normal_(std=0.02)) if c.registers else None
        )
        self.positions = nn.Parameter(torch.empty(rows, width).normal_(std=0.02))
        self.pre_norm = nn.LayerNorm(width, eps=c.norm_eps) if c.pre_norm else None
        self.blocks = nn.ModuleList(
            PreNormBlock(width, c.heads, c.mlp_width, c.activation, c.norm_eps, qkv_bias=c.qkv_bias)
            for _ in range(c.depth)
        )
        self.norm = nn.LayerNorm(width, eps=c.norm_eps)
        self.pool = (
            AttentionPool(width, c.heads, c.mlp_width, c.activation, c.norm_eps) if c.pool == "map" else None
        )

    def embed(self, pixels: Tensor) -> Tensor:
        """Pixels ``[b, channels, h, w]``, normalised, any size -> tokens before the blocks ``[b, n, width]``.

        n = prefix + (h // patch) * (w // patch). Positions are resampled when the grid is not the native one.
        """
        c = self.config
        grid = self.patch_embedding(pixels.to(self.patch_embedding.weight.dtype))
        new = (int(grid.shape[-2]), int(grid.shape[-1]))
        own = int(c.class_token and c.class_position)  # rows of the table that belong to no patch
        table = resize_positions(self.positions, c.grid, new, prefix=own, antialias=c.position_antialias)
        parts = [grid.flatten(2).transpose(1, 2) + table[own:]]  # [b, patches, width]
        if self.registers is not None:
            parts.insert(0, self.registers.expand(pixels.shape[0], -1, -1))
        if self.class_token is not None:
            first = self.class_token + table[0] if own else self.class_token
            parts.insert(0, first.expand(pixels.shape[0], 1, -1))
        x = torch.cat(parts, dim=1) if len(parts) > 1 else parts[0]
        return x if self.pre_norm is None else self.pre_norm(x)

    def tokens(self, pixels: Tensor) -> Tensor:
        """Pixels ``[b, channels, h, w]`` -> all tokens after the last norm ``[b, n, width]``."""
        x = self.embed(pixels)
        for block in self.blocks:
            x = block(x)
        normed: Tensor = self.norm(x)
        return normed

    def hidden(self, pixels: Tensor, counts: Sequence[int]) -> list[Tensor]:
        """Pixels ``[b, channels, h, w]`` -> tokens ``[b, n, width]`` after so many blocks, not normalised.

        Blocks behind the last one that is read are not run.
        """
        x = self.embed(pixels)
        found = {0: x}
        for index in range(max(counts)):
            x = self.blocks[index](x)
            found[index + 1] = x
        return [found[count] for count in counts]

    def forward(self, pixels: Tensor) -> Tensor:
        """Pixels ``[b, channels, h, w]`` -> one vector an image ``[b, width]``."""
        x = self.embed(pixels)
        for block in self.blocks[:-1]:
            x = block(x)
        last = self.blocks[-1]
        pooled: Tensor
        if self.config.pool == "class":  # only this token is read, so the last block computes no other
            pooled = self.norm(last(x, x[:, :1])).squeeze(1)
        elif self.pool is not None:
            pooled = self.pool(self.norm(last(x)))
        else:
            pooled = self.norm(last(x)[:, self.config.prefix :].mean(dim=1))
        return pooled

    def attention_maps(self, pixels: Tensor) -> list[Tensor]:
        """Pixels ``[b, channels, h, w]`` -> for each block its attention weights ``[b, heads, n, n]``."""
        x = self.embed(pixels)
        maps = []
        for block in self.blocks:
            assert isinstance(block, PreNormBlock)
            maps.append(block.attention_weights(x))
            x = block(x)
        return maps


@dataclass(frozen=True)
class VitClassifierConfig:
    """A vision transformer and the number of classes it tells apart (0: the pooled vector is the output)."""

    vit: VitConfig
    classes: int


class VitClassifier(nn.Module):
    """``Vit`` with a linear head: pixels ``[b, channels, h, w]`` -> logits ``[b, classes]``."""

    def __init__(self, config: VitClassifierConfig) -> None:
        super().__init__()
        self.config = config
        self.vit = Vit(config.vit)
        self.head = nn.Linear(config.vit.width, config.classes) if config.classes else None

    def forward(self, pixels: Tensor) -> Tensor:
        """Logits of each class, or the pooled vector when there is no head."""
        pooled: Tensor = self.vit(pixels)
        return pooled if self.head is None else self.head(pooled)

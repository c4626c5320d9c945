"""The mask decoder of Segment Anything: prompts and the image look at each other, then masks are read off.

Appendix A of the paper ("Lightweight mask decoder"). What depends on the image alone, the keys, values and
queries of the first block's cross-attention, can be computed once and used for every click: ``look``.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sensorium.models.sam.config import SamConfig
from sensorium.nn.attention import attend
from sensorium.nn.norms import ChannelNorm


@dataclass(frozen=True)
class ImageSide:
    """The image as the decoder sees it, made once by ``MaskDecoder.look`` for all prompts without a mask.

    Shapes: image, positions ``[p or 1, n, width]`` with n = grid * grid; keys, values, queries, of the first
    block's cross-attention, ``[p or 1, heads, n, dim]``.
    """

    image: Tensor
    positions: Tensor
    keys: Tensor
    values: Tensor
    queries: Tensor


class CrossAttention(nn.Module):
    """Attention whose inside is ``inner`` wide, with its three projections within reach."""

    def __init__(self, width: int, inner: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q = nn.Linear(width, inner)
        self.k = nn.Linear(width, inner)
        self.v = nn.Linear(width, inner)
        self.out = nn.Linear(inner, width)

    def split(self, x: Tensor) -> Tensor:
        """``[b, n, inner] -> [b, heads, n, dim]``."""
        return x.reshape(x.shape[0], x.shape[1], self.heads, -1).transpose(1, 2)

    def read(self, q: Tensor, k: Tensor, v: Tensor, p: int) -> Tensor:
        """What split queries ``[p or 1, heads, m, dim]`` read -> ``[p, m, width]``."""
        # spread by expand and not by comparing sizes, which an exported graph would remember
        spread = [x.expand(p, -1, -1, -1) for x in (q, k, v)]
        out: Tensor = self.out(attend(*spread).transpose(1, 2).flatten(2))
        return out

    def forward(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Queries ``[p, m, width]`` read from ``[p or 1, n, width]`` -> ``[p, m, width]``."""
        q, k, v = self.split(self.q(queries)), self.split(self.k(keys)), self.split(self.v(values))
        return self.read(q, k, v, queries.shape[0])


class TwoWayBlock(nn.Module):
    """Tokens look at each other, then at the image; then the image looks at the tokens."""

    def __init__(self, config: SamConfig, *, first: bool) -> None:
        super().__init__()
        c, width, eps = config, config.width, config.decoder_norm_eps
        self.first = first  # has no residual around its self-attention, nor positions in it
        self.self_attention = CrossAttention(width, width, c.decoder_heads)
        self.norm1 = nn.LayerNorm(width, eps=eps)
        self.to_image = CrossAttention(width, width // c.downsample, c.decoder_heads)
        self.norm2 = nn.LayerNorm(width, eps=eps)
        self.up = nn.Linear(width, c.decoder_mlp_width)
        self.down = nn.Linear(c.decoder_mlp_width, width)
        self.norm3 = nn.LayerNorm(width, eps=eps)
        self.to_tokens = CrossAttention(width, width // c.downsample, c.decoder_heads)
        self.norm4 = nn.LayerNorm(width, eps=eps)

    def look(self, image: Tensor, positions: Tensor) -> ImageSide:
        """What cross-attention in both directions needs of an image ``[p or 1, n, width]``."""
        placed = image + positions
        a, b = self.to_image, self.to_tokens
        return ImageSide(image, positions, a.split(a.k(placed)), a.split(a.v(image)), b.split(b.q(placed)))

    def forward(self, tokens: Tensor, prompts: Tensor, side: ImageSide) -> tuple[Tensor, Tensor]:
        """Tokens and prompts ``[p, m, width]`` -> tokens and image ``[p, n, width]`` after this block.

        ``prompts`` are the tokens as they came in: they are added again wherever positions matter.
        """
        if self.first:
            tokens = self.self_attention(tokens, tokens, tokens)
        else:
            placed = tokens + prompts
            tokens = tokens + self.self_attention(placed, placed, tokens)
        tokens = self.norm1(tokens)
        reading = self.to_image.split(self.to_image.q(tokens + prompts))
        p = tokens.shape[0]
        tokens = self.norm2(tokens + self.to_image.read(reading, side.keys, side.values, p))
        tokens = self.norm3(tokens + self.down(F.relu(self.up(tokens))))
        keys = self.to_tokens.split(self.to_tokens.k(tokens + prompts))
        values = self.to_tokens.split(self.to_tokens.v(tokens))
        image = self.norm4(side.image + self.to_tokens.read(side.queries, keys, values, p))
        return tokens, image


class Head(nn.Module):
    """A perceptron of ``depth`` layers with ReLU between them."""

    def __init__(self, width: int, hidden: int, out: int, depth: int) -> None:
        super().__init__()
        self.first = nn.Linear(width, hidden)
        self.middle = nn.ModuleList(nn.Linear(hidden, hidden) for _ in range(depth - 2))
        self.last = nn.Linear(hidden, out)

    def forward(self, x: Tensor) -> Tensor:
        """``[..., width] -> [..., out]``."""
        x = F.relu(self.first(x))
        for layer in self.middle:
            x = F.relu(layer(x))
        out: Tensor = self.last(x)
        return out


class MaskDecoder(nn.Module):
    """Prompt tokens and an image embedding to masks, with the quality of each as the network sees it."""

    def __init__(self, config: SamConfig) -> None:
        super().__init__()
        c, width = config, config.width
        self.size = config.grid
        count = c.candidates + 1  # mask 0 is the single answer, the others are the candidates
        self.quality_token = nn.Parameter(torch.empty(1, width).normal_())
        self.mask_tokens = nn.Parameter(torch.empty(count, width).normal_())
        self.blocks = nn.ModuleList(TwoWayBlock(c, first=i == 0) for i in range(c.decoder_depth))
        self.to_image = CrossAttention(width, width // c.downsample, c.decoder_heads)
        self.norm = nn.LayerNorm(width, eps=1e-5)
        self.upscale1 = nn.ConvTranspose2d(width, width // 4, 2, stride=2)
        self.upscale_norm = ChannelNorm(width // 4, eps=1e-6)
        self.upscale2 = nn.ConvTranspose2d(width // 4, width // 8, 2, stride=2)
        self.masks = nn.ModuleList(Head(width, width, width // 8, 3) for _ in range(count))
        self.quality = Head(width, c.quality_width, count, c.quality_depth)

    def look(self, embedding: Tensor, dense: Tensor, positions: Tensor) -> ImageSide:
        """The image side of the first block.

        Shapes: embedding ``[1, width, grid, grid]``, dense ``[p or 1, width, grid, grid]``, positions
        ``[width, grid, grid]``.
        """
        # joined as tokens: OpenVINO 2026.4 fuses a convolution and an addition wrongly where one is spread
        image = embedding.flatten(2).transpose(1, 2) + dense.flatten(2).transpose(1, 2)  # [p or 1, n, width]
        first = self.blocks[0]
        assert isinstance(first, TwoWayBlock)
        return first.look(image, positions.flatten(1).T[None].to(image.dtype))

    def forward(self, prompts: Tensor, side: ImageSide, *, size: int | None = None) -> tuple[Tensor, Tensor]:
        """Prompt tokens ``[p, n, width]`` -> logits ``[p, 1 + c, 4 grid, 4 grid]``, qualities ``[p, 1 + c]``.

        The first mask is the single answer, the c others are the candidates. Positive logits belong to the
        mask; the quality is the predicted overlap (intersection over union) with the thing meant. ``size``
        is the grid's, where it is not the configured one.
        """
        p = prompts.shape[0]
        learned = torch.cat((self.quality_token, self.mask_tokens)).expand(p, -1, -1)
        prompts = torch.cat((learned, prompts), dim=1)
        tokens = prompts
        tokens, image = self.blocks[0](tokens, prompts, side)
        for block in self.blocks[1:]:
            assert isinstance(block, TwoWayBlock)
            tokens, image = block(tokens, prompts, block.look(image, side.positions))
        placed = image + side.positions
        tokens = self.norm(tokens + self.to_image(tokens + prompts, placed, image))
        own = size or self.size
        grid = image.transpose(1, 2).reshape(p, -1, own, own)
        x = F.gelu(self.upscale_norm(self.upscale1(grid)))
        x = F.gelu(self.upscale2(x))  # [p, width / 8, 4 grid, 4 grid]
        weights = torch.stack([head(tokens[:, 1 + i]) for i, head in enumerate(self.masks)], dim=1)
        logits = (weights @ x.flatten(2)).reshape(p, -1, *x.shape[2:])
        return logits, self.quality(tokens[:, 0])

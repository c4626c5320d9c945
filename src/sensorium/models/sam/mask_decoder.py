"""The mask decoder of Segment Anything: prompts and the image look at each other, then masks are read off.

Appendix A of the paper ("Lightweight mask decoder"). Differs from the paper in the order of products alone:
few tokens meet thousands of places, so the projections of the places are moved to the tokens' side. A head's
similarity ``q . (K x)`` is ``(K' q) . x``, and the average of ``V x`` is ``V`` times the average of ``x``.
Nothing is projected at every place of the image any more, and a click takes a third of the time.

mini-sam's decoder has two parts more, of which the published ones have none: details of the image are added
where masks are drawn (SAM 2, arXiv 2408.00714), and a point's token is told what the image shows there, which
the published networks learn to look up by its position alone, from a billion masks.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sensorium.models.sam.config import SamConfig
from sensorium.models.sam.prompt_encoder import BACKGROUND, FOREGROUND
from sensorium.nn.attention import attend
from sensorium.nn.norms import ChannelNorm


@dataclass(frozen=True)
class ImageSide:
    """The image as the decoder sees it, made once by ``MaskDecoder.look`` for all prompts without a mask.

    Shapes: image, positions ``[p or 1, n, width]`` with n = grid * grid; of mini-sam also details
    ``[p or 1, n, 4, width / 4]`` and the whole embedding ``[p or 1, 2 * width, grid, grid]``.
    """

    image: Tensor
    positions: Tensor
    details: Tensor | None = None
    embedding: Tensor | None = None


class CrossAttention(nn.Module):
    """Attention whose inside is ``inner`` wide: among tokens, of tokens to places, of places to tokens."""

    def __init__(self, width: int, inner: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q = nn.Linear(width, inner)
        self.k = nn.Linear(width, inner)
        self.v = nn.Linear(width, inner)
        self.out = nn.Linear(inner, width)

    def among(self, placed: Tensor, tokens: Tensor) -> Tensor:
        """Tokens ``[p, m, width]`` read each other; ``placed``, with their positions, say who looks where."""
        read = attend(self._split(self.q(placed)), self._split(self.k(placed)), self._split(self.v(tokens)))
        return self._joined(read)

    def from_places(self, queries: Tensor, placed: Tensor, places: Tensor) -> Tensor:
        """Queries ``[p, m, width]`` read from places ``[p or 1, n, width]`` -> ``[p, m, width]``.

        The keys' bias would change all similarities of a query alike, and so nothing: it only keeps its
        gradient, which is zero.
        """
        p, m = queries.shape[:2]
        q = self._split(self.q(queries)) * self._scale  # [p, heads, m, dim]
        seeking = (q @ self._by_head(self.k.weight)).flatten(1, 2)  # [p, heads * m, width]
        similar = (seeking @ placed.transpose(1, 2)).reshape(p, self.heads, m, -1)
        if self.training:
            similar = similar + q @ self.k.bias.reshape(self.heads, -1, 1)
        average = similar.softmax(3).flatten(1, 2) @ places  # [p, heads * m, width]
        read = average.reshape(p, self.heads, m, -1) @ self._by_head(self.v.weight).transpose(1, 2)
        out: Tensor = self.out(read.transpose(1, 2).flatten(2) + self.v.bias)
        return out

    def to_places(self, keys: Tensor, values: Tensor, placed: Tensor) -> Tensor:
        """Places ``[p or 1, n, width]`` read from keys and values ``[p, m, width]`` -> ``[p, n, width]``."""
        p, m = keys.shape[:2]
        k, v = self._split(self.k(keys)) * self._scale, self._split(self.v(values))  # [p, heads, m, dim]
        offered = (k @ self._by_head(self.q.weight)).flatten(1, 2)  # [p, heads * m, width]
        similar = (offered @ placed.transpose(1, 2)).reshape(p, self.heads, m, -1)
        similar = similar + k @ self.q.bias.reshape(self.heads, -1, 1)
        told = (v @ self._by_head(self.out.weight.T)).flatten(1, 2)  # [p, heads * m, width]
        return similar.softmax(2).flatten(1, 2).transpose(1, 2) @ told + self.out.bias

    @property
    def _scale(self) -> float:
        scale: float = (self.q.out_features // self.heads) ** -0.5
        return scale

    def _by_head(self, weight: Tensor) -> Tensor:
        return weight.reshape(self.heads, -1, weight.shape[1])  # [heads, dim, width]

    def _split(self, x: Tensor) -> Tensor:
        return x.reshape(x.shape[0], x.shape[1], self.heads, -1).transpose(1, 2)  # [b, heads, n, dim]

    def _joined(self, heads: Tensor) -> Tensor:
        out: Tensor = self.out(heads.transpose(1, 2).flatten(2))
        return out


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

    def forward(
        self, tokens: Tensor, prompts: Tensor, image: Tensor, positions: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Tokens and prompts ``[p, m, width]``, image and positions ``[p or 1, n, width]``.

        Returns tokens and image ``[p, n, width]`` after this block. ``prompts`` are the tokens as they came
        in: they are added again wherever positions matter.
        """
        if self.first:
            tokens = self.self_attention.among(tokens, tokens)
        else:
            tokens = tokens + self.self_attention.among(tokens + prompts, tokens)
        tokens = self.norm1(tokens)
        placed = image + positions
        tokens = self.norm2(tokens + self.to_image.from_places(tokens + prompts, placed, image))
        tokens = self.norm3(tokens + self.down(F.relu(self.up(tokens))))
        image = self.norm4(image + self.to_tokens.to_places(tokens + prompts, tokens, placed))
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
        self.size, self.width = config.grid, width
        self.seen = nn.Linear(2 * width, width) if config.detailed else None
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
        """The image with what is known of it beforehand, as tokens.

        Shapes: embedding ``[p or 1, width, grid, grid]``, of mini-sam twice as many channels; dense
        ``[p or 1, width, grid, grid]``, positions ``[width, grid, grid]``.
        """
        # joined as tokens: OpenVINO 2026.4 fuses a convolution and an addition wrongly where one is spread
        places = embedding[:, : self.width].flatten(2).transpose(1, 2)
        image = places + dense.flatten(2).transpose(1, 2)  # [p or 1, n, width]
        at = positions.flatten(1).T[None].to(image.dtype)
        if self.seen is None:
            return ImageSide(image, at)
        b, n = places.shape[:2]
        details = embedding[:, self.width :].reshape(b, -1, 4, n)  # [b, width / 4, 4, n]
        return ImageSide(image, at, details.permute(0, 3, 2, 1), embedding)

    def told(self, prompts: Tensor, points: Tensor, labels: Tensor, side: ImageSide) -> Tensor:
        """Prompt tokens ``[p, n, width]`` with what the image shows at their points, where that is learned.

        Points ``[p, n, 2]``, x and y within 0 to 1; labels ``[p, n]``. Corners of boxes, which lie beside a
        thing, and paddings are told nothing.
        """
        if self.seen is None or side.embedding is None:
            return prompts
        at = (2 * points - 1).to(side.embedding.dtype)
        at = at[None] if side.embedding.shape[0] == 1 else at[:, None]  # [1, p, n, 2] or [p, 1, n, 2]
        found = F.grid_sample(side.embedding, at, mode="bilinear", padding_mode="border", align_corners=False)
        shown = found.permute(0, 2, 3, 1).reshape(*prompts.shape[:2], -1)  # [p, n, 2 * width]
        clicked = (labels == FOREGROUND) | (labels == BACKGROUND)
        out: Tensor = prompts + self.seen(shown) * clicked[..., None]
        return out

    def forward(self, prompts: Tensor, side: ImageSide, *, size: int | None = None) -> tuple[Tensor, Tensor]:
        """Prompt tokens ``[p, n, width]`` -> logits ``[p, 1 + c, 4 grid, 4 grid]``, qualities ``[p, 1 + c]``.

        The first mask is the single answer, the c others are the candidates. Positive logits belong to the
        mask; the quality is the predicted overlap (intersection over union) with the thing meant. ``size``
        is the grid's, where it is not the configured one.
        """
        p = prompts.shape[0]
        learned = torch.cat((self.quality_token, self.mask_tokens)).expand(p, -1, -1)
        prompts = torch.cat((learned, prompts), dim=1)
        tokens, image = prompts, side.image
        for block in self.blocks:
            tokens, image = block(tokens, prompts, image, side.positions)
        placed = image + side.positions
        tokens = self.norm(tokens + self.to_image.from_places(tokens + prompts, placed, image))
        fine = self._upscaled(image, side.details)
        weights = torch.stack([head(tokens[:, 1 + i]) for i, head in enumerate(self.masks)], dim=1)
        logits = _assembled(weights @ fine.transpose(1, 2), size or self.size)
        return logits, self.quality(tokens[:, 0])

    def _upscaled(self, image: Tensor, details: Tensor | None) -> Tensor:
        """Places ``[p, n, width]`` to the 4 x 4 places in each: ``[p, n * 16, width / 8]``.

        A transposed convolution with a stride of its own size is one product at each place. Places stay rows
        of a matrix, so that only the masks are ever put into the order of a picture.
        """
        p = image.shape[0]
        norm = self.upscale_norm
        x = _quartered(image, self.upscale1).reshape(p, image.shape[1], 4, -1)  # [p, n, 4, width / 4]
        x = (x if details is None else x + details).flatten(1, 2)
        x = F.gelu(F.layer_norm(x, norm.normalized_shape, norm.weight, norm.bias, norm.eps))
        return F.gelu(_quartered(x, self.upscale2)).reshape(p, -1, self.upscale2.out_channels)


def _quartered(x: Tensor, layer: nn.ConvTranspose2d) -> Tensor:
    """``[p, n, in]`` -> ``[p, n, 4 * out]``: what the layer makes of each place, row by row."""
    assert layer.bias is not None
    weight = layer.weight.permute(2, 3, 1, 0).reshape(-1, layer.in_channels)
    return F.linear(x, weight, layer.bias.repeat(4))


def _assembled(logits: Tensor, size: int) -> Tensor:
    """Quarters of quarters of places ``[p, c, n * 16]`` as pictures ``[p, c, 4 size, 4 size]``."""
    parts = logits.reshape(*logits.shape[:2], size, size, 2, 2, 2, 2)  # y, x; then y, x of each halving
    return parts.permute(0, 1, 2, 4, 6, 3, 5, 7).reshape(*logits.shape[:2], 4 * size, 4 * size)

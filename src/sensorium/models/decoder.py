"""One causal decoder: Llama (arXiv 2302.13971, 2407.21783), Qwen2 (2407.10671) and OPT (2205.01068).

The families are values of one config: rotary or learned positions, RMSNorm or LayerNorm, a gated or a plain
MLP, grouped-query attention (2305.13245), biases, a tied head, and OPT-350m's norms after each step and word
vectors narrower than the network. ``forward`` reads tokens behind those in a cache, one or many: prefill,
decoding and training are one path. It takes vectors, so pictures and words meet before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sensorium.nn.attention import attend, attention_weights
from sensorium.nn.cache import Cache, LayerCache, empty_cache
from sensorium.nn.mlp import Activation, GatedMlp, Mlp
from sensorium.nn.norms import RMSNorm
from sensorium.nn.rotary import RotaryConfig, angles, rotate


@dataclass(frozen=True)
class LearnedPositions:
    """A table of position vectors that are added to the word vectors."""

    count: int
    offset: int
    """The row of position 0: OPT's tables begin with two rows that nothing uses."""


@dataclass(frozen=True)
class DecoderConfig:
    """A causal decoder and its head."""

    vocabulary: int
    width: int
    depth: int
    heads: int
    kv_heads: int
    head_dim: int
    mlp_width: int
    mlp: Activation | Literal["swiglu"]
    norm: Literal["rms", "layer"]
    norm_eps: float
    norm_first: bool
    """False: norms follow each step and its residual, as in OPT-350m."""
    final_norm: bool
    qkv_bias: bool
    out_bias: bool
    mlp_bias: bool
    positions: RotaryConfig | LearnedPositions
    context_length: int
    """How many positions it was trained on."""
    word_width: int
    """Width of the word vectors; another one than ``width`` goes through a projection on both sides."""
    tied: bool
    """The head is the table of word vectors."""

    def __post_init__(self) -> None:
        """Refuse sizes that no network has.

        Raises:
            ValueError: Names the fields.
        """
        if self.heads % self.kv_heads:
            raise ValueError(f"{self.heads} heads are not a multiple of {self.kv_heads} kv_heads")
        if isinstance(self.positions, RotaryConfig) and self.positions.dim != self.head_dim:
            raise ValueError(f"heads of {self.head_dim} values, positions for {self.positions.dim}")


def _norm(config: DecoderConfig) -> nn.Module:
    kind = RMSNorm if config.norm == "rms" else nn.LayerNorm
    return kind(config.width, eps=config.norm_eps)


class CausalAttention(nn.Module):
    """Grouped-query attention whose keys and values go to a cache."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        c = config
        self.head_dim = c.head_dim
        self.grouped = c.heads != c.kv_heads
        self.q = nn.Linear(c.width, c.heads * c.head_dim, bias=c.qkv_bias)
        self.k = nn.Linear(c.width, c.kv_heads * c.head_dim, bias=c.qkv_bias)
        self.v = nn.Linear(c.width, c.kv_heads * c.head_dim, bias=c.qkv_bias)
        self.out = nn.Linear(c.heads * c.head_dim, c.width, bias=c.out_bias)

    def forward(
        self, x: Tensor, view: _View, past: LayerCache, room: int, last: int
    ) -> tuple[Tensor, LayerCache]:
        """``[b, n, width]`` -> ``[b, last, width]`` of the last tokens, and the layer's memory with all n."""
        q, k, v = self._split(self.q(x[:, -last:])), self._split(self.k(x)), self._split(self.v(x))
        if view.cosines is not None and view.sines is not None:
            q = rotate(q, view.cosines[:, -last:], view.sines[:, -last:])
            k = rotate(k, view.cosines, view.sines)
        past = past.append(k, v, room)
        mask, causal = view.of_last(last, x.shape[1], x.device)
        heads = attend(q, past.keys, past.values, mask=mask, causal=causal, grouped=self.grouped)
        out: Tensor = self.out(heads.transpose(1, 2).flatten(2))
        return out, past

    def weights(self, x: Tensor, view: _View, past: LayerCache) -> Tensor:
        """Where the tokens ``[b, n, width]`` look: ``[b, heads, n, total]``, themselves included."""
        q, k = self._split(self.q(x)), self._split(self.k(x))
        if view.cosines is not None and view.sines is not None:
            q, k = (rotate(side, view.cosines, view.sines) for side in (q, k))
        if past.length:
            k = torch.cat((past.keys, k), dim=2)
        mask, causal = view.of_last(x.shape[1], x.shape[1], x.device)
        if causal:
            mask = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool, device=x.device).tril()
        return attention_weights(q, k.repeat_interleave(q.shape[1] // k.shape[1], dim=1), mask=mask)

    def _split(self, x: Tensor) -> Tensor:
        return x.reshape(x.shape[0], x.shape[1], -1, self.head_dim).transpose(1, 2)  # [b, heads, n, dim]


@dataclass(frozen=True)
class _View:
    """What all layers share: how tokens are turned, and which earlier ones each may see."""

    cosines: Tensor | None
    sines: Tensor | None
    visible: Tensor | None  # boolean [n, total] or [b, 1, n, total]
    causal: bool  # instead of `visible`, when nothing came before and nothing is padding

    def of_last(self, last: int, count: int, device: torch.device) -> tuple[Tensor | None, bool]:
        """``mask`` and ``causal`` of `attend` for the last tokens of ``count``."""
        if self.visible is not None:
            return self.visible[..., -last:, :], False
        if not self.causal or last == count:
            return None, self.causal
        return torch.ones(last, count, dtype=torch.bool, device=device).tril(count - last), False


class DecoderBlock(nn.Module):
    """Attention, then the MLP, each with its norm before it or, in OPT-350m, behind its residual."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        c = config
        self.norm_first = c.norm_first
        self.norm1 = _norm(c)
        self.attention = CausalAttention(c)
        self.norm2 = _norm(c)
        self.mlp = (
            GatedMlp(c.width, c.mlp_width, bias=c.mlp_bias)
            if c.mlp == "swiglu"
            else Mlp(c.width, c.mlp_width, c.mlp, bias=c.mlp_bias)
        )

    def forward(
        self, x: Tensor, view: _View, past: LayerCache, room: int, last: int
    ) -> tuple[Tensor, LayerCache]:
        """``[b, n, width]`` -> ``[b, last, width]`` and the layer's memory with all n tokens."""
        normed = self.norm1(x) if self.norm_first else x
        read, past = self.attention(normed, view, past, room, last)
        x = x[:, -last:] + read
        if self.norm_first:
            return x + self.mlp(self.norm2(x)), past
        x = self.norm1(x)
        return self.norm2(x + self.mlp(x)), past


class Decoder(nn.Module):
    """Tokens to what may follow them."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        c = config
        self.config = config
        self.embedding = nn.Embedding(c.vocabulary, c.word_width)
        nn.init.normal_(self.embedding.weight, std=0.02)
        self.positions: nn.Embedding | None = None
        if isinstance(c.positions, LearnedPositions):
            self.positions = nn.Embedding(c.positions.count + c.positions.offset, c.width)
            nn.init.normal_(self.positions.weight, std=0.02)
        narrow = c.word_width != c.width
        self.project_in = nn.Linear(c.word_width, c.width, bias=False) if narrow else None
        self.blocks = nn.ModuleList(DecoderBlock(c) for _ in range(c.depth))
        self.norm = _norm(c) if c.final_norm else None
        self.project_out = nn.Linear(c.width, c.word_width, bias=False) if narrow else None
        self.head = None if c.tied else nn.Linear(c.word_width, c.vocabulary, bias=False)

    def embed(self, ids: Tensor) -> Tensor:
        """Token ids ``[b, n]`` -> word vectors ``[b, n, word_width]``."""
        out: Tensor = self.embedding(ids)
        return out

    def forward(
        self,
        embeds: Tensor,
        positions: Tensor | None = None,
        *,
        mask: Tensor | None = None,
        cache: Cache | None = None,
        last: int | None = None,
    ) -> tuple[Tensor, Cache]:
        """Read tokens behind those in ``cache``.

        Args:
            embeds: Their vectors ``[b, n, word_width]``: of `embed`, or a picture's.
            positions: ``[b, n]`` integers; ``[3, b, n]`` for M-RoPE; None: `next_positions`.
            mask: Boolean ``[b, n]``, false where a token is padding (on either side); None: nowhere. The
                cache remembers padding, and what is computed for it means nothing.
            cache: What was read before; None: nothing.
            last: Compute only so many hidden states, of the last tokens; None: all n.

        Returns:
            Hidden states ``[b, last, word_width]`` for `logits`, and the cache with the n tokens added.
        """
        past = empty_cache(self.config.depth) if cache is None else cache
        if positions is None:
            positions = next_positions(past, embeds, mask)
        x = embeds if self.project_in is None else self.project_in(embeds)
        if self.positions is not None:
            x = x + self.positions(positions + self._offset())
        real = _joined(past, embeds, mask)
        view = self._view(x, positions, past.length, real)
        layers, count = [], x.shape[1]
        for index, block in enumerate(self.blocks):
            is_last = index == self.config.depth - 1
            wanted = count if last is None or not is_last else min(last, count)
            x, layer = block(x, view, past.layers[index], past.room, wanted)
            layers.append(layer)
        x = x if self.norm is None else self.norm(x)
        x = x if self.project_out is None else self.project_out(x)
        return x, Cache(tuple(layers), real, past.room)

    @torch.no_grad()
    def looks(
        self, embeds: Tensor, positions: Tensor | None = None, *, cache: Cache, layers: Sequence[int]
    ) -> list[Tensor]:
        """Where tokens behind a cache look in some blocks: of each ``[b, heads, n, total]``.

        Arguments are those of ``forward``; the cache is left as it is. Rows sum to one.
        """
        if positions is None:
            positions = next_positions(cache, embeds, None)
        x = embeds if self.project_in is None else self.project_in(embeds)
        if self.positions is not None:
            x = x + self.positions(positions + self._offset())
        view = self._view(x, positions, cache.length, _joined(cache, embeds, None))
        found: dict[int, Tensor] = {}
        for index, block in enumerate(self.blocks[: max(layers) + 1]):
            assert isinstance(block, DecoderBlock)
            if index in layers:
                normed = block.norm1(x) if block.norm_first else x
                found[index] = block.attention.weights(normed, view, cache.layers[index])
            x, _ = block(x, view, cache.layers[index], 0, x.shape[1])
        return [found[index] for index in layers]

    def logits(self, hidden: Tensor) -> Tensor:
        """Hidden states ``[..., word_width]`` -> scores of every token ``[..., vocabulary]``."""
        weight = self.embedding.weight if self.head is None else self.head.weight
        return F.linear(hidden, weight)

    def _offset(self) -> int:
        learned = self.config.positions
        return learned.offset if isinstance(learned, LearnedPositions) else 0

    def _view(self, x: Tensor, positions: Tensor, past: int, real: Tensor | None) -> _View:
        cosines = sines = None
        if isinstance(self.config.positions, RotaryConfig):
            cosines, sines = angles(self.config.positions, positions, x.dtype)
        count = x.shape[1]
        if real is None and (past == 0 or count == 1):
            return _View(cosines, sines, None, causal=bool(past == 0 and count > 1))
        order = torch.ones(count, past + count, dtype=torch.bool, device=x.device).tril(past)
        if real is not None:
            # every token sees itself: a padding token that saw nothing would be NaN, and 0 x NaN spreads
            itself = torch.ones_like(order).triu(past) & order
            order = (order & real[:, None, :] | itself)[:, None]  # [b, 1, n, total]
        return _View(cosines, sines, order, causal=False)


def next_positions(cache: Cache, embeds: Tensor, mask: Tensor | None) -> Tensor:
    """The positions ``[b, n]`` of text behind what a cache holds, counting no padding.

    Padding gets the position of the token before it (0 at the start). Pictures under M-RoPE take fewer
    positions than tokens: behind them, positions must be given.
    """
    before: int | Tensor = cache.length if cache.real is None else cache.real.sum(-1, keepdim=True)
    if mask is None:
        order = torch.arange(embeds.shape[1], device=embeds.device)[None] + before
        return order.expand(embeds.shape[0], -1)
    return (mask.long().cumsum(-1) + before - 1).clamp(min=0)


def _joined(past: Cache, embeds: Tensor, mask: Tensor | None) -> Tensor | None:
    """Which of all tokens, old and new, are no padding: ``[b, total]``, or None when all are."""
    if mask is None and past.real is None:
        return None
    rows, count, device = embeds.shape[0], embeds.shape[1], embeds.device
    old, new = past.real, mask
    if old is None:
        old = torch.ones(rows, past.length, dtype=torch.bool, device=device)
    if new is None:
        new = torch.ones(rows, count, dtype=torch.bool, device=device)
    return torch.cat((old, new.bool()), dim=-1)

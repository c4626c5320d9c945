"""Q-Former, the querying transformer of BLIP-2 (Li et al. 2023, arXiv 2301.12597, section 3.1).

Learned queries read a picture through cross-attention in every second block and become its few tokens. Words
may go with them through the same self-attention: to be matched with the picture, or, in InstructBLIP
(arXiv 2305.06500), to say what should be looked for. Blocks are BERT's, normalised after each step; queries
and words have perceptrons of their own.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sensorium.nn.attention import Attention
from sensorium.nn.mlp import Activation, Mlp


@dataclass(frozen=True)
class QFormerConfig:
    """What varies between published Q-Formers. Nothing has a default: the checkpoint says."""

    queries: int
    width: int
    depth: int
    heads: int
    mlp_width: int
    activation: Activation
    norm_eps: float
    cross_every: int  # blocks 0, cross_every, 2 * cross_every ... look at the picture
    image_width: int  # channels of the picture's tokens
    vocabulary: int | None  # of the words that it reads; None: it reads none
    context_length: int  # positions of words
    text_mlp: bool  # whether words have perceptrons of their own; without them none can be read


class QFormerBlock(nn.Module):
    """Self-attention of queries and words; queries look at the picture; a perceptron for each kind."""

    def __init__(self, config: QFormerConfig, *, crossing: bool) -> None:
        super().__init__()
        c = config
        self.attention = Attention(c.width, c.heads)
        self.norm1 = nn.LayerNorm(c.width, eps=c.norm_eps)
        self.cross = Attention(c.width, c.heads, source=c.image_width) if crossing else None
        self.cross_norm = nn.LayerNorm(c.width, eps=c.norm_eps) if crossing else None
        self.mlp = Mlp(c.width, c.mlp_width, c.activation)
        self.norm2 = nn.LayerNorm(c.width, eps=c.norm_eps)
        self.text_mlp = Mlp(c.width, c.mlp_width, c.activation) if c.text_mlp else None
        self.text_norm = nn.LayerNorm(c.width, eps=c.norm_eps) if c.text_mlp else None

    def forward(self, x: Tensor, queries: int, image: Tensor | None, mask: Tensor | None) -> Tensor:
        """``x`` ``[b, queries + words, width]`` to the same.

        ``image`` ``[b, n, image_width]``, which only the queries look at; ``mask`` boolean, broadcastable to
        ``[b, heads, queries + words, queries + words]``, true where a token may look.
        """
        x = self.norm1(x + self.attention(x, x, mask=mask))
        asking, words = x[:, :queries], x[:, queries:]
        parts = []
        if queries:
            if self.cross is not None and self.cross_norm is not None:
                if image is None:
                    raise ValueError("queries need a picture to look at")
                asking = self.cross_norm(asking + self.cross(asking, image))
            parts.append(self.norm2(asking + self.mlp(asking)))
        if words.shape[1]:
            if self.text_mlp is None or self.text_norm is None:
                raise ValueError("this Q-Former reads no words: its checkpoint has no perceptrons for them")
            parts.append(self.text_norm(words + self.text_mlp(words)))
        return torch.cat(parts, dim=1) if len(parts) > 1 else parts[0]


class QFormer(nn.Module):
    """A picture's tokens, and words, to the tokens of the queries and of the words."""

    def __init__(self, config: QFormerConfig) -> None:
        super().__init__()
        c = config
        self.config = config
        self.queries = nn.Parameter(torch.empty(c.queries, c.width).normal_(std=0.02))
        self.embedding = nn.Embedding(c.vocabulary, c.width) if c.vocabulary else None
        self.positions = (
            nn.Parameter(torch.empty(c.context_length, c.width).normal_(std=0.02)) if c.vocabulary else None
        )
        self.norm = nn.LayerNorm(c.width, eps=c.norm_eps)
        self.blocks = nn.ModuleList(
            QFormerBlock(c, crossing=index % c.cross_every == 0) for index in range(c.depth)
        )

    def forward(
        self,
        image: Tensor | None,
        ids: Tensor | None = None,
        mask: Tensor | None = None,
        *,
        causal: bool = False,
    ) -> Tensor:
        """The queries look at ``image`` ``[b, n, image_width]``, beside words ``ids`` ``[b, m]`` if any.

        ``mask`` ``[b, m]`` is non-zero where a word is. Without an image the words are read alone. ``causal``
        is for writing captions (figure 2, right): a word sees the queries and the words before it, queries
        see each other only. Returns ``[b, queries + m, width]``, the queries first.
        """
        parts = [] if image is None else [self.queries.expand(image.shape[0], -1, -1)]
        if ids is not None:
            parts.append(self._words(ids))
        if not parts:
            raise ValueError("give a picture, words, or both")
        x: Tensor = self.norm(torch.cat(parts, dim=1))
        asking = 0 if image is None else self.config.queries
        visible = _visible(x, asking, mask, causal=causal)
        for block in self.blocks:
            x = block(x, asking, image, visible)
        return x

    def looks(self, image: Tensor, ids: Tensor | None = None, mask: Tensor | None = None) -> list[Tensor]:
        """Where the queries look: of each block that crosses, weights ``[b, heads, queries, n]``."""
        parts = [self.queries.expand(image.shape[0], -1, -1)]
        if ids is not None:
            parts.append(self._words(ids))
        x: Tensor = self.norm(torch.cat(parts, dim=1))
        count, found = self.config.queries, []
        visible = _visible(x, count, mask, causal=False)
        for block in self.blocks:
            assert isinstance(block, QFormerBlock)
            if block.cross is not None:
                asking = block.norm1(x + block.attention(x, x, mask=visible))[:, :count]
                found.append(block.cross.weights(asking, image))
            x = block(x, count, image, visible)
        return found

    def _words(self, ids: Tensor) -> Tensor:
        if self.embedding is None or self.positions is None:
            raise ValueError("this Q-Former reads no words: its checkpoint has no vectors for them")
        words: Tensor = self.embedding(ids) + self.positions[: ids.shape[1]]
        return words


def _visible(x: Tensor, queries: int, mask: Tensor | None, *, causal: bool) -> Tensor | None:
    """What each token may look at: boolean ``[b or 1, 1, n or 1, n]``, None for everything."""
    total = x.shape[1]
    seen: Tensor | None = None
    if mask is not None:
        real = mask.new_ones(mask.shape[0], queries)
        seen = (torch.cat((real, mask), dim=1) != 0)[:, None, None, :]
    if not causal:
        return seen
    order = torch.ones(total, total, dtype=torch.bool, device=x.device).tril()
    order[:queries, :queries] = True
    return order[None, None] if seen is None else order[None, None] & seen

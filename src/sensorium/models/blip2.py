"""BLIP-2 (Li et al. 2023, arXiv 2301.12597) and InstructBLIP (Dai et al. 2023, arXiv 2305.06500).

A frozen picture tower, a Q-Former that reads it with a few queries, and a frozen language model that takes
what the queries found as its first tokens. ``Blip2Matcher`` is the first stage of the training: the same
tower and Q-Former with heads that compare pictures and words, tell whether they match, and write captions.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sensorium.models.decoder import Decoder, DecoderConfig
from sensorium.models.qformer import QFormer, QFormerConfig
from sensorium.models.vit import Vit, VitConfig
from sensorium.nn.mlp import activate


@dataclass(frozen=True)
class Blip2Config:
    """A picture tower, a Q-Former and a language model."""

    vision: VitConfig
    qformer: QFormerConfig
    text: DecoderConfig
    instructed: bool  # InstructBLIP: the Q-Former reads the question, too


class Blip2(nn.Module):
    """Pictures to the tokens that a language model continues."""

    def __init__(self, config: Blip2Config) -> None:
        super().__init__()
        self.config = config
        self.vision = Vit(config.vision)
        self.qformer = QFormer(config.qformer)
        self.projection = nn.Linear(config.qformer.width, config.text.word_width)
        self.decoder = Decoder(config.text)

    def see(self, pixels: Tensor, ids: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """Pixels ``[b, 3, h, w]`` -> what the language model reads of them, ``[b, queries, word_width]``.

        ``ids`` and ``mask`` ``[b, m]``: the question in the Q-Former's own vocabulary, for InstructBLIP.
        """
        if (ids is not None) is not self.config.instructed:
            needs = "needs" if self.config.instructed else "takes no"
            raise ValueError(f"the Q-Former of this network {needs} question")
        found = self.qformer(self.vision.tokens(pixels), ids, mask)[:, : self.config.qformer.queries]
        out: Tensor = self.projection(found)
        return out

    def prompt(self, seen: Tensor, ids: Tensor) -> Tensor:
        """What the language model reads: the picture ``[b, queries, word_width]``, then words ``[b, n]``.

        Positions count the queries; the words begin with the language model's own first token.
        """
        return torch.cat((seen, self.decoder.embed(ids)), dim=1)

    def forward(
        self,
        pixels: Tensor,
        ids: Tensor,
        mask: Tensor | None = None,
        question: Tensor | None = None,
        question_mask: Tensor | None = None,
    ) -> Tensor:
        """Scores of the token after each: ``[b, queries + n, vocabulary]``; ``mask`` ``[b, n]`` as ids."""
        embeds = self.prompt(self.see(pixels, question, question_mask), ids)
        real = None
        if mask is not None:
            real = torch.cat((mask.new_ones(len(mask), self.config.qformer.queries), mask), dim=1) != 0
        hidden, _ = self.decoder(embeds, mask=real)
        return self.decoder.logits(hidden)


@dataclass(frozen=True)
class Blip2MatcherConfig:
    """A picture tower and a Q-Former that reads words."""

    vision: VitConfig
    qformer: QFormerConfig
    shared: int  # width of the space in which pictures and words are compared
    caption: bool  # whether there is a head that writes captions; the hub's files have none


class CaptionHead(nn.Module):
    """BERT's head: tokens ``[..., width]`` to scores ``[..., vocabulary]``, by the table of word vectors."""

    def __init__(self, config: QFormerConfig) -> None:
        super().__init__()
        self.activation = config.activation
        self.dense = nn.Linear(config.width, config.width)
        self.norm = nn.LayerNorm(config.width, eps=config.norm_eps)
        self.bias = nn.Parameter(torch.zeros(config.vocabulary or 0))

    def forward(self, x: Tensor, table: Tensor) -> Tensor:
        """``table`` ``[vocabulary, width]``: the vectors of the words that are read."""
        return F.linear(self.norm(activate(self.dense(x), self.activation)), table, self.bias)


class Blip2Matcher(nn.Module):
    """How well pictures and words go together."""

    def __init__(self, config: Blip2MatcherConfig) -> None:
        super().__init__()
        if not config.qformer.vocabulary:
            raise ValueError("a matcher needs a Q-Former that reads words")
        self.config = config
        self.vision = Vit(config.vision)
        self.qformer = QFormer(config.qformer)
        self.image_projection = nn.Linear(config.qformer.width, config.shared)
        self.text_projection = nn.Linear(config.qformer.width, config.shared)
        self.matching_head = nn.Linear(config.qformer.width, 2)  # does not match, matches
        self.caption_head = CaptionHead(config.qformer) if config.caption else None

    def embed_image(self, pixels: Tensor) -> Tensor:
        """Pixels ``[b, 3, h, w]`` -> ``[b, queries, shared]`` of length one: several views of a picture."""
        found = self.qformer(self.vision.tokens(pixels))
        return F.normalize(self.image_projection(found), dim=-1)

    def embed_text(self, ids: Tensor, mask: Tensor | None = None) -> Tensor:
        """Words ``[b, m]`` -> ``[b, shared]`` of length one."""
        return F.normalize(self.text_projection(self.qformer(None, ids, mask)[:, 0]), dim=-1)

    def similarity(self, images: Tensor, texts: Tensor) -> Tensor:
        """Of ``embed_image`` and ``embed_text``: ``[images, texts]``, by the query nearest to a text."""
        return torch.einsum("iqd,td->iqt", images, texts).amax(dim=1)

    def match(self, pixels: Tensor, ids: Tensor, mask: Tensor | None = None) -> Tensor:
        """Each picture with its own words -> logits ``[b, 2]``: they do not match, they match."""
        read = self.qformer(self.vision.tokens(pixels), ids, mask)
        out: Tensor = self.matching_head(read[:, : self.config.qformer.queries]).mean(dim=1)
        return out

    def caption(self, pixels: Tensor, ids: Tensor, mask: Tensor | None = None) -> Tensor:
        """Scores of the word after each, given the picture and the words before: ``[b, m, vocabulary]``."""
        if self.caption_head is None or self.qformer.embedding is None:
            raise ValueError("this checkpoint has no head that writes captions")
        read = self.qformer(self.vision.tokens(pixels), ids, mask, causal=True)
        scores: Tensor = self.caption_head(
            read[:, self.config.qformer.queries :], self.qformer.embedding.weight
        )
        return scores

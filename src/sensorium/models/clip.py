"""CLIP: an image tower and a text tower into one space (Radford et al. 2021, arXiv 2103.00020).

Four published kinds are values of one config, not sub-classes: OpenAI CLIP (quick GELU); LAION's (GELU);
SigLIP 2 (arXiv 2502.14786: attention pooling, text read at the last of 64 fixed tokens, a bias on the logits,
a projection on the text side alone, with bias); Chinese-CLIP (arXiv 2211.01335: BERT for text).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sensorium.models.bert import Bert, BertConfig
from sensorium.models.vit import Vit, VitConfig
from sensorium.nn.blocks import PreNormBlock
from sensorium.nn.mlp import Activation


@dataclass(frozen=True)
class ClipTextConfig:
    """The pre-norm text transformer of CLIP and SigLIP."""

    vocabulary: int
    context_length: int
    width: int
    depth: int
    heads: int
    mlp_width: int
    activation: Activation
    norm_eps: float
    causal: bool
    # where the sentence is read: at the first token `eos_id`; at the first of the highest id (older configs
    # state a wrong eos id, transformers#24773, and the end token is the highest); at the last, pads counted
    pool: Literal["eos", "highest", "last"]
    eos_id: int


@dataclass(frozen=True)
class ClipConfig:
    """Both towers and what joins them."""

    vision: VitConfig
    text: ClipTextConfig | BertConfig
    embed_dim: int
    image_projection: bool  # SigLIP has none: its pooled image vector is the embedding
    text_projection_bias: bool
    logit_bias: bool


class ClipText(nn.Module):
    """Token ids to one vector a sentence."""

    def __init__(self, config: ClipTextConfig) -> None:
        super().__init__()
        c = config
        self.config = config
        self.embedding = nn.Embedding(c.vocabulary, c.width)
        nn.init.normal_(self.embedding.weight, std=0.02)
        self.positions = nn.Parameter(torch.empty(c.context_length, c.width).normal_(std=0.01))
        self.blocks = nn.ModuleList(
            PreNormBlock(c.width, c.heads, c.mlp_width, c.activation, c.norm_eps) for _ in range(c.depth)
        )
        self.norm = nn.LayerNorm(c.width, eps=c.norm_eps)

    def embed(self, ids: Tensor) -> Tensor:
        """Ids ``[b, n] -> [b, n, width]``, n <= context_length."""
        out: Tensor = self.embedding(ids) + self.positions[: ids.shape[1]]
        return out

    def forward(self, ids: Tensor) -> Tensor:
        """Ids ``[b, n] -> [b, width]``.

        No padding mask: under the causal mask a pad after the end token changes nothing before it, so running
        only the tokens present is exact; and SigLIP was trained to attend to its pads.
        """
        x, causal = self.embed(ids), self.config.causal
        for block in self.blocks[:-1]:
            x = block(x, causal=causal)
        # only the pooled token is read, so the last block computes no other row
        place = self.place(ids)  # [b]
        pooled = x.gather(1, place[:, None, None].expand(-1, 1, x.shape[-1]))
        seen = None
        if causal:
            order = torch.arange(ids.shape[1], device=ids.device)
            seen = (order <= place[:, None])[:, None, None, :]
        out: Tensor = self.norm(self.blocks[-1](x, pooled, mask=seen)).squeeze(1)
        return out

    def place(self, ids: Tensor) -> Tensor:
        """Ids ``[b, n]`` -> the index ``[b]`` of the token that stands for the sentence."""
        if self.config.pool == "last":
            return torch.full_like(ids[:, 0], ids.shape[1] - 1)
        if self.config.pool == "eos":
            return (ids == self.config.eos_id).int().argmax(dim=-1)
        return ids.argmax(dim=-1)


class Clip(nn.Module):
    """Images and sentences to vectors whose cosine says how well they fit."""

    def __init__(self, config: ClipConfig) -> None:
        super().__init__()
        c = config
        self.config = config
        self.vision = Vit(c.vision)
        self.text = Bert(c.text) if isinstance(c.text, BertConfig) else ClipText(c.text)
        self.image_projection = (
            nn.Linear(c.vision.width, c.embed_dim, bias=False) if c.image_projection else None
        )
        self.text_projection = nn.Linear(c.text.width, c.embed_dim, bias=c.text_projection_bias)
        self.logit_scale = nn.Parameter(torch.tensor(2.6592))  # ln(1 / 0.07), section 2.5
        self.logit_bias = nn.Parameter(torch.tensor(-10.0)) if c.logit_bias else None

    def encode_image(self, pixels: Tensor) -> Tensor:
        """Pixels ``[b, 3, h, w]``, normalised -> ``[b, embed_dim]``, not of unit length."""
        pooled: Tensor = self.vision(pixels)
        return pooled if self.image_projection is None else self.image_projection(pooled)

    def encode_text(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Ids ``[b, n]`` and mask ``[b, n]`` -> ``[b, embed_dim]``, not of unit length.

        Only a BERT tower reads the mask; see ``ClipText.forward`` for the others.
        """
        pooled = self.text.first(ids, mask) if isinstance(self.text, Bert) else self.text(ids)
        out: Tensor = self.text_projection(pooled)
        return out

    def similarity(self, image: Tensor, text: Tensor) -> Tensor:
        """Embeddings ``[i, embed_dim]``, ``[t, embed_dim]`` -> scaled cosines plus bias ``[i, t]``."""
        logits = F.normalize(image, dim=-1) @ F.normalize(text, dim=-1).T * self.logit_scale.exp()
        return logits if self.logit_bias is None else logits + self.logit_bias

    def forward(self, pixels: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
        """Logits ``[i, t]`` of every image with every sentence."""
        return self.similarity(self.encode_image(pixels), self.encode_text(ids, mask))

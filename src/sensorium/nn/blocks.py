"""Transformer blocks: normalise before each step (ViT, CLIP), or after it (BERT)."""

from __future__ import annotations

from torch import Tensor, nn

from sensorium.nn.attention import Attention
from sensorium.nn.mlp import Activation, Mlp


class PreNormBlock(nn.Module):
    """``x + attention(norm(x))``, then ``x + mlp(norm(x))``, as in ViT (arXiv 2010.11929, equations 2-3)."""

    def __init__(
        self,
        width: int,
        heads: int,
        mlp_width: int,
        activation: Activation,
        norm_eps: float,
        *,
        qkv_bias: bool = True,
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=norm_eps)
        self.attention = Attention(width, heads, bias=qkv_bias)
        self.norm2 = nn.LayerNorm(width, eps=norm_eps)
        self.mlp = Mlp(width, mlp_width, activation)

    def forward(
        self,
        tokens: Tensor,
        queries: Tensor | None = None,
        *,
        mask: Tensor | None = None,
        causal: bool = False,
    ) -> Tensor:
        """Tokens ``[b, n, width] -> [b, n, width]``.

        With ``queries`` ``[b, m, width]``, some of the tokens, only their rows are computed: exact, and
        all that the last block of a tower needs when one token is pooled.
        """
        normed = self.norm1(tokens)
        x = tokens if queries is None else queries
        reading = normed if queries is None else self.norm1(queries)
        x = x + self.attention(reading, normed, mask=mask, causal=causal)
        out: Tensor = x + self.mlp(self.norm2(x))
        return out

    def attention_weights(self, tokens: Tensor) -> Tensor:
        """The attention map ``[b, heads, n, n]`` of this block without a mask."""
        normed = self.norm1(tokens)
        return self.attention.weights(normed, normed)


class PostNormBlock(nn.Module):
    """``norm(x + attention(x))``, then ``norm(x + mlp(x))``, as in BERT (arXiv 1810.04805)."""

    def __init__(
        self, width: int, heads: int, mlp_width: int, activation: Activation, norm_eps: float
    ) -> None:
        super().__init__()
        self.attention = Attention(width, heads)
        self.norm1 = nn.LayerNorm(width, eps=norm_eps)
        self.mlp = Mlp(width, mlp_width, activation)
        self.norm2 = nn.LayerNorm(width, eps=norm_eps)

    def forward(self, tokens: Tensor, queries: Tensor | None = None, *, mask: Tensor | None = None) -> Tensor:
        """Tokens ``[b, n, width] -> [b, n, width]``; ``queries`` as in ``PreNormBlock``."""
        x = tokens if queries is None else queries
        x = self.norm1(x + self.attention(x, tokens, mask=mask))
        out: Tensor = self.norm2(x + self.mlp(x))
        return out

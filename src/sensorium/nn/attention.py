"""Attention: the one place that calls PyTorch's scaled dot product.

"Attention is all you need", section 3.2 (Vaswani et al. 2017, arXiv 1706.03762). All tensors that enter
``attend`` and ``attention_weights`` are ``[b, heads, n, dim]``.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


def attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    mask: Tensor | None = None,
    bias: Tensor | None = None,
    causal: bool = False,
    grouped: bool = False,
) -> Tensor:
    """Values averaged by the similarity of queries and keys.

    Shapes: q ``[b, heads, m, dim]``; k, v ``[b, heads, n, dim]`` -> ``[b, heads, m, dim]``.
    ``mask`` is boolean, ``[m, n]`` or broadcastable to ``[b, heads, m, n]``, true where a query may look;
    ``bias``, of the same shapes, is added to the scaled similarities; at most one of the two is given.
    ``causal`` lets query i see keys 0..i, and needs m == n. ``grouped`` says that keys and values have fewer
    heads, each for heads / kv_heads neighbouring heads of queries (arXiv 2305.13245).
    """
    added = mask if bias is None else bias
    return F.scaled_dot_product_attention(q, k, v, attn_mask=added, is_causal=causal, enable_gqa=grouped)


def attention_weights(q: Tensor, k: Tensor, *, mask: Tensor | None = None) -> Tensor:
    """The weights that ``attend`` uses and never shows: ``[b, heads, m, n]``, each row sums to one.

    The softmax is taken in float32 and returned in the dtype of ``q``.
    """
    scale: float = q.shape[-1] ** -0.5
    scores = (q @ k.transpose(-1, -2)).float() * scale
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf"))
    return scores.softmax(dim=-1).to(q.dtype)


class Attention(nn.Module):
    """Multi-head attention with separate q, k, v and out projections.

    The projections are four Linears and not one fused matrix, so that queries can be computed for fewer
    tokens than keys (pooling), and an adapter can be put on any one of them.
    """

    def __init__(self, width: int, heads: int, *, bias: bool = True, source: int | None = None) -> None:
        """``source``: the width of what is read, where it is another one."""
        super().__init__()
        if width % heads:
            raise ValueError(f"width {width} is not a multiple of {heads} heads")
        self.heads = heads
        self.q = nn.Linear(width, width, bias=bias)
        self.k = nn.Linear(source or width, width, bias=bias)
        self.v = nn.Linear(source or width, width, bias=bias)
        self.out = nn.Linear(width, width)

    def forward(
        self,
        queries: Tensor,
        tokens: Tensor,
        *,
        mask: Tensor | None = None,
        causal: bool = False,
    ) -> Tensor:
        """Queries ``[b, m, width]`` read from tokens ``[b, n, source]`` -> ``[b, m, width]``."""
        heads = attend(
            self._split(self.q(queries)),
            self._split(self.k(tokens)),
            self._split(self.v(tokens)),
            mask=mask,
            causal=causal,
        )
        joined: Tensor = self.out(heads.transpose(1, 2).flatten(2))  # [b, m, heads * dim]
        return joined

    def weights(self, queries: Tensor, tokens: Tensor, *, mask: Tensor | None = None) -> Tensor:
        """The attention map ``[b, heads, m, n]`` of the same call."""
        return attention_weights(self._split(self.q(queries)), self._split(self.k(tokens)), mask=mask)

    def _split(self, x: Tensor) -> Tensor:
        return x.reshape(x.shape[0], x.shape[1], self.heads, -1).transpose(1, 2)  # [b, heads, n, dim]

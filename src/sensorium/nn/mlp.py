"""The perceptrons of transformer blocks, plain and gated, and activations that tell checkpoints apart."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Activation = Literal["gelu", "gelu_tanh", "quick_gelu", "relu"]


def activate(x: Tensor, activation: Activation) -> Tensor:
    """GELU (arXiv 1606.08415) exactly, by its tanh form, or by OpenAI CLIP's ``x * sigmoid(1.702 x)``.

    They differ by up to 0.02 an activation (0.0005 for the tanh form): enough to move scores. ReLU is OPT's.
    """
    if activation == "relu":
        return F.relu(x)
    if activation == "gelu":
        return F.gelu(x)
    if activation == "gelu_tanh":
        return F.gelu(x, approximate="tanh")
    return x * torch.sigmoid(1.702 * x)


class Mlp(nn.Module):
    """Linear, activation, Linear: ``[..., width] -> [..., width]``."""

    def __init__(self, width: int, hidden: int, activation: Activation, *, bias: bool = True) -> None:
        super().__init__()
        self.activation: Activation = activation
        self.up = nn.Linear(width, hidden, bias=bias)
        self.down = nn.Linear(hidden, width, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """Each token by itself."""
        out: Tensor = self.down(activate(self.up(x), self.activation))
        return out


class GatedMlp(nn.Module):
    """``down(silu(gate(x)) * up(x))``: SwiGLU (Shazeer 2020, arXiv 2002.05202), ``[..., width]``."""

    def __init__(self, width: int, hidden: int, *, bias: bool) -> None:
        super().__init__()
        self.gate = nn.Linear(width, hidden, bias=bias)
        self.up = nn.Linear(width, hidden, bias=bias)
        self.down = nn.Linear(hidden, width, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """Each token by itself."""
        out: Tensor = self.down(F.silu(self.gate(x)) * self.up(x))
        return out

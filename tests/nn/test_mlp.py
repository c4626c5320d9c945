"""The activations that tell checkpoints apart."""

from __future__ import annotations

import math

import torch

from sensorium.nn.mlp import activate


def test_activations_are_their_formulas() -> None:
    x = torch.linspace(-6, 6, 101, dtype=torch.double)
    exact = x * 0.5 * (1 + torch.erf(x / math.sqrt(2)))
    tanh = x * 0.5 * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    quick = x / (1 + torch.exp(-1.702 * x))
    torch.testing.assert_close(activate(x, "gelu"), exact)
    torch.testing.assert_close(activate(x, "gelu_tanh"), tanh)
    torch.testing.assert_close(activate(x, "quick_gelu"), quick)
    # why they must not be mixed up
    assert 0.019 < (exact - quick).abs().max() < 0.021
    assert 0.0003 < (exact - tanh).abs().max() < 0.0006

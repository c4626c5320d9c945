"""Angles bit for bit those of transformers at real sizes, and what turning means."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers
from transformers.models.llama.modeling_llama import LlamaRMSNorm, LlamaRotaryEmbedding, apply_rotary_pos_emb

from sensorium.nn.norms import RMSNorm
from sensorium.nn.rotary import RotaryConfig, Sections, angles, frequencies, rotate
from sensorium.weights.maps.common import Fields
from sensorium.weights.maps.rotary import read_rotary

LLAMA3 = {"low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}
STATED: dict[str, dict[str, Any]] = {
    "Qwen2.5": {"rope_theta": 1e6, "rope_type": "default"},
    "TinyLlama": {"rope_theta": 1e4, "rope_type": "default"},
    "Vicuna, stretched": {"rope_theta": 1e4, "rope_type": "linear", "factor": 8.0},
    "Llama 3.1": {"rope_theta": 5e5, "rope_type": "llama3", "factor": 8.0, **LLAMA3},
    "Llama 3.2": {"rope_theta": 5e5, "rope_type": "llama3", "factor": 32.0, **LLAMA3},
    "Qwen2.5, long": {
        "rope_theta": 1e6,
        "rope_type": "yarn",
        "factor": 4.0,
        "original_max_position_embeddings": 32768,
    },
    "yarn, otherwise": {
        "rope_theta": 1e4,
        "rope_type": "yarn",
        "factor": 16.0,
        "original_max_position_embeddings": 4096,
        "beta_fast": 24.0,
        "beta_slow": 2.0,
        "mscale": 0.7,
        "mscale_all_dim": 0.9,
        "truncate": False,
    },
}


def pair(name: str, dim: int) -> tuple[RotaryConfig, LlamaRotaryEmbedding]:
    raw = {"max_position_embeddings": 131072, "rope_parameters": STATED[name]}
    config = transformers.LlamaConfig(
        hidden_size=4 * dim, num_attention_heads=4, head_dim=dim, max_position_embeddings=131072,
        rope_parameters=dict(STATED[name]),
    )  # fmt: skip
    return read_rotary(Fields(raw, "test"), dim), LlamaRotaryEmbedding(config)


@pytest.mark.parametrize("name", STATED)
@pytest.mark.parametrize("dim", [64, 128])
def test_angles_are_the_references(name: str, dim: int) -> None:
    ours, theirs = pair(name, dim)
    torch.testing.assert_close(frequencies(ours), theirs.inv_freq, rtol=2e-7, atol=0)
    positions = torch.tensor([[0, 1, 2, 77, 4095, 30001]])
    cosines, sines = angles(ours, positions, torch.float32)
    expected = theirs(torch.zeros(1), positions)
    # one unit in the last place of a frequency is 1e-7 of the angle, which at 30,000 is thousands of radians
    bound = 1e-6 if torch.equal(frequencies(ours), theirs.inv_freq) else 4e-3
    torch.testing.assert_close(cosines, expected[0], rtol=0, atol=bound)
    torch.testing.assert_close(sines, expected[1], rtol=0, atol=bound)
    if STATED[name]["rope_type"] in ("default", "linear"):
        assert torch.equal(frequencies(ours), theirs.inv_freq)


def test_turning_is_the_references() -> None:
    ours, theirs = pair("Llama 3.2", 64)
    generator = torch.Generator().manual_seed(0)
    q, k = (torch.randn(2, heads, 5, 64, generator=generator) for heads in (4, 2))
    positions = torch.tensor([[0, 1, 2, 3, 4], [9, 8, 7, 6, 500]])
    turned = [rotate(x, *angles(ours, positions, torch.float32)) for x in (q, k)]
    expected = apply_rotary_pos_emb(q, k, *theirs(q, positions))
    for a, b in zip(turned, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-5)


def test_only_distances_count() -> None:
    """The product of a query and a key depends on how far apart they are (section 3.2.1)."""
    config = RotaryConfig(16, 1e4, None, None)
    q, k = torch.randn(2, 1, 1, 1, 16, generator=torch.Generator().manual_seed(1))

    def product(at: int, other: int) -> float:
        turned = [
            rotate(x, *angles(config, torch.tensor([[place]]), torch.float32))
            for x, place in ((q, at), (k, other))
        ]
        return float((turned[0] * turned[1]).sum())

    assert product(3, 1) == pytest.approx(product(40, 38), abs=1e-4)
    assert product(3, 1) != pytest.approx(product(3, 2), abs=1e-2)


def test_angles_are_exact_in_half_precision_networks() -> None:
    config = RotaryConfig(8, 1e4, None, None)
    near = angles(config, torch.tensor([[5001]]), torch.bfloat16)[0]
    exact = angles(config, torch.tensor([[5001]]), torch.float32)[0]
    assert torch.equal(near, exact.to(torch.bfloat16))


def test_sizes_that_do_not_add_up_are_refused() -> None:
    with pytest.raises(ValueError, match="even: 7"):
        RotaryConfig(7, 1e4, None, None)
    with pytest.raises(ValueError, match="do not add up to 4 pairs"):
        RotaryConfig(8, 1e4, None, Sections((1, 1, 1), "chunks"))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rms_norm_is_the_references_bit_for_bit(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(2)
    ours, theirs = RMSNorm(40, 1e-5), LlamaRMSNorm(40, 1e-5)
    ours.weight.data = theirs.weight.data = torch.randn(40, generator=generator).to(dtype)
    x = (torch.randn(3, 7, 40, generator=generator) * 5).to(dtype)
    assert torch.equal(ours(x), theirs(x))
    assert ours(x).dtype == dtype

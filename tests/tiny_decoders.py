"""Tiny decoders with random weights, as transformers makes them, and ours with the same tensors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
import transformers
from torch import Tensor, nn

from sensorium.models.decoder import Decoder
from sensorium.weights.load import FAMILIES, empty, fill
from sensorium.weights.maps.decoder import OPT_RULES, RULES, read_config

VOCABULARY = 99
EAGER: dict[str, Any] = {
    "attn_implementation": "eager",
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
LLAMA: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 40,
    "intermediate_size": 56,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "rms_norm_eps": 1e-3,
    "max_position_embeddings": 256,
    **EAGER,
}
OPT: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 40,
    "ffn_dim": 56,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
    **EAGER,
}
LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32}


def _llama(**change: Any) -> Any:
    return transformers.LlamaForCausalLM(transformers.LlamaConfig(**{**LLAMA, **change}))


def _qwen(**change: Any) -> Any:
    return transformers.Qwen2ForCausalLM(transformers.Qwen2Config(**{**LLAMA, **change}))


def _mistral(**change: Any) -> Any:
    return transformers.MistralForCausalLM(transformers.MistralConfig(**{**LLAMA, **change}))


def _opt(**change: Any) -> Any:
    return transformers.OPTForCausalLM(transformers.OPTConfig(**{**OPT, **change}))


MAKERS: dict[str, Callable[[], Any]] = {
    "llama": _llama,
    "llama wide heads": lambda: _llama(head_dim=16, rope_theta=5e5),
    "llama single kv": lambda: _llama(num_key_value_heads=1, attention_bias=True, mlp_bias=True),
    "llama3": lambda: _llama(rope_scaling=dict(LLAMA3), tie_word_embeddings=True),
    "llama linear": lambda: _llama(rope_scaling={"rope_type": "linear", "factor": 4.0}),
    "llama yarn": lambda: _llama(rope_scaling=dict(YARN)),
    "mistral": lambda: _mistral(sliding_window=None),
    "qwen2": lambda: _qwen(rope_theta=1e6),
    "qwen2 tied": lambda: _qwen(tie_word_embeddings=True, num_key_value_heads=4),
    "opt": _opt,
    "opt 350m": lambda: _opt(do_layer_norm_before=False, word_embed_proj_dim=24),
    "opt untied": lambda: _opt(tie_word_embeddings=False, enable_bias=False, activation_function="gelu"),
    "opt old": lambda: _opt(_remove_final_layer_norm=True),
}


def randomized(network: nn.Module, seed: int = 0) -> nn.Module:
    """Every parameter random, norms and biases too: a tensor in the wrong place then shows."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in network.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator) * 0.2
        is_norm = "norm" in name.lower() and name.endswith("weight")
        parameter.data = noise + 1.0 if is_norm else noise
    return network.eval()


def reference(kind: str) -> Any:
    """The reference network of a kind, tiny, eager, float32."""
    return randomized(MAKERS[kind]())


def raw_config(network: Any) -> dict[str, Any]:
    """``config.json`` as transformers of today writes it."""
    return dict(network.config.to_dict())


def ours(network: Any) -> Decoder:
    """Our decoder with the tensors of a reference."""
    raw = raw_config(network)
    family = FAMILIES["opt" if raw["model_type"] == "opt" else "llama"]
    made = empty(family, read_config(raw))
    state = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    fill(made, state.items(), OPT_RULES if raw["model_type"] == "opt" else RULES)
    assert isinstance(made, Decoder)
    return made.eval()


def qwen_vl() -> tuple[Any, Decoder]:
    """The language model of a Qwen2.5-VL, whose heads of 10 values have 1, 2 and 2 pairs an axis."""
    raw = {key: value for key, value in LLAMA.items() if key != "attn_implementation"}
    rope = {"rope_type": "default", "mrope_section": [1, 2, 2], "rope_theta": 1e4}
    config = transformers.models.qwen2_5_vl.configuration_qwen2_5_vl.Qwen2_5_VLTextConfig(
        **{**raw, "rope_parameters": rope, "attn_implementation": "eager"}
    )
    theirs = randomized(transformers.models.qwen2_5_vl.modeling_qwen2_5_vl.Qwen2_5_VLTextModel(config))
    decoder = Decoder(replace(read_config(config.to_dict()), tied=True)).eval()
    fill(decoder, {key: tensor.clone() for key, tensor in theirs.state_dict().items()}.items(), RULES)
    return theirs, decoder


def ids(rows: int, length: int, seed: int = 1) -> Tensor:
    """Random token ids that are no special token."""
    return torch.randint(3, VOCABULARY, (rows, length), generator=torch.Generator().manual_seed(seed))


def relative(a: Tensor, b: Tensor) -> float:
    """The largest difference, relative to the scale of ``b``."""
    return float((a.double() - b.double()).abs().max() / b.double().abs().max())

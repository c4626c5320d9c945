"""Causal decoders: Llama (with Mistral), Qwen2 and OPT, alone or as the language model of a larger network.

Layouts: transformers' (the hub's and today's), its bare model without a head, Meta's original Llama files,
and OPT's first files, whose keys begin with ``decoder.``. A tied head is absent from most files and is then
no tensor of the network either.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sensorium.errors import CheckpointError
from sensorium.models.decoder import DecoderConfig, LearnedPositions
from sensorium.nn.rotary import RotaryConfig
from sensorium.weights.maps.common import Fields, foreign_activation
from sensorium.weights.maps.rotary import read_rotary, write_rotary
from sensorium.weights.rules import COMPUTED, Rule, drop, halves, head, move

_LLAMA_BLOCK = {
    "input_layernorm": "norm1",
    "self_attn.q_proj": "attention.q",
    "self_attn.k_proj": "attention.k",
    "self_attn.v_proj": "attention.v",
    "self_attn.o_proj": "attention.out",
    "post_attention_layernorm": "norm2",
    "mlp.gate_proj": "mlp.gate",
    "mlp.up_proj": "mlp.up",
    "mlp.down_proj": "mlp.down",
}
_OPT_BLOCK = {
    "self_attn_layer_norm": "norm1",
    "self_attn.q_proj": "attention.q",
    "self_attn.k_proj": "attention.k",
    "self_attn.v_proj": "attention.v",
    "self_attn.out_proj": "attention.out",
    "final_layer_norm": "norm2",
    "fc1": "mlp.up",
    "fc2": "mlp.down",
}
_META_BLOCK = {
    "attention_norm": "norm1",
    "attention.wv": "attention.v",
    "attention.wo": "attention.out",
    "ffn_norm": "norm2",
    "feed_forward.w1": "mlp.gate",
    "feed_forward.w2": "mlp.down",
    "feed_forward.w3": "mlp.up",
}


def _blocks(model: str, ours: str, names: Mapping[str, str], leaf: str = "{leaf}") -> list[Rule]:
    return [
        move(f"{model}layers.{{i}}.{theirs}.{leaf}", f"{ours}blocks.{{i}}.{name}.{leaf}")
        for theirs, name in names.items()
    ]


def llama_rules(model: str, ours: str = "") -> list[Rule]:
    """Llama and Qwen2 without the head; the file's keys begin with ``model``, the network's with ``ours``."""
    return [
        move(f"{model}embed_tokens.weight", f"{ours}embedding.weight"),
        *_blocks(model, ours, _LLAMA_BLOCK),
        move(f"{model}norm.weight", f"{ours}norm.weight"),
    ]


def opt_rules(model: str, ours: str = "") -> list[Rule]:
    """OPT without the head; the file's keys begin with ``model``, the network's with ``ours``."""
    return [
        move(f"{model}embed_tokens.weight", f"{ours}embedding.weight"),
        move(f"{model}embed_positions.weight", f"{ours}positions.weight"),
        move(f"{model}project_in.weight", f"{ours}project_in.weight"),
        move(f"{model}project_out.weight", f"{ours}project_out.weight"),
        *_blocks(model, ours, _OPT_BLOCK),
        move(f"{model}final_layer_norm.{{leaf}}", f"{ours}norm.{{leaf}}"),
    ]


def head_rule(source: str, ours: str = "") -> Rule:
    """The head under its name in the file, where the network has one of its own."""
    return head(source, f"{ours}head.weight", f"{ours}embedding.weight")


RULES: list[Rule] = [*llama_rules("model."), head_rule("lm_head.weight"), *llama_rules(""), *COMPUTED]

OPT_RULES: list[Rule] = [
    *opt_rules("model.decoder."),
    head_rule("lm_head.weight"),
    *opt_rules("decoder."),
    *COMPUTED,
]


def meta_rules(config: DecoderConfig) -> list[Rule]:
    """Llama as Meta publishes it: queries and keys turn neighbours, so rows depend on the head's size."""
    queries, keys = (
        halves(f"layers.{{i}}.attention.w{x}.weight", f"blocks.{{i}}.attention.{x}.weight", config.head_dim)
        for x in "qk"
    )
    return [
        move("tok_embeddings.weight", "embedding.weight"),
        queries,
        keys,
        *_blocks("", "", _META_BLOCK, "weight"),
        head_rule("output.weight"),
        drop("rope.freqs"),
    ]


_LLAMA_DEFAULTS: dict[str, Any] = {
    "vocab_size": 32000,
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "hidden_act": "silu",
    "max_position_embeddings": 2048,
    "rms_norm_eps": 1e-6,
    "tie_word_embeddings": False,
    "attention_bias": False,
    "mlp_bias": False,
}
_MISTRAL_DEFAULTS: dict[str, Any] = {
    **_LLAMA_DEFAULTS,
    "intermediate_size": 14336,
    "num_key_value_heads": 8,
    "max_position_embeddings": 131072,
    "sliding_window": 4096,
}
_QWEN2_DEFAULTS: dict[str, Any] = {
    **_LLAMA_DEFAULTS,
    "vocab_size": 151936,
    "intermediate_size": 22016,
    "num_key_value_heads": 32,
    "max_position_embeddings": 32768,
    "use_sliding_window": False,
}
_QWEN_VL_DEFAULTS: dict[str, Any] = {
    **_QWEN2_DEFAULTS,
    "vocab_size": 152064,
    "hidden_size": 8192,
    "intermediate_size": 29568,
    "num_hidden_layers": 80,
    "num_attention_heads": 64,
    "num_key_value_heads": 8,
    "rms_norm_eps": 1e-5,
    "rope_theta": 1e6,
}
_DEFAULTS: dict[str, dict[str, Any]] = {
    "llama": _LLAMA_DEFAULTS,
    "mistral": _MISTRAL_DEFAULTS,
    "qwen2": _QWEN2_DEFAULTS,
    "qwen2_5_vl_text": _QWEN_VL_DEFAULTS,
}
_OPT_DEFAULTS: dict[str, Any] = {
    "vocab_size": 50272,
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "ffn_dim": 3072,
    "max_position_embeddings": 2048,
    "do_layer_norm_before": True,
    "_remove_final_layer_norm": False,
    "num_attention_heads": 12,
    "activation_function": "relu",
    "enable_bias": True,
    "layer_norm_elementwise_affine": True,
    "tie_word_embeddings": True,
}


def read_config(raw: Mapping[str, Any]) -> DecoderConfig:
    """A decoder's config, or the ``text_config`` of a larger model, in the words of transformers.

    ``model_type`` decides: llama, mistral, qwen2, qwen2_5_vl_text or opt. Raises CheckpointError when the
    config is none of them, or asks for what the network cannot do.
    """
    kind = raw.get("model_type")
    if kind == "opt":
        return _read_opt(raw)
    if kind not in _DEFAULTS:
        known = ", ".join((*_DEFAULTS, "opt"))
        raise CheckpointError(f"config: a decoder of model_type {kind!r} is not supported; {known} are")
    fields = Fields({**_DEFAULTS[kind], **raw}, "the decoder's config")
    fields.expect("hidden_act", "silu")
    qwen = kind.startswith("qwen2")
    if qwen:
        fields.expect("use_sliding_window", False, None)
    if kind == "mistral":
        fields.expect("sliding_window", None)
    attention_bias = False if kind == "mistral" else bool(fields["attention_bias"])
    head_dim = fields.get("head_dim") or fields["hidden_size"] // fields["num_attention_heads"]
    return _checked(
        vocabulary=fields["vocab_size"],
        width=fields["hidden_size"],
        depth=fields["num_hidden_layers"],
        heads=fields["num_attention_heads"],
        kv_heads=fields.get("num_key_value_heads") or fields["num_attention_heads"],
        head_dim=head_dim,
        mlp_width=fields["intermediate_size"],
        mlp="swiglu",
        norm="rms",
        norm_eps=fields["rms_norm_eps"],
        norm_first=True,
        final_norm=True,
        qkv_bias=True if qwen else attention_bias,
        out_bias=False if qwen else attention_bias,
        mlp_bias=kind == "llama" and bool(fields["mlp_bias"]),
        positions=read_rotary(fields, head_dim),
        context_length=fields["max_position_embeddings"],
        word_width=fields["hidden_size"],
        tied=bool(fields["tie_word_embeddings"]),
    )


def _read_opt(raw: Mapping[str, Any]) -> DecoderConfig:
    fields = Fields({**_OPT_DEFAULTS, **raw}, "the decoder's config")
    fields.expect("layer_norm_elementwise_affine", True)
    first = bool(fields["do_layer_norm_before"])
    bias = bool(fields["enable_bias"])
    fields["hidden_act"] = fields["activation_function"]
    return _checked(
        vocabulary=fields["vocab_size"],
        width=fields["hidden_size"],
        depth=fields["num_hidden_layers"],
        heads=fields["num_attention_heads"],
        kv_heads=fields["num_attention_heads"],
        head_dim=fields["hidden_size"] // fields["num_attention_heads"],
        mlp_width=fields["ffn_dim"],
        mlp=fields.activation(),
        norm="layer",
        norm_eps=1e-5,  # the format has no field for it
        norm_first=first,
        final_norm=first and not fields["_remove_final_layer_norm"],
        qkv_bias=bias,
        out_bias=bias,
        mlp_bias=bias,
        positions=LearnedPositions(fields["max_position_embeddings"], 2),
        context_length=fields["max_position_embeddings"],
        word_width=fields.get("word_embed_proj_dim") or fields["hidden_size"],
        tied=bool(fields["tie_word_embeddings"]),
    )


def _checked(**values: Any) -> DecoderConfig:
    try:
        return DecoderConfig(**values)
    except ValueError as error:
        raise CheckpointError(f"config: {error}") from None


def write_llama(config: DecoderConfig) -> dict[str, Any]:
    """``config.json`` of a Llama: the inverse of ``read_config``."""
    if config.qkv_bias != config.out_bias:
        raise CheckpointError("Llama has biases on all projections or on none; write it as qwen2")
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        **_write_rotary_decoder(config),
        "head_dim": config.head_dim,
        "attention_bias": config.qkv_bias,
        "mlp_bias": config.mlp_bias,
    }


def write_qwen2(config: DecoderConfig) -> dict[str, Any]:
    """``config.json`` of a Qwen2: the inverse of ``read_config``."""
    if not config.qkv_bias or config.out_bias or config.mlp_bias:
        raise CheckpointError("Qwen2 has biases on queries, keys and values alone; write it as llama")
    fields = _write_rotary_decoder(config)
    if config.head_dim * config.heads != config.width:
        fields["head_dim"] = config.head_dim
    return {"architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", **fields}


def _write_rotary_decoder(config: DecoderConfig) -> dict[str, Any]:
    positions = config.positions
    plain = config.norm_first and config.final_norm and config.word_width == config.width
    if not isinstance(positions, RotaryConfig) or config.norm != "rms" or config.mlp != "swiglu" or not plain:
        raise CheckpointError(
            "a decoder without rotary positions, RMSNorm, SwiGLU is neither Llama nor Qwen2"
        )
    return {
        "vocab_size": config.vocabulary,
        "hidden_size": config.width,
        "intermediate_size": config.mlp_width,
        "num_hidden_layers": config.depth,
        "num_attention_heads": config.heads,
        "num_key_value_heads": config.kv_heads,
        "hidden_act": "silu",
        "max_position_embeddings": config.context_length,
        "rms_norm_eps": config.norm_eps,
        "tie_word_embeddings": config.tied,
        **write_rotary(positions),
    }


def write_opt(config: DecoderConfig) -> dict[str, Any]:
    """``config.json`` of an OPT: the inverse of ``read_config``."""
    learned = isinstance(config.positions, LearnedPositions) and config.positions.offset == 2
    alike = config.qkv_bias == config.out_bias == config.mlp_bias and config.kv_heads == config.heads
    if not learned or not alike or config.norm != "layer" or config.mlp == "swiglu":
        raise CheckpointError("a decoder without learned positions, LayerNorm and a plain MLP is no OPT")
    if config.norm_eps != 1e-5 or (config.final_norm and not config.norm_first):
        raise CheckpointError("OPT's norms have an epsilon of 1e-5, and none follows the last block's own")
    return {
        "architectures": ["OPTForCausalLM"],
        "model_type": "opt",
        "vocab_size": config.vocabulary,
        "hidden_size": config.width,
        "num_hidden_layers": config.depth,
        "ffn_dim": config.mlp_width,
        "max_position_embeddings": config.context_length,
        "do_layer_norm_before": config.norm_first,
        "_remove_final_layer_norm": config.norm_first and not config.final_norm,
        "word_embed_proj_dim": config.word_width,
        "num_attention_heads": config.heads,
        "activation_function": foreign_activation(config.mlp),
        "enable_bias": config.qkv_bias,
        "layer_norm_elementwise_affine": True,
        "tie_word_embeddings": config.tied,
    }

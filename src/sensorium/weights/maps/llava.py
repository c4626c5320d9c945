"""LLaVA-1.5 and LLaVA-NeXT: transformers' layouts (the hub's, today's, in memory), the authors'."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sensorium.errors import CheckpointError
from sensorium.models.connectors import MlpConfig
from sensorium.models.decoder import DecoderConfig
from sensorium.models.llava import LlavaConfig
from sensorium.models.vit import VitConfig
from sensorium.weights.maps import decoder
from sensorium.weights.maps.clip import VISION_DEFAULTS, read_vision, write_vision
from sensorium.weights.maps.common import Fields, foreign_activation, hub_block, section
from sensorium.weights.rules import COMPUTED, Rule, drop, move

_SIGLIP_DEFAULTS = {
    **VISION_DEFAULTS,
    "patch_size": 16,
    "hidden_act": "gelu_pytorch_tanh",
    "layer_norm_eps": 1e-6,
}


def _tower(prefix: str) -> list[Rule]:
    return [
        move(f"{prefix}embeddings.class_embedding", "vision.class_token"),
        move(f"{prefix}embeddings.patch_embedding.{{leaf}}", "vision.patch_embedding.{leaf}"),
        move(f"{prefix}embeddings.position_embedding.weight", "vision.positions"),
        move(f"{prefix}pre_layrnorm.{{leaf}}", "vision.pre_norm.{leaf}"),
        *hub_block(f"{prefix}encoder.layers.{{i}}", "vision.blocks.{i}"),
        move(f"{prefix}post_layernorm.{{leaf}}", "vision.norm.{leaf}"),
    ]


def _connector(prefix: str, first: str, second: str) -> list[Rule]:
    names = {first: "0", second: "1"}
    return [move(f"{prefix}.{a}.{{leaf}}", f"connector.layers.{b}.{{leaf}}") for a, b in names.items()]


RULES: list[Rule] = [
    *_tower("vision_tower.vision_model."),
    *_connector("multi_modal_projector", "linear_1", "linear_2"),
    move("image_newline", "newline"),
    *decoder.llama_rules("language_model.model.", "decoder."),
    decoder.head_rule("language_model.lm_head.weight", "decoder."),
    # in memory since transformers 4.52
    *_tower("model.vision_tower.vision_model."),
    *_connector("model.multi_modal_projector", "linear_1", "linear_2"),
    *decoder.llama_rules("model.language_model.", "decoder."),
    decoder.head_rule("lm_head.weight", "decoder."),
    # the authors' own; their tower is CLIP's as the hub has it
    *_tower("model.vision_tower.vision_tower.vision_model."),
    *_connector("model.mm_projector", "0", "2"),
    move("model.image_newline", "newline"),
    *decoder.llama_rules("model.", "decoder."),
    # as transformers 5 writes it: the tower without its inner name
    *_tower("vision_tower."),
    *_tower("model.vision_tower."),
    drop("*.vision_model.head.*"),  # SigLIP's pooling, which nothing reads
    *COMPUTED,
]

_DEFAULTS: dict[str, Any] = {
    "image_token_index": 32000,
    "projector_hidden_act": "gelu",
    "vision_feature_select_strategy": "default",
    "vision_feature_layer": -2,
    "multimodal_projector_bias": True,
}
_ACTIVATIONS = {"gelu": "gelu", "gelu_pytorch_tanh": "gelu_tanh", "relu": "relu"}


def read_config(raw: Mapping[str, Any]) -> LlavaConfig:
    """The config of a LLaVA from transformers' ``config.json``. Raises CheckpointError."""
    top = Fields({**_DEFAULTS, **raw}, "the file")
    top.expect("model_type", "llava", "llava_next")
    top.expect("vision_feature_select_strategy", "default", "full")
    top.expect("projector_hidden_act", *_ACTIVATIONS)
    vision = _read_vision(raw)
    layers = top["vision_feature_layer"]
    layers = (layers,) if isinstance(layers, int) else tuple(layers)
    for layer in layers:
        if not -vision.depth - 1 <= layer <= vision.depth:
            raise CheckpointError(f"config: vision_feature_layer {layer} of a tower of {vision.depth} blocks")
    text = dict(raw.get("text_config") or {})
    if raw.get("tie_word_embeddings") is not None:
        text["tie_word_embeddings"] = text.get("tie_word_embeddings", raw["tie_word_embeddings"])
    return LlavaConfig(
        vision=vision,
        layers=tuple(layer % (vision.depth + 1) for layer in layers),
        class_token=vision.class_token and top["vision_feature_select_strategy"] == "full",
        connector=MlpConfig(2, _ACTIVATIONS[top["projector_hidden_act"]], top["multimodal_projector_bias"]),  # type: ignore[arg-type]
        text=decoder.read_config({"model_type": "llama", **text}),
        image_token=top.get("image_token_id") or top["image_token_index"],
        newline=raw["model_type"] == "llava_next",
    )


def _read_vision(raw: Mapping[str, Any]) -> VitConfig:
    kind = (raw.get("vision_config") or {}).get("model_type", "clip_vision_model")
    if kind == "clip_vision_model":
        large = {**VISION_DEFAULTS, "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24}
        large |= {"num_attention_heads": 16, "image_size": 336, "patch_size": 14}
        whole = "vision_config" not in raw
        return read_vision(
            section({"vision_config": {}, **raw}, "vision_config", large if whole else VISION_DEFAULTS)
        )
    if kind == "siglip_vision_model":
        fields = section(raw, "vision_config", _SIGLIP_DEFAULTS)
        vision = read_vision(fields)
        # without pooling: the head is not read, and most files that LLaVAs are built on leave it out
        return replace(
            vision, class_token=False, class_position=False, patch_bias=True, pre_norm=False, pool="mean"
        )
    raise CheckpointError(f"config: a tower of model_type {kind!r} is not supported; CLIP's and SigLIP's are")


def write_config(config: LlavaConfig) -> dict[str, Any]:
    """The inverse of ``read_config``."""
    clip = config.vision.class_token
    strategy = "full" if config.class_token or not clip else "default"
    layers = [layer - config.vision.depth - 1 for layer in config.layers]
    return {
        "architectures": [f"Llava{'Next' if config.newline else ''}ForConditionalGeneration"],
        "model_type": "llava_next" if config.newline else "llava",
        "vision_config": {
            "model_type": "clip_vision_model" if clip else "siglip_vision_model",
            **write_vision(config.vision),
            **({} if clip else {"vision_use_head": False}),
        },
        "text_config": _write_text(config.text),
        "image_token_index": config.image_token,
        "projector_hidden_act": foreign_activation(config.connector.activation),
        "multimodal_projector_bias": config.connector.bias,
        "vision_feature_select_strategy": strategy,
        "vision_feature_layer": layers[0] if len(layers) == 1 else layers,
        "tie_word_embeddings": config.text.tied,
    }


def _write_text(text: DecoderConfig) -> dict[str, Any]:
    qwen = text.qkv_bias and not text.out_bias
    return decoder.write_qwen2(text) if qwen else decoder.write_llama(text)

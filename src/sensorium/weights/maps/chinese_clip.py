"""Chinese-CLIP: transformers' layout (hub and today's), and the original of cn_clip."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sensorium.errors import CheckpointError
from sensorium.models.bert import BertConfig
from sensorium.models.clip import ClipConfig
from sensorium.weights.maps.clip import (
    HUB_VISION,
    ORIGINAL_VISION,
    VISION_DEFAULTS,
    read_vision,
    write_vision,
)
from sensorium.weights.maps.common import Fields, foreign_activation, section
from sensorium.weights.rules import COMPUTED, Rule, drop, move

_BERT_BLOCK = {
    "attention.self.query": "attention.q",
    "attention.self.key": "attention.k",
    "attention.self.value": "attention.v",
    "attention.output.dense": "attention.out",
    "attention.output.LayerNorm": "norm1",
    "intermediate.dense": "mlp.up",
    "output.dense": "mlp.down",
    "output.LayerNorm": "norm2",
}


def bert_rules(prefix: str, ours: str) -> list[Rule]:
    """Rules from a BertModel under ``prefix`` (with its dot, or empty) to our ``Bert`` under ``ours``."""
    return [
        move(f"{prefix}embeddings.word_embeddings.weight", f"{ours}embedding.weight"),
        move(f"{prefix}embeddings.position_embeddings.weight", f"{ours}positions"),
        move(f"{prefix}embeddings.token_type_embeddings.weight", f"{ours}types"),
        move(f"{prefix}embeddings.LayerNorm.{{leaf}}", f"{ours}norm.{{leaf}}"),
        *(
            move(f"{prefix}encoder.layer.{{i}}.{a}.{{leaf}}", f"{ours}blocks.{{i}}.{b}.{{leaf}}")
            for a, b in _BERT_BLOCK.items()
        ),
        drop(f"{prefix}pooler.dense.*"),  # the tanh pooler: embeddings never pass through it
    ]


RULES: list[Rule] = [
    *HUB_VISION,
    *bert_rules("text_model.", "text."),
    move("text_projection.weight", "text_projection.weight"),
    move("logit_scale", "logit_scale"),
    *ORIGINAL_VISION,
    *bert_rules("bert.", "text."),
    move("text_projection", "text_projection.weight", transpose=True),
    *COMPUTED,
]

BERT_DEFAULTS: dict[str, Any] = {
    "vocab_size": 30522,
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "max_position_embeddings": 512,
    "type_vocab_size": 2,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-12,
    "position_embedding_type": "absolute",
}


def read_bert(fields: Fields) -> BertConfig:
    """The fields of a BERT encoder. Raises CheckpointError for relative positions."""
    fields.expect("position_embedding_type", "absolute")
    return BertConfig(
        vocabulary=fields["vocab_size"],
        context_length=fields["max_position_embeddings"],
        types=fields["type_vocab_size"],
        width=fields["hidden_size"],
        depth=fields["num_hidden_layers"],
        heads=fields["num_attention_heads"],
        mlp_width=fields["intermediate_size"],
        activation=fields.activation(),
        norm_eps=fields["layer_norm_eps"],
    )


def write_bert(config: BertConfig) -> dict[str, Any]:
    """The inverse of ``read_bert``."""
    return {
        "vocab_size": config.vocabulary,
        "hidden_size": config.width,
        "intermediate_size": config.mlp_width,
        "num_hidden_layers": config.depth,
        "num_attention_heads": config.heads,
        "max_position_embeddings": config.context_length,
        "type_vocab_size": config.types,
        "hidden_act": foreign_activation(config.activation),
        "layer_norm_eps": config.norm_eps,
    }


def read_config(raw: Mapping[str, Any]) -> ClipConfig:
    """The config of a Chinese-CLIP from transformers' ``config.json``. Raises CheckpointError."""
    top = Fields({"projection_dim": 512, **raw}, "the file")
    top.expect("model_type", "chinese_clip")
    return ClipConfig(
        vision=read_vision(section(raw, "vision_config", VISION_DEFAULTS)),
        text=read_bert(section(raw, "text_config", BERT_DEFAULTS)),
        embed_dim=top["projection_dim"],
        image_projection=True,
        text_projection_bias=False,
        logit_bias=False,
    )


def write_config(config: ClipConfig) -> dict[str, Any]:
    """The inverse of ``read_config``."""
    if not isinstance(config.text, BertConfig):
        raise CheckpointError("the text tower is not a BERT; write it as clip or siglip")
    return {
        "architectures": ["ChineseCLIPModel"],
        "model_type": "chinese_clip",
        "projection_dim": config.embed_dim,
        "text_config": {"model_type": "chinese_clip_text_model", **write_bert(config.text)},
        "vision_config": {
            "model_type": "chinese_clip_vision_model",
            "projection_dim": config.embed_dim,
            **write_vision(config.vision),
        },
    }

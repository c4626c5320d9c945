"""OpenAI CLIP and LAION's: transformers' layout (hub and today's), and that of OpenAI and open_clip."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sensorium.errors import CheckpointError
from sensorium.models.bert import BertConfig
from sensorium.models.clip import ClipConfig, ClipTextConfig
from sensorium.models.vit import VitConfig
from sensorium.nn.mlp import Activation
from sensorium.weights.maps.common import (
    Fields,
    foreign_activation,
    foreign_size,
    hub_block,
    openai_block,
    section,
)
from sensorium.weights.rules import COMPUTED, Rule, drop, move

HUB_VISION: list[Rule] = [
    move("vision_model.embeddings.class_embedding", "vision.class_token"),
    move("vision_model.embeddings.patch_embedding.{leaf}", "vision.patch_embedding.{leaf}"),
    move("vision_model.embeddings.position_embedding.weight", "vision.positions"),
    move("vision_model.pre_layrnorm.{leaf}", "vision.pre_norm.{leaf}"),
    *hub_block("vision_model.encoder.layers.{i}", "vision.blocks.{i}"),
    move("vision_model.post_layernorm.{leaf}", "vision.norm.{leaf}"),
    move("visual_projection.weight", "image_projection.weight"),
]

HUB_TEXT: list[Rule] = [
    move("text_model.embeddings.token_embedding.weight", "text.embedding.weight"),
    move("text_model.embeddings.position_embedding.weight", "text.positions"),
    *hub_block("text_model.encoder.layers.{i}", "text.blocks.{i}"),
    move("text_model.final_layer_norm.{leaf}", "text.norm.{leaf}"),
]

ORIGINAL_VISION: list[Rule] = [
    move("visual.class_embedding", "vision.class_token"),
    move("visual.conv1.{leaf}", "vision.patch_embedding.{leaf}"),
    move("visual.positional_embedding", "vision.positions"),
    move("visual.ln_pre.{leaf}", "vision.pre_norm.{leaf}"),
    *openai_block("visual.transformer.resblocks.{i}", "vision.blocks.{i}"),
    move("visual.ln_post.{leaf}", "vision.norm.{leaf}"),
    move("visual.proj", "image_projection.weight", transpose=True),
]


def original_text(prefix: str) -> list[Rule]:
    """The text tower of OpenAI and open_clip; open_clip's newer models put ``text.`` in front."""
    return [
        move(f"{prefix}token_embedding.weight", "text.embedding.weight"),
        move(f"{prefix}positional_embedding", "text.positions"),
        *openai_block(f"{prefix}transformer.resblocks.{{i}}", "text.blocks.{i}"),
        move(f"{prefix}ln_final.{{leaf}}", "text.norm.{leaf}"),
        drop(f"{prefix}attn_mask"),
    ]


RULES: list[Rule] = [
    *HUB_VISION,
    *HUB_TEXT,
    move("text_projection.weight", "text_projection.weight"),
    move("logit_scale", "logit_scale"),
    *ORIGINAL_VISION,
    *original_text(""),
    move("text_projection", "text_projection.weight", transpose=True),
    *original_text("text."),
    move("text.text_projection", "text_projection.weight", transpose=True),
    # sizes that OpenAI's archives keep beside the weights
    drop("input_resolution"),
    drop("context_length"),
    drop("vocab_size"),
    *COMPUTED,
]

_TEXT_DEFAULTS: dict[str, Any] = {
    "vocab_size": 49408,
    "hidden_size": 512,
    "intermediate_size": 2048,
    "num_hidden_layers": 12,
    "num_attention_heads": 8,
    "max_position_embeddings": 77,
    "hidden_act": "quick_gelu",
    "layer_norm_eps": 1e-5,
    "eos_token_id": 49407,
}

VISION_DEFAULTS: dict[str, Any] = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "num_channels": 3,
    "image_size": 224,
    "patch_size": 32,
    "hidden_act": "quick_gelu",
    "layer_norm_eps": 1e-5,
}

_LEGACY_EOS = 2  # what configs stated before transformers#24773; the sentence is then read at the highest id


def read_vision(fields: Fields) -> VitConfig:
    """``vision_config`` of CLIP and of Chinese-CLIP; SigLIP reads its own and replaces what differs."""
    return VitConfig(
        image_size=fields.image_size(),
        patch=fields.patch(),
        channels=fields["num_channels"],
        width=fields["hidden_size"],
        depth=fields["num_hidden_layers"],
        heads=fields["num_attention_heads"],
        mlp_width=fields["intermediate_size"],
        activation=fields.activation(),
        norm_eps=fields["layer_norm_eps"],
        class_token=True,
        class_position=True,
        registers=0,
        patch_bias=False,
        qkv_bias=True,
        pre_norm=True,
        pool="class",
        position_antialias=False,
    )


def write_vision(config: VitConfig) -> dict[str, Any]:
    """The inverse of ``read_vision``."""
    return {
        "hidden_size": config.width,
        "intermediate_size": config.mlp_width,
        "num_hidden_layers": config.depth,
        "num_attention_heads": config.heads,
        "num_channels": config.channels,
        "image_size": foreign_size(config.image_size),
        "patch_size": config.patch,
        "hidden_act": foreign_activation(config.activation),
        "layer_norm_eps": config.norm_eps,
    }


def read_config(raw: Mapping[str, Any]) -> ClipConfig:
    """The config of a CLIP from ``config.json`` or ``open_clip_config.json``. Raises CheckpointError."""
    return _read_open_clip(raw) if "model_cfg" in raw else _read_transformers(raw)


def _read_transformers(raw: Mapping[str, Any]) -> ClipConfig:
    top = Fields({"projection_dim": 512, **raw}, "the file")
    top.expect("model_type", "clip")
    text = section(raw, "text_config", _TEXT_DEFAULTS)
    legacy = text["eos_token_id"] == _LEGACY_EOS
    return ClipConfig(
        vision=read_vision(section(raw, "vision_config", VISION_DEFAULTS)),
        text=ClipTextConfig(
            vocabulary=text["vocab_size"],
            context_length=text["max_position_embeddings"],
            width=text["hidden_size"],
            depth=text["num_hidden_layers"],
            heads=text["num_attention_heads"],
            mlp_width=text["intermediate_size"],
            activation=text.activation(),
            norm_eps=text["layer_norm_eps"],
            causal=True,
            pool="highest" if legacy else "eos",
            eos_id=text["eos_token_id"],
        ),
        embed_dim=top["projection_dim"],
        image_projection=True,
        text_projection_bias=False,
        logit_bias=False,
    )


def _read_open_clip(raw: Mapping[str, Any]) -> ClipConfig:
    model = Fields({"quick_gelu": False, **raw["model_cfg"]}, "model_cfg")
    vision = Fields({"head_width": 64, "mlp_ratio": 4.0, **model["vision_cfg"]}, "vision_cfg")
    text = Fields({"mlp_ratio": 4.0, **model["text_cfg"]}, "text_cfg")
    model.only("embed_dim", "vision_cfg", "text_cfg", "quick_gelu", "custom_text")
    vision.only("image_size", "layers", "width", "patch_size", "head_width", "mlp_ratio")
    text.only("context_length", "vocab_size", "width", "heads", "layers", "mlp_ratio")
    activation: Activation = "quick_gelu" if model["quick_gelu"] else "gelu"
    return ClipConfig(
        vision=VitConfig(
            image_size=vision.image_size(),
            patch=vision.patch(),
            channels=3,
            width=vision["width"],
            depth=vision["layers"],
            heads=vision["width"] // vision["head_width"],
            mlp_width=int(vision["width"] * vision["mlp_ratio"]),
            activation=activation,
            norm_eps=1e-5,
            class_token=True,
            class_position=True,
            registers=0,
            patch_bias=False,
            qkv_bias=True,
            pre_norm=True,
            pool="class",
            position_antialias=True,
        ),
        text=ClipTextConfig(
            vocabulary=text["vocab_size"],
            context_length=text["context_length"],
            width=text["width"],
            depth=text["layers"],
            heads=text["heads"],
            mlp_width=int(text["width"] * text["mlp_ratio"]),
            activation=activation,
            norm_eps=1e-5,
            causal=True,
            pool="highest",
            eos_id=_LEGACY_EOS,
        ),
        embed_dim=model["embed_dim"],
        image_projection=True,
        text_projection_bias=False,
        logit_bias=False,
    )


def write_config(config: ClipConfig) -> dict[str, Any]:
    """The inverse of ``read_config``."""
    if isinstance(config.text, BertConfig):
        raise CheckpointError("a BERT text tower is not CLIP's; write it as chinese_clip")
    shared = {"projection_dim": config.embed_dim}
    return {
        "architectures": ["CLIPModel"],
        "model_type": "clip",
        **shared,
        "text_config": {"model_type": "clip_text_model", **shared, **write_text(config.text)},
        "vision_config": {"model_type": "clip_vision_model", **shared, **write_vision(config.vision)},
    }


def write_text(text: ClipTextConfig) -> dict[str, Any]:
    """``text_config`` of CLIP and of SigLIP."""
    return {
        "vocab_size": text.vocabulary,
        "hidden_size": text.width,
        "intermediate_size": text.mlp_width,
        "num_hidden_layers": text.depth,
        "num_attention_heads": text.heads,
        "max_position_embeddings": text.context_length,
        "hidden_act": foreign_activation(text.activation),
        "layer_norm_eps": text.norm_eps,
        "eos_token_id": text.eos_id,
    }

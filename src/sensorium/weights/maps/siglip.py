"""SigLIP and SigLIP 2 at a fixed size: transformers' layout (hub and today's), and open_clip's on timm.

The NaFlex variants (``model_type`` siglip2: any aspect ratio, packed patches) are another network.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sensorium.errors import CheckpointError
from sensorium.models.bert import BertConfig
from sensorium.models.clip import ClipConfig, ClipTextConfig
from sensorium.weights.maps.clip import (
    HUB_TEXT,
    VISION_DEFAULTS,
    original_text,
    read_vision,
    write_text,
    write_vision,
)
from sensorium.weights.maps.common import Fields, hub_block, projections, section, timm_block
from sensorium.weights.rules import COMPUTED, Rule, move, split

_POOL = "vision.pool"

RULES: list[Rule] = [
    move("vision_model.embeddings.patch_embedding.{leaf}", "vision.patch_embedding.{leaf}"),
    move("vision_model.embeddings.position_embedding.weight", "vision.positions"),
    *hub_block("vision_model.encoder.layers.{i}", "vision.blocks.{i}"),
    move("vision_model.post_layernorm.{leaf}", "vision.norm.{leaf}"),
    move("vision_model.head.probe", f"{_POOL}.probe", leading=2),
    split("vision_model.head.attention.in_proj_{leaf}", projections(f"{_POOL}.attention", "qkv")),
    move("vision_model.head.attention.out_proj.{leaf}", f"{_POOL}.attention.out.{{leaf}}"),
    move("vision_model.head.layernorm.{leaf}", f"{_POOL}.norm.{{leaf}}"),
    move("vision_model.head.mlp.fc1.{leaf}", f"{_POOL}.mlp.up.{{leaf}}"),
    move("vision_model.head.mlp.fc2.{leaf}", f"{_POOL}.mlp.down.{{leaf}}"),
    *HUB_TEXT,
    move("text_model.head.{leaf}", "text_projection.{leaf}"),
    move("logit_scale", "logit_scale", leading=1),
    move("logit_bias", "logit_bias", leading=1),
    # open_clip: the image tower is timm's
    move("visual.trunk.patch_embed.proj.{leaf}", "vision.patch_embedding.{leaf}"),
    move("visual.trunk.pos_embed", "vision.positions", leading=1),
    *timm_block("visual.trunk.blocks.{i}", "vision.blocks.{i}"),
    move("visual.trunk.norm.{leaf}", "vision.norm.{leaf}"),
    move("visual.trunk.attn_pool.latent", f"{_POOL}.probe", leading=2),
    move("visual.trunk.attn_pool.q.{leaf}", f"{_POOL}.attention.q.{{leaf}}"),
    split("visual.trunk.attn_pool.kv.{leaf}", projections(f"{_POOL}.attention", "kv")),
    move("visual.trunk.attn_pool.proj.{leaf}", f"{_POOL}.attention.out.{{leaf}}"),
    move("visual.trunk.attn_pool.norm.{leaf}", f"{_POOL}.norm.{{leaf}}"),
    move("visual.trunk.attn_pool.mlp.fc1.{leaf}", f"{_POOL}.mlp.up.{{leaf}}"),
    move("visual.trunk.attn_pool.mlp.fc2.{leaf}", f"{_POOL}.mlp.down.{{leaf}}"),
    *original_text("text."),
    move("text.text_projection.{leaf}", "text_projection.{leaf}"),
    *COMPUTED,
]

# google/siglip2-base-patch16-224 itself states little more than its vocabulary
_SHARED_DEFAULTS: dict[str, Any] = {"hidden_act": "gelu_pytorch_tanh", "layer_norm_eps": 1e-6}
_VISION_DEFAULTS = {**VISION_DEFAULTS, **_SHARED_DEFAULTS, "patch_size": 16, "vision_use_head": True}
_TEXT_DEFAULTS: dict[str, Any] = {
    **_SHARED_DEFAULTS,
    "vocab_size": 32000,
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "max_position_embeddings": 64,
    "eos_token_id": 49407,
}


def read_config(raw: Mapping[str, Any]) -> ClipConfig:
    """The config of a SigLIP from transformers' ``config.json``. Raises CheckpointError."""
    Fields(raw, "the file").expect("model_type", "siglip")
    text = section(raw, "text_config", _TEXT_DEFAULTS)
    vision = section(raw, "vision_config", _VISION_DEFAULTS)
    vision.expect("vision_use_head", True)
    embed_dim = text.get("projection_size") or text["hidden_size"]
    if embed_dim != vision["hidden_size"]:
        raise CheckpointError(
            f"config: sentences have {embed_dim} dimensions and images {vision['hidden_size']}"
        )
    return ClipConfig(
        vision=replace(
            read_vision(vision),
            class_token=False,
            class_position=False,
            patch_bias=True,
            pre_norm=False,
            pool="map",
        ),
        text=ClipTextConfig(
            vocabulary=text["vocab_size"],
            context_length=text["max_position_embeddings"],
            width=text["hidden_size"],
            depth=text["num_hidden_layers"],
            heads=text["num_attention_heads"],
            mlp_width=text["intermediate_size"],
            activation=text.activation(),
            norm_eps=text["layer_norm_eps"],
            causal=False,
            pool="last",
            eos_id=text["eos_token_id"],
        ),
        embed_dim=embed_dim,
        image_projection=False,
        text_projection_bias=True,
        logit_bias=True,
    )


def write_config(config: ClipConfig) -> dict[str, Any]:
    """The inverse of ``read_config``."""
    if isinstance(config.text, BertConfig):
        raise CheckpointError("a BERT text tower is not SigLIP's; write it as chinese_clip")
    return {
        "architectures": ["SiglipModel"],
        "model_type": "siglip",
        "text_config": {
            "model_type": "siglip_text_model",
            "projection_size": config.embed_dim,
            **write_text(config.text),
        },
        "vision_config": {"model_type": "siglip_vision_model", **write_vision(config.vision)},
    }

"""ViT classifiers: transformers' layouts (hub, bare model, and the names of 5.x in memory), and timm's."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sensorium.errors import CheckpointError
from sensorium.models.vit import VitClassifierConfig, VitConfig
from sensorium.weights.maps.common import Fields, foreign_activation, foreign_size, timm_block
from sensorium.weights.rules import COMPUTED, Rule, drop, move

_HUB_BLOCK = {
    "layernorm_before": "norm1",
    "attention.attention.query": "attention.q",
    "attention.attention.key": "attention.k",
    "attention.attention.value": "attention.v",
    "attention.output.dense": "attention.out",
    "layernorm_after": "norm2",
    "intermediate.dense": "mlp.up",
    "output.dense": "mlp.down",
}
_MEMORY_BLOCK = {
    "layernorm_before": "norm1",
    "attention.q_proj": "attention.q",
    "attention.k_proj": "attention.k",
    "attention.v_proj": "attention.v",
    "attention.o_proj": "attention.out",
    "layernorm_after": "norm2",
    "mlp.fc1": "mlp.up",
    "mlp.fc2": "mlp.down",
}


def _transformers(prefix: str) -> list[Rule]:
    layers = [
        move(f"{prefix}{stack}.{{i}}.{a}.{{leaf}}", f"vit.blocks.{{i}}.{b}.{{leaf}}")
        for stack, names in (("encoder.layer", _HUB_BLOCK), ("layers", _MEMORY_BLOCK))
        for a, b in names.items()
    ]
    return [
        move(f"{prefix}embeddings.cls_token", "vit.class_token", leading=2),
        move(f"{prefix}embeddings.position_embeddings", "vit.positions", leading=1),
        move(f"{prefix}embeddings.patch_embeddings.projection.{{leaf}}", "vit.patch_embedding.{leaf}"),
        *layers,
        move(f"{prefix}layernorm.{{leaf}}", "vit.norm.{leaf}"),
        drop(f"{prefix}pooler.dense.*"),  # classifiers read the class token itself
    ]


RULES: list[Rule] = [
    *_transformers("vit."),
    move("classifier.{leaf}", "head.{leaf}"),
    *_transformers(""),
    # timm
    move("cls_token", "vit.class_token", leading=2),
    move("reg_token", "vit.registers", leading=1),
    move("pos_embed", "vit.positions", leading=1),
    move("patch_embed.proj.{leaf}", "vit.patch_embedding.{leaf}"),
    *timm_block("blocks.{i}", "vit.blocks.{i}"),
    move("norm.{leaf}", "vit.norm.{leaf}"),
    move("fc_norm.{leaf}", "vit.norm.{leaf}"),  # what timm calls the same norm when it follows mean pooling
    move("head.{leaf}", "head.{leaf}"),
    *COMPUTED,
]

# width, depth, heads: timm's config.json gives the architecture by name alone
_TIMM_SIZES = {
    "tiny": (192, 12, 3),
    "small": (384, 12, 6),
    "base": (768, 12, 12),
    "large": (1024, 24, 16),
    "huge": (1280, 32, 16),
}
_TIMM_NAME = re.compile(r"vit_(?P<size>[a-z]+)_patch(?P<patch>\d+)(?:_reg(?P<registers>\d+)_gap)?_\d+")


def read_config(raw: Mapping[str, Any]) -> VitClassifierConfig:
    """The config of a transformers or a timm ViT. Raises CheckpointError when it is not one that fits."""
    return _read_timm(raw) if "architecture" in raw else _read_transformers(raw)


def _read_transformers(raw: Mapping[str, Any]) -> VitClassifierConfig:
    fields = Fields({"qkv_bias": True, "num_channels": 3, **raw}, "the file")
    fields.expect("model_type", "vit")
    classifies = "ViTForImageClassification" in fields["architectures"]
    vit = VitConfig(
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
        patch_bias=True,
        qkv_bias=fields["qkv_bias"],
        pre_norm=False,
        pool="class",
        position_antialias=False,
    )
    # the format leaves the labels out when they are the default two
    return VitClassifierConfig(vit, len(fields.get("id2label") or "ab") if classifies else 0)


def _read_timm(raw: Mapping[str, Any]) -> VitClassifierConfig:
    fields = Fields(raw, "the file")
    found = _TIMM_NAME.fullmatch(fields["architecture"])
    if found is None or found["size"] not in _TIMM_SIZES:
        raise CheckpointError(f"config: timm architecture {fields['architecture']!r} is not supported")
    width, depth, heads = _TIMM_SIZES[found["size"]]
    registers = int(found["registers"] or 0)
    fields.expect("global_pool", "avg" if registers else "token")
    pretrained = Fields(fields["pretrained_cfg"], "pretrained_cfg")
    channels, height, width_px = pretrained["input_size"]
    vit = VitConfig(
        image_size=(height, width_px),
        patch=int(found["patch"]),
        channels=channels,
        width=width,
        depth=depth,
        heads=heads,
        mlp_width=4 * width,
        activation="gelu",
        norm_eps=1e-6,
        class_token=not registers,
        class_position=not registers,
        registers=registers,
        patch_bias=True,
        qkv_bias=True,
        pre_norm=False,
        pool="mean" if registers else "class",
        position_antialias=True,
    )
    return VitClassifierConfig(vit, fields["num_classes"])


def write_config(config: VitClassifierConfig) -> dict[str, Any]:
    """The inverse of ``read_config``, in transformers' form.

    Raises CheckpointError for what that form cannot express: registers, mean pooling.
    """
    vit = config.vit
    written: dict[str, Any] = {
        "architectures": ["ViTForImageClassification" if config.classes else "ViTModel"],
        "model_type": "vit",
        "hidden_size": vit.width,
        "intermediate_size": vit.mlp_width,
        "num_hidden_layers": vit.depth,
        "num_attention_heads": vit.heads,
        "num_channels": vit.channels,
        "image_size": foreign_size(vit.image_size),
        "patch_size": vit.patch,
        "hidden_act": foreign_activation(vit.activation),
        "layer_norm_eps": vit.norm_eps,
        "qkv_bias": vit.qkv_bias,
    }
    if config.classes:
        written["id2label"] = {str(i): f"LABEL_{i}" for i in range(config.classes)}
        written["label2id"] = {f"LABEL_{i}": i for i in range(config.classes)}
    # how positions are resampled is not in the form, and nothing changes at the native size
    if replace(_read_transformers(written).vit, position_antialias=vit.position_antialias) != vit:
        raise CheckpointError("this ViT (registers, mean pooling) cannot be written in the hub layout")
    return written

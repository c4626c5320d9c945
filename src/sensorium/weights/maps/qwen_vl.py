"""Qwen2.5-VL: the hub's layout, and transformers' of today, on disk and in memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sensorium.errors import CheckpointError
from sensorium.models.qwen_vl.qwen_vl import QwenVlConfig
from sensorium.models.qwen_vl.vision import QwenVisionConfig
from sensorium.weights.maps import decoder
from sensorium.weights.maps.common import Fields, section
from sensorium.weights.rules import COMPUTED, Rule, move, split

_BLOCK = {
    "norm1": "norm1",
    "attn.proj": "out",
    "norm2": "norm2",
    "mlp.gate_proj": "mlp.gate",
    "mlp.up_proj": "mlp.up",
    "mlp.down_proj": "mlp.down",
}
_MERGER = {"ln_q": "norm", "mlp.0": "up", "mlp.2": "down"}


def _tower(prefix: str) -> list[Rule]:
    ours = "vision.blocks.{i}"
    return [
        move(f"{prefix}patch_embed.proj.weight", "vision.patch_embedding.weight"),
        split(f"{prefix}blocks.{{i}}.attn.qkv.{{leaf}}", [f"{ours}.{x}.{{leaf}}" for x in "qkv"]),
        *(move(f"{prefix}blocks.{{i}}.{a}.{{leaf}}", f"{ours}.{b}.{{leaf}}") for a, b in _BLOCK.items()),
        *(move(f"{prefix}merger.{a}.{{leaf}}", f"vision.merger.{b}.{{leaf}}") for a, b in _MERGER.items()),
    ]


RULES: list[Rule] = [
    *_tower("visual."),
    *decoder.llama_rules("model.", "decoder."),
    decoder.head_rule("lm_head.weight", "decoder."),
    *_tower("model.visual."),
    *decoder.llama_rules("model.language_model.", "decoder."),
    *COMPUTED,
]

_VISION_DEFAULTS: dict[str, Any] = {
    "depth": 32,
    "hidden_size": 3584,
    "hidden_act": "silu",
    "intermediate_size": 3420,
    "num_heads": 16,
    "in_channels": 3,
    "patch_size": 14,
    "spatial_merge_size": 2,
    "temporal_patch_size": 2,
    "tokens_per_second": 4,
    "window_size": 112,
    "out_hidden_size": 3584,
    "fullatt_block_indexes": [7, 15, 23, 31],
}
_OWN = ("model_type", "text_config", "vision_config", "architectures", "dtype", "torch_dtype")


def read_config(raw: Mapping[str, Any]) -> QwenVlConfig:
    """The config of a Qwen2.5-VL; the hub's files have the language model's fields beside the tower's.

    Raises CheckpointError.
    """
    top = Fields({"image_token_id": 151655, "video_token_id": 151656, **raw}, "the file")
    top.expect("model_type", "qwen2_5_vl")
    vision = section({"vision_config": {}, **raw}, "vision_config", _VISION_DEFAULTS)
    vision.expect("hidden_act", "silu")
    if not isinstance(vision["temporal_patch_size"], int):
        raise CheckpointError("config: temporal_patch_size is not one number")
    text = dict(raw.get("text_config") or {key: value for key, value in raw.items() if key not in _OWN})
    text["tie_word_embeddings"] = raw.get("tie_word_embeddings", text.get("tie_word_embeddings", False))
    return QwenVlConfig(
        vision=QwenVisionConfig(
            patch=vision.patch(),
            frames=vision["temporal_patch_size"],
            channels=vision.get("in_chans", vision["in_channels"]),
            merge=vision["spatial_merge_size"],
            width=vision["hidden_size"],
            depth=vision["depth"],
            heads=vision["num_heads"],
            mlp_width=vision["intermediate_size"],
            window=vision["window_size"],
            full_blocks=tuple(vision["fullatt_block_indexes"]),
            out_width=vision["out_hidden_size"],
        ),
        text=decoder.read_config({**text, "model_type": "qwen2_5_vl_text"}),
        image_token=top["image_token_id"],
        video_token=top["video_token_id"],
        tokens_per_second=vision["tokens_per_second"],
    )


def write_config(config: QwenVlConfig) -> dict[str, Any]:
    """The inverse of ``read_config``."""
    vision = config.vision
    return {
        "architectures": ["Qwen2_5_VLForConditionalGeneration"],
        "model_type": "qwen2_5_vl",
        "vision_config": {
            "model_type": "qwen2_5_vl",
            "depth": vision.depth,
            "hidden_size": vision.width,
            "hidden_act": "silu",
            "intermediate_size": vision.mlp_width,
            "num_heads": vision.heads,
            "in_channels": vision.channels,
            "patch_size": vision.patch,
            "spatial_merge_size": vision.merge,
            "temporal_patch_size": vision.frames,
            "tokens_per_second": config.tokens_per_second,
            "window_size": vision.window,
            "out_hidden_size": vision.out_width,
            "fullatt_block_indexes": list(vision.full_blocks),
        },
        "text_config": {**decoder.write_qwen2(config.text), "model_type": "qwen2_5_vl_text"},
        "image_token_id": config.image_token,
        "video_token_id": config.video_token,
        "tie_word_embeddings": config.text.tied,
    }

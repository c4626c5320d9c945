"""Segment Anything: transformers' layout (hub and today's), the original's, and MobileSAM's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from typing import Any

from sensorium.errors import CheckpointError
from sensorium.models.efficientnet import EfficientNetConfig, Stage
from sensorium.models.sam.config import PyramidConfig, SamConfig, SamVisionConfig, TinyVitConfig
from sensorium.weights.maps.common import Fields, foreign_activation, projections, section
from sensorium.weights.rules import Rule, drop, move, split, tied

_ATTENTION = {"q_proj": "q", "k_proj": "k", "v_proj": "v", "out_proj": "out"}


def _leaves(foreign: str, ours: str, names: Mapping[str, str]) -> list[Rule]:
    return [move(f"{foreign}.{a}.{{leaf}}", f"{ours}.{b}.{{leaf}}") for a, b in names.items()]


def _vit_block(foreign: str, norm: str) -> list[Rule]:
    ours = "image_encoder.blocks.{i}"
    names = {f"{norm}1": "norm1", f"{norm}2": "norm2", "attn.proj": "attention.out"}
    names |= {"mlp.lin1": "mlp.up", "mlp.lin2": "mlp.down"}
    return [
        split(f"{foreign}.attn.qkv.{{leaf}}", projections(f"{ours}.attention", "qkv")),
        move(f"{foreign}.attn.rel_pos_h", f"{ours}.attention.rows"),
        move(f"{foreign}.attn.rel_pos_w", f"{ours}.attention.columns"),
        *_leaves(foreign, ours, names),
    ]


def _decoder_block(foreign: str, norm: str) -> list[Rule]:
    ours = "mask_decoder.blocks.{i}"
    parts = {
        "self_attn": "self_attention",
        "cross_attn_token_to_image": "to_image",
        "cross_attn_image_to_token": "to_tokens",
    }
    names = {f"{a}.{c}": f"{b}.{d}" for a, b in parts.items() for c, d in _ATTENTION.items()}
    names |= {f"{norm}{n}": f"norm{n}" for n in range(1, 5)} | {"mlp.lin1": "up", "mlp.lin2": "down"}
    return _leaves(foreign, ours, names)


# What all layouts name alike.
_ALIKE: list[Rule] = [
    move("prompt_encoder.not_a_point_embed.weight", "prompt_encoder.padding", leading=1),
    move("prompt_encoder.no_mask_embed.weight", "prompt_encoder.no_mask", leading=1),
    move("mask_decoder.iou_token.weight", "mask_decoder.quality_token"),
    move("mask_decoder.mask_tokens.weight", "mask_decoder.mask_tokens"),
    *_leaves("mask_decoder.transformer.final_attn_token_to_image", "mask_decoder.to_image", _ATTENTION),
]

_HUB: list[Rule] = [
    move("shared_image_embedding.positional_embedding", "prompt_encoder.positions.frequencies"),
    tied("prompt_encoder.shared_embedding.positional_embedding", "prompt_encoder.positions.frequencies"),
    move("vision_encoder.patch_embed.projection.{leaf}", "image_encoder.patch_embedding.{leaf}"),
    move("vision_encoder.pos_embed", "image_encoder.positions", leading=1),
    *_vit_block("vision_encoder.layers.{i}", "layer_norm"),
    *_leaves(
        "vision_encoder.neck",
        "image_encoder.neck",
        {"conv1": "conv1", "layer_norm1": "norm1", "conv2": "conv2", "layer_norm2": "norm2"},
    ),
    move("prompt_encoder.point_embed.{i}.weight", "prompt_encoder.kinds.{i}", leading=1),
    *_ALIKE,
    *_leaves(
        "prompt_encoder.mask_embed",
        "prompt_encoder.mask",
        {
            "conv1": "conv1",
            "layer_norm1": "norm1",
            "conv2": "conv2",
            "layer_norm2": "norm2",
            "conv3": "conv3",
        },
    ),
    *_decoder_block("mask_decoder.transformer.layers.{i}", "layer_norm"),
    *_leaves(
        "mask_decoder",
        "mask_decoder",
        {
            "transformer.layer_norm_final_attn": "norm",
            "upscale_conv1": "upscale1",
            "upscale_layer_norm": "upscale_norm",
            "upscale_conv2": "upscale2",
            "output_hypernetworks_mlps.{i}.proj_in": "masks.{i}.first",
            "output_hypernetworks_mlps.{i}.layers.0": "masks.{i}.middle.0",
            "output_hypernetworks_mlps.{i}.proj_out": "masks.{i}.last",
            "iou_prediction_head.proj_in": "quality.first",
            "iou_prediction_head.layers.{i}": "quality.middle.{i}",
            "iou_prediction_head.proj_out": "quality.last",
        },
    ),
]

_CONV_NORM = {"c": "conv", "bn": "norm"}


def _convolutions(foreign: str, ours: str, names: Mapping[str, str]) -> list[Rule]:
    pairs = {f"{a}.{c}": f"{b}.{d}" for a, b in names.items() for c, d in _CONV_NORM.items()}
    return _leaves(foreign, ours, pairs)


_THREE = {"conv1": "expand", "conv2": "depthwise", "conv3": "project"}

_TINY_VIT: list[Rule] = [
    *_convolutions("image_encoder.patch_embed", "image_encoder", {"seq.0": "stem1", "seq.2": "stem2"}),
    *_convolutions(
        "image_encoder.layers.{i}.blocks.{block}", "image_encoder.stages.{i}.blocks.{block}", _THREE
    ),
    *_convolutions("image_encoder.layers.{i}.downsample", "image_encoder.stages.{i}.merging", _THREE),
    *_convolutions(
        "image_encoder.layers.{i}.blocks.{block}",
        "image_encoder.stages.{i}.blocks.{block}",
        {"local_conv": "local"},
    ),
    *_leaves(
        "image_encoder.layers.{i}.blocks.{block}",
        "image_encoder.stages.{i}.blocks.{block}",
        {
            "attn.norm": "attention.norm",
            "attn.qkv": "attention.qkv",
            "attn.proj": "attention.out",
            "mlp.norm": "norm",
            "mlp.fc1": "up",
            "mlp.fc2": "down",
        },
    ),
    move(
        "image_encoder.layers.{i}.blocks.{block}.attn.attention_biases",
        "image_encoder.stages.{i}.blocks.{block}.attention.biases",
    ),
    drop("image_encoder.layers.*.attn.attention_bias_idxs"),
    drop("image_encoder.layers.*.attn.ab"),  # the same biases, spread out
    drop("image_encoder.norm_head.*"),  # of the classifier that it was trained as first
    drop("image_encoder.head.*"),
]

_ORIGINAL_VIT: list[Rule] = [
    move("image_encoder.patch_embed.proj.{leaf}", "image_encoder.patch_embedding.{leaf}"),
    move("image_encoder.pos_embed", "image_encoder.positions", leading=1),
    *_vit_block("image_encoder.blocks.{i}", "norm"),
]

_ORIGINAL: list[Rule] = [
    move(
        "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix", "prompt_encoder.positions.frequencies"
    ),
    *_leaves(
        "image_encoder.neck", "image_encoder.neck", {"0": "conv1", "1": "norm1", "2": "conv2", "3": "norm2"}
    ),
    move("prompt_encoder.point_embeddings.{i}.weight", "prompt_encoder.kinds.{i}", leading=1),
    *_ALIKE,
    *_leaves(
        "prompt_encoder.mask_downscaling",
        "prompt_encoder.mask",
        {"0": "conv1", "1": "norm1", "3": "conv2", "4": "norm2", "6": "conv3"},
    ),
    *_decoder_block("mask_decoder.transformer.layers.{i}", "norm"),
    *_leaves(
        "mask_decoder",
        "mask_decoder",
        {
            "transformer.norm_final_attn": "norm",
            "output_upscaling.0": "upscale1",
            "output_upscaling.1": "upscale_norm",
            "output_upscaling.3": "upscale2",
            "output_hypernetworks_mlps.{i}.layers.0": "masks.{i}.first",
            "output_hypernetworks_mlps.{i}.layers.1": "masks.{i}.middle.0",
            "output_hypernetworks_mlps.{i}.layers.2": "masks.{i}.last",
            "iou_prediction_head.layers.0": "quality.first",
            "iou_prediction_head.layers.1": "quality.middle.0",
            "iou_prediction_head.layers.2": "quality.last",
        },
    ),
]

RULES: list[Rule] = _HUB
_PYRAMID = (
    *("fine", "level8", "level16", "level32"),
    *("smooth16", "norm16", "smooth8", "norm8", "out", "norm", "details"),
)
_OWN: list[Rule] = [  # of mini-sam alone, whose names are ours
    move("image_encoder.trunk.stem.{leaf}", "image_encoder.trunk.stem.{leaf}"),
    move("image_encoder.trunk.blocks.{i}.{part}.{leaf}", "image_encoder.trunk.blocks.{i}.{part}.{leaf}"),
    *_leaves("image_encoder", "image_encoder", {name: name for name in _PYRAMID}),
    move("mask_decoder.seen.{leaf}", "mask_decoder.seen.{leaf}"),
]

ORIGINAL_RULES: list[Rule] = [*_TINY_VIT, *_ORIGINAL_VIT, *_ORIGINAL, *_OWN]
"""A table of its own: ``output_hypernetworks_mlps.0.layers.0`` is the first layer here, the hub's second."""

VISION_DEFAULTS: dict[str, Any] = {
    "hidden_size": 768,
    "output_channels": 256,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "num_channels": 3,
    "image_size": 1024,
    "patch_size": 16,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-6,
    "qkv_bias": True,
    "mlp_ratio": 4.0,
    "mlp_dim": None,
    "use_abs_pos": True,
    "use_rel_pos": True,
    "window_size": 14,
    "global_attn_indexes": [2, 5, 8, 11],
}
PROMPT_DEFAULTS: dict[str, Any] = {
    "hidden_size": 256,
    "mask_input_channels": 16,
    "num_point_embeddings": 4,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-6,
}
DECODER_DEFAULTS: dict[str, Any] = {
    "hidden_size": 256,
    "hidden_act": "relu",
    "mlp_dim": 2048,
    "num_hidden_layers": 2,
    "num_attention_heads": 8,
    "attention_downsample_rate": 2,
    "num_multimask_outputs": 3,
    "iou_head_depth": 3,
    "iou_head_hidden_dim": 256,
    "layer_norm_eps": 1e-6,
}


def read_config(raw: Mapping[str, Any]) -> SamConfig:
    """The config of a SAM from transformers' ``config.json``. Raises CheckpointError.

    The decoder's norms: transformers writes and uses 1e-6, the networks were trained with 1e-5 and that is
    taken. Any other value is taken as it stands.
    """
    Fields(raw, "the file").expect("model_type", "sam")
    vision = section({"vision_config": {}, **raw}, "vision_config", VISION_DEFAULTS)
    prompt = section({"prompt_encoder_config": {}, **raw}, "prompt_encoder_config", PROMPT_DEFAULTS)
    decoder = section({"mask_decoder_config": {}, **raw}, "mask_decoder_config", DECODER_DEFAULTS)
    vision.expect("use_abs_pos", True)
    vision.expect("use_rel_pos", True)
    prompt.expect("hidden_act", "gelu")
    prompt.expect("layer_norm_eps", 1e-6)
    prompt.expect("num_point_embeddings", 4)
    prompt.expect("hidden_size", vision["output_channels"])
    decoder.expect("hidden_size", vision["output_channels"])
    decoder.expect("hidden_act", "relu")
    height, width = vision.image_size()
    if height != width:
        raise CheckpointError(f"config: images of {width}x{height} are not supported, SAM sees squares")
    eps = decoder["layer_norm_eps"]
    return SamConfig(
        vision=SamVisionConfig(
            image_size=height,
            patch=vision.patch(),
            channels=vision["num_channels"],
            width=vision["hidden_size"],
            depth=vision["num_hidden_layers"],
            heads=vision["num_attention_heads"],
            mlp_width=vision["mlp_dim"] or int(vision["hidden_size"] * vision["mlp_ratio"]),
            activation=vision.activation(),
            norm_eps=vision["layer_norm_eps"],
            qkv_bias=vision["qkv_bias"],
            window=vision["window_size"],
            global_blocks=tuple(vision["global_attn_indexes"]),
            out_channels=vision["output_channels"],
        ),
        mask_channels=prompt["mask_input_channels"],
        decoder_depth=decoder["num_hidden_layers"],
        decoder_heads=decoder["num_attention_heads"],
        decoder_mlp_width=decoder["mlp_dim"],
        decoder_norm_eps=1e-5 if eps == DECODER_DEFAULTS["layer_norm_eps"] else eps,
        downsample=decoder["attention_downsample_rate"],
        candidates=decoder["num_multimask_outputs"],
        quality_width=decoder["iou_head_hidden_dim"],
        quality_depth=decoder["iou_head_depth"],
    )


def write_config(config: SamConfig) -> dict[str, Any]:
    """The inverse of ``read_config``. Raises CheckpointError for MobileSAM, which the form cannot express."""
    vision = config.vision
    if not isinstance(vision, SamVisionConfig):
        raise CheckpointError("the image encoder is TinyViT: write it as sam_original")
    return {
        "architectures": ["SamModel"],
        "model_type": "sam",
        "vision_config": {
            "model_type": "sam_vision_model",
            "hidden_size": vision.width,
            "output_channels": vision.out_channels,
            "num_hidden_layers": vision.depth,
            "num_attention_heads": vision.heads,
            "num_channels": vision.channels,
            "image_size": vision.image_size,
            "patch_size": vision.patch,
            "hidden_act": foreign_activation(vision.activation),
            "layer_norm_eps": vision.norm_eps,
            "qkv_bias": vision.qkv_bias,
            "mlp_dim": vision.mlp_width,
            "window_size": vision.window,
            "global_attn_indexes": list(vision.global_blocks),
            "num_pos_feats": vision.out_channels // 2,
        },
        "prompt_encoder_config": {
            "hidden_size": config.width,
            "image_size": vision.image_size,
            "patch_size": vision.patch,
            "mask_input_channels": config.mask_channels,
        },
        "mask_decoder_config": {
            "hidden_size": config.width,
            "mlp_dim": config.decoder_mlp_width,
            "num_hidden_layers": config.decoder_depth,
            "num_attention_heads": config.decoder_heads,
            "attention_downsample_rate": config.downsample,
            "num_multimask_outputs": config.candidates,
            "iou_head_depth": config.quality_depth,
            "iou_head_hidden_dim": config.quality_width,
            "layer_norm_eps": config.decoder_norm_eps,
        },
    }


_MOBILE = SamConfig(
    vision=TinyVitConfig(
        image_size=1024,
        widths=(64, 128, 160, 320),
        depths=(2, 2, 6, 2),
        heads=(2, 4, 5, 10),
        windows=(7, 7, 14, 7),
        out_channels=256,
    ),
    mask_channels=16,
    decoder_depth=2,
    decoder_heads=8,
    decoder_mlp_width=2048,
    decoder_norm_eps=1e-5,
    downsample=2,
    candidates=3,
    quality_width=256,
    quality_depth=3,
)
"""MobileSAM as it was published: one size, without a config.json."""


_KINDS: dict[str, Any] = {"vit": SamVisionConfig, "tiny_vit": TinyVitConfig, "pyramid": PyramidConfig}


def read_original_config(raw: Mapping[str, Any]) -> SamConfig:
    """The config that ``write_original_config`` wrote. Raises CheckpointError.

    The original's files, MobileSAM's among them, come without any: for these ``config_of`` makes it.
    """
    top = Fields(raw, "the file")
    top.expect("model_type", "sam_original")
    vision = Fields(top["vision"], "vision")
    vision.expect("kind", *_KINDS)
    kind = _KINDS[vision["kind"]]
    return SamConfig(
        vision=kind(**{field.name: _value(vision[field.name]) for field in fields(kind)}),
        **{field.name: top[field.name] for field in fields(SamConfig) if field.name != "vision"},
    )


def write_original_config(config: SamConfig) -> dict[str, Any]:
    """A config in our own words, of any SAM, for files with the original's keys."""
    kind = next(name for name, known in _KINDS.items() if isinstance(config.vision, known))
    written = asdict(config)
    return {"model_type": "sam_original", **written, "vision": {"kind": kind, **written["vision"]}}


def _value(value: Any) -> Any:
    if isinstance(value, Mapping):  # the trunk of a pyramid
        stages = tuple(Stage(**stage) for stage in value["stages"])
        return EfficientNetConfig(**{**value, "stages": stages})
    return tuple(value) if isinstance(value, list) else value


def config_of(shapes: Mapping[str, tuple[int, ...]]) -> SamConfig:
    """The config of an original ``.pth``, which comes without one, from the shapes of its tensors.

    Raises CheckpointError when they are not those of a SAM or a MobileSAM.
    """
    if "image_encoder.layers.0.blocks.0.conv1.c.weight" in shapes:
        return _MOBILE
    try:
        _, grid, _, width = shapes["image_encoder.pos_embed"]
        patch = shapes["image_encoder.patch_embed.proj.weight"]
        mlp_width = shapes["image_encoder.blocks.0.mlp.lin1.weight"][0]
        rows: list[tuple[int, ...]] = []
        while (key := f"image_encoder.blocks.{len(rows)}.attn.rel_pos_h") in shapes:
            rows.append(shapes[key])
        out_channels = shapes["image_encoder.neck.0.weight"][0]
    except (KeyError, ValueError) as error:
        raise CheckpointError(f"not a checkpoint of Segment Anything: no usable {error}") from None
    sides = [(length + 1) // 2 for length, _ in rows]
    vision = SamVisionConfig(
        image_size=grid * patch[2],
        patch=patch[2],
        channels=patch[1],
        width=width,
        depth=len(rows),
        heads=width // rows[0][1],
        mlp_width=mlp_width,
        activation="gelu",
        norm_eps=1e-6,
        qkv_bias=True,
        window=min(sides),
        global_blocks=tuple(i for i, side in enumerate(sides) if side == grid),
        out_channels=out_channels,
    )
    return replace(_MOBILE, vision=vision)

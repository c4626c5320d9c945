"""mini-vlm: our own layout; ``config.json`` mirrors ``MiniVlmConfig``, tensors have the network's names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sensorium.errors import CheckpointError
from sensorium.media.resized import PictureSpec
from sensorium.media.resizing.policies import Letterbox
from sensorium.models.connectors import MlpConfig
from sensorium.models.efficientnet import EfficientNetConfig, Stage
from sensorium.models.mini_vlm import MiniVlmConfig
from sensorium.weights.maps import decoder
from sensorium.weights.maps.common import Fields
from sensorium.weights.rules import Rule, move

MODEL_TYPE = "sensorium_mini_vlm"

_LEAVES = (
    "vision.stem",
    *(f"vision.blocks.{{i}}.{part}" for part in ("expand", "depthwise", "project")),
    "norm",
    "connector.layers.{i}",
    "decoder.embedding",
    *(f"decoder.blocks.{{i}}.attention.{part}" for part in ("q", "k", "v", "out")),
    *(f"decoder.blocks.{{i}}.mlp.{part}" for part in ("gate", "up", "down")),
    *(f"decoder.blocks.{{i}}.{part}" for part in ("norm1", "norm2")),
    "decoder.norm",
    "decoder.head",
)
RULES: list[Rule] = [
    move("positions", "positions"),
    *(move(f"{name}.{{leaf}}", f"{name}.{{leaf}}") for name in _LEAVES),
]

_PLAIN = ("side", "image_token", "most_pictures")


def read_config(raw: Mapping[str, Any]) -> MiniVlmConfig:
    """The config of a mini-vlm from its ``config.json``. Raises CheckpointError naming what is missing."""
    top = Fields(raw, "the file")
    top.expect("model_type", MODEL_TYPE)
    vision, connector = (Fields(top[name], name) for name in ("vision_config", "connector_config"))
    try:
        stages = tuple(Stage(**stage) for stage in vision["stages"])
        return MiniVlmConfig(
            trunk=EfficientNetConfig(vision["stem_width"], stages, vision["head_width"], vision["classes"]),
            connector=MlpConfig(connector["layers"], connector["activation"], connector["bias"]),
            text=decoder.read_config(top["text_config"]),
            **{name: top[name] for name in _PLAIN},
        )
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"the config cannot be read: {error}") from None


def write_config(config: MiniVlmConfig) -> dict[str, Any]:
    """The inverse of ``read_config``."""
    trunk, connector = config.trunk, config.connector
    return {
        "architectures": ["MiniVlm"],
        "model_type": MODEL_TYPE,
        **{name: getattr(config, name) for name in _PLAIN},
        "vision_config": {
            "stem_width": trunk.stem_width,
            "stages": [vars(stage).copy() for stage in trunk.stages],
            "head_width": trunk.head_width,
            "classes": trunk.classes,
        },
        "connector_config": vars(connector).copy(),
        "text_config": decoder.write_llama(config.text),
    }


def picture_spec(config: MiniVlmConfig) -> PictureSpec:
    """How pictures are prepared: whole, in the middle of a black square."""
    policy = Letterbox(config.side, config.side, config.side // config.rows, anchor="centre", pad_first=False)
    return PictureSpec(policy, "bilinear", (127 / 255,) * 3, (128 / 255,) * 3, (0, 0, 0))

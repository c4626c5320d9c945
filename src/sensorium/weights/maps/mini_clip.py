"""mini-clip: our own layout, with the text tower's matrices in 4 bits.

``config.json`` mirrors ``MiniClipConfig``. In the weights every tensor has the network's name and
is stored in float16, except the large matrices:

- of the text tower, ``<name>.q4``, uint8 ``[rows, columns / 32, 18]``. Eighteen bytes are one block of GGML's
  Q4_0: a little-endian float16 scale, then 32 numbers in 0..15 of which byte ``j`` holds number ``j`` in its
  low and number ``j + 16`` in its high half; a weight is ``(number - 8) * scale``.
- of the 1x1 convolutions, ``<name>.q8``, uint8 ``[rows, 2 + columns]``: a float16 scale, then one signed byte
  a weight, which is ``byte * scale``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sensorium.errors import CheckpointError
from sensorium.models.efficientnet import EfficientNetConfig, Stage
from sensorium.models.mini_clip import MiniClipConfig
from sensorium.weights.maps.chinese_clip import read_bert, write_bert
from sensorium.weights.maps.common import Fields
from sensorium.weights.rules import Rule, move

if TYPE_CHECKING:
    from torch import Tensor

BLOCK = 32
"""Weights that share one scale."""


class Packed(Rule):
    """A matrix stored in blocks of 4 bits."""

    def apply(self, tensor: Tensor) -> tuple[Tensor, ...]:
        """``[rows, blocks, 18]`` uint8 -> ``[rows, columns]`` float32. ValueError for any other content."""
        import torch

        if tensor.dtype != torch.uint8 or tensor.ndim != 3 or tensor.shape[2] != BLOCK // 2 + 2:
            raise ValueError(f"is not packed in 4 bits: {list(tensor.shape)}")
        return (unpacked(tensor),)

    def undo(self, parts: Sequence[Tensor]) -> Tensor:
        """The blocks that ``apply`` reads as the nearest numbers to the matrix."""
        return packed(parts[0])


class Packed8(Rule):
    """A 1x1 convolution stored in 8 bits, one scale a filter."""

    def apply(self, tensor: Tensor) -> tuple[Tensor, ...]:
        """``[rows, 2 + columns]`` uint8 -> ``[rows, columns, 1, 1]`` float32. ValueError for others."""
        import torch

        if tensor.dtype != torch.uint8 or tensor.ndim != 2 or tensor.shape[1] < 3:
            raise ValueError(f"is not packed in 8 bits: {list(tensor.shape)}")
        scale = tensor[:, :2].contiguous().view(torch.float16).float()
        return ((tensor[:, 2:].contiguous().view(torch.int8).float() * scale)[:, :, None, None],)

    def undo(self, parts: Sequence[Tensor]) -> Tensor:
        """The bytes that ``apply`` reads as the nearest numbers to the filters."""
        import torch

        matrix = parts[0].float().flatten(1)
        scale = (matrix.abs().amax(1, keepdim=True) / 127).clamp_min(1e-7).to(torch.float16)
        numbers = (matrix / scale.float()).round().clamp(-127, 127).to(torch.int8)
        return torch.cat([scale.view(torch.uint8), numbers.view(torch.uint8)], 1)


def unpacked(blocks: Tensor) -> Tensor:
    """Blocks uint8 ``[rows, n, 18]`` -> float32 ``[rows, 32 n]``."""
    import torch

    scale = blocks[..., :2].contiguous().view(torch.float16).float()  # [rows, n, 1]
    low, high = blocks[..., 2:] & 15, blocks[..., 2:] >> 4
    numbers = torch.cat([low, high], -1).float() - 8
    return (numbers * scale).flatten(1)


def packed(matrix: Tensor) -> Tensor:
    """Float ``[rows, 32 n]`` -> blocks uint8 ``[rows, n, 18]``, by GGML's rule.

    The number farthest from zero becomes -8 exactly, which fixes the scale. For a matrix that came out of
    ``unpacked`` this gives every number back, if its blocks use -8 as that rule makes them do.
    """
    import torch

    values = matrix.float().reshape(len(matrix), -1, BLOCK)  # [rows, n, 32]
    peak = values.gather(-1, values.abs().argmax(-1, keepdim=True))
    scale = (peak / -8).to(torch.float16)
    divisor = torch.where(scale == 0, torch.ones_like(scale), scale).float()
    numbers = (values / divisor + 8.5).floor().clamp(0, 15).to(torch.uint8)
    halves = numbers[..., : BLOCK // 2] | (numbers[..., BLOCK // 2 :] << 4)
    return torch.cat([scale.view(torch.uint8), halves], -1)


def _matrices() -> list[Rule]:
    inside = ("attention.q", "attention.k", "attention.v", "attention.out", "mlp.up", "mlp.down")
    names = ["text.embedding.weight", *(f"text.blocks.{{i}}.{name}.weight" for name in inside)]
    filters = ("head", "blocks.{i}.expand", "blocks.{i}.project")
    return [
        *(Packed(f"{name}.q4", (name,)) for name in names),
        *(Packed8(f"vision.{name}.weight.q8", (f"vision.{name}.weight",)) for name in filters),
    ]


RULES: list[Rule] = [
    *_matrices(),
    *(
        move(f"{prefix}.{{leaf}}", f"{prefix}.{{leaf}}")
        for prefix in (
            "vision.stem",
            "vision.head",
            "vision.classifier",
            "vision.blocks.{i}.expand",
            "vision.blocks.{i}.depthwise",
            "vision.blocks.{i}.project",
            *(f"text.blocks.{{i}}.attention.{part}" for part in ("q", "k", "v", "out")),
            "text.blocks.{i}.mlp.up",
            "text.blocks.{i}.mlp.down",
            "text.blocks.{i}.norm1",
            "text.blocks.{i}.norm2",
            "text.norm",
            "joint.up",
            "joint.down",
            "joint.skip",
            "joint.classes",
            "joint.text",
            "joint.text_up",
            "joint.text_down",
            "joint",
            "text",
            "colour",
        )
    ),
    *(
        move(name, name)
        for name in ("chinese", "centres", "names", "membership", "projection", "logit_scale")
    ),
]

_PLAIN = (
    "window",
    "groups",
    "sharpness",
    "concept_dim",
    "joint_dim",
    "hidden",
    "joint_weight",
    "colours",
    "colour_cells",
)


def read_config(raw: Mapping[str, Any]) -> MiniClipConfig:
    """The config of a mini-clip from its ``config.json``. Raises CheckpointError naming what is missing."""
    top = Fields(raw, "the file")
    top.expect("model_type", "mini_clip")
    vision, text = Fields(top["vision_config"], "vision_config"), Fields(top["text_config"], "text_config")
    try:
        stages = tuple(Stage(**stage) for stage in vision["stages"])
    except TypeError as error:
        raise CheckpointError(f"the config's vision_config.stages cannot be read: {error}") from None
    return MiniClipConfig(
        vision=EfficientNetConfig(vision["stem_width"], stages, vision["head_width"], vision["classes"]),
        text=read_bert(text),
        **{name: top[name] for name in _PLAIN},
    )


def write_config(config: MiniClipConfig) -> dict[str, Any]:
    """The inverse of ``read_config``."""
    v = config.vision
    return {
        "architectures": ["MiniClip"],
        "model_type": "mini_clip",
        **{name: getattr(config, name) for name in _PLAIN},
        "vision_config": {
            "stem_width": v.stem_width,
            "stages": [vars(stage).copy() for stage in v.stages],
            "head_width": v.head_width,
            "classes": v.classes,
        },
        "text_config": {
            "model_type": "bert",
            "position_embedding_type": "absolute",
            "prefix": "query: ",
            "do_lower_case": True,
            "pad_token": "<pad>",
            **write_bert(config.text),
        },
    }

"""What the tables share: reading a foreign config with one-line errors, and the layouts of a block."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sensorium.errors import CheckpointError
from sensorium.nn.mlp import Activation
from sensorium.weights.rules import Rule, move, split

_ACTIVATIONS: dict[str, Activation] = {
    "gelu": "gelu",
    "quick_gelu": "quick_gelu",
    "gelu_pytorch_tanh": "gelu_tanh",
    "relu": "relu",
}


class Fields(dict[str, Any]):
    """A part of a foreign config whose missing fields are named in a ``CheckpointError``."""

    def __init__(self, values: Mapping[str, Any], where: str) -> None:
        super().__init__(values)
        self.where = where

    def __missing__(self, key: str) -> Any:
        raise CheckpointError(f"the config has no {key!r} in {self.where}")

    def expect(self, key: str, *allowed: object) -> None:
        """Refuse a value under which the network would be another function than ours."""
        if self[key] not in allowed:
            raise CheckpointError(f"config: {key} = {self[key]!r} in {self.where} is not supported")

    def only(self, *known: str) -> None:
        """Refuse fields that are not understood, in formats where each one changes the function."""
        unknown = sorted(set(self) - set(known))
        if unknown:
            raise CheckpointError(f"config: {', '.join(unknown)} in {self.where} not supported")

    def activation(self) -> Activation:
        """``hidden_act`` in our words."""
        self.expect("hidden_act", *_ACTIVATIONS)
        return _ACTIVATIONS[self["hidden_act"]]

    def image_size(self) -> tuple[int, int]:
        """``image_size`` as height and width; the format writes one number or two."""
        size = self["image_size"]
        return (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))

    def patch(self) -> int:
        """``patch_size`` as one number."""
        size = self["patch_size"]
        if isinstance(size, int):
            return size
        if size[0] != size[1]:
            raise CheckpointError(f"config: patches of {size[0]}x{size[1]} are not supported")
        return int(size[0])


def section(raw: Mapping[str, Any], name: str, defaults: Mapping[str, Any]) -> Fields:
    """``text_config`` or ``vision_config``: what the file says, over the format's defaults.

    transformers leaves out what equals the default of its config class, so here absence is a value. Files
    written before 4.30 repeat the section as ``<name>_dict``, which then counts alone.
    """
    given = raw.get(f"{name}_dict") or Fields(raw, "the file")[name]
    if not isinstance(given, Mapping):
        raise CheckpointError(f"config: {name} is not an object")
    return Fields({**defaults, **given}, name)


def foreign_activation(activation: Activation) -> str:
    """Our activation in the words of transformers."""
    return next(foreign for foreign, ours in _ACTIVATIONS.items() if ours == activation)


def foreign_size(size: tuple[int, int]) -> int | list[int]:
    """Height and width as transformers writes them: one number when they agree."""
    return size[0] if size[0] == size[1] else list(size)


def hub_block(foreign: str, ours: str) -> list[Rule]:
    """A pre-norm block as transformers' CLIP and SigLIP name it."""
    names = {
        "layer_norm1": "norm1",
        "self_attn.q_proj": "attention.q",
        "self_attn.k_proj": "attention.k",
        "self_attn.v_proj": "attention.v",
        "self_attn.out_proj": "attention.out",
        "layer_norm2": "norm2",
        "mlp.fc1": "mlp.up",
        "mlp.fc2": "mlp.down",
    }
    return [move(f"{foreign}.{a}.{{leaf}}", f"{ours}.{b}.{{leaf}}") for a, b in names.items()]


def openai_block(foreign: str, ours: str) -> list[Rule]:
    """A pre-norm block as OpenAI's CLIP and open_clip name it, with the projections in one matrix."""
    names = {
        "ln_1": "norm1",
        "attn.out_proj": "attention.out",
        "ln_2": "norm2",
        "mlp.c_fc": "mlp.up",
        "mlp.c_proj": "mlp.down",
    }
    fused = split(f"{foreign}.attn.in_proj_{{leaf}}", projections(f"{ours}.attention", "qkv"))
    return [fused, *(move(f"{foreign}.{a}.{{leaf}}", f"{ours}.{b}.{{leaf}}") for a, b in names.items())]


def timm_block(foreign: str, ours: str) -> list[Rule]:
    """A pre-norm block as timm names it, with the projections in one Linear."""
    names = {
        "norm1": "norm1",
        "attn.proj": "attention.out",
        "norm2": "norm2",
        "mlp.fc1": "mlp.up",
        "mlp.fc2": "mlp.down",
    }
    fused = split(f"{foreign}.attn.qkv.{{leaf}}", projections(f"{ours}.attention", "qkv"))
    return [fused, *(move(f"{foreign}.{a}.{{leaf}}", f"{ours}.{b}.{{leaf}}") for a, b in names.items())]


def projections(attention: str, letters: str) -> list[str]:
    """The targets of a fused projection: ``<attention>.q.{leaf}`` and so on."""
    return [f"{attention}.{letter}.{{leaf}}" for letter in letters]

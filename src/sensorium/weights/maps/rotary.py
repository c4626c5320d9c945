"""Rotary positions in configs: ``rope_theta`` with ``rope_scaling``, or today's ``rope_parameters``."""

from __future__ import annotations

import math
from typing import Any

from sensorium.errors import CheckpointError
from sensorium.nn.rotary import LinearScaling, Llama3Scaling, RotaryConfig, Sections, YarnScaling
from sensorium.weights.maps.common import Fields

_THETA = 1e4  # of every format that states none, Qwen2.5-VL's apart


def read_rotary(fields: Fields, head_dim: int) -> RotaryConfig:
    """The positions of a decoder with heads of ``head_dim`` values.

    Raises CheckpointError on scalings that are not supported: the dynamic ones among them, since their angles
    change with the length of the text.
    """
    stated = Fields(fields.get("rope_parameters") or fields.get("rope_scaling") or {}, "rope_scaling")
    kind = stated.get("rope_type", stated.get("type", "default"))
    theta = float(stated.get("rope_theta", fields.get("rope_theta", _THETA)))
    if stated.get("partial_rotary_factor", fields.get("partial_rotary_factor", 1.0)) != 1.0:
        raise CheckpointError("config: partial_rotary_factor is not supported")
    axes = stated.get("mrope_section")
    sections = Sections(tuple(axes), "chunks") if axes else None
    if stated.get("mrope_interleaved"):
        raise CheckpointError("config: mrope_interleaved is not supported")
    scaling: LinearScaling | Llama3Scaling | YarnScaling | None
    if kind in ("default", "mrope"):
        scaling = None
    elif kind == "linear":
        scaling = LinearScaling(float(stated["factor"]))
    elif kind in ("llama3", "yarn"):
        before = stated.get("original_max_position_embeddings") or fields["max_position_embeddings"]
        scaling = _llama3(stated, before) if kind == "llama3" else _yarn(stated, before)
    else:
        raise CheckpointError(
            f"config: rope_type {kind!r} is not supported; default, linear, llama3, yarn are"
        )
    try:
        return RotaryConfig(head_dim, theta, scaling, sections)
    except ValueError as error:
        raise CheckpointError(f"config: {error}") from None


def _llama3(stated: Fields, before: int) -> Llama3Scaling:
    factor, low, high = (float(stated[key]) for key in ("factor", "low_freq_factor", "high_freq_factor"))
    return Llama3Scaling(factor, low, high, before)


def _yarn(stated: Fields, before: int) -> YarnScaling:
    factor = float(stated["factor"])
    sharpen = stated.get("attention_factor")
    if sharpen is None:
        scale, whole = stated.get("mscale"), stated.get("mscale_all_dim")
        sharpen = _mscale(factor, scale) / _mscale(factor, whole) if scale and whole else _mscale(factor, 1.0)
    fast, slow = float(stated.get("beta_fast") or 32.0), float(stated.get("beta_slow") or 1.0)
    return YarnScaling(factor, fast, slow, before, float(sharpen), bool(stated.get("truncate", True)))


def _mscale(factor: float, scale: float) -> float:
    return 1.0 if factor <= 1 else 0.1 * scale * math.log(factor) + 1.0


def write_rotary(config: RotaryConfig) -> dict[str, Any]:
    """``rope_theta`` and ``rope_scaling``, which every version of transformers reads."""
    scaling, stated = config.scaling, dict[str, Any]()
    if isinstance(scaling, LinearScaling):
        stated = {"rope_type": "linear", "factor": scaling.factor}
    elif isinstance(scaling, Llama3Scaling):
        stated = {
            "rope_type": "llama3",
            "factor": scaling.factor,
            "low_freq_factor": scaling.low,
            "high_freq_factor": scaling.high,
            "original_max_position_embeddings": scaling.trained,
        }
    elif isinstance(scaling, YarnScaling):
        stated = {
            "rope_type": "yarn",
            "factor": scaling.factor,
            "beta_fast": scaling.fast,
            "beta_slow": scaling.slow,
            "original_max_position_embeddings": scaling.trained,
            "attention_factor": scaling.sharpen,
            "truncate": scaling.whole_pairs,
        }
    if config.sections is not None:
        stated = {"rope_type": "default", **stated, "mrope_section": list(config.sections.sizes)}
    return {"rope_theta": config.theta, "rope_scaling": stated or None}

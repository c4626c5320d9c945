"""Rotary positions: queries and keys turned by angles that grow with the position.

RoFormer, section 3.2 (Su et al. 2021, arXiv 2104.09864), in the half-split form of GPT-NeoX and the hub:
value i of a head is turned together with value i + dim / 2, not with its neighbour. Angles are float32
whatever the network computes in, since a float16 position above 2048 is no longer exact.

The dynamic scaling of NTK is left out on purpose: its angles depend on the length of the whole text, so keys
that are already in a cache would have been turned by other angles than those of a recomputation.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor


@dataclass(frozen=True)
class LinearScaling:
    """Positions divided by ``factor`` (position interpolation, arXiv 2306.15595)."""

    factor: float


@dataclass(frozen=True)
class Llama3Scaling:
    """Slow turns divided by ``factor``, fast ones kept, others blended (Llama 3.1, arXiv 2407.21783)."""

    factor: float
    low: float
    """Fewer turns than this within ``trained`` positions: slow."""
    high: float
    """More turns than this within ``trained`` positions: fast."""
    trained: int
    """How many positions the network was trained on before."""


@dataclass(frozen=True)
class YarnScaling:
    """YaRN, section 3.2-3.4 (Peng et al. 2023, arXiv 2309.00071)."""

    factor: float
    fast: float
    """Pairs that turn more often than this within ``trained`` positions are kept."""
    slow: float
    """Pairs that turn less often than this are slowed by ``factor``."""
    trained: int
    sharpen: float
    """What sines and cosines are multiplied with, so that attention stays as sharp as it was."""
    whole_pairs: bool
    """The ends of the blend are rounded outwards to whole pairs."""


@dataclass(frozen=True)
class Sections:
    """Positions on several axes at once (M-RoPE of Qwen2-VL, arXiv 2409.12191, section 2.1)."""

    sizes: tuple[int, ...]
    """How many pairs of a head follow each axis (time, height, width); together dim / 2."""
    style: Literal["chunks"]
    """``chunks``: the first ``sizes[0]`` pairs follow the first axis, the next the second, and so on."""


@dataclass(frozen=True)
class RotaryConfig:
    """How a network turns its queries and keys."""

    dim: int
    """Values of one head; even."""
    theta: float
    scaling: LinearScaling | Llama3Scaling | YarnScaling | None
    sections: Sections | None
    """None: a token has one position."""

    def __post_init__(self) -> None:
        """Refuse sizes that do not add up.

        Raises:
            ValueError: Names the field.
        """
        if self.dim % 2:
            raise ValueError(f"dim must be even: {self.dim}")
        if self.sections is not None and sum(self.sections.sizes) != self.dim // 2:
            raise ValueError(f"sections {self.sections.sizes} do not add up to {self.dim // 2} pairs")


def frequencies(config: RotaryConfig, device: torch.device | None = None) -> Tensor:
    """Radians that each pair turns per position: float32 ``[dim / 2]``, fastest first."""
    exponents = torch.arange(0, config.dim, 2, dtype=torch.float32, device=device) / config.dim
    turning = 1.0 / (config.theta**exponents)
    scaling = config.scaling
    if isinstance(scaling, LinearScaling):
        return turning / scaling.factor
    if isinstance(scaling, Llama3Scaling):
        return _llama3(turning, scaling)
    if isinstance(scaling, YarnScaling):
        return _yarn(turning, scaling, config)
    return turning


def _llama3(turning: Tensor, scaling: Llama3Scaling) -> Tensor:
    turns = scaling.trained / (2 * math.pi / turning)  # within the trained positions
    share = (turns - scaling.low) / (scaling.high - scaling.low)  # of the unscaled frequency in the blend
    slow = turning / scaling.factor
    blend = (1 - share) * slow + share * turning
    return torch.where(turns < scaling.low, slow, torch.where(turns > scaling.high, turning, blend))


def _yarn(turning: Tensor, scaling: YarnScaling, config: RotaryConfig) -> Tensor:
    def pair(turns: float) -> float:
        """The (fractional) pair that turns so often within the trained positions."""
        return config.dim * math.log(scaling.trained / (turns * 2 * math.pi)) / (2 * math.log(config.theta))

    first, last = pair(scaling.fast), pair(scaling.slow)
    if scaling.whole_pairs:
        first, last = math.floor(first), math.ceil(last)
    first, last = max(first, 0), min(last, config.dim - 1)
    width = (last - first) or 0.001  # one pair alone: a step instead of a ramp
    order = torch.arange(config.dim // 2, dtype=torch.float32, device=turning.device)
    slowed = ((order - first) / width).clamp(0, 1)
    return turning / scaling.factor * slowed + turning * (1 - slowed)


def angles(config: RotaryConfig, positions: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Cosines and sines for `rotate`: each ``[b, n, dim]`` of ``dtype``, computed in float32.

    Shapes: positions ``[b, n]``; with ``config.sections`` also ``[axes, b, n]``, and ``[b, n]`` then means
    that a token has the same position on all axes, as text has.
    """
    turning = frequencies(config, positions.device)
    angle = positions[..., None].float() * turning  # [..., b, n, dim / 2]
    if positions.ndim == 3:
        if config.sections is None or len(config.sections.sizes) != positions.shape[0]:
            raise ValueError(f"the network has no {positions.shape[0]} axes of positions: {config.sections}")
        parts = torch.split(angle, list(config.sections.sizes), dim=-1)
        angle = torch.cat([part[axis] for axis, part in enumerate(parts)], dim=-1)
    angle = torch.cat((angle, angle), dim=-1)
    sharpen = config.scaling.sharpen if isinstance(config.scaling, YarnScaling) else 1.0
    return (angle.cos() * sharpen).to(dtype), (angle.sin() * sharpen).to(dtype)


def rotate(x: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
    """Queries or keys turned by their positions.

    Shapes: x ``[b, heads, n, dim]``; cosines and sines ``[b, n, dim]`` -> ``[b, heads, n, dim]``.
    """
    first, second = x.chunk(2, dim=-1)
    across = torch.cat((-second, first), dim=-1)
    return x * cosines[:, None] + across * sines[:, None]

"""Does it fit? An estimate of what a model and a question need, before anything is loaded."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from sensorium.errors import SensoriumError
from sensorium.models.decoder import DecoderConfig

_PROGRAM = 300_000_000
"""Bytes of the interpreter, torch and what asking imports: 245 MB on Linux, and some room."""


@dataclass(frozen=True)
class Need:
    """Bytes that answering takes at its worst moment."""

    weights: int
    cache: int
    activations: int

    @property
    def total(self) -> int:
        """All of it."""
        return self.weights + self.cache + self.activations + _PROGRAM


def cache_bytes(text: DecoderConfig, tokens: int, bytes_each: int) -> int:
    """Keys and values of ``tokens`` tokens in all layers."""
    return 2 * text.depth * text.kv_heads * text.head_dim * tokens * bytes_each


def activation_bytes(text: DecoderConfig, tokens: int, bytes_each: int) -> int:
    """What one layer holds at once while ``tokens`` tokens are read, and the scores of one token.

    The input, its norm, q, k, v and what attention gives, or both halves of the gated perceptron and their
    product, whichever is more; fused attention holds no table of all pairs.
    """
    attention = 3 * text.width + 2 * text.heads * text.head_dim + 2 * text.kv_heads * text.head_dim
    mlp = 2 * text.width + 3 * text.mlp_width
    return tokens * max(attention, mlp) * bytes_each + 4 * text.vocabulary


def available() -> int | None:
    """Bytes that this process can still get: of the machine, or of its control group if that is less.

    None where the system does not tell.
    """
    limits = [limit for limit in (_of_machine(), _of_group()) if limit is not None]
    return min(limits) if limits else None


def _of_machine() -> int | None:
    table = Path("/proc/meminfo")
    if table.is_file():
        for line in table.read_text("ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # not every system tells
        return None


def _of_group(root: Path = Path("/sys/fs/cgroup")) -> int | None:
    try:
        most = (root / "memory.max").read_text("ascii").strip()
        used = int((root / "memory.current").read_text("ascii"))
        reclaimed = dict(line.split() for line in (root / "memory.stat").read_text("ascii").splitlines())
    except (OSError, ValueError):
        return None
    if most == "max":
        return None
    return max(0, int(most) - used + int(reclaimed.get("inactive_file", 0)))


def refuse_if_short(need: Need, name: str, have: int | None) -> None:
    """Refuse what would not fit.

    Raises:
        SensoriumError: What is needed, what there is, and what to change.
    """
    if have is None or need.total <= have:
        return
    if need.weights > have:
        remedy = "name a smaller --model, or load it with --dtype bfloat16 if it is not yet"
    else:
        remedy = "give pictures fewer --tokens, show fewer of them, or close other programs"
    raise SensoriumError(
        f"{name} needs about {_gigabytes(need.total)} ({_gigabytes(need.weights)} of weights, "
        f"{_gigabytes(need.cache)} to remember, {_gigabytes(need.activations)} to compute), "
        f"{_gigabytes(have)} are free: {remedy}; --force tries anyway"
    )


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:.1f} GB"

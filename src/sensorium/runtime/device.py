"""Where a network runs and in which number format: the one place that decides devices and threads."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sensorium.errors import SensoriumError

if TYPE_CHECKING:
    import torch

DEVICES = ("cpu", "cuda", "mps")
DTYPES = ("float32", "bfloat16", "float16")


@dataclass(frozen=True)
class Placement:
    """A device (``cpu``, ``cuda``, ``cuda:1``, ``mps``) and the number format that networks get on it."""

    device: str
    dtype: str

    @property
    def torch_device(self) -> torch.device:
        """The same device as torch names it."""
        import torch

        return torch.device(self.device)

    @property
    def torch_dtype(self) -> torch.dtype:
        """The same number format as torch names it."""
        import torch

        return {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[self.dtype]


def choose(device: str | None = None, dtype: str | None = None) -> Placement:
    """The placement asked for, or the best this machine has: CUDA, then Apple's MPS, then the CPU.

    Without ``dtype``: float32 on the CPU (where `accelerate` measures lower precisions itself), bfloat16 on
    a CUDA device that computes in it, else float16. SensoriumError: an unknown name or an absent device.
    """
    if dtype is not None and dtype not in DTYPES:
        raise SensoriumError(f"unknown dtype {dtype!r}; choose one of {', '.join(DTYPES)}")
    if device is None:
        device = _best_device()
    kind, _, number = device.partition(":")
    if kind not in DEVICES or (number and (kind != "cuda" or not number.isdigit())):
        raise SensoriumError(f"unknown device {device!r}; choose one of {', '.join(DEVICES)} (or cuda:N)")
    if kind != "cpu":
        _require(kind, int(number or 0))
    return Placement(device, dtype or _default_dtype(kind))


def _best_device() -> str:
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _require(kind: str, number: int) -> None:
    import torch

    present = torch.cuda.device_count() if kind == "cuda" else int(torch.backends.mps.is_available())
    if number >= present:
        raise SensoriumError(f"this machine's torch sees {present} {kind} device(s); use device='cpu'")


def _default_dtype(kind: str) -> str:
    if kind == "cpu":
        return "float32"
    import torch

    if kind == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False):
        return "bfloat16"
    return "float16"


def threads() -> int:
    """How many threads inference may use: ``SENSORIUM_THREADS``, else the cores given to this process."""
    configured = os.environ.get("SENSORIUM_THREADS")
    if configured:
        if not configured.isdigit() or int(configured) < 1:
            raise SensoriumError(f"SENSORIUM_THREADS is {configured!r}; give a whole number of at least 1")
        return int(configured)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1

"""How batches reach the loop: loaded ahead in worker processes, in the order that ``order`` fixes."""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from sensorium.errors import SensoriumError
from sensorium.train.order import Order, Place, split
from sensorium.train.world import world

Load = Callable[[Sequence[Place]], Any]


class _Batches(Dataset[Any]):
    """A loader as DataLoader wants it; an error meant for the user travels as a value, in one line."""

    def __init__(self, load: Load) -> None:
        self.load = load

    def __getitem__(self, places: Sequence[Place]) -> Any:
        try:
            return self.load(places)
        except SensoriumError as error:
            return error


def micro_batches(
    load: Load, order: Order, first: int, steps: int, *, accumulate: int, workers: int, pin: bool
) -> DataLoader[Any]:
    """Micro-batches of this process from the 0-based step ``first`` on."""
    rank, size = world()
    keys = (
        part for step in range(first, steps) for part in split(order.places(step), rank, size, accumulate)
    )
    return DataLoader(
        _Batches(load),
        batch_size=None,
        sampler=keys,
        num_workers=workers,
        collate_fn=_unchanged,
        pin_memory=pin,
        worker_init_fn=_ignore_interrupt,
        generator=torch.Generator(),  # else it would draw its seed from the run's own numbers
    )


def _unchanged(batch: Any) -> Any:
    return batch


def _ignore_interrupt(_: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the main process decides


def moved(batch: Any, device: torch.device) -> Any:
    """The batch with its tensors on ``device``."""
    if isinstance(batch, Tensor):
        return batch.to(device, non_blocking=True)
    if isinstance(batch, dict):
        return {key: moved(value, device) for key, value in batch.items()}
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):
        return type(batch)(*(moved(value, device) for value in batch))
    if isinstance(batch, list | tuple):
        return type(batch)(moved(value, device) for value in batch)
    return batch

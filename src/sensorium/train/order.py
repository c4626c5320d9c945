"""Which items make up which optimizer step.

The order is a pure function of the step number, so the position in the data is one integer: a resumed run
needs no replay, and neither the number of processes nor the number of loading workers changes what a step
sees.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from sensorium.errors import SensoriumError


class Place(NamedTuple):
    """One item in one pass over the data: what a loader needs to make it, and to augment it, always alike."""

    epoch: int
    item: int


class Order(Protocol):
    """Says which places form the batch of a step. Write one to mix sources; ``Shuffled`` is the usual one."""

    @property
    def smallest(self) -> int:
        """Size of the smallest batch that ``places`` ever returns."""
        ...

    def places(self, step: int) -> Sequence[Place]:
        """Places of the whole batch, over all processes, of the 0-based ``step``. Must be pure."""
        ...

    def identity(self) -> dict[str, Any]:
        """JSON facts that fix the order; a checkpoint of other facts is refused on resume."""
        ...


@dataclass(frozen=True)
class Shuffled:
    """A new permutation of ``length`` items every epoch, cut into batches of ``batch`` items.

    ``batch`` counts the items of one optimizer step over all processes. ``last`` decides what happens where
    an epoch ends: ``wrap`` lets a batch run on into the next epoch (every item once an epoch, all batches
    equal), ``keep`` makes the epoch's last batch smaller, ``drop`` leaves out the remainder, other items
    every epoch. Raises SensoriumError when no batch can be made.
    """

    length: int
    batch: int
    seed: int = 0
    last: Literal["wrap", "keep", "drop"] = "wrap"

    def __post_init__(self) -> None:
        if self.length < 1 or self.batch < 1:
            raise SensoriumError(f"cannot train on {self.length} items in batches of {self.batch}")
        if self.last == "drop" and self.batch > self.length:
            raise SensoriumError(
                f"no batch of {self.batch} fits {self.length} items with last='drop'; take a smaller one"
            )

    @property
    def smallest(self) -> int:
        """Size of the smallest batch."""
        remainder = self.length % self.batch
        return remainder if self.last == "keep" and remainder else self.batch

    def steps(self, epochs: float) -> int:
        """Optimizer steps that ``epochs`` passes over the data take, rounded up."""
        whole = -(-self.length // self.batch) if self.last == "keep" else self.length // self.batch
        per_epoch = self.length / self.batch if self.last == "wrap" else whole
        return int(np.ceil(round(epochs * per_epoch, 9)))

    def places(self, step: int) -> list[Place]:
        """Places of the batch of the 0-based ``step``."""
        if self.last == "wrap":
            return self._span(step * self.batch, (step + 1) * self.batch)
        epoch, number = divmod(step, self.steps(1))
        start = epoch * self.length + number * self.batch
        return self._span(start, min(start + self.batch, (epoch + 1) * self.length))

    def identity(self) -> dict[str, Any]:
        """The four fields."""
        return asdict(self)

    def _span(self, start: int, stop: int) -> list[Place]:
        """Places ``start`` to ``stop`` of the endless row of epochs."""
        return [
            Place(epoch, int(item))
            for epoch in range(start // self.length, (stop - 1) // self.length + 1)
            for item in _permutation(self.seed, epoch, self.length)[
                max(start - epoch * self.length, 0) : stop - epoch * self.length
            ]
        ]


def generator(seed: int, place: Place) -> np.random.Generator:
    """Source of randomness of one item in one epoch: the same on every machine, process and resume."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(1, place.epoch, place.item)))


def split(places: Sequence[Place], rank: int, size: int, accumulate: int) -> list[Sequence[Place]]:
    """Part of a batch that falls to one process, as ``accumulate`` micro-batches.

    The parts of all processes are disjoint, cover the batch, and differ by at most one item.
    Raises SensoriumError when a part would be empty.
    """
    parts = size * accumulate
    if len(places) < parts:
        raise SensoriumError(
            f"{len(places)} items cannot be shared by {size} processes x {accumulate} micro-batches;"
            " use a larger batch, or last='wrap'"
        )
    edges = [len(places) * part // parts for part in range(parts + 1)]
    mine: Iterable[int] = range(rank, parts, size)
    return [places[edges[part] : edges[part + 1]] for part in mine]


@functools.lru_cache(maxsize=4)  # a batch may span epochs, and a run mix sources
def _permutation(seed: int, epoch: int, length: int) -> npt.NDArray[np.int64]:
    source = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(0, epoch)))
    return source.permutation(length)

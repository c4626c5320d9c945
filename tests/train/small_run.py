"""A small training that uses all there is to resume: dropout, random numbers of three kinds, an average."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sensorium.train.loop import Settings, StepRecord, train
from sensorium.train.optim import Ema, adamw, warmup_cosine
from sensorium.train.order import Place, Shuffled, generator


def load(places: Sequence[Place]) -> dict[str, Tensor]:
    """Noisy rows; the noise depends on the place alone."""
    rows = [generator(5, place).normal(place.item, 1, size=6) for place in places]
    return {"rows": torch.from_numpy(np.stack(rows)), "items": torch.tensor([p.item for p in places])}


def small_run(folder: Path, steps: int, *, resume: bool = False, **changes: Any) -> Iterator[StepRecord]:
    """The training; ``changes`` go to its settings."""
    torch.manual_seed(11)
    network = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Dropout(0.3), nn.Linear(8, 1))
    network = network.double().train()

    def task(batch: dict[str, Tensor]) -> tuple[dict[str, Tensor], int]:
        wanted = batch["items"].double() / 10 + random.random() / 20 + float(np.random.rand()) / 20
        error = network(batch["rows"]).squeeze(1) - wanted
        return {"square": error.square().sum(), "size": 1e-3 * error.abs().sum()}, len(wanted)

    settings = {"accumulate": 2, "save_every": 4, "seed": 2, **changes}
    return train(
        network,
        task,
        load,
        Shuffled(13, 8, seed=3),
        adamw(network, 0.05),
        warmup_cosine(24, 4),
        Settings(folder, steps, **settings),
        ema=Ema(network, 0.9),
        evaluate=lambda: {
            "spread": float(network(load([Place(0, item) for item in range(13)])["rows"]).std())
        },
        resume=resume,
    )


def run_to_the_end(folder: Path, steps: int) -> None:
    """Run, or go on with, the training in a process of its own."""
    torch.set_num_threads(1)
    for _ in small_run(folder, steps, resume=True):
        pass

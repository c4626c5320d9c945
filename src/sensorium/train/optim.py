"""What turns gradients into weights: parameter groups, schedules, the running average, freezing."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from sensorium.errors import CheckpointError, SensoriumError

Schedule = Callable[[int], float]


def adamw(
    network: nn.Module,
    lr: float,
    *,
    decay: float = 0.05,
    betas: tuple[float, float] = (0.9, 0.98),
    eps: float = 1e-8,
    rates: Mapping[str, float] | None = None,
) -> torch.optim.AdamW:
    """AdamW (Loshchilov and Hutter 2019) over the parameters of ``network`` that require gradients.

    Weight decay applies to matrices and larger only: norms, biases and scales have fewer than two dimensions
    and are left alone. ``rates`` maps a prefix of parameter names to a factor on ``lr``; the longest prefix
    counts. Raises SensoriumError for a prefix that fits no trainable parameter and when nothing is trainable.
    """
    rates = dict(rates or {})
    groups: dict[tuple[float, float], list[tuple[str, nn.Parameter]]] = defaultdict(list)
    used = set()
    for name, parameter in network.named_parameters():
        if not parameter.requires_grad:
            continue
        prefix = max((prefix for prefix in rates if name.startswith(prefix)), key=len, default="")
        used.add(prefix)
        groups[rates.get(prefix, 1.0), decay if parameter.ndim >= 2 else 0.0].append((name, parameter))
    if not groups:
        raise SensoriumError("no parameter is left to train: every one is frozen")
    if unused := sorted(set(rates) - used):
        raise SensoriumError(f"no trainable parameter starts with {unused[0]!r}; check `rates`")
    return torch.optim.AdamW(
        [
            {"params": named, "lr": lr * rate, "weight_decay": group_decay}
            for (rate, group_decay), named in groups.items()
        ],
        betas=betas,
        eps=eps,
        fused=True,
    )


def warmup_cosine(steps: int, warmup: int = 0, floor: float = 0.0) -> Schedule:
    """Factor on the learning rate: linear up over ``warmup`` steps, then half a cosine down to ``floor``.

    The cosine is that of SGDR (Loshchilov and Hutter 2017) without restarts. ``factor(0)`` is ``1 / warmup``,
    never 0, and the last of ``steps`` steps comes just short of ``floor``.
    """

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        done = min((step - warmup) / max(steps - warmup, 1), 1.0)
        return floor + (1 - floor) * (1 + math.cos(math.pi * done)) / 2

    return factor


def warmup_constant(warmup: int = 0) -> Schedule:
    """Factor on the learning rate: linear up over ``warmup`` steps, then 1."""
    return lambda step: min((step + 1) / max(warmup, 1), 1.0)


def freeze(module: nn.Module) -> None:
    """Take ``module`` out of training: no gradients, no dropout, batch statistics as they are.

    Call it after ``network.train()``, which would undo the second half, and before building the optimizer.
    """
    module.requires_grad_(False).eval()


class Ema:
    """Exponential moving average of the trained weights (Polyak and Juditsky 1992).

    After each step ``average += (1 - d) * (weight - average)`` with ``d = min(decay, (1 + n) / (10 + n))`` at
    the n-th update, so that the first steps do not drag the initial weights along; ``warmup=False`` makes
    ``d`` constant. Floating-point buffers, such as batch statistics, are averaged alike; frozen parameters
    are not kept twice. Build it after freezing.
    """

    def __init__(self, network: nn.Module, decay: float = 0.999, *, warmup: bool = True) -> None:
        if not 0 <= decay < 1:
            raise SensoriumError(f"the decay of the average is {decay}; it must be at least 0 and below 1")
        self.decay, self.warmup, self.updates = decay, warmup, 0
        saved = network.state_dict(keep_vars=True)
        self._live = {
            name: tensor
            for name, tensor in saved.items()
            if tensor.is_floating_point() and (tensor.requires_grad or not isinstance(tensor, nn.Parameter))
        }
        self._average = {name: tensor.detach().clone() for name, tensor in self._live.items()}

    @torch.no_grad()
    def update(self) -> None:
        """Move the averages towards the weights as they are now."""
        self.updates += 1
        early = (1 + self.updates) / (10 + self.updates) if self.warmup else self.decay
        live = [tensor.detach() for tensor in self._live.values()]
        torch._foreach_lerp_(list(self._average.values()), live, 1 - min(self.decay, early))

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Inside, the network has the averaged weights; afterwards its own again, also after an error."""
        own = {name: tensor.detach().clone() for name, tensor in self._live.items()}
        self._fill(self._average)
        try:
            yield
        finally:
            self._fill(own)

    def state(self) -> dict[str, Tensor]:
        """The averages by name, without the frozen rest."""
        return self._average

    def load(self, averages: Mapping[str, Tensor], updates: int) -> None:
        """Continue from saved averages. Raises CheckpointError when their names are others."""
        if different := sorted(averages.keys() ^ self._average.keys()):
            raise CheckpointError(
                f"the saved average and the trained weights differ at {different[0]!r}; check what is frozen"
            )
        for name, tensor in self._average.items():
            tensor.copy_(averages[name])
        self.updates = updates

    @torch.no_grad()
    def _fill(self, values: Mapping[str, Tensor]) -> None:
        for name, tensor in self._live.items():
            tensor.copy_(values[name])

"""The training loop: the one that every recipe of the project uses.

    for record in train(network, task, load, order, optimizer, schedule, settings):
        ...                                   # one record an optimizer step; also in the run's log.jsonl

A task maps a batch to named losses and a number of items. ONE RULE holds everywhere: a loss is a SUM over
items, and the loop divides once, by the items of all micro-batches of all processes. So neither accumulation,
nor unequal micro-batches, nor the number of processes changes the gradient, as means of means would.

A run killed at any moment and resumed ends with the same bits as one that was left alone: weights, optimizer,
running average, random generators, position in the data and log. On several processes (``torchrun``) the
network is wrapped in DistributedDataParallel; the CUDA side of this is written but has not been run.
"""

from __future__ import annotations

import json
import logging
import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import get_total_norm

from sensorium.errors import CheckpointError, SensoriumError
from sensorium.runtime.device import Placement
from sensorium.train import checkpoints, rng
from sensorium.train.feed import Load, micro_batches, moved
from sensorium.train.interruption import stop_requests
from sensorium.train.log import Log
from sensorium.train.optim import Ema, Schedule
from sensorium.train.order import Order, Place, split
from sensorium.train.world import gathered_bytes, wait_for_all, world

Task = Callable[[Any], tuple[Mapping[str, Tensor], int]]
Evaluate = Callable[[], Mapping[str, float]]

logger = logging.getLogger(__name__)


class NonFiniteLossError(SensoriumError):
    """A loss or gradient became infinite or not a number; the text names it and the step."""


class InterruptedRunError(SensoriumError):
    """The run was stopped from outside, after saving; the text says how to go on."""

    exit_code = 130


@dataclass(frozen=True)
class Settings:
    """What the loop itself needs to know; everything about the model and its data is the recipe's.

    ``folder`` receives ``log.jsonl`` and ``checkpoints/``; all processes must see it. ``accumulate``
    micro-batches make one of ``steps`` optimizer steps; a contrastive loss knows only the negatives of its
    micro-batch, so prefer ``losses.in_chunks`` there. ``clip`` bounds the global norm of the gradient.
    ``weights`` maps names of losses to factors (absent: 1; 0: only logged); the first step must have each.
    ``keep`` checkpoints remain of those written every ``save_every`` steps and after the last. ``seed`` fixes
    what the task draws at random. ``workers`` processes load ahead.
    """

    folder: Path
    steps: int
    accumulate: int = 1
    clip: float | None = 1.0
    weights: Mapping[str, float] = field(default_factory=dict)
    seed: int = 0
    save_every: int = 500
    keep: int = 2
    evaluate_every: int = 0
    workers: int = 0

    def __post_init__(self) -> None:
        for name, least in (("steps", 1), ("accumulate", 1), ("save_every", 1), ("keep", 1), ("workers", 0)):
            if getattr(self, name) < least:
                raise SensoriumError(f"{name} is {getattr(self, name)}; it must be at least {least}")
        if self.clip is not None and not self.clip > 0:
            raise SensoriumError(f"clip is {self.clip}; give a positive norm, or none")


@dataclass(frozen=True)
class StepRecord:
    """One optimizer step, as it is logged.

    Losses are means over the step's items; ``step`` counts from 1 to ``steps``; ``grad_norm`` is measured
    before clipping; ``items`` counts since the start of the run; ``epoch`` is that of the step's first item;
    ``evaluation`` holds the figures taken after this step, if any were.
    """

    step: int
    steps: int
    losses: dict[str, float]
    total: float
    lr: float
    grad_norm: float
    items_per_second: float
    items: int
    epoch: int
    evaluation: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Note:
    """A line of text that a recipe yields between records: a stage that begins, or a result.

    ``refused`` marks inputs that were left out, so that the command ends with code 1.
    """

    text: str
    refused: bool = False


def require_fresh(folder: Path) -> None:
    """Raise SensoriumError when ``folder`` holds checkpoints that a new run would mix with or lose."""
    if saved := checkpoints.steps(folder / "checkpoints"):
        raise SensoriumError(
            f"{folder} holds a run up to step {saved[-1]}; continue it with --resume or choose another folder"
        )


def train(
    network: nn.Module,
    task: Task,
    load: Load,
    order: Order,
    optimizer: torch.optim.Optimizer,
    schedule: Schedule,
    settings: Settings,
    *,
    placement: Placement | None = None,
    ema: Ema | None = None,
    evaluate: Evaluate | None = None,
    resume: bool = False,
) -> Iterator[StepRecord]:
    """Train ``network`` in place and yield a record after each optimizer step.

    ``task(batch)`` returns scalar losses, each a sum over items, and the number of items; it uses ``network``
    directly. ``load(places)`` makes a batch and must depend on nothing but the places. ``order`` says which
    places a step takes, ``schedule`` which factor its learning rates get. ``placement``: where, and float32
    or bfloat16 (autocast; weights stay float32); the network must be there already. ``evaluate`` runs every
    ``settings.evaluate_every`` steps and after the last, with averaged weights if there is an ``ema``.
    Training and evaluation mode are the caller's: the loop restores what it finds. ``resume`` continues from
    the newest whole checkpoint, or starts when there is none; without it, a folder with checkpoints is
    refused. What the caller draws at random between records leaves no trace.

    Raises NonFiniteLossError, InterruptedRunError (after saving, on Ctrl-C or SIGTERM), CheckpointError.
    """
    placement = placement or Placement("cpu", "float32")
    if placement.dtype == "float16":
        raise SensoriumError("training runs in float32 or bfloat16; float16 would need loss scaling")
    run = _Run(network, task, order, optimizer, schedule, settings, placement, ema)
    run.begin(resume)
    with ExitStack() as stack:
        stop = stack.enter_context(stop_requests())
        batches = run.batches(load)
        log = None
        if world().rank == 0:
            log = Log(settings.folder / "log.jsonl", run.step)
            stack.callback(log.close)
        while run.step < settings.steps:
            record = run.advance(batches, stop)
            if evaluate and (_due(record.step, settings.evaluate_every) or record.step == settings.steps):
                record = replace(record, evaluation=run.evaluate(evaluate))
            if log:
                log.write(record)
            if _due(record.step, settings.save_every) or record.step == settings.steps or run.stopping:
                if log:
                    log.sync()
                run.save()
            with rng.preserved():
                yield record
            run.check_interruption()
            run.mark = time.perf_counter()


class _Run:
    """The state of a run: what ``save`` writes and ``begin`` reads back, and the step that changes it."""

    def __init__(
        self,
        network: nn.Module,
        task: Task,
        order: Order,
        optimizer: torch.optim.Optimizer,
        schedule: Schedule,
        settings: Settings,
        placement: Placement,
        ema: Ema | None,
    ) -> None:
        self.network, self.order, self.optimizer, self.schedule = network, order, optimizer, schedule
        self.settings, self.placement, self.ema = settings, placement, ema
        self.forward = _joined_forward(network, task, placement)
        self.rates = [float(group["lr"]) for group in optimizer.param_groups]
        self.step, self.items, self.stopping = 0, 0, False
        self.mark = time.perf_counter()
        # raises now, and not at the end of the first epoch, if the smallest batch cannot be shared
        split([Place(0, 0)] * order.smallest, 0, world().size, settings.accumulate)

    @property
    def folder(self) -> Path:
        return self.settings.folder / "checkpoints"

    def batches(self, load: Load) -> Iterator[Any]:
        """The micro-batches of this process from the present step to the last."""
        return iter(
            micro_batches(
                load,
                self.order,
                self.step,
                self.settings.steps,
                accumulate=self.settings.accumulate,
                workers=self.settings.workers,
                pin=self.placement.torch_device.type == "cuda",
            )
        )

    def advance(self, batches: Iterator[Any], stop: threading.Event) -> StepRecord:
        """One optimizer step on the next micro-batches of this process."""
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * self.schedule(self.step)
        self.optimizer.zero_grad(set_to_none=True)
        sums: dict[str, Tensor] = {}
        items = 0
        for number in range(1, self.settings.accumulate + 1):
            with self._synchronised(last=number == self.settings.accumulate):
                items += self._backward(next(batches), sums)
        losses, items, self.stopping = _over_all_processes(sums, items, stop.is_set())
        self._check_losses(losses, items)
        norm = self._scale_and_clip(items)
        self.optimizer.step()
        if self.ema:
            self.ema.update()
        epoch = self.order.places(self.step)[0].epoch
        self.step += 1
        self.items += items
        means = {name: total / items for name, total in losses.items()}
        return StepRecord(
            step=self.step,
            steps=self.settings.steps,
            losses=means,
            total=sum(self._weight(name) * mean for name, mean in means.items()),
            lr=float(self.optimizer.param_groups[0]["lr"]),
            grad_norm=norm,
            items_per_second=items / (time.perf_counter() - self.mark),
            items=self.items,
            epoch=epoch,
        )

    def evaluate(self, evaluate: Evaluate) -> dict[str, float]:
        """Figures of the present weights, or of their average if one is kept; changes nothing."""
        averaged = self.ema.applied() if self.ema else nullcontext()
        with rng.preserved(), _evaluation_mode(self.network), averaged, torch.no_grad():
            return {name: float(value) for name, value in evaluate().items()}

    def begin(self, resume: bool) -> None:
        """Start afresh, or from the newest checkpoint."""
        rng.seed_all(self.settings.seed, world().rank)
        if not resume:
            require_fresh(self.settings.folder)
        saved = checkpoints.newest(self.folder) if resume else None
        if saved is None:
            return
        for line in saved.refused:
            logger.warning("%s; continuing from step %d instead", line, saved.step)
        self._restore(saved.parts)

    def save(self) -> None:
        """Write a checkpoint. Every process calls this; the first one writes."""
        states = gathered_bytes(json.dumps(rng.state()).encode())
        if world().rank == 0:
            parts = {
                "network": self.network.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "loop": {**self._identity(), "step": self.step, "items": self.items},
                "rng": [json.loads(state) for state in states],
            }
            if self.ema:
                parts["ema"] = {"average": self.ema.state(), "updates": self.ema.updates}
            checkpoints.save(self.folder, self.step, parts, keep=self.settings.keep)
        wait_for_all()

    def check_interruption(self) -> None:
        """End the run if some process was asked to; everything has been saved by now."""
        if self.stopping and self.step < self.settings.steps:
            raise InterruptedRunError(
                f"training stopped at step {self.step} of {self.settings.steps}, all saved in"
                f" {self.settings.folder}; the same command with --resume goes on from there"
            )

    def _backward(self, part: Any, sums: dict[str, Tensor]) -> int:
        """Gradients of one micro-batch, added to those there are; its losses are added to ``sums``."""
        if isinstance(part, SensoriumError):  # a loading process hands its error over whole
            raise part
        part = moved(part, self.placement.torch_device)
        with torch.autocast(
            self.placement.torch_device.type, torch.bfloat16, enabled=self.placement.dtype == "bfloat16"
        ):
            losses, items = self.forward(part)
            weighted = [loss * weight for name, loss in losses.items() if (weight := self._weight(name))]
            total = torch.stack(weighted).sum()
        total.backward()  # type: ignore[no-untyped-call]
        for name, loss in losses.items():
            sums[name] = sums[name] + loss.detach() if name in sums else loss.detach()
        return int(items)

    def _weight(self, name: str) -> float:
        return self.settings.weights.get(name, 1.0)

    def _scale_and_clip(self, items: int) -> float:
        """Turn summed gradients into those of the mean over items; clip them; return the norm before that."""
        grads = [
            p.grad for group in self.optimizer.param_groups for p in group["params"] if p.grad is not None
        ]
        factor = world().size / items  # DistributedDataParallel has divided by the number of processes
        norm = float(get_total_norm(grads)) * factor
        if not math.isfinite(norm):
            culprits = [
                name
                for name, parameter in self.network.named_parameters()
                if parameter.grad is not None and not bool(parameter.grad.isfinite().all())
            ]
            raise NonFiniteLossError(
                f"the gradient is {norm} at step {self.step + 1} though every loss is finite;"
                f" first in {', '.join(culprits[:3]) or 'the sum'}{self._last_saved()}"
            )
        if self.settings.clip is not None:
            factor *= min(1.0, self.settings.clip / (norm + 1e-6))
        torch._foreach_mul_(grads, factor)
        return norm

    def _check_losses(self, losses: Mapping[str, float], items: int) -> None:
        for name, value in losses.items():
            if not math.isfinite(value):
                raise NonFiniteLossError(
                    f"loss {name!r} is {value} at step {self.step + 1}{self._last_saved()}"
                )
        if self.step == 0 and (unknown := sorted(self.settings.weights.keys() - losses.keys())):
            raise SensoriumError(f"there is no loss {unknown[0]!r} to weigh; there are {', '.join(losses)}")
        if items < 1:
            raise SensoriumError(f"the batch of step {self.step + 1} has no items to learn from")

    def _last_saved(self) -> str:
        saved = checkpoints.steps(self.folder)
        return f"; the last checkpoint is of step {saved[-1]}" if saved else "; there is no checkpoint yet"

    def _synchronised(self, last: bool) -> AbstractContextManager[None]:
        """Processes exchange gradients with the last micro-batch only."""
        if last or not isinstance(self.forward, DistributedDataParallel):
            return nullcontext()
        return self.forward.no_sync()

    def _identity(self) -> dict[str, Any]:
        """What must be the same on resume for the run to be the same."""
        names = [group.get("param_names") for group in self.optimizer.param_groups]
        return {"order": self.order.identity(), "accumulate": self.settings.accumulate, "trained": names}

    def _restore(self, parts: Mapping[str, Any]) -> None:
        loop = parts["loop"]
        for name, now in json.loads(json.dumps(self._identity())).items():
            if loop[name] != now:
                raise CheckpointError(
                    f"{self.folder} was made with another {name}: {_first_difference(loop[name], now)}"
                )
        if ("ema" in parts) != (self.ema is not None):
            raise CheckpointError(
                f"{self.folder} was made {'with' if 'ema' in parts else 'without'} an average"
            )
        try:
            self.network.load_state_dict(parts["network"])
        except RuntimeError as error:  # torch lists every key; the first line that names one is enough
            lines = [line.strip() for line in str(error).splitlines()]
            raise CheckpointError(f"{self.folder} does not fit the network: {lines[-1]}") from None
        options = [{k: v for k, v in group.items() if k != "params"} for group in self.optimizer.param_groups]
        self.optimizer.load_state_dict(parts["optimizer"])
        for group, own in zip(self.optimizer.param_groups, options, strict=True):
            group.update(own)  # rates, decay and so on are the caller's to change, and the same if he did not
        if self.ema:
            self.ema.load(parts["ema"]["average"], parts["ema"]["updates"])
        self.step, self.items = int(loop["step"]), int(loop["items"])
        if world().size == len(parts["rng"]):
            rng.restore(parts["rng"][world().rank])
        else:
            logger.warning(
                "the run had %d processes and now has %d: items and weights go on exactly, dropout does not",
                len(parts["rng"]),
                world().size,
            )
            rng.seed_all(self.settings.seed + self.step, world().rank)


class _Forward(nn.Module):
    """Task and network as one module, so that DistributedDataParallel sees the parameters and the call."""

    def __init__(self, network: nn.Module, task: Task) -> None:
        super().__init__()
        self.network, self.task = network, task

    def forward(self, batch: Any) -> tuple[Mapping[str, Tensor], int]:
        return self.task(batch)


def _joined_forward(network: nn.Module, task: Task, placement: Placement) -> nn.Module:
    forward = _Forward(network, task)
    if world().size == 1:
        return forward
    device = placement.torch_device
    devices = None if device.type == "cpu" else [torch.cuda.current_device()]
    return DistributedDataParallel(forward, device_ids=devices, gradient_as_bucket_view=True)


def _over_all_processes(
    sums: Mapping[str, Tensor], items: int, stop: bool
) -> tuple[dict[str, float], int, bool]:
    """Losses and items of all processes together, and whether any was asked to stop."""
    values = torch.stack([total.double() for total in sums.values()]).tolist()  # one wait for the device
    own = {"losses": dict(zip(sums, values, strict=True)), "items": items, "stop": stop}
    losses: dict[str, float] = {}
    received = [json.loads(message) for message in gathered_bytes(json.dumps(own).encode())]
    for message in received:
        for name, value in message["losses"].items():
            losses[name] = losses.get(name, 0.0) + value
    return losses, sum(message["items"] for message in received), any(m["stop"] for m in received)


@contextmanager
def _evaluation_mode(network: nn.Module) -> Iterator[None]:
    """Inside, the network is in evaluation mode; afterwards each module is in the mode it was in."""
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def _due(step: int, every: int) -> bool:
    return every > 0 and step % every == 0


def _first_difference(before: Any, now: Any) -> str:
    """The first place where two JSON values differ, in words."""
    if isinstance(before, dict) and isinstance(now, dict) and before.keys() == now.keys():
        key = next(key for key in before if before[key] != now[key])
        return f"{key} was {before[key]!r} and is {now[key]!r}"
    if isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        return _first_difference(*next(pair for pair in zip(before, now, strict=True) if pair[0] != pair[1]))
    if isinstance(before, list) and isinstance(now, list):
        only = [value for value in [*before, *now] if (value in before) != (value in now)]
        return f"{only[0]!r} is in one only" if only else f"{len(before)} entries became {len(now)}"
    return f"it was {before!r} and is {now!r}"

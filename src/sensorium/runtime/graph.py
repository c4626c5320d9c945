"""One function that makes a network fast on the processor at hand, and remembers how.

`accelerate` exports a torch network, tries every engine that suits the machine on real inputs, refuses those
whose outputs stray from float32, takes the fastest of the rest and stores it with the reason. `cached` opens
what an earlier process stored, without importing torch.

``SENSORIUM_ENGINE`` forces one of ``openvino-int8``, ``openvino-w8``, ``openvino-bf16``, ``openvino-f32``,
``torch-bf16``, ``torch-f32``. It is still tested: one that strays is refused with an error, never used.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING

import numpy as np

from sensorium.errors import SensoriumError
from sensorium.runtime import engines, machine, store, trial
from sensorium.runtime.device import Placement, choose
from sensorium.runtime.engines import ENGINES, Run, precision_of
from sensorium.runtime.store import Choice, Slot, StoredGraphError
from sensorium.runtime.trial import Arrays

if TYPE_CHECKING:
    from torch import nn

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Graph:
    """A network ready to run here. Call it with the network's inputs as arrays; it returns float32.

    ``reason`` says in one line why this engine was taken; ``choice`` holds every measurement.
    """

    engine: str
    reason: str
    choice: Choice
    run: Run
    width: int  # length of one output row

    def __call__(self, *arrays: np.ndarray) -> np.ndarray:
        """Outputs [b, ...] for inputs of any batch size (and length, where the network allows it)."""
        output = self.run(*(np.ascontiguousarray(array) for array in arrays))
        if not np.isfinite(output).all():
            raise SensoriumError(
                f"{self.engine} returned values that are not finite; "
                "set SENSORIUM_ENGINE=torch-f32 and report it"
            )
        return output


def cached(key: str, *, device: str | None = None, dtype: str | None = None) -> Graph | None:
    """The graph that `accelerate` stored under the same arguments on this machine; never imports torch.

    None: nothing is stored, what is stored is damaged or no longer passes its golden vector (both are
    discarded and logged), or the engine chosen needs the network itself.
    """
    return _stored(store.slot(key, _wish(device, dtype)), None)


def accelerate(
    module: nn.Module,
    samples: Sequence[Arrays],
    *,
    key: str,
    dynamic: Sequence[Sequence[int]],
    batch: int = 1,
    int8: bool = False,
    shared: Sequence[int] = (),
    device: str | None = None,
    dtype: str | None = None,
) -> Graph:
    """The fastest trustworthy way to run ``module`` here, measured once and then stored under ``key``.

    ``samples`` are real inputs of batch 1 each, 2 or more, all of which test the engines; for int8 two thirds
    set its scales and every third one tests.
    ``dynamic[i]`` lists the axes of input i that vary. ``batch`` is the batch size that is timed. ``int8``
    also tries 8 bits (half a minute for a large network), which needs 24 samples. Inputs in ``shared``
    belong to the whole batch (one image, many prompts) and are the same in all samples. ``dtype``
    ``float32`` or ``bfloat16`` allows only engines of that precision. On another device than the CPU torch
    runs the network under autocast. The module must be in eval mode, in float32, on the CPU. SensoriumError:
    a forced engine is unknown or was refused, or the folder of graphs cannot be written.
    """
    import filelock

    if len(samples) < 2:
        raise ValueError("accelerate needs at least two samples: one to trace, one to test")
    place = store.slot(key, _wish(device, dtype))
    try:
        place.folder.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(place.lock_path):  # another process may be building the same graph
            graph = _stored(place, module)
            if graph is not None and (graph.choice.int8_tried or not int8):
                return graph
            candidates = _candidates(choose(device, dtype), dtype, int8, single=batch == 1)
            judge = trial.Trial(module, samples, dynamic, batch, shared)
            return _store(place, judge, judge.decide(candidates), int8 or "openvino-int8" in candidates)
    except OSError as error:
        raise SensoriumError(
            f"compiled graphs cannot be kept in {place.folder} ({error.strerror or error}): make room there, "
            "or set SENSORIUM_HOME to a folder that can be written"
        ) from error


def _store(place: Slot, judge: trial.Trial, outcome: trial.Outcome, int8_tried: bool) -> Graph:
    blob = outcome.blob
    choice = Choice(
        engine=outcome.engine,
        reason=outcome.reason,
        measurements=outcome.measurements,
        int8_tried=int8_tried,
        versions={**machine.describe(), "torch": version("torch"), "nncf": version("nncf")},
        graph=None if blob is None else place.add(".blob", blob.data),
        graph_bytes=0 if blob is None else blob.nbytes,
        golden=place.add_golden(list(judge.samples[0]), judge.expected[0]),
    )
    place.commit(choice)
    log.info("%s", choice.reason)
    return Graph(outcome.engine, outcome.reason, choice, outcome.run, int(judge.expected[0].shape[-1]))


def _wish(device: str | None, dtype: str | None) -> str:
    return "-".join(part or "any" for part in (device, dtype, _forced())).replace(":", "")


def _forced() -> str | None:
    engine = os.environ.get("SENSORIUM_ENGINE") or None
    if engine is not None and engine not in ENGINES:
        raise SensoriumError(
            f"SENSORIUM_ENGINE is {engine!r}; choose one of {', '.join(ENGINES)}, or unset it"
        )
    return engine


def _candidates(placement: Placement, dtype: str | None, int8: bool, *, single: bool) -> list[str]:
    if placement.device != "cpu":
        names = ("float32", placement.dtype)
        return [f"torch-{placement.device}-{name}" for name in dict.fromkeys(names)]
    forced = _forced()
    if forced is not None:
        return [forced]
    if dtype is not None:
        return [engine for engine in ENGINES if precision_of(engine) == dtype]
    # weights alone in 8 bits pay only where few rows share the reading of them
    unwanted = {"int8": not int8, "w8": not single}
    return [engine for engine in ENGINES if not unwanted.get(precision_of(engine), False)]


def _stored(place: Slot, module: nn.Module | None) -> Graph | None:
    """What a slot holds, opened and checked; what is unusable is discarded with a word in the log."""
    while (found := place.version()) is not None:
        try:
            return _open(place, place.read(), module)
        except SensoriumError as error:
            if place.version() == found:  # else another process has just replaced it: look again
                log.warning("discarding the stored graph in %s: %s", place.folder, error)
                place.discard()
    return None


def _open(place: Slot, choice: Choice, module: nn.Module | None) -> Graph | None:
    """A stored choice as a graph that has just passed its golden vector; None when torch is needed for it.

    SensoriumError: a file is damaged, or this machine no longer computes what it did.
    """
    inputs, expected = place.golden(choice)
    if choice.graph is not None:
        run = engines.open_graph(place.graph(choice), choice.engine)
    elif module is not None:
        run = trial.torch_engine(module, choice.engine)
    else:
        return None
    try:
        cosine, finite = trial.agreement(run(*inputs), expected)
    except RuntimeError as error:
        raise StoredGraphError(f"it does not run: {engines.first_line(error)}") from error
    if not finite or cosine < trial.LEAST_COSINE:
        raise StoredGraphError(f"its golden vector is now at cosine {cosine:.4f}")
    return Graph(choice.engine, choice.reason, choice, run, int(expected.shape[-1]))

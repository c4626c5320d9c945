"""Engines on trial: each runs real inputs, is compared with float32, and is timed beside the others."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from sensorium.errors import SensoriumError
from sensorium.runtime import engines
from sensorium.runtime.device import Placement
from sensorium.runtime.engines import Run, precision_of
from sensorium.runtime.store import Measurement

if TYPE_CHECKING:
    from torch import nn

Arrays = tuple[np.ndarray, ...]

LEAST_COSINE = 0.99  # per row, to the same network in float32
# How much faster an engine must be to be preferred to more precise ones. Int8 pays more than its own test
# shows: pictures unlike those that set its scales stray further (measured: 0.984 where the test said 0.998).
WORTHWHILE = {"float32": 1.0, "bfloat16": 1.1, "float16": 1.1, "w8": 1.15, "int8": 1.5}
HELD_OUT = 3  # every third sample tests int8; the others set its scales
TOGETHER = 16  # rows of one test batch
ROUNDS = 5
HOPELESS = 2.0  # times slower than the fastest so far: one look is enough
PATIENCE = 3.0  # seconds of timing, after which fewer rounds must do


@dataclass(frozen=True)
class Outcome:
    """What a trial decided. ``blob`` is the compiled graph, None for an engine that needs the network."""

    engine: str
    reason: str
    measurements: tuple[Measurement, ...]
    run: Run
    blob: np.ndarray | None


class Trial:
    """One measurement of several engines for one network.

    ``samples`` are real inputs of batch 1; ``dynamic``, ``batch`` and ``shared`` as for `graph.accelerate`.
    """

    def __init__(
        self,
        module: nn.Module,
        samples: Sequence[Arrays],
        dynamic: Sequence[Sequence[int]],
        batch: int,
        shared: Sequence[int] = (),
    ) -> None:
        self.module = module
        self.samples = samples
        self.dynamic = dynamic
        self.shared = shared
        self.batch = batch
        self.timed = stack([samples[0]] * batch, shared)
        reference = engines.torch_run(module, Placement("cpu", "float32"))
        self.groups = _alike(samples)
        self.expected: dict[int, np.ndarray] = {}
        with engines.few_torch_threads():
            for group in self.groups:
                rows = reference(*stack([samples[i] for i in group], shared))
                self.expected |= {i: rows[k : k + 1] for k, i in enumerate(group)}
        self.exported: Any = None
        self.runs: dict[str, Run] = {}
        self.blobs: dict[str, np.ndarray] = {}

    def decide(self, candidates: Sequence[str]) -> Outcome:
        """Test and time the candidates, most precise first. SensoriumError: all of them are refused."""
        results: dict[str, Measurement] = {}
        for engine in candidates:
            results[engine] = self._test(engine, results)
        self._time(results)
        passed = [result for result in results.values() if not result.refused]
        if not passed:
            raise SensoriumError(
                "no engine may run this network: "
                + "; ".join(f"{result.engine} refused, {result.refused}" for result in results.values())
            )
        engine = best(passed).engine
        reason = _reason(results[engine], list(results.values()), self.batch)
        return Outcome(engine, reason, tuple(results.values()), self.runs[engine], self.blobs.get(engine))

    def _test(self, engine: str, earlier: dict[str, Measurement]) -> Measurement:
        sixteen = earlier.get("openvino-bf16")
        strays = sixteen is not None and sixteen.refused and sixteen.cosine is not None
        if engine in ("torch-bf16", "openvino-int8") and strays:
            return Measurement(engine, refused="not tried, since openvino-bf16 strays already")
        try:
            run = self._build(engine)
            with engines.few_torch_threads():
                cosine, finite = self._golden(run, held_out=precision_of(engine) == "int8")
        except SensoriumError as error:
            return Measurement(engine, refused=str(error))
        except (RuntimeError, TypeError) as error:  # an operation that this precision does not have
            return Measurement(engine, refused=f"it does not run: {engines.first_line(error)}")
        if not finite:
            return Measurement(engine, refused="its output has another shape or is not finite")
        if cosine < LEAST_COSINE:
            return Measurement(
                engine, cosine=cosine, refused=f"cosine {cosine:.4f} to float32 is below {LEAST_COSINE}"
            )
        self.runs[engine] = run
        return Measurement(engine, cosine=cosine)

    def _build(self, engine: str) -> Run:
        if engine.startswith("torch-"):
            return torch_engine(self.module, engine)
        if self.exported is None:
            example = stack([self.samples[0]] * 2, self.shared)
            self.exported = engines.export_graph(self.module, example, self.dynamic)
        model = self._weights(precision_of(engine))
        self.blobs[engine] = engines.compile_graph(model, engine)
        return engines.open_graph(self.blobs[engine], engine)

    def _weights(self, precision: str) -> Any:
        """The exported model with its weights; those of 16 bits are made when it is compiled."""
        from sensorium.runtime import quantize

        if precision == "w8":
            return quantize.weights_only(self.exported)
        if precision != "int8":
            return self.exported
        calibration = [rows for i, rows in enumerate(self.samples) if not _is_held_out(i)]
        if len(calibration) < quantize.MIN_CALIBRATION:
            raise SensoriumError(
                f"needs {quantize.MIN_CALIBRATION} real samples to calibrate, had {len(calibration)}"
            )
        return quantize.int8(self.exported, calibration)

    def _golden(self, run: Run, *, held_out: bool) -> tuple[float, bool]:
        """The first test alone, then all of one shape together, for a batch must change none."""
        groups = [[i for i in group if _is_held_out(i) or not held_out] for group in self.groups]
        groups = [group for group in groups if group]
        checks = [
            agreement(
                run(*stack([self.samples[i] for i in group], self.shared)),
                np.concatenate([self.expected[i] for i in group]),
            )
            for group in [groups[0][:1], *groups]
        ]
        return min(cosine for cosine, _ in checks), all(finite for _, finite in checks)

    def _time(self, results: dict[str, Measurement]) -> None:
        """Median seconds a call of each engine that passed, in turns so that a busy moment hits all alike."""
        times: dict[str, list[float]] = {}
        for engine, run in self.runs.items():
            run(*self.timed)
            times[engine] = [_seconds(run, self.timed)]
        began = time.perf_counter()
        while len(self.runs) > 1 and time.perf_counter() - began < PATIENCE:
            limit = HOPELESS * min(statistics.median(seconds) for seconds in times.values())
            left = [e for e, s in times.items() if len(s) < ROUNDS and statistics.median(s) <= limit]
            if not left:
                break
            for engine in left:
                times[engine].append(_seconds(self.runs[engine], self.timed))
        for engine, seconds in times.items():
            results[engine] = replace(results[engine], seconds=statistics.median(seconds))


def best(passed: Sequence[Measurement]) -> Measurement:
    """The fastest, where a less precise engine must be `WORTHWHILE` times faster than the best before it."""
    chosen = min((r for r in passed if _factor(r) == _factor(passed[0])), key=lambda r: r.seconds or 0.0)
    for result in passed:
        if _factor(result) > _factor(passed[0]) and (result.seconds or 0.0) * _factor(result) <= (
            chosen.seconds or 0.0
        ):
            chosen = result
    return chosen


def torch_engine(module: nn.Module, engine: str) -> Run:
    """The engine called ``torch-PRECISION`` (on the CPU) or ``torch-DEVICE-DTYPE``."""
    parts = engine.split("-")
    if len(parts) == 2:
        return engines.torch_run(module, Placement("cpu", precision_of(engine)))
    return engines.torch_run(module, Placement(parts[1], parts[2]))


def agreement(output: np.ndarray, expected: np.ndarray) -> tuple[float, bool]:
    """Least cosine over rows, and whether every value is finite. Rows are the leading axis."""
    if output.shape != expected.shape or not np.isfinite(output).all():
        return -1.0, False
    a = output.reshape(len(output), -1).astype(np.float64)
    b = expected.reshape(len(expected), -1).astype(np.float64)
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return float(((a * b).sum(axis=1) / np.maximum(norms, 1e-30)).min()), True


def stack(rows: Sequence[Arrays], shared: Sequence[int] = ()) -> Arrays:
    """Inputs of batch 1 and equal shapes as one batch; ``shared`` ones, the same in all, stay single."""
    columns = zip(*rows, strict=True)
    return tuple(column[0] if i in shared else np.concatenate(column) for i, column in enumerate(columns))


def _alike(samples: Sequence[Arrays]) -> list[list[int]]:
    """Numbers of the samples in groups of one shape and at most `TOGETHER`."""
    by_shape: dict[tuple[tuple[int, ...], ...], list[int]] = {}
    for i, arrays in enumerate(samples):
        by_shape.setdefault(tuple(array.shape for array in arrays), []).append(i)
    return [same[k : k + TOGETHER] for same in by_shape.values() for k in range(0, len(same), TOGETHER)]


def _is_held_out(index: int) -> bool:
    return index % HELD_OUT == HELD_OUT - 1


def _seconds(run: Run, arrays: Arrays) -> float:
    start = time.perf_counter()
    run(*arrays)
    return time.perf_counter() - start


def _factor(result: Measurement) -> float:
    return WORTHWHILE[precision_of(result.engine)]


def _reason(taken: Measurement, results: Sequence[Measurement], batch: int) -> str:
    """One line: what was taken, how fast and how close, what it was compared with, what was refused."""
    parts = [
        f"{taken.engine}: {1000 * (taken.seconds or 0):.1f} ms a batch of {batch}, "
        f"cosine {taken.cosine:.5f} to float32"
    ]
    others = [r for r in results if r.seconds is not None and r is not taken]
    if others:
        parts.append("against " + ", ".join(f"{r.engine} {1000 * (r.seconds or 0):.1f} ms" for r in others))
    parts += [f"refused {r.engine}: {r.refused}" for r in results if r.refused]
    return "; ".join(parts)

"""The ways to run one network: OpenVINO in four precisions, and torch, which needs no export.

Each is reduced to a `Run`: arrays in, one float32 array out. Which of them to use is measured in `graph`.
"""

from __future__ import annotations

import contextlib
import copy
import logging
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sensorium.errors import SensoriumError
from sensorium.runtime import machine, signal_stack
from sensorium.runtime.device import Placement, threads

if TYPE_CHECKING:
    from torch import nn

Run = Callable[..., np.ndarray]

# Most precise first: among engines of nearly equal speed the earlier one is taken.
ENGINES = ("openvino-f32", "torch-f32", "openvino-bf16", "torch-bf16", "openvino-w8", "openvino-int8")
_SHORT = {"f32": "float32", "bf16": "bfloat16"}


class ExportError(SensoriumError):
    """A network that cannot be turned into a graph. The text is the reason in one line."""


def precision_of(engine: str) -> str:
    """``float32``, ``bfloat16``, ``float16``, ``w8`` (8 bits for weights alone) or ``int8``."""
    name = engine.rpartition("-")[2]
    return _SHORT.get(name, name)


def export_graph(module: nn.Module, example: Sequence[np.ndarray], dynamic: Sequence[Sequence[int]]) -> Any:
    """The network as an OpenVINO model in float32.

    ``example`` is one valid input, every dynamic axis longer than 1; ``dynamic[i]`` lists the axes of input i
    that vary between calls. ExportError: torch cannot trace it or OpenVINO lacks one of its operations.
    """
    import torch

    openvino = machine.openvino()
    tensors = tuple(torch.from_numpy(array) for array in example)
    shapes = [
        openvino.PartialShape([-1 if axis in axes else size for axis, size in enumerate(array.shape)])
        for array, axes in zip(example, dynamic, strict=True)
    ]
    try:
        with _root_logger_kept(), warnings.catch_warnings(), torch.inference_mode():
            warnings.simplefilter("ignore")
            # tracing takes a third of torch.export's time; what it would bake in, the golden vectors notice
            traced = torch.jit.trace(module, tensors, check_trace=False)  # type: ignore[no-untyped-call]
            return openvino.convert_model(traced, example_input=tensors, input=shapes)
    except (RuntimeError, ValueError, TypeError, AssertionError, NotImplementedError) as error:
        raise ExportError(f"export failed: {first_line(error)}") from error
    except openvino.frontend.OpConversionFailure as error:
        raise ExportError(f"OpenVINO cannot convert it: {first_line(error)}") from error


@contextlib.contextmanager
def _root_logger_kept() -> Iterator[None]:
    """The converter silences the program's root logger, and leaves it so when it fails."""
    root = logging.getLogger()
    level, filters, handlers = root.level, list(root.filters), list(root.handlers)
    try:
        yield
    finally:
        root.setLevel(level)
        root.filters, root.handlers = filters, handlers


def first_line(error: BaseException) -> str:
    """What an error says, cut to its first line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:300]


def compile_graph(model: Any, engine: str) -> np.ndarray:
    """The model compiled for this processor, as the bytes (uint8) that `open_graph` reads.

    This is what OpenVINO's own cache folder holds; kept by us, it is replaced in one step with its choice.
    """
    openvino = machine.openvino()
    core = openvino.Core()
    with signal_stack.kept():
        if precision_of(engine) == "float32":
            return _blob(core.compile_model(model, "CPU", _properties(engine)))
        # weights in 16 bits halve the file that every process reads; such engines compute in fewer anyway
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "graph.xml")
            openvino.save_model(model, path, compress_to_fp16=True)
            return _blob(core.compile_model(path, "CPU", _properties(engine)))


def _blob(compiled: Any) -> np.ndarray:
    return np.frombuffer(compiled.export_model().getbuffer(), np.uint8)


def open_graph(blob: np.ndarray, engine: str) -> Run:
    """A compiled graph from its bytes, writable memory which may be a mapped file and is used in place.

    SensoriumError: they are not a graph of this OpenVINO version.
    """
    openvino = machine.openvino()
    try:
        content = openvino.Tensor(blob, shared_memory=True)
        with signal_stack.kept():
            compiled = openvino.Core().import_model(content, "CPU", _properties(engine))
    except RuntimeError as error:
        raise SensoriumError(f"OpenVINO cannot read the compiled graph: {first_line(error)}") from error
    return _Compiled(compiled, blob)


class _Compiled:
    """A compiled graph as a `Run`: one request on all cores, so a second caller waits its turn."""

    def __init__(self, compiled: Any, blob: np.ndarray) -> None:
        self.request = compiled.create_infer_request()
        self.blob = blob  # the graph reads its weights in place
        self.turn = threading.Lock()

    def __call__(self, *arrays: np.ndarray) -> np.ndarray:
        with self.turn, signal_stack.kept():  # kernels for a new shape are compiled at its first call
            self.request.infer(list(arrays), share_inputs=True)
            return np.array(self.request.get_output_tensor(0).data, dtype=np.float32)


def _properties(engine: str) -> dict[str, Any]:
    # int8 and w8 graphs keep float32 between the quantised operations: bf16 gains nothing there, and costs
    # w8 the products in 8 bits that OpenVINO does by quantising activations as they come.
    hint = "bf16" if precision_of(engine) == "bfloat16" else "f32"
    return {
        "INFERENCE_PRECISION_HINT": hint,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": threads(),
        # decoding processes share these cores: the scheduler must be free to move our threads
        "ENABLE_CPU_PINNING": False,
    }


@contextlib.contextmanager
def few_torch_threads() -> Iterator[None]:
    """Half of the threads: torch's wait for each other after every operation, and on a busy machine, where
    one of them has no core, that makes all of them twenty times slower. For work whose speed is not measured.
    """
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(max(1, threads() // 2))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def torch_run(module: nn.Module, placement: Placement) -> Run:
    """The network in torch: weights in the placement's dtype on the CPU, autocast elsewhere."""
    import torch

    if placement.device == "cpu":
        torch.set_num_threads(threads())
        network = module if placement.dtype == "float32" else copy.deepcopy(module).to(placement.torch_dtype)
    else:
        network = copy.deepcopy(module).to(placement.torch_device)
    autocast = placement.device != "cpu" and placement.dtype != "float32"

    def run(*arrays: np.ndarray) -> np.ndarray:
        tensors = [torch.from_numpy(array).to(placement.torch_device) for array in arrays]
        if placement.device == "cpu":
            tensors = [t.to(placement.torch_dtype) if t.is_floating_point() else t for t in tensors]
        with (
            torch.inference_mode(),
            torch.autocast(placement.device.partition(":")[0], placement.torch_dtype, enabled=autocast),
        ):
            output: torch.Tensor = network(*tensors)
        return output.float().cpu().numpy()

    return run

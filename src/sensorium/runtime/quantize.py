"""Weights in 8 bits: with the activations (int8), whose scales are read off real samples, or alone (w8).

Weights become int8 per output channel, activations int8 per tensor with fixed scales, so one row's result
never depends on the rest of its batch. Transformers additionally get SmoothQuant (Xiao et al., 2023, section
4), which moves outlier activations into the weights before the scales are taken.

Weights alone need no samples, and no input can leave a scale that was fixed before. They pay where reading
the weights is the work: one sentence at a time.
"""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Sequence
from typing import Any

import numpy as np

from sensorium.runtime import machine, signal_stack

MIN_CALIBRATION = 16  # fewer real samples do not show the range of the activations


def is_transformer(model: Any) -> bool:
    """Whether an OpenVINO model contains attention, which decides the quantisation scheme."""
    kinds = {operation.get_type_name() for operation in model.get_ops()}
    return bool(kinds & {"ScaledDotProductAttention", "Softmax"})


def weights_only(model: Any) -> Any:
    """A copy of an OpenVINO model whose weights are int8, with a scale for each output channel."""
    machine.openvino()  # before NNCF, which would import it with its reporting
    import nncf

    logging.getLogger("nncf").setLevel(logging.ERROR)
    # the progress bar of the tool goes to standard output, which belongs to our callers
    with contextlib.redirect_stdout(io.StringIO()), signal_stack.kept():
        return nncf.compress_weights(model.clone(), mode=nncf.CompressWeightsMode.INT8_SYM)


def int8(model: Any, samples: Sequence[tuple[np.ndarray, ...]]) -> Any:
    """A quantised copy of an OpenVINO model; ``samples`` are its real inputs, one tuple a forward pass."""
    machine.openvino()  # before NNCF, which would import it with its reporting
    import nncf

    logging.getLogger("nncf").setLevel(logging.ERROR)
    names = [port.get_any_name() for port in model.inputs]
    dataset = nncf.Dataset([dict(zip(names, arrays, strict=True)) for arrays in samples])
    # the progress bars of the tool go to standard output, which belongs to our callers
    with contextlib.redirect_stdout(io.StringIO()), signal_stack.kept():
        return nncf.quantize(
            model,
            dataset,
            preset=nncf.QuantizationPreset.MIXED,
            model_type=nncf.ModelType.TRANSFORMER if is_transformer(model) else None,
            subset_size=len(samples),
        )

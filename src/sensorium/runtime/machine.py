"""What a compiled graph depends on besides the network: the processor and the runtime's version.

A graph that was measured on one machine says nothing about another, so its folder carries this identity.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import json
import sys
from importlib.metadata import version
from typing import Any

from sensorium.runtime.device import threads

FORMAT = 1  # raised when what is stored beside a graph changes


def openvino() -> Any:
    """The OpenVINO module, imported so that it sends nothing anywhere.

    Its converter and NNCF report each use to a server unless the user opts out; both do without when the
    package that reports is absent, so it is made absent in this process, before they look for it.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    return importlib.import_module("openvino")


def describe() -> dict[str, str]:
    """What the identity is made of: processor, number formats, cores and OpenVINO's version. No torch."""
    processor, formats = _processor()
    return {
        "format": str(FORMAT),
        "processor": processor,
        "formats": formats,
        "threads": str(threads()),
        "openvino": version("openvino"),
    }


def fingerprint() -> str:
    """16 hexadecimal digits: equal for machines that may share compiled graphs and measurements."""
    text = json.dumps(describe(), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@functools.cache
def _processor() -> tuple[str, str]:
    core = openvino().Core()
    formats = sorted(core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"))
    return str(core.get_property("CPU", "FULL_DEVICE_NAME")), " ".join(formats)

"""Sensorium: a local-first multimodal assistant, and the model library that it is made of.

``sensorium.load(name)`` opens a model; ``sensorium.photos.Library.open(folder)`` a photo library.
Nothing heavy is imported until it is used. The rooms and who may import whom: ``docs/design.md``.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sensorium import photos as photos
    from sensorium.skills.embed import load as load

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name == "load":
        return importlib.import_module("sensorium.skills.embed").load
    if name == "photos":
        return importlib.import_module("sensorium.photos")
    raise AttributeError(f"module 'sensorium' has no attribute {name!r}")

"""How do people use it? The photo library.

Scan folders, describe files, keep the library, search it. Originals are only ever read.

``Library.open(folder)`` is the way in; ``scan`` finds files, ``worker`` and ``pool`` read them in other
processes, ``describe`` says what a file tells about itself, ``indexing`` joins these into one run,
``schema`` and ``store`` keep the result, ``vectors`` and ``search`` answer, ``sheet`` draws the answer.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sensorium.photos.library import Library as Library
    from sensorium.photos.search import Hit as Hit

__all__ = ["Hit", "Library"]


def __getattr__(name: str) -> Any:
    if name == "Library":
        return importlib.import_module("sensorium.photos.library").Library
    if name == "Hit":
        return importlib.import_module("sensorium.photos.search").Hit
    raise AttributeError(f"module 'sensorium.photos' has no attribute {name!r}")

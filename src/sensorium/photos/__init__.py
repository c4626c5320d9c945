"""How do people use it? The photo library.

Scan folders, describe files, keep the library, understand a sentence, search. Originals are only ever read.

``library`` is the way in: ``Library.open(folder)``. Behind it, in the order in which data flows, one folder
each, whose own first lines say more:

- ``files`` finds files and what changed; ``describe`` reads what they say; ``places`` knows where that is
- ``intake`` is one run of indexing; ``encoder`` is what is asked of a model, and ``golden`` watches it
- ``database`` keeps everything
- ``query`` understands a sentence; ``search`` answers it; ``vectors`` compares; ``sheet`` draws the answer
- ``health`` checks, repairs, backs up and restores
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sensorium.photos.library import Library as Library
    from sensorium.photos.search.ranking import Hit as Hit

__all__ = ["Hit", "Library"]


def __getattr__(name: str) -> Any:
    if name == "Library":
        return importlib.import_module("sensorium.photos.library").Library
    if name == "Hit":
        return importlib.import_module("sensorium.photos.search.ranking").Hit
    raise AttributeError(f"module 'sensorium.photos' has no attribute {name!r}")

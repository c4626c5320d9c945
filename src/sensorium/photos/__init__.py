"""How do people use it? The photo library.

Scan folders, describe files, keep the library, understand a sentence, search. Originals are only ever read.

``library`` is the way in: ``Library.open(folder)``. Behind it, in the order in which data flows:

- finding files: ``scan``, ``stamps``, ``companions``, ``names``
- reading them in other processes: ``pool``, ``worker``, ``describe`` with ``facts``, ``moments``, ``xmp``,
  ``iptc``, ``sidecars``
- keeping them: ``indexing`` is one run, ``report`` tells of it; ``schema``, ``store``, ``records``,
  ``annotations``, ``migrations`` are the file; ``encoder`` is what is asked of a model, ``golden`` watches it
- understanding a sentence: ``query``, ``places``, ``words``
- answering: ``search`` and ``answers`` with ``filters``, ``calibration``, ``arithmetic``, ``paging``;
  ``sheet`` draws it
- comparing vectors: ``vectors`` and ``sieve``; ``matrix`` with ``cabinet`` and ``segments`` is the mapped
  copy, ``hnsw`` a shortcut above a million
- keeping it safe: ``upkeep``, ``checks``, ``mend``, ``salvage``, ``locks``
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

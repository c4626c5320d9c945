"""Embeddings on disk: a picture is looked at once and not once a program. Safe to delete at any time."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sensorium import settings

LIMIT = 512 * 2**20
"""Bytes that are kept; those used longest ago go first."""


def folder() -> Path:
    """Where they lie."""
    return settings.home() / "embeddings"


def read(key: str) -> NDArray[np.float32] | None:
    """What was kept under a key; None when there is nothing that can be read."""
    path = folder() / f"{key}.npy"
    try:
        content = np.load(path, allow_pickle=False)
        os.utime(path)
    except (OSError, ValueError, EOFError):  # absent, or cut short by a full disk
        return None
    return np.asarray(content, np.float32) if np.isfinite(content).all() else None


def write(key: str, content: NDArray[np.float32]) -> bool:
    """Keep an embedding in 16 bits; false where the folder cannot be written, which costs only time."""
    place = folder()
    try:
        place.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=place, suffix=".part", delete=False) as file:
            np.save(file, content.astype(np.float16))
        Path(file.name).replace(place / f"{key}.npy")
        _prune(place)
    except OSError:
        return False
    return True


def _prune(place: Path) -> None:
    files = sorted(((f.stat().st_mtime, f.stat().st_size, f) for f in place.glob("*.npy")), reverse=True)
    total = 0
    for _, size, file in files:
        total += size
        if total > LIMIT:
            file.unlink(missing_ok=True)

"""What the environment decides: where files are kept, whether the network may be used, what time it is.

Read at the time of the call, never at import, so that a test or a server can change them.
"""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path

from sensorium.errors import SensoriumError


def home() -> Path:
    """Folder for everything kept between runs: ``SENSORIUM_HOME``, else the user's cache folder."""
    configured = os.environ.get("SENSORIUM_HOME")
    if configured:
        return Path(configured).expanduser()
    from platformdirs import user_cache_path

    return user_cache_path("sensorium", appauthor=False)


def models_dir() -> Path:
    """Folder of pulled checkpoints: one sub-folder a model, named like its repository."""
    return home() / "models"


def graphs_dir() -> Path:
    """Folder of compiled graphs; safe to delete at any time."""
    return home() / "graphs"


def offline() -> bool:
    """Whether ``SENSORIUM_OFFLINE`` forbids every outside connection."""
    return os.environ.get("SENSORIUM_OFFLINE", "") not in ("", "0")


def now() -> datetime:
    """The present moment with its zone, or the one that ``SENSORIUM_NOW`` (ISO 8601, offset) fixes."""
    fixed = os.environ.get("SENSORIUM_NOW")
    if not fixed:
        return datetime.now().astimezone()
    try:
        moment = datetime.fromisoformat(fixed)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise SensoriumError(
            f"SENSORIUM_NOW is {fixed!r}; give an ISO 8601 time with offset, like 2026-05-01T12:00:00+08:00"
        )
    return moment

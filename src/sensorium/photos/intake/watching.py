"""The folders of a library under watch, and what becomes of a change: one run of the indexer.

The library is opened for each question and each run, so that one that was restored from a backup meanwhile
is the one that is asked, and a watch that waits holds neither a model nor a file.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

import sqlalchemy as sa

from sensorium.photos.database.schema import photos
from sensorium.photos.database.store import Store
from sensorium.photos.files.names import relative_to
from sensorium.photos.files.watch import Timing, Watch


def watch_library(folder: Path, *, timing: Timing | None = None, poll: bool = False) -> Watch:
    """A watch over all folders that a library looks after, those that it is given later included.

    Args:
        folder: The library's own folder.
        timing: How patient to be.
        poll: Look at all files every so often instead of relying on what the system tells.
    """

    def roots() -> list[str]:
        with contextlib.closing(Store(folder, create=False)) as store:
            return [root.path for root in store.roots()]

    def held(path: str) -> bool:
        with contextlib.closing(Store(folder, create=False)) as store:
            return holds(store, path)

    return Watch(roots, folder, held, timing=timing, poll=poll)


def holds(store: Store, path: str) -> bool:
    """Whether a library has photos, gone ones excepted, at or below an absolute path. Raises LibraryError."""
    for root in store.roots():
        below = relative_to(path, root.path)
        if below is None:
            continue
        statement = sa.select(photos.c.id).where(
            photos.c.root_id == root.id, photos.c.missing_since.is_(None)
        )
        if below:
            inside = (photos.c.path > below + "/") & (photos.c.path < below + "0")  # 0 comes after the slash
            statement = statement.where((photos.c.path == below) | inside)
        with store.reading() as connection:
            return connection.execute(statement.limit(1)).first() is not None
    return False

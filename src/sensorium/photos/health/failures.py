"""Files that could not be taken, one by one, and how they are tried again.

A file that failed is not tried again until it or the model changes. Whoever thinks that it deserves another
try, after a codec was installed or a disk was mended, has its record forgotten; the next indexing takes it
for new.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from sensorium.photos.database.records import parts
from sensorium.photos.database.schema import failures, roots
from sensorium.photos.database.store import Store


@dataclass(frozen=True, slots=True)
class FailedFile:
    """A file with the reason why it is no photo here. ``passing``: it is tried again by itself.

    ``path`` is below ``root``; ``failed_at`` is in microseconds since 1970.
    """

    id: int
    root_id: int
    root: str
    path: str
    reason: str
    passing: bool
    failed_at: int


def listed(store: Store, most: int = -1, beyond: int = 0) -> list[FailedFile]:
    """Failures of the model that answers, in the order of their paths. Raises LibraryError.

    Args:
        store: The library.
        most: How many; all when negative.
        beyond: How many to pass over.
    """
    active = store.active_pipeline()
    if active is None:
        return []
    statement = (
        sa.select(
            failures.c.id,
            failures.c.root_id,
            roots.c.path.label("root"),
            failures.c.path,
            failures.c.reason,
            failures.c.passing,
            failures.c.failed_at,
        )
        .join_from(failures, roots)
        .where(failures.c.pipeline_id == active.id)
        .order_by(roots.c.id, failures.c.path)
        .limit(most)
        .offset(beyond)
    )
    with store.reading() as connection:
        return [FailedFile(*row) for row in connection.execute(statement)]


def count(store: Store) -> int:
    """How many files failed under the model that answers. Raises LibraryError."""
    active = store.active_pipeline()
    if active is None:
        return 0
    statement = sa.select(sa.func.count()).select_from(failures).where(failures.c.pipeline_id == active.id)
    with store.reading() as connection:
        return int(connection.execute(statement).scalar_one())


def forget(store: Store, ids: Sequence[int] | None = None) -> int:
    """Forget records by id, all of them without ids, so that these files are tried again; how many.

    Raises LibraryError.
    """
    forgotten = 0
    with store.writing() as connection:
        if ids is None:
            return int(connection.execute(sa.delete(failures)).rowcount)
        for part in parts(list(ids)):
            forgotten += int(connection.execute(sa.delete(failures).where(failures.c.id.in_(part))).rowcount)
    return forgotten

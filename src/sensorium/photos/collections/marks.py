"""What people mark photos with: favourites, and photos that are to be shown nowhere but in their own list."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from sensorium.photos.database.records import parts
from sensorium.photos.database.schema import photos
from sensorium.photos.database.store import Store


class Marks:
    """The marks of a library's photos. Methods raise LibraryError when it cannot be written."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def favourite(self, ids: Sequence[int], wanted: bool = True) -> int:
        """Make photos favourites, or no longer; how many were not so before. Unknown ids do not matter."""
        return self._mark(photos.c.favourite, ids, wanted, vectors=False)

    def hide(self, ids: Sequence[int], wanted: bool = True) -> int:
        """Show photos in no list, answer or map but in "hidden", or everywhere again; as `favourite`."""
        return self._mark(photos.c.hidden, ids, wanted, vectors=True)

    def _mark(self, column: sa.Column[bool], ids: Sequence[int], wanted: bool, *, vectors: bool) -> int:
        changed = 0
        with self._store.writing(advance=True, vectors=vectors) as connection:
            for part in parts(list(ids)):
                statement = sa.update(photos).where(photos.c.id.in_(part), column.is_not(wanted))
                changed += connection.execute(statement.values({column: wanted})).rowcount
        return changed

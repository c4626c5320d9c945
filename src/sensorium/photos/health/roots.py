"""Letting go of a folder: the library no longer looks after it. Originals stay where and as they are."""

from __future__ import annotations

import sqlalchemy as sa

from sensorium.errors import LibraryError
from sensorium.photos.database.locks import closed
from sensorium.photos.database.records import parts
from sensorium.photos.database.schema import (
    companions,
    faces,
    failures,
    people,
    photo_people,
    photo_words,
    photos,
    roots,
)
from sensorium.photos.database.store import Store


def let_go(store: Store, root_id: int) -> int:
    """Forget a folder with its photos and all that is known about them; how many photos that were.

    Raises LibraryError when there is no such folder, or an indexer is at work.
    """
    with closed(store.folder), store.writing(advance=True) as connection:
        this = roots.c.id == root_id
        if connection.execute(sa.select(roots.c.id).where(this)).first() is None:
            raise LibraryError(f"the library looks after no folder with the number {root_id}")
        ids = list(connection.scalars(sa.select(photos.c.id).where(photos.c.root_id == root_id)))
        for part in parts(ids):
            connection.execute(sa.delete(photo_words).where(photo_words.c.rowid.in_(part)))
        for table in (companions, failures):
            connection.execute(sa.delete(table).where(table.c.root_id == root_id))
        connection.execute(sa.delete(photos).where(photos.c.root_id == root_id))
        connection.execute(sa.delete(roots).where(this))
        shown = sa.exists().where(photo_people.c.person_id == people.c.id)
        seen = sa.exists().where(faces.c.person_id == people.c.id)
        connection.execute(sa.delete(people).where(~shown, ~seen))
    return len(ids)

"""Which photos a share shows at this moment, and what a visitor is told of them.

An id means the photo that was shared only while the library is that of then: a photo that was first seen at
another moment, or an album that was made at another one, is another one (of another library that was
restored). Photos that were hidden or deleted since are not shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from sensorium.photos.database.records import parts
from sensorium.photos.database.schema import album_photos, albums, photos
from sensorium.photos.database.store import Store
from sensorium.photos.describe.moments import local_time
from sensorium.photos.search.filters import SHOWN
from sensorium.server.access.accounts import Share


@dataclass(frozen=True, slots=True)
class Shown:
    """A photo of a share. ``taken_at`` is the clock on the spot; its zone would tell of a place."""

    id: int
    kind: str
    width: int
    height: int
    taken_at: str | None
    duration: float | None


@dataclass(frozen=True, slots=True)
class SharedAlbum:
    """An album to be shared; ``created_at`` is in microseconds since 1970."""

    name: str
    created_at: int


def album(store: Store, album_id: int) -> SharedAlbum | None:
    """An album, if there is one."""
    statement = sa.select(albums.c.name, albums.c.created_at).where(albums.c.id == album_id)
    with store.reading() as connection:
        row = connection.execute(statement).one_or_none()
    return None if row is None else SharedAlbum(*row)


def first_seen(store: Store, ids: Sequence[int]) -> dict[int, int]:
    """Those of some photos that can be shared, with the moments at which they were first seen."""
    found: dict[int, int] = {}
    with store.reading() as connection:
        for part in parts(list(ids)):
            statement = sa.select(photos.c.id, photos.c.first_seen).where(SHOWN, photos.c.id.in_(part))
            found |= {row.id: row.first_seen for row in connection.execute(statement)}
    return found


def listed(store: Store, share: Share) -> list[Shown]:
    """The photos that a share shows, newest first, those without a date last."""
    columns = (
        photos.c.id,
        photos.c.kind,
        photos.c.width,
        photos.c.height,
        photos.c.taken_at,
        photos.c.taken_offset,
        photos.c.duration,
    )
    rows = sorted(_rows(store, share, *columns), key=_age)
    return [Shown(row.id, row.kind, row.width, row.height, _clock(row), row.duration) for row in rows]


def count(store: Store, share: Share) -> int:
    """How many photos a share shows."""
    return len(_rows(store, share, photos.c.id))


def shows(store: Store, share: Share, photo_id: int) -> bool:
    """Whether a share shows a photo."""
    if share.album_id is None and photo_id not in share.photos:
        return False
    return bool(_rows(store, share, photos.c.id, only=photo_id))


def _rows(
    store: Store, share: Share, *columns: sa.ColumnElement[Any], only: int | None = None
) -> list[sa.Row[Any]]:
    statement = sa.select(photos.c.first_seen, *columns).where(SHOWN)
    if only is not None:
        statement = statement.where(photos.c.id == only)
    with store.reading() as connection:
        if share.album_id is not None:
            statement = statement.join(album_photos, album_photos.c.photo_id == photos.c.id)
            statement = statement.join(albums, albums.c.id == album_photos.c.album_id)
            this = (albums.c.id == share.album_id, albums.c.created_at == share.album_created_at)
            return list(connection.execute(statement.where(*this)))
        ids = [only] if only is not None else list(share.photos)
        rows = [
            row
            for part in parts(ids)
            for row in connection.execute(statement.where(photos.c.id.in_(part)).add_columns(photos.c.id))
        ]
    return [row for row in rows if share.photos.get(row.id) == row.first_seen]


def _age(row: Any) -> tuple[bool, int, int]:
    wall = None if row.taken_at is None else row.taken_at + (row.taken_offset or 0) * 60_000_000
    return wall is None, -(wall or 0), row.id


def _clock(row: Any) -> str | None:
    taken = local_time(row.taken_at, row.taken_offset)
    return None if taken is None else taken.replace(tzinfo=None).isoformat(timespec="seconds")

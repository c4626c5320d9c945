"""Albums: photos that a person put together under a name. A photo may be in any number of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.engine import Connection

from sensorium import settings
from sensorium.errors import SensoriumError
from sensorium.photos.database.records import parts
from sensorium.photos.database.schema import album_photos, albums, photos
from sensorium.photos.database.store import Store
from sensorium.photos.describe.facts import text
from sensorium.photos.files.names import printable
from sensorium.photos.search.filters import SHOWN

LONGEST_NAME = 200


@dataclass(frozen=True, slots=True)
class Album:
    """An album. ``count`` counts the photos that it shows; ``cover`` is one of them, None when it shows none.

    ``created_at`` is in microseconds since 1970, UTC.
    """

    id: int
    name: str
    count: int
    cover: int | None
    created_at: int


class UnknownAlbumError(SensoriumError):
    """There is no such album (any more)."""


class Albums:
    """The albums of a library. Methods raise LibraryError when it cannot be read or written."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def list(self) -> list[Album]:
        """All albums, the newest first. Their covers are those that were chosen, else their newest photos."""
        shown = sa.select(album_photos.c.album_id, photos.c.id, photos.c.taken_at)
        shown = shown.join_from(album_photos, photos).where(SHOWN)
        ordered = shown.order_by(photos.c.taken_at.desc().nulls_last(), photos.c.id.desc())
        with self._store.reading() as connection:
            rows = connection.execute(sa.select(albums).order_by(albums.c.id.desc())).all()
            members: dict[int, list[int]] = {}
            for album, photo, _ in connection.execute(ordered):
                members.setdefault(album, []).append(photo)
        return [_album(row, members.get(row.id, [])) for row in rows]

    def create(self, name: str) -> int:
        """Make an album; its id. Raises SensoriumError for no name, or one that another album has."""
        now = int(settings.now().timestamp() * 1_000_000)
        with self._store.writing(advance=True, vectors=False) as connection:
            row = {"name": _free(connection, name), "created_at": now}
            made = connection.execute(sa.insert(albums).values(row)).inserted_primary_key
        assert made is not None
        return int(made[0])

    def rename(self, album_id: int, name: str) -> None:
        """Call an album something else. Raises UnknownAlbumError, and SensoriumError as `create` does."""
        with self._store.writing(advance=True, vectors=False) as connection:
            _expect(connection, album_id)
            this = sa.update(albums).where(albums.c.id == album_id)
            connection.execute(this.values(name=_free(connection, name, but=album_id)))

    def delete(self, album_id: int) -> None:
        """Forget an album; its photos stay. Raises UnknownAlbumError."""
        with self._store.writing(advance=True, vectors=False) as connection:
            _expect(connection, album_id)
            connection.execute(sa.delete(albums).where(albums.c.id == album_id))

    def add(self, album_id: int, ids: Sequence[int]) -> int:
        """Put photos into an album; how many were not in it. Unknown ids do not matter. UnknownAlbumError."""
        now = int(settings.now().timestamp() * 1_000_000)
        added = 0
        with self._store.writing(advance=True, vectors=False) as connection:
            _expect(connection, album_id)
            for part in parts(list(ids)):
                known = sa.select(sa.literal(album_id), photos.c.id, sa.literal(now)).where(
                    photos.c.id.in_(part)
                )
                row = insert(album_photos).from_select(["album_id", "photo_id", "added_at"], known)
                added += connection.execute(row.on_conflict_do_nothing()).rowcount
        return added

    def remove(self, album_id: int, ids: Sequence[int]) -> int:
        """Take photos out of an album; how many were in it. Raises UnknownAlbumError."""
        removed = 0
        with self._store.writing(advance=True, vectors=False) as connection:
            _expect(connection, album_id)
            for part in parts(list(ids)):
                here = (album_photos.c.album_id == album_id) & album_photos.c.photo_id.in_(part)
                removed += connection.execute(sa.delete(album_photos).where(here)).rowcount
        return removed

    def set_cover(self, album_id: int, photo_id: int | None) -> None:
        """Let a photo of an album be its cover, or, with None, whichever is its newest.

        Raises UnknownAlbumError; SensoriumError when the photo is not in the album.
        """
        with self._store.writing(advance=True, vectors=False) as connection:
            _expect(connection, album_id)
            here = (album_photos.c.album_id == album_id) & (album_photos.c.photo_id == photo_id)
            if photo_id is not None and not connection.scalar(sa.select(sa.exists().where(here))):
                raise SensoriumError(f"photo {photo_id} is not in that album: add it first")
            connection.execute(sa.update(albums).where(albums.c.id == album_id).values(cover=photo_id))


def _album(row: sa.Row[int, str, int, int | None], members: Sequence[int]) -> Album:
    id, name, created_at, cover = row
    chosen = cover if cover in members else next(iter(members), None)
    return Album(id, name, len(members), chosen, created_at)


def _expect(connection: Connection, album_id: int) -> None:
    if not connection.scalar(sa.select(sa.exists().where(albums.c.id == album_id))):
        raise UnknownAlbumError("there is no such album: it may have been deleted meanwhile")


def _free(connection: Connection, name: str, *, but: int | None = None) -> str:
    """A name as it is kept, when no other album has it."""
    cleaned = text(name, LONGEST_NAME)
    if cleaned is None:
        raise SensoriumError("an album needs a name")
    for other in connection.execute(sa.select(albums.c.id, albums.c.name)):
        if other.id != but and other.name.casefold() == cleaned.casefold():
            raise SensoriumError(
                f"there is an album called {printable(other.name)} already: take another name"
            )
    return cleaned

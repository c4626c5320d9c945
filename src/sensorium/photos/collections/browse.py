"""What a page shows of photos: a grid of thousands, cards of some, everything about one, points of a map.

The grid of a whole library is columns of numbers, not objects: 100,000 photos are ordered in a fraction of
a second. Their order is that of the clock on the spot, newest first, by whose days the page draws headings.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, NamedTuple

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from sqlalchemy.engine import Connection

from sensorium.photos.collections.scopes import condition
from sensorium.photos.database.records import parts
from sensorium.photos.database.schema import (
    album_photos,
    albums,
    companions,
    faces,
    frames,
    library,
    people,
    photo_people,
    photos,
    pipelines,
    roots,
    texts,
)
from sensorium.photos.database.store import Store
from sensorium.photos.describe.moments import local_time
from sensorium.photos.files.names import join, parent
from sensorium.photos.files.scan import reason_offline
from sensorium.photos.places import Located
from sensorium.photos.search.filters import WALL_CLOCK, camera_name

UNDATED = -(2**31)
"""The day of a photo without a date."""

_NEVER = -(2**62)
_DAY = 86_400_000_000  # microseconds
_ROW = np.dtype([("id", "<i8"), ("wall", "<i8"), ("ratio", "<f4"), ("content", "S3")])
_PLACED = np.dtype([("id", "<i8"), ("latitude", "<f8"), ("longitude", "<f8")])


@dataclass(frozen=True, slots=True)
class Month:
    """A stretch of a grid: "2021-05" ("" without a date), where it starts, and how many photos it has."""

    month: str
    start: int
    count: int


@dataclass(frozen=True, slots=True, eq=False)
class Grid:
    """All photos of a scope, newest first, those without a date last; equal ones by rising id.

    Attributes:
        generation: Of the library that it shows.
        ids: int64 [n].
        ratios: float32 [n], width to height of the upright picture.
        days: int32 [n], days since 1970 by the clock on the spot; `UNDATED` without one.
        contents: uint8 [n, 3], the first bytes of each photo's content hash: another one after an edit.
        months: Stretches of one month each, in order.
    """

    generation: int
    ids: NDArray[np.int64]
    ratios: NDArray[np.float32]
    days: NDArray[np.int32]
    contents: NDArray[np.uint8]
    months: tuple[Month, ...]


@dataclass(frozen=True, slots=True)
class Card:
    """What a list says of a photo.

    ``width`` and ``height`` are upright; ``taken_at`` is the clock on the spot, with its zone where the photo
    tells it; ``place`` can be labelled in both languages by ``places.label``; ``duration`` (seconds) is a
    video's; ``offline`` says that its folder cannot be seen now; ``bytes`` is the size of its file.
    """

    id: int
    name: str
    kind: str
    width: int
    height: int
    taken_at: datetime | None
    place: Located | None
    latitude: float | None
    longitude: float | None
    favourite: bool
    hidden: bool
    offline: bool
    duration: float | None
    sha256: bytes
    bytes: int


class Named(NamedTuple):
    """A person or an album."""

    id: int
    name: str | None


class Face(NamedTuple):
    """A face: ``box`` is left, top, right, bottom, as shares of the upright picture."""

    id: int
    box: tuple[float, float, float, float]
    person: Named | None
    confirmed: bool


class Belonging(NamedTuple):
    """A file that belongs to a photo: its absolute path, and what it is: sidecar, live, raw, jpeg."""

    path: str
    kind: str


@dataclass(frozen=True, slots=True)
class Detail(Card):
    """Everything about one photo.

    ``path`` is absolute and ``folder`` is the one that it lies in, below ``root``. ``boxes`` are those of the
    text in it: {"text", "score", "box"}. ``moments`` are the seconds of a video's frames that a search knows.
    """

    path: str
    root: str
    folder: str
    format: str
    camera: str | None
    lens: str | None
    altitude: float | None
    taken_source: str | None
    title: str | None
    caption: str | None
    keywords: tuple[str, ...]
    rating: int | None
    people: tuple[Named, ...]
    faces: tuple[Face, ...]
    text: str | None
    boxes: tuple[Any, ...]
    albums: tuple[Named, ...]
    companions: tuple[Belonging, ...]
    moments: tuple[float, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Points:
    """Photos that tell where they were taken.

    Attributes:
        generation: Of the library that they show.
        ids: int64 [n], rising.
        latitudes: float64 [n], degrees north.
        longitudes: float64 [n], degrees east.
    """

    generation: int
    ids: NDArray[np.int64]
    latitudes: NDArray[np.float64]
    longitudes: NDArray[np.float64]


class Bounds(NamedTuple):
    """A part of the map in degrees. Where ``west`` is greater than ``east`` it holds the date line."""

    south: float
    west: float
    north: float
    east: float


class Browse:
    """The photos of a library, to be looked at. Methods raise LibraryError when it cannot be read."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def grid(self, scope: str = "all") -> Grid:
        """All photos of a scope (``scopes``). Raises SensoriumError when there is no such scope."""
        columns = (
            photos.c.id,
            sa.func.coalesce(WALL_CLOCK, _NEVER),
            1.0 * photos.c.width / sa.func.max(photos.c.height, 1),
            sa.func.substr(photos.c.sha256, 1, 3),
        )
        statement = sa.select(*columns).where(condition(scope))
        with self._store.reading() as connection:
            generation = _generation(connection)
            rows = np.fromiter(_tuples(connection, statement), _ROW)
        rows = rows[np.lexsort((rows["id"], -rows["wall"]))]
        days = np.where(rows["wall"] == _NEVER, UNDATED, rows["wall"] // _DAY).astype(np.int32)
        contents = np.ascontiguousarray(rows["content"]).view(np.uint8).reshape(len(rows), 3)
        return Grid(generation, rows["id"].copy(), rows["ratio"].copy(), days, contents, _months(days))

    def photos(self, ids: Sequence[int]) -> list[Card]:
        """Cards of photos in the order of ``ids``, hidden ones as well; those that are gone are left out."""
        with self._store.reading() as connection:
            rows = {row.id: row for part in parts(list(ids)) for row in _rows(connection, part)}
        offline = _Offline()
        return [_card(rows[photo], offline) for photo in dict.fromkeys(ids) if photo in rows]

    def photo(self, photo_id: int) -> Detail | None:
        """Everything about a photo; None when it is gone or there is none."""
        with self._store.reading() as connection:
            row = next(iter(_rows(connection, [photo_id])), None)
            if row is None:
                return None
            return Detail(
                **_shallow(_card(row, _Offline())),
                path=join(row.root, row.path),
                root=row.root,
                folder=parent(row.path),
                format=row.format,
                camera=camera_name(row.camera_make, row.camera_model) or None,
                lens=row.lens,
                altitude=row.altitude,
                taken_source=row.taken_source,
                title=row.title,
                caption=row.caption,
                keywords=tuple(json.loads(row.keywords or "[]")),
                rating=row.rating,
                people=_people(connection, photo_id),
                faces=_faces(connection, photo_id),
                **_text(connection, photo_id),
                albums=_albums(connection, photo_id),
                companions=_companions(connection, photo_id),
                moments=_moments(connection, photo_id),
            )

    def points(self, scope: str = "all", bounds: Bounds | None = None) -> Points:
        """Where the photos of a scope were taken, by rising id; only those within ``bounds`` when given."""
        there = [condition(scope), photos.c.latitude.is_not(None), photos.c.longitude.is_not(None)]
        if bounds is not None:
            south, west, north, east = bounds
            there.append(photos.c.latitude.between(south, north))
            beyond = (photos.c.longitude >= west, photos.c.longitude <= east)
            there.append(sa.and_(*beyond) if west <= east else sa.or_(*beyond))
        statement = sa.select(photos.c.id, photos.c.latitude, photos.c.longitude).where(*there)
        with self._store.reading() as connection:
            generation = _generation(connection)
            rows = np.fromiter(_tuples(connection, statement), _PLACED)
        rows = rows[np.argsort(rows["id"])]
        return Points(generation, rows["id"].copy(), rows["latitude"].copy(), rows["longitude"].copy())


def cards_of(rows: Iterable[Any]) -> list[Card]:
    """Cards of rows as ``Store.photos`` gives them: what a search found need not be read again."""
    offline = _Offline()
    return [_card(row, offline) for row in rows]


def _tuples(connection: Connection, statement: sa.Select[Any]) -> Any:
    """The rows as SQLite gives them: SQLAlchemy's own rows would take half of the time of a large grid."""
    compiled = statement.compile(connection.engine, compile_kwargs={"render_postcompile": True})
    names = compiled.positiontup or ()
    values = [compiled.params[name] for name in names]
    raw = connection.connection.driver_connection
    assert raw is not None
    return raw.execute(str(compiled), values)


def _generation(connection: Connection) -> int:
    return int(connection.execute(sa.select(library.c.generation)).scalar_one())


def _months(days: NDArray[np.int32]) -> tuple[Month, ...]:
    """Stretches of equal months in days that are in order, those without a date last."""
    if not len(days):
        return ()
    months = days.astype("datetime64[D]").astype("datetime64[M]")
    starts = np.flatnonzero(np.concatenate(([True], months[1:] != months[:-1])))
    counts = np.diff(np.append(starts, len(days)))
    names = ["" if days[start] == UNDATED else str(months[start]) for start in starts]
    return tuple(
        Month(name, start, count)
        for name, start, count in zip(names, starts.tolist(), counts.tolist(), strict=True)
    )


def _rows(connection: Connection, ids: Sequence[int]) -> Sequence[Any]:
    statement = sa.select(photos, roots.c.path.label("root")).join_from(photos, roots)
    return connection.execute(statement.where(photos.c.id.in_(ids), photos.c.missing_since.is_(None))).all()


class _Offline(dict[str, bool]):
    """Whether a root cannot be seen, asked once each."""

    def __missing__(self, root: str) -> bool:
        self[root] = reason_offline(root) is not None
        return self[root]


def _card(row: Any, offline: _Offline) -> Card:
    return Card(
        id=row.id,
        name=row.path.rpartition("/")[2],
        kind=row.kind,
        width=row.width,
        height=row.height,
        taken_at=local_time(row.taken_at, row.taken_offset),
        place=None if row.country is None else Located(row.country, row.region, row.city),
        latitude=row.latitude,
        longitude=row.longitude,
        favourite=row.favourite,
        hidden=row.hidden,
        offline=offline[row.root],
        duration=row.duration,
        sha256=row.sha256,
        bytes=row.size,
    )


def _shallow(card: Card) -> dict[str, Any]:
    return {field.name: getattr(card, field.name) for field in fields(card)}


def _people(connection: Connection, photo_id: int) -> tuple[Named, ...]:
    statement = sa.select(people.c.id, people.c.name).join_from(photo_people, people)
    statement = statement.where(photo_people.c.photo_id == photo_id, ~people.c.hidden)
    return tuple(Named(*row) for row in connection.execute(statement.order_by(people.c.name, people.c.id)))


def _faces(connection: Connection, photo_id: int) -> tuple[Face, ...]:
    statement = sa.select(faces, people.c.name).outerjoin_from(
        faces, people, people.c.id == faces.c.person_id
    )
    rows = connection.execute(
        statement.where(faces.c.photo_id == photo_id).order_by(faces.c.left, faces.c.id)
    )
    return tuple(
        Face(
            row.id,
            (row.left, row.top, row.right, row.bottom),
            None if row.person_id is None else Named(row.person_id, row.name),
            row.confirmed,
        )
        for row in rows
    )


def _text(connection: Connection, photo_id: int) -> dict[str, Any]:
    statement = sa.select(texts.c.text, texts.c.boxes).where(texts.c.photo_id == photo_id)
    row = connection.execute(statement).one_or_none()
    return (
        {"text": None, "boxes": ()}
        if row is None
        else {"text": row.text, "boxes": tuple(json.loads(row.boxes))}
    )


def _albums(connection: Connection, photo_id: int) -> tuple[Named, ...]:
    statement = sa.select(albums.c.id, albums.c.name).join_from(album_photos, albums)
    statement = statement.where(album_photos.c.photo_id == photo_id)
    return tuple(Named(*row) for row in connection.execute(statement.order_by(albums.c.name, albums.c.id)))


def _companions(connection: Connection, photo_id: int) -> tuple[Belonging, ...]:
    columns = (companions.c.path, companions.c.kind, roots.c.path.label("root"))
    statement = sa.select(*columns).join_from(companions, roots).where(companions.c.photo_id == photo_id)
    rows = connection.execute(statement.order_by(companions.c.path))
    return tuple(Belonging(join(row.root, row.path), row.kind) for row in rows)


def _moments(connection: Connection, photo_id: int) -> tuple[float, ...]:
    statement = sa.select(frames.c.at).join_from(frames, pipelines).where(pipelines.c.active)
    return tuple(connection.scalars(statement.where(frames.c.photo_id == photo_id).order_by(frames.c.at)))

"""Scopes: the names by which lists of photos are asked for, and what a photo must be to belong to one.

``all``, ``favourites``, ``hidden``, ``videos``, ``album:ID``, ``person:ID``, ``kind:KIND``.
"""

from __future__ import annotations

import sqlalchemy as sa

from sensorium.errors import SensoriumError
from sensorium.photos.database.schema import album_photos, faces, photo_people, photos
from sensorium.photos.files.names import printable
from sensorium.photos.search.filters import SHOWN

KINDS = ("photo", "screenshot", "animation", "panorama", "raw", "video")

_MOST = 2**63 - 1  # what SQLite counts up to


def condition(scope: str) -> sa.ColumnElement[bool]:
    """Whether a photo belongs to a scope. Raises SensoriumError for a name that cannot be meant."""
    name, colon, argument = scope.partition(":")
    if not colon:
        if name == "all":
            return SHOWN
        if name == "favourites":
            return sa.and_(SHOWN, photos.c.favourite)
        if name == "hidden":
            return sa.and_(photos.c.missing_since.is_(None), photos.c.hidden)
        if name == "videos":
            return sa.and_(SHOWN, photos.c.kind == "video")
    elif name == "kind" and argument in KINDS:
        return sa.and_(SHOWN, photos.c.kind == argument)
    elif name in ("album", "person") and argument.isascii() and argument.isdecimal():
        number = int(argument[:20])
        if number <= _MOST:
            return sa.and_(SHOWN, photos.c.id.in_(_members(name, number)))
    raise SensoriumError(
        f"there is no list called {printable(scope[:80])}: all, favourites, hidden, videos, album:ID, "
        "person:ID and kind:KIND are"
    )


def _members(name: str, number: int) -> sa.Select[int] | sa.CompoundSelect[int]:
    if name == "album":
        return sa.select(album_photos.c.photo_id).where(album_photos.c.album_id == number)
    named = sa.select(photo_people.c.photo_id).where(photo_people.c.person_id == number)
    return named.union(sa.select(faces.c.photo_id).where(faces.c.person_id == number))

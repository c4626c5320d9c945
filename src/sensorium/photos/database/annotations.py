"""What the library itself adds to a photo: the names of its place, the people on it, the words that find it.

All of it comes from the photo's row, so that a better table of places costs no look at any file.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.engine import Connection

from sensorium.photos.database.schema import (
    faces,
    people,
    photo_people,
    photo_words,
    photos,
    roots,
    texts,
)
from sensorium.photos.files.names import parent

_SET_PLACE = (
    sa.update(photos)
    .where(photos.c.id == sa.bindparam("photo"))
    .values(
        country=sa.bindparam("country"),
        region=sa.bindparam("region"),
        city=sa.bindparam("city"),
        places_version=sa.bindparam("places_version"),
    )
)


def annotate(connection: Connection, ids: Sequence[int]) -> None:
    """Name the places of some photos (at most a few hundred) and write the words that they are found by."""
    from sensorium.photos.places import PLACES_VERSION, label, locate

    if not ids:
        return
    names = _people_of(connection, ids)
    places: list[dict[str, Any]] = []
    words: list[dict[str, Any]] = []
    statement = sa.select(
        photos.c.id,
        photos.c.path,
        photos.c.title,
        photos.c.caption,
        photos.c.keywords,
        photos.c.latitude,
        photos.c.longitude,
        roots.c.path.label("root"),
        texts.c.text.label("seen"),
    ).join_from(photos, roots)
    statement = statement.outerjoin(texts, texts.c.photo_id == photos.c.id)
    for row in connection.execute(statement.where(photos.c.id.in_(ids))):
        known = row.latitude is not None and row.longitude is not None
        located = locate(row.latitude, row.longitude) if known else None
        place = {"photo": row.id, "country": None, "region": None, "city": None}
        spoken = ""
        if located is not None:
            place |= {"country": located.country, "region": located.region, "city": located.city}
            spoken = " ".join(dict.fromkeys((label(located, "en"), label(located, "zh"))))
        places.append(place | {"places_version": PLACES_VERSION})
        words.append(_words(row, spoken, names.get(row.id, [])))
    connection.execute(_SET_PLACE, places)
    connection.execute(insert(photo_words).prefix_with("OR REPLACE"), words)


def outdated(connection: Connection, limit: int) -> list[int]:
    """Photos whose places an older table named, or which moved with their folder since; ids."""
    from sensorium.photos.places import PLACES_VERSION

    statement = sa.select(photos.c.id).where(photos.c.places_version < PLACES_VERSION).limit(limit)
    return list(connection.scalars(statement))


def set_people(connection: Connection, wanted: Mapping[int, Sequence[str]]) -> None:
    """Let the files of photos name these people and no others.

    Whom faces or a person's hand have put on a photo stays on it. Who is on none any more is dropped.
    """
    ids = list(wanted)
    before = _people_of(connection, ids, source="file")
    changed = {
        photo: names for photo, names in wanted.items() if sorted(names) != sorted(before.get(photo, []))
    }
    if not changed:
        return
    named = photo_people.c.photo_id.in_(list(changed)) & (photo_people.c.source == "file")
    seen = sa.exists().where(
        faces.c.photo_id == photo_people.c.photo_id, faces.c.person_id == photo_people.c.person_id
    )
    connection.execute(sa.update(photo_people).where(named, seen).values(source="face"))
    connection.execute(sa.delete(photo_people).where(named))
    pairs = [{"photo": photo, "name": name} for photo, names in changed.items() for name in names]
    if pairs:
        connection.execute(
            insert(people).on_conflict_do_nothing(), [{"name": pair["name"]} for pair in pairs]
        )
        person = sa.select(people.c.id).where(people.c.name == sa.bindparam("name")).scalar_subquery()
        statement = insert(photo_people).values(photo_id=sa.bindparam("photo"), person_id=person)
        connection.execute(statement.on_conflict_do_nothing(), pairs)
    shown = sa.exists().where(photo_people.c.person_id == people.c.id)
    recognised = sa.exists().where(faces.c.person_id == people.c.id)
    connection.execute(sa.delete(people).where(~shown, ~recognised))


def _people_of(connection: Connection, ids: Sequence[int], source: str | None = None) -> dict[int, list[str]]:
    """Names by photo; only those that one source gives, if any is asked for."""
    statement = sa.select(photo_people.c.photo_id, people.c.name).join_from(photo_people, people)
    statement = statement.where(people.c.name.is_not(None))
    if source is not None:
        statement = statement.where(photo_people.c.source == source)
    found: dict[int, list[str]] = {}
    for photo, name in connection.execute(statement.where(photo_people.c.photo_id.in_(ids))):
        found.setdefault(photo, []).append(name)
    return found


def _words(row: Any, places: str, names: Sequence[str]) -> dict[str, Any]:
    from sensorium.photos.search.words import indexed, indexed_lines

    said = (row.title, row.caption, *json.loads(row.keywords or "[]"))
    folders = (os.path.basename(row.root), *parent(row.path).split("/"))  # noqa: PTH119
    return {
        "rowid": row.id,
        "name": indexed(_text(row.path.rpartition("/")[2].rpartition(".")[0])),
        "folders": indexed(_text(" ".join(folders))),
        "words": indexed(" ".join(text for text in said if text)),
        "places": indexed(places),
        "people": indexed(" ".join(names)),
        "text": indexed_lines(row.seen or ""),
    }


def _text(name: str) -> str:
    """A file name as text that a database can hold: bytes that are not UTF-8 become question marks."""
    return os.fsencode(name).decode("utf-8", errors="replace")

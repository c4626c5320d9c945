"""One sorting of a library's faces into people: read, sort (``clustering``), write what changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from sqlalchemy.engine import Connection

from sensorium.photos.database.schema import faces, not_faces, people
from sensorium.photos.database.store import Store
from sensorium.photos.people import clustering, ledger
from sensorium.photos.people.clustering import NOBODY, Faces


@dataclass(frozen=True, slots=True)
class Sorted:
    """What a sorting did: faces that have a person now, people that are new, faces that changed hands."""

    faces: int
    new_people: int
    moved: int


def sort(store: Store) -> Sorted:
    """Sort the faces of each model by themselves. Raises LibraryError.

    Sorting takes seconds when there are many faces, and others write meanwhile: when a hand or a pass changed
    a face in between, what was sorted is thrown away and sorted again.
    """
    while True:
        with store.reading() as connection:
            state = _state(connection)
            models = connection.scalars(sa.select(faces.c.model).distinct().order_by(faces.c.model)).all()
            samples = [_read(connection, model) for model in models]
        wanted = [clustering.sort_faces(sample) for _, sample in samples]
        changed = any(
            (sample.people != owners).any() for (_, sample), owners in zip(samples, wanted, strict=True)
        )
        if not changed:
            return Sorted(_with_person(wanted), 0, 0)
        with store.writing(advance=True, vectors=False) as connection:
            if _state(connection) != state:
                continue
            made, moved = 0, set[int]()
            for (ids, sample), owners in zip(samples, wanted, strict=True):
                made += _write(connection, ids, sample, owners)
                moved.update(sample.photos[owners != sample.people].tolist())
            ledger.settle(connection, moved)
            ledger.dissolve(connection)
        return Sorted(_with_person(wanted), made, len(moved))


def _state(connection: Connection) -> tuple[list[Any], ...]:
    """All that a sorting depends on, but for what faces look like, which belongs to their id."""
    whose = sa.select(faces.c.id, faces.c.person_id, faces.c.confirmed, faces.c.model).order_by(faces.c.id)
    refused = sa.select(not_faces).order_by(not_faces.c.face_id, not_faces.c.person_id)
    known = sa.select(people.c.id, people.c.name, people.c.kind, people.c.hidden, people.c.cover_face)
    return tuple(list(connection.execute(rows)) for rows in (whose, refused, known.order_by(people.c.id)))


def _with_person(owners: Sequence[NDArray[np.int64]]) -> int:
    return sum(int((part != NOBODY).sum()) for part in owners)


def _write(connection: Connection, ids: NDArray[np.int64], sample: Faces, owners: NDArray[np.int64]) -> int:
    """Give the faces of one model to their people; the number of new ones."""
    made = _make_people(connection, int(owners.min(initial=NOBODY)))
    rows = [
        {"face": int(ids[row]), "person": made.get(owner, None if owner == NOBODY else owner)}
        for row, owner in enumerate(owners.tolist())
        if owner != sample.people[row]
    ]
    if rows:
        this = sa.update(faces).where(faces.c.id == sa.bindparam("face"))
        connection.execute(this.values(person_id=sa.bindparam("person")), rows)
    return len(made)


def _make_people(connection: Connection, lowest: int) -> dict[int, int]:
    """Ids of new people without a name, by the numbers below `NOBODY` that stand for them."""
    made = {}
    for number in range(NOBODY - 1, lowest - 1, -1):
        row = connection.execute(sa.insert(people).values(name=None))
        made[number] = int(row.lastrowid)
    return made


def _read(connection: Connection, model: str) -> tuple[NDArray[np.int64], Faces]:
    """Ids of all faces of a model, and what is to be sorted."""
    statement = sa.select(
        faces.c.id,
        faces.c.photo_id,
        faces.c.embedding,
        faces.c.person_id,
        faces.c.quality,
        faces.c.confirmed,
    )
    rows = connection.execute(statement.where(faces.c.model == model).order_by(faces.c.id)).all()
    vectors = np.frombuffer(b"".join(row.embedding for row in rows), "<f2").reshape(len(rows), -1)
    owners = np.array([NOBODY if row.person_id is None else row.person_id for row in rows], np.int64)
    named = sa.select(people.c.id).where(
        people.c.name.is_not(None)
        | people.c.hidden
        | (people.c.kind == "pet")
        | people.c.cover_face.is_not(None)
        | sa.exists().where(faces.c.person_id == people.c.id, faces.c.confirmed)
    )
    settled = np.isin(owners, np.fromiter(connection.scalars(named), np.int64))
    places = {row.id: place for place, row in enumerate(rows)}
    refused: dict[int, list[int]] = {}
    for face, person in connection.execute(sa.select(not_faces.c.face_id, not_faces.c.person_id)):
        if face in places:
            refused.setdefault(places[face], []).append(person)
    sample = Faces(
        vectors.astype(np.float32),
        np.array([row.photo_id for row in rows], np.int64),
        owners,
        np.array([row.quality for row in rows], np.float32),
        settled,
        refused,
    )
    return np.array([row.id for row in rows], np.int64), sample

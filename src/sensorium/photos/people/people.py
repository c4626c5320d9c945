"""The people and pets of a library: listed, named, merged, corrected.

Everything that a hand says lasts: names, merges, "this is she" and "this is not he" survive new photos, a new
sorting, and better networks. Each change is one transaction and reaches the photos' words at once, so that
the next search for the name is right.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.engine import Connection

from sensorium.errors import SensoriumError
from sensorium.photos.database.records import parts
from sensorium.photos.database.schema import faces, not_faces, people, photo_people, photos
from sensorium.photos.database.store import Store
from sensorium.photos.people import ledger

if TYPE_CHECKING:
    from sensorium.photos.people.sorting import Sorted

Kind = Literal["person", "pet"]

LONGEST_NAME = 100


@dataclass(frozen=True, slots=True)
class Face:
    """A face in a photo. ``box``: left, top, right, bottom, as shares 0 to 1 of the upright picture.

    ``confirmed`` says that a hand, not likeness, gave it to ``person_id``.
    """

    id: int
    photo_id: int
    box: tuple[float, float, float, float]
    score: float
    quality: float
    person_id: int | None
    confirmed: bool


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody on photos. Without a ``name``: faces that look like one person whom nobody named yet.

    ``photos`` and ``faces`` count those that are there and not hidden; ``cover`` is the face that stands for
    them, absent for people whom only files or hands put on photos.
    """

    id: int
    name: str | None
    kind: Kind
    hidden: bool
    photos: int
    faces: int
    cover: Face | None


class People:
    """The people of one library. Methods raise SensoriumError for what cannot be meant, LibraryError."""

    def __init__(self, store: Store) -> None:
        self._store = store

    # Looking

    def everybody(self, *, hidden: bool = False) -> list[Person]:
        """Everybody: named people first, then the unnamed, those on most photos first within each.

        ``hidden`` lists those who were hidden instead.
        """
        with self._store.reading() as connection:
            found = _people(connection, people.c.hidden == hidden)
        return sorted(found, key=lambda person: (person.name is None, -person.photos, person.id))

    def person(self, person_id: int) -> Person:
        """One person by id."""
        with self._store.reading() as connection:
            found = _people(connection, people.c.id == person_id)
        if not found:
            raise SensoriumError(f"there is no person {person_id} in this library")
        return found[0]

    def called(self, name: str) -> Person | None:
        """The person of a name, however it is capitalised."""
        with self._store.reading() as connection:
            found = _called(connection, _clean(name))
            return None if found is None else _people(connection, people.c.id == found)[0]

    def faces_of(self, person_id: int, *, limit: int = 200, offset: int = 0) -> list[Face]:
        """A person's faces, the best looks first."""
        self.person(person_id)
        return self._faces(faces.c.person_id == person_id, limit, offset)

    def faces(self, photo_id: int) -> list[Face]:
        """All faces in a photo, from left to right."""
        return sorted(self._faces(faces.c.photo_id == photo_id, 1000, 0), key=lambda face: face.box)

    def face(self, face_id: int) -> Face | None:
        """One face by id; None when there is none."""
        return next(iter(self._faces(faces.c.id == face_id, 1, 0)), None)

    def strangers(self, *, limit: int = 200, offset: int = 0) -> list[Face]:
        """Faces that nobody has, the best looks first."""
        return self._faces(faces.c.person_id.is_(None), limit, offset)

    def _faces(self, condition: sa.ColumnElement[bool], limit: int, offset: int) -> list[Face]:
        statement = sa.select(faces).join(photos, photos.c.id == faces.c.photo_id)
        statement = statement.where(condition, photos.c.missing_since.is_(None))
        statement = statement.order_by(faces.c.quality.desc(), faces.c.id).limit(limit).offset(offset)
        with self._store.reading() as connection:
            return [_face(row) for row in connection.execute(statement)]

    # Saying who they are

    def name(self, person_id: int, name: str | None, kind: Kind | None = None) -> Person:
        """Name a person; None takes the name away. Gives the person who has the name now.

        When somebody has the name already (in files, or by hand) both become that one.
        """
        wanted = None if name is None else _clean(name)
        if kind is not None and kind not in get_args(Kind):
            raise SensoriumError(f"a person is one of {', '.join(get_args(Kind))}, not {kind!r}")
        with self._writing() as connection:
            _there(connection, person_id)
            holder = None if wanted is None else _called(connection, wanted)
            affected = ledger.photos_of(connection, [person_id])
            if holder is not None and holder != person_id:
                ledger.move(connection, holder, [person_id])
                person_id = holder
            values: dict[str, Any] = {"name": wanted} | ({} if kind is None else {"kind": kind})
            connection.execute(sa.update(people).where(people.c.id == person_id).values(values))
            ledger.settle(connection, affected | ledger.photos_of(connection, [person_id]))
        return self.person(person_id)

    def change(
        self,
        person_id: int,
        *,
        kind: Kind | None = None,
        hidden: bool | None = None,
        cover_face: int | None = None,
    ) -> Person:
        """Say that somebody is a pet, hide them from the list, choose the face that stands for them."""
        values: dict[str, Any] = {}
        if kind is not None:
            if kind not in get_args(Kind):
                raise SensoriumError(f"a person is one of {', '.join(get_args(Kind))}, not {kind!r}")
            values["kind"] = kind
        if hidden is not None:
            values["hidden"] = hidden
        with self._writing() as connection:
            _there(connection, person_id)
            if cover_face is not None:
                if _face_row(connection, cover_face).person_id != person_id:
                    raise SensoriumError(f"face {cover_face} is not one of person {person_id}")
                values["cover_face"] = cover_face
            if values:
                connection.execute(sa.update(people).where(people.c.id == person_id).values(values))
        return self.person(person_id)

    def merge(self, into: int, others: Sequence[int]) -> Person:
        """Make several people one, who keeps its name, else takes the first name that one of them has."""
        gone = [other for other in dict.fromkeys(others) if other != into]
        with self._writing() as connection:
            for person in (into, *gone):
                _there(connection, person)
            names = dict(
                connection.execute(
                    sa.select(people.c.id, people.c.name).where(people.c.id.in_((into, *gone)))
                ).all()
            )
            affected = ledger.photos_of(connection, [into, *gone])
            if gone:
                ledger.move(connection, into, gone)
                name = next((names[person] for person in (into, *gone) if names[person]), None)
                connection.execute(sa.update(people).where(people.c.id == into).values(name=name))
            ledger.settle(connection, affected)
        return self.person(into)

    def assign(self, face_id: int, person: int | str) -> Person:
        """Say whose a face is, by the person's id or name; a name that nobody has makes a new person."""
        with self._writing() as connection:
            row = _face_row(connection, face_id)
            person_id = _meant(connection, person, "person")
            here = (not_faces.c.face_id == face_id) & (not_faces.c.person_id == person_id)
            connection.execute(sa.delete(not_faces).where(here))
            # Likeness may have given another face of the photo to that person; a hand knows better.
            rivals = (faces.c.photo_id == row.photo_id) & (faces.c.person_id == person_id)
            rivals = rivals & (faces.c.id != face_id) & ~faces.c.confirmed
            connection.execute(sa.update(faces).where(rivals).values(person_id=None))
            this = sa.update(faces).where(faces.c.id == face_id)
            connection.execute(this.values(person_id=person_id, confirmed=True))
            _without_cover(connection, face_id, person_id)
            ledger.dissolve(connection)
            ledger.settle(connection, [row.photo_id])
        return self.person(person_id)

    def not_this_person(self, face_id: int, person_id: int) -> None:
        """Say that a face is not that person; no sorting gives it to them again."""
        with self._writing() as connection:
            row = _face_row(connection, face_id)
            _there(connection, person_id)
            refusal = insert(not_faces).values(face_id=face_id, person_id=person_id)
            connection.execute(refusal.on_conflict_do_nothing())
            if row.person_id == person_id:
                this = sa.update(faces).where(faces.c.id == face_id)
                connection.execute(this.values(person_id=None, confirmed=False))
                _without_cover(connection, face_id, None)
            ledger.settle(connection, [row.photo_id])

    def tag(self, photo_ids: Collection[int], name: str, kind: Kind = "person") -> Person:
        """Put somebody on photos by hand: a pet, or a person whose face cannot be seen.

        ``kind`` is that of a person whom the name makes; one who is there already stays what they are.
        """
        with self._writing() as connection:
            person_id = _meant(connection, name, kind)
            known = set()
            for part in parts(sorted(set(photo_ids))):
                known.update(connection.scalars(sa.select(photos.c.id).where(photos.c.id.in_(part))))
            missing = set(photo_ids) - known
            if missing or not known:
                raise SensoriumError(f"there is no photo {min(missing)}" if missing else "no photo was named")
            rows = [{"photo_id": photo, "person_id": person_id, "source": "hand"} for photo in sorted(known)]
            statement = insert(photo_people)
            where = photo_people.c.source == "face"
            statement = statement.on_conflict_do_update(
                index_elements=["photo_id", "person_id"], set_={"source": "hand"}, where=where
            )
            connection.execute(statement, rows)
            ledger.settle(connection, known)
        return self.person(person_id)

    def untag(self, photo_ids: Collection[int], person_id: int) -> None:
        """Take somebody off photos again that a hand put there; what files and faces say stays."""
        with self._writing() as connection:
            for part in parts(sorted(set(photo_ids))):
                here = photo_people.c.photo_id.in_(part) & (photo_people.c.person_id == person_id)
                connection.execute(sa.delete(photo_people).where(here, photo_people.c.source == "hand"))
            ledger.settle(connection, photo_ids)
            _drop_unused(connection, person_id)

    def cluster(self) -> Sorted:
        """Sort all faces into people by likeness, within what hands have said; see ``clustering``."""
        from sensorium.photos.people import sorting

        return sorting.sort(self._store)

    def _writing(self) -> Any:
        return self._store.writing(advance=True, vectors=False)


def _people(connection: Connection, condition: sa.ColumnElement[bool]) -> list[Person]:
    there = photos.c.missing_since.is_(None) & ~photos.c.hidden
    shown = sa.select(photo_people.c.person_id, sa.func.count().label("photos"))
    shown = shown.join(photos, photos.c.id == photo_people.c.photo_id).where(there)
    seen = sa.select(faces.c.person_id, sa.func.count().label("faces"))
    seen = seen.join(photos, photos.c.id == faces.c.photo_id).where(there)
    counts = shown.group_by(photo_people.c.person_id).subquery()
    looks = seen.where(faces.c.person_id.is_not(None)).group_by(faces.c.person_id).subquery()
    statement = (
        sa.select(people, counts.c.photos, looks.c.faces)
        .outerjoin(counts, counts.c.person_id == people.c.id)
        .outerjoin(looks, looks.c.person_id == people.c.id)
    )
    rows = connection.execute(statement.where(condition)).all()
    covers = _covers(connection, [row.id for row in rows])
    return [
        Person(row.id, row.name, row.kind, row.hidden, row.photos or 0, row.faces or 0, covers.get(row.id))
        for row in rows
    ]


def _covers(connection: Connection, ids: Sequence[int]) -> dict[int, Face]:
    """The face that stands for each person: the chosen one, else the best look that is there."""
    there = photos.c.missing_since.is_(None) & ~photos.c.hidden
    chosen = sa.case((people.c.cover_face == faces.c.id, 1), else_=0)
    order = [chosen.desc(), faces.c.quality.desc(), faces.c.id]
    place = sa.func.row_number().over(partition_by=faces.c.person_id, order_by=order).label("place")
    found: dict[int, Face] = {}
    for part in parts(list(ids)):
        ranked = (
            sa.select(faces.c.id, place)
            .join(people, people.c.id == faces.c.person_id)
            .join(photos, photos.c.id == faces.c.photo_id)
            .where(faces.c.person_id.in_(part), there)
            .subquery()
        )
        best = sa.select(faces).join(ranked, ranked.c.id == faces.c.id).where(ranked.c.place == 1)
        found.update((row.person_id, _face(row)) for row in connection.execute(best))
    return found


def _face(row: Any) -> Face:
    box = (row.left, row.top, row.right, row.bottom)
    return Face(row.id, row.photo_id, box, row.score, row.quality, row.person_id, bool(row.confirmed))


def _face_row(connection: Connection, face_id: int) -> Any:
    row = connection.execute(sa.select(faces).where(faces.c.id == face_id)).first()
    if row is None:
        raise SensoriumError(f"there is no face {face_id} in this library")
    return row


def _there(connection: Connection, person_id: int) -> None:
    if connection.execute(sa.select(people.c.id).where(people.c.id == person_id)).first() is None:
        raise SensoriumError(f"there is no person {person_id} in this library")


def _clean(name: str) -> str:
    """A name as it is kept: on one line, without what cannot be seen."""
    sound = name.encode("utf-8", "ignore").decode()
    visible = "".join(character if character.isprintable() else " " for character in sound)
    cleaned = " ".join(visible.split())
    if not cleaned:
        raise SensoriumError("a person's name needs at least one letter")
    if len(cleaned) > LONGEST_NAME:
        raise SensoriumError(f"a person's name has at most {LONGEST_NAME} letters, this one {len(cleaned)}")
    return cleaned


def _called(connection: Connection, name: str) -> int | None:
    """Id of the person of a name; the very same spelling counts before another."""
    rows = connection.execute(sa.select(people.c.id, people.c.name).where(people.c.name.is_not(None))).all()
    exact = [row.id for row in rows if row.name == name]
    folded = [row.id for row in rows if row.name.casefold() == name.casefold()]
    return next(iter([*exact, *folded]), None)


def _meant(connection: Connection, person: int | str, kind: Kind) -> int:
    """Id of a person by id or name; a new one when nobody has the name."""
    if isinstance(person, int):
        _there(connection, person)
        return person
    if kind not in get_args(Kind):
        raise SensoriumError(f"a person is one of {', '.join(get_args(Kind))}, not {kind!r}")
    name = _clean(person)
    found = _called(connection, name)
    if found is not None:
        return found
    made = connection.execute(sa.insert(people).values(name=name, kind=kind))
    return int(made.lastrowid)


def _without_cover(connection: Connection, face_id: int, but: int | None) -> None:
    """A face that left a person stands for that person no more."""
    stands = people.c.cover_face == face_id
    if but is not None:
        stands = stands & (people.c.id != but)
    connection.execute(sa.update(people).where(stands).values(cover_face=None))


def _drop_unused(connection: Connection, person_id: int) -> None:
    """Forget somebody who is on no photo and has no face any more."""
    carried = sa.exists().where(faces.c.person_id == people.c.id)
    shown = sa.exists().where(photo_people.c.person_id == people.c.id)
    connection.execute(sa.delete(people).where(people.c.id == person_id, ~carried, ~shown))

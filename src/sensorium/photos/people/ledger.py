"""What follows from whose face is whose: who is on which photo, and the words by which it is found.

Who is on a photo is told by its file (XMP and the like), by faces, and by hand; the three live together. A
row of ``photo_people`` has one source: what the file or a hand says stays when faces say the same.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.engine import Connection

from sensorium.photos.database.annotations import annotate
from sensorium.photos.database.records import parts
from sensorium.photos.database.schema import faces, not_faces, people, photo_people


def settle(connection: Connection, photos: Collection[int]) -> None:
    """Bring the people of photos, and the words that find them, in step with their faces.

    Inside a write transaction that raises the generation.
    """
    for part in parts(sorted(photos)):
        here = photo_people.c.photo_id.in_(part) & (photo_people.c.source == "face")
        shown = sa.exists().where(
            faces.c.photo_id == photo_people.c.photo_id, faces.c.person_id == photo_people.c.person_id
        )
        connection.execute(sa.delete(photo_people).where(here, ~shown))
        seen = sa.select(faces.c.photo_id, faces.c.person_id, sa.literal("face")).distinct()
        seen = seen.where(faces.c.photo_id.in_(part), faces.c.person_id.is_not(None))
        columns = ["photo_id", "person_id", "source"]
        connection.execute(insert(photo_people).from_select(columns, seen).on_conflict_do_nothing())
        annotate(connection, part)


def photos_of(connection: Connection, person_ids: Sequence[int]) -> set[int]:
    """Photos that any of these people is on, by whatever source."""
    found: set[int] = set()
    for part in parts(list(person_ids)):
        shown = sa.select(photo_people.c.photo_id).where(photo_people.c.person_id.in_(part))
        seen = sa.select(faces.c.photo_id).where(faces.c.person_id.in_(part))
        found.update(connection.scalars(shown))
        found.update(connection.scalars(seen))
    return found


def dissolve(connection: Connection) -> None:
    """Drop people whom nobody named and who have no face and no photo any more."""
    carried = sa.exists().where(faces.c.person_id == people.c.id)
    shown = sa.exists().where(photo_people.c.person_id == people.c.id)
    connection.execute(sa.delete(people).where(people.c.name.is_(None), ~carried, ~shown))


def move(connection: Connection, into: int, others: Sequence[int]) -> None:
    """Give all that others have to one person: faces, photos, and what they are not. The others go."""
    moved = faces.c.person_id.in_(others)
    # A hand says that they are the same: no later sorting parts them again.
    connection.execute(sa.update(faces).where(moved).values(person_id=into, confirmed=True))
    shown = sa.select(photo_people.c.photo_id, sa.literal(into), photo_people.c.source)
    shown = shown.where(photo_people.c.person_id.in_(others))
    columns = ["photo_id", "person_id", "source"]
    statement = insert(photo_people).from_select(columns, shown)
    # Of two sources of one photo the one that outlives a new look at its faces is kept.
    lasting = sa.case(
        (statement.excluded.source == "face", photo_people.c.source), else_=statement.excluded.source
    )
    connection.execute(
        statement.on_conflict_do_update(index_elements=["photo_id", "person_id"], set_={"source": lasting})
    )
    theirs = sa.select(faces.c.id).where(faces.c.person_id == into)
    refused = sa.select(not_faces.c.face_id, sa.literal(into)).distinct()
    refused = refused.where(not_faces.c.person_id.in_(others), not_faces.c.face_id.not_in(theirs))
    connection.execute(
        insert(not_faces).from_select(["face_id", "person_id"], refused).on_conflict_do_nothing()
    )
    connection.execute(
        sa.delete(not_faces).where(not_faces.c.person_id == into, not_faces.c.face_id.in_(theirs))
    )
    connection.execute(sa.delete(people).where(people.c.id.in_(others)))

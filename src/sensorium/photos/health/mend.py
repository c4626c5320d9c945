"""Mending rows of a library whose file is sound. Each step is one transaction, and tells what it mended."""

from __future__ import annotations

from collections.abc import Iterator

import sqlalchemy as sa

from sensorium import settings
from sensorium.photos import golden
from sensorium.photos.database.annotations import annotate
from sensorium.photos.database.schema import (
    described,
    faces,
    frames,
    library,
    metadata,
    photo_words,
    pipelines,
    regions,
    vectors,
)
from sensorium.photos.database.store import Store
from sensorium.photos.health import checks

_PART = 300


def is_wrong(store: Store) -> bool:
    """Whether there is anything to mend."""
    with store.reading() as connection:
        findings = [*checks.check_rows(connection), *checks.check_models(connection)]
        for pipeline in store.pipelines():
            findings += checks.check_vectors(connection, pipeline)
        findings += checks.check_faces(connection)
    with store.writing() as connection:
        astray = checks.words_astray(connection)
    return bool(findings or astray.missing or astray.foreign or astray.broken)


def mend(store: Store) -> Iterator[str]:
    """Mend all kinds of faults; yields one line for each that there was."""
    yield from delete_orphans(store)
    yield from _drop_bad_vectors(store)
    yield from _drop_bad_faces(store)
    yield from _mend_models(store)
    yield from _mend_words(store)
    raise_generation(store)


def delete_orphans(store: Store) -> Iterator[str]:
    """Delete rows that belong to rows that are not there, and whatever belongs to those.

    A row that only points to one (a face to a person, an album to its cover) stays and points nowhere.
    """
    done: dict[tuple[str, str], int] = {}
    with store.writing(advance=True) as connection:
        while orphans := connection.exec_driver_sql("PRAGMA foreign_key_check").all():
            # A row stands here once for each row that it misses.
            for table, number, column in dict.fromkeys((row[0], row[1], _pointer(*row)) for row in orphans):
                what = f"UPDATE {table} SET {column} = NULL" if column else f"DELETE FROM {table}"  # noqa: S608
                connection.exec_driver_sql(f"{what} WHERE rowid = ?", (number,))
                done[table, column] = done.get((table, column), 0) + 1
    for (table, column), count in done.items():
        if column:
            yield f"emptied {column} of {count} rows of {table}, which pointed to nothing"
        else:
            yield f"deleted {count} rows of {table} that belonged to nothing"


def _pointer(table: str, _: int, parent: str, __: int) -> str:
    """The column by which rows of a table only point to a parent; empty when they belong to it."""
    keys = metadata.tables[table].foreign_keys if table in metadata.tables else ()
    pointing = (key for key in keys if key.ondelete == "SET NULL" and key.column.table.name == parent)
    return next((key.parent.name for key in pointing), "")


def raise_generation(store: Store) -> None:
    """Leave behind every generation that a copy of this file, or of one before it, may be stamped with."""
    moment = int(settings.now().timestamp() * 1_000_000)
    with store.writing() as connection:
        numbers = (library.c.generation, library.c.vectors_generation)
        values = {number.name: sa.func.max(number + 1, moment) for number in numbers}
        connection.execute(sa.update(library).values(values))


def _drop_bad_vectors(store: Store) -> Iterator[str]:
    for pipeline in store.pipelines():
        with store.reading() as connection:
            bad = list(checks.bad_vectors(connection, pipeline))
            spoilt = list(checks.bad_vectors(connection, pipeline, frames))
            parts = list(checks.bad_regions(connection, pipeline))
        # A video whose frames are bad loses all of them and its vector: both are made together.
        for _, ids in bad + spoilt:
            with store.writing(advance=True) as connection:
                for start in range(0, len(ids), _PART):
                    for table in (vectors, frames):
                        these = table.c.photo_id.in_(ids[start : start + _PART])
                        connection.execute(sa.delete(table).where(table.c.pipeline_id == pipeline.id, these))
        for reason, ids in parts:
            with store.writing(advance=True) as connection:
                for start in range(0, len(ids), _PART):
                    these = regions.c.photo_id.in_(ids[start : start + _PART])
                    mine = regions.c.pipeline_id == pipeline.id
                    connection.execute(sa.delete(regions).where(mine, these))
            yield f"dropped the parts of {len(ids)} photos that {reason}: `sensorium describe` makes new ones"
        for reason, ids in bad:
            yield f"dropped {len(ids)} vectors of {pipeline.model} that {reason}: index again for new ones"
        for reason, ids in spoilt:
            yield f"dropped {len(ids)} videos' frames of {pipeline.model} that {reason}: index again"


def _drop_bad_faces(store: Store) -> Iterator[str]:
    """Faces without a vector that can be used; the pass that finds faces looks at their photos again."""
    with store.reading() as connection:
        bad = list(checks.bad_faces(connection))
    for reason, ids in bad:
        with store.writing(advance=True, vectors=False) as connection:
            for start in range(0, len(ids), _PART):
                these = faces.c.id.in_(ids[start : start + _PART])
                owners = sa.select(faces.c.photo_id).where(these)
                name = described.c["pass"]
                again = (name == "faces") & described.c.photo_id.in_(owners)
                connection.execute(sa.delete(described).where(again))
                connection.execute(sa.delete(faces).where(these))
        yield f"dropped {len(ids)} faces whose vectors {reason}: `sensorium describe` finds them again"


def _mend_models(store: Store) -> Iterator[str]:
    rows = store.pipelines()
    for row in rows:
        if row.golden is not None and not golden.readable(row.golden):
            with store.writing() as connection:
                this = sa.update(pipelines).where(pipelines.c.id == row.id)
                connection.execute(this.values(golden=None))
            yield f"forgot the damaged golden values of {row.model}: the next indexing measures them"
    if rows and not any(row.active for row in rows):
        with store.reading() as connection:
            counted = sa.select(vectors.c.pipeline_id).group_by(vectors.c.pipeline_id)
            most = connection.scalars(counted.order_by(sa.func.count().desc()).limit(1)).first()
        chosen = next((row for row in rows if row.id == most), rows[-1])
        store.activate(chosen.id)
        yield f"let {chosen.model} answer, which has the most vectors"


def _mend_words(store: Store) -> Iterator[str]:
    with store.writing(advance=True, vectors=False) as connection:
        astray = checks.words_astray(connection)
        if astray.broken:
            connection.exec_driver_sql("INSERT INTO photo_words (photo_words) VALUES ('rebuild')")
            astray = checks.words_astray(connection)
            yield "made the index of words anew"
        for photo in astray.foreign:
            connection.execute(sa.delete(photo_words).where(photo_words.c.rowid == photo))
        for start in range(0, len(astray.missing), _PART):
            annotate(connection, astray.missing[start : start + _PART])
    if astray.foreign:
        yield f"deleted the words of {len(astray.foreign)} photos that are none"
    if astray.missing:
        yield f"wrote the words of {len(astray.missing)} photos again"

"""Whether a library is sound: its file, its rows among one another, its copies, and the originals.

Nothing is written, except that a library of an older Sensorium is brought up to date by opening it.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from sqlalchemy.engine import Connection

from sensorium.errors import LibraryError
from sensorium.photos import golden
from sensorium.photos.database import schema
from sensorium.photos.database.locks import alone
from sensorium.photos.database.schema import (
    faces,
    frames,
    photo_words,
    photos,
    pipelines,
    regions,
    vectors,
)
from sensorium.photos.database.store import Pipeline, Root, Store
from sensorium.photos.files.names import join, printable
from sensorium.photos.files.scan import reason_offline
from sensorium.photos.health.salvage import open_to_read
from sensorium.photos.vectors import cabinet, segments
from sensorium.photos.vectors.regions import packed_size, stacked, unpacked

Kind = Literal["file", "rows", "vectors", "models", "words", "copies", "originals"]

REPAIR = "run `sensorium library repair`"
INDEX = "run `sensorium index`"
_UNIT = 0.01  # how far from 1 a vector's length may be; rounding to float16 moves it by 0.0005 at most
_CIRCUMSTANCES = {  # in which a file cannot be read although nothing is wrong with it
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_READONLY,
}
_MESSAGES = 20  # of SQLite about its file, of which the first is shown
_PAGE = 1000
_VECTORS = 8192


@dataclass(frozen=True, slots=True)
class Finding:
    """One line about something that is not as it should be, and what to do.

    ``wrong`` is false for what happens to sound libraries, too: originals edited since the last scan, a
    folder that is offline, a copy that will be made anew.
    """

    kind: Kind
    text: str
    remedy: str
    wrong: bool = True


class Hashing(NamedTuple):
    """How many originals have been read again."""

    done: int
    total: int


def check(folder: Path, *, content: bool = False) -> Iterator[Finding | Hashing]:
    """Look for everything that is wrong with a library.

    Args:
        folder: The library.
        content: Read every original again and compare it with what was indexed.

    Raises:
        LibraryError: There is no library, or a newer Sensorium wrote it.
    """
    damage = check_file(folder)
    yield from damage
    if damage:
        return  # whatever else a damaged file says means little
    with closing(Store(folder, create=False)) as store:
        with store.reading() as connection:
            yield from check_rows(connection)
            for pipeline in store.pipelines():
                yield from check_vectors(connection, pipeline)
            yield from check_faces(connection)
            yield from check_models(connection)
        yield from check_words(store)
        yield from check_copies(store)
        yield from check_originals(store, content=content)


def check_file(folder: Path) -> list[Finding]:
    """What SQLite finds wrong with the file of a library. Errors are those of ``check``."""
    file = folder / schema.FILE_NAME
    if not file.is_file():
        aside = max(folder.glob(f"*-*/{schema.FILE_NAME}"), default=None)
        if aside is not None:  # the power failed at the very moment in which a new file took its place
            raise LibraryError(
                f"no photo library in {printable(folder)}, but an earlier one in {printable(aside.parent)}: "
                "move its files back"
            )
        raise LibraryError(
            f"no photo library in {printable(folder)}: name another with --library, or make one with "
            "`sensorium index FOLDER` or `sensorium library restore FILE`"
        )
    try:
        with closing(open_to_read(file)) as connection:
            refuse_newer(connection, file)
            messages = faults(connection)
    except sqlite3.DatabaseError as error:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF in _CIRCUMSTANCES:
            raise LibraryError(f"cannot read the photo library {printable(file)}: {error}") from error
        messages = [str(error)]
    if not messages:
        return []
    more = f" (and {len(messages) - 1} more faults)" if len(messages) > 1 else ""
    return [Finding("file", f"{printable(file)} is damaged: {messages[0]}{more}", REPAIR)]


def refuse_newer(connection: sqlite3.Connection, file: Path) -> str | None:
    """The revision of a library's tables; None: it has none, or it cannot be read.

    Raises:
        LibraryError: A newer Sensorium wrote it.
    """
    try:
        row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    except sqlite3.DatabaseError:
        return None
    if row is not None and row[0] not in schema.REVISIONS:
        raise LibraryError(
            f"{printable(file)} was written by a newer Sensorium (schema {row[0]}, this one knows "
            f"{schema.HEAD}): update Sensorium"
        )
    return None if row is None else str(row[0])


def faults(connection: sqlite3.Connection) -> list[str]:
    """What SQLite itself finds wrong with a file, one line each.

    Raises:
        sqlite3.DatabaseError: It cannot be read at all.
    """
    if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'photos'").fetchone():
        return ["it holds no photo library"]
    told = connection.execute(f"PRAGMA integrity_check({_MESSAGES})")
    lines = [line for (lines,) in told for line in str(lines).splitlines()]
    return [line for line in lines if line != "ok" and not line.startswith("***")]


def check_rows(connection: Connection) -> Iterator[Finding]:
    """Rows that refer to rows that are not there."""
    lost: dict[tuple[str, str], int] = {}
    for table, _, parent, _ in connection.exec_driver_sql("PRAGMA foreign_key_check"):
        lost[table, parent] = lost.get((table, parent), 0) + 1
    for (table, parent), count in lost.items():
        yield Finding("rows", f"{count} rows of {table} belong to no row of {parent}", REPAIR)


def bad_vectors(
    connection: Connection, pipeline: Pipeline, table: sa.Table = vectors
) -> Iterator[tuple[str, list[int]]]:
    """Reasons and the photos (ids) whose vectors of a pipeline cannot be used for them.

    ``table`` is ``vectors``, or ``frames``: a video stands here once, however many of its frames are bad.
    """
    statement = sa.select(table.c.photo_id, table.c.vector).where(table.c.pipeline_id == pipeline.id)
    yield from _bad(connection, statement, pipeline.dim)


def bad_regions(connection: Connection, pipeline: Pipeline) -> Iterator[tuple[str, list[int]]]:
    """Reasons and the photos (ids) of whose parts a pipeline's vectors cannot be used."""
    statement = sa.select(regions.c.photo_id, regions.c.vectors)
    mine = statement.where(regions.c.pipeline_id == pipeline.id)
    yield from _bad(connection, mine, pipeline.dim, packed_size(pipeline.dim), _lengths_of_parts)


def bad_faces(connection: Connection) -> Iterator[tuple[str, list[int]]]:
    """Reasons and the faces (ids) whose vectors cannot be used: they are compared within their model."""
    size = sa.func.length(faces.c.embedding)
    counted = sa.select(faces.c.model, size).group_by(faces.c.model, size).order_by(sa.func.count().desc())
    sizes: dict[str, int] = {}
    for model, usual in connection.execute(counted):
        sizes.setdefault(model, usual)
    for model, usual in sizes.items():
        of_model = sa.select(faces.c.id, faces.c.embedding).where(faces.c.model == model)
        yield from _bad(connection, of_model, usual // 2)


def _lengths(rows: Sequence[bytes], dim: int) -> NDArray[np.float32]:
    """Lengths [n, 1] of the vectors of rows."""
    matrix = np.frombuffer(b"".join(rows), "<f2").reshape(-1, max(dim, 1))
    lengths: NDArray[np.float32] = np.linalg.norm(matrix.astype(np.float32), axis=1, keepdims=True)
    return lengths


def _lengths_of_parts(rows: Sequence[bytes], dim: int) -> NDArray[np.float32]:
    """Lengths [n, 9] of the vectors of rows."""
    factors, numbers = unpacked(stacked(rows, dim), dim)
    lengths: NDArray[np.float32] = np.linalg.norm(numbers, axis=2) * factors
    return lengths


def _bad(
    connection: Connection,
    statement: sa.Select[int, bytes],
    dim: int,
    size: int | None = None,
    lengths: Callable[[Sequence[bytes], int], NDArray[np.float32]] = _lengths,
) -> Iterator[tuple[str, list[int]]]:
    """Reasons and numbers of the rows whose vectors are not of ``dim`` numbers and of unit length.

    ``lengths`` measures rows of ``size`` bytes; by default each is one vector of float16.
    """
    size = 2 * dim if size is None else size
    rows = connection.execution_options(yield_per=_VECTORS).execute(statement)
    bad: dict[str, dict[int, None]] = {}
    for part in rows.partitions():
        fitting = [row for row in part if len(row[1]) == size]
        misfits = [row[0] for row in part if len(row[1]) != size]
        for row, measured in zip(fitting, lengths([row[1] for row in fitting], dim), strict=True):
            if not np.isfinite(measured).all():
                bad.setdefault("hold numbers that are none", {})[row[0]] = None
            elif np.abs(measured - 1).max() > _UNIT:
                bad.setdefault("are not of unit length", {})[row[0]] = None
        if misfits:
            bad.setdefault(f"do not have {dim} numbers", {}).update(dict.fromkeys(sorted(misfits)))
    yield from ((reason, list(ids)) for reason, ids in bad.items())


def check_vectors(connection: Connection, pipeline: Pipeline) -> Iterator[Finding]:
    """Vectors that cannot be what a pipeline made."""
    for reason, ids in bad_vectors(connection, pipeline):
        text = f"{len(ids)} vectors of {pipeline.model} {reason} (photo {ids[0]})"
        yield Finding("vectors", text, f"{REPAIR}, then `sensorium index`")
    for reason, ids in bad_vectors(connection, pipeline, frames):
        text = f"{len(ids)} videos have frames of {pipeline.model} that {reason} (photo {ids[0]})"
        yield Finding("vectors", text, f"{REPAIR}, then `sensorium index`")
    for reason, ids in bad_regions(connection, pipeline):
        text = f"{len(ids)} photos have parts of {pipeline.model} that {reason} (photo {ids[0]})"
        yield Finding("vectors", text, f"{REPAIR}, then `sensorium describe`")


def check_faces(connection: Connection) -> Iterator[Finding]:
    """Faces that cannot be compared with others."""
    for reason, ids in bad_faces(connection):
        text = f"{len(ids)} faces have vectors that {reason} (face {ids[0]})"
        yield Finding("vectors", text, f"{REPAIR}, then `sensorium describe`")


def check_models(connection: Connection) -> Iterator[Finding]:
    """Whether one model answers, and whether the golden values of all of them can be read."""
    rows = connection.execute(sa.select(pipelines)).all()
    if rows and not any(row.active for row in rows):
        yield Finding("models", "no model answers searches, though there are vectors", REPAIR)
    for row in rows:
        if row.golden is not None and not golden.readable(row.golden):
            yield Finding("models", f"the golden values of {row.model} are damaged", REPAIR)


@dataclass(slots=True)
class WordsAstray:
    """How the full-text table differs from the photos: ids without words, ids of no photo, a bad index."""

    missing: list[int] = field(default_factory=list)
    foreign: list[int] = field(default_factory=list)
    broken: bool = False


def words_astray(connection: Connection) -> WordsAstray:
    """Compare the full-text table with the photos that it is about, in a transaction that may write."""
    ids, rows = sa.select(photos.c.id), sa.select(photo_words.c.rowid)
    astray = WordsAstray()
    try:
        astray.missing = list(connection.scalars(ids.except_(rows).order_by("id")))
        astray.foreign = list(connection.scalars(rows.except_(ids)))
        # FTS5 compares its index with the text only when told to by what looks like a write.
        connection.exec_driver_sql("INSERT INTO photo_words (photo_words) VALUES ('integrity-check')")
    except sa.exc.DatabaseError as error:
        if getattr(error.orig, "sqlite_errorcode", 0) & 0xFF != sqlite3.SQLITE_CORRUPT:
            raise
        astray.broken = True
    return astray


def check_words(store: Store) -> Iterator[Finding]:
    """Whether searching by words finds what the photos say. Not while an indexer is at work."""
    try:
        with alone(store.folder), store.writing() as connection:
            astray = words_astray(connection)
    except LibraryError as error:
        text = f"the index of words was not looked at: {error}"
        yield Finding("words", text, "run the check again then", wrong=False)
        return
    if astray.broken:
        yield Finding("words", "the index of words does not agree with the words", REPAIR)
    if astray.missing:
        text = f"{len(astray.missing)} photos cannot be found by their words (photo {astray.missing[0]})"
        yield Finding("words", text, REPAIR)
    if astray.foreign:
        yield Finding("words", f"the index of words knows {len(astray.foreign)} photos that are none", REPAIR)


def check_copies(store: Store) -> Iterator[Finding]:
    """Whether the copies that searches map into memory are what was written; bad ones are made again."""
    folder = store.folder / cabinet.FOLDER
    for pipeline in store.pipelines():
        file = folder / f"{pipeline.id}.manifest"
        try:
            manifest = segments.read_manifest(file)
            for name in manifest.names:
                rows = segments.open_segment(folder / name, manifest.key, pipeline.dim)
                for start in range(0, len(rows.ids), _VECTORS):
                    rows.take(np.arange(start, min(start + _VECTORS, len(rows.ids))))
        except FileNotFoundError:
            continue  # it was not needed yet, or was replaced meanwhile
        except (OSError, segments.DamagedError):
            text = f"the copy of {pipeline.model}'s vectors in {printable(folder)} is damaged"
            yield Finding("copies", text, "nothing: a search makes it again", wrong=False)


@dataclass(slots=True)
class _Seen:
    """What became of the originals of one root."""

    vanished: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    rotten: list[str] = field(default_factory=list)


def check_originals(store: Store, *, content: bool) -> Iterator[Finding | Hashing]:
    """Originals that changed or vanished since the last scan; with ``content``, those whose bytes did."""
    total = sum(store.root_ids_with_photos().values())
    done = 0
    for root in store.roots():
        reason = reason_offline(root.path)
        if reason:
            if store.root_ids_with_photos().get(root.id):
                text = f"{printable(root.path)} is offline: {reason}"
                yield Finding("originals", text, "nothing: its photos stay until it is back", wrong=False)
            continue
        seen = _Seen()
        for rows in _photos_of(store, root):
            for row in rows:
                _look(join(root.path, row.path), row, seen, content=content)
            done += len(rows)
            if content:
                yield Hashing(done, total)
        yield from _tell(root, seen)


def _photos_of(store: Store, root: Root) -> Iterator[list[Any]]:
    """The photos of a root that are not gone, page by page: reading them may take hours."""
    last = 0
    while True:
        statement = sa.select(photos.c.id, photos.c.path, photos.c.size, photos.c.mtime_ns, photos.c.sha256)
        statement = statement.where(photos.c.root_id == root.id, photos.c.missing_since.is_(None))
        with store.reading() as connection:
            rows = connection.execute(
                statement.where(photos.c.id > last).order_by(photos.c.id).limit(_PAGE)
            ).all()
        if not rows:
            return
        yield list(rows)
        last = rows[-1].id


def _look(path: str, row: Any, seen: _Seen, *, content: bool) -> None:
    try:
        status = os.stat(path)  # noqa: PTH116
        if (status.st_size, status.st_mtime_ns) != (row.size, row.mtime_ns):
            seen.changed.append(path)
        elif content and _sha256(path) != row.sha256:
            seen.rotten.append(path)
    except (FileNotFoundError, NotADirectoryError):
        seen.vanished.append(path)
    except OSError:
        seen.unreadable.append(path)


def _sha256(path: str) -> bytes:
    with open(path, "rb") as file:  # noqa: PTH123 - the name may be any bytes
        return hashlib.file_digest(file, "sha256").digest()


def _tell(root: Root, seen: _Seen) -> Iterator[Finding]:
    where = printable(root.path)
    for what, paths, remedy in (
        ("changed since the last scan", seen.changed, INDEX),
        ("vanished since the last scan", seen.vanished, INDEX),
        ("cannot be read now", seen.unreadable, "look after the disk and the rights of the folder"),
    ):
        if paths:
            text = f"{len(paths)} photos of {where} {what} (such as {printable(paths[0])})"
            yield Finding("originals", text, remedy, wrong=False)
    for path in seen.rotten:
        text = f"{printable(path)} holds other bytes than were indexed, though its size and time are the same"
        yield Finding("originals", text, "compare it with your own backup: the disk may be failing")

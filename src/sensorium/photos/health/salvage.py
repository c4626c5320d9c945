"""What can still be read of a damaged library file, written into a sound one.

SQLite finds a row by walking down a tree of pages; a damaged page hides the rows below it and no others.
So each table is read in the order of its row numbers, and where that stops it goes on behind the rows
that cannot be reached. A photo whose row is lost may survive in the indexes, which hold number, place,
content and size of every photo: such a photo keeps its identity and its vectors, and the next
`sensorium index` reads its facts again. Values are checked for their types; what else may have changed
within a row nothing can tell, which is why rows are also compared with what the indexes say of them.

The damaged file is opened read-only, without a write to it or to its log.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote_from_bytes

import sqlalchemy as sa

from sensorium.errors import LibraryError
from sensorium.photos.database import schema
from sensorium.photos.encoder import DEFAULT_MODEL
from sensorium.photos.files.names import printable

_BATCH = 1000
_LAST = (1 << 63) - 1
_UNREAD = -1  # a time no file has, so that the next scan reads the file again

# What indexes hold of a photo, beside its number.
_INDEXED = {
    "sqlite_autoindex_photos_1": ("root_id", "path"),
    "ix_photos_sha256": ("sha256",),
    "ix_photos_size": ("size",),
}


@dataclass(slots=True)
class Salvaged:
    """Rows that were saved, by table; ``gaps`` counts stretches of rows that could not be read.

    ``from_indexes`` counts photos of which the indexes alone knew, ``doubtful`` those whose row and
    indexes disagreed; the next indexing looks at the files of both.
    """

    rows: dict[str, int] = field(default_factory=dict)
    gaps: int = 0
    from_indexes: int = 0
    doubtful: int = 0


def open_to_read(file: Path) -> sqlite3.Connection:
    """A connection that can write neither the file nor its log.

    Raises:
        sqlite3.Error: It cannot be opened.
    """
    name = quote_from_bytes(os.fsencode(os.path.abspath(file)))  # noqa: PTH100
    connection = sqlite3.connect(f"file:{name}?mode=ro", uri=True, isolation_level=None)
    connection.execute("PRAGMA busy_timeout = 10000")
    return connection


def salvage(damaged: Path, folder: Path) -> Salvaged:
    """Write all that can be read of a damaged file into a new library.

    Args:
        damaged: The file; only read.
        folder: An empty folder for the new library, whose rows may refer to rows that were lost.

    Raises:
        LibraryError: Nothing of a library can be read in it.
    """
    saved = Salvaged()
    schema.open_engine(folder, create=True).dispose()
    with closing(open_to_read(damaged)) as source, closing(_open_new(folder)) as target:
        # Without this SQLite refuses a file that is shorter than it says.
        source.execute("PRAGMA writable_schema = ON")
        source.text_factory = lambda raw: raw.decode("utf-8", "replace")
        there = _tables(source, damaged)
        target.execute("BEGIN")
        for table in schema.metadata.sorted_tables:
            if table.name in there and table is not schema.calibrations:
                saved.rows[table.name] = _copy(source, target, table, saved)
        _complete_folders_and_models(source, target)
        _complete_photos(source, target, saved)
        _keep_numbers_unused(source, target)
        target.execute("COMMIT")
    if not saved.rows.get("photos"):
        raise LibraryError(
            f"no photo can be read in {printable(damaged)}: restore a backup, "
            "or move the file away and index again"
        )
    return saved


def _open_new(folder: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(folder / schema.FILE_NAME, isolation_level=None)
    connection.execute("PRAGMA foreign_keys = OFF")
    connection.execute("PRAGMA synchronous = OFF")  # the whole file is made safe before it takes its place
    return connection


def _tables(source: sqlite3.Connection, damaged: Path) -> set[str]:
    try:
        names = {name for (name,) in source.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    except sqlite3.DatabaseError as error:
        raise LibraryError(
            f"{printable(damaged)} is damaged where it lists its tables ({error}): restore a backup, "
            "or move the file away and index again"
        ) from error
    return names


def _copy(source: sqlite3.Connection, target: sqlite3.Connection, table: sa.Table, saved: Salvaged) -> int:
    """Copy the rows of one table; returns how many there are now."""
    there = {row[1] for row in source.execute(f"PRAGMA table_info({table.name})")}
    columns = [column for column in table.columns if column.name in there]
    names = ", ".join(column.name for column in columns)
    if table is schema.library:
        target.execute("DELETE FROM library")
    marks = ", ".join("?" * len(columns))
    statement = f"INSERT OR IGNORE INTO {table.name} ({names}) VALUES ({marks})"  # noqa: S608
    batch: list[tuple[Any, ...]] = []
    for row in _rows(source, table.name, names, saved):
        if all(_fits(column, value) for column, value in zip(columns, row, strict=True)):
            batch.append(row)
        if len(batch) == _BATCH:
            target.executemany(statement, batch)
            batch.clear()
    target.executemany(statement, batch)
    if table is schema.library:
        target.execute("INSERT OR IGNORE INTO library (id, generation, created_at) VALUES (1, 0, 0)")
    return int(target.execute(f"SELECT count(*) FROM {table.name}").fetchone()[0])  # noqa: S608


def _rows(source: sqlite3.Connection, table: str, names: str, saved: Salvaged) -> Iterator[tuple[Any, ...]]:
    """Rows in the order of their numbers, over every gap.

    Behind a row that cannot be read the next numbers are tried one by one, then, as the gap grows, in
    steps of a thousandth of it: a last page that is lost would otherwise be tried for ever.
    """
    statement = f"SELECT rowid, {names} FROM {table} NOT INDEXED WHERE rowid > ? ORDER BY rowid"  # noqa: S608
    last, gap = 0, 0
    while last + gap < _LAST:
        try:
            for row in source.execute(statement, (last + gap,)):
                if row[0] <= last:
                    raise sqlite3.DatabaseError("the tree of pages leads in a circle")
                saved.gaps += gap > 0
                last, gap = row[0], 0
                yield row[1:]
            break
        except sqlite3.DatabaseError:
            gap += 1 + gap // 1000
    saved.gaps += gap > 0


def _fits(column: sa.Column[Any], value: object) -> bool:
    """Whether a value has the type of its column; SQLite itself would store anything."""
    if value is None:
        return bool(column.nullable)
    if isinstance(column.type, schema.FileName):
        return isinstance(value, bytes)
    if isinstance(column.type, sa.LargeBinary):
        return isinstance(value, bytes) and column.type.length in (None, len(value))
    wanted = column.type.python_type
    return isinstance(value, (float, int) if wanted in (float, int, bool) else wanted)


def _complete_folders_and_models(source: sqlite3.Connection, target: sqlite3.Connection) -> None:
    """Add the folders and models that only indexes know. A model's name is lost then: the usual one is taken.

    An index run with the right one puts its name back and keeps its vectors.
    """
    target.executemany(
        "INSERT OR IGNORE INTO roots (id, path, added_at) VALUES (?, ?, 0)",
        _index_rows(source, "roots", "sqlite_autoindex_roots_1", ("path",)),
    )
    length = "SELECT length(vector) / 2 FROM vectors WHERE pipeline_id = ?1 GROUP BY 1 ORDER BY count(*) DESC"
    target.executemany(
        "INSERT OR IGNORE INTO pipelines (id, pipeline, model, dim, active, created_at) "
        f"SELECT ?1, ?2, '{DEFAULT_MODEL}', ({length}), 0, 0 WHERE EXISTS ({length})",
        _index_rows(source, "pipelines", "sqlite_autoindex_pipelines_1", ("pipeline",)),
    )


def _complete_photos(source: sqlite3.Connection, target: sqlite3.Connection, saved: Salvaged) -> None:
    """Add the photos that only indexes know, and mark those whose row says something else than an index."""
    for index, columns in _INDEXED.items():
        name = f"by_{columns[-1]}"
        names = ", ".join(columns)
        target.execute(f"CREATE TEMP TABLE {name} (id INTEGER PRIMARY KEY, {names})")
        marks = ", ".join("?" * (1 + len(columns)))
        rows = _index_rows(source, "photos", index, columns)
        target.executemany(f"INSERT OR IGNORE INTO {name} VALUES ({marks})", rows)  # noqa: S608
    known = "id IN (SELECT id FROM photos) OR (root_id, path) IN (SELECT root_id, path FROM photos)"
    saved.from_indexes = target.execute(
        f"""
        INSERT OR IGNORE INTO photos (id, root_id, path, sha256, size, mtime_ns, kind, format, width, height,
            orientation, facts_version, first_seen, last_seen)
        SELECT id, root_id, path, sha256, size, {_UNREAD}, 'photo', '', 0, 0, 1, 0, 0, 0
        FROM by_path JOIN by_sha256 USING (id) JOIN by_size USING (id)
        WHERE typeof(path) = 'blob' AND typeof(sha256) = 'blob' AND length(sha256) = 32
        AND typeof(root_id) = 'integer' AND typeof(size) = 'integer' AND NOT ({known})
        """  # noqa: S608
    ).rowcount
    saved.rows["photos"] = saved.rows.get("photos", 0) + saved.from_indexes
    saved.doubtful = target.execute(
        f"""
        UPDATE photos SET mtime_ns = {_UNREAD} WHERE mtime_ns <> {_UNREAD} AND (
            (root_id, path) <> (SELECT root_id, path FROM by_path WHERE by_path.id = photos.id)
            OR sha256 <> (SELECT sha256 FROM by_sha256 WHERE by_sha256.id = photos.id)
            OR size <> (SELECT size FROM by_size WHERE by_size.id = photos.id)
        )
        """  # noqa: S608
    ).rowcount


def _index_rows(
    source: sqlite3.Connection, table: str, index: str, columns: Sequence[str]
) -> Iterator[tuple[Any, ...]]:
    """Number and values of all rows as an index has them: from its start to the damage, then from its end."""
    for direction in ("", " DESC"):
        order = ", ".join(f"{name}{direction}" for name in columns)
        statement = f"SELECT id, {', '.join(columns)} FROM {table} INDEXED BY {index} ORDER BY {order}"  # noqa: S608
        try:
            yield from source.execute(statement)
        except sqlite3.DatabaseError:
            continue
        return


def _keep_numbers_unused(source: sqlite3.Connection, target: sqlite3.Connection) -> None:
    """Let no new photo get the number of a lost one."""
    try:
        highest = source.execute("SELECT name, seq FROM sqlite_sequence").fetchall()
    except sqlite3.DatabaseError:
        return
    for name, number in highest:
        if isinstance(number, int):
            target.execute("UPDATE sqlite_sequence SET seq = max(seq, ?) WHERE name = ?", (number, name))

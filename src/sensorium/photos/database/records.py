"""How photos are written down: which row a file belongs to, and what a row then says.

A photo is its content. A file that was read is, in this order:
  1. the photo that stands at its path, when that has the same content (it was touched, or copied back);
  2. a photo of the same content whose own file is not there any more: that photo moves here with its id,
     its first sighting and its vectors. Its file is not there when it is gone from its folder, when its
     place now holds another file, or when its whole root was renamed or deleted. A root whose disk is
     merely not mounted keeps its photos, unless this file is the very same one (number on disk, size and
     time), as when a disk is mounted elsewhere;
  3. the photo that stands at its path, whose file was edited: it keeps its id and loses its vectors.
     Not so when the file had been away for a while, as when a camera counts from 1 again, and not when a
     file that is still to be read looks like the one that stood here before: then the old photo waits for
     its file, gone for the moment, and this is a new one;
  4. a new photo; a copy is one, too.
A photo that must leave its path and has no other yet is *parked* under a path that no file can have.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.engine import Connection

from sensorium.photos.database.annotations import annotate, set_people
from sensorium.photos.database.schema import (
    companions,
    failures,
    frames,
    library,
    photos,
    regions,
    roots,
    vectors,
)
from sensorium.photos.describe.facts import FACTS_VERSION, Facts
from sensorium.photos.files.companions import Companion
from sensorium.photos.files.names import join
from sensorium.photos.files.scan import Known, reason_offline
from sensorium.photos.files.stamps import Stamp, inode_of, renamed_or_deleted

if TYPE_CHECKING:
    from sensorium.photos.intake.worker import Reading

MOST_VALUES = 500  # ids or values in one IN (...), far below SQLite's limit


class Encoded(NamedTuple):
    """A file that was read, with its vector: float16 [d]; without one when it was only described again.

    ``moments`` are those of a video whose frames were encoded: seconds and vector of each.
    """

    reading: Reading
    vector: NDArray[np.float16] | None
    moments: tuple[tuple[float, NDArray[np.float16]], ...] = ()


class Moved(NamedTuple):
    """A photo that kept its identity under another path."""

    photo_id: int
    from_root: int
    root_id: int
    path: str


class _Row(NamedTuple):
    """A photo as far as its identity goes."""

    id: int
    root_id: int
    path: str
    sha256: bytes
    stamp: Stamp
    inode: int | None
    missing: bool


@dataclass(slots=True)
class Keeper:
    """One batch being written, inside one transaction.

    ``awaited`` holds the stamps of files that this run found under new paths or with new stamps.
    """

    connection: Connection
    pipeline_id: int
    now: int
    awaited: Collection[Stamp]
    moved: list[Moved] = field(default_factory=list)
    _written: int = 0  # the generation of vectors that this batch makes
    _used: set[int] = field(default_factory=set)
    _parked: set[int] = field(default_factory=set)
    _roots: dict[int, tuple[str, str | None, bool]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Find out what the readers of vectors will see this batch as."""
        generation = self.connection.execute(sa.select(library.c.vectors_generation)).scalar_one()
        self._written = generation + 1

    def keep(self, root_id: int, taken: Sequence[Encoded]) -> None:
        """Write photos of one root with their vectors. Few statements with many rows: each one costs."""
        paths = [encoded.reading.task.path for encoded in taken]
        before = {row.path: row for row in _rows(self.connection, _at(root_id, paths))}
        self._claim(root_id, taken, before)
        before = {row.path: row for row in _rows(self.connection, _at(root_id, paths))}
        contents = {encoded.reading.task.path: encoded.reading.sha256 for encoded in taken}
        # Other pipelines' vectors show what an edited file no longer holds.
        edited = [row.id for path, row in before.items() if row.sha256 != contents[path]]
        if edited:
            for table in (vectors, frames, regions):
                self.connection.execute(sa.delete(table).where(table.c.photo_id.in_(edited)))
            unlike = sa.update(photos).where(photos.c.id.in_(edited))
            self.connection.execute(unlike.values(perceptual_hash=None))
        self.connection.execute(_UPSERT_PHOTO, [_row(root_id, one.reading, self.now) for one in taken])
        ids = {row.path: row.id for row in _rows(self.connection, _at(root_id, paths))}
        self._keep_vectors(taken, ids)
        tasks = [encoded.reading.task for encoded in taken]
        accompany(self.connection, root_id, {ids[task.path]: task.companions for task in tasks})
        people = {ids[e.reading.task.path]: e.reading.facts.people for e in taken if e.reading.facts}
        set_people(self.connection, people)
        annotate(self.connection, list(ids.values()))
        # What a good file was refused for under other models is over as well.
        forget(self.connection, root_id, failures.c.path.in_(paths))

    def _keep_vectors(self, taken: Sequence[Encoded], ids: Mapping[str, int]) -> None:
        """Write vectors and moments; what only a file of the same content has been asked for is copied."""
        rows, moments, films, unhashed = [], [], [], []
        for encoded in taken:
            if encoded.vector is None:
                continue
            of_photo = {
                "photo_id": ids[encoded.reading.task.path],
                "pipeline_id": self.pipeline_id,
                "written": self._written,
            }
            rows.append(of_photo | {"vector": _halves(encoded.vector)})
            moments += [of_photo | {"at": at, "vector": _halves(row)} for at, row in encoded.moments]
            facts = encoded.reading.facts
            if facts is not None and facts.kind == "video" and not encoded.moments:
                known = {"pipeline": self.pipeline_id, "generation": self._written}
                films.append(known | {"photo": of_photo["photo_id"]})
            if encoded.reading.perceptual_hash is None:
                unhashed.append({"photo": of_photo["photo_id"]})
        if rows:
            self.connection.execute(_UPSERT_VECTOR, rows)
        if moments:
            self.connection.execute(_UPSERT_FRAME, moments)
        if films:
            self.connection.execute(_COPY_FRAMES, films)
        if unhashed:
            self.connection.execute(_COPY_HASH, unhashed)

    def _claim(self, root_id: int, taken: Sequence[Encoded], before: Mapping[str, _Row]) -> None:
        """Let photos whose content turned up move to where it is now."""
        fresh: list[Reading] = []
        for reading, *_ in taken:
            row = before.get(reading.task.path)
            if row is not None and row.sha256 == reading.sha256:
                self._used.add(row.id)
            else:
                fresh.append(reading)
        same: dict[bytes, list[_Row]] = {}
        contents = list({reading.sha256 for reading in fresh if reading.sha256 is not None})
        for row in _rows(self.connection, photos.c.sha256.in_(contents)) if contents else ():
            same.setdefault(row.sha256, []).append(row)
        refused = set(self._refused(root_id, [reading.task.path for reading in fresh]))
        moves: list[Moved] = []
        leaving: list[int] = []
        for reading in fresh:
            assert reading.sha256 is not None
            occupant = before.get(reading.task.path)
            row = self._candidate(root_id, reading, same.get(reading.sha256, ()))
            if row is not None:
                self._used.add(row.id)
                moves.append(Moved(row.id, row.root_id, root_id, reading.task.path))
            if occupant is None or occupant.id in self._used:
                continue
            was_away = occupant.missing and occupant.path not in refused
            if row is not None or was_away or occupant.stamp in self.awaited:
                self._parked.add(occupant.id)
                leaving.append(occupant.id)
        self._move(moves, leaving)

    def _refused(self, root_id: int, paths: Sequence[str]) -> Iterable[str]:
        """Paths whose file was there but could not be taken the last time."""
        statement = sa.select(failures.c.path).where(failures.c.root_id == root_id)
        return self.connection.scalars(statement.where(failures.c.path.in_(paths))) if paths else ()

    def _candidate(self, root_id: int, reading: Reading, rows: Iterable[_Row]) -> _Row | None:
        """The photo that a file of its content takes over, the likeliest of several."""
        fitting = [row for row in rows if row.id not in self._used and self._is_free(row, reading)]
        path = reading.task.path
        return min(
            fitting,
            key=lambda row: (-_common_end(row.path, path), row.root_id != root_id, row.id),
            default=None,
        )

    def _is_free(self, row: _Row, reading: Reading) -> bool:
        """Whether the file of a photo is not where it was, so that the photo may move."""
        if row.missing or row.id in self._parked:
            return True
        same_file = row.inode is not None and (row.inode, row.stamp) == (reading.inode, reading.stamp)
        path, offline, left = self._root(row.root_id)
        if offline:
            return left or same_file
        try:
            status = os.stat(join(path, row.path))  # noqa: PTH116
        except (FileNotFoundError, NotADirectoryError):
            return True
        except OSError:
            return False
        if Stamp(status.st_size, status.st_mtime_ns) == row.stamp:
            # Still there, unless two files of one size and time changed places.
            return same_file and inode_of(status) != row.inode
        # Another file stands there. A rename keeps size and time: with others, this one is a copy.
        return reading.stamp == row.stamp

    def _root(self, root_id: int) -> tuple[str, str | None, bool]:
        """Path of a root, why it is offline, and whether it left for good; asked once a batch."""
        if root_id not in self._roots:
            statement = sa.select(roots.c.path, roots.c.device).where(roots.c.id == root_id)
            path, device = self.connection.execute(statement).one()
            offline = reason_offline(path)
            self._roots[root_id] = path, offline, bool(offline) and renamed_or_deleted(path, device)
        return self._roots[root_id]

    def _move(self, moves: Sequence[Moved], leaving: Sequence[int]) -> None:
        """Clear all paths that change hands, then fill those that have a new photo."""
        moving = {move.photo_id for move in moves}
        self._parked -= moving
        park(self.connection, [*leaving, *(moving - set(leaving))])
        leaving = [photo for photo in leaving if photo not in moving]
        if leaving:
            gone = sa.update(photos).where(photos.c.id.in_(leaving), photos.c.missing_since.is_(None))
            self.connection.execute(gone.values(missing_since=self.now))
        if moves:
            places = [{"photo": m.photo_id, "to_root": m.root_id, "to_path": m.path} for m in moves]
            self.connection.execute(_SET_PATH, places)
        self.moved += moves


def park(connection: Connection, ids: Sequence[int], root_id: int | None = None) -> None:
    """Take photos off their paths, to where no file can be; into another root when one is given."""
    for part in parts(ids):
        path = sa.cast(sa.literal(b"\0").concat(sa.cast(photos.c.id, sa.Text)), sa.LargeBinary)
        statement = sa.update(photos).where(photos.c.id.in_(part))
        values: dict[str, Any] = {"path": path} if root_id is None else {"path": path, "root_id": root_id}
        connection.execute(statement.values(values))


def accompany(connection: Connection, root_id: int, wanted: Mapping[int, Sequence[Companion]]) -> None:
    """Write down what belongs to photos of one root, in place of what belonged to them before."""
    rows = [
        {
            "photo_id": photo_id,
            "root_id": root_id,
            "path": companion.path,
            "size": companion.stamp.size,
            "mtime_ns": companion.stamp.mtime_ns,
            "kind": companion.kind,
        }
        for photo_id, belonging in wanted.items()
        for companion in belonging
    ]
    for part in parts(list(wanted)):
        connection.execute(sa.delete(companions).where(companions.c.photo_id.in_(part)))
    if rows:
        connection.execute(_UPSERT_COMPANION, rows)


def known_files(connection: Connection, root_id: int, pipeline_id: int) -> dict[str, Known]:
    """What is known about each path of a root, for ``scan.compare``."""
    belonging: dict[int, list[Companion]] = {}
    columns = (companions.c.path, companions.c.size, companions.c.mtime_ns, companions.c.kind)
    of_root = sa.select(companions.c.photo_id, *columns).where(companions.c.root_id == root_id)
    for photo, path, size, mtime, kind in connection.execute(of_root.order_by(companions.c.path)):
        belonging.setdefault(photo, []).append(Companion(path, Stamp(size, mtime), kind))
    embedded = (vectors.c.photo_id == photos.c.id) & (vectors.c.pipeline_id == pipeline_id)
    rows = connection.execute(
        sa.select(
            photos.c.path,
            photos.c.id,
            photos.c.size,
            photos.c.mtime_ns,
            photos.c.missing_since,
            vectors.c.photo_id,
            photos.c.inode,
            photos.c.facts_version,
        )
        .select_from(photos.outerjoin(vectors, embedded))
        .where(photos.c.root_id == root_id)
    )
    known = {
        path: Known(
            photo,
            Stamp(size, mtime),
            missing is not None,
            vector is not None,
            inode=inode,
            described=version >= FACTS_VERSION,
            companions=tuple(belonging.get(photo, ())),
        )
        for path, photo, size, mtime, missing, vector, inode, version in rows
    }
    statement = sa.select(failures.c.path, failures.c.size, failures.c.mtime_ns, failures.c.passing)
    statement = statement.where(failures.c.root_id == root_id, failures.c.pipeline_id == pipeline_id)
    for path, size, mtime, passing in connection.execute(statement):
        before = known.get(path, Known(None, None, False, False))
        known[path] = before._replace(failed=None if passing else Stamp(size, mtime), refused=True)
    return known


def keep_failure(connection: Connection, root_id: int, pipeline_id: int, reading: Reading, now: int) -> None:
    """Write down why a file was not taken, for the state in which it is."""
    row = {
        "root_id": root_id,
        "path": reading.task.path,
        "pipeline_id": pipeline_id,
        "size": reading.stamp.size,
        "mtime_ns": reading.stamp.mtime_ns,
        "reason": reading.reason,
        "passing": reading.passing,
        "failed_at": now,
    }
    connection.execute(_UPSERT_FAILURE, [row])
    # The photo that stood at this path can no longer be shown; it returns with its file.
    at_path = (photos.c.root_id == root_id) & (photos.c.path == reading.task.path)
    still_there = photos.c.missing_since.is_(None)
    differs = (photos.c.size != reading.stamp.size) | (photos.c.mtime_ns != reading.stamp.mtime_ns)
    connection.execute(sa.update(photos).where(at_path, still_there, differs).values(missing_since=now))


def forget(connection: Connection, root_id: int, condition: sa.ColumnElement[bool]) -> None:
    """Delete failures of a root."""
    connection.execute(sa.delete(failures).where(failures.c.root_id == root_id, condition))


def parts(values: Sequence[Any]) -> Iterator[Sequence[Any]]:
    """The values in lists that fit one IN (...)."""
    for start in range(0, len(values), MOST_VALUES):
        yield values[start : start + MOST_VALUES]


def _rows(connection: Connection, condition: sa.ColumnElement[bool]) -> list[_Row]:
    columns = (
        photos.c.id,
        photos.c.root_id,
        photos.c.path,
        photos.c.sha256,
        photos.c.size,
        photos.c.mtime_ns,
        photos.c.inode,
        photos.c.missing_since,
    )
    found = connection.execute(sa.select(*columns).where(condition).order_by(photos.c.id))
    return [
        _Row(id, root, path, sha256, Stamp(size, mtime_ns), inode, missing is not None)
        for id, root, path, sha256, size, mtime_ns, inode, missing in found
    ]


def _at(root_id: int, paths: Sequence[str]) -> sa.ColumnElement[bool]:
    return (photos.c.root_id == root_id) & photos.c.path.in_(paths)


def _common_end(one: str, other: str) -> int:
    """How many names two paths share at their end."""
    pairs = zip(reversed(one.split("/")), reversed(other.split("/")), strict=False)
    return next((count for count, (a, b) in enumerate(pairs) if a != b), 1 << 16)


def _halves(vector: NDArray[np.float16]) -> bytes:
    return np.ascontiguousarray(vector, dtype="<f2").tobytes()


def _row(root_id: int, reading: Reading, now: int) -> dict[str, Any]:
    assert reading.facts is not None
    facts = {name: getattr(reading.facts, name) for name in _FACTS}
    keywords = reading.facts.keywords
    return {
        **facts,
        "keywords": json.dumps(keywords, ensure_ascii=False) if keywords else None,
        "root_id": root_id,
        "path": reading.task.path,
        "size": reading.stamp.size,
        "mtime_ns": reading.stamp.mtime_ns,
        "inode": reading.inode,
        "sha256": reading.sha256,
        "facts_version": FACTS_VERSION,
        "perceptual_hash": reading.perceptual_hash,
        "first_seen": now,
        "last_seen": now,
        "missing_since": None,
    }


def _upsert(
    table: sa.Table, identity: Sequence[str], *, but: Sequence[str] = (), unless_null: Sequence[str] = ()
) -> sa.Insert:
    """Insert, or where ``identity`` is there already replace all columns ``but`` some.

    Those of ``unless_null`` stay where there is nothing to replace them.
    """
    statement = insert(table)
    fixed = {"id", *identity, *but}
    replaced: dict[str, sa.ColumnElement[Any]] = {
        column.name: statement.excluded[column.name] for column in table.c if column.name not in fixed
    }
    replaced |= {name: sa.func.coalesce(replaced[name], table.c[name]) for name in unless_null}
    return statement.on_conflict_do_update(index_elements=list(identity), set_=replaced)


_FACTS = tuple(one.name for one in fields(Facts) if one.name not in ("keywords", "people"))
_SET_PATH = (
    sa.update(photos)
    .where(photos.c.id == sa.bindparam("photo"))
    .values(root_id=sa.bindparam("to_root"), path=sa.bindparam("to_path"))
)
_PLACES = ("country", "region", "city", "places_version")  # written by `annotate`
_MARKS = ("favourite", "hidden")  # set by people
_UPSERT_PHOTO = _upsert(
    photos, ("root_id", "path"), but=("first_seen", *_PLACES, *_MARKS), unless_null=("perceptual_hash",)
)
_UPSERT_VECTOR = _upsert(vectors, ("photo_id", "pipeline_id"))
_UPSERT_FRAME = _upsert(frames, ("photo_id", "pipeline_id", "at"))
# What was made of another file with the content of :photo.
_SAME = photos.alias("same")
_CONTENT = sa.select(photos.c.sha256).where(photos.c.id == sa.bindparam("photo")).scalar_subquery()
_COPY_FRAMES = (
    insert(frames)
    .from_select(
        ["photo_id", "pipeline_id", "at", "vector", "written"],
        sa.select(
            sa.bindparam("photo", type_=sa.Integer),
            frames.c.pipeline_id,
            frames.c.at,
            frames.c.vector,
            sa.bindparam("generation", type_=sa.Integer),
        )
        .join_from(frames, _SAME, _SAME.c.id == frames.c.photo_id)
        .where(_SAME.c.sha256 == _CONTENT, frames.c.pipeline_id == sa.bindparam("pipeline")),
    )
    .on_conflict_do_nothing()
)
_COPY_HASH = (
    sa.update(photos)
    .where(photos.c.id == sa.bindparam("photo"), photos.c.perceptual_hash.is_(None))
    .values(
        perceptual_hash=sa.select(_SAME.c.perceptual_hash)
        .where(_SAME.c.sha256 == photos.c.sha256, _SAME.c.perceptual_hash.is_not(None))
        .limit(1)
        .scalar_subquery()
    )
)
_UPSERT_FAILURE = _upsert(failures, ("root_id", "path", "pipeline_id"))
_UPSERT_COMPANION = _upsert(companions, ("root_id", "path"))

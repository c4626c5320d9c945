"""Everything that is asked of, and written to, a library file: SQL lives here and nowhere else.

A write is one transaction and raises the library's generation, by which a reader that keeps an index
in memory sees that it is out of date.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.engine import Connection

from sensorium import settings
from sensorium.photos.describe import FACTS_VERSION
from sensorium.photos.names import relative_to
from sensorium.photos.scan import Changes, Known, Stamp
from sensorium.photos.schema import failures, library, open_engine, photos, pipelines, roots, vectors, writing
from sensorium.photos.worker import Reading

_IN = 500  # ids or values in one IN (...), far below SQLite's limit


class Root(NamedTuple):
    """A folder that the library looks after."""

    id: int
    path: str


class Pipeline(NamedTuple):
    """A model as it made vectors: see ``Encoder.pipeline``."""

    id: int
    model: str
    pipeline: str
    dim: int
    active: bool


@dataclass(frozen=True, slots=True)
class Failure:
    """A file that could not be taken, and why."""

    path: str
    reason: str


class Encoded(NamedTuple):
    """A file that was read, with its vector: float16 [d]."""

    reading: Reading
    vector: NDArray[np.float16]


class Store:
    """The file of one library. Cheap to open; safe to use from several threads."""

    def __init__(self, folder: Path, *, create: bool) -> None:
        self.folder = folder
        self._engine = open_engine(folder, create=create)

    def close(self) -> None:
        """Let go of the file."""
        self._engine.dispose()

    def _rows(self, statement: sa.Select[*tuple[Any, ...]]) -> Sequence[Any]:
        with self._engine.connect() as connection:
            return connection.execute(statement).all()

    # Folders

    def roots(self) -> list[Root]:
        """All folders, in the order in which they were added."""
        return [Root(*row) for row in self._rows(sa.select(roots.c.id, roots.c.path).order_by(roots.c.id))]

    def add_root(self, path: str) -> Root:
        """Look after a folder from now on; folders inside it that were looked after become part of it."""
        with writing(self._engine) as connection:
            statement = insert(roots).values(path=path, added_at=_now()).on_conflict_do_nothing()
            connection.execute(statement)
            root = connection.execute(sa.select(roots.c.id).where(roots.c.path == path)).scalar_one()
            for other in connection.execute(sa.select(roots.c.id, roots.c.path)).all():
                below = relative_to(other.path, path)
                if below:
                    _absorb(connection, root, other.id, below)
        return Root(root, path)

    def root_ids_with_photos(self) -> dict[int, int]:
        """Number of photos that are not gone, by root."""
        statement = sa.select(photos.c.root_id, sa.func.count()).where(photos.c.missing_since.is_(None))
        return {row[0]: row[1] for row in self._rows(statement.group_by(photos.c.root_id))}

    # Models

    def pipelines(self) -> list[Pipeline]:
        """All models that made vectors here, oldest first."""
        columns = (
            pipelines.c.id,
            pipelines.c.model,
            pipelines.c.pipeline,
            pipelines.c.dim,
            pipelines.c.active,
        )
        return [Pipeline(*row) for row in self._rows(sa.select(*columns).order_by(pipelines.c.id))]

    def pipeline(self, identity: str) -> Pipeline | None:
        """The row of an ``Encoder.pipeline``, or None."""
        return next((pipeline for pipeline in self.pipelines() if pipeline.pipeline == identity), None)

    def active_pipeline(self) -> Pipeline | None:
        """The one that answers searches; None in a library that was never indexed."""
        return next((pipeline for pipeline in self.pipelines() if pipeline.active), None)

    def add_pipeline(self, model: str, pipeline: str, dim: int) -> Pipeline:
        """The row of a pipeline, new or not; the first one of a library is active at once.

        ``model`` is what opens it again: the name, or the folder, that was used last.
        """
        with writing(self._engine) as connection:
            first = connection.execute(sa.select(sa.func.count()).select_from(pipelines)).scalar_one() == 0
            connection.execute(
                insert(pipelines)
                .values(model=model, pipeline=pipeline, dim=dim, active=first, created_at=_now())
                .on_conflict_do_update(index_elements=["pipeline"], set_={"model": model})
            )
        return next(row for row in self.pipelines() if row.pipeline == pipeline)

    def activate(self, pipeline_id: int) -> None:
        """Let searches be answered by another pipeline, from one moment to the next."""
        with writing(self._engine) as connection:
            connection.execute(sa.update(pipelines).where(pipelines.c.active).values(active=False))
            connection.execute(sa.update(pipelines).where(pipelines.c.id == pipeline_id).values(active=True))
            _advance(connection)

    def without_vector(self, pipeline_id: int) -> int:
        """Number of photos that are not gone and have neither a vector of a pipeline nor a failure in it."""
        failed = sa.exists().where(
            failures.c.root_id == photos.c.root_id,
            failures.c.path == photos.c.path,
            failures.c.pipeline_id == pipeline_id,
        )
        statement = sa.select(sa.func.count()).select_from(photos)
        statement = statement.where(photos.c.missing_since.is_(None), ~_embedded(pipeline_id), ~failed)
        return int(self._rows(statement)[0][0])

    # Scanning

    def known(self, root_id: int, pipeline_id: int) -> dict[str, Known]:
        """What is known about each path of a root, for ``scan.compare``."""
        rows = self._rows(
            sa.select(
                photos.c.path,
                photos.c.id,
                photos.c.size,
                photos.c.mtime_ns,
                photos.c.missing_since,
                vectors.c.photo_id,
            )
            .select_from(
                photos.outerjoin(
                    vectors, (vectors.c.photo_id == photos.c.id) & (vectors.c.pipeline_id == pipeline_id)
                )
            )
            .where(photos.c.root_id == root_id)
        )
        known = {
            path: Known(photo, Stamp(size, mtime), missing is not None, vector is not None)
            for path, photo, size, mtime, missing, vector in rows
        }
        statement = sa.select(failures.c.path, failures.c.size, failures.c.mtime_ns, failures.c.passing)
        statement = statement.where(failures.c.root_id == root_id, failures.c.pipeline_id == pipeline_id)
        for path, size, mtime, passing in self._rows(statement):
            before = known.get(path, Known(None, None, False, False))
            known[path] = before._replace(failed=None if passing else Stamp(size, mtime), refused=True)
        return known

    def note_scan(self, root_id: int, changes: Changes) -> None:
        """Write down what went, what came back and what is no longer a failure."""
        now = _now()
        with writing(self._engine) as connection:
            for ids in _parts(changes.gone):
                connection.execute(sa.update(photos).where(photos.c.id.in_(ids)).values(missing_since=now))
            for ids in _parts(changes.returned):
                connection.execute(sa.update(photos).where(photos.c.id.in_(ids)).values(missing_since=None))
            for names in _parts(changes.forgotten):
                _forget(connection, root_id, failures.c.path.in_(names))
            connection.execute(sa.update(roots).where(roots.c.id == root_id).values(scanned_at=now))
            if changes.gone or changes.returned:
                _advance(connection)

    # Indexing

    def candidates(self, sizes: Sequence[int], pipeline_id: int) -> dict[int, dict[bytes, bytes]]:
        """Vectors of photos with one of these file sizes: by size, then by content hash.

        A file with the content of one of them, be it moved, renamed, copied or touched, needs no encoding.
        """
        found: dict[int, dict[bytes, bytes]] = {}
        for part in _parts(sizes):
            statement = sa.select(photos.c.size, photos.c.sha256, vectors.c.vector).join_from(photos, vectors)
            statement = statement.where(photos.c.size.in_(part), vectors.c.pipeline_id == pipeline_id)
            for size, digest, vector in self._rows(statement):
                found.setdefault(size, {})[digest] = vector
        return found

    def vectors_of_contents(self, contents: Sequence[bytes], pipeline_id: int) -> dict[bytes, bytes]:
        """Vectors of photos with one of these content hashes, by content hash."""
        found: dict[bytes, bytes] = {}
        for part in _parts(contents):
            statement = sa.select(photos.c.sha256, vectors.c.vector).join_from(photos, vectors)
            statement = statement.where(photos.c.sha256.in_(part), vectors.c.pipeline_id == pipeline_id)
            found.update((digest, vector) for digest, vector in self._rows(statement))
        return found

    def keep(
        self, root_ids: dict[str, int], pipeline_id: int, taken: Sequence[Encoded], refused: Sequence[Reading]
    ) -> None:
        """One batch, one transaction: photos with their vectors, and failures. ``root_ids``: by path."""
        now = _now()
        with writing(self._engine) as connection:
            for root, root_id in root_ids.items():
                of_root = [encoded for encoded in taken if encoded.reading.task.root == root]
                for part in _parts(of_root):
                    _keep_photos(connection, root_id, pipeline_id, part, now)
            for reading in refused:
                _keep_failure(connection, root_ids[reading.task.root], pipeline_id, reading, now)
            _advance(connection)

    # Answering

    def generation(self) -> int:
        """A number that grows with every change of what a search could answer."""
        return int(self._rows(sa.select(library.c.generation))[0][0])

    def vectors(self, pipeline: Pipeline) -> tuple[NDArray[np.int64], NDArray[np.float16]]:
        """Ids [n], ascending, and vectors [n, d] of all photos that are not gone."""
        statement = sa.select(vectors.c.photo_id, vectors.c.vector).order_by(vectors.c.photo_id)
        missing = sa.select(photos.c.id).where(photos.c.missing_since.is_not(None))
        with self._engine.connect() as connection:  # both from one state of the file
            rows = connection.execute(statement.where(vectors.c.pipeline_id == pipeline.id)).all()
            gone = connection.scalars(missing).all()
        ids = np.fromiter((row[0] for row in rows), np.int64, len(rows))
        matrix = np.frombuffer(b"".join([row[1] for row in rows]), "<f2").reshape(len(rows), pipeline.dim)
        matrix = matrix.astype(np.float16, copy=False)
        if not gone:
            return ids, matrix
        there = ~np.isin(ids, np.asarray(gone, np.int64))
        return ids[there], matrix[there]

    def answers(self, pipeline_id: int) -> bool:
        """Whether any photo could be found."""
        statement = sa.select(photos.c.id).join_from(photos, vectors)
        there = photos.c.missing_since.is_(None)
        return bool(self._rows(statement.where(vectors.c.pipeline_id == pipeline_id, there).limit(1)))

    def photos(self, ids: Sequence[int]) -> dict[int, Any]:
        """Rows of photos by id, with ``root`` for the path of their root."""
        found: dict[int, Any] = {}
        for part in _parts(ids):
            statement = sa.select(photos, roots.c.path.label("root")).join_from(photos, roots)
            found.update((row.id, row) for row in self._rows(statement.where(photos.c.id.in_(part))))
        return found

    def photo_at(self, path: str) -> Any | None:
        """The photo at an absolute path, or None."""
        for name in dict.fromkeys((os.path.abspath(path), os.path.realpath(path))):  # noqa: PTH100
            for root in self.roots():
                below = relative_to(name, root.path)
                if below:
                    statement = sa.select(photos).where(photos.c.root_id == root.id, photos.c.path == below)
                    rows = self._rows(statement)
                    if rows:
                        return rows[0]
        return None

    def vector_of(self, photo_id: int, pipeline_id: int) -> NDArray[np.float16] | None:
        """The vector [d] of one photo, or None."""
        statement = sa.select(vectors.c.vector)
        rows = self._rows(
            statement.where(vectors.c.photo_id == photo_id, vectors.c.pipeline_id == pipeline_id)
        )
        return np.frombuffer(rows[0][0], "<f2").astype(np.float16, copy=False) if rows else None

    def count_photos(self, pipeline_id: int | None) -> tuple[int, int, int]:
        """Photos that are there, those of them with a vector of a pipeline, and those that are gone."""
        there = photos.c.missing_since.is_(None)
        embedded = there & _embedded(-1 if pipeline_id is None else pipeline_id)
        statement = sa.select(
            sa.func.count().filter(there), sa.func.count().filter(embedded), sa.func.count().filter(~there)
        ).select_from(photos)
        row = self._rows(statement)[0]
        return int(row[0]), int(row[1]), int(row[2])

    def failures(self, pipeline_id: int) -> Iterator[tuple[str, Failure]]:
        """Root and failure, for each file that could not be taken, in the order of their paths."""
        statement = sa.select(roots.c.path, failures.c.path, failures.c.reason).join_from(failures, roots)
        statement = statement.where(failures.c.pipeline_id == pipeline_id)
        for root, path, reason in self._rows(statement.order_by(roots.c.id, failures.c.path)):
            yield root, Failure(path, reason)


def _now() -> int:
    return int(settings.now().timestamp() * 1_000_000)


def _parts(items: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for start in range(0, len(items), _IN):
        yield items[start : start + _IN]


def _advance(connection: Connection) -> None:
    connection.execute(sa.update(library).values(generation=library.c.generation + 1))


def _embedded(pipeline_id: int) -> sa.Exists:
    return sa.exists().where(vectors.c.photo_id == photos.c.id, vectors.c.pipeline_id == pipeline_id)


def _forget(connection: Connection, root_id: int, condition: sa.ColumnElement[bool]) -> None:
    connection.execute(sa.delete(failures).where(failures.c.root_id == root_id, condition))


def _absorb(connection: Connection, root_id: int, other_id: int, below: str) -> None:
    """Make the photos of another root, which lies ``below`` this one, photos of this one."""
    prefix = os.fsencode(below + "/")
    for table in (photos, failures):
        longer = sa.cast(sa.literal(prefix, sa.LargeBinary).concat(table.c.path), sa.LargeBinary)
        statement = sa.update(table).where(table.c.root_id == other_id)
        connection.execute(statement.values(root_id=root_id, path=longer))
    connection.execute(sa.delete(roots).where(roots.c.id == other_id))


def _upsert(table: sa.Table, identity: Sequence[str], *, first: Sequence[str] = ()) -> sa.Insert:
    """Insert, or where ``identity`` is there already replace all columns but those that ``first`` set."""
    statement = insert(table)
    fixed = {"id", *identity, *first}
    replaced = {
        column.name: statement.excluded[column.name] for column in table.c if column.name not in fixed
    }
    return statement.on_conflict_do_update(index_elements=list(identity), set_=replaced)


_UPSERT_PHOTO = _upsert(photos, ("root_id", "path"), first=("first_seen",))
_UPSERT_VECTOR = _upsert(vectors, ("photo_id", "pipeline_id"))
_UPSERT_FAILURE = _upsert(failures, ("root_id", "path", "pipeline_id"))


def _keep_photos(
    connection: Connection, root_id: int, pipeline_id: int, taken: Sequence[Encoded], now: int
) -> None:
    """Write photos of one root with their vectors. Few statements with many rows: each one costs."""
    paths = [encoded.reading.task.path for encoded in taken]
    contents = {encoded.reading.task.path: encoded.reading.sha256 for encoded in taken}
    before = _by_path(connection, root_id, paths)
    connection.execute(_UPSERT_PHOTO, [_photo_row(root_id, encoded.reading, now) for encoded in taken])
    # Other pipelines' vectors show what a changed file no longer holds.
    changed = [photo for path, (photo, content) in before.items() if content != contents[path]]
    if changed:
        connection.execute(sa.delete(vectors).where(vectors.c.photo_id.in_(changed)))
    ids = {path: photo for path, (photo, _) in _by_path(connection, root_id, paths).items()}
    rows = [
        {
            "photo_id": ids[encoded.reading.task.path],
            "pipeline_id": pipeline_id,
            "vector": np.ascontiguousarray(encoded.vector, dtype="<f2").tobytes(),
        }
        for encoded in taken
    ]
    connection.execute(_UPSERT_VECTOR, rows)
    # What a good file was refused for under other models is over as well.
    _forget(connection, root_id, failures.c.path.in_(paths))


def _by_path(connection: Connection, root_id: int, paths: Sequence[str]) -> dict[str, tuple[int, bytes]]:
    statement = sa.select(photos.c.path, photos.c.id, photos.c.sha256)
    statement = statement.where(photos.c.root_id == root_id, photos.c.path.in_(paths))
    return {row.path: (row.id, row.sha256) for row in connection.execute(statement)}


def _photo_row(root_id: int, reading: Reading, now: int) -> dict[str, Any]:
    assert reading.facts is not None
    return {
        **asdict(reading.facts),
        "root_id": root_id,
        "path": reading.task.path,
        "size": reading.stamp.size,
        "mtime_ns": reading.stamp.mtime_ns,
        "sha256": reading.sha256,
        "kind": "photo",
        "facts_version": FACTS_VERSION,
        "first_seen": now,
        "last_seen": now,
        "missing_since": None,
    }


def _keep_failure(connection: Connection, root_id: int, pipeline_id: int, reading: Reading, now: int) -> None:
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

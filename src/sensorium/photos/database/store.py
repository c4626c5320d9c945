"""What is asked of, and written to, a library file by the indexer and by searches.

Modules with SQL of their own use ``Store.reading`` and ``Store.writing``. A write is one transaction and
raises the library's generation, by which a reader that keeps an index in memory sees that it is out of date.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.engine import Connection

from sensorium import settings
from sensorium.errors import LibraryError
from sensorium.photos.database import schema
from sensorium.photos.database.records import (
    Encoded,
    Keeper,
    Moved,
    accompany,
    forget,
    keep_failure,
    known_files,
    park,
    parts,
)
from sensorium.photos.database.schema import (
    companions,
    failures,
    library,
    open_engine,
    photos,
    pipelines,
    roots,
    vectors,
    writing,
)
from sensorium.photos.database.versions import Versions
from sensorium.photos.files.companions import Companion
from sensorium.photos.files.names import printable, relative_to
from sensorium.photos.files.scan import Changes, Known
from sensorium.photos.files.stamps import Stamp, device_of

if TYPE_CHECKING:
    from sensorium.photos.intake.worker import Reading

__all__ = ["Encoded", "Failure", "Pipeline", "Root", "Store"]


class Root(NamedTuple):
    """A folder that the library looks after."""

    id: int
    path: str


class Pipeline(NamedTuple):
    """A model as it made vectors: see ``Encoder.pipeline``.

    ``complete`` says that every photo had its vector once; ``previous`` is the id of the pipeline that
    answered before this one, for ``Store.rollback``; ``golden`` is what golden.py measured, ``parts`` what
    search/parts.py did.
    """

    id: int
    model: str
    pipeline: str
    dim: int
    active: bool
    complete: bool = False
    previous: int | None = None
    golden: str | None = None
    parts: str | None = None


@dataclass(frozen=True, slots=True)
class Failure:
    """A file that could not be taken, and why."""

    path: str
    reason: str


class Store:
    """The file of one library. Cheap to open; safe to use from several threads."""

    def __init__(self, folder: Path, *, create: bool) -> None:
        self.folder = folder
        self._engine = open_engine(folder, create=create)
        self._versions = Versions(self._engine)
        self._remembered: dict[str, tuple[int, Any]] = {}

    def close(self) -> None:
        """Let go of the file."""
        self._versions.close()
        self._engine.dispose()

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """One read transaction, for modules that hold their own SQL over ``schema``'s tables.

        Raises LibraryError when the file cannot be read.
        """
        with schema.reading(self._engine) as connection:
            yield connection

    @contextmanager
    def writing(self, *, advance: bool = False, vectors: bool = True) -> Iterator[Connection]:
        """One write transaction, kept as a whole when the block ends and undone when it raises.

        Args:
            advance: Raise the generation: something that an answer shows is another than before.
            vectors: With ``advance``, whether the vectors that can answer are others than before, too.

        Raises:
            LibraryError: The file cannot be written.
        """
        with writing(self._engine) as connection:
            yield connection
            if advance:
                _advance(connection, vectors=vectors)

    def _rows(self, statement: sa.Select[*tuple[Any, ...]]) -> Sequence[Any]:
        with self.reading() as connection:
            return connection.execute(statement).all()

    def _kept(self, name: str, statement: sa.Select[*tuple[Any, ...]]) -> Sequence[Any]:
        """Rows that every search asks for, read again only after somebody has written to the file."""
        version = self._versions.now()  # before the rows, which are then at least as new
        known = self._remembered.get(name)
        if known is None or known[0] != version:
            known = self._remembered[name] = version, self._rows(statement)
        rows: Sequence[Any] = known[1]
        return rows

    # Folders

    def roots(self) -> list[Root]:
        """All folders, in the order in which they were added."""
        return [Root(*row) for row in self._rows(sa.select(roots.c.id, roots.c.path).order_by(roots.c.id))]

    def add_root(self, path: str) -> Root:
        """Look after a folder from now on; folders inside it that were looked after become part of it."""
        with writing(self._engine) as connection:
            statement = insert(roots).values(path=path, added_at=_now()).on_conflict_do_nothing()
            if connection.execute(statement).rowcount:
                _advance(connection, vectors=False)  # whoever shows the folders shows it at once
            root = connection.execute(sa.select(roots.c.id).where(roots.c.path == path)).scalar_one()
            for other in connection.execute(sa.select(roots.c.id, roots.c.path)).all():
                below = relative_to(other.path, path)
                if below:
                    _absorb(connection, root, other.id, below)
                    _advance(connection, vectors=False)
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
            pipelines.c.complete,
            pipelines.c.previous,
            pipelines.c.golden,
            pipelines.c.parts,
        )
        statement = sa.select(*columns).order_by(pipelines.c.id)
        return [Pipeline(*row) for row in self._kept("pipelines", statement)]

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

    def activate(self, pipeline_id: int, *, previous: int | None = None) -> None:
        """Let searches be answered by another pipeline, from one moment to the next.

        ``previous`` is where ``rollback`` leads from then on; None when there is no way back.
        """
        with self.writing(advance=True) as connection:
            _activate(connection, pipeline_id, previous)

    def finish(self, pipeline_id: int) -> int:
        """Let a pipeline answer when no photo lacks its vector any more; the number of those that do.

        Counting and swapping are one transaction; the pipeline that answered before stays for ``rollback``.
        """
        with writing(self._engine) as connection:
            waiting = int(connection.execute(_without_vector(pipeline_id)).scalar_one())
            row = connection.execute(sa.select(pipelines).where(pipelines.c.id == pipeline_id)).one()
            if not waiting and not row.complete:
                this = sa.update(pipelines).where(pipelines.c.id == pipeline_id)
                connection.execute(this.values(complete=True))
            if not waiting and not row.active:
                before = connection.execute(sa.select(pipelines.c.id).where(pipelines.c.active)).scalar()
                _activate(connection, pipeline_id, before)
                _advance(connection)
        return waiting

    def rollback(self) -> Pipeline:
        """Let the pipeline answer again that did before the last switch, and give it back.

        A second rollback undoes the first. Photos that came since the switch are missing from the answers
        until the next indexing. Raises LibraryError when there is nothing to go back to.
        """
        active = self.active_pipeline()
        earlier = [pipeline for pipeline in self.pipelines() if active and pipeline.id == active.previous]
        if active is None or not earlier:
            raise LibraryError(
                f"{printable(self.folder)} has no earlier model to go back to: "
                "another one is used with `sensorium index --model NAME`"
            )
        self.activate(earlier[0].id, previous=active.id)
        return earlier[0]._replace(active=True, previous=active.id)

    def unfinished(self) -> list[tuple[Pipeline, int]]:
        """Models that the library was to be switched to, with the number of photos that they still lack."""
        begun = [pipeline for pipeline in self.pipelines() if not (pipeline.active or pipeline.complete)]
        return [(pipeline, self.without_vector(pipeline.id)) for pipeline in begun]

    def without_vector(self, pipeline_id: int) -> int:
        """Number of photos that are not gone and have neither a vector of a pipeline nor a failure in it."""
        return int(self._rows(_without_vector(pipeline_id))[0][0])

    # Scanning

    def known(self, root_id: int, pipeline_id: int) -> dict[str, Known]:
        """What is known about each path of a root, for ``scan.compare``."""
        with self.reading() as connection:
            return known_files(connection, root_id, pipeline_id)

    def note_scan(
        self, root: Root, changes: Changes, accompanied: Mapping[int, Sequence[Companion]] | None = None
    ) -> None:
        """Write down what went, what came back, what is no longer a failure, and what belongs to photos."""
        now = _now()
        with writing(self._engine) as connection:
            for ids in parts(changes.gone):
                connection.execute(sa.update(photos).where(photos.c.id.in_(ids)).values(missing_since=now))
            for ids in parts(changes.returned):
                connection.execute(sa.update(photos).where(photos.c.id.in_(ids)).values(missing_since=None))
            for names in parts(changes.forgotten):
                forget(connection, root.id, failures.c.path.in_(names))
            accompany(connection, root.id, accompanied or {})
            this = sa.update(roots).where(roots.c.id == root.id)
            connection.execute(this.values(scanned_at=now, device=_device(root.path)))
            if changes.gone or changes.returned:
                _advance(connection)

    def forget_root(self, root_id: int, heir: int) -> bool:
        """Look no longer after a root all of whose photos moved into another one; whether that was so.

        Photos that were gone before stay known, as the heir's.
        """
        with writing(self._engine) as connection:
            here = photos.c.root_id == root_id
            if connection.execute(sa.select(photos.c.id).where(here, _there()).limit(1)).first():
                return False
            park(connection, list(connection.scalars(sa.select(photos.c.id).where(here))), heir)
            for table in (companions, failures):
                connection.execute(sa.delete(table).where(table.c.root_id == root_id))
            connection.execute(sa.delete(roots).where(roots.c.id == root_id))
        return True

    def refresh(self, most: int) -> int:
        """Annotate up to so many photos anew, as far as a better table of places is there; how many."""
        from sensorium.photos.database.annotations import annotate, outdated

        with self.reading() as connection:
            ids = outdated(connection, most)
        if ids:
            with self.writing(advance=True, vectors=False) as connection:
                annotate(connection, ids)
        return len(ids)

    # Indexing

    def candidates(self, sizes: Sequence[int], pipeline_id: int) -> dict[int, dict[bytes, bytes]]:
        """Vectors of photos with one of these file sizes: by size, then by content hash.

        A file with the content of one of them, be it moved, renamed, copied or touched, needs no encoding.
        """
        found: dict[int, dict[bytes, bytes]] = {}
        for part in parts(sizes):
            statement = sa.select(photos.c.size, photos.c.sha256, vectors.c.vector).join_from(photos, vectors)
            statement = statement.where(photos.c.size.in_(part), vectors.c.pipeline_id == pipeline_id)
            for size, digest, vector in self._rows(statement):
                found.setdefault(size, {})[digest] = vector
        return found

    def vectors_of_contents(self, contents: Sequence[bytes], pipeline_id: int) -> dict[bytes, bytes]:
        """Vectors of photos with one of these content hashes, by content hash."""
        found: dict[bytes, bytes] = {}
        for part in parts(contents):
            statement = sa.select(photos.c.sha256, vectors.c.vector).join_from(photos, vectors)
            statement = statement.where(photos.c.sha256.in_(part), vectors.c.pipeline_id == pipeline_id)
            found.update((digest, vector) for digest, vector in self._rows(statement))
        return found

    def contents(self, root_id: int, paths: Sequence[str]) -> dict[str, bytes]:
        """Content hashes of photos, by path below their root."""
        found: dict[str, bytes] = {}
        for part in parts(paths):
            statement = sa.select(photos.c.path, photos.c.sha256)
            statement = statement.where(photos.c.root_id == root_id, photos.c.path.in_(part))
            found.update((path, digest) for path, digest in self._rows(statement))
        return found

    def keep(
        self,
        root_ids: Mapping[str, int],
        pipeline_id: int,
        taken: Sequence[Encoded],
        refused: Sequence[Reading],
        awaited: Collection[Stamp] = (),
    ) -> list[Moved]:
        """One batch, one transaction: photos with their vectors, and failures; photos that moved.

        Args:
            root_ids: Ids of roots by their path.
            pipeline_id: Whose vectors they are.
            taken: Files that were read.
            refused: Files that could not be.
            awaited: Stamps of all files that this run found new or changed.
        """
        now = _now()
        with writing(self._engine) as connection:
            keeper = Keeper(connection, pipeline_id, now, awaited)
            for root, root_id in root_ids.items():
                of_root = [encoded for encoded in taken if encoded.reading.task.root == root]
                for part in parts(of_root):
                    keeper.keep(root_id, part)
            for reading in refused:
                keep_failure(connection, root_ids[reading.task.root], pipeline_id, reading, now)
            _advance(connection, vectors=bool(refused) or any(one.vector is not None for one in taken))
        return keeper.moved

    # Answering

    def generation(self) -> int:
        """A number that grows with every change of what a search could answer."""
        return int(self._kept("generation", sa.select(library.c.generation))[0][0])

    def vectors_generation(self) -> int:
        """A number that grows when the vectors that can answer are others than before, of any pipeline."""
        return int(self._kept("vectors generation", sa.select(library.c.vectors_generation))[0][0])

    def newest(self) -> int:
        """The highest id of any photo, 0 without one."""
        return int(self._kept("newest", sa.select(sa.func.max(photos.c.id)))[0][0] or 0)

    def vectors(self, pipeline: Pipeline) -> tuple[NDArray[np.int64], NDArray[np.float16]]:
        """Ids [n], ascending, and vectors [n, d] of all photos that are not gone."""
        statement = sa.select(vectors.c.photo_id, vectors.c.vector).order_by(vectors.c.photo_id)
        missing = sa.select(photos.c.id).where(photos.c.missing_since.is_not(None))
        with self.reading() as connection:  # both from one state of the file
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
        statement = statement.where(vectors.c.pipeline_id == pipeline_id, there).limit(1)
        return bool(self._kept(f"answers {pipeline_id}", statement))

    def photos(self, ids: Sequence[int]) -> dict[int, Any]:
        """Rows of photos by id, with ``root`` for the path of their root."""
        found: dict[int, Any] = {}
        for part in parts(ids):
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


def _device(folder: str) -> int | None:
    try:
        return device_of(os.stat(folder))  # noqa: PTH116
    except OSError:
        return None


def _activate(connection: Connection, pipeline_id: int, previous: int | None) -> None:
    connection.execute(sa.update(pipelines).where(pipelines.c.active).values(active=False))
    this = sa.update(pipelines).where(pipelines.c.id == pipeline_id)
    connection.execute(this.values(active=True, previous=previous))


def _advance(connection: Connection, *, vectors: bool = True) -> None:
    values = {"generation": library.c.generation + 1}
    if vectors:
        values["vectors_generation"] = library.c.vectors_generation + 1
    connection.execute(sa.update(library).values(values))


def _embedded(pipeline_id: int) -> sa.Exists:
    return sa.exists().where(vectors.c.photo_id == photos.c.id, vectors.c.pipeline_id == pipeline_id)


def _there() -> sa.ColumnElement[bool]:
    return photos.c.missing_since.is_(None)


def _without_vector(pipeline_id: int) -> sa.Select[int]:
    failed = sa.exists().where(
        failures.c.root_id == photos.c.root_id,
        failures.c.path == photos.c.path,
        failures.c.pipeline_id == pipeline_id,
    )
    statement = sa.select(sa.func.count()).select_from(photos)
    return statement.where(_there(), ~_embedded(pipeline_id), ~failed)


def _absorb(connection: Connection, root_id: int, other_id: int, below: str) -> None:
    """Make the photos of another root, which lies ``below`` this one, photos of this one."""
    prefix = os.fsencode(below + "/")
    # The words of a photo tell its folders: `annotate` writes them anew for what no version made.
    of_other = sa.update(photos).where(photos.c.root_id == other_id)
    connection.execute(of_other.values(places_version=0))
    for table in (photos, failures, companions):
        longer = sa.cast(sa.literal(prefix, sa.LargeBinary).concat(table.c.path), sa.LargeBinary)
        statement = sa.update(table).where(table.c.root_id == other_id)
        connection.execute(statement.values(root_id=root_id, path=longer))
    connection.execute(sa.delete(roots).where(roots.c.id == other_id))

"""The vectors of a library as a search wants them: exact, mapped into memory, never the truth.

``open_matrix(store, pipeline)`` gives a ``VectorIndex`` over all vectors of a pipeline whose photos are
neither gone nor hidden. A small library is read into memory whole. Of a large one, a folder ``matrix`` beside
the library file keeps segments (see ``segments``) that are mapped, and only what was written since is read
from SQLite: each row of ``vectors`` tells in which generation it was written. What gathers that way becomes a
segment of its own, and small ones are joined, so that a vector is written a few times in all and never 1 GB
for one batch of photos.

The copy is rebuilt, in batches of bounded memory, whenever it is missing, damaged, or of another library,
pipeline or history, and only one process writes at a time. Where nothing can be written (a read-only
folder, a full disk) everything works in memory.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TypeVar

import numpy as np
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from sensorium.errors import LibraryError
from sensorium.photos.database import schema
from sensorium.photos.database.store import Pipeline, Store
from sensorium.photos.vectors.cabinet import FOLDER, Cabinet, Piece, in_memory
from sensorium.photos.vectors.cabinet import discard as discard
from sensorium.photos.vectors.index import NUMPY_UP_TO, Each, Rows, find, scores_in_order
from sensorium.photos.vectors.segments import SEGMENT_ROWS, DamagedError
from sensorium.photos.vectors.sieve import Halves, Ids, NumpySieve, Scores, faiss_module
from sensorium.runtime.device import threads

_FORMAT = 1
_WRITE_FROM = 8192  # vectors in memory that are worth a segment
_WAIT = 600.0  # seconds for another process that writes what this one would have to build as well
_BATCH = 4096  # rows of SQLite at a time
_PROBES = 32  # vectors of each segment that are compared with the library when it is opened

_vectors, _photos, _library = schema.vectors, schema.photos, schema.library
_Answer = TypeVar("_Answer")


@dataclass(frozen=True, slots=True)
class _State:
    """Pieces with everything up to the generation ``upto``, of which files hold what was up to ``stored``.

    ``parts`` answer, as of ``generation``: the pieces without photos that are gone or hidden.
    """

    pieces: tuple[Piece, ...] = ()
    upto: int = -1
    stored: int = -1
    generation: int = -1
    parts: tuple[Rows, ...] = ()

    def names(self) -> tuple[str, ...]:
        """Segments that these pieces came from, as ``Cabinet.names``."""
        return tuple(piece.name for piece in self.pieces if piece.name)


def open_matrix(store: Store, pipeline: Pipeline) -> Matrix:
    """The vectors of a pipeline as they are now. Raises LibraryError as ``Matrix.refresh`` does."""
    matrix = Matrix(store, pipeline)
    matrix.refresh()
    return matrix


class Matrix:
    """A ``VectorIndex`` over one pipeline of a library. Safe to use from several threads."""

    def __init__(self, store: Store, pipeline: Pipeline) -> None:
        self.pipeline = pipeline
        self._store = store
        self._state: _State | None = None
        self._mutex = threading.Lock()

    def __len__(self) -> int:
        """How many vectors can answer."""
        return sum(map(len, self._parts()))

    def ids(self) -> Ids:
        """Everything that can answer, ascending."""
        found = [part.ids if part.hidden is None else part.ids[~part.hidden] for part in self._parts()]
        return np.sort(np.concatenate([np.empty(0, np.int64), *found]))

    @property
    def generation(self) -> int:
        """The ``Store.vectors_generation`` that answers; -1 before the first refresh."""
        return -1 if self._state is None else self._state.generation

    def rows(self, ids: Ids) -> Halves:
        """Vectors [n, d] of ascending ids that can answer. Raises KeyError for any other."""
        rows = np.empty((len(ids), self.pipeline.dim), np.float16)
        found = np.zeros(len(ids), bool)
        for part in self._parts():
            places, positions = part.positions(ids)
            rows[places] = part.take(positions)
            found[places] = True
        if not found.all():
            raise KeyError(int(ids[~found][0]))
        return rows

    def written_since(self, generation: int) -> Ids:
        """Ids whose vectors a later generation wrote, ascending."""
        later = _vectors.c.written > generation
        statement = sa.select(_vectors.c.photo_id).where(_vectors.c.pipeline_id == self.pipeline.id, later)
        with self._store.reading() as connection:
            return np.sort(np.fromiter(connection.scalars(statement), np.int64))

    def search(self, query: Scores, k: int, ids: Ids | None = None) -> tuple[Ids, Scores]:
        """The ``k`` best for a query [d], best first; only among ``ids`` [m] when given."""
        return self._answer(lambda parts: find(parts, query, k, ids=ids, each=_each(parts)))

    def above(self, query: Scores, least: float, ids: Ids | None = None, k: int = 0) -> tuple[Ids, Scores]:
        """All that score at least ``least``, best first, and the ``k`` best even if they score less."""
        return self._answer(lambda parts: find(parts, query, k, least, ids, _each(parts)))

    def scores(self, query: Scores, ids: Ids) -> Scores:
        """The score of each of ``ids`` [m], in their order; NaN where there is no vector."""
        return self._answer(lambda parts: scores_in_order(parts, query, ids, _each(parts)))

    def _parts(self) -> tuple[Rows, ...]:
        return () if self._state is None else self._state.parts

    def _answer(self, ask: Callable[[tuple[Rows, ...]], _Answer]) -> _Answer:
        try:
            return ask(self._parts())
        except DamagedError:
            self._start_again()
            return ask(self._parts())

    def refresh(self) -> None:
        """Take up what the library holds now; one small query when nothing changed.

        Raises LibraryError when the library file cannot be read, or a vector in it is damaged.
        """
        with self._mutex:
            if self._state is None or self._state.generation != self._store.vectors_generation():
                try:
                    self._state = self._refreshed(self._load() if self._state is None else self._state)
                except DamagedError:
                    self._state = self._refreshed(self._without_files())

    def _start_again(self) -> None:
        """A file turned out damaged while it was used: take everything from SQLite."""
        with self._mutex:
            self._state = self._refreshed(self._without_files())

    def _without_files(self) -> _State:
        self._cabinet().forget()
        return _State()

    def beside(self, kind: str) -> Path:
        """Where another disposable file about this pipeline is kept; the folder may not exist."""
        return self._store.folder / FOLDER / f"{self.pipeline.id}.{kind}"

    def key(self) -> str:
        """What a disposable file is stamped with to be this library's, this pipeline's and this format's."""
        with self._store.reading() as connection:
            created = connection.execute(sa.select(_library.c.created_at)).scalar_one()
        pipeline = self.pipeline
        stamp = (_FORMAT, faiss_module().__version__, created, pipeline.pipeline, pipeline.dim)
        return hashlib.sha256(repr(stamp).encode()).hexdigest()

    def _cabinet(self) -> Cabinet:
        pipeline = self.pipeline
        return Cabinet(self._store.folder, pipeline.id, pipeline.dim, self.key(), _pool().map)

    def _load(self) -> _State:
        """What the files hold if they are to be believed, else nothing."""
        if not Cabinet.is_there(self._store.folder, self.pipeline.id):
            return _State()
        cabinet = self._cabinet()
        for _ in range(2):  # a segment may be replaced between reading the manifest and opening it
            with suppress(OSError, DamagedError):
                pieces, stored = cabinet.open()
                with self._store.reading() as connection:
                    if stored <= _generation(connection):
                        for piece in pieces:
                            self._probe(connection, piece, stored)
                        return _State(pieces, stored, stored)
        return _State()

    def _probe(self, connection: Connection, piece: Piece, generation: int) -> None:
        """Compare a few vectors with the library: a file that was put in its place has another history."""
        there = np.flatnonzero(~piece.removed)
        if not len(there):
            return
        chosen = np.unique(there[np.linspace(0, len(there) - 1, _PROBES, dtype=int)])
        ids = piece.rows.ids[chosen].tolist()
        statement = sa.select(_vectors.c.photo_id, _vectors.c.vector, _vectors.c.written)
        statement = statement.where(_vectors.c.photo_id.in_(ids), _vectors.c.pipeline_id == self.pipeline.id)
        rows = connection.execute(statement)
        true = {row.photo_id: row.vector for row in rows if row.written <= generation}
        for photo, halves in zip(ids, piece.rows.take(chosen), strict=True):
            if true.get(photo, halves.tobytes()) != halves.tobytes():
                raise DamagedError(piece.name)

    def _to_write(self, state: _State) -> int:
        """How many vectors the files lack; 0 when they are few, or the library is small."""
        of_pipeline = _vectors.c.pipeline_id == self.pipeline.id
        with self._store.reading() as connection:
            stored = state.stored if state.stored <= _generation(connection) else -1
            lacking = _count(connection, of_pipeline, _vectors.c.written > stored)
            if lacking < _WRITE_FROM or _count(connection, of_pipeline) <= NUMPY_UP_TO:
                return 0
        return lacking

    def _refreshed(self, state: _State) -> _State:
        """The state of the library now, from an earlier one; files are brought up to date when it pays."""
        to_write = self._to_write(state)
        if to_write:
            with self._cabinet().lock(_WAIT if to_write > SEGMENT_ROWS else 0.0) as cabinet:
                if cabinet.names() != state.names():
                    state = self._load()  # another process wrote, perhaps while this one waited
                state = self._synchronised(state, cabinet)
                self._keep(cabinet, state)
            return state
        refreshed = self._synchronised(state, None)
        marks = [[id(piece.removed) for piece in one.pieces if piece.name] for one in (state, refreshed)]
        if marks[0] != marks[1] and refreshed.names() == state.names():
            # Finding out what was deleted takes a look at every id: the next process shall not need to.
            with self._cabinet().lock(0.0) as cabinet:
                if cabinet.names() == state.names():
                    self._keep(cabinet, refreshed)
        return refreshed

    def _keep(self, cabinet: Cabinet, state: _State) -> None:
        others = [pipeline.id for pipeline in self._store.pipelines() if pipeline.id != self.pipeline.id]
        cabinet.keep(state.pieces, state.stored, others)

    # From the library

    def _synchronised(self, state: _State, cabinet: Cabinet | None) -> _State:
        with self._store.reading() as connection:
            generation = _generation(connection)
            if generation < state.upto:
                state = _State()  # the library file was replaced by an older one
            pieces = self._with_fresh(connection, state, cabinet)
            if not self._agrees(connection, pieces):
                held = self._ids(connection)
                pieces = [_only(piece, held) for piece in pieces]
                if sum(map(len, pieces)) != len(held):
                    state, pieces = _State(), self._with_fresh(connection, _State(), cabinet)
            out_of_sight = _photos.c.missing_since.is_not(None) | _photos.c.hidden
            missing = np.fromiter(connection.scalars(sa.select(_photos.c.id).where(out_of_sight)), np.int64)
        pieces = _joined([piece for piece in pieces if len(piece)], cabinet)
        parts = [piece.rows.hiding(piece.removed | np.isin(piece.rows.ids, missing)) for piece in pieces]
        stored = generation if all(piece.name for piece in pieces) else state.stored
        return _State(tuple(pieces), generation, stored, generation, tuple(parts))

    def _with_fresh(self, connection: Connection, state: _State, cabinet: Cabinet | None) -> list[Piece]:
        """Pieces of an earlier state, without what changed since, and pieces for what was written since."""
        new: list[Piece] = []
        fresh: list[Ids] = []
        gathered: list[tuple[Ids, Halves]] = []
        for block in self._written_after(connection, state.upto):
            fresh.append(block[0])
            gathered.append(block)
            if sum(len(ids) for ids, _ in gathered) >= SEGMENT_ROWS:
                new.append(_together(gathered, cabinet))
                gathered = []
        if gathered:
            new.append(_together(gathered, None))
        changed = np.concatenate([np.empty(0, np.int64), *fresh])
        return [*(piece.without(changed) for piece in state.pieces), *new]

    def _written_after(self, connection: Connection, generation: int) -> Iterator[tuple[Ids, Halves]]:
        """Ids [n] and vectors [n, d] that a later generation wrote, in no order."""
        statement = sa.select(_vectors.c.photo_id, _vectors.c.vector)
        statement = statement.where(
            _vectors.c.pipeline_id == self.pipeline.id, _vectors.c.written > generation
        )
        for rows in connection.execute(statement, execution_options={"yield_per": _BATCH}).partitions():
            size = 2 * self.pipeline.dim
            damaged = next((row.photo_id for row in rows if len(row.vector) != size), None)
            if damaged is not None:
                raise LibraryError(
                    f"the vector of photo {damaged} is damaged: run `sensorium library repair`"
                )
            halves = np.frombuffer(b"".join([row.vector for row in rows]), "<f2")
            ids = np.fromiter((row.photo_id for row in rows), np.int64, len(rows))
            yield ids, halves.astype(np.float16, copy=False).reshape(len(rows), -1)

    def _agrees(self, connection: Connection, pieces: Sequence[Piece]) -> bool:
        """Whether the pieces hold as many vectors as the library: none were deleted."""
        return sum(map(len, pieces)) == _count(connection, _vectors.c.pipeline_id == self.pipeline.id)

    def _ids(self, connection: Connection) -> Ids:
        statement = sa.select(_vectors.c.photo_id).where(_vectors.c.pipeline_id == self.pipeline.id)
        return np.fromiter(connection.scalars(statement), np.int64)


def _generation(connection: Connection) -> int:
    return int(connection.execute(sa.select(_library.c.vectors_generation)).scalar_one())


def _count(connection: Connection, *conditions: sa.ColumnElement[bool]) -> int:
    statement = sa.select(sa.func.count()).select_from(_vectors).where(*conditions)
    return int(connection.execute(statement).scalar_one())


def _only(piece: Piece, ids: Ids) -> Piece:
    """A piece without what is not among some ids."""
    return piece.without(np.setdiff1d(piece.rows.ids, ids, assume_unique=True))


def _together(blocks: Sequence[tuple[Ids, Halves]], cabinet: Cabinet | None) -> Piece:
    """One piece of several blocks: in a file where there is a cabinet, if that can be."""
    ids = np.concatenate([ids for ids, _ in blocks])
    order = np.argsort(ids)
    halves = np.concatenate([halves for _, halves in blocks])[order]
    return in_memory(ids[order], halves) if cabinet is None else cabinet.store(ids[order], halves)


def _joined(pieces: Sequence[Piece], cabinet: Cabinet | None) -> list[Piece]:
    """The pieces with small ones joined: each is as large as two thirds of all smaller ones, or nearly full.

    So a vector is copied a few times in all while a library grows. Without a cabinet files stay as they are.
    """
    writes = cabinet is not None and cabinet.may_write
    taken: list[Piece] = []
    total = 0
    for piece in sorted((piece for piece in pieces if writes or piece.name is None), key=len):
        if total + len(piece) <= SEGMENT_ROWS and (not taken or len(piece) <= 2 * total):
            taken.append(piece)
            total += len(piece)
    loose = [piece for piece in pieces if piece.name is None and piece not in taken] if writes else []
    if len(taken) == 1 and (taken[0].name or not writes):
        taken = []
    stay = [piece for piece in pieces if piece not in taken and piece not in loose]
    made = [_together([piece.content()], cabinet) for piece in loose]
    if taken:
        made.append(_together([piece.content() for piece in taken], cabinet))
    return [*stay, *made]


@cache
def _pool() -> ThreadPoolExecutor:
    """Threads that scan. Faiss would start threads of its own in each of them."""
    return ThreadPoolExecutor(threads(), "vectors", initializer=lambda: faiss_module().omp_set_num_threads(1))


def _each(parts: Sequence[Rows]) -> Each:
    return map if all(isinstance(part.sieve, NumpySieve) for part in parts) else _pool().map

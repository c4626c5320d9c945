"""How near the parts of photos are to a query, beside the whole pictures.

The vectors of ``describe.regions`` stand in the library file: a search looks at those of the photos that it
is about to show, no others. They are kept as whole numbers of 8 bits, which halves what is read and moves a
score by about a thousandth.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from sqlalchemy.engine import Connection

from sensorium.errors import LibraryError
from sensorium.photos.database.schema import photos, regions
from sensorium.photos.database.store import Pipeline, Store
from sensorium.photos.vectors.sieve import Ids, Scores

ACROSS = 3
"""Parts in a row of a picture, and rows of them."""

REGIONS = ACROSS**2
"""Vectors of one photo."""

_STEPS = 127  # of the largest number of a vector

_SAMPLE = 256  # photos that tell what is ordinary
_AT_ONCE = 512  # photos that are unpacked at a time
_IN_MEMORY = 128 << 20  # bytes of parts that are kept in memory: 28,000 photos of 512 numbers each


def packed(vectors: NDArray[np.float32]) -> bytes:
    """The vectors [9, d] of one photo: nine factors in float16, then nine times d whole numbers in int8."""
    factors = (np.abs(vectors).max(axis=1) / _STEPS).astype("<f2")
    numbers = np.rint(vectors / np.maximum(factors, 1e-7)[:, None].astype(np.float32))
    content: bytes = factors.tobytes() + numbers.clip(-_STEPS, _STEPS).astype(np.int8).tobytes()
    return content


def packed_size(dim: int) -> int:
    """Bytes of one photo with vectors of so many numbers."""
    return REGIONS * (2 + dim)


def unpacked(rows: NDArray[np.uint8], dim: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Factors [n, 9] and numbers [n, 9, d] of photos from their bytes [n, ``packed_size``]."""
    factors = np.ascontiguousarray(rows[:, : 2 * REGIONS]).view("<f2").astype(np.float32)
    numbers = rows[:, 2 * REGIONS :].view(np.int8).astype(np.float32)
    return factors, numbers.reshape(len(rows), REGIONS, dim)


def stacked(photos: Sequence[bytes], dim: int) -> NDArray[np.uint8]:
    """The bytes of photos as rows [n, ``packed_size``]."""
    return np.frombuffer(b"".join(photos), np.uint8).reshape(len(photos), packed_size(dim))


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """Some photos with parts: ids [s] and their parts as ``unpacked`` gives them."""

    ids: Ids
    factors: NDArray[np.float32]
    numbers: NDArray[np.float32]

    def closest(self, query: Scores) -> Scores:
        """The score [s] of the nearest part of each photo. Row by row: it depends on no other rows."""
        return np.asarray((np.vecdot(self.numbers, query) * self.factors).max(axis=1))


class Regions:
    """The parts of a pipeline's photos, as far as they were looked at. Safe to use from threads.

    Those of a library that is not large are kept in memory from the second search on that finds it unchanged.
    """

    def __init__(self, store: Store, pipeline: Pipeline) -> None:
        self._store = store
        self._pipeline = pipeline
        # Each with the generation of vectors that it is of.
        self._sample: tuple[int, Sample] | None = None
        self._memory: tuple[int, Ids, NDArray[np.uint8] | None] | None = None
        self._asked = -1
        self._loading = threading.Lock()

    def until(self, generation: int) -> Parts:
        """What a search sees whose first page was made at this generation of vectors."""
        return Parts(self, generation)

    def count(self) -> int:
        """How many photos were looked at. Raises LibraryError."""
        mine = regions.c.pipeline_id == self._pipeline.id
        with self._store.reading() as connection:
            statement = sa.select(sa.func.count()).select_from(regions).where(mine)
            return int(connection.execute(statement).scalar_one())

    def sample(self, generation: int) -> Sample:
        """Photos that tell what is ordinary, spread over the library. Raises LibraryError."""
        kept = self._sample
        if kept is None or kept[0] != generation:
            kept = self._sample = generation, self.drawn(_SAMPLE, generation)
        return kept[1]

    def drawn(self, count: int, generation: int) -> Sample:
        """At most ``count`` photos with parts, spread over the library. Raises LibraryError."""
        with self._store.reading() as connection:
            newest = connection.scalar(sa.select(sa.func.max(photos.c.id))) or 0
            # From each of these on the first photo with parts: as many look-ups in any library.
            starts = np.linspace(1, newest, min(count, newest)).astype(np.int64).tolist()
            start = sa.func.json_each(json.dumps(starts)).table_valued("value")
            mine = self._seen(generation) & (regions.c.photo_id >= start.c.value)
            first = sa.select(regions.c.photo_id).where(mine).order_by(regions.c.photo_id).limit(1)
            found = set(connection.scalars(sa.select(first.scalar_subquery()).select_from(start)))
            ids = np.array(sorted(found - {None}), np.int64)
            there, rows = self._read(connection, ids, generation)
        return Sample(there, *unpacked(rows, self._pipeline.dim))

    def read(self, ids: Ids, generation: int) -> Iterator[Sample]:
        """The parts of photos with ascending ids, as far as they are known, some photos at a time.

        Raises LibraryError.
        """
        memory = self._remembered(generation)
        if memory is not None:
            known, rows = memory
            places = np.searchsorted(known, ids)
            here = known[np.minimum(places, len(known) - 1)] == ids
            for start in range(0, len(ids), _AT_ONCE):
                part = slice(start, start + _AT_ONCE)
                chosen = places[part][here[part]]
                yield Sample(known[chosen], *unpacked(rows[chosen], self._pipeline.dim))
            return
        with self._store.reading() as connection:
            for start in range(0, len(ids), _AT_ONCE):
                there, rows = self._read(connection, ids[start : start + _AT_ONCE], generation)
                yield Sample(there, *unpacked(rows, self._pipeline.dim))

    def _remembered(self, generation: int) -> tuple[Ids, NDArray[np.uint8]] | None:
        """Ids, ascending, and bytes of all photos; None where they are read as they are needed."""
        memory = self._memory
        if memory is None or memory[0] != generation:
            again, self._asked = self._asked == generation, generation
            if not again or not self._loading.acquire(blocking=False):
                return None
            try:
                memory = self._memory = generation, *self._all(generation)
            finally:
                self._loading.release()
        return None if memory[2] is None or not len(memory[1]) else (memory[1], memory[2])

    def _all(self, generation: int) -> tuple[Ids, NDArray[np.uint8] | None]:
        if self.count() * packed_size(self._pipeline.dim) > _IN_MEMORY:
            return np.empty(0, np.int64), None
        with self._store.reading() as connection:
            ids = sa.select(regions.c.photo_id).where(self._seen(generation))
            known = np.fromiter(connection.scalars(ids.order_by(regions.c.photo_id)), np.int64)
            there, rows = self._read(connection, known, generation)
        order = np.argsort(there)
        return there[order], rows[order]

    def _read(self, connection: Connection, ids: Ids, generation: int) -> tuple[Ids, NDArray[np.uint8]]:
        """Ids and bytes of those photos that are known, in any order."""
        wanted = sa.func.json_each(json.dumps(ids.tolist())).table_valued("value")
        chosen = self._seen(generation) & (regions.c.photo_id == wanted.c.value)
        rows = connection.execute(sa.select(regions.c.photo_id, regions.c.vectors).where(chosen)).all()
        size = packed_size(self._pipeline.dim)
        damaged = next((photo for photo, content in rows if len(content) != size), None)
        if damaged is not None:
            raise LibraryError(f"the parts of photo {damaged} are damaged: run `sensorium library repair`")
        found = np.fromiter((row[0] for row in rows), np.int64, len(rows))
        return found, stacked([row[1] for row in rows], self._pipeline.dim)

    def _seen(self, generation: int) -> sa.ColumnElement[bool]:
        return (regions.c.pipeline_id == self._pipeline.id) & (regions.c.written <= generation)


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of photos as a search sees them: those that were known at a generation of vectors."""

    regions: Regions
    generation: int

    def sample(self, queries: Sequence[Scores]) -> tuple[Ids, list[Scores]]:
        """Some photos [s], and for each query [d] the scores [s] of their nearest parts. LibraryError."""
        sample = self.regions.sample(self.generation)
        return sample.ids, [sample.closest(query) for query in queries]

    def closest(self, queries: Sequence[Scores], ids: Ids) -> list[Scores]:
        """For each query [d] the score [n] of the nearest part of photos [n]; NaN where none is known.

        Raises LibraryError.
        """
        best = [np.full(len(ids), np.nan, np.float32) for _ in queries]
        order = np.argsort(ids, kind="stable")
        ascending = ids[order]
        for part in self.regions.read(ascending, self.generation):
            places = order[np.searchsorted(ascending, part.ids)]
            for scores, query in zip(best, queries, strict=True):
                scores[places] = part.closest(query)
        return best

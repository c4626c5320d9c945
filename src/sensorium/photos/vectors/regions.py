"""How near the parts of photos are to a query: what "without" looks at, beside the whole pictures.

The vectors of ``describe.regions`` stay in the library file: a search reads those of the photos that it is
about to show, no others. They are kept as whole numbers of 8 bits, which halves what is read and moves a
score by about a thousandth.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

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
_IN = 500  # ids in one IN (...)


def packed(vectors: NDArray[np.float32]) -> bytes:
    """The vectors [9, d] of one photo: nine factors in float16, then nine times d whole numbers in int8."""
    factors = (np.abs(vectors).max(axis=1) / _STEPS).astype("<f2")
    numbers = np.rint(vectors / np.maximum(factors, 1e-7)[:, None].astype(np.float32))
    content: bytes = factors.tobytes() + numbers.clip(-_STEPS, _STEPS).astype(np.int8).tobytes()
    return content


def packed_size(dim: int) -> int:
    """Bytes of one photo with vectors of so many numbers."""
    return REGIONS * (2 + dim)


def unpacked(photos: Sequence[bytes], dim: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Factors [n, 9] and numbers [n, 9, d] of photos, each of ``packed_size`` bytes."""
    raw = np.frombuffer(b"".join(photos), np.uint8).reshape(len(photos), packed_size(dim))
    factors = np.ascontiguousarray(raw[:, : 2 * REGIONS]).view("<f2").astype(np.float32)
    numbers = raw[:, 2 * REGIONS :].view(np.int8).astype(np.float32)
    return factors, numbers.reshape(len(photos), REGIONS, dim)


class Regions:
    """The parts of a pipeline's photos, as far as they were looked at.

    ``until`` is the generation of vectors up to which they are seen; all of them when None.
    """

    def __init__(self, store: Store, pipeline: Pipeline, until: int | None = None) -> None:
        self._store = store
        self._pipeline = pipeline
        self._seen = regions.c.pipeline_id == pipeline.id
        if until is not None:
            self._seen &= regions.c.written <= until

    def sample(self) -> Ids:
        """Photos [s] with parts, ascending, spread over all of them. Raises LibraryError."""
        with self._store.reading() as connection:
            newest = connection.scalar(sa.select(sa.func.max(photos.c.id))) or 0
            # From each of these on the first photo with parts: as many look-ups in any library.
            starts = np.linspace(1, newest, min(_SAMPLE, newest)).astype(np.int64).tolist()
            start = sa.func.json_each(json.dumps(starts)).table_valued("value")
            mine = self._seen & (regions.c.photo_id >= start.c.value)
            first = sa.select(regions.c.photo_id).where(mine).order_by(regions.c.photo_id).limit(1)
            found = set(connection.scalars(sa.select(first.scalar_subquery()).select_from(start)))
        return np.array(sorted(found - {None}), np.int64)

    def closest(self, queries: Sequence[Scores], ids: Ids) -> list[Scores]:
        """For each query [d] the score [n] of the nearest part of photos [n]; NaN where none is known.

        Raises LibraryError.
        """
        best = [np.full(len(ids), np.nan, np.float32) for _ in queries]
        order = np.argsort(ids, kind="stable")
        with self._store.reading() as connection:
            for start in range(0, len(ids), _IN):
                places = order[start : start + _IN]
                there, content = self._read(connection, ids[places])
                factors, numbers = unpacked(content, self._pipeline.dim)
                for scores, query in zip(best, queries, strict=True):
                    # Row by row: the sum never depends on which rows are scored with it.
                    scores[places[there]] = (np.vecdot(numbers, query) * factors).max(axis=1)
        return best

    def _read(self, connection: Connection, ids: Ids) -> tuple[Ids, list[bytes]]:
        """Which of ascending ids [n] are there [m], and what is kept of them."""
        chosen = self._seen & regions.c.photo_id.in_(ids.tolist())
        statement = sa.select(regions.c.photo_id, regions.c.vectors).where(chosen)
        rows = connection.execute(statement.order_by(regions.c.photo_id)).all()
        size = packed_size(self._pipeline.dim)
        damaged = next((photo for photo, content in rows if len(content) != size), None)
        if damaged is not None:
            raise LibraryError(f"the parts of photo {damaged} are damaged: run `sensorium library repair`")
        found = np.fromiter((row[0] for row in rows), np.int64, len(rows))
        return np.searchsorted(ids, found), [row[1] for row in rows]

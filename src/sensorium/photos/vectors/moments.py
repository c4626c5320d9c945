"""Videos as a search sees them: each is as good as the best of its frames, and that one says when.

``Moments`` answers like the ``Matrix`` that it is put around, and hands everything on to it where there are
no videos. The frames of videos are few: they are kept in memory, read again when others were written, and
scored all of them for each query, so that answers stay exact.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from sqlalchemy.engine import Connection

from sensorium.errors import LibraryError
from sensorium.photos.database import schema
from sensorium.photos.database.store import Store
from sensorium.photos.vectors.index import ordered
from sensorium.photos.vectors.matrix import Matrix
from sensorium.photos.vectors.sieve import BLOCK, Halves, Ids, Mask, Scores

_frames, _photos = schema.frames, schema.photos


@dataclass(frozen=True, slots=True, eq=False)
class _Frames:
    """Frames [m] by rising photo and moment.

    ``videos`` [n] are the photos, ``starts`` [n] where their frames begin, ``shown`` [n] which of them
    answer. ``stamp`` tells which frames these are, ``generation`` as of when.
    """

    videos: Ids
    starts: Ids
    at: NDArray[np.float64]
    halves: Halves
    shown: Mask
    stamp: tuple[int, int] = (0, 0)
    generation: int = -1

    def scores(self, query: Scores) -> Scores:
        """Of each frame [m]."""
        scores = np.empty(len(self.at), np.float32)
        for start in range(0, len(scores), BLOCK):
            part = self.halves[start : start + BLOCK].astype(np.float32)
            np.vecdot(part, query, out=scores[start : start + BLOCK])
        return scores

    def best(self, query: Scores) -> Scores:
        """Of each video [n] the score of its best frame."""
        best: Scores = np.maximum.reduceat(self.scores(query), self.starts)
        return best


def _none(dim: int) -> _Frames:
    nothing = np.empty(0, np.int64)
    return _Frames(nothing, nothing, np.empty(0), np.empty((0, dim), np.float16), np.empty(0, bool))


class Moments:
    """A ``VectorIndex`` over a pipeline's photos and the frames of its videos. Safe to use from threads."""

    def __init__(self, store: Store, matrix: Matrix) -> None:
        self.matrix = matrix
        self._store = store
        self._frames = _none(matrix.pipeline.dim)
        self._mutex = threading.Lock()

    def refresh(self) -> None:
        """Take up what the library held when the matrix was refreshed, or later. Raises LibraryError."""
        with self._mutex:
            if self._frames.generation != self.matrix.generation:
                with self._store.reading() as connection:
                    self._frames = self._read(connection)

    def __len__(self) -> int:
        """How many photos can answer."""
        return len(self.matrix)

    def ids(self) -> Ids:
        """As in VectorIndex."""
        return np.union1d(self.matrix.ids(), self._frames.videos[self._frames.shown])

    def search(self, query: Scores, k: int, ids: Ids | None = None) -> tuple[Ids, Scores]:
        """As in VectorIndex."""
        return self.with_videos(*self.matrix.search(query, k, ids), query, k, ids=ids)

    def above(self, query: Scores, least: float, ids: Ids | None = None, k: int = 0) -> tuple[Ids, Scores]:
        """As in VectorIndex."""
        return self.with_videos(*self.matrix.above(query, least, ids, k), query, k, least, ids)

    def scores(self, query: Scores, ids: Ids) -> Scores:
        """As in VectorIndex."""
        scores = self.matrix.scores(query, ids)
        frames = self._frames
        if len(frames.videos) and np.isfinite(query).all():
            places = np.minimum(np.searchsorted(frames.videos, ids), len(frames.videos) - 1)
            mine = (frames.videos[places] == ids) & frames.shown[places]
            best = frames.best(np.ascontiguousarray(query, np.float32))
            scores[mine] = np.fmax(scores[mine], best[places[mine]])
        return scores

    def moments(
        self, queries: Sequence[Scores], weights: Sequence[float], ids: Sequence[int]
    ) -> dict[int, float]:
        """Of the videos among ``ids`` the second that shows best what queries of a weight above 0 want."""
        frames = self._frames
        wanted = [(query, weight) for query, weight in zip(queries, weights, strict=True) if weight > 0]
        mine = np.flatnonzero(np.isin(frames.videos, np.asarray(ids, np.int64)))
        if not len(mine) or not wanted:
            return {}
        likeness = np.zeros(len(frames.at), np.float32)
        for query, weight in wanted:
            likeness += weight * frames.scores(np.ascontiguousarray(query, np.float32))
        ends = np.append(frames.starts, len(frames.at))
        found = {}
        for place in mine.tolist():
            start, end = int(ends[place]), int(ends[place + 1])
            found[int(frames.videos[place])] = float(frames.at[start + int(likeness[start:end].argmax())])
        return found

    def with_videos(
        self,
        found: Ids,
        scores: Scores,
        query: Scores,
        k: int,
        least: float = np.inf,
        ids: Ids | None = None,
    ) -> tuple[Ids, Scores]:
        """What a search among the photos alone found, with videos by their best frames; cut as in `above`."""
        frames = self._frames
        query = np.ascontiguousarray(query, np.float32)
        if not len(frames.videos) or not np.isfinite(query).all():
            return found, scores
        allowed = frames.shown if ids is None else frames.shown & np.isin(frames.videos, ids)
        videos, best = frames.videos[allowed], frames.best(query)[allowed]
        best = np.fmax(best, self.matrix.scores(query, videos))  # of the poster, should its frame be lost
        others = ~np.isin(found, videos)
        together, scored = np.concatenate((found[others], videos)), np.concatenate((scores[others], best))
        return ordered(together, scored, max(k, int(np.count_nonzero(scored >= least))))

    def _read(self, connection: Connection) -> _Frames:
        pipeline = self.matrix.pipeline
        of_pipeline = _frames.c.pipeline_id == pipeline.id
        counted = sa.select(sa.func.count(), sa.func.coalesce(sa.func.max(_frames.c.written), 0))
        count, written = connection.execute(counted.where(of_pipeline)).one()
        frames = self._frames
        if frames.stamp != (count, written):
            rows = connection.execute(
                sa.select(_frames.c.photo_id, _frames.c.at, _frames.c.vector)
                .where(of_pipeline)
                .order_by(_frames.c.photo_id, _frames.c.at)
            ).all()
            frames = _gathered(rows, pipeline.dim)
        out_of_sight = _photos.c.missing_since.is_not(None) | _photos.c.hidden
        films = (
            sa.select(_photos.c.id).where(out_of_sight)
            if count
            else sa.select(_photos.c.id).where(sa.false())
        )
        unseen = np.fromiter(connection.scalars(films), np.int64)
        return _Frames(
            frames.videos,
            frames.starts,
            frames.at,
            frames.halves,
            ~np.isin(frames.videos, unseen),
            (count, written),
            self.matrix.generation,
        )


def _gathered(rows: Sequence[sa.Row[int, float, bytes]], dim: int) -> _Frames:
    """Frames of rows in their order."""
    damaged = next((photo for photo, _, vector in rows if len(vector) != 2 * dim), None)
    if damaged is not None:
        raise LibraryError(f"a frame of video {damaged} is damaged: run `sensorium library repair`")
    if not rows:
        return _none(dim)
    owners = np.fromiter((row[0] for row in rows), np.int64, len(rows))
    videos, starts = np.unique(owners, return_index=True)
    halves = np.frombuffer(b"".join([row[2] for row in rows]), "<f2").astype(np.float16, copy=False)
    at = np.fromiter((row[1] for row in rows), np.float64, len(rows))
    return _Frames(videos, starts, at, halves.reshape(len(rows), dim), np.ones(len(videos), bool))

"""From a query vector to hits: which photos, how alike, when and where taken, and why they are shown."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sensorium.photos.describe import local_time
from sensorium.photos.names import join
from sensorium.photos.scan import reason_offline
from sensorium.photos.store import Pipeline, Store
from sensorium.photos.vectors import VectorIndex, index_for


@dataclass(frozen=True, slots=True)
class Hit:
    """One photo of an answer.

    ``score`` is the cosine of photo and query, at most 1; compare it only within one model.
    ``taken_at`` is the time on the spot, with its zone when the photo tells it. ``place`` is where the
    photo was taken. ``why`` says in words why it is here.
    """

    path: Path
    score: float
    taken_at: datetime | None
    place: str | None
    why: str


class Searcher:
    """The vectors of one library in memory, read again whenever the library has changed."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._index: VectorIndex | None = None
        self._state: tuple[int, int] | None = None

    def nearest(
        self, pipeline: Pipeline, query: NDArray[np.float32], k: int, *, without: int | None = None
    ) -> list[tuple[int, float]]:
        """Ids and scores of the ``k`` photos nearest to a query [d], best first, never ``without``."""
        index = self.read(pipeline)
        ids, scores = index.search(np.ascontiguousarray(query, np.float32), k + (without is not None))
        pairs = zip(ids.tolist(), scores.tolist(), strict=True)
        return [(photo, score) for photo, score in pairs if photo != without][:k]

    def read(self, pipeline: Pipeline) -> VectorIndex:
        """The index of a pipeline as the library is now; read from its file only when it changed."""
        state = (pipeline.id, self._store.generation())
        if self._index is None or state != self._state:
            ids, vectors = self._store.vectors(pipeline)
            self._index = index_for(len(ids), pipeline.dim)
            self._index.rebuild(ids, vectors)
            self._state = state
        return self._index


def hits(store: Store, found: list[tuple[int, float]], why: Callable[[Any], str]) -> list[Hit]:
    """Hits for ids and scores, in their order. ``why`` explains a photo from its row."""
    rows = store.photos([photo for photo, _ in found])
    offline = {root: reason_offline(root) is not None for root in {row.root for row in rows.values()}}
    return [
        Hit(
            path=Path(join(row.root, row.path)),
            score=score,
            taken_at=local_time(row.taken_at, row.taken_offset),
            place=place(row.latitude, row.longitude),
            why=why(row) + (", offline now" if offline[row.root] else ""),
        )
        for photo, score in found
        if (row := rows.get(photo)) is not None
    ]


def place(latitude: float | None, longitude: float | None) -> str | None:
    """Coordinates as people write them: "48.8584°N 2.2945°E"."""
    if latitude is None or longitude is None:
        return None
    north = f"{abs(latitude):.4f}°{'N' if latitude >= 0 else 'S'}"
    return f"{north} {abs(longitude):.4f}°{'E' if longitude >= 0 else 'W'}"

"""Libraries with vectors made up on the spot, for tests of what searches them."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import sqlalchemy as sa

from sensorium.photos.database import schema
from sensorium.photos.database.store import Pipeline, Store

DIM = 24


def unit(rng: np.random.Generator, count: int, dim: int = DIM) -> np.ndarray:
    rows = rng.standard_normal((count, dim))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float16)


class Shelf:
    """A library in a folder, and what it should answer."""

    def __init__(self, folder: Path, identity: str = "pipeline", seed: int = 0) -> None:
        self.store = Store(folder, create=True)
        self.root = self.store.add_root("/photos").id
        self.pipeline: Pipeline = self.store.add_pipeline("model", identity, DIM)
        self.rng = np.random.default_rng(seed)
        self.truth: dict[int, np.ndarray] = {}

    def add(self, count: int, vectors: np.ndarray | None = None) -> list[int]:
        """New photos with vectors; their ids."""
        rows = unit(self.rng, count) if vectors is None else vectors
        with self.store.writing(advance=True) as connection:
            first = connection.scalar(sa.select(sa.func.max(schema.photos.c.id))) or 0
            ids = list(range(first + 1, first + 1 + count))
            connection.execute(sa.insert(schema.photos), [self._photo(i) for i in ids])
            self._write(connection, ids, rows)
        return ids

    def _photo(self, i: int) -> dict:
        return {
            "id": i, "root_id": self.root, "path": f"{i}.jpg", "size": 1, "mtime_ns": 1,
            "sha256": i.to_bytes(32, "big"), "kind": "photo", "format": "JPEG", "width": 1, "height": 1,
            "orientation": 1, "facts_version": 1, "first_seen": 0, "last_seen": 0,
        }  # fmt: skip

    def _write(self, connection, ids: list[int], rows: np.ndarray) -> None:
        written = connection.scalar(sa.select(schema.library.c.vectors_generation)) + 1
        content = [
            {"photo_id": i, "pipeline_id": self.pipeline.id, "vector": row.tobytes(), "written": written}
            for i, row in zip(ids, rows, strict=True)
        ]
        connection.execute(sa.insert(schema.vectors).prefix_with("OR REPLACE"), content)
        self.truth.update(zip(ids, rows, strict=True))

    def change(self, ids: list[int]) -> None:
        """Other pictures at the same places."""
        with self.store.writing(advance=True) as connection:
            self._write(connection, ids, unit(self.rng, len(ids)))

    def delete(self, ids: Iterable[int]) -> None:
        with self.store.writing(advance=True) as connection:
            for i in ids:
                connection.execute(sa.delete(schema.photos).where(schema.photos.c.id == i))
                self.truth.pop(i)

    def lose(self, ids: list[int]) -> dict[int, np.ndarray]:
        """Their files are gone; what ``find_again`` takes back."""
        self._mark(ids, 1)
        return {i: self.truth.pop(i) for i in ids}

    def find_again(self, lost: dict[int, np.ndarray]) -> None:
        self._mark(list(lost), None)
        self.truth.update(lost)

    def _mark(self, ids: list[int], missing_since: int | None) -> None:
        with self.store.writing(advance=True) as connection:
            chosen = sa.update(schema.photos).where(schema.photos.c.id.in_(ids))
            connection.execute(chosen.values(missing_since=missing_since))

    def query(self) -> np.ndarray:
        return unit(self.rng, 1)[0].astype(np.float32)

    def brute(self, query: np.ndarray, k: int, allowed: Iterable[int] | None = None) -> list[int]:
        ids = np.array(sorted(self.truth if allowed is None else self.truth.keys() & set(allowed)), int)
        if not len(ids):
            return []
        scores = np.vecdot(np.stack([self.truth[i] for i in ids.tolist()]).astype(np.float32), query)
        return ids[np.lexsort((ids, -scores))[:k]].tolist()

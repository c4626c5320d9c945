"""The folder ``matrix`` of a library: which segments there are, who may change them, what to believe.

Only a process that holds the lock writes. A new segment has a new name; nobody looks at it before the
manifest names it, and what the manifest no longer names is removed.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from sensorium.photos.vectors import segments
from sensorium.photos.vectors.index import NUMPY_UP_TO, Rows
from sensorium.photos.vectors.segments import Blocks, DamagedError, Manifest
from sensorium.photos.vectors.sieve import FaissSieve, Halves, Ids, Mask, NumpySieve

FOLDER = "matrix"


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """Some rows [n], which of them were replaced or deleted since, and the name of their segment, if any."""

    rows: Rows
    removed: Mask
    name: str | None = None

    def __len__(self) -> int:
        """How many are left."""
        return len(self.removed) - int(np.count_nonzero(self.removed))

    def without(self, ids: Ids) -> Piece:
        """The same without some ids."""
        gone: Mask = np.isin(self.rows.ids, ids) & ~self.removed
        return replace(self, removed=self.removed | gone) if gone.any() else self

    def content(self) -> tuple[Ids, Halves]:
        """Copies of what is left. Raises DamagedError."""
        kept = np.flatnonzero(~self.removed)
        return self.rows.ids[kept], self.rows.take(kept)


def in_memory(ids: Ids, halves: Halves) -> Piece:
    """A piece without a file: ids [n], ascending, n at least 1, and vectors [n, d]."""
    sieve = NumpySieve(halves) if len(ids) <= NUMPY_UP_TO else FaissSieve.of(halves)
    return Piece(Rows(ids, halves, sieve), np.zeros(len(ids), bool))


def discard(folder: Path) -> None:
    """Throw away all copies in a library folder, for instance because its file was replaced."""
    for path in (folder / FOLDER).glob("*"):
        with suppress(OSError):  # what is left is compared with the library before it is believed
            path.unlink()


class Cabinet:
    """The copy of one pipeline of a library.

    ``key`` says of which library and pipeline, and in which format. ``each`` may run checks side by side.
    """

    def __init__(self, folder: Path, pipeline_id: int, dim: int, key: str, each: Blocks = map) -> None:
        self._folder = folder / FOLDER
        self._id, self._dim, self._key, self._each = pipeline_id, dim, key, each
        self._manifest = self._folder / f"{pipeline_id}.manifest"
        self.may_write = False

    @staticmethod
    def is_there(folder: Path, pipeline_id: int) -> bool:
        """Whether a library folder has a copy of a pipeline, good or not."""
        return (folder / FOLDER / f"{pipeline_id}.manifest").exists()

    def names(self) -> tuple[str, ...]:
        """Segments that are there now, as far as they can be ours."""
        try:
            manifest = segments.read_manifest(self._manifest)
        except (OSError, DamagedError):
            return ()
        return manifest.names if manifest.key == self._key else ()

    def open(self) -> tuple[tuple[Piece, ...], int]:
        """All pieces, and the generation up to which they are complete.

        Raises DamagedError or OSError when there is no copy that can be believed.
        """
        manifest = segments.read_manifest(self._manifest)
        if manifest.key != self._key:
            raise DamagedError(self._manifest)
        pieces = tuple(self._piece(name, manifest.removed.get(name)) for name in manifest.names)
        return pieces, manifest.generation

    def _piece(self, name: str, removed: Mask | None = None) -> Piece:
        rows = segments.open_segment(self._folder / name, self._key, self._dim, self._each)
        count = len(rows.ids)
        return Piece(rows, np.zeros(count, bool) if removed is None else removed[:count], name)

    @contextmanager
    def lock(self, timeout: float) -> Iterator[Cabinet]:
        """While the block runs nobody else writes; ``may_write`` tells whether this process may."""
        from filelock import FileLock

        lock = FileLock(self._folder / "lock")
        try:
            self._folder.mkdir(exist_ok=True)
            lock.acquire(timeout=timeout)
        except OSError:  # the folder cannot be written, or somebody else is at it
            yield self
            return
        self.may_write = True
        try:
            yield self
        finally:
            self.may_write = False
            lock.release()

    def store(self, ids: Ids, halves: Halves) -> Piece:
        """A piece for ids [n], ascending, n at least 1, and vectors [n, d]: in a file if that can be."""
        name = f"{self._id}-{uuid.uuid4().hex}.segment"
        while self.may_write:
            try:
                segments.write_segment(self._folder / name, self._key, ids, halves)
                return self._piece(name)
            except (OSError, DamagedError):
                self.may_write = False  # a full disk, or a broken one: a search needs neither
        return in_memory(ids, halves)

    def keep(self, pieces: Sequence[Piece], generation: int, others: Sequence[int]) -> bool:
        """Name the pieces' segments in the manifest; remove what neither it nor ``others`` (pipelines) need.

        Returns whether it could be written.
        """
        removed = {piece.name: piece.removed for piece in pieces if piece.name and piece.removed.any()}
        names = tuple(piece.name for piece in pieces if piece.name)
        if not self.may_write:
            return False
        try:
            segments.write_manifest(self._manifest, Manifest(self._key, generation, names, removed))
        except OSError:
            return False
        used = {*names, self._manifest.name, f"{self._id}.graph", f"{self._id}.graph.json", "lock"}
        belonging = tuple(f"{pipeline_id}{mark}" for pipeline_id in others for mark in ".-")
        for path in self._folder.iterdir():
            if path.name not in used and not path.name.startswith(belonging):
                with suppress(OSError):  # some systems keep a file that a process has mapped: next time
                    path.unlink()
        return True

    def forget(self) -> None:
        """Throw this copy away."""
        with suppress(OSError):
            self._manifest.unlink(missing_ok=True)

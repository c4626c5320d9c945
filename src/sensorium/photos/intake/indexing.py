"""One run of the indexer: scan, read in other processes, encode, keep; told as a series of events.

Data goes one way. Reading processes decode while the network encodes here; both queues are bounded.
A batch of photos with their vectors is one transaction, so that a run killed at any point has lost at
most the batch in flight, and the next run goes on from what is there. A reading carries the identity
of its own file from the first to the last step: a file that fails shifts nobody's vector.

A switch to another model (``model`` is not the one that answers) takes every root and ends when no photo
lacks its vector; until then the old model answers. An interrupted switch goes on with the next run that
names the model; runs that do not name it keep the model that answers up to date, and say that the switch
is unfinished (``Report.unfinished``).
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sensorium.errors import LibraryError
from sensorium.photos import golden
from sensorium.photos.database.locks import alone
from sensorium.photos.database.records import Encoded, Moved
from sensorium.photos.database.store import Failure, Pipeline, Root, Store
from sensorium.photos.encoder import Encoder
from sensorium.photos.files.companions import Companion
from sensorium.photos.files.names import join, printable, relative_to
from sensorium.photos.files.scan import EMPTY, Changes, Walk, compare, reason_offline, walk
from sensorium.photos.files.stamps import Stamp
from sensorium.photos.intake.pool import Pool
from sensorium.photos.intake.report import Clock, Event, Finished, Preparing, Progress, Report, Scanned
from sensorium.photos.intake.worker import Reading, Task

__all__ = [
    "BATCH",
    "Event",
    "Finished",
    "Preparing",
    "Progress",
    "Report",
    "Scanned",
    "check_folders",
    "index",
]

BATCH = 32
_MOST_CONTENTS = 1000  # sent along with a task; bitmaps of one scanner may all have one size
_QUEUED = 4 * BATCH  # tasks handed out ahead, so that the readers are busy while a batch is encoded
_ANNOTATED = 500  # photos whose places are named anew in one transaction


def index(
    store: Store,
    folders: Sequence[str | os.PathLike[str]],
    encoder: Encoder,
    *,
    model: str,
    workers: int,
    batch: int = BATCH,
    settle: float = 0.0,
) -> Generator[Event, None, None]:
    """Bring the library up to date with folders; without any, with all that it looks after.

    Yields events; stopping the iteration at any point is safe. With another model than the one that
    answers searches, every root is taken, and that model answers only once no photo lacks its vector.

    Args:
        store: The library.
        folders: What to index.
        encoder: The model.
        model: What opens the model again: its name, or its folder.
        workers: Number of reading processes.
        batch: Photos in one batch and one transaction.
        settle: Leave files that changed less than so many seconds ago, perhaps half copied, for a later run.

    Raises:
        LibraryError: A folder does not exist. LibraryBusyError: another indexer is at work on this library.
    """
    clock = Clock(default_workers())
    known = [root.path for root in store.roots()]
    targets = check_folders(folders, store.folder, known=known) or known
    with alone(store.folder):
        pipeline = store.pipeline(encoder.pipeline)
        if pipeline is None:
            yield Preparing(model)
        if pipeline is None or pipeline.model != model:
            pipeline = store.add_pipeline(model, encoder.pipeline, encoder.dim)
        active = store.active_pipeline()
        if active and active.model == model and active.id != pipeline.id:
            # The model itself was replaced: nothing can put words into the old one's space any more.
            store.activate(pipeline.id)
            pipeline = pipeline._replace(active=True)
        yield from _run(store, targets, encoder, pipeline, workers, batch, settle, clock)


def check_folders(
    folders: Sequence[str | os.PathLike[str]],
    library: str | os.PathLike[str],
    *,
    known: Sequence[str] = (),
) -> list[str]:
    """Absolute paths of folders to index, each once; refused when one cannot be meant.

    Asked before a library is made, too, so that a mistyped name leaves no empty library behind.

    Args:
        folders: As they were named.
        library: The library's own folder, existing or not.
        known: Paths that the library looks after; these need not exist at the moment.

    Raises:
        LibraryError: A folder does not exist, is a file, or is the library's own; or there is none at all.
    """
    own = os.path.realpath(library)
    if not folders and not known:
        raise LibraryError(f"{printable(own)} looks after no folder yet: name one to index")
    targets = []
    for folder in folders:
        try:
            path = os.path.realpath(folder)
        except ValueError:  # a zero byte
            raise LibraryError(f"no such folder: {printable(os.fspath(folder))}") from None
        if path not in known:
            if not os.path.exists(path):  # noqa: PTH110
                raise LibraryError(f"no such folder: {printable(path)}")
            if not os.path.isdir(path):  # noqa: PTH112
                raise LibraryError(f"{printable(path)} is a file: name the folder that it lies in")
        if relative_to(path, own) is not None:
            raise LibraryError(
                f"{printable(path)} lies in the library's own folder: keep the library elsewhere (--library)"
            )
        targets.append(path)
    return list(dict.fromkeys(targets))


def _run(
    store: Store,
    targets: list[str],
    encoder: Encoder,
    pipeline: Pipeline,
    workers: int,
    batch: int,
    settle: float,
    clock: Clock,
) -> Iterator[Event]:
    report = Report(model=pipeline.model)
    places = _places(store, targets, every=not pipeline.active)
    run = _Run(store, encoder, pipeline, {root.path: root.id for root, _ in places}, report, clock)
    for root, within in places:
        scanned = run.scan(root, within, settle)
        if scanned is not None:
            yield scanned
    total = len(run.items)
    for done in run.take_all(workers, batch):
        clock.tell(report)
        yield Progress(done, total, report)
    run.forget_roots()
    while store.refresh(_ANNOTATED) == _ANNOTATED:
        pass
    report.waiting = store.finish(pipeline.id)
    report.unfinished = [(begun.model, waiting) for begun, waiting in store.unfinished()]
    active = store.active_pipeline()
    report.answering = active.model if active else ""
    clock.tell(report)
    yield Finished(report)


def _places(store: Store, targets: list[str], *, every: bool) -> list[tuple[Root, str]]:
    """What to walk: roots, and the folder inside each. A folder inside a known root stays part of it."""
    for target in targets:
        if not any(relative_to(target, root.path) is not None for root in store.roots()):
            store.add_root(target)
    roots = store.roots()
    if every:
        return [(root, "") for root in roots]
    places: dict[tuple[Root, str], None] = {}
    for target in targets:
        for root in roots:
            within = relative_to(target, root.path)
            if within is not None:
                places[root, within] = None
    whole = {root for root, within in places if not within}
    return [(root, within) for root, within in places if not within or root not in whole]


@dataclass(frozen=True, slots=True)
class _Item:
    """A file to open. ``list`` names the list of `Changes` that it was found in."""

    root: Root
    path: str
    stamp: Stamp
    companions: tuple[Companion, ...]
    list: str


class _Run:
    """The files that one run finds, reads, encodes and keeps."""

    def __init__(
        self,
        store: Store,
        encoder: Encoder,
        pipeline: Pipeline,
        root_ids: dict[str, int],
        report: Report,
        clock: Clock,
    ) -> None:
        self.trusted = False  # whether the encoder was compared with its golden values
        self.store = store
        self.encoder = encoder
        self.pipeline = pipeline
        self.root_ids = root_ids
        self.report = report
        self.clock = clock
        self.items: deque[_Item] = deque()
        self.awaited: set[Stamp] = set()  # of files under new paths or with new stamps
        self.gone: set[int] = set()
        self.under_way: dict[tuple[str, str], _Item] = {}
        # Vectors that may be reused, of the tasks that are under way.
        self.reusable: dict[tuple[str, str], dict[bytes, bytes]] = {}
        self.heirs: dict[int, int] = {}  # roots whose photos moved into others

    def scan(self, root: Root, within: str, settle: float) -> Scanned | None:
        """Walk one place, write down what went and came, and queue what is to be read."""
        reason = reason_offline(root.path)
        known = self.store.known(root.id, self.pipeline.id)
        if reason and (known or reason != EMPTY):
            self.report.offline.append(Failure(root.path, reason))
            return None
        found = walk(root.path, within, library=str(self.store.folder), settle=settle)
        changes = compare(found, known, within)
        belonging = {
            photo: found.companions.get(path, ())
            for path in changes.accompanied
            if (photo := known[path].photo_id) is not None
        }
        self.store.note_scan(root, changes, belonging)
        report = self.report
        report.new += len(changes.new)
        report.changed += len(changes.changed)
        report.unchanged += changes.unchanged
        report.gone += len(changes.gone)
        report.returned += len(changes.returned)
        report.failed_before += changes.failed_before
        report.unsettled += len(found.unsettled)
        for folder, why in found.unreadable.items():
            report.unreadable.append(Failure(join(root.path, folder) if folder else root.path, why))
        self.gone.update(changes.gone)
        self._queue(root, found, changes)
        return Scanned(root.path, len(found.files), len(changes.to_read), report)

    def _queue(self, root: Root, found: Walk, changes: Changes) -> None:
        # Changed files come first: what they held before may lie elsewhere now.
        for name in ("changed", "new", "pending", "stale"):
            for path in getattr(changes, name):
                companions = found.companions.get(path, ())
                self.items.append(_Item(root, path, found.files[path], companions, name))
        self.awaited.update(found.files[path] for path in changes.new + changes.changed)

    def take_all(self, workers: int, batch: int) -> Iterator[int]:
        """Read, encode and keep all items; yields how many are done after each batch."""
        if not self.items:
            return
        done, waiting = 0, 0
        readings: list[Reading] = []
        with Pool(self.encoder.image_spec, min(workers, len(self.items)), waiting=2 * batch) as pool:
            while self.items or waiting:
                if self.items and waiting <= _QUEUED // 2:
                    part = [self.items.popleft() for _ in range(min(len(self.items), _QUEUED - waiting))]
                    for task in self.tasks(part):
                        pool.submit(task)
                    waiting += len(part)
                with self.clock.spending("waiting"):
                    readings.append(pool.take())
                self.clock.add(readings[-1])
                waiting -= 1
                if len(readings) >= batch or not (self.items or waiting):
                    self.keep(readings)
                    done += len(readings)
                    readings = []
                    yield done

    def tasks(self, items: list[_Item]) -> Iterator[Task]:
        """Tasks for files, each with the contents of its size that the library has vectors for."""
        contents: dict[tuple[int, str], bytes] = {}
        stale: dict[int, list[str]] = {}
        for item in items:
            if item.list == "stale":
                stale.setdefault(item.root.id, []).append(item.path)
        for root_id, paths in stale.items():
            found = self.store.contents(root_id, paths)
            contents.update(((root_id, path), content) for path, content in found.items())
        sizes = list({item.stamp.size for item in items if item.list != "stale"})
        candidates = self.store.candidates(sizes, self.pipeline.id)
        for item in items:
            key = item.root.path, item.path
            content = contents.get((item.root.id, item.path))
            same_size = candidates.get(item.stamp.size, {}) if content is None else {}
            known = tuple(same_size) if len(same_size) <= _MOST_CONTENTS else ()
            if known:
                self.reusable[key] = same_size
            self.under_way[key] = item
            yield Task(*key, item.stamp, known, item.companions, content)

    def keep(self, readings: list[Reading]) -> None:
        """Encode what was read and commit it together with what was refused."""
        refused = [reading for reading in readings if reading.reason is not None]
        whole = [reading for reading in readings if reading.reason is None]
        described = [reading for reading in whole if reading.sha256 == reading.task.content]
        read = [reading for reading in whole if reading.sha256 != reading.task.content]
        taken, fresh = self.reuse(read)
        reused = len(taken)
        with self.clock.spending("encoding"):
            encoded, unusable = self.encode(fresh)
        refused += unusable
        taken += encoded + [Encoded(reading, None) for reading in described]
        with self.clock.spending("keeping"):
            moved = self.store.keep(self.root_ids, self.pipeline.id, taken, refused, self.awaited)
        # Counted at once and not before: whoever is interrupted is told what is kept.
        self.report.reused += reused
        self.report.encoded += len(encoded)
        self.report.described += len(described)
        self.count_moved(moved)
        for reading in readings:
            key = reading.task.root, reading.task.path
            self.reusable.pop(key, None)
            del self.under_way[key]
        for reading in refused:
            full = join(reading.task.root, reading.task.path)
            self.report.failed.append(Failure(full, reading.reason or ""))

    def reuse(self, readings: list[Reading]) -> tuple[list[Encoded], list[Reading]]:
        """Readings whose content has a vector already, with it; and those that are to be encoded."""
        # Asked again by content: what was kept since the task was made, and sizes with too many contents.
        contents = self.store.vectors_of_contents(
            [_content(reading) for reading in readings], self.pipeline.id
        )
        taken: list[Encoded] = []
        fresh: list[Reading] = []
        for reading in readings:
            handed = self.reusable.get((reading.task.root, reading.task.path), {})
            blob = handed.get(_content(reading)) or contents.get(_content(reading))
            if blob is None:
                fresh.append(reading)
            else:
                taken.append(Encoded(reading, np.frombuffer(blob, "<f2")))
        return taken, fresh

    def encode(self, readings: list[Reading]) -> tuple[list[Encoded], list[Reading]]:
        """Vectors for readings with pixels; those for which the network has no usable one come second."""
        # Copies that come together are encoded once.
        first: dict[bytes, Reading] = {}
        for reading in readings:
            first.setdefault(_content(reading), reading)
        if not first:
            return [], []
        rows = self.embed(np.stack([_pixels(reading) for reading in first.values()]))
        if not self.trusted:  # not before the image tower has seen real photos
            golden.keep(self.store, self.pipeline, self.encoder)
            self.trusted = True
        vectors = dict(zip(first, rows, strict=True))
        moments = {content: self.moments(reading) for content, reading in first.items()}
        encoded, unusable = [], []
        for reading in readings:
            row = vectors[_content(reading)]
            if _is_usable(row):
                encoded.append(Encoded(reading, row.astype(np.float16), moments[_content(reading)]))
            else:
                reason = f"{self.encoder.name} gave no usable vector for it"
                unusable.append(Reading(reading.task, reading.stamp, reason=reason))
        return encoded, unusable

    def embed(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Vectors [n, d] of prepared pictures [n, height, width, 3]. Raises LibraryError for other shapes."""
        rows = np.asarray(self.encoder.embed_pixels(pixels), np.float32)
        if rows.shape != (len(pixels), self.pipeline.dim):
            raise LibraryError(
                f"{self.encoder.name} gave vectors of shape {rows.shape} for {len(pixels)} photos; "
                f"this library has them with {self.pipeline.dim} numbers"
            )
        return rows

    def moments(self, reading: Reading) -> tuple[tuple[float, NDArray[np.float16]], ...]:
        """Seconds and vectors of a video's frames; nothing of a photo."""
        if reading.frames is None:
            return ()
        rows = zip(reading.moments, self.embed(reading.frames), strict=True)
        return tuple((at, row.astype(np.float16)) for at, row in rows if _is_usable(row))

    def count_moved(self, moved: Sequence[Moved]) -> None:
        """Photos that kept their identity were neither new nor gone."""
        paths = {root_id: path for path, root_id in self.root_ids.items()}
        for move in moved:
            item = self.under_way[paths[move.root_id], move.path]
            self.report.moved += 1
            self.report.new -= item.list == "new"
            self.report.changed -= item.list == "changed"
            self.report.gone -= move.photo_id in self.gone
            self.gone.discard(move.photo_id)
            if move.from_root != move.root_id:
                self.heirs[move.from_root] = move.root_id

    def forget_roots(self) -> None:
        """Let go of folders that were renamed or moved: nothing lies there, and all their photos left."""
        paths = {root.id: root.path for root in self.store.roots()}
        for root_id, heir in self.heirs.items():
            if (
                root_id in paths
                and not os.path.lexists(paths[root_id])
                and self.store.forget_root(root_id, heir)
            ):
                self.report.offline = [told for told in self.report.offline if told.path != paths[root_id]]


def _content(reading: Reading) -> bytes:
    assert reading.sha256 is not None
    return reading.sha256


def _is_usable(row: NDArray[np.float32]) -> bool:
    return bool(np.isfinite(row).all() and row.any())


def _pixels(reading: Reading) -> NDArray[np.uint8]:
    assert reading.pixels is not None
    return reading.pixels


def default_workers() -> int:
    """One reading process for each processor that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1

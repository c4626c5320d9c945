"""One run of the indexer: scan, read in other processes, encode, keep; told as a series of events.

Data goes one way. Reading processes decode while the network encodes here; both queues are bounded.
A batch of photos with their vectors is one transaction, so that a run killed at any point has lost at
most the batch in flight, and the next run goes on from what is there. A reading carries the identity
of its own file from the first to the last step: a file that fails shifts nobody's vector.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from sensorium.errors import LibraryError
from sensorium.photos.encoder import Encoder
from sensorium.photos.names import join, printable, relative_to
from sensorium.photos.pool import Pool
from sensorium.photos.scan import EMPTY, Stamp, compare, reason_offline, walk
from sensorium.photos.store import Encoded, Failure, Pipeline, Root, Store
from sensorium.photos.worker import Reading, Task

BATCH = 32
_MOST_CONTENTS = 1000  # sent along with a task; bitmaps of one scanner may all have one size
_QUEUED = 4 * BATCH  # tasks handed out ahead, so that the readers are busy while a batch is encoded


@dataclass(slots=True)
class Report:
    """What a run did, in numbers of files. ``failed`` and ``unreadable`` list this run's refusals."""

    model: str
    new: int = 0
    changed: int = 0
    unchanged: int = 0
    gone: int = 0
    returned: int = 0
    failed_before: int = 0  # known to be bad and not tried again
    encoded: int = 0
    reused: int = 0  # taken without encoding: the library had a vector for the same content
    failed: list[Failure] = field(default_factory=list)
    unreadable: list[Failure] = field(default_factory=list)  # folders
    offline: list[Failure] = field(default_factory=list)  # roots, with the reason
    waiting: int = 0  # photos still without a vector of this model
    answering: str = ""  # the model that answers searches after this run
    seconds: float = 0.0

    @property
    def kept(self) -> int:
        """Photos written by this run."""
        return self.encoded + self.reused


@dataclass(frozen=True, slots=True)
class Preparing:
    """The library meets a model for the first time; making it fast on this machine may take a minute."""

    model: str


@dataclass(frozen=True, slots=True)
class Scanned:
    """A folder was compared with the library."""

    root: str
    found: int
    to_read: int


@dataclass(frozen=True, slots=True)
class Progress:
    """A batch was kept. ``report`` is the run's own, still growing."""

    done: int
    total: int
    report: Report


@dataclass(frozen=True, slots=True)
class Finished:
    """The run is over."""

    report: Report


Event = Preparing | Scanned | Progress | Finished


def index(
    store: Store,
    folders: Sequence[str | os.PathLike[str]],
    encoder: Encoder,
    *,
    model: str,
    workers: int,
    batch: int = BATCH,
) -> Iterator[Event]:
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

    Raises:
        LibraryError: A folder does not exist, or another indexer is at work on this library.
    """
    started = time.monotonic()
    targets = _targets(store, folders)
    with _alone(store):
        pipeline = store.pipeline(encoder.pipeline)
        if pipeline is None:
            yield Preparing(model)
        if pipeline is None or pipeline.model != model:
            pipeline = store.add_pipeline(model, encoder.pipeline, encoder.dim)
        active = store.active_pipeline()
        if active and active.model == model and active.id != pipeline.id:
            # The model itself was replaced: nothing can put words into the old one's space any more.
            store.activate(pipeline.id)
        yield from _run(store, targets, encoder, pipeline, workers, batch, started)


@contextmanager
def _alone(store: Store) -> Iterator[None]:
    """Hold the library's lock for indexers, which the system lets go when the process ends in any way."""
    from filelock import FileLock, Timeout

    lock = FileLock(store.folder / "index.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise LibraryError(
            f"another `sensorium index` is at work on {printable(store.folder)}: wait until it is done; "
            "searching is possible meanwhile"
        ) from None
    except OSError as error:
        raise LibraryError(
            f"cannot write to the library folder {printable(store.folder)}: {error.strerror}"
        ) from error
    try:
        yield
    finally:
        lock.release()


def _run(
    store: Store,
    targets: list[str],
    encoder: Encoder,
    pipeline: Pipeline,
    workers: int,
    batch: int,
    started: float,
) -> Iterator[Event]:
    report = Report(model=pipeline.model)
    places = _places(store, targets, every=not pipeline.active)
    items: deque[tuple[Root, str, Stamp]] = deque()
    for root, within in places:
        scanned = _scan(store, pipeline, root, within, items, report)
        if scanned is not None:
            yield scanned
    run = _Run(store, encoder, pipeline, {root.path: root.id for root, _ in places}, report)
    total = len(items)
    if items:
        for done in run.take_all(items, workers, batch):
            report.seconds = time.monotonic() - started
            yield Progress(done, total, report)
    report.waiting = store.without_vector(pipeline.id)
    if not pipeline.active and not report.waiting:
        store.activate(pipeline.id)
    active = store.active_pipeline()
    report.answering = active.model if active else ""
    report.seconds = time.monotonic() - started
    yield Finished(report)


def _targets(store: Store, folders: Sequence[str | os.PathLike[str]]) -> list[str]:
    """Absolute paths of the folders to index; refused before anything is done when one cannot be meant."""
    known = [root.path for root in store.roots()]
    if not folders and not known:
        raise LibraryError(f"{printable(store.folder)} looks after no folder yet: name one to index")
    library = os.path.realpath(store.folder)
    targets = []
    for folder in folders:
        path = os.path.realpath(folder)
        if path not in known:
            if not os.path.exists(path):  # noqa: PTH110
                raise LibraryError(f"no such folder: {printable(path)}")
            if not os.path.isdir(path):  # noqa: PTH112
                raise LibraryError(f"{printable(path)} is a file: name the folder that it lies in")
        if relative_to(path, library) is not None:
            raise LibraryError(
                f"{printable(path)} lies in the library's own folder: keep the library elsewhere (--library)"
            )
        targets.append(path)
    return list(dict.fromkeys(targets)) or known


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


def _scan(
    store: Store,
    pipeline: Pipeline,
    root: Root,
    within: str,
    items: deque[tuple[Root, str, Stamp]],
    report: Report,
) -> Scanned | None:
    """Walk one place, write down what went and came, and queue what is to be read."""
    reason = reason_offline(root.path)
    known = store.known(root.id, pipeline.id)
    if reason and (known or reason != EMPTY):
        report.offline.append(Failure(root.path, reason))
        return None
    found = walk(root.path, within, library=str(store.folder))
    changes = compare(found, known, within)
    store.note_scan(root.id, changes)
    report.new += len(changes.new)
    report.changed += len(changes.changed)
    report.unchanged += changes.unchanged
    report.gone += len(changes.gone)
    report.returned += len(changes.returned)
    report.failed_before += changes.failed_before
    for folder, why in found.unreadable.items():
        report.unreadable.append(Failure(join(root.path, folder) if folder else root.path, why))
    items.extend((root, path, found.files[path]) for path in changes.to_read)
    return Scanned(root.path, len(found.files), len(changes.to_read))


class _Run:
    """The files that one run reads, encodes and keeps."""

    def __init__(
        self, store: Store, encoder: Encoder, pipeline: Pipeline, root_ids: dict[str, int], report: Report
    ) -> None:
        self.store = store
        self.encoder = encoder
        self.pipeline = pipeline
        self.root_ids = root_ids
        self.report = report
        # Vectors that may be reused, of the tasks that are under way.
        self.reusable: dict[tuple[str, str], dict[bytes, bytes]] = {}

    def take_all(self, items: deque[tuple[Root, str, Stamp]], workers: int, batch: int) -> Iterator[int]:
        """Read, encode and keep all items; yields how many are done after each batch."""
        done, waiting = 0, 0
        readings: list[Reading] = []
        with Pool(self.encoder.image_spec, min(workers, len(items)), waiting=2 * batch) as pool:
            while items or waiting:
                if items and waiting <= _QUEUED // 2:
                    part = [items.popleft() for _ in range(min(len(items), _QUEUED - waiting))]
                    for task in self.tasks(part):
                        pool.submit(task)
                    waiting += len(part)
                readings.append(pool.take())
                waiting -= 1
                if len(readings) >= batch or not (items or waiting):
                    self.keep(readings)
                    done += len(readings)
                    readings = []
                    yield done

    def tasks(self, items: list[tuple[Root, str, Stamp]]) -> Iterator[Task]:
        """Tasks for files, each with the contents of its size that the library has vectors for."""
        candidates = self.store.candidates([stamp.size for _, _, stamp in items], self.pipeline.id)
        for root, path, stamp in items:
            same_size = candidates.get(stamp.size, {})
            if not 0 < len(same_size) <= _MOST_CONTENTS:
                yield Task(root.path, path, stamp)
                continue
            self.reusable[root.path, path] = same_size
            yield Task(root.path, path, stamp, tuple(same_size))

    def keep(self, readings: list[Reading]) -> None:
        """Encode what was read and commit it together with what was refused."""
        refused = [reading for reading in readings if reading.reason is not None]
        whole = [reading for reading in readings if reading.reason is None]
        # Asked again by content: what was kept since the task was made, and sizes with too many contents.
        contents = self.store.vectors_of_contents([_content(reading) for reading in whole], self.pipeline.id)
        taken: list[Encoded] = []
        fresh: list[Reading] = []
        for reading in whole:
            handed = self.reusable.get((reading.task.root, reading.task.path), {})
            blob = handed.get(_content(reading)) or contents.get(_content(reading))
            if blob is None:
                fresh.append(reading)
            else:
                taken.append(Encoded(reading, np.frombuffer(blob, "<f2")))
        for reading in readings:
            self.reusable.pop((reading.task.root, reading.task.path), None)
        self.report.reused += len(taken)
        encoded, unusable = self.encode(fresh)
        self.report.encoded += len(encoded)
        refused += unusable
        self.store.keep(self.root_ids, self.pipeline.id, taken + encoded, refused)
        for reading in refused:
            full = join(reading.task.root, reading.task.path)
            self.report.failed.append(Failure(full, reading.reason or ""))

    def encode(self, readings: list[Reading]) -> tuple[list[Encoded], list[Reading]]:
        """Vectors for readings with pixels; those for which the network has no usable one come second."""
        if not readings:
            return [], []
        pixels = np.stack([_pixels(reading) for reading in readings])
        rows = np.asarray(self.encoder.embed_pixels(pixels), np.float32)
        if rows.shape != (len(readings), self.pipeline.dim):
            raise LibraryError(
                f"{self.encoder.name} gave vectors of shape {rows.shape} for {len(readings)} photos; "
                f"this library has them with {self.pipeline.dim} numbers"
            )
        encoded, unusable = [], []
        for reading, row in zip(readings, rows, strict=True):
            if np.isfinite(row).all() and row.any():
                encoded.append(Encoded(reading, row.astype(np.float16)))
            else:
                reason = f"{self.encoder.name} gave no usable vector for it"
                unusable.append(Reading(reading.task, reading.stamp, reason=reason))
        return encoded, unusable


def _content(reading: Reading) -> bytes:
    assert reading.sha256 is not None
    return reading.sha256


def _pixels(reading: Reading) -> NDArray[np.uint8]:
    assert reading.pixels is not None
    return reading.pixels


def default_workers() -> int:
    """One reading process for each processor that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1

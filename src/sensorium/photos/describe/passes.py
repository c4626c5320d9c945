"""The frame of all passes over the library's photos: what is due, one run, and what became of it.

A pass says more about a photo than its file tells: the text in it, the faces on it. Each is independent of
the others and remembers for every photo which content it looked at (table ``described``), so a run takes
only what is due: photos that the pass never saw, whose content is another than then, or which an older
version looked at. A photo that cannot be described is remembered with the reason and not tried again until
its content or the pass changes; faults of the disk are tried every time. Several passes that want the same
photo share one decoding.

Data goes one way, as in ``intake``: processes decode and look (``looking``), and a batch of what they found
is one transaction here. Killed at any point a run loses at most the batch in flight, and the next goes on.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.engine import Connection

from sensorium import settings
from sensorium.photos.database.locks import describing
from sensorium.photos.database.records import parts
from sensorium.photos.database.schema import described, photos, roots
from sensorium.photos.database.store import Failure, Store
from sensorium.photos.describe.looking import Answer, Look, Task
from sensorium.photos.files.names import join
from sensorium.photos.files.scan import reason_offline
from sensorium.photos.files.stamps import Stamp
from sensorium.photos.intake.pool import Workers

BATCH = 16
"""Photos in one transaction: a few seconds of looking."""

_PROGRAM = "sensorium.photos.describe.looking"
_QUEUED = 4 * BATCH
_MEMORY = 2 << 30  # bytes of the machine for each process: reading text takes one of them
_LONGEST = 600.0  # seconds over one photo; a film may be long


class Pass(ABC):
    """One kind of fact about photos. Instances travel between processes: small, frozen, importable.

    ``version`` is raised whenever the same photo would be described otherwise. ``side`` is how many pixels
    the shortest side of the decoded picture keeps at least.
    """

    name: str
    version: int
    side: int
    vectors: bool = False
    """Whether what it keeps are vectors that answer searches."""

    def wants(self) -> sa.ColumnElement[bool]:
        """Which rows of ``photos`` it is for; of a video it is shown the poster."""
        return sa.true()

    def holds(self) -> sa.ColumnElement[bool]:
        """Whether what it found in a photo is still there; else the photo is due again."""
        return sa.true()

    def absent(self) -> str | None:
        """Why it cannot run on this machine, in one line that says what to do; None when it can."""
        return None

    @abstractmethod
    def opened(self) -> Callable[[Look], object]:
        """In a looking process, once: what is then called for each photo.

        Its results are pickled. For a photo that it cannot describe it raises BadImageError with the reason.
        """

    def completed(self, found: Mapping[int, Any]) -> Mapping[int, Any]:
        """A batch of results by photo id, with what is better computed for all of them at once, here."""
        return found

    @abstractmethod
    def keep(self, connection: Connection, found: Mapping[int, Any]) -> None:
        """Write results by photo id, inside a batch's transaction; None where there is none any more."""

    def finish(self, store: Store) -> None:  # noqa: B027 - most have nothing to do
        """After the last batch of a run; also when none was due."""


@dataclass(slots=True)
class Tally:
    """What a run did for one pass, in photos. ``skipped`` says why the pass did not run."""

    described: int = 0
    failed: list[Failure] = field(default_factory=list)
    waiting: list[Failure] = field(default_factory=list)  # could not be read now; the next run tries again
    skipped: str | None = None


@dataclass(frozen=True, slots=True)
class Skipped:
    """A pass cannot run on this machine; the others do."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Described:
    """A batch was kept: ``done`` of ``total`` photos. ``tallies``, by pass, still grow."""

    done: int
    total: int
    tallies: Mapping[str, Tally]


@dataclass(frozen=True, slots=True)
class Completed:
    """The run is over. ``offline``: due photos whose folder cannot be seen now."""

    tallies: Mapping[str, Tally]
    offline: int


Event = Skipped | Described | Completed


@dataclass(frozen=True, slots=True)
class PassStatus:
    """How far a pass is, in photos that are there. ``absent`` says why it cannot run."""

    name: str
    done: int
    due: int
    failed: int
    absent: str | None


def default_workers() -> int:
    """One looking process for each processor, as far as the memory goes round."""
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if not hasattr(os, "sysconf"):
        return processors
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return max(1, min(processors, memory // _MEMORY))


def describe(
    store: Store, passes: Sequence[Pass], *, workers: int, batch: int = BATCH
) -> Generator[Event, None, None]:
    """Let passes look at all photos that are due; yields events, and stopping at any point is safe.

    Args:
        store: The library.
        passes: Which ones; one that cannot run here is skipped with an event.
        workers: Number of looking processes.
        batch: Photos in one transaction.

    Raises:
        LibraryError: Another run is at work on this library, or it cannot be written.
    """
    with describing(store.folder):
        tallies = {one.name: Tally() for one in passes}
        able = []
        for one in passes:
            tallies[one.name].skipped = reason = one.absent()
            if reason is None:
                able.append(one)
            else:
                yield Skipped(one.name, reason)
        wanted, offline = _due(store, able)
        run = _Run(store, {one.name: one for one in able}, tallies)
        for done in run.take_all(wanted, workers, batch):
            yield Described(done, len(wanted), tallies)
        for one in able:
            one.finish(store)
        yield Completed(tallies, offline)


def status(store: Store, passes: Sequence[Pass]) -> list[PassStatus]:
    """How far each pass is. Raises LibraryError."""
    found = []
    with store.reading() as connection:
        for one in passes:
            current, failed = _current(one), described.c.reason.is_not(None)
            statement = sa.select(
                sa.func.count(),
                sa.func.count().filter(current & ~failed),
                sa.func.count().filter(current & failed),
            ).select_from(_with_described(one))
            total, done, bad = connection.execute(
                statement.where(photos.c.missing_since.is_(None), one.wants())
            ).one()
            found.append(PassStatus(one.name, done, total - done - bad, bad, one.absent()))
    return found


def failures(store: Store, passes: Sequence[Pass]) -> Iterator[tuple[str, Failure]]:
    """Pass, and path with reason, of each photo that could not be described as it is now. LibraryError."""
    for one in passes:
        statement = sa.select(roots.c.path.label("root"), photos.c.path, described.c.reason)
        statement = statement.select_from(_with_described(one).join(roots, roots.c.id == photos.c.root_id))
        statement = statement.where(
            photos.c.missing_since.is_(None), one.wants(), _current(one), described.c.reason.is_not(None)
        )
        with store.reading() as connection:
            rows = connection.execute(statement.order_by(photos.c.id)).all()
        for row in rows:
            yield one.name, Failure(join(row.root, row.path), row.reason)


def forget_failures(store: Store, passes: Sequence[Pass]) -> int:
    """Let the next run try again what could not be described; the number of photos. Raises LibraryError."""
    names = [one.name for one in passes]
    with store.writing() as connection:
        these = described.c["pass"].in_(names) & described.c.reason.is_not(None)
        return int(connection.execute(sa.delete(described).where(these)).rowcount)


def _with_described(one: Pass) -> sa.FromClause:
    own = (described.c.photo_id == photos.c.id) & (described.c["pass"] == one.name)
    return photos.outerjoin(described, own)


def _current(one: Pass) -> sa.ColumnElement[bool]:
    """Whether this version looked at the present content; false, not NULL, where it never looked."""
    same = (described.c.version == one.version) & (described.c.sha256 == photos.c.sha256)
    there = described.c.reason.is_not(None) | one.holds()
    return sa.func.coalesce(same & there, sa.false())


def _due(store: Store, passes: Sequence[Pass]) -> tuple[dict[int, tuple[str, ...]], int]:
    """Names of the passes that are due, by photo; and how many other photos are offline."""
    away = {root.id for root in store.roots() if reason_offline(root.path) is not None}
    wanted: dict[int, tuple[str, ...]] = {}
    offline: set[int] = set()
    with store.reading() as connection:
        for one in passes:
            statement = sa.select(photos.c.id, photos.c.root_id).select_from(_with_described(one))
            due = photos.c.missing_since.is_(None) & one.wants() & ~_current(one)
            for photo, root in connection.execute(statement.where(due).order_by(photos.c.id)):
                if root in away:
                    offline.add(photo)
                else:
                    wanted[photo] = (*wanted.get(photo, ()), one.name)
    return wanted, len(offline)


class _Run:
    """The photos that one run hands out, gets answers for, and keeps."""

    def __init__(self, store: Store, passes: Mapping[str, Pass], tallies: Mapping[str, Tally]) -> None:
        self.store = store
        self.passes = passes
        self.tallies = tallies
        self.contents: dict[int, bytes] = {}  # of the photos that are under way

    def take_all(self, wanted: Mapping[int, tuple[str, ...]], workers: int, batch: int) -> Iterator[int]:
        """Yields how many photos are done, after each batch."""
        if not wanted:
            return
        todo, answers = deque(sorted(wanted)), list[Answer]()
        waiting = done = 0
        with Workers[Task, Answer](
            _PROGRAM,
            dict(self.passes),
            min(workers, len(todo)),
            _given_up,
            waiting=2 * batch,
            seconds=_LONGEST,
        ) as pool:
            while todo or waiting:
                if todo and waiting <= _QUEUED // 2:
                    part = [todo.popleft() for _ in range(min(len(todo), _QUEUED - waiting))]
                    tasks = self.tasks(part, wanted)
                    done += len(part) - len(tasks)
                    for task in tasks:
                        pool.submit(task)
                    waiting += len(tasks)
                if waiting:
                    answer = pool.take()
                    waiting -= 1
                    if answer.given_up and len(answer.task.passes) > 1:
                        # Which of the passes the process died of is told by letting each look alone.
                        alone = answer.task.each()
                        for task in alone:
                            pool.submit(task)
                        waiting += len(alone)
                        done -= len(alone) - 1
                    else:
                        answers.append(answer)
                if len(answers) >= batch or not (todo or waiting):
                    self.keep(answers)
                    done += len(answers)
                    answers = []
                    yield min(done, len(wanted))

    def tasks(self, ids: Sequence[int], wanted: Mapping[int, tuple[str, ...]]) -> list[Task]:
        """What to look at; photos that went since are left out."""
        rows = self.store.photos(ids)
        tasks = []
        for photo in ids:
            row = rows.get(photo)
            if row is not None and row.missing_since is None:
                self.contents[photo] = row.sha256
                stamp = Stamp(row.size, row.mtime_ns)
                size, path = (row.width, row.height), join(row.root, row.path)
                tasks.append(Task(photo, path, stamp, size, wanted[photo], video=row.kind == "video"))
        return tasks

    def keep(self, answers: Sequence[Answer]) -> None:
        """Write down a batch, but for photos whose content became another meanwhile."""
        now = int(settings.now().timestamp() * 1_000_000)
        looked = {
            name: [one for one in answers if name in one.task.passes and not _waits(one, name)]
            for name in self.passes
        }
        found = {
            name: one.completed({answer.task.photo: answer.found.get(name) for answer in looked[name]})
            for name, one in self.passes.items()
        }
        vectors = any(one.vectors and found[name] for name, one in self.passes.items())
        with self.store.writing(advance=True, vectors=vectors) as connection:
            same = self.unchanged(connection, answers)
            for name, one in self.passes.items():
                kept = [answer for answer in looked[name] if answer.task.photo in same]
                if kept:
                    one.keep(connection, {a.task.photo: found[name].get(a.task.photo) for a in kept})
                    rows = [_row(self.contents[a.task.photo], a, one, now) for a in kept]
                    connection.execute(_UPSERT, rows)
        self.count(answers, same)

    def unchanged(self, connection: Connection, answers: Sequence[Answer]) -> set[int]:
        """The photos that still have the content which was looked at."""
        ids = list({answer.task.photo for answer in answers})
        found: set[int] = set()
        for part in parts(ids):
            statement = sa.select(photos.c.id, photos.c.sha256).where(photos.c.id.in_(part))
            rows = connection.execute(statement)
            found.update(photo for photo, content in rows if content == self.contents[photo])
        return found

    def count(self, answers: Sequence[Answer], same: set[int]) -> None:
        """Add what was kept to the tallies."""
        for answer in answers:
            task = answer.task
            for name in task.passes:
                tally, reason = self.tallies[name], answer.reasons.get(name)
                why = _waits(answer, name)
                if why is not None or task.photo not in same:
                    why = why or "it changed while it was described"
                    tally.waiting.append(Failure(task.path, why))
                elif reason is not None:
                    tally.failed.append(Failure(task.path, reason))
                else:
                    tally.described += 1


def _given_up(task: Task, reason: str) -> Answer:
    return Answer(task, reasons=dict.fromkeys(task.passes, reason), given_up=True)


def _waits(answer: Answer, name: str) -> str | None:
    """Why nothing can be said now by a pass; the next run tries again."""
    return answer.waiting or answer.unready.get(name)


def _row(content: bytes, answer: Answer, one: Pass, now: int) -> dict[str, Any]:
    return {
        "photo_id": answer.task.photo,
        "pass": one.name,
        "version": one.version,
        "sha256": content,
        "reason": answer.reasons.get(one.name),
        "done_at": now,
    }


_INSERT = insert(described)
_UPSERT = _INSERT.on_conflict_do_update(
    index_elements=["photo_id", "pass"],
    set_={name: _INSERT.excluded[name] for name in ("version", "sha256", "reason", "done_at")},
)

"""What a run of the indexer tells: its events, its numbers, and where its time went."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sensorium.photos.database.store import Failure

if TYPE_CHECKING:
    from sensorium.photos.intake.worker import Reading


@dataclass(slots=True)
class Report:
    """What a run did, in numbers of files. ``failed`` and ``unreadable`` list this run's refusals.

    Seconds: ``seconds`` went by in all; reading processes were busy for ``reading_seconds`` together; the
    indexer itself encoded for ``encoding_seconds``, wrote for ``keeping_seconds``, and waited for readings
    for ``waiting_seconds``. ``utilisation`` is the share, 0 to 1, of the processors' time that the run used;
    what else works on the machine lowers it.
    """

    model: str
    new: int = 0
    changed: int = 0
    unchanged: int = 0
    moved: int = 0  # photos that kept their identity under another path
    gone: int = 0
    returned: int = 0
    failed_before: int = 0  # known to be bad and not tried again
    unsettled: int = 0  # left for a later run: they changed a moment ago
    encoded: int = 0
    reused: int = 0  # taken without encoding: the library had a vector for the same content
    described: int = 0  # unchanged, described anew
    failed: list[Failure] = field(default_factory=list)
    unreadable: list[Failure] = field(default_factory=list)  # folders
    offline: list[Failure] = field(default_factory=list)  # roots, with the reason
    waiting: int = 0  # photos still without a vector of this model
    answering: str = ""  # the model that answers searches after this run
    unfinished: list[tuple[str, int]] = field(default_factory=list)  # begun switches: model, photos to go
    seconds: float = 0.0
    reading_seconds: float = 0.0
    encoding_seconds: float = 0.0
    keeping_seconds: float = 0.0
    waiting_seconds: float = 0.0
    utilisation: float = 0.0

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
    """A folder was compared with the library. ``report`` is the run's own, still growing."""

    root: str
    found: int
    to_read: int
    report: Report


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


class Clock:
    """Where the time of a run goes. ``processors`` is how many of them it may use."""

    def __init__(self, processors: int) -> None:
        self._processors = processors
        self._started = time.monotonic()
        self._own = time.process_time()
        self._readers = 0.0
        self._spent = {"reading": 0.0, "encoding": 0.0, "keeping": 0.0, "waiting": 0.0}

    def add(self, reading: Reading) -> None:
        """Count what a reading process spent on a file."""
        self._spent["reading"] += reading.seconds
        self._readers += reading.processor

    @contextmanager
    def spending(self, name: str) -> Iterator[None]:
        """Count the time of a block as "encoding", "keeping" or "waiting"."""
        started = time.monotonic()
        try:
            yield
        finally:
            self._spent[name] += time.monotonic() - started

    def tell(self, report: Report) -> None:
        """Write the times so far into a report."""
        report.seconds = time.monotonic() - self._started
        report.reading_seconds = self._spent["reading"]
        report.encoding_seconds = self._spent["encoding"]
        report.keeping_seconds = self._spent["keeping"]
        report.waiting_seconds = self._spent["waiting"]
        used = time.process_time() - self._own + self._readers
        report.utilisation = min(1.0, used / max(report.seconds * self._processors, 1e-9))

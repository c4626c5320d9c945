"""Reading processes kept busy, replaced when they die, and never waited for longer than a file deserves.

One thread a process hands it a task and waits for the answer, so that an answer always belongs to its
task. The queue of answers is bounded: when the network is the slower half, the readers wait.
"""

from __future__ import annotations

import contextlib
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import BinaryIO, Generic, Self, TypeVar, cast

from sensorium.media.image import ImageSpec
from sensorium.photos.intake.worker import Reading, Task, receive, send

ATTEMPTS = 2
_PROGRAM = "import sys; sys.path[:] = sys.argv[1:]; from {} import main; main()"

Asked = TypeVar("Asked")
Answered = TypeVar("Answered")


class Workers(Generic[Asked, Answered]):
    """``count`` processes of one program: ``submit`` tasks, ``take`` as many answers, in any order.

    A process that dies (a crash in a decoder, no memory left) or takes longer than ``seconds`` over one
    task is replaced; after the second time the task itself is given up with the reason.

    Args:
        program: Module whose ``main`` serves frames: first ``setup``, then tasks, each one answered.
        setup: What a process is told first.
        count: Number of processes.
        given_up: The answer to a task that cannot be done, with the reason.
        waiting: Answers that may wait to be taken.
        seconds: The longest that a task may take.
    """

    def __init__(
        self,
        program: str,
        setup: object,
        count: int,
        given_up: Callable[[Asked, str], Answered],
        *,
        waiting: int = 64,
        seconds: float = 300,
    ) -> None:
        self._given_up = given_up
        self._seconds = seconds
        self._tasks: queue.SimpleQueue[Asked | None] = queue.SimpleQueue()
        self._readings: queue.Queue[Answered | BaseException] = queue.Queue(maxsize=waiting)
        self._closing = threading.Event()
        self._readers = [Reader(program, setup) for _ in range(count)]
        self._threads = [
            threading.Thread(target=self._drive, args=(reader,), name=f"reader-{index}", daemon=True)
            for index, reader in enumerate(self._readers)
        ]
        for thread in self._threads:
            thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def submit(self, task: Asked) -> None:
        """Put a task in the queue."""
        self._tasks.put(task)

    def take(self) -> Answered:
        """Wait for the next answer."""
        while True:
            self._end_the_slow()
            try:
                reading = self._readings.get(timeout=1)
            except queue.Empty:
                continue
            if isinstance(reading, BaseException):
                raise reading
            return reading

    def close(self) -> None:
        """End all processes at once; what they were reading is lost."""
        self._closing.set()
        for reader in self._readers:
            reader.end()
            self._tasks.put(None)
        for thread in self._threads:
            while thread.is_alive():
                self._drain()
                thread.join(timeout=0.05)

    def _drain(self) -> None:
        while True:
            try:
                self._readings.get_nowait()
            except queue.Empty:
                return

    def _end_the_slow(self) -> None:
        now = time.monotonic()
        for reader in self._readers:
            since = reader.busy_since
            if since is not None and now - since > self._seconds:
                reader.end(f"reading it took more than {self._seconds:.0f} seconds")

    def _drive(self, reader: Reader) -> None:
        """A thread's life: one task after another through one process."""
        try:
            while (task := self._tasks.get()) is not None and not self._closing.is_set():
                reading = self._attempt(reader, task)
                if reading is not None:
                    self._readings.put(reading)
        except OSError as error:  # no process can be started at all
            self._readings.put(error)
        finally:
            reader.end()
            reader.bury()

    def _attempt(self, reader: Reader, task: Asked) -> Answered | None:
        reason = ""
        for _ in range(ATTEMPTS):
            try:
                return cast(Answered, reader.read(task))
            except (EOFError, BrokenPipeError):
                if self._closing.is_set():
                    return None
                reason = reader.obituary()
        return self._given_up(task, reason)


class Pool(Workers[Task, Reading]):
    """``count`` processes that read photos for the indexer: see ``worker``."""

    def __init__(self, spec: ImageSpec, count: int, *, waiting: int = 64, seconds: float = 300) -> None:
        program = "sensorium.photos.intake.worker"
        super().__init__(program, spec, count, _unread, waiting=waiting, seconds=seconds)


def _unread(task: Task, reason: str) -> Reading:
    return Reading(task, task.stamp, reason=reason)


class Reader:
    """One process, started when first needed and again after its death."""

    def __init__(self, program: str, setup: object) -> None:
        self.busy_since: float | None = None
        self._program = program
        self._setup = setup
        self._process: subprocess.Popen[bytes] | None = None
        self._errors: BinaryIO | None = None
        self._reason: str | None = None
        self._ended = False
        self._lock = threading.Lock()

    def read(self, task: object) -> object:
        """The answer to a task. Raises EOFError or BrokenPipeError when the process dies over it."""
        process = self._process or self._start()
        self.busy_since = time.monotonic()
        try:
            send(cast(BinaryIO, process.stdin), task)
            return receive(cast(BinaryIO, process.stdout))
        finally:
            self.busy_since = None

    def end(self, reason: str | None = None) -> None:
        """Kill the process, from any thread. Without a reason it is for good."""
        with self._lock:
            self._reason = reason
            self._ended = self._ended or reason is None
            if self._process is not None:
                self._process.kill()
                if self._ended:
                    self._process.wait()

    def obituary(self) -> str:
        """Why the process is dead, and room for the next."""
        reason, self._reason = self._reason, None
        code, words = self.bury()
        if reason:
            return reason
        if code == -9:
            return "the reading process was killed, perhaps for want of memory"
        if code < 0:
            return f"the decoder crashed ({signal.strsignal(-code) or code})"
        return f"the reading process failed: {words}"

    def bury(self) -> tuple[int, str]:
        """Free what a dead process held; its exit code and last words."""
        with self._lock:
            process, self._process = self._process, None
            errors, self._errors = self._errors, None
        code = 0
        if process is not None:
            for stream in (process.stdin, process.stdout):
                with contextlib.suppress(BrokenPipeError):  # a task sent by half
                    cast(BinaryIO, stream).close()
            code = process.wait()
        if errors is None:
            return code, "it could not be started"
        with errors:
            errors.seek(0)
            lines = errors.read().decode("utf-8", errors="replace").split("\n")
        return code, next((line.strip()[:200] for line in reversed(lines) if line.strip()), "no message")

    def _start(self) -> subprocess.Popen[bytes]:
        with self._lock:
            if self._ended:
                raise EOFError
            self._errors = cast(BinaryIO, tempfile.TemporaryFile())  # noqa: SIM115 - closed by `bury`
            # A session of its own: Ctrl-C in the terminal reaches the indexer only, which then decides.
            self._process = subprocess.Popen(  # noqa: S603
                [sys.executable, "-c", _PROGRAM.format(self._program), *sys.path],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                start_new_session=True,
            )
            process = self._process
        send(cast(BinaryIO, process.stdin), self._setup)
        return process

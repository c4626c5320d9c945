"""Long work beside the server: one child process each, watched, told to every page, cancelled by SIGINT.

A job outlives the page that started it and is found again by id. Two of one kind never run at once, nor
anything that replaces the library's file beside something that writes it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from sensorium.errors import LibraryError
from sensorium.server.api.problems import Problem, without_folders
from sensorium.server.tasks.events import Events

Kind = Literal["index", "describe", "check", "repair", "backup", "restore", "retry"]
State = Literal["running", "done", "failed", "cancelled"]

COMMAND = (sys.executable, "-m", "sensorium.server.tasks.work")

_GROUPS = {"retry": "index", "restore": "replace", "repair": "replace"}  # others are their own
_APART = ("index", "describe", "replace")  # what cannot be beside "replace"
_KEPT = 30
_GRACE = 15.0  # seconds between the wish to cancel and the end by force
_LONGEST_LINE = 1 << 24
_LAST_WORDS = 4096


@dataclass(slots=True, eq=False)
class Job:
    """One piece of work. ``total`` is None while nobody knows it; ``progress`` holds what else is told."""

    id: str
    kind: Kind
    started_at: datetime
    state: State = "running"
    phase: str = "starting"
    done: int = 0
    total: int | None = None
    progress: dict[str, Any] = field(default_factory=dict)
    ended_at: datetime | None = None
    result: dict[str, Any] | None = None
    error: dict[str, str] | None = None
    cancelling: bool = False
    begun: bool = False  # it told something, and so takes SIGINT for what it is

    def document(self) -> dict[str, Any]:
        """The job as JSON, with no folder of this machine in it."""
        return {
            "id": self.id,
            "kind": self.kind,
            "state": self.state,
            "phase": self.phase,
            "done": self.done,
            "total": self.total,
            "progress": self.progress,
            "started_at": self.started_at.isoformat(),
            "ended_at": self.ended_at.isoformat() if self.ended_at else None,
            "result": self.result,
            "error": self.error,
            "cancelling": self.cancelling,
        }

    @property
    def group(self) -> str:
        """What it cannot run twice beside."""
        return _GROUPS.get(self.kind, self.kind)


class Jobs:
    """The jobs of one library. Methods belong to the event loop's thread.

    Args:
        library: Its folder.
        events: Who is told.
        on_replaced: Called when the library's file is another one than before.
        command: What is started; it gets the request as one JSON line.
    """

    def __init__(
        self,
        library: Path,
        events: Events,
        *,
        on_replaced: Callable[[], Awaitable[None]],
        command: Sequence[str] = COMMAND,
    ) -> None:
        self._library = library
        self._events = events
        self._on_replaced = on_replaced
        self._command = tuple(command)
        self._jobs: deque[Job] = deque()
        self._processes: dict[str, asyncio.subprocess.Process] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._closing = False

    def all(self) -> list[Job]:
        """Running ones and the last that ended, newest first."""
        return list(self._jobs)

    def get(self, job_id: str) -> Job:
        """A job by its id. Raises Problem ``job_not_found``."""
        for job in self._jobs:
            if job.id == job_id:
                return job
        raise Problem(404, "job_not_found", f"there is no job {job_id[:32]!r}")

    def running(self, kind: Kind) -> Job | None:
        """The job that does this kind of work now."""
        group = _GROUPS.get(kind, kind)
        return next((job for job in self._jobs if job.state == "running" and job.group == group), None)

    async def start(self, kind: Kind, **request: Any) -> Job:
        """Begin a piece of work. ``request`` is what ``work`` takes for the kind.

        Raises Problem ``job_running`` when it cannot run beside what runs already.
        """
        job = Job(secrets.token_hex(6), kind, datetime.now(UTC))
        for other in self._jobs:
            if other.state == "running" and _exclude(job.group, other.group):
                raise Problem(
                    409,
                    "job_running",
                    f"{other.kind} is at work: wait until it is done, or cancel it",
                    job=other.id,
                )
        if self._closing:
            raise Problem(503, "closing", "the server is shutting down")
        self._jobs.appendleft(job)
        self._trim()
        self._tell(job)
        document = {"kind": kind, "library": os.fspath(self._library), **request}
        self._tasks[job.id] = asyncio.create_task(self._run(job, document), name=f"job {kind}")
        return job

    async def wait(self, job: Job) -> Job:
        """The job when it has ended."""
        task = self._tasks.get(job.id)
        if task is not None:
            await asyncio.wait([task])
        return job

    async def cancel(self, job_id: str) -> Job:
        """Ask a job to stop at its next safe point; by force when it does not. Raises Problem."""
        job = self.get(job_id)
        if job.state == "running" and not job.cancelling:
            job.cancelling = True
            self._tell(job)
            process = self._processes.get(job.id)
            if process is not None:
                _interrupt(process, job)
        return job

    async def stop(self) -> None:
        """Cancel everything and wait until it has ended."""
        self._closing = True
        for job in self.all():
            await self.cancel(job.id)
        if self._tasks:
            await asyncio.wait(list(self._tasks.values()))

    async def _run(self, job: Job, document: dict[str, Any]) -> None:
        try:
            await self._do(job, document)
        finally:
            if job.state == "running":  # a mistake of ours, which the log tells; nobody shall wait for it
                job.error = {"code": "job_died", "detail": "the server lost sight of it"}
                self._end(job, "failed")

    async def _do(self, job: Job, document: dict[str, Any]) -> None:
        try:
            process = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                limit=_LONGEST_LINE,
                start_new_session=True,  # Ctrl-C in the terminal is for the server, which then cancels
            )
        except OSError as error:
            job.error = {"code": "no_process", "detail": f"no process could be started: {error.strerror}"}
            self._end(job, "failed")
            return
        self._processes[job.id] = process
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            process.stdin.write(json.dumps(document).encode("ascii") + b"\n")
            await process.stdin.drain()
        if job.cancelling:  # the wish came before the process
            _interrupt(process, job)
        try:
            words = await self._follow(job, process)
        finally:
            self._processes.pop(job.id, None)
        if job.kind in ("restore", "repair"):
            with contextlib.suppress(LibraryError):  # there is none now: whoever asks for it is told
                await self._on_replaced()
        self._close_books(job, process.returncode or 0, words)

    async def _follow(self, job: Job, process: asyncio.subprocess.Process) -> str:
        """Read what a process tells until it ends, if need be by force; its last words."""
        assert process.stdout is not None
        assert process.stderr is not None
        reading = asyncio.create_task(self._read(job, process.stdout))
        words = asyncio.create_task(_tail(process.stderr))
        ending = asyncio.create_task(process.wait())
        patience: float | None = None
        while not ending.done():
            await asyncio.wait([ending], timeout=0.25)
            if job.cancelling and not ending.done():
                now = asyncio.get_running_loop().time()
                patience = patience or now + _GRACE
                if now > patience:
                    _kill(process)
        # What it started may hold its pipes open: it is over all the same.
        _, still = await asyncio.wait([reading, words], timeout=_GRACE)
        if still:
            _kill(process)
        await reading
        return await words

    async def _read(self, job: Job, lines: asyncio.StreamReader) -> None:
        while line := await _line(lines):
            try:
                told = json.loads(line)
            except ValueError:
                continue  # a library printed something of its own
            if not isinstance(told, dict):
                continue
            job.begun = True
            if isinstance(progress := told.get("progress"), dict):
                job.phase = str(progress.pop("phase", job.phase))
                job.done = int(progress.pop("done", 0))
                job.total = progress.pop("total", None)
                job.progress = progress
                self._tell(job)
            if isinstance(result := told.get("result"), dict):
                job.result = result
            if isinstance(error := told.get("error"), dict):
                job.error = {"code": str(error["code"]), "detail": without_folders(str(error["detail"]))}

    def _close_books(self, job: Job, code: int, words: str) -> None:
        if job.result is not None:
            self._end(job, "done")
        elif job.error is not None:
            self._end(job, "failed")
        elif job.cancelling:
            self._end(job, "cancelled")
        else:
            how = f"by {signal.strsignal(-code)}" if code < 0 else f"with code {code}"
            said = f": {words}" if words else ""
            job.error = {"code": "job_died", "detail": without_folders(f"its process ended {how}{said}")}
            self._end(job, "failed")

    def _end(self, job: Job, state: State) -> None:
        job.state = state
        job.ended_at = datetime.now(UTC)
        self._tasks.pop(job.id, None)
        self._tell(job)

    def _tell(self, job: Job) -> None:
        self._events.publish("job", job.document())

    def _trim(self) -> None:
        ended = [job for job in self._jobs if job.state != "running"]
        for job in ended[_KEPT:]:
            self._jobs.remove(job)


def _exclude(one: str, other: str) -> bool:
    if one == other:
        return True
    return "replace" in (one, other) and one in _APART and other in _APART


def _interrupt(process: asyncio.subprocess.Process, job: Job) -> None:
    """Ask a process to end; one that still starts, and may not listen yet, has nothing to bring to an end."""
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(signal.SIGINT if job.begun else signal.SIGKILL)


def _kill(process: asyncio.subprocess.Process) -> None:
    """End a process with everything that it started."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


async def _line(lines: asyncio.StreamReader) -> bytes:
    """The next line; nothing at the end, or when one is longer than anything that we write."""
    try:
        return await lines.readline()
    except ValueError:
        return b""


async def _tail(stream: asyncio.StreamReader) -> str:
    """The last line that a process wrote to its standard error."""
    kept = b""
    while chunk := await stream.read(_LAST_WORDS):
        kept = (kept + chunk)[-_LAST_WORDS:]
    lines = kept.decode("utf-8", errors="replace").split("\n")
    return next((line.strip()[:200] for line in reversed(lines) if line.strip()), "")

"""Asking about photos: one process with the model, one question at a time, answers as they are written.

The networks run in a process of their own (``answering``), which is started at the first question and ended
when nobody asked for a while. Files are opened in decoding processes (``pictures.looking``). A client that
reads slowly, or leaves, holds up nobody: what is written waits in a queue, and a question that nobody waits
for any more is stopped.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import anyio.to_thread
from anyio import CapacityLimiter

from sensorium.photos.files.originals import Original
from sensorium.photos.intake.pool import Reader
from sensorium.server.api.problems import Problem
from sensorium.server.pictures import looking
from sensorium.server.pictures.decoders import Decoders
from sensorium.server.pictures.looking import Opened
from sensorium.server.pictures.media import telling
from sensorium.server.tasks.answering import Event, Failure, Question, Said

PROGRAM = "sensorium.server.tasks.answering"

MOST_PHOTOS = 16
"""Photos and films that one conversation may show; models mostly take fewer."""

MOST_WAITING = 16
"""Questions that may wait for the model; more are refused."""

_KEPT = 8  # photos that the model's process keeps open, 50 MB each at most
_GRACE = 15.0  # seconds that the model has to stop by itself, as it does between two words
_STEP = 900.0  # seconds that reading a question, or writing a word, may take
_IDLE = 900.0  # seconds after the last question until the memory of the model is given back
_STATUS = {"ask_model_missing": 503, "ask_model_broken": 503, "ask_memory": 507}


@dataclass(frozen=True, slots=True)
class Turn:
    """What was said, and the originals of what was shown with it."""

    role: Literal["user", "assistant"]
    text: str
    photos: tuple[Original, ...]


@dataclass(eq=False)
class Running:
    """A question that is being answered. ``events`` gives what happens; leaving it stops the answer."""

    turns: Sequence[Turn]
    most: int
    budget: int | None
    explain: bool
    stopped: bool = False
    happened: asyncio.Queue[Event | Problem | None] = field(default_factory=asyncio.Queue)

    def tell(self, kind: str, **data: Any) -> None:
        """Something happened."""
        self.happened.put_nowait(Event(kind, data))


class Asking:
    """Answers questions of the page. Methods belong to the event loop's thread.

    Args:
        decoders: The processes that open files.
        model: The name or the folder of the model that answers.
        program: The module whose ``main`` the process runs.
    """

    def __init__(self, decoders: Decoders, model: str, *, program: str = PROGRAM) -> None:
        self.model = model
        self._decoders = decoders
        self._reader = Reader(program, model)
        self._lock = asyncio.Lock()
        self._limiter: CapacityLimiter | None = None
        self._given: OrderedDict[str, None] = OrderedDict()
        self._about: dict[str, Any] | None = None
        self._current: Running | None = None
        self._waiting = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._idle: asyncio.TimerHandle | None = None
        self._closed = False

    async def about(self) -> dict[str, Any]:
        """What the model can do. Raises Problem when it is not here, or its process dies."""
        if self._about is None:
            async with self._at_work():
                self._about = await self._exchange("about")
        return self._about

    def ask(self, turns: Sequence[Turn], *, most: int, budget: int | None, explain: bool) -> Running:
        """Begin to answer the last turn. Raises Problem ``busy`` when too many wait."""
        if self._waiting >= MOST_WAITING:
            raise Problem(503, "busy", "too many questions wait for an answer: try again soon")
        running = Running(turns, most, budget, explain)
        self._waiting += 1
        task = asyncio.create_task(self._answer(running), name="answer")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return running

    async def events(self, running: Running) -> AsyncGenerator[Event, None]:
        """What happens: ``state``, ``shown``, ``piece`` after ``piece``, ``answer``. Raises Problem.

        Whoever closes the iterator early stops the answer.
        """
        try:
            while (happened := await running.happened.get()) is not None:
                if isinstance(happened, Problem):
                    raise happened
                yield happened
        finally:
            self._stop(running)

    def close(self) -> None:
        """End the process at once, and with it whatever is being answered."""
        self._closed = True
        if self._idle is not None:
            self._idle.cancel()
        self._reader.end()

    async def closed(self) -> None:
        """Wait until everything has ended after ``close``."""
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await anyio.to_thread.run_sync(self._reader.bury)

    async def _answer(self, running: Running) -> None:
        try:
            if self._lock.locked():
                running.tell("state", state="waiting")
            async with self._at_work():
                self._current = running
                if not running.stopped:
                    await self._converse(running)
        except Problem as problem:
            running.happened.put_nowait(problem)
        finally:
            if self._current is running:
                self._current = None
            self._waiting -= 1
            running.happened.put_nowait(None)

    async def _converse(self, running: Running) -> None:
        running.tell("state", state="looking")
        question = await self._question(running)
        if running.stopped:  # what was opened is lost, and opened again when it is asked about again
            return
        running.tell("state", state="reading")
        for name in question.stale:
            del self._given[name]
        self._given.update(dict.fromkeys(question.fresh))
        event = await self._exchange(question)
        while event is not None:
            running.happened.put_nowait(event)
            event = await self._exchange("stop" if running.stopped else "more")

    async def _question(self, running: Running) -> Question:
        """The question for the process, with what it does not have yet. Raises Problem."""
        fresh: dict[str, Opened] = {}
        turns = []
        wanted: dict[str, None] = {}
        for turn in running.turns:
            names = tuple(_name(photo) for photo in turn.photos)
            for name, photo in zip(names, turn.photos, strict=True):
                wanted[name] = None
                if name not in self._given and name not in fresh:
                    with telling():
                        fresh[name] = await self._decoders.run(looking.look, photo)
            turns.append(Said(turn.role, turn.text, names))
        for name in wanted:
            if name in self._given:
                self._given.move_to_end(name)
        unwanted = [name for name in self._given if name not in wanted]
        stale = tuple(unwanted[: max(0, len(self._given) + len(fresh) - _KEPT)])
        return Question(tuple(turns), fresh, stale, running.most, running.budget, running.explain)

    def _stop(self, running: Running) -> None:
        """Nobody waits for it any more."""
        running.stopped = True
        if self._current is running:

            def end() -> None:
                if self._current is running:  # it reads a long conversation, or hangs
                    self._reader.end("it was stopped")

            asyncio.get_running_loop().call_later(_GRACE, end)

    @contextlib.asynccontextmanager
    async def _at_work(self) -> AsyncIterator[None]:
        """The process to oneself; it is ended when nobody wanted it for a while."""
        async with self._lock:
            if self._closed:
                raise Problem(503, "unavailable", "the server is ending")
            if self._idle is not None:
                self._idle.cancel()
            try:
                yield
            finally:
                if not self._closed:
                    self._idle = asyncio.get_running_loop().call_later(_IDLE, self._rest)

    def _rest(self) -> None:
        self._reader.end("nobody asked for a while")
        task = asyncio.create_task(self._bury(), name="end of the answering process")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _bury(self) -> None:
        async with self._lock:
            await self._obituary()

    async def _obituary(self) -> str:
        self._given.clear()
        return await anyio.to_thread.run_sync(self._reader.obituary)

    async def _exchange(self, message: object) -> Any:
        """What the process answers to a message. Raises Problem."""
        self._limiter = self._limiter or CapacityLimiter(1)
        alarm = asyncio.get_running_loop().call_later(_STEP, self._reader.end, "it took too long")
        try:
            told = await anyio.to_thread.run_sync(self._reader.read, message, limiter=self._limiter)
        except (EOFError, BrokenPipeError) as error:
            reason = await self._obituary()
            raise Problem(503, "ask_ended", f"the model's process ended: {reason}") from error
        finally:
            alarm.cancel()
        if isinstance(told, Failure):
            raise Problem(_STATUS.get(told.code, 422), told.code, told.detail)
        return told


def _name(photo: Original) -> str:
    """What a photo is called between the processes: another one when its content is another one."""
    return f"{photo.photo_id} {photo.sha256.hex()} {photo.stamp.size} {photo.stamp.mtime_ns}"

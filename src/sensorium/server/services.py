"""What the routes of one server share: the open library and who may use it when, models, thumbnails, jobs.

Nothing slow happens on the event loop. Calls of the library run in a bounded pool of threads (``call``),
networks in the one worker of ``encoding``, decoders in processes. A library that was restored or repaired is
opened again under running requests: each finishes with the one that it began with.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import anyio.to_thread
from anyio import CapacityLimiter
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from sensorium.errors import LibraryError, SensoriumError
from sensorium.photos.encoder import EncoderLoader
from sensorium.photos.library import Library
from sensorium.server.memory import Memory
from sensorium.server.pictures.contents import Contents
from sensorium.server.pictures.decoders import Decoders
from sensorium.server.pictures.thumbnails import Thumbnails
from sensorium.server.pictures.uploads import Uploads
from sensorium.server.preferences import Preferences
from sensorium.server.tasks.asking import PROGRAM as ANSWERING
from sensorium.server.tasks.asking import Asking
from sensorium.server.tasks.cutting import Cutting, SegmenterLoader
from sensorium.server.tasks.encoding import Encoding
from sensorium.server.tasks.events import Events
from sensorium.server.tasks.jobs import Jobs
from sensorium.weights import ASK_MODEL, CUT_MODEL

_Result = TypeVar("_Result")

CALLS = 2
"""Calls of the library at a time: more threads on few processors only make all of them late."""

_EXPORTS = 2  # archives that are written at a time
_GRIDS = 16  # grids of scopes that are kept ready, some MB each for 100,000 photos
_LOOK = 0.5  # seconds between looks at the library's generation
_FIRST_WORDS = "a photo"


@dataclass(slots=True, eq=False)
class _Opened:
    """A library with the number of requests that use it; closed by the last one once it is retired."""

    library: Library
    users: int = 0
    retired: bool = False
    memory: Memory = field(default_factory=Memory)


class Services:
    """Everything behind the routes of one library folder.

    Args:
        folder: The library, which must exist.
        loader: Opens models by name; the installed and pulled ones when absent.
        backups: Where backups are kept; a folder of the library when absent.
        watch: Follow the library's folders, as long as people want it.
        ahead: After so many seconds without a request, make small pictures that nobody has asked for yet.
        cut_model: The name or the folder of the model that cuts things out of photos.
        cutter: Opens it by name; the installed and pulled ones when absent.
        ask_model: The name or the folder of the model that answers questions about photos.
        editor: The image editor of this machine and its arguments; empty: there is none.
        answering: The module whose ``main`` the process of that model runs.

    Raises LibraryError when the library cannot be opened.
    """

    def __init__(
        self,
        folder: Path,
        *,
        loader: EncoderLoader | None = None,
        backups: Path | None = None,
        watch: bool = False,
        ahead: float | None = None,
        cut_model: str = CUT_MODEL,
        cutter: SegmenterLoader | None = None,
        ask_model: str = ASK_MODEL,
        editor: tuple[str, ...] = (),
        answering: str = ANSWERING,
    ) -> None:
        self.folder = folder
        self.watch = watch
        self.ahead = ahead
        self.asked = time.monotonic()  # when the last request came
        self.backups = backups or folder / "backups"
        self.encoding = Encoding(loader)
        self._lock = threading.Lock()
        self._opened = self._open()
        self.events = Events()
        self.decoders = Decoders()
        self.cutting = Cutting(self.encoding, self.decoders, cut_model, loader=cutter)
        self.asking = Asking(self.decoders, ask_model, program=answering)
        self.editor = editor
        self.contents = Contents()
        self.thumbnails = Thumbnails(folder / "thumbnails", self.decoders)
        self.uploads = Uploads()
        self.preferences = Preferences(folder / "settings.json")
        self.jobs = Jobs(folder, self.events, on_replaced=self.reopen)
        self.generation = -1
        self.epoch = secrets.token_hex(4)  # of this server: another one may count another library
        self.grids = Memory(_GRIDS)
        self._limiter: CapacityLimiter | None = None
        self._exporting: CapacityLimiter | None = None
        self._narrow: threadpool_limits | None = None
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def library(self) -> Library:
        """The library as it is open now. Hold it no longer than one request."""
        return self._opened.library

    @property
    def memory(self) -> Memory:
        """Answers that are remembered for this opening of the library."""
        return self._opened.memory

    async def start(self) -> None:
        """Begin to look after the library, and warm the model up in the background."""
        self._limiter, self._exporting = CapacityLimiter(CALLS), CapacityLimiter(_EXPORTS)
        # Several searches share the processors: threads of one matrix product would only wait for each other.
        self._narrow = threadpool_limits(1, user_api="blas")
        with contextlib.suppress(LibraryError):
            self.generation = await self.call(lambda library: library.generation())
        self._tasks = [
            asyncio.create_task(self._watch_generation(), name="library generation"),
            asyncio.create_task(self._warm_up(), name="warm up"),
            asyncio.create_task(self.thumbnails.measure(), name="size of the thumbnails"),
        ]
        if self.watch:
            from sensorium.server.tasks.watching import Watching

            self._tasks.append(asyncio.create_task(Watching(self).run(), name="watch"))
        if self.ahead is not None:
            from sensorium.server.pictures.ahead import Ahead

            ahead = Ahead(self, quiet=self.ahead)
            self._tasks.append(asyncio.create_task(ahead.run(), name="thumbnails ahead"))

    async def stop(self) -> None:
        """End jobs and workers; the library is closed when its last request is done."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.events.close()
        self.asking.close()
        await self.jobs.stop()
        await self.asking.closed()
        self.decoders.close()
        await anyio.to_thread.run_sync(self.encoding.close)
        self._retire(self._opened)
        if self._narrow is not None:
            self._narrow.restore_original_limits()

    async def call(self, work: Callable[[Library], _Result]) -> _Result:
        """What a call of the library gives, in one of a few threads. Raises what it raises."""
        return await anyio.to_thread.run_sync(self._with_library, work, limiter=self._limiter)

    async def export(self, work: Callable[[], _Result]) -> _Result:
        """What a step of writing an archive gives; searches never wait for it."""
        return await anyio.to_thread.run_sync(work, limiter=self._exporting)

    def _with_library(self, work: Callable[[Library], _Result]) -> _Result:
        with self._borrowed() as library:
            return work(library)

    @contextlib.contextmanager
    def _borrowed(self) -> Iterator[Library]:
        with self._lock:
            opened = self._opened
            opened.users += 1
        try:
            yield opened.library
        finally:
            with self._lock:
                opened.users -= 1
                last = opened.retired and not opened.users
            if last:
                opened.library.close()

    async def reopen(self) -> None:
        """Open the library anew: its file is another one than before. Raises LibraryError."""
        fresh = await anyio.to_thread.run_sync(self._open)
        with self._lock:
            before, self._opened = self._opened, fresh
        self.contents.clear()
        self.grids = Memory(_GRIDS)
        self.epoch = secrets.token_hex(4)
        self._retire(before)
        self.generation = -1  # so that every page hears of it

    def _open(self) -> _Opened:
        return _Opened(Library.open(self.folder, loader=self.encoding.load))

    def _retire(self, opened: _Opened) -> None:
        with self._lock:
            opened.retired = True
            unused = not opened.users
        if unused:
            opened.library.close()

    async def _watch_generation(self) -> None:
        """Tell every page when something changed, by whichever process."""
        while True:
            await asyncio.sleep(_LOOK)
            # A library that cannot be read is told to whoever asks; this only goes on looking.
            with contextlib.suppress(LibraryError):
                generation = await self.call(lambda library: library.generation())
                if generation != self.generation:
                    self.generation = generation
                    self.events.publish("library", {"generation": generation})

    async def _warm_up(self) -> None:
        # An empty library has nothing to warm, a missing model is told by the first search.
        with contextlib.suppress(SensoriumError):
            await self.call(lambda library: library.search(_FIRST_WORDS, 1))

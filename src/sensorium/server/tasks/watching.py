"""The folders of the library are followed while the server runs, as long as people want it.

A thread watches; a change becomes a job like any other, which every page sees and may cancel. Where photos
came, a job that describes them follows; so does one after the first look, for what was left undescribed.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from concurrent.futures import CancelledError
from pathlib import PurePath
from typing import TYPE_CHECKING

import anyio.to_thread

from sensorium.photos.files.watch import Away, Back, Changed, Event, Timing, Watch
from sensorium.photos.intake.watching import watch_library
from sensorium.server.api.problems import Problem
from sensorium.server.tasks.jobs import Job

if TYPE_CHECKING:
    from sensorium.server.services import Services

_LOOK = 2.0  # seconds between looks at what people chose
_BUSY = 5.0  # seconds until another indexer is asked again whether it is done
_AGAIN = 60.0  # seconds until a run that failed is tried again; longer each time
_LONGEST_AGAIN = 3600.0


class Watching:
    """Follows the folders of one library: ``run`` is a task of the server, for as long as it lives.

    Args:
        services: Whose library and jobs.
        timing: How patient to be.
        look: Seconds between looks at what people chose.
    """

    def __init__(self, services: Services, *, timing: Timing | None = None, look: float = _LOOK) -> None:
        self._services = services
        self._timing = timing or Timing()
        self._look = look
        self._stop: threading.Event | None = None
        self._thread: threading.Thread | None = None
        self._away: set[str] = set()
        self._failed = 0  # runs, one after the other
        self._described = False

    async def run(self) -> None:
        """Watch while it is wanted; ends when it is cancelled."""
        try:
            while True:
                wanted = (await anyio.to_thread.run_sync(self._services.preferences.read)).watch
                alive = self._thread is not None and self._thread.is_alive()
                if wanted and not alive:
                    self._begin()
                elif alive and not wanted:
                    await self._end()
                await asyncio.sleep(self._look)
        finally:
            # The thread may wait for this loop: it is told to stop, and nobody waits for it here.
            if self._stop is not None:
                self._stop.set()

    def _begin(self) -> None:
        self._stop = threading.Event()
        watch = watch_library(self._services.folder, timing=self._timing)
        arguments = (watch, self._stop, asyncio.get_running_loop())
        self._thread = threading.Thread(target=self._follow, args=arguments, name="watch", daemon=True)
        self._thread.start()

    async def _end(self) -> None:
        assert self._stop is not None
        assert self._thread is not None
        self._stop.set()
        await anyio.to_thread.run_sync(self._thread.join)

    def _follow(self, watch: Watch, stop: threading.Event, loop: asyncio.AbstractEventLoop) -> None:
        """The thread: each event is handled on the loop before the next one is asked for."""
        for event in watch.events(stop):
            if stop.is_set():
                return
            handling = asyncio.run_coroutine_threadsafe(self._handle(watch, event, stop), loop)
            while not stop.is_set():
                with contextlib.suppress(TimeoutError, CancelledError):
                    handling.result(timeout=self._timing.tick)
                if handling.done():
                    break

    async def _handle(self, watch: Watch, event: Event, stop: threading.Event) -> None:
        if isinstance(event, Changed):
            await self._index(watch, event.folders, stop)
        elif isinstance(event, Away | Back):
            if isinstance(event, Away):
                self._away.add(event.root)
            else:
                self._away.discard(event.root)
            offline = sorted(PurePath(root).name for root in self._away)
            self._services.events.publish("roots", {"offline": offline})

    async def _index(self, watch: Watch, folders: tuple[str, ...], stop: threading.Event) -> None:
        """Index folders as a job; what could not be done comes again."""
        jobs = self._services.jobs
        try:
            job = await jobs.start("index", folders=list(folders), settle=self._timing.settle)
        except Problem:  # other work excludes it, or the server ends
            watch.again(folders, _BUSY)
            return
        await jobs.wait(job)
        if stop.is_set():
            return
        if job.state == "failed":
            self._failed += 1
            wait = _BUSY if _is_busy(job) else min(_AGAIN * 2 ** (self._failed - 1), _LONGEST_AGAIN)
            watch.again(folders, wait)
        elif job.result is not None:
            self._failed = 0
            if job.result.get("unsettled"):
                watch.again(folders, self._timing.settle)
            if job.result.get("encoded") or not self._described:
                self._described = True
                with contextlib.suppress(Problem):  # one that is under way takes them, too, or the next one
                    await jobs.start("describe")


def _is_busy(job: Job) -> bool:
    return job.error is not None and job.error["code"] == "library_busy"

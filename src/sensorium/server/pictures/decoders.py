"""A bounded number of decoding processes, for which the event loop waits without standing still.

As many pictures are decoded at a time as there are processes; all others wait their turn. A process that dies
over a picture, or is ended because it takes too long, harms nobody else's: it is started again, and after the
second time that picture is given up.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Any, TypeVar, cast

import anyio.to_thread
from anyio import CapacityLimiter

from sensorium.errors import BadImageError
from sensorium.photos.intake.pool import ATTEMPTS, Reader

_Result = TypeVar("_Result")

PROGRAM = "sensorium.server.pictures.decoding"

SECONDS = 60.0
"""The longest that one picture may take."""

MOST_WAITING = 4096
"""Pictures that may wait for a process; more are refused."""


class CrowdedError(RuntimeError):
    """So many pictures wait to be decoded that this one is refused."""


class Decoders:
    """``count`` processes, started at first need. Methods belong to the event loop's thread."""

    def __init__(self, count: int | None = None, *, seconds: float = SECONDS) -> None:
        self.count = count or max(1, min(4, os.cpu_count() or 1))
        self.waiting = 0
        self._seconds = seconds
        self._readers = [Reader(PROGRAM, None) for _ in range(self.count)]
        self._free = list(self._readers)
        self._slots = asyncio.Semaphore(self.count)
        self._limiter: CapacityLimiter | None = None

    async def run(self, work: Callable[..., _Result], *arguments: Any) -> _Result:
        """What a function of a module without heavy imports gives for arguments that can be pickled.

        Raises what the function raises of ``decoding.TOLD``; BadImageError when its process dies over it or
        takes too long; CrowdedError when too many wait.
        """
        if self.waiting >= MOST_WAITING:
            raise CrowdedError
        self.waiting += 1
        try:
            async with self._slots:
                reader = self._free.pop()
                try:
                    return cast(_Result, await self._ask(reader, (work, arguments)))
                finally:
                    self._free.append(reader)
        finally:
            self.waiting -= 1

    async def _ask(self, reader: Reader, question: object) -> object:
        self._limiter = self._limiter or CapacityLimiter(self.count)
        reason = ""
        for _ in range(ATTEMPTS):
            late = f"it took more than {self._seconds:.0f} seconds"
            alarm = asyncio.get_running_loop().call_later(self._seconds, reader.end, late)
            try:
                done, value = cast(
                    "tuple[bool, Any]",
                    await anyio.to_thread.run_sync(reader.read, question, limiter=self._limiter),
                )
            except (EOFError, BrokenPipeError):
                reason = await anyio.to_thread.run_sync(reader.obituary)
                continue
            finally:
                alarm.cancel()
            if not done:
                raise value
            return value
        raise BadImageError(reason)

    def close(self) -> None:
        """End all processes at once."""
        for reader in self._readers:
            reader.end()
            reader.bury()

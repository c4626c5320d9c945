"""What happens in the server, told to every open page: a bounded log with numbers, and who listens to it.

Events carry numbers under the name of this run of the server. A page that reconnects names the last one it
saw and gets what it missed; when that is too long ago, or of another run, it gets ``hello`` alone and
reloads. A page that does not read fast enough is let go: it reconnects.
"""

from __future__ import annotations

import asyncio
import itertools
import secrets
from collections import deque
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any

KEPT = 512
"""Events that a page may miss and still catch up with."""

MOST_LISTENERS = 128
_BACKLOG = 256  # events that wait for one page


class BusyError(RuntimeError):
    """More pages listen than the server serves."""


@dataclass(frozen=True, slots=True)
class Event:
    """``kind`` and JSON ``data``; ``id`` is unique among all runs of the server, None outside the log."""

    id: str | None
    kind: str
    data: dict[str, Any]


class Events:
    """The log of one server. All methods belong to the event loop's thread."""

    def __init__(self) -> None:
        self._run = secrets.token_hex(4)
        self._numbers = itertools.count(1)
        self._log: deque[Event] = deque(maxlen=KEPT)
        self._listeners: set[asyncio.Queue[Event | None]] = set()

    def publish(self, kind: str, data: dict[str, Any]) -> None:
        """Tell everybody who listens."""
        event = Event(f"{self._run}-{next(self._numbers)}", kind, data)
        self._log.append(event)
        for queue in tuple(self._listeners):
            if queue.qsize() >= _BACKLOG:
                self._let_go(queue)
            else:
                queue.put_nowait(event)

    def since(self, last: str | None) -> list[Event]:
        """What was published after an event; nothing when that one is unknown by now."""
        ids = [event.id for event in self._log]
        return list(self._log)[ids.index(last) + 1 :] if last in ids else []

    async def listen(self, hello: Event, last: str | None = None) -> AsyncGenerator[Event, None]:
        """``hello``, what was missed since ``last``, then everything as it happens, until ``close``.

        Raises BusyError when too many listen already.
        """
        if len(self._listeners) >= MOST_LISTENERS:
            raise BusyError
        queue: asyncio.Queue[Event | None] = asyncio.Queue()
        missed = self.since(last)
        self._listeners.add(queue)
        try:
            yield hello
            for event in missed:
                yield event
            while (next_one := await queue.get()) is not None:
                yield next_one
        finally:
            self._listeners.discard(queue)

    @property
    def listening(self) -> int:
        """How many pages listen."""
        return len(self._listeners)

    def close(self) -> None:
        """End all listening."""
        for queue in tuple(self._listeners):
            self._let_go(queue)

    def _let_go(self, queue: asyncio.Queue[Event | None]) -> None:
        self._listeners.discard(queue)
        while not queue.empty():
            queue.get_nowait()
        queue.put_nowait(None)

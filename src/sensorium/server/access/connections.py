"""Connections that are slow, idle or too many: what uvicorn leaves open.

uvicorn limits how long a connection may rest between two requests, and nothing else: one that never finishes
its first request, or never reads its answer, stays for ever, and its ``limit_concurrency`` turns new clients
away once enough of those are there, which is what such a client wants. Here a request must be there in time,
an answer must be read in time, and when there are too many connections those go that have waited longest
without asking.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from sensorium.server.access import addresses
from sensorium.server.settings import Patience

if TYPE_CHECKING:
    from collections.abc import Iterable


UNWANTED = 16_000_000
"""Bytes that a client may go on sending once its request is refused: most read the answer only after that."""


def protocol(patience: Patience) -> type[asyncio.Protocol]:
    """The protocol for ``uvicorn.Config(http=...)``, as patient as told."""
    return type("Protocol", (_PatientProtocol,), {"patience": patience})


class _PatientProtocol(H11Protocol):
    """HTTP/1.1 with time limits."""

    patience = Patience()
    _since = 0.0
    _unwanted = 0
    _head_timer: asyncio.TimerHandle | None = None
    _answer_timer: asyncio.TimerHandle | None = None

    @property
    def waits(self) -> bool:
        """Whether no request is being answered here."""
        return self.cycle is None or self.cycle.response_complete

    @property
    def group(self) -> str:
        """Under what the client is counted."""
        return addresses.group_of(self.client[0] if self.client else None)

    def connection_made(self, transport: Any) -> None:
        """Take the connection in, at the cost of another one when there are too many."""
        super().connection_made(transport)
        self._await_request()
        others = [other for other in self.connections if isinstance(other, _PatientProtocol)]
        if len(others) > self.patience.connections:
            _give_up(others)
        elif len(others) > self.patience.of_one and not addresses.is_loopback_client(self._address):
            group = self.group
            same = [other for other in others if other.group == group]
            if len(same) > self.patience.of_one:
                _give_up(same)

    @property
    def _address(self) -> str | None:
        return self.client[0] if self.client else None

    def data_received(self, data: bytes) -> None:
        """Take what came; not without end when it is the rest of a body that was refused."""
        super().data_received(data)
        if self.waits and self.conn.their_state is h11.SEND_BODY:
            self._unwanted += len(data)
            if self._unwanted > UNWANTED:
                self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the timers."""
        for timer in (self._head_timer, self._answer_timer):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        self._await_request()
        super().on_response_complete()

    def pause_writing(self) -> None:
        """The client does not read as fast as it is answered: give it a while."""
        super().pause_writing()
        self._answer_timer = self.loop.call_later(self.patience.answer, self.transport.abort)

    def resume_writing(self) -> None:
        """It read some."""
        if self._answer_timer is not None:
            self._answer_timer.cancel()
        super().resume_writing()

    def _await_request(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
        self._since = self.loop.time()
        self._head_timer = self.loop.call_later(self.patience.head, self._head_is_due)

    def _head_is_due(self) -> None:
        if self.waits:
            self.transport.abort()


def _give_up(connections: Iterable[_PatientProtocol]) -> None:
    """Close the connection that has waited longest; the newest one when all are at work."""
    ordered = sorted(connections, key=lambda connection: connection._since)
    longest = next((connection for connection in ordered if connection.waits), ordered[-1])
    longest.transport.abort()

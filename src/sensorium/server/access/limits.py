"""How much, how often and how long: wrong credentials, bodies of requests, uploads at a time.

How large a body may be is the framework's own ``max_body_size`` (``MAX_BODY`` for the application,
``MAX_UPLOAD`` on routes that take a picture). Here is what it leaves open: bodies that come too slowly, and
too many large ones at a time.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from sensorium.server.access import addresses
from sensorium.server.api.problems import Problem

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_BODY = 1_000_000
"""Bytes of a JSON body; a list of 100,000 ids fits."""

MAX_UPLOAD = 50_000_000
"""Bytes of an uploaded picture."""

UPLOADS_AT_ONCE = 4
"""Bodies larger than ``MAX_BODY`` that are received at a time."""

SLOWEST = 20_000
"""Bytes a second that a body must make on the whole, after one pause of grace."""


class Attempts:
    """Counts wrong credentials of each address; many in a short time close the door for a while."""

    def __init__(self, *rates: str) -> None:
        from limits import parse_many
        from limits.storage import MemoryStorage
        from limits.strategies import MovingWindowRateLimiter

        self._limits = parse_many(";".join(rates or ("10/minute", "60/hour")))
        self._limiter = MovingWindowRateLimiter(MemoryStorage())

    def check(self, address: str | None) -> None:
        """Raises Problem when an address has failed too often."""
        group = addresses.group_of(address)
        for limit in self._limits:
            if not self._limiter.test(limit, group):
                raise Problem(
                    429,
                    "too_many_attempts",
                    "too many wrong tokens from this address: wait a little",
                    headers={"retry-after": str(limit.get_expiry())},
                )

    def failed(self, address: str | None) -> None:
        """Count a failure."""
        for limit in self._limits:
            self._limiter.hit(limit, addresses.group_of(address))


class Bodies:
    """ASGI middleware: a body must keep coming, and only a few large ones are received at a time.

    ``pause`` is the longest wait for the next part, in seconds.
    """

    def __init__(self, app: ASGIApp, pause: float) -> None:
        self.app = app
        self.pause = pause
        self.large = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on with its body watched."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        body = _Body(self, receive)
        started = False

        async def noting(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self.app(scope, body.receive, noting)
        except Problem as problem:
            if started:
                raise
            await problem.response()(scope, receive, send)
        finally:
            body.release()


class _Body:
    """The body of one request as it comes in."""

    def __init__(self, limits: Bodies, receive: Receive) -> None:
        self._limits = limits
        self._receive = receive
        self._size = 0
        self._ends: float | None = None
        self._whole = False
        self._large = False

    async def receive(self) -> Message:
        """The next part. Raises Problem when it does not come in time."""
        if self._whole:
            return await self._receive()  # what comes now is that the client left, which may take for ever
        loop = asyncio.get_running_loop()
        if self._ends is None:
            self._ends = loop.time() + self._limits.pause
        allowed = self._ends + self._size / SLOWEST
        try:
            async with asyncio.timeout_at(min(allowed, loop.time() + self._limits.pause)):
                message = await self._receive()
        except TimeoutError:
            # The rest would be taken for the next request: the connection ends here.
            raise Problem(
                408,
                "body_timeout",
                "the body of the request came too slowly",
                headers={"connection": "close"},
            ) from None
        if message["type"] == "http.request":
            self._size += len(message.get("body", b""))
            self._whole = not message.get("more_body", False)
            if self._size > MAX_BODY and not self._large:
                self._take_place()
        return message

    def _take_place(self) -> None:
        if self._limits.large >= UPLOADS_AT_ONCE:
            raise Problem(
                503,
                "too_many_uploads",
                "several pictures are being uploaded at this moment: try again",
                headers={"retry-after": "2", "connection": "close"},
            )
        self._large = True
        self._limits.large += 1

    def release(self) -> None:
        """The request is over."""
        if self._large:
            self._large = False
            self._limits.large -= 1

"""From settings to a server that listens, and to its end."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from types import FrameType
from typing import TYPE_CHECKING

import uvicorn

from sensorium.errors import SensoriumError
from sensorium.photos.files.names import printable
from sensorium.server.access import addresses, connections
from sensorium.server.access.tokens import Role
from sensorium.server.app import create_app

if TYPE_CHECKING:
    from fastapi import FastAPI

    from sensorium.photos.encoder import EncoderLoader
    from sensorium.server.settings import ServerSettings
    from sensorium.server.tasks.cutting import SegmenterLoader

BACKLOG = 512
LAST_SECONDS = 5
"""How long answers that are under way may take when the server ends."""


@dataclass(frozen=True, slots=True)
class Ready:
    """A server that listens. ``token`` is a new administrator's, to be shown now and never again."""

    url: str
    token: str | None


def run(
    settings: ServerSettings,
    ready: Callable[[Ready], None],
    *,
    new_token: bool = False,
    loader: EncoderLoader | None = None,
    cutter: SegmenterLoader | None = None,
) -> None:
    """Serve until Ctrl-C or a termination signal.

    Args:
        settings: What to serve, and where.
        ready: Called once, when the server listens.
        new_token: Make another administrator's token.
        loader: As for ``create_app``.
        cutter: As for ``create_app``.

    Raises:
        SensoriumError: The address cannot be taken, the library cannot be opened or has a server already.
    """
    _allow_many_files()
    with contextlib.closing(_listen(settings.host, settings.port)) as listener:
        app = create_app(settings, loader=loader, cutter=cutter)
        config = uvicorn.Config(
            app,
            http=connections.protocol(settings.patience),
            ws="none",
            lifespan="off",  # entered below, so that its errors are ours to tell
            log_config=None,
            log_level="error",
            access_log=False,  # addresses of shares are keys
            proxy_headers=False,  # nobody may say for himself where he comes from
            server_header=False,
            timeout_graceful_shutdown=LAST_SECONDS,
            ssl_certfile=settings.certificate,
            ssl_keyfile=settings.key,
        )
        with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
            runner.run(_serve(app, config, listener, lambda: ready(_readiness(app, listener, new_token))))


async def _serve(
    app: FastAPI, config: uvicorn.Config, listener: socket.socket, ready: Callable[[], None]
) -> None:
    async with _living(app):
        await asyncio.to_thread(ready)
        await _Server(config, app).serve(sockets=[listener])


@contextlib.asynccontextmanager
async def _living(app: FastAPI) -> AsyncIterator[None]:
    async with app.router.lifespan_context(app):
        yield


class _Server(uvicorn.Server):
    """uvicorn that ends by returning: it would send itself the signal again, before our own end is done."""

    def __init__(self, config: uvicorn.Config, app: FastAPI) -> None:
        super().__init__(config)
        self._app = app

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End the answers that have no end first: the others may take their time."""
        self._app.state.services.events.close()
        self._app.state.services.asking.close()
        await super().shutdown(sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Let Ctrl-C and a termination signal end the server; a second Ctrl-C at once."""
        before = {number: signal.signal(number, self._end) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _end(self, number: int, frame: FrameType | None) -> None:
        self.handle_exit(number, frame)


def _readiness(app: FastAPI, listener: socket.socket, new_token: bool) -> Ready:
    settings: ServerSettings = app.state.settings
    port = listener.getsockname()[1]
    token = None
    accounts = app.state.accounts
    lacking = not any(token.role is Role.ADMIN for token in accounts.tokens())
    if new_token or (lacking and not settings.open_to_the_owner):
        _, token = accounts.add_token("administrator", Role.ADMIN)
    return Ready(url(settings, port), token)


def url(settings: ServerSettings, port: int) -> str:
    """The address to open in a browser on this machine or, where it has a name, on any."""
    scheme = "https" if settings.tls else "http"
    named = sorted(name for name in settings.names if not name.startswith("*."))
    host = settings.host
    address = addresses.parsed_address(host)
    if address is not None and address.is_unspecified:
        host = named[0] if named else "127.0.0.1"
    elif named and not settings.loopback:
        host = named[0]
    shown = f"[{host}]" if ":" in host else host
    default = 443 if settings.tls else 80
    return f"{scheme}://{shown}/" if port == default else f"{scheme}://{shown}:{port}/"


def _listen(host: str, port: int) -> socket.socket:
    """A socket that listens. Raises SensoriumError."""
    address = addresses.parsed_address(host)
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _, _, _, place = found[0]
        both = family is socket.AF_INET6 and address is not None and address.is_unspecified
        listener = socket.create_server(
            place[:2],
            family=family,
            backlog=BACKLOG,
            dualstack_ipv6=both and socket.has_dualstack_ipv6(),
        )
        # Connections inherit it. asyncio sets it by itself only where the socket names its protocol, which
        # this one does not; without it the second part of an answer waits 40 ms for an acknowledgement.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listener
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise SensoriumError(
            f"cannot listen on {printable(host)} port {port}: {reason.lower()}; "
            "choose another with --host or --port"
        ) from error


def _allow_many_files() -> None:
    """Each connection is an open file, and many systems allow a process few of them."""
    try:
        import resource
    except ImportError:  # not on this system
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 8192 if hard == resource.RLIM_INFINITY else min(8192, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))

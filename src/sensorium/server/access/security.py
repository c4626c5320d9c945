"""Who asks, from where, and whether they may: decided before anything of a request is believed.

``Gate`` is the one way in. In this order it looks at the name by which the server was asked (a page of
another host that resolves to this machine is turned away: DNS rebinding), at the page that asks (Origin,
fetch metadata), at the credential, at the header that only our own pages can send (CSRF), and at whether the
library is there. What it does not know it refuses: an address below ``/api/`` that is not listed as public
answers 401 without a credential, whether it exists or not. ``require`` then asks of each route which role it
is for.

``Headers`` puts on every answer what browsers are to keep to.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from starlette.datastructures import Headers as RequestHeaders
from starlette.datastructures import MutableHeaders
from starlette.requests import Request, cookie_parser

from sensorium.errors import SensoriumError
from sensorium.photos.database.schema import FILE_NAME as LIBRARY_FILE
from sensorium.server.access import addresses
from sensorium.server.access.limits import Attempts
from sensorium.server.access.tokens import Role
from sensorium.server.api import problems
from sensorium.server.api.problems import Problem
from sensorium.server.settings import ServerSettings

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from sensorium.server.access.accounts import Accounts

API = "/api/"
SESSION = "/api/v1/session"
SHARED = "/api/v1/shared/"
CSRF_HEADER = "x-sensorium-csrf"
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})

CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' blob: data:",
        "media-src 'self' blob:",
        "connect-src 'self'",
        "font-src 'self'",
        "manifest-src 'self'",
        "worker-src 'self'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)
_HEADERS = (
    (b"content-security-policy", CONTENT_SECURITY_POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),  # for browsers that do not know frame-ancestors
    (b"referrer-policy", b"no-referrer"),  # the address of a share is its key
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
)
_NOT_KEPT = (b"cache-control", b"no-store")  # answers of the API, unless a route says how long they are good
_STRICT_TRANSPORT = (b"strict-transport-security", b"max-age=31536000")
# Whoever passes these on stands between us and the one who asks, who then may be anyone.
_OF_PROXIES = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via")

_log = logging.getLogger("sensorium.server")


@dataclass(frozen=True, slots=True)
class Caller:
    """Who makes a request. Exactly one of token and session is set, or none for the owner at this machine."""

    name: str
    role: Role
    token_id: str | None = None
    session_id: str | None = None

    def may(self, role: str) -> bool:
        """Whether the caller may do what a role may."""
        return self.role.includes(Role(role))

    @property
    def csrf_id(self) -> str:
        """What the caller's CSRF value is bound to."""
        return self.session_id or "owner"


def session_cookie(settings: ServerSettings) -> str:
    """The name of the session's cookie. The prefix makes browsers insist on TLS and on this very host."""
    return "__Host-sensorium" if settings.tls else "sensorium"


def require(role: Literal["view", "edit", "admin"]) -> Callable[[Request], Awaitable[Caller]]:
    """A dependency that lets a caller with a role pass: ``Depends(require("edit"))``; gives the caller."""
    return _DEMANDS[Role(role)]


def _demand(role: Role) -> Callable[[Request], Awaitable[Caller]]:
    async def demand(request: Request) -> Caller:
        caller: Caller | None = request.scope["state"].get("caller")
        if caller is None:
            raise sign_in_needed()
        if not caller.role.includes(role):
            raise Problem(403, "forbidden", f"this takes the role {role}, and yours is {caller.role}")
        return caller

    demand.role = role  # type: ignore[attr-defined]  # the inventory of routes in the tests reads it
    return demand


_DEMANDS = {role: _demand(role) for role in Role}


def sign_in_needed(**members: Any) -> Problem:
    """No credential where one is needed."""
    headers = {"www-authenticate": "Bearer"}
    return Problem(401, "sign_in_needed", "sign in with a token first", headers=headers, **members)


def wrong_token() -> Problem:
    """A credential that is none."""
    headers = {"www-authenticate": 'Bearer error="invalid_token"'}
    detail = "this token is not one of this library, or it was withdrawn"
    return Problem(401, "wrong_token", detail, headers=headers)


class Gate:
    """ASGI middleware that lets in whom it knows. Puts the caller into ``scope["state"]["caller"]``.

    Args:
        app: What is behind the gate.
        settings: How the server is reached.
        accounts: Gives the credentials; they are opened when the server starts, after this is made.
        attempts: Counts wrong credentials by address.
        library: The file without which nothing is answered.
    """

    def __init__(
        self,
        app: ASGIApp,
        settings: ServerSettings,
        accounts: Callable[[], Accounts],
        attempts: Attempts,
        library: LibraryFile,
    ) -> None:
        self.app = app
        self.settings = settings
        self.accounts = accounts
        self.attempts = attempts
        self.library = library
        self.cookie = session_cookie(settings)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse the request, or pass it on."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":  # there are no web sockets here
            await send({"type": "websocket.close", "code": 1008})
            return
        try:
            headers = RequestHeaders(scope=scope)
            self._check_host(scope, headers)
            self._check_origin(scope, headers)
            caller = self._caller(scope, headers)
            scope.setdefault("state", {})["caller"] = caller
            path = scope["path"]
            if path.startswith(API):
                if caller is None and not (path == SESSION or path.startswith(SHARED)):
                    raise sign_in_needed()
                self._check_csrf(scope, headers, caller)
                await self.library.check()
        except Problem as problem:
            await problem.response()(scope, receive, send)
            return
        await self.app(scope, receive, send)

    def _check_host(self, scope: Scope, headers: RequestHeaders) -> None:
        given = headers.getlist("host")
        host = addresses.host_of_header(given[0]) if len(given) == 1 else None
        if host is None:
            raise Problem(400, "wrong_host", "the request does not say, in one Host header, whom it asks")
        if host in addresses.LOCAL_NAMES or addresses.names_fit(host, self.settings.names):
            return
        # By number: the address at which the connection arrived. No other site can have that as its name.
        server = scope.get("server")
        asked = addresses.parsed_address(host)
        if asked is None or server is None or asked != addresses.parsed_address(str(server[0])):
            raise Problem(
                421, "wrong_host", "this server does not answer to that name: add it with --host-name"
            )

    def _check_origin(self, scope: Scope, headers: RequestHeaders) -> None:
        """Turn away what pages of other sites ask for, even where they would not see the answer."""
        for origin in headers.getlist("origin"):
            scheme, _, authority = origin.partition("://")
            schemes = ("https",) if self.settings.tls else ("http", "https")  # perhaps a proxy adds TLS
            default = ":443" if scheme == "https" else ":80"
            same = authority.lower().removesuffix(default) == headers["host"].lower().removesuffix(default)
            if scheme not in schemes or not same:
                raise Problem(403, "wrong_origin", "pages of other sites may not ask this server")
        site = headers.get("sec-fetch-site", "none")
        if site in ("none", "same-origin"):
            return
        # A link from elsewhere may open the page, which then asks for itself.
        opens_page = headers.get("sec-fetch-mode") == "navigate" and scope["method"] in SAFE_METHODS
        if scope["path"].startswith(API) or not opens_page:
            raise Problem(403, "wrong_origin", "pages of other sites may not ask this server")

    def _caller(self, scope: Scope, headers: RequestHeaders) -> Caller | None:
        client = scope.get("client")
        address = client[0] if client else None
        authorization = headers.get("authorization")
        if authorization is not None:
            return self._bearer(authorization, address)
        if (
            self.settings.open_to_the_owner
            and addresses.is_loopback_client(address)
            and not any(name in headers for name in _OF_PROXIES)
        ):
            return Caller("owner", Role.ADMIN)
        cookie = cookie_parser(headers.get("cookie", "")).get(self.cookie)
        found = self.accounts().session_of(cookie) if cookie else None
        if found is None:
            return None
        session, token = found
        return Caller(token.name, token.role, session_id=session.id)

    def _bearer(self, authorization: str, address: str | None) -> Caller:
        scheme, _, credential = authorization.partition(" ")
        token = self.accounts().token_of(credential.strip()) if scheme.lower() == "bearer" else None
        if token is None:
            # Who has a good one is never made to wait for what others at the same address tried.
            self.attempts.check(address)
            self.attempts.failed(address)
            raise wrong_token()
        return Caller(token.name, token.role, token_id=token.id)

    def _check_csrf(self, scope: Scope, headers: RequestHeaders, caller: Caller | None) -> None:
        # A token in a header is put there by a program, never by a browser that was led astray.
        if scope["method"] in SAFE_METHODS or caller is None or caller.token_id is not None:
            return
        if scope["path"] == SESSION and scope["method"] == "POST":
            return  # signing in: there is nothing yet to ride on, and the token itself must be known
        expected = self.accounts().csrf(caller.csrf_id)
        if not hmac.compare_digest(expected.encode(), headers.get(CSRF_HEADER, "").encode()):
            raise Problem(
                403,
                "csrf",
                "the header X-Sensorium-CSRF is missing or old: it is `csrf` of GET /api/v1/session",
            )


class LibraryFile:
    """The library's file as it was when it was opened; tells when it is gone, or another one.

    Without it, a server would go on writing to a file that was deleted, and everything would be lost with it.
    """

    def __init__(self, folder: Path) -> None:
        self._file = folder / LIBRARY_FILE
        self._known: tuple[int, int] | None = None
        self._reopen: Callable[[], Awaitable[None]] | None = None
        self._reopening = asyncio.Lock()

    def remember(self, reopen: Callable[[], Awaitable[None]]) -> None:
        """The library was opened just now; ``reopen`` opens it anew."""
        self._known = self._identity()
        self._reopen = reopen

    async def check(self) -> None:
        """Raises Problem when the library is gone; opens it anew when it is another one (after a restore)."""
        found = self._identity()  # one look at a local file, some microseconds
        if found is None:
            raise problems.library_gone()
        if found == self._known or self._reopen is None:
            return
        async with self._reopening:
            if found == self._known:
                return
            _log.warning("the library's file was replaced: opening it anew")
            try:
                await self._reopen()
            except SensoriumError as error:
                _log.warning("it cannot be opened: %s", error)
                raise problems.library_gone() from error
            self._known = found

    def _identity(self) -> tuple[int, int] | None:
        try:
            status = self._file.stat()
        except OSError:
            return None
        return status.st_dev, status.st_ino


class Headers:
    """ASGI middleware, outermost: the headers of every answer, and errors that no handler saw as problems.

    The framework answers a few errors by itself in plain text (a body that is too large, a method that a
    static file does not know). Each error leaves as a problem document.
    """

    def __init__(self, app: ASGIApp, settings: ServerSettings) -> None:
        self.app = app
        self.headers = [*_HEADERS, _STRICT_TRANSPORT] if settings.tls else [*_HEADERS]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on and see to its answer."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        replaced = False

        async def dressed(message: Message) -> None:
            nonlocal replaced
            if message["type"] == "http.response.start":
                replaced = _is_bare_error(message)
                if replaced:
                    problem = problems.of_status(message["status"], headers=_kept(message))
                    await problem.response()(scope, receive, sealed)
                    return
            if not replaced:
                await sealed(message)

        async def sealed(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = {name for name, _ in message["headers"]}  # a route may know better
                wanted = self.headers if not scope["path"].startswith(API) else [*self.headers, _NOT_KEPT]
                added = [header for header in wanted if header[0] not in given]
                message["headers"] = [*message["headers"], *added]
            await send(message)

        await self.app(scope, receive, dressed)


def _is_bare_error(message: Message) -> bool:
    content_type = MutableHeaders(raw=message["headers"]).get("content-type", "")
    # Not for answers without a body, such as that to HEAD, nor where a route chose what to say.
    return message["status"] >= HTTPStatus.BAD_REQUEST and content_type.startswith("text/plain")


def _kept(message: Message) -> dict[str, str]:
    headers = MutableHeaders(raw=message["headers"])
    return {name: headers[name] for name in ("allow", "content-range", "retry-after") if name in headers}

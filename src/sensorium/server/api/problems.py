"""Errors as a client gets them: RFC 9457 documents with a stable ``code`` and one line.

Wherever an error starts (a route, a validation, the router, a disk, a bug), what leaves is
``application/problem+json``. Tracebacks go to the server's own log. Paths of the machine are told only to
those who administer it.
"""

from __future__ import annotations

import errno
import logging
import re
import sqlite3
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict
from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from sensorium.errors import BadImageError, LibraryBusyError, LibraryError, ModelNotFoundError, SensoriumError

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.requests import Request
    from starlette.types import Scope

MEDIA_TYPE = "application/problem+json"

_log = logging.getLogger("sensorium.server")

# For statuses that the framework itself decides.
_CODES = {
    400: "bad_request",
    401: "sign_in_needed",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    408: "body_timeout",
    413: "body_too_large",
    415: "unsupported_media_type",
    416: "range_not_satisfiable",
    422: "invalid",
    500: "internal",
    503: "unavailable",
}
_DETAILS = {
    404: "there is nothing at this address",
    405: "this address does not answer to that method",
    413: "the body of the request is too large",
    500: "something went wrong in the server; its log says what",
}
# What SQLite and the system say when it is not the request that is at fault: status, code, detail.
_FULL = (507, "disk_full", "the disk of the library is full: make room and try again")
_BUSY = (503, "library_busy", "the library is being written by another process: try again in a moment")
_GONE = (
    503,
    "library_gone",
    "the library is not there: its folder was moved or deleted, or its disk is away",
)
_UNAVAILABLE = (
    503,
    "library_unavailable",
    "the library cannot be read or written: see `sensorium library check`",
)
_BY_SQLITE_CODE = {
    sqlite3.SQLITE_FULL: _FULL,
    sqlite3.SQLITE_BUSY: _BUSY,
    sqlite3.SQLITE_LOCKED: _BUSY,
    sqlite3.SQLITE_CANTOPEN: _GONE,
    sqlite3.SQLITE_READONLY: _UNAVAILABLE,
    sqlite3.SQLITE_IOERR: _UNAVAILABLE,
    sqlite3.SQLITE_CORRUPT: _UNAVAILABLE,
    sqlite3.SQLITE_NOTADB: _UNAVAILABLE,
}
_BY_ERRNO = {errno.ENOSPC: _FULL, errno.EDQUOT: _FULL, errno.EFBIG: _FULL}

# From the first slash of an absolute path to the last of the line: rather a word too many than a folder.
_FOLDERS = re.compile(r"(?<![^\s'\"(\[{<=:])(?:[A-Za-z]:)?[/\\](?:.*[/\\])?")


class ProblemDocument(BaseModel):
    """The body of every error (RFC 9457). ``code`` is a stable word; some codes have members of their own."""

    model_config = ConfigDict(extra="allow")

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    code: str


class Problem(HTTPException):
    """An answer that is an error; of a kind that the framework passes on wherever it is raised.

    Args:
        status: HTTP status, 400 to 599.
        code: A stable word in snake_case, by which the page finds its translation.
        detail: One line: what was wrong and what to do. No path of the machine.
        headers: Headers besides the content type.
        members: More members of the document.
    """

    def __init__(
        self, status: int, code: str, detail: str, *, headers: Mapping[str, str] | None = None, **members: Any
    ) -> None:
        super().__init__(status, detail, dict(headers or {}))
        self.code = code
        self.members = members

    @property
    def status(self) -> int:
        """The HTTP status."""
        return self.status_code

    def response(self) -> JSONResponse:
        """The answer that says this."""
        document = {
            "type": "about:blank",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": self.detail,
            "code": self.code,
            **self.members,
        }
        headers = {"cache-control": "no-store"} | dict(self.headers or {})
        return JSONResponse(document, self.status, headers, media_type=MEDIA_TYPE)


def of_status(status: int, detail: str = "", headers: Mapping[str, str] | None = None) -> Problem:
    """The problem for a status that the framework decided."""
    said = _DETAILS.get(status) or detail or HTTPStatus(status).phrase
    return Problem(status, _CODES.get(status, "bad_request"), said, headers=headers)


def library_gone() -> Problem:
    """The library's file is not where it was."""
    return Problem(*_GONE)


def without_folders(text: str) -> str:
    """A line without the folders of its paths: ``cannot read /home/anna/lib`` becomes ``cannot read lib``."""
    return _FOLDERS.sub("", text)


def of_error(error: Exception, *, to_admin: bool) -> Problem | None:
    """What a client is told of an error that a route raised; None when it is a bug of ours."""
    if isinstance(error, Problem):
        return error
    known = _of_storage(error)
    if known is not None:
        return Problem(*known)
    if not isinstance(error, SensoriumError):
        return None
    detail = " ".join((str(error) if to_admin else without_folders(str(error))).split())
    if isinstance(error, LibraryBusyError):
        return Problem(503, "library_busy", detail, headers={"retry-after": "5"})
    if isinstance(error, LibraryError):
        return Problem(409, "library_refused", detail)  # not its disk, as above: what was asked of it
    if isinstance(error, ModelNotFoundError):
        return Problem(503, "model_missing", detail)
    if isinstance(error, BadImageError):
        return Problem(422, "bad_image", detail)
    return Problem(400, "bad_request", detail)


def _of_storage(error: BaseException) -> tuple[int, str, str] | None:
    """A full disk or an unusable database anywhere among the causes of an error."""
    for cause in _causes(error):
        code = getattr(cause, "sqlite_errorcode", None)
        if isinstance(code, int):
            found = _BY_SQLITE_CODE.get(code & 0xFF)  # the rest of an extended code says more than we need
            if found is not None:
                return found
        if isinstance(cause, OSError) and cause.errno in _BY_ERRNO:
            return _BY_ERRNO[cause.errno]
    return None


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        original = getattr(current, "orig", None)  # what SQLAlchemy wraps
        current = original if isinstance(original, BaseException) else current.__cause__


def of_validation(error: RequestValidationError) -> Problem:
    """Which fields of a request were wrong, without repeating what was sent."""
    fields = [
        {"field": ".".join(str(part) for part in entry["loc"]), "message": str(entry["msg"])}
        for entry in error.errors()
    ]
    first = "; ".join(f"{field['field']}: {field['message']}" for field in fields[:3])
    more = f" (and {len(fields) - 3} more)" if len(fields) > 3 else ""
    return Problem(422, "invalid", " ".join(f"{first}{more}".split()), errors=fields[:100])


def install(app: FastAPI) -> None:
    """Let every error of an application leave as a problem document."""
    app.add_exception_handler(Problem, _answer)
    app.add_exception_handler(SensoriumError, _answer)
    app.add_exception_handler(OSError, _answer_storage)
    app.add_exception_handler(SQLAlchemyError, _answer_storage)
    app.add_exception_handler(HTTPException, _answer_http)
    app.add_exception_handler(RequestValidationError, _answer_validation)
    app.add_exception_handler(ClientDisconnect, _answer_nobody)
    app.add_exception_handler(Exception, _answer)


async def _answer(request: Request, error: Exception) -> JSONResponse:
    problem = of_error(error, to_admin=is_for_admin(request.scope))
    if problem is None:
        problem = of_status(500)
    elif problem.status >= 500:
        _log.warning("%s %s: %s", request.method, problem.code, error)
    return problem.response()


async def _answer_storage(request: Request, error: Exception) -> JSONResponse:
    """A full disk or a locked library, which need no traceback in the log; everything else is a bug."""
    if of_error(error, to_admin=False) is None:
        raise error
    return await _answer(request, error)


async def _answer_http(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    return of_status(error.status_code, str(error.detail), error.headers).response()


async def _answer_validation(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    return of_validation(error).response()


async def _answer_nobody(_: Request, __: Exception) -> JSONResponse:
    """The client left before its request was there: no bug of ours, and nobody reads this."""
    return of_status(400, "the request was broken off").response()


def is_for_admin(scope: Scope) -> bool:
    """Whether the request comes from someone who administers this machine's library."""
    caller = scope.get("state", {}).get("caller")
    return caller is not None and bool(caller.may("admin"))

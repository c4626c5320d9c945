"""Signing in and out, and the tokens with which that is done."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

from anyio import to_thread
from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

import sensorium
from sensorium.server.access.accounts import SESSION_DAYS, Token
from sensorium.server.access.security import Caller, require, session_cookie, sign_in_needed, wrong_token
from sensorium.server.access.tokens import Role
from sensorium.server.api.problems import Problem

if TYPE_CHECKING:
    from sensorium.server.access.accounts import Accounts
    from sensorium.server.access.limits import Attempts
    from sensorium.server.settings import ServerSettings

router = APIRouter(prefix="/api/v1", tags=["access"])

Admin = Annotated[Caller, Depends(require("admin"))]
Name = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f]*$")]


class SessionDocument(BaseModel):
    """Who the page is for. ``csrf`` goes into the header X-Sensorium-CSRF of whatever changes something."""

    signed_in: bool
    needs_sign_in: bool
    role: Role | None
    name: str | None
    version: str
    csrf: str | None


class SignIn(BaseModel):
    """A token as it was shown when it was made."""

    token: Annotated[str, Field(max_length=200)]


class TokenDocument(BaseModel):
    """A token without its secret. ``current``: the one that asks, or whose session asks."""

    id: str
    name: str
    role: Role
    created_at: datetime
    last_used_at: datetime | None
    current: bool = False


class TokenList(BaseModel):
    """All tokens, oldest first."""

    tokens: list[TokenDocument]


class NewToken(BaseModel):
    """A token to be made."""

    name: Name
    role: Role


class MadeToken(TokenDocument):
    """A token with its secret, which is shown here and never again."""

    token: str


def moment(seconds: int) -> datetime:
    """Seconds since 1970 as a moment with its zone."""
    return datetime.fromtimestamp(seconds, UTC)


@router.get("/session", responses={401: {"description": "Sign in first"}})
async def get_session(request: Request) -> SessionDocument:
    """Who asks, and what the page must know of it."""
    caller: Caller | None = request.state.caller
    if caller is None:
        nobody = SessionDocument(
            signed_in=False,
            needs_sign_in=True,
            role=None,
            name=None,
            version=sensorium.__version__,
            csrf=None,
        )
        raise sign_in_needed(**nobody.model_dump())
    return _session_document(caller, _accounts(request))


@router.post("/session", responses={401: {"description": "Not a token of this library"}})
async def sign_in(request: Request, given: SignIn) -> JSONResponse:
    """Begin a session: the answer sets its cookie."""
    attempts: Attempts = request.app.state.attempts
    settings: ServerSettings = request.app.state.settings
    accounts = _accounts(request)
    address = request.client.host if request.client else None
    attempts.check(address)
    token = accounts.token_of(given.token.strip())
    if token is None:
        attempts.failed(address)
        raise wrong_token()
    session, cookie = await to_thread.run_sync(accounts.begin_session, token)
    caller = Caller(token.name, token.role, session_id=session.id)
    answer = JSONResponse(
        _session_document(caller, accounts).model_dump(mode="json"), headers={"cache-control": "no-store"}
    )
    answer.set_cookie(
        session_cookie(settings),
        cookie,
        max_age=SESSION_DAYS * 86_400,
        path="/",
        secure=settings.tls,
        httponly=True,
        samesite="strict",
    )
    return answer


@router.delete("/session", status_code=204, dependencies=[Depends(require("view"))])
async def sign_out(request: Request) -> Response:
    """End the session; its cookie is worth nothing from then on."""
    caller: Caller = request.state.caller
    settings: ServerSettings = request.app.state.settings
    if caller.session_id is not None:
        await to_thread.run_sync(_accounts(request).end_session, caller.session_id)
    answer = Response(status_code=204)
    answer.delete_cookie(
        session_cookie(settings), path="/", secure=settings.tls, httponly=True, samesite="strict"
    )
    return answer


@router.get("/tokens")
async def list_tokens(request: Request, caller: Admin) -> TokenList:
    """All tokens, without their secrets."""
    accounts = _accounts(request)
    current = caller.token_id or accounts.token_id_of_session(caller.session_id)
    return TokenList(tokens=[_token_document(token, current) for token in accounts.tokens()])


@router.post("/tokens", status_code=201, dependencies=[Depends(require("admin"))])
async def make_token(request: Request, wanted: NewToken) -> MadeToken:
    """Make a token for a person or a program. Its secret is in this answer and nowhere else."""
    token, secret = await to_thread.run_sync(_accounts(request).add_token, wanted.name.strip(), wanted.role)
    return MadeToken(**_token_document(token, None).model_dump(), token=secret)


@router.delete(
    "/tokens/{token_id}",
    status_code=204,
    dependencies=[Depends(require("admin"))],
    responses={409: {"description": "The last token of an administrator"}},
)
async def withdraw_token(request: Request, token_id: str) -> Response:
    """Withdraw a token; sessions that were begun with it end."""
    accounts = _accounts(request)
    settings: ServerSettings = request.app.state.settings
    admins = [token.id for token in accounts.tokens() if token.role is Role.ADMIN]
    if admins == [token_id] and not settings.open_to_the_owner:
        raise Problem(
            409, "last_admin", "this is the last token of an administrator: make another one before it goes"
        )
    if not await to_thread.run_sync(accounts.remove_token, token_id):
        raise Problem(404, "not_found", "there is no such token")
    return Response(status_code=204)


def _accounts(request: Request) -> Accounts:
    accounts: Accounts = request.app.state.accounts
    return accounts


def _session_document(caller: Caller, accounts: Accounts) -> SessionDocument:
    known = caller.token_id is not None or caller.session_id is not None
    return SessionDocument(
        signed_in=known,
        needs_sign_in=False,
        role=caller.role,
        name=caller.name if known else None,
        version=sensorium.__version__,
        csrf=accounts.csrf(caller.csrf_id),
    )


def _token_document(token: Token, current: str | None) -> TokenDocument:
    return TokenDocument(
        id=token.id,
        name=token.name,
        role=token.role,
        created_at=moment(token.created_at),
        last_used_at=None if token.used_at is None else moment(token.used_at),
        current=token.id == current,
    )

"""The application: routes, the way in, and what lives as long as the server.

>>> app = create_app(ServerSettings(library=Path("Pictures/.sensorium")))

``app.state`` holds ``settings``, ``accounts``, ``attempts`` and ``services``; the last two of a server's
life, the accounts and the services, exist between start and end.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import anyio.to_thread
from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute

import sensorium
from sensorium.errors import SensoriumError
from sensorium.photos.database.locks import serving
from sensorium.photos.library import Library
from sensorium.server import pages
from sensorium.server.access import sessions, shares
from sensorium.server.access.accounts import Accounts
from sensorium.server.access.limits import MAX_BODY, Attempts, Bodies
from sensorium.server.access.security import (
    API,
    CSRF_HEADER,
    Gate,
    Headers,
    LibraryFile,
    require,
    session_cookie,
)
from sensorium.server.api import problems
from sensorium.server.api.problems import MEDIA_TYPE, ProblemDocument
from sensorium.server.routes import ROUTERS
from sensorium.server.services import Services
from sensorium.server.tasks.asking import PROGRAM as ANSWERING

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from sensorium.photos.encoder import EncoderLoader
    from sensorium.server.settings import ServerSettings
    from sensorium.server.tasks.cutting import SegmenterLoader


def create_app(
    settings: ServerSettings,
    *,
    loader: EncoderLoader | None = None,
    cutter: SegmenterLoader | None = None,
    answering: str = ANSWERING,
) -> FastAPI:
    """The application for one library.

    Its lifespan takes the library for this server alone, makes it when there is none, opens it and ends
    everything in the right order.

    Args:
        settings: Where the library is, and how the server is reached.
        loader: Opens models by name; the installed and pulled ones when absent.
        cutter: The same for the model that cuts.
        answering: The module whose ``main`` the process of the model that answers runs.
    """
    library = LibraryFile(settings.library)
    attempts = Attempts()

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        with contextlib.ExitStack() as ending:
            await anyio.to_thread.run_sync(_open_library, settings, app, ending)
            services = Services(
                settings.library,
                loader=loader,
                watch=settings.watch,
                ahead=settings.ahead,
                cut_model=settings.cut_model,
                cutter=cutter,
                ask_model=settings.ask_model,
                editor=settings.editor,
                answering=answering,
            )
            app.state.services = services
            await services.start()
            library.remember(services.reopen)
            try:
                yield
            finally:
                await services.stop()

    app = _Application(
        title="Sensorium",
        version=sensorium.__version__,
        summary="A photo library that is searched by words, on your own machine.",
        lifespan=lifespan,
        docs_url=None,  # they load scripts from other hosts
        redoc_url=None,
        openapi_url=None,  # served below, to those who may see it
        generate_unique_id_function=_operation_id,
        max_body_size=MAX_BODY,
        responses={"4XX": _PROBLEM, "5XX": _PROBLEM},
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
    )
    app.state.settings = settings
    app.state.attempts = attempts
    app.add_middleware(Bodies, pause=settings.patience.body)
    app.add_middleware(
        Gate, settings=settings, accounts=lambda: app.state.accounts, attempts=attempts, library=library
    )
    problems.install(app)
    for router in (sessions.router, shares.router, shares.public, _description, *ROUTERS):
        app.include_router(router)
    app.router.routes.extend(pages.routes())
    return app


class _Application(FastAPI):
    """FastAPI whose answers, those to its own failures included, all carry our headers."""

    def build_middleware_stack(self) -> ASGIApp:
        """The framework's layers inside the outermost one of ours."""
        return Headers(super().build_middleware_stack(), self.state.settings)

    def openapi(self) -> dict[str, Any]:
        """The description of the API, with the ways to sign in; made once."""
        if self.openapi_schema is None:
            described = super().openapi()
            _describe_access(described, session_cookie(self.state.settings))
            self.openapi_schema = described
        return self.openapi_schema


_PROBLEM: dict[str, Any] = {
    "description": "A problem, with a stable word for it in `code`",
    "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemDocument"}}},
}

_description = APIRouter(prefix="/api/v1", tags=["access"])


@_description.get("/openapi.json", dependencies=[Depends(require("view"))])
async def openapi_description(request: Request) -> JSONResponse:
    """Describe the API."""
    return JSONResponse(request.app.openapi())


def _open_library(settings: ServerSettings, app: FastAPI, ending: contextlib.ExitStack) -> None:
    """Everything of a start that touches the disk. Raises SensoriumError with one line."""
    folder = settings.library
    Library.open(folder, create=True).close()
    ending.enter_context(serving(folder))
    accounts = Accounts.open(folder)
    app.state.accounts = accounts
    ending.callback(_close, accounts)


def _close(accounts: Accounts) -> None:
    # With the library gone or the disk full, all that is lost is when tokens were last used.
    with contextlib.suppress(SensoriumError):
        accounts.close()


def _operation_id(route: APIRoute) -> str:
    return route.name


def _describe_access(described: dict[str, Any], cookie: str) -> None:
    """Add to an OpenAPI description what the gate does: how to sign in, and what every error looks like."""
    components = described.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    schemas["ProblemDocument"] = ProblemDocument.model_json_schema()
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    components["securitySchemes"] = {
        "token": {"type": "http", "scheme": "bearer"},
        "session": {"type": "apiKey", "in": "cookie", "name": cookie},
        "csrf": {"type": "apiKey", "in": "header", "name": CSRF_HEADER},
    }
    for path, operations in described["paths"].items():
        for method, operation in operations.items():
            operation["responses"].pop("422", None)  # the framework's own; ours is among 4XX
            if path.startswith(API + "v1/shared/") or (path == f"{API}v1/session" and method != "delete"):
                operation["security"] = []
            elif method == "get":
                operation["security"] = [{"token": []}, {"session": []}]
            else:
                operation["security"] = [{"token": []}, {"session": [], "csrf": []}]

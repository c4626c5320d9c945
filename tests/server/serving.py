"""Servers to be tested: a library of a few coloured pictures behind an application or a real process."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from pathlib import Path

from fastapi.routing import APIRoute, iter_route_contexts
from starlette.testclient import TestClient

sys.path.insert(0, str(Path(__file__).parents[1] / "photos"))
from cutting_fakes import DiscCutter
from photo_fakes import Models, plain, write

from sensorium.photos.library import Library
from sensorium.server.access.tokens import Role
from sensorium.server.app import create_app
from sensorium.server.settings import ServerSettings

COLOURS = ("red", "green", "blue")
HERE = ("127.0.0.1", 50_000)
ELSEWHERE = ("192.0.2.7", 50_000)  # of the addresses kept for documentation (RFC 5737)
LOCAL = "http://127.0.0.1:8765"
AWAY = "https://photos.example:8765"
CSRF = "X-Sensorium-CSRF"


def make_library(folder: Path, colours: tuple[str, ...] = COLOURS) -> Path:
    """A library of one picture a colour; its folder. The pictures are beside it."""
    pictures = folder.parent / "pictures"
    pictures.mkdir(exist_ok=True)
    for colour in colours:
        write(pictures / f"{colour}.jpg", plain(colour))
    index(folder, pictures)
    return folder


def index(folder: Path, *pictures: Path) -> None:
    """Take what is new into a library."""
    with Library.open(folder, create=True, loader=Models()) as library:
        for _ in library.index(list(pictures), workers=1):
            pass


def application(folder: Path, *, cutter=None, **options):
    """The application of a library, listening (by what it is told) on loopback unless told otherwise."""
    settings = ServerSettings(library=folder, **options)
    return create_app(settings, loader=Models(), cutter=cutter or DiscCutter())


@contextmanager
def client(app, *, address=HERE, base_url=LOCAL, **options):
    """A running application and someone who asks it from an address."""
    with TestClient(app, base_url=base_url, client=address, **options) as asking:
        yield asking


@contextmanager
def local_client(app, **options):
    """The owner at this machine, with the header that changes need."""
    with client(app, **options) as asking:
        asking.headers[CSRF] = asking.get("/api/v1/session").json()["csrf"]
        yield asking


def beside(asking: TestClient, *, address=ELSEWHERE, base_url=LOCAL) -> TestClient:
    """Someone else who asks the same running application."""
    other = TestClient(asking.app, base_url=base_url, client=address)
    other.portal = asking.portal
    return other


def problem(answer, status: int, code: str) -> dict:
    """The document of an answer that must be a certain problem."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    document = answer.json()
    assert document["code"] == code, document
    assert document["status"] == status
    assert "\n" not in document["detail"]
    return document


def away(folder, **options):
    """An application that listens to everybody and is called photos.example."""
    options = {"host": "0.0.0.0", "without_tls": True, "host_names": ("photos.example",)} | options
    return application(folder, **options)


def stranger(app, **options):
    """Someone at another machine, in a browser at the right address."""
    return client(app, address=ELSEWHERE, base_url=AWAY, **options)


def token_of(app, role: str, name: str = "someone") -> str:
    return app.state.accounts.add_token(name, Role(role))[1]


def operations(app):
    """Path, method and the role that it demands, of every route of the API."""
    for context in iter_route_contexts(app.routes):
        if isinstance(context.original_route, APIRoute):
            for method in context.methods:
                yield context.path, method, demanded(context._effective_route.dependant)


def demanded(dependant) -> Role | None:
    """The strictest role that a route or one of its dependencies asks for."""
    roles = [getattr(dependant.call, "role", None), *(demanded(inner) for inner in dependant.dependencies)]
    return max((role for role in roles if role is not None), key=list(Role).index, default=None)


def share(asking, **wanted) -> dict:
    answer = asking.post("/api/v1/shares", json=wanted)
    assert answer.status_code == 201, answer.text
    return answer.json()

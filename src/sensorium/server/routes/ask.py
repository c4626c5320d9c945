"""Asking about photos: what the model can do, and answers as server-sent events while they are written.

Nothing is changed by any of it, so whoever may look may ask.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

from fastapi import APIRouter
from fastapi.responses import Response
from sse_starlette import EventSourceResponse, ServerSentEvent

from sensorium.photos.files.originals import Original, original_of
from sensorium.photos.library import Library
from sensorium.server.api.asking import AskModel, AskRequest, model_document
from sensorium.server.api.problems import Problem, without_folders
from sensorium.server.api.rendering import answer
from sensorium.server.pictures import media
from sensorium.server.routes.common import PREFIX, VIEW, Shared, Viewer
from sensorium.server.services import Services
from sensorium.server.tasks.asking import Running, Turn

router = APIRouter(prefix=PREFIX, tags=["ask"])

HEARTBEAT = 15  # seconds between comments that keep the connection open and find out that it is not
_SEND_WITHIN = 20  # seconds that a client may take for one event
_STREAM: dict[int | str, dict[str, Any]] = {200: {"content": {"text/event-stream": {}}}}


@router.get("/ask", response_model=AskModel)
async def model_that_answers(services: Shared, caller: Viewer) -> Response:
    """Which model answers questions about photos, and what it can do; opens it."""
    try:
        document = model_document(await services.asking.about())
    except Problem as problem:
        if problem.code == "unavailable":
            raise
        detail = _told(problem.detail, to_admin=caller.may("admin"))
        document = AskModel(
            model=_told(services.asking.model, to_admin=caller.may("admin")),
            problem=problem.code,
            detail=detail,
        )
    return answer(document)


@router.post("/ask", response_class=Response, responses=_STREAM, dependencies=VIEW)
async def ask_about_photos(services: Shared, caller: Viewer, wanted: AskRequest) -> Response:
    """`state` (waiting, looking, reading), `shown`, `piece` after `piece`, then `answer`; or a `problem`.

    Leaving ends the answer.
    """
    ids = [photo for turn in wanted.turns for photo in turn.photos]
    originals = await services.call(lambda library: _originals(library, ids))
    turns = [
        Turn(turn.role, turn.text, tuple(originals[photo] for photo in turn.photos)) for turn in wanted.turns
    ]
    running = services.asking.ask(turns, most=wanted.most, budget=wanted.budget, explain=wanted.explain)
    source = _events(services, running, ids, to_admin=caller.may("admin"))
    return EventSourceResponse(source, ping=HEARTBEAT, send_timeout=_SEND_WITHIN)


def _originals(library: Library, ids: list[int]) -> dict[int, Original]:
    found: dict[int, Original] = {}
    for photo_id in dict.fromkeys(ids):
        original = original_of(library.store, photo_id)
        if original is None:
            raise media.no_such_photo(photo_id)
        found[photo_id] = original
    return found


async def _events(
    services: Services, running: Running, ids: list[int], *, to_admin: bool
) -> AsyncIterator[ServerSentEvent]:
    try:
        async with contextlib.aclosing(services.asking.events(running)) as events:
            async for event in events:
                data = event.data
                if event.kind == "answer":
                    data = data | {"photo": None if data["photo"] is None else ids[data["photo"]]}
                yield ServerSentEvent(json.dumps(data), event=event.kind)
    except Problem as problem:
        told = {
            "code": problem.code,
            "status": problem.status,
            "detail": _told(problem.detail, to_admin=to_admin),
        }
        yield ServerSentEvent(json.dumps(told), event="problem")


def _told(line: str, *, to_admin: bool) -> str:
    return line if to_admin else without_folders(line)

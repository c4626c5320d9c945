"""What happens, as server-sent events: changes of the library, progress of jobs."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Callable
from typing import Annotated, Any

from fastapi import APIRouter, Header
from fastapi.responses import Response
from sse_starlette import EventSourceResponse, ServerSentEvent

from sensorium.server.api.problems import Problem
from sensorium.server.routes.common import PREFIX, VIEW, Shared
from sensorium.server.services import Services
from sensorium.server.tasks.events import MOST_LISTENERS, Event

router = APIRouter(prefix=PREFIX, tags=["events"])

HEARTBEAT = 15  # seconds between comments that keep the connection open and find out that it is not
_SEND_WITHIN = 20  # seconds that a client may take for one event

_STREAM: dict[int | str, dict[str, Any]] = {200: {"content": {"text/event-stream": {}}}}
LastEvent = Annotated[str | None, Header(max_length=64)]


@router.get("/events", response_class=Response, responses=_STREAM, dependencies=VIEW)
async def all_events(services: Shared, last_event_id: LastEvent = None) -> Response:
    """`hello` first, then `library` (another generation) and `job` (a job as it is now), as they happen."""
    return _stream(services, last_event_id, lambda event: True)


@router.get(
    "/jobs/{job_id}/events",
    response_class=Response,
    responses=_STREAM,
    dependencies=VIEW,
)
async def job_events(services: Shared, job_id: str, last_event_id: LastEvent = None) -> Response:
    """The same for one job; the stream ends with it."""
    services.jobs.get(job_id)
    return _stream(services, last_event_id, lambda event: event.data.get("id") == job_id, job_id)


def _stream(
    services: Services, last: str | None, wanted: Callable[[Event], bool], job_id: str | None = None
) -> Response:
    if services.events.listening >= MOST_LISTENERS:
        raise Problem(503, "too_many_listeners", "too many pages listen already: close some")
    source = _events(services, last, wanted, job_id)
    return EventSourceResponse(source, ping=HEARTBEAT, send_timeout=_SEND_WITHIN)


async def _events(
    services: Services, last: str | None, wanted: Callable[[Event], bool], job_id: str | None
) -> AsyncIterator[ServerSentEvent]:
    hello = Event(None, "hello", {"generation": services.generation})
    first = hello if job_id is None else Event(None, "job", services.jobs.get(job_id).document())
    async with contextlib.aclosing(services.events.listen(first, last)) as events:
        async for event in events:
            if event is first or wanted(event):
                yield ServerSentEvent(json.dumps(event.data), event=event.kind, id=event.id)
            if job_id is not None and event.data.get("id") == job_id and event.data["state"] != "running":
                return

"""The grid, cards, details, thumbnails and originals of photos; marks and export."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import json
from collections.abc import AsyncIterator, Iterator
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Query, Request
from fastapi.responses import Response, StreamingResponse

from sensorium.photos.library import Library
from sensorium.server.api import documents, requests
from sensorium.server.api.problems import Problem
from sensorium.server.api.rendering import JSON, answer, card_document, detail_document
from sensorium.server.pictures import media, thumbnails
from sensorium.server.pictures.contents import versions_of
from sensorium.server.routes.common import EDIT, PREFIX, VIEW, Id, Shared, Viewer
from sensorium.server.services import Services

router = APIRouter(prefix=PREFIX, tags=["photos"])

MOST_CARDS = 1000
_SCOPE = Query(max_length=200, description="all, favourites, hidden, videos, album:ID, person:ID, kind:KIND")
_SIZES = Query(description="240: at most 240 high; 720: at most 720 high; 1600: at most 1600 either way")


@router.get("/grid", response_model=documents.Grid, dependencies=VIEW)
async def grid(request: Request, services: Shared, scope: Annotated[str, _SCOPE] = "all") -> Response:
    """All photos of a scope, newest first: ids, proportions, and where months begin."""
    name = hashlib.sha256(scope.encode("utf-8", "surrogatepass")).hexdigest()[:8]

    def make(library: Library) -> tuple[int, bytes]:
        generation = library.generation()
        question = ("grid", scope)
        return services.grids.get(question, generation, lambda: _grid_bytes(library, scope))

    generation, packed = await services.call(make)
    headers = {
        "etag": f'W/"{services.epoch}-{generation}-{name}"',
        "cache-control": "private, no-cache",
        "vary": "accept-encoding",
    }
    if media.matches(request.headers.get("if-none-match"), headers["etag"].removeprefix("W/")):
        return Response(status_code=304, headers=headers)
    if "gzip" not in request.headers.get("accept-encoding", ""):
        plain = await asyncio.to_thread(gzip.decompress, packed)
        return Response(plain, headers=headers, media_type=JSON)
    return Response(packed, headers={**headers, "content-encoding": "gzip"}, media_type=JSON)


def _grid_bytes(library: Library, scope: str) -> tuple[int, bytes]:
    """The generation and the gzipped JSON of a grid: columns, for objects would be ten times as long."""
    found = library.browse.grid(scope)
    document = {
        "generation": found.generation,
        "ids": found.ids.tolist(),
        "ratios": np.round(found.ratios.astype(np.float64), 2).tolist(),
        "versions": versions_of(found.contents),
        "months": [
            {"month": month.month or None, "start": month.start, "count": month.count}
            for month in found.months
        ],
    }
    raw = json.dumps(document, separators=(",", ":")).encode("ascii")
    return found.generation, gzip.compress(raw, compresslevel=1)


@router.get("/photos", response_model=documents.Cards, dependencies=VIEW)
async def photo_cards(
    services: Shared,
    ids: Annotated[str, Query(pattern=r"^[0-9]{1,19}(,[0-9]{1,19})*$", max_length=20_000)],
) -> Response:
    """Cards of photos, in the order of `ids` (numbers with commas between them, 1,000 at most)."""
    wanted = [int(number) for number in ids.split(",")]
    if len(wanted) > MOST_CARDS:
        raise Problem(422, "too_many", f"{MOST_CARDS} photos at a time, not {len(wanted)}")
    known = [number for number in wanted if number < 2**63]

    def make(library: Library) -> documents.Cards:
        return documents.Cards(photos=[card_document(card) for card in library.browse.photos(known)])

    return answer(await services.call(make))


@router.get("/photos/{photo_id}", response_model=documents.PhotoDetail)
async def photo_detail(services: Shared, caller: Viewer, photo_id: Id) -> Response:
    """Everything that is known about a photo."""
    detail = await services.call(lambda library: library.browse.photo(photo_id))
    if detail is None:
        raise media.no_such_photo(photo_id)
    return answer(detail_document(detail, whole_path=caller.may("edit")))


@router.get(
    "/photos/{photo_id}/thumbnail",
    response_class=Response,
    responses={200: {"content": {thumbnails.MEDIA_TYPE: {}}}, 304: {}},
    dependencies=VIEW,
)
async def photo_thumbnail(
    request: Request,
    services: Shared,
    photo_id: Id,
    size: Annotated[thumbnails.Size, _SIZES] = thumbnails.Size.SMALL,
    v: Annotated[str | None, Query(max_length=16)] = None,
) -> Response:
    """A photo made small (WebP), never enlarged. With `v`, the card's `version`, it may be kept for ever."""
    return await thumbnails.respond(request, services, photo_id, size.value, v)


@router.get(
    "/photos/{photo_id}/media",
    response_class=Response,
    responses={200: {"content": {"*/*": {}}}, 206: {}, 304: {}, 416: {}},
    dependencies=VIEW,
)
async def photo_media(request: Request, services: Shared, photo_id: Id, download: bool = False) -> Response:
    """The original, whole or in ranges."""
    return await media.respond(request, services, photo_id, download=download)


@router.post("/photos/marks", response_model=documents.Changed, dependencies=EDIT)
async def mark_photos(services: Shared, marks: requests.Marks) -> Response:
    """Make photos favourites or hide them, or take that back."""
    if marks.favourite is None and marks.hidden is None:
        raise Problem(422, "invalid", "say what to mark: favourite or hidden", errors=[])

    def mark(library: Library) -> int:
        changed = 0
        if marks.favourite is not None:
            changed += library.marks.favourite(marks.ids, marks.favourite)
        if marks.hidden is not None:
            changed += library.marks.hide(marks.ids, marks.hidden)
        return changed

    return answer(documents.Changed(changed=await services.call(mark)))


@router.post(
    "/export",
    response_class=StreamingResponse,
    responses={200: {"content": {"application/zip": {}}}},
    dependencies=EDIT,
)
async def export_photos(services: Shared, wanted: requests.ExportRequest) -> Response:
    """Photos as one ZIP, written while it is sent: originals, or copies without location and other facts."""
    chunks = await services.call(
        lambda library: iter(library.export(wanted.ids, without_location=wanted.without_location))
    )
    headers = {"content-disposition": 'attachment; filename="photos.zip"', "cache-control": "no-store"}
    return StreamingResponse(_streamed(services, chunks), headers=headers, media_type="application/zip")


async def _streamed(services: Services, chunks: Iterator[bytes]) -> AsyncIterator[bytes]:
    """Chunks that are made in a thread, one after the other; ended when the client goes away."""
    try:
        while (chunk := await services.export(lambda: next(chunks, None))) is not None:
            yield chunk
    finally:
        close: Any = getattr(chunks, "close", None)
        if close is not None:
            await asyncio.shield(services.export(close))

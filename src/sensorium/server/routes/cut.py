"""Cutting things out of photos: look once, then masks for clicks, boxes and words, and the finished cut-out.

Nothing is changed by any of it, so whoever may look may cut.
"""

from __future__ import annotations

import time
from pathlib import PurePath
from urllib.parse import quote

import anyio.to_thread
from fastapi import APIRouter
from fastapi.responses import Response

from sensorium.photos.files.names import printable
from sensorium.photos.files.originals import Original, original_of
from sensorium.server.api.cutting import CutAnswer, CutOutRequest, CutRequest, Edited, Looked, cut_document
from sensorium.server.api.problems import Problem
from sensorium.server.api.rendering import answer
from sensorium.server.pictures import editing, media
from sensorium.server.routes.common import ADMIN, PREFIX, VIEW, Id, Shared, Viewer
from sensorium.server.services import Services
from sensorium.server.tasks.cutting import Asked, View

router = APIRouter(prefix=PREFIX, tags=["cut"])


@router.post("/photos/{photo_id}/cut/embed", response_model=Looked)
async def look_at_photo(services: Shared, caller: Viewer, photo_id: Id) -> Response:
    """Look at a photo, so that the first click need not wait for it."""
    begun = time.perf_counter()
    width, height = (await _view(services, photo_id)).size
    took = _since(begun)
    editor = editing.name_of(services.editor) if services.editor and caller.may("admin") else None
    return answer(Looked(width=width, height=height, model=services.cutting.model, took=took, editor=editor))


@router.post("/photos/{photo_id}/cut", response_model=CutAnswer, dependencies=VIEW)
async def cut_photo(services: Shared, photo_id: Id, wanted: CutRequest) -> Response:
    """The masks that a click, a box or words mean: three for one click where it is ambiguous."""
    begun = time.perf_counter()
    view = await _view(services, photo_id)
    answered = await services.cutting.answer(view, _asked(wanted))
    document = await anyio.to_thread.run_sync(cut_document, answered, view.picture.size, view.size)
    document.took = _since(begun)
    return answer(document)


@router.post(
    "/photos/{photo_id}/cut.png",
    response_class=Response,
    responses={200: {"content": {"image/png": {}}}},
    dependencies=VIEW,
)
async def save_cut_out(services: Shared, photo_id: Id, wanted: CutOutRequest) -> Response:
    """The thing alone with a soft edge, as PNG at the original's full size; the rest is transparent."""
    content, name = await _cut_out(services, photo_id, wanted)
    headers = {"content-disposition": _attachment(name), "cache-control": "no-store"}
    return Response(content, media_type="image/png", headers=headers)


@router.post("/photos/{photo_id}/cut/edit", response_model=Edited, dependencies=ADMIN)
async def edit_cut_out(services: Shared, photo_id: Id, wanted: CutOutRequest) -> Response:
    """Keep the cut-out in the library's folder of cut-outs, and open it in this machine's image editor."""
    if not services.editor:
        raise Problem(409, "no_editor", "no image editor was named: start the server with --editor PROGRAM")
    content, name = await _cut_out(services, photo_id, wanted)
    folder = services.folder / editing.FOLDER
    path = await anyio.to_thread.run_sync(editing.keep, content, folder, name)
    called = editing.name_of(services.editor)
    try:
        await anyio.to_thread.run_sync(editing.start, services.editor, path)
    except OSError as error:
        detail = f"{called} did not start ({error.strerror or error}); the cut-out is kept as {path.name}"
        raise Problem(502, "editor_failed", detail) from error
    return answer(Edited(name=path.name, editor=called))


async def _cut_out(services: Services, photo_id: int, wanted: CutOutRequest) -> tuple[bytes, str]:
    """The finished PNG, and the name of its file."""
    original = await _original(services, photo_id)
    view = await services.cutting.look(original)
    content = await services.cutting.cut_out(original, view, _asked(wanted), cropped=wanted.cropped)
    return content, f"{PurePath(printable(original.name)).stem or 'photo'}-cut.png"


async def _view(services: Services, photo_id: int) -> View:
    """The photo as it was looked at; of one that is known no file and no database is asked."""
    content = services.contents.remembered(photo_id, services.generation)
    known = services.cutting.known(content) if content is not None else None
    if known is not None and known.done():
        return known.result()
    original = await _original(services, photo_id)
    generation = services.generation
    await services.call(lambda library: services.contents.ask(library.store, photo_id, generation))
    return await services.cutting.look(original)


async def _original(services: Services, photo_id: int) -> Original:
    original = await services.call(lambda library: original_of(library.store, photo_id))
    if original is None:
        raise media.no_such_photo(photo_id)
    return original


def _asked(wanted: CutRequest) -> Asked:
    words = " ".join(wanted.words.split()) if wanted.words is not None else None
    return Asked(tuple(wanted.points), wanted.box, words, wanted.all, wanted.choice)


def _attachment(name: str) -> str:
    quoted = quote(name)
    return f'attachment; filename="{name}"' if quoted == name else f"attachment; filename*=utf-8''{quoted}"


def _since(begun: float) -> float:
    return round((time.perf_counter() - begun) * 1000, 1)

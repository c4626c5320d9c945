"""What people chose, and the models that there are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio.to_thread
from fastapi import APIRouter
from fastapi.responses import Response

from sensorium.photos.health import upkeep
from sensorium.photos.library import Library
from sensorium.server.api import documents, requests
from sensorium.server.api.problems import Problem
from sensorium.server.api.rendering import answer
from sensorium.server.routes.common import ADMIN, PREFIX, VIEW, Shared
from sensorium.server.services import Services
from sensorium.weights import catalog
from sensorium.weights.files import folder_of

router = APIRouter(prefix=PREFIX, tags=["settings"])


@router.get("/settings", response_model=documents.SettingsDocument, dependencies=VIEW)
async def get_settings(services: Shared) -> Response:
    """The choices as they are."""
    return answer(await _settings(services))


@router.patch("/settings", response_model=documents.SettingsDocument, dependencies=ADMIN)
async def change_settings(services: Shared, change: requests.SettingsChange) -> Response:
    """Choose anew. Another model begins to take over at once: see the index job that this starts."""
    told = change.model_dump(exclude_unset=True)
    wanted = told.pop("model", None)
    if told.get("watch", False) is None:
        del told["watch"]
    if told:
        await anyio.to_thread.run_sync(lambda: services.preferences.change(**told))
        services.events.publish("settings", told)
    if wanted is not None and wanted != (await _settings(services)).model:
        await expect_model(services, wanted)
        await services.jobs.start("index", model=wanted)
    return answer(await _settings(services))


async def expect_model(services: Services, name: str) -> None:
    """Raise Problem unless a model is of the catalog or of this library: a page names no folders."""
    used = await services.call(lambda library: [model.name for model in upkeep.models(library.store)])
    if name not in used and name not in _readers():
        raise Problem(422, "unknown_model", "there is no such model: see the list of models")


def _readers() -> dict[str, catalog.Entry]:
    """The catalog's models that search for sentences, by name."""
    return {entry.name: entry for entry in catalog.ENTRIES if entry.languages and not entry.answers}


async def _settings(services: Services) -> documents.SettingsDocument:
    chosen = await anyio.to_thread.run_sync(services.preferences.read)
    pipeline = await services.call(lambda library: library.store.active_pipeline())
    model = pipeline.model if pipeline is not None else None
    return documents.SettingsDocument(language=chosen.language, model=model, watch=chosen.watch)


@router.get("/models", response_model=documents.Models, dependencies=VIEW)
async def list_models(services: Shared) -> Response:
    """Models that read sentences: the library's own, those that are here, and those that could be pulled."""
    return answer(documents.Models(models=await services.call(_models)))


def _models(library: Library) -> list[documents.ModelDocument]:
    used = {model.name: model for model in upkeep.models(library.store)}
    known = _readers()
    found = []
    for name in dict.fromkeys([*used, *known]):
        entry, model = known.get(name), used.get(name)
        folder = Path(name) if Path(name).is_absolute() else folder_of(name)
        bytes_here = _bytes(folder)
        fields: dict[str, Any] = {
            "name": name if not Path(name).is_absolute() else folder.name,
            "here": bytes_here > 0,
            "bytes": bytes_here or (entry.megabytes * 1_000_000 if entry else None),
            "photos": model.vectors if model else 0,
            "waiting": model.waiting if model else 0,
            "languages": list(entry.languages) if entry else [],
            "answering": bool(model and model.active),
        }
        found.append(documents.ModelDocument(**fields))
    return found


def _bytes(folder: Path) -> int:
    if not folder.is_dir():
        return 0
    return sum(file.stat().st_size for file in folder.iterdir() if file.is_file())

"""How the library is: what it holds, what is offline, what failed and why, what it takes on disk."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
from datetime import UTC, datetime
from pathlib import Path, PurePath
from typing import Annotated

import anyio.to_thread
from fastapi import APIRouter, Query
from fastapi.responses import Response

from sensorium import settings
from sensorium.photos.database.schema import FILE_NAME
from sensorium.photos.describe import passes
from sensorium.photos.describe.known import chosen
from sensorium.photos.files.names import printable
from sensorium.photos.health import failures
from sensorium.photos.health.failures import FailedFile
from sensorium.photos.library import Library
from sensorium.photos.vectors.cabinet import FOLDER as VECTORS
from sensorium.server.api import documents
from sensorium.server.api.rendering import answer
from sensorium.server.routes.common import ADMIN, PREFIX, Shared, Viewer
from sensorium.server.routes.jobs import job_document
from sensorium.server.routes.roots import root_documents
from sensorium.server.services import Services

router = APIRouter(prefix=PREFIX, tags=["status"])


@router.get("/status", response_model=documents.StatusDocument)
async def library_status(services: Shared, caller: Viewer) -> Response:
    """What the library holds, and how it is."""
    whole = caller.may("admin")
    used = await anyio.to_thread.run_sync(_disk_use, services)
    free = await anyio.to_thread.run_sync(lambda: shutil.disk_usage(services.folder).free)
    watching = (await anyio.to_thread.run_sync(services.preferences.read)).watch
    jobs = [job_document(job) for job in services.jobs.all()]

    def make(library: Library) -> documents.StatusDocument:
        pipeline = library.store.active_pipeline()
        photos, embedded, gone = library.store.count_photos(pipeline.id if pipeline else None)
        roots = root_documents(library, whole_path=whole)
        return documents.StatusDocument(
            library=printable(services.folder if whole else services.folder.name),
            photos=photos,
            embedded=embedded,
            offline=sum(root.photos for root in roots if root.offline is not None),
            gone=gone,
            failed=failures.count(library.store),
            roots=roots,
            bytes=used,
            disk_free=free,
            model=pipeline.model if pipeline else None,
            generation=library.generation(),
            watching=watching,
            jobs=jobs,
            passes=_passes(library),
        )

    return answer(await services.call(make))


def _passes(library: Library) -> list[documents.PassDocument]:
    return [
        documents.PassDocument(
            name=one.name,
            done=one.done,
            due=one.due,
            failed=one.failed,
            ready=one.absent is None,
            needs=one.absent,
        )
        for one in passes.status(library.store, chosen(library.store, None))
    ]


@router.get("/failures", response_model=documents.Failures)
async def list_failures(
    services: Shared,
    caller: Viewer,
    offset: Annotated[int, Query(ge=0, le=10**9)] = 0,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 1000,
) -> Response:
    """Files that are no photos here, each with its reason."""
    whole = caller.may("admin")

    def make(library: Library) -> documents.Failures:
        listed = failures.listed(library.store, limit, offset)
        seen = (
            list(itertools.islice(passes.failures(library.store, chosen(library.store, None)), limit))
            if not offset
            else []
        )
        return documents.Failures(
            failures=[_failure(one, whole) for one in listed],
            total=failures.count(library.store),
            undescribed=[
                documents.UndescribedDocument(
                    name=name,
                    path=printable(failure.path if whole else PurePath(failure.path).name),
                    reason=failure.reason,
                )
                for name, failure in seen
            ],
        )

    return answer(await services.call(make))


def _failure(failed: FailedFile, whole: bool) -> documents.FailureDocument:
    return documents.FailureDocument(
        id=failed.id,
        root=failed.root_id,
        root_path=printable(failed.root if whole else PurePath(failed.root).name),
        path=printable(failed.path),
        name=printable(PurePath(failed.path).name),
        reason=failed.reason,
        retry=not failed.passing,
        failed_at=datetime.fromtimestamp(failed.failed_at / 1e6, UTC),
    )


@router.delete("/thumbnails", response_model=documents.Freed, dependencies=ADMIN)
async def clear_thumbnails(services: Shared) -> Response:
    """Delete all thumbnails; they are made again when they are looked at."""
    return answer(documents.Freed(bytes=await services.thumbnails.clear()))


def _disk_use(services: Services) -> documents.DiskUse:
    parts = (services.folder / f"{FILE_NAME}{end}" for end in ("", "-wal", "-shm"))
    return documents.DiskUse(
        database=sum(map(_size, parts)),
        vectors=_below(services.folder / VECTORS),
        thumbnails=services.thumbnails.bytes,
        backups=_below(services.backups),
        models=_below(settings.models_dir()) + _below(settings.graphs_dir()),
    )


def _below(folder: Path) -> int:
    return sum(_size(Path(place, name)) for place, _, names in os.walk(folder) for name in names)


def _size(file: Path) -> int:
    with contextlib.suppress(OSError):
        return file.stat().st_size
    return 0

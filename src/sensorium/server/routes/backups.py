"""Backups that lie in the folder for them."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import anyio.to_thread
from fastapi import APIRouter
from fastapi.responses import FileResponse, Response

from sensorium.photos.files.names import printable
from sensorium.server.api import documents
from sensorium.server.api.problems import Problem
from sensorium.server.api.rendering import answer
from sensorium.server.pictures.media import BYTES
from sensorium.server.routes.common import ADMIN, PREFIX, Shared
from sensorium.server.services import Services

router = APIRouter(prefix=PREFIX, tags=["backups"])


@router.get("/backups", response_model=documents.Backups, dependencies=ADMIN)
async def list_backups(services: Shared) -> Response:
    """All backups, newest first. One is made, and restored, by a job."""
    found = await anyio.to_thread.run_sync(_listed, services.backups)
    return answer(documents.Backups(backups=found, folder=printable(services.backups)))


@router.get(
    "/backups/{backup_id}/file",
    response_class=Response,
    responses={200: {"content": {BYTES: {}}}, 206: {}, 416: {}},
    dependencies=ADMIN,
)
async def download_backup(services: Shared, backup_id: str) -> Response:
    """A backup, to be kept elsewhere."""
    chosen = await backup_named(services, backup_id)
    headers = {"cache-control": "no-store"}
    try:
        status = await anyio.to_thread.run_sync(chosen.stat)
    except OSError as error:
        raise Problem(404, "backup_not_found", "the backup went away meanwhile") from error
    return FileResponse(chosen, headers=headers, media_type=BYTES, filename=backup_id, stat_result=status)


@router.delete("/backups/{backup_id}", status_code=204, dependencies=ADMIN)
async def delete_backup(services: Shared, backup_id: str) -> Response:
    """Delete a backup."""
    chosen = await backup_named(services, backup_id)
    await anyio.to_thread.run_sync(lambda: chosen.unlink(missing_ok=True))
    return Response(status_code=204)


async def backup_named(services: Services, backup_id: str) -> Path:
    """The file of a backup, only if it is one of those that are listed. Raises Problem."""
    found = await anyio.to_thread.run_sync(_listed, services.backups)
    if backup_id not in [backup.id for backup in found]:
        raise Problem(404, "backup_not_found", "there is no such backup: reload the list")
    return services.backups / backup_id


def _listed(folder: Path) -> list[documents.BackupDocument]:
    try:
        files = [file for file in folder.iterdir() if file.suffix == ".sqlite3" and _is_plain(file)]
    except OSError:
        return []
    found = []
    for file in files:
        try:
            status = file.lstat()
        except OSError:
            continue  # it went away
        made = datetime.fromtimestamp(status.st_mtime, UTC)
        name = printable(file.stem)
        found.append(documents.BackupDocument(id=file.name, name=name, bytes=status.st_size, created_at=made))
    return sorted(found, key=lambda backup: backup.created_at, reverse=True)


def _is_plain(file: Path) -> bool:
    """A regular file of a name that can be shown and sent as it is."""
    return file.name.isprintable() and file.is_file() and not file.is_symlink()

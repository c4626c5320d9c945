"""The folders that the library looks after."""

from __future__ import annotations

from pathlib import PurePath

from fastapi import APIRouter
from fastapi.responses import Response

from sensorium.errors import LibraryError
from sensorium.photos.files.names import printable
from sensorium.photos.files.scan import EMPTY, reason_offline
from sensorium.photos.health import roots as letting_go
from sensorium.photos.intake.indexing import check_folders
from sensorium.photos.library import Library
from sensorium.server.api import documents, requests
from sensorium.server.api.documents import RootDocument, Words
from sensorium.server.api.problems import Problem, without_folders
from sensorium.server.api.rendering import answer
from sensorium.server.routes.common import ADMIN, PREFIX, Id, Shared, Viewer
from sensorium.server.routes.jobs import job_document

router = APIRouter(prefix=PREFIX, tags=["folders"])


def root_documents(library: Library, *, whole_path: bool) -> list[RootDocument]:
    """All folders. ``whole_path`` for those who may know this machine's folders."""
    counts = library.store.root_ids_with_photos()
    return [
        RootDocument(
            id=root.id,
            path=printable(root.path if whole_path else PurePath(root.path).name),
            photos=counts.get(root.id, 0),
            offline=_offline(root.path, counts.get(root.id, 0)),
        )
        for root in library.store.roots()
    ]


def _offline(path: str, photos: int) -> Words | None:
    reason = reason_offline(path)
    if reason is None or (reason == EMPTY and not photos):
        return None
    if reason == EMPTY:
        return Words(en=reason, zh="文件夹是空的，像是磁盘没有挂载")
    return Words(en=reason, zh=f"无法访问：{reason}")


@router.get("/roots", response_model=documents.Roots)
async def list_roots(services: Shared, caller: Viewer) -> Response:
    """All folders, and which cannot be seen now."""
    whole = caller.may("admin")
    found = await services.call(lambda library: root_documents(library, whole_path=whole))
    return answer(documents.Roots(roots=found))


@router.post("/roots", response_model=documents.JobDocument, status_code=202, dependencies=ADMIN)
async def add_root(services: Shared, wanted: requests.NewRoot) -> Response:
    """Look after a folder from now on; the answer is the job that indexes it."""

    def check(library: Library) -> list[str]:
        known = [root.path for root in library.store.roots()]
        return check_folders([wanted.path], library.folder, known=known)

    if not PurePath(wanted.path).is_absolute():
        raise Problem(422, "bad_folder", "give the whole path of the folder, from the root of the disk")
    try:
        folders = await services.call(check)
    except LibraryError as error:
        raise Problem(422, "bad_folder", without_folders(str(error))) from error
    return answer(job_document(await services.jobs.start("index", folders=folders)), 202)


@router.delete("/roots/{root_id}", response_model=documents.RemovedRoot, dependencies=ADMIN)
async def remove_root(services: Shared, root_id: Id) -> Response:
    """Look after a folder no longer: the library forgets its photos; their files stay as they are."""

    def let_go(library: Library) -> int:
        if root_id not in [root.id for root in library.store.roots()]:
            raise Problem(404, "root_not_found", "there is no such folder: reload the list")
        return letting_go.let_go(library.store, root_id)

    return answer(documents.RemovedRoot(photos=await services.call(let_go)))

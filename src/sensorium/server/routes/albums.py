"""Albums: photos that a person put together under a name."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime

from fastapi import APIRouter
from fastapi.responses import Response

from sensorium.photos.collections.albums import Album, UnknownAlbumError
from sensorium.photos.library import Library
from sensorium.server.api import documents, requests
from sensorium.server.api.problems import Problem
from sensorium.server.api.rendering import answer
from sensorium.server.routes.common import EDIT, PREFIX, VIEW, Id, Shared

router = APIRouter(prefix=PREFIX, tags=["albums"])


@contextlib.contextmanager
def _telling() -> Iterator[None]:
    try:
        yield
    except UnknownAlbumError as error:
        raise Problem(404, "album_not_found", str(error)) from error


def _document(album: Album) -> documents.Album:
    made = datetime.fromtimestamp(album.created_at / 1e6, UTC)
    return documents.Album(
        id=album.id, name=album.name, photos=album.count, cover=album.cover, created_at=made
    )


def _one(library: Library, album_id: int) -> documents.Album:
    for album in library.albums.list():
        if album.id == album_id:
            return _document(album)
    raise UnknownAlbumError("there is no such album: it may have been deleted meanwhile")


@router.get("/albums", response_model=documents.Albums, dependencies=VIEW)
async def list_albums(services: Shared) -> Response:
    """All albums, the newest first."""
    albums = await services.call(lambda library: library.albums.list())
    return answer(documents.Albums(albums=[_document(album) for album in albums]))


@router.get("/albums/{album_id}", response_model=documents.Album, dependencies=VIEW)
async def get_album(services: Shared, album_id: Id) -> Response:
    """One album."""
    with _telling():
        return answer(await services.call(lambda library: _one(library, album_id)))


@router.post("/albums", response_model=documents.Album, status_code=201, dependencies=EDIT)
async def create_album(services: Shared, wanted: requests.NewAlbum) -> Response:
    """Make an album, with photos in it or without."""

    def make(library: Library) -> documents.Album:
        album_id = library.albums.create(wanted.name)
        if wanted.ids:
            library.albums.add(album_id, wanted.ids)
        return _one(library, album_id)

    with _telling():
        return answer(await services.call(make), 201)


@router.patch("/albums/{album_id}", response_model=documents.Album, dependencies=EDIT)
async def change_album(services: Shared, album_id: Id, change: requests.AlbumChange) -> Response:
    """Rename an album, or choose its cover."""

    def make(library: Library) -> documents.Album:
        album = _one(library, album_id)
        if change.name is not None and change.name != album.name:
            library.albums.rename(album_id, change.name)
        if "cover" in change.model_fields_set:
            library.albums.set_cover(album_id, change.cover)
        return _one(library, album_id)

    with _telling():
        return answer(await services.call(make))


@router.delete("/albums/{album_id}", status_code=204, dependencies=EDIT)
async def delete_album(services: Shared, album_id: Id) -> Response:
    """Forget an album; its photos stay."""
    with _telling():
        await services.call(lambda library: library.albums.delete(album_id))
    return Response(status_code=204)


@router.post("/albums/{album_id}/photos", response_model=documents.Changed, dependencies=EDIT)
async def add_to_album(services: Shared, album_id: Id, wanted: requests.PhotoIds) -> Response:
    """Put photos into an album."""
    with _telling():
        added = await services.call(lambda library: library.albums.add(album_id, wanted.ids))
    return answer(documents.Changed(changed=added))


@router.delete("/albums/{album_id}/photos", response_model=documents.Changed, dependencies=EDIT)
async def remove_from_album(services: Shared, album_id: Id, wanted: requests.PhotoIds) -> Response:
    """Take photos out of an album."""
    with _telling():
        removed = await services.call(lambda library: library.albums.remove(album_id, wanted.ids))
    return answer(documents.Changed(changed=removed))

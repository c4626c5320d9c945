"""Share links: an album or some photos for whoever has the link, until it ends.

The key in the link is the credential, so everything below ``/api/v1/shared/KEY`` answers without a sign-in
and nothing else does. What a visitor gets never says where a photo was taken, what its file is called or who
is in it: the documents leave that out, thumbnails have no metadata, and pictures and films are sent as copies
without any.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Self

from anyio import to_thread
from fastapi import APIRouter, Depends, Path, Request, Response
from pydantic import BaseModel, Field, model_validator

from sensorium.server.access import shared_photos
from sensorium.server.access.accounts import Share
from sensorium.server.access.security import require
from sensorium.server.access.sessions import moment
from sensorium.server.api.problems import Problem
from sensorium.server.pictures import copies, thumbnails

if TYPE_CHECKING:
    from sensorium.server.access.accounts import Accounts
    from sensorium.server.access.limits import Attempts
    from sensorium.server.services import Services

MOST_PHOTOS = 10_000
DEFAULT_DAYS = 7
MOST_DAYS = 365

router = APIRouter(prefix="/api/v1/shares", tags=["shares"], dependencies=[Depends(require("edit"))])
public = APIRouter(prefix="/api/v1/shared/{key}", tags=["shares"])

Id = Annotated[int, Field(ge=1, le=2**63 - 1)]


class NewShare(BaseModel):
    """What to share: an album as it will be when it is looked at, or these photos."""

    album_id: Id | None = None
    photo_ids: Annotated[list[Id], Field(min_length=1, max_length=MOST_PHOTOS)] | None = None
    name: Annotated[str, Field(max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")] = ""
    days: Annotated[int, Field(ge=1, le=MOST_DAYS)] = DEFAULT_DAYS

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.album_id is None) == (self.photo_ids is None):
            raise ValueError("give either album_id or photo_ids")
        return self


class ShareDocument(BaseModel):
    """A share. ``photos`` counts what a visitor would see now."""

    id: str
    name: str
    album_id: int | None
    photos: int
    created_at: datetime
    expires_at: datetime
    expired: bool


class MadeShare(ShareDocument):
    """A share with its link, which is shown here and never again."""

    key: str
    path: str


class ShareList(BaseModel):
    """The shares that were not revoked, newest first; those whose time is over for a while longer."""

    shares: list[ShareDocument]


class SharedPhoto(BaseModel):
    """A photo as a visitor sees it. ``taken_at`` is the clock on the spot; ``duration`` is in seconds."""

    id: int
    kind: str
    width: int
    height: int
    taken_at: str | None
    duration: float | None


class SharedAlbum(BaseModel):
    """What a link shows."""

    name: str
    expires_at: datetime
    photos: list[SharedPhoto]


@router.get("")
async def list_shares(request: Request) -> ShareList:
    """All links that were given out."""
    accounts, services = _accounts(request), _services(request)
    shares = accounts.shares()
    counts = await services.call(
        lambda library: [shared_photos.count(library.store, share) for share in shares]
    )
    documents = [_document(share, photos) for share, photos in zip(shares, counts, strict=True)]
    return ShareList(shares=documents)


@router.post("", status_code=201)
async def make_share(request: Request, wanted: NewShare) -> MadeShare:
    """Give out a link to an album or to some photos."""
    accounts, services = _accounts(request), _services(request)
    seconds = wanted.days * 86_400
    album, photos = None, None
    if wanted.album_id is not None:
        number = wanted.album_id
        made = await services.call(lambda library: shared_photos.album(library.store, number))
        if made is None:
            raise Problem(404, "not_found", "there is no such album")
        album, name = (number, made.created_at), wanted.name.strip() or made.name
    else:
        ids = list(dict.fromkeys(wanted.photo_ids or ()))
        photos = await services.call(lambda library: shared_photos.first_seen(library.store, ids))
        if not photos:
            raise Problem(404, "not_found", "there are no such photos")
        name = wanted.name.strip()
    share, key = await to_thread.run_sync(
        lambda: accounts.add_share(name, seconds, album=album, photos=photos)
    )
    count = await services.call(lambda library: shared_photos.count(library.store, share))
    return MadeShare(**_document(share, count).model_dump(), key=key, path=f"/share/{key}")


@router.delete("/{share_id}", status_code=204)
async def revoke_share(request: Request, share_id: str) -> Response:
    """End a link now."""
    if not await to_thread.run_sync(_accounts(request).revoke_share, share_id):
        raise Problem(404, "not_found", "there is no such share")
    return Response(status_code=204)


async def _open_share(request: Request, key: Annotated[str, Path(max_length=200)]) -> Share:
    """The share of the link. Raises Problem when there is none, or it is over."""
    attempts: Attempts = request.app.state.attempts
    address = request.client.host if request.client else None
    share = _accounts(request).share_of(key)
    if share is None:
        attempts.check(address)
        attempts.failed(address)
        raise Problem(404, "not_found", "there is nothing at this link: perhaps a part of it is missing")
    if share.revoked_at is not None:
        raise Problem(410, "share_revoked", "whoever shared these photos ended this link")
    if share.expired():
        raise Problem(410, "share_expired", "the time of this link is over: ask for a new one")
    return share


OpenShare = Annotated[Share, Depends(_open_share)]
PhotoId = Annotated[int, Path(ge=1, le=2**63 - 1)]


async def _open_photo(request: Request, share: OpenShare, photo_id: PhotoId) -> int:
    """The id of a photo that the link shows. Raises Problem for every other id, known or not."""
    services = _services(request)
    if not await services.call(lambda library: shared_photos.shows(library.store, share, photo_id)):
        raise Problem(404, "not_found", "this link does not show such a photo")
    return photo_id


OpenPhoto = Annotated[int, Depends(_open_photo)]


@public.get("")
async def get_shared(request: Request, share: OpenShare) -> SharedAlbum:
    """The photos that a link shows, newest first."""
    rows = await _services(request).call(lambda library: shared_photos.listed(library.store, share))
    photos = [SharedPhoto.model_validate(row, from_attributes=True) for row in rows]
    return SharedAlbum(name=share.name, expires_at=moment(share.expires_at), photos=photos)


@public.get("/photos/{photo_id}/thumbnail", responses={200: {"content": {thumbnails.MEDIA_TYPE: {}}}})
async def get_shared_thumbnail(
    request: Request, photo_id: OpenPhoto, size: thumbnails.Size = thumbnails.Size.SMALL
) -> Response:
    """A small picture of a photo that a link shows."""
    return await thumbnails.respond(request, _services(request), photo_id, size.value)


@public.get("/photos/{photo_id}/media", responses={200: {"content": {"image/jpeg": {}, "video/mp4": {}}}})
async def get_shared_media(request: Request, photo_id: OpenPhoto, download: bool = False) -> Response:
    """A photo or film that a link shows, as a copy that says nothing beyond what is seen in it."""
    return await copies.respond(_services(request), photo_id, download=download)


def _accounts(request: Request) -> Accounts:
    accounts: Accounts = request.app.state.accounts
    return accounts


def _services(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


def _document(share: Share, photos: int) -> ShareDocument:
    return ShareDocument(
        id=share.id,
        name=share.name,
        album_id=share.album_id,
        photos=photos,
        created_at=moment(share.created_at),
        expires_at=moment(share.expires_at),
        expired=share.expired(),
    )

"""Originals as they are: by id only, with ranges, under a type that no browser can mistake for a program.

Which file it is, `photos.files.originals` decides and opens; that very file is sent, whatever takes its place
under its name meanwhile. The type is told from the content, and all but a few well-known kinds of picture and
film are sent as bytes to be saved.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, BinaryIO

import anyio
import anyio.to_thread
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import FileResponse, Response

from sensorium.errors import BadImageError
from sensorium.media.formats import PREFIX, is_raw, sniff
from sensorium.photos.files.names import printable
from sensorium.photos.files.originals import Fault, Original, OriginalError, open_original, original_of
from sensorium.server.api.problems import Problem
from sensorium.server.pictures.decoders import CrowdedError

if TYPE_CHECKING:
    from sensorium.server.services import Services

BYTES = "application/octet-stream"

_PICTURES = {
    "JPEG": "image/jpeg",
    "PNG": "image/png",
    "GIF": "image/gif",
    "WEBP": "image/webp",
    "AVIF": "image/avif",
    "HEIF": "image/heic",
    "JXL": "image/jxl",
    "JPEG2000": "image/jp2",
    "TIFF": "image/tiff",
    "BMP": "image/bmp",
}
_STATUS: dict[Fault, int] = {"gone": 410, "offline": 503, "outside": 403, "unreadable": 422}
_NO_PROGRAM = "default-src 'none'; sandbox"  # even a browser that guesses the type runs nothing


@contextlib.contextmanager
def telling() -> Iterator[None]:
    """Faults of originals and of decoders as problems: see ``respond`` of this module and of thumbnails."""
    try:
        yield
    except OriginalError as error:
        raise Problem(_STATUS[error.fault], f"photo_{error.fault}", str(error)) from error
    except BadImageError as error:
        raise Problem(422, "bad_image", f"the picture cannot be shown: {error}") from error
    except CrowdedError as error:
        raise Problem(
            503, "busy", "too many pictures wait to be drawn: try again soon", headers={"retry-after": "5"}
        ) from error


def no_such_photo(photo_id: int) -> Problem:
    """What is answered about an id that no photo has."""
    return Problem(404, "photo_not_found", f"there is no photo {photo_id}")


async def respond(
    request: Request,
    services: Services,
    photo_id: int,
    *,
    download: bool = False,
    name: str | None = None,
) -> Response:
    """The original of a photo, whole or the ranges that were asked for.

    Args:
        request: Its Range, If-Range and If-None-Match count.
        services: Whose photo.
        photo_id: Which.
        download: Save it instead of showing it.
        name: What to call it instead of its own name.

    Raises Problem ``photo_not_found``, ``photo_gone``, ``photo_offline``, ``photo_outside`` or
    ``photo_unreadable``.
    """
    original = await services.call(lambda library: original_of(library.store, photo_id))
    if original is None:
        raise no_such_photo(photo_id)
    with telling():
        file = await anyio.to_thread.run_sync(open_original, original)
    response = await anyio.to_thread.run_sync(_response, file, original, download, name)
    if matches(request.headers.get("if-none-match"), response.headers["etag"]):
        file.close()
        kept = {key: response.headers[key] for key in ("etag", "cache-control", "last-modified")}
        return Response(status_code=304, headers=kept)
    return response


class OpenFileResponse(FileResponse):
    """A ``FileResponse`` of a file that is open already, instead of whatever its name leads to by now."""

    def __init__(
        self, file: BinaryIO, *, media_type: str, headers: dict[str, str], name: str, save: bool
    ) -> None:
        super().__init__(
            os.devnull,
            media_type=media_type,
            headers=headers,
            filename=name,
            content_disposition_type="attachment" if save else "inline",
            stat_result=os.fstat(file.fileno()),
            background=BackgroundTask(file.close),
        )
        self.file = file

    async def __call__(self, scope, receive, send) -> None:  # type: ignore[no-untyped-def]
        """Send it, and close the file whatever happens: a client may leave in the middle."""
        scope = {**scope, "extensions": {}}  # no server may be told to send what the name leads to
        try:
            await super().__call__(scope, receive, send)
        finally:
            self.file.close()

    @contextlib.asynccontextmanager
    async def _open_file(self) -> AsyncIterator[anyio.AsyncFile[bytes]]:
        yield anyio.wrap_file(self.file)


def _response(file: BinaryIO, original: Original, download: bool, name: str | None) -> OpenFileResponse:
    kind = media_type(file)
    file.seek(0)
    status = os.fstat(file.fileno())
    unchanged = (status.st_size, status.st_mtime_ns) == tuple(original.stamp)
    told = original.sha256.hex()[:32] if unchanged else f"{status.st_mtime_ns:x}-{status.st_size:x}"
    save = download or not kind.startswith(("image/", "video/"))
    headers = {
        "etag": f'"{told}"',
        "cache-control": "private, max-age=300",
        "x-content-type-options": "nosniff",
        "content-security-policy": _NO_PROGRAM,
    }
    shown = _shown_name(name or original.name)
    return OpenFileResponse(file, media_type=kind, headers=headers, name=shown, save=save)


def media_type(file: BinaryIO) -> str:
    """The type of a file by its content; ``BYTES`` for raw files and everything unknown."""
    prefix = file.read(PREFIX)
    kind = sniff(prefix)
    if kind == "TIFF" and is_raw(file):
        return BYTES
    return _PICTURES.get(kind or "") or _film(prefix) or BYTES


def _film(prefix: bytes) -> str | None:
    """The type of the films that browsers play."""
    if prefix[4:8] == b"ftyp":
        return "video/quicktime" if prefix[8:12] == b"qt  " else "video/mp4"
    if prefix[4:8] in (b"moov", b"mdat", b"wide", b"free"):
        return "video/quicktime"
    if prefix.startswith(b"\x1aE\xdf\xa3"):
        return "video/webm" if b"webm" in prefix[:64] else "video/x-matroska"
    if prefix[:4] == b"RIFF" and prefix[8:12] == b"AVI ":
        return "video/x-msvideo"
    return None


def _shown_name(name: str) -> str:
    """A file name as it is on disk, any bytes, as one that can be sent and saved anywhere."""
    return printable(name).replace("/", "_").replace("\\", "_").strip() or "photo"


def matches(told: str | None, etag: str) -> bool:
    """Whether If-None-Match names an entity, weakly compared (RFC 9110, 13.1.2)."""
    if told is None:
        return False
    names = [name.strip().removeprefix("W/") for name in told.split(",")]
    return "*" in names or etag in names

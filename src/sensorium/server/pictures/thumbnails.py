"""Small pictures of photos: made once, kept as files under the name of the content, sent again and again.

They are made when they are first asked for, and not while photos are indexed: an indexer that also wrote
three sizes of everything would take twice as long, and most photos of a large library are never looked at.
The smallest size alone is made ``ahead``, while nobody asks for anything. A size that is made brings the
smaller ones along, which then cost next to nothing. A moved photo keeps its thumbnails, and one whose disk is
away still has those that were made.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import shutil
import uuid
from collections.abc import Awaitable, Callable
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING

import anyio.to_thread
from anyio import CapacityLimiter
from starlette.requests import Request
from starlette.responses import Response

from sensorium.errors import BadImageError
from sensorium.photos.files.originals import Original, open_original, original_of
from sensorium.server.pictures import decoding
from sensorium.server.pictures.contents import version_of
from sensorium.server.pictures.decoders import Decoders
from sensorium.server.pictures.decoding import Drawn
from sensorium.server.pictures.media import matches, no_such_photo, telling

if TYPE_CHECKING:
    from sensorium.server.services import Services


class Size(IntEnum):
    """The sizes of thumbnails: see ``decoding.BOUNDS``."""

    SMALL = 240
    MEDIUM = 720
    LARGE = 1600


FOR_EVER = "private, max-age=31536000, immutable"
FOR_A_WHILE = "private, max-age=300"
MEDIA_TYPE = "image/webp"
_READERS = 8  # threads that read files of the cache
_REFUSED = 4096  # contents that could not be decoded, so that they are not tried with every look at the page


class Thumbnails:
    """The cache below one folder. Methods belong to the event loop's thread.

    Files are ``SIZE/AB/ABCDEF....webp`` after the photo's content hash.
    """

    def __init__(self, folder: Path, decoders: Decoders) -> None:
        self.folder = folder
        self.bytes = 0
        self._decoders = decoders
        self._making: dict[Path, asyncio.Task[bytes]] = {}
        self._refused: dict[str, str] = {}
        self._limiter: CapacityLimiter | None = None

    def place(self, key: str, size: int) -> Path:
        """Where the thumbnail of a content is, or will be."""
        return self.folder / str(size) / key[:2] / f"{key}.webp"

    async def stored(self, key: str, size: int) -> bytes | None:
        """The thumbnail of a content, if it was made."""
        self._limiter = self._limiter or CapacityLimiter(_READERS)
        return await anyio.to_thread.run_sync(_read, self.place(key, size), limiter=self._limiter)

    async def make(self, original: Original, size: int) -> bytes:
        """The thumbnail of an original: drawn once, however many ask for it at the same time.

        Raises OriginalError, BadImageError, CrowdedError.
        """
        key, changed = await anyio.to_thread.run_sync(_key_of, original)
        if changed:  # edited since the last scan: it must not be kept under the old content's name
            found = await self.stored(key, size)
            if found is not None:
                return found
        if key in self._refused:
            raise BadImageError(self._refused[key])
        places = {wanted: self.place(key, wanted) for wanted in decoding.BOUNDS}
        try:
            return await self._once(
                places[size], lambda: self._decoders.run(decoding.draw, original, size, places)
            )
        except BadImageError as error:
            self._refuse(key, str(error))
            raise

    async def make_face(self, original: Original, box: tuple[float, float, float, float]) -> bytes:
        """The thumbnail of a face. Raises as ``make``."""
        box_key = ",".join(f"{edge:.4f}" for edge in box)
        key = hashlib.sha256(original.sha256 + box_key.encode()).hexdigest()
        place = self.folder / "faces" / key[:2] / f"{key}.webp"
        self._limiter = self._limiter or CapacityLimiter(_READERS)
        found = await anyio.to_thread.run_sync(_read, place, limiter=self._limiter)
        if found is not None:
            return found
        return await self._once(place, lambda: self._decoders.run(decoding.draw_face, original, box, place))

    async def _once(self, place: Path, draw: Callable[[], Awaitable[Drawn]]) -> bytes:
        task = self._making.get(place)
        if task is None:
            task = self._making[place] = asyncio.create_task(self._drawn(draw))
            task.add_done_callback(lambda _: self._making.pop(place, None))
        # Whoever asked first may go away: the others, and the cache, want it all the same.
        return await asyncio.shield(task)

    async def _drawn(self, draw: Callable[[], Awaitable[Drawn]]) -> bytes:
        drawn = await draw()
        self.bytes += drawn.stored
        return drawn.content

    def _refuse(self, key: str, reason: str) -> None:
        self._refused[key] = reason
        while len(self._refused) > _REFUSED:
            del self._refused[next(iter(self._refused))]

    async def measure(self) -> None:
        """Find out how large the cache is."""
        self.bytes = await anyio.to_thread.run_sync(_bytes_below, self.folder)

    async def clear(self) -> int:
        """Delete everything that was made; how many bytes that were. Later looks make it again."""
        freed = await anyio.to_thread.run_sync(_clear, self.folder)
        self._refused.clear()
        self.bytes = 0
        return freed


async def respond(
    request: Request, services: Services, photo_id: int, size: int, version: str | None = None
) -> Response:
    """The thumbnail of a photo as an answer: WebP without any metadata, 304 to whoever has it.

    ``version`` is the one of the photo's card; with it the answer may be kept for ever. Raises Problem
    ``photo_not_found``, ``photo_gone``, ``photo_offline``, ``photo_outside``, ``photo_unreadable``,
    ``bad_image`` or ``busy``.
    """
    generation = services.generation
    sha256 = services.contents.remembered(photo_id, generation)
    if sha256 is None:
        sha256 = await services.call(
            lambda library: services.contents.ask(library.store, photo_id, generation)
        )
    if sha256 is None:
        raise no_such_photo(photo_id)
    headers = {
        "etag": f'"{sha256.hex()[:24]}-{size}"',
        "cache-control": FOR_EVER if version == version_of(sha256) else FOR_A_WHILE,
    }
    if matches(request.headers.get("if-none-match"), headers["etag"]):
        return Response(status_code=304, headers=headers)
    content = await services.thumbnails.stored(sha256.hex(), size)
    if content is None:
        content = await _made(services, photo_id, size)
    return Response(content, media_type=MEDIA_TYPE, headers=headers)


async def respond_face(
    request: Request,
    services: Services,
    photo_id: int,
    box: tuple[float, float, float, float],
) -> Response:
    """A face as an answer, square. Raises Problem as ``respond``."""
    original = await services.call(lambda library: original_of(library.store, photo_id))
    if original is None:
        raise no_such_photo(photo_id)
    told = hashlib.sha256(repr((original.sha256, box)).encode()).hexdigest()[:24]
    headers = {"etag": f'"{told}"', "cache-control": FOR_A_WHILE}
    if matches(request.headers.get("if-none-match"), headers["etag"]):
        return Response(status_code=304, headers=headers)
    with telling():
        content = await services.thumbnails.make_face(original, box)
    return Response(content, media_type=MEDIA_TYPE, headers=headers)


async def _made(services: Services, photo_id: int, size: int) -> bytes:
    original = await services.call(lambda library: original_of(library.store, photo_id))
    if original is None:
        raise no_such_photo(photo_id)
    with telling():
        return await services.thumbnails.make(original, size)


def _read(place: Path) -> bytes | None:
    """A file of the cache; None when there is none, or it was written by half before the power failed."""
    try:
        content = place.read_bytes()
    except OSError:
        return None
    whole = content[:4] == b"RIFF" and int.from_bytes(content[4:8], "little") + 8 == len(content)
    return content if whole else None


def _key_of(original: Original) -> tuple[str, bool]:
    """The name of an original's content, and whether that is another one than the library knows."""
    with open_original(original) as file:
        status = os.fstat(file.fileno())
    if (status.st_size, status.st_mtime_ns) == tuple(original.stamp):
        return original.sha256.hex(), False
    told = (original.sha256, status.st_size, status.st_mtime_ns)
    return hashlib.sha256(repr(told).encode()).hexdigest(), True


def _bytes_below(folder: Path) -> int:
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                total += os.stat(os.path.join(place, name)).st_size  # noqa: PTH116, PTH118
    return total


def _clear(folder: Path) -> int:
    aside = folder.with_name(f".{folder.name}-{uuid.uuid4().hex[:8]}")
    try:
        folder.rename(aside)  # from here on new ones are made in a new folder
    except FileNotFoundError:
        return 0
    freed = _bytes_below(aside)
    shutil.rmtree(aside, ignore_errors=True)
    return freed

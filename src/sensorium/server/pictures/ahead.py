"""Small pictures made ahead, while nobody asks for anything: photos of a disk that is away have them, too."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import sqlalchemy as sa

from sensorium.errors import LibraryError, SensoriumError
from sensorium.photos.database.schema import photos
from sensorium.photos.files.originals import OriginalError, original_of
from sensorium.photos.library import Library
from sensorium.server.pictures.decoders import CrowdedError
from sensorium.server.pictures.thumbnails import Size

if TYPE_CHECKING:
    from sensorium.server.services import Services

_AT_ONCE = 500  # photos that are looked up together
_ROOM = 2 << 30  # bytes that stay free on the disk
_LOOK = 1.0  # seconds between looks at whether it is quiet


class Ahead:
    """Makes the smallest thumbnail of every photo that has none, newest first, one at a time.

    Methods belong to the event loop's thread.
    """

    def __init__(self, services: Services, *, quiet: float) -> None:
        self._services = services
        self._quiet = quiet
        self._failed: set[bytes] = set()  # contents that gave no picture: they are not tried again

    async def run(self) -> None:
        """Go through the library whenever it has changed, for as long as the server runs."""
        done = -1
        while True:
            await asyncio.sleep(min(_LOOK, self._quiet))
            generation = self._services.generation
            if generation in (done, -1):
                continue
            try:
                await self._through()
            except LibraryError:
                continue  # whoever asks for a photo is told; this only goes on looking
            done = generation

    async def _through(self) -> None:
        below = 2**62
        while True:
            found = await self._services.call(partial(_older, than=below))
            if not found:
                return
            for photo, sha256 in found:
                below = photo
                if sha256 not in self._failed and not self._is_made(sha256):
                    await self._wait()
                    await self._make(photo, sha256)

    async def _make(self, photo: int, sha256: bytes) -> None:
        original = await self._services.call(lambda library: original_of(library.store, photo))
        if original is None:
            return
        try:
            await self._services.thumbnails.make(original, Size.SMALL)
        except OriginalError:
            return  # its disk is away, or it went meanwhile: there will be another time
        except (SensoriumError, OSError):
            self._failed.add(sha256)
        except CrowdedError:
            await asyncio.sleep(self._quiet)

    def _is_made(self, sha256: bytes) -> bool:
        return self._services.thumbnails.place(sha256.hex(), Size.SMALL).is_file()

    async def _wait(self) -> None:
        """Until nobody asks, nothing long is at work and the disk has room."""
        services = self._services
        while (
            time.monotonic() - services.asked < self._quiet
            or services.decoders.waiting
            or any(job.state == "running" for job in services.jobs.all())
            or shutil.disk_usage(services.folder).free < _ROOM
        ):
            await asyncio.sleep(min(_LOOK, self._quiet))


def _older(library: Library, than: int) -> Sequence[tuple[int, bytes]]:
    """Ids and content hashes of photos that are there, the newest with an id below ``than`` first."""
    statement = sa.select(photos.c.id, photos.c.sha256).where(
        photos.c.id < than, photos.c.missing_since.is_(None)
    )
    with library.store.reading() as connection:
        rows = connection.execute(statement.order_by(photos.c.id.desc()).limit(_AT_ONCE)).all()
    return [(row.id, row.sha256) for row in rows]

"""Copies of photos and films without anything but the picture: what share links send.

They are made in a decoding process (``copying``) when they are first asked for, and kept beside the
thumbnails under the name of their content.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import anyio.to_thread
from starlette.responses import FileResponse

from sensorium.photos.collections.copies import SUFFIXES
from sensorium.photos.files.originals import original_of
from sensorium.server.pictures import copying
from sensorium.server.pictures.media import media_type, no_such_photo, telling

if TYPE_CHECKING:
    from starlette.responses import Response

    from sensorium.server.services import Services

FOLDER = "copies"
"""Below the folder of the thumbnails, with which it is measured and cleared."""


async def respond(services: Services, photo_id: int, *, download: bool) -> Response:
    """A copy of a photo or film as an answer, which gives ranges.

    Raises Problem ``photo_not_found``, ``photo_gone``, ``photo_offline``, ``photo_outside``,
    ``photo_unreadable``, ``bad_image`` or ``busy``; OSError when the copy cannot be written.
    """
    original = await services.call(lambda library: original_of(library.store, photo_id))
    if original is None:
        raise no_such_photo(photo_id)
    key = original.sha256.hex()
    place = services.thumbnails.folder / FOLDER / key[:2] / key
    if not await anyio.to_thread.run_sync(place.is_file):
        with telling():
            await services.decoders.run(copying.make, original, place)
    kind = await anyio.to_thread.run_sync(_media_type, place)
    return FileResponse(
        place,
        media_type=kind,
        filename=f"photo-{photo_id}{SUFFIXES.get(kind, ('',))[0]}",
        content_disposition_type="attachment" if download else "inline",
        headers={"cache-control": "private, no-store"},  # a link that was ended must have ended
    )


def _media_type(place: Path) -> str:
    with place.open("rb") as file:
        return media_type(file)

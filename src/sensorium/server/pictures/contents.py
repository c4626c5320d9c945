"""Which content each photo has, for the names of thumbnails: remembered, since each thumbnail asks for it."""

from __future__ import annotations

import base64
import threading
from collections import OrderedDict

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from sensorium.photos.database.schema import photos
from sensorium.photos.database.store import Store

_REMEMBERED = 20_000


def version_of(sha256: bytes) -> str:
    """Four letters that change with a photo's content: the first 24 bits of its hash."""
    return base64.urlsafe_b64encode(sha256[:3]).decode("ascii")


class Contents:
    """Content hashes of photos by id, as of a generation of the library."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._recent: OrderedDict[int, tuple[int, bytes]] = OrderedDict()

    def clear(self) -> None:
        """Forget everything: the library is another one."""
        with self._lock:
            self._recent.clear()

    def remembered(self, photo_id: int, generation: int) -> bytes | None:
        """The hash of a photo if it was asked for in this generation."""
        with self._lock:
            found = self._recent.get(photo_id)
            return found[1] if found is not None and found[0] == generation else None

    def ask(self, store: Store, photo_id: int, generation: int) -> bytes | None:
        """The hash of a photo, None when there is none; kept for ``generation``. Raises LibraryError."""
        statement = sa.select(photos.c.sha256).where(photos.c.id == photo_id)
        with store.reading() as connection:
            found: bytes | None = connection.execute(statement).scalar_one_or_none()
        if found is not None:
            with self._lock:
                self._recent[photo_id] = generation, found
                self._recent.move_to_end(photo_id)
                while len(self._recent) > _REMEMBERED:
                    self._recent.popitem(last=False)
        return found


def versions_of(heads: NDArray[np.uint8]) -> str:
    """``version_of`` for many photos, one after the other, from the first bytes of their hashes [n, 3]."""
    return base64.urlsafe_b64encode(np.ascontiguousarray(heads).tobytes()).decode("ascii")

"""The pass that computes perceptual hashes where indexing has not: photos of older libraries.

Indexing hashes each picture that it decodes; without a model's need for pixels nothing is decoded then, so
photos whose vectors were there before had to wait for this pass. ``duplicates`` uses the hashes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from sensorium.photos.database.schema import photos
from sensorium.photos.describe.looking import Look
from sensorium.photos.describe.passes import Pass
from sensorium.photos.duplicates.hashing import hash_of

_SET = (
    sa.update(photos)
    .where(photos.c.id == sa.bindparam("photo"))
    .values(perceptual_hash=sa.bindparam("hashed"))
)


@dataclass(frozen=True, slots=True)
class HashPass(Pass):
    """Perceptual hashes of photos that have none."""

    name: str = "hash"
    version: int = 1
    side: int = 256

    def wants(self) -> sa.ColumnElement[bool]:
        """Photos without a hash; the poster of a video is hashed when it is indexed."""
        return (photos.c.kind != "video") & photos.c.perceptual_hash.is_(None)

    def opened(self) -> Callable[[Look], object]:
        """A function from a look to eight bytes."""
        return _hashed

    def keep(self, connection: Connection, found: Mapping[int, bytes | None]) -> None:
        """Write the hashes."""
        rows = [{"photo": photo, "hashed": hashed} for photo, hashed in found.items()]
        if rows:
            connection.execute(_SET, rows)


def _hashed(look: Look) -> bytes:
    return hash_of(look.image)

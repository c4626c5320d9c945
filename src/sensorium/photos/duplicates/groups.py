"""Groups of photos of which one would do: equal files, and files that show the same picture.

Near duplicates differ in at most `BITS` of their perceptual hashes, and the model that answers searches
finds them at least as alike as `COSINE`. Measured on 212 photos with mini-clip, these limits know again: 99 %
or more of copies with 1600 or 640 pixels or in JPEG quality 75, 98 % in quality 40, 87 % with 320 pixels;
98 % that are a fifth brighter, 99 % with a third more contrast, 97 % with stretched tones, 99 % that lost 2 %
at the edges, 72 % in grey. Mirrored pictures and those that lost 10 % are others. Of 22,345 pairs of
different photos they take none for one, and of 21 pairs of stereo cameras one.

Shots of a burst look as alike as edits of one photo do (half of the pairs between which a hand moved by 1 %,
three quarters of the frames of a camera on a stand half a second apart), but a camera dates each: photos
whose own clocks name different moments are never duplicates. Nothing is ever deleted here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from sensorium.photos.database.records import parts
from sensorium.photos.database.schema import photos, pipelines, vectors
from sensorium.photos.database.store import Store
from sensorium.photos.duplicates import near
from sensorium.photos.duplicates.hashing import NOTHING
from sensorium.photos.search.filters import SHOWN, WALL_CLOCK

BITS = 6
COSINE = 0.85

_CLOCKS = ("original", "digitized", "gps", "xmp", "iptc")  # sources that tell when the shutter was pressed
_SECOND = 1_000_000
_DURATION = 0.5  # seconds that films of one content may differ by, cut at other frames


@dataclass(frozen=True, slots=True)
class Group:
    """Photos (ids) that show the same.

    ``kind`` is "exact" when their files are equal byte for byte; the oldest in the library comes first then.
    Else it is "near", and the best comes first: of most pixels, then of most bytes.
    """

    kind: Literal["exact", "near"]
    photos: tuple[int, ...]


class _Photo(NamedTuple):
    """A photo as far as it matters for being the same as another."""

    id: int
    sha256: bytes
    hash: bytes
    pixels: int
    bytes: int
    wall: int | None
    told: bool
    duration: float | None


class Duplicates:
    """Duplicates among the photos that are neither gone nor hidden. Methods raise LibraryError."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def exact(self) -> list[Group]:
        """Photos with equal files, the groups by their first photo."""
        several = (
            sa.select(photos.c.sha256).where(SHOWN).group_by(photos.c.sha256).having(sa.func.count() > 1)
        )
        statement = sa.select(photos.c.sha256, photos.c.id).where(SHOWN, photos.c.sha256.in_(several))
        found: dict[bytes, list[int]] = {}
        with self._store.reading() as connection:
            for content, photo in connection.execute(statement.order_by(photos.c.id)):
                found.setdefault(content, []).append(photo)
        return [Group("exact", tuple(group)) for group in found.values()]

    def near(self) -> list[Group]:
        """Photos that show the same picture but are not equal files, the groups by their first photo.

        Of equal files only one is named. Photos without a hash or a vector are in no group.
        """
        known = self._photos()
        if not known:
            return []
        hashes = np.frombuffer(b"".join([photo.hash for photo in known]), np.uint8).reshape(len(known), -1)
        distinct, places = np.unique(hashes, axis=0, return_inverse=True)
        holders = _holders(places.reshape(-1), len(distinct))
        alike = near.groups(near.pairs(distinct, BITS))
        linked = {place for group in alike for place in group}
        alike += [[place] for place, same in enumerate(holders) if len(same) > 1 and place not in linked]
        found: list[Group] = []
        for group in alike:
            found += self._confirmed([known[photo] for place in group for photo in holders[place]])
        return sorted(found, key=lambda group: group.photos[0])

    def waiting(self) -> int:
        """Photos whose hash is still to be computed, by `sensorium describe`."""
        statement = sa.select(sa.func.count()).where(SHOWN, photos.c.perceptual_hash.is_(None))
        with self._store.reading() as connection:
            return int(connection.execute(statement).scalar_one())

    def _photos(self) -> list[_Photo]:
        """One photo of each content that has a hash."""
        columns = (
            photos.c.id,
            photos.c.sha256,
            photos.c.perceptual_hash,
            photos.c.width * photos.c.height,
            photos.c.size,
            WALL_CLOCK,
            photos.c.taken_source.in_(_CLOCKS),
            photos.c.duration,
        )
        statement = sa.select(*columns).where(SHOWN, photos.c.perceptual_hash != NOTHING)
        with self._store.reading() as connection:
            rows = connection.execute(statement.order_by(photos.c.id)).all()
        first: dict[bytes, _Photo] = {}
        for row in rows:
            id, content, hashed, pixels, size, wall, told, duration = row
            first.setdefault(content, _Photo(id, content, hashed, pixels, size, wall, bool(told), duration))
        return list(first.values())

    def _confirmed(self, members: Sequence[_Photo]) -> Iterator[Group]:
        """Groups among photos whose hashes hang together: each photo joins the best one that it equals.

        Compared with one photo of each group only, so that no chain of small differences joins what differs.
        """
        embedded = self._vectors([photo.id for photo in members])
        best_first = sorted(
            (photo for photo in members if photo.id in embedded),
            key=lambda photo: (-photo.pixels, -photo.bytes, photo.id),
        )
        gathered: list[list[_Photo]] = []
        for photo in best_first:
            for group in gathered:
                if _is_same(group[0], photo, embedded):
                    group.append(photo)
                    break
            else:
                gathered.append([photo])
        for group in gathered:
            if len(group) > 1:
                yield Group("near", tuple(photo.id for photo in group))

    def _vectors(self, ids: Sequence[int]) -> dict[int, NDArray[np.float32]]:
        """Vectors of photos in the model that answers."""
        found: dict[int, NDArray[np.float32]] = {}
        statement = sa.select(vectors.c.photo_id, vectors.c.vector).join_from(vectors, pipelines)
        with self._store.reading() as connection:
            for part in parts(ids):
                here = statement.where(pipelines.c.active, vectors.c.photo_id.in_(part))
                for photo, vector in connection.execute(here):
                    found[photo] = np.frombuffer(vector, "<f2").astype(np.float32)
        return found


def _holders(places: NDArray[Any], count: int) -> list[list[int]]:
    """Which photos have each of ``count`` hashes, from the place of each photo's hash."""
    holders: list[list[int]] = [[] for _ in range(count)]
    for photo, place in enumerate(places.tolist()):
        holders[place].append(photo)
    return holders


def _is_same(one: _Photo, other: _Photo, embedded: dict[int, NDArray[np.float32]]) -> bool:
    if _bits(one.hash, other.hash) > BITS or _are_shots(one, other):
        return False
    if (one.duration is None) != (other.duration is None):
        return False  # a film and its poster
    if one.duration is not None and abs(one.duration - (other.duration or 0)) > _DURATION:
        return False
    return float(embedded[one.id] @ embedded[other.id]) >= COSINE


def _bits(one: bytes, other: bytes) -> int:
    return (int.from_bytes(one) ^ int.from_bytes(other)).bit_count()


def _are_shots(one: _Photo, other: _Photo) -> bool:
    """Whether cameras dated both, to different moments; a copy may have lost what is below a second."""
    if one.wall is None or other.wall is None or not (one.told and other.told):
        return False
    if one.wall // _SECOND != other.wall // _SECOND:
        return True
    fractions = one.wall % _SECOND, other.wall % _SECOND
    return all(fractions) and fractions[0] != fractions[1]

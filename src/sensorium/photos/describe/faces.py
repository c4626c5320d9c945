"""Faces in photos: where they are, how good a look they give, and numbers by which people are told apart.

The weights are fetched by ``sensorium models pull``; without them the pass says so and the others go on. A
face that is found again, in a photo that was edited or by better networks, stays the same face: it keeps its
id, its person and what was said about it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from sqlalchemy.engine import Connection

from sensorium.errors import ModelNotFoundError
from sensorium.photos.database.schema import faces
from sensorium.photos.describe.looking import Look, single_threaded
from sensorium.photos.describe.passes import Pass

if TYPE_CHECKING:
    from PIL import Image

    from sensorium.photos.database.store import Store
    from sensorium.photos.describe.face_networks import Detection, Detector, Recogniser

DETECTOR = "opencv/face_detection_yunet"
RECOGNISER = "opencv/face_recognition_sface"
MODEL = "yunet-2023mar sface-2021dec"
"""Names the space of the numbers: those of different models are never compared."""

LONGEST = 1280
"""Pixels of the longer side in which faces are looked for: one of a hundredth of it is found."""

LEAST_SCORE = 0.75
_SMALLEST = 16.0  # pixels of a face; fewer say nothing about whose it is
_CLEAR = 112.0  # ... and from so many on more of them help no further
_SHARP = 100.0  # variance of the Laplacian of a face that is in focus
_SAME_BOX = 0.4  # intersection over union of two boxes of one face
_SAME_LOOK = 0.6  # cosine of two looks of one face in an edited photo


@dataclass(frozen=True, slots=True)
class Face:
    """A face that was found: its box (left, top, right, bottom) as shares of the upright picture.

    ``quality``, 0 to 1, says how good a look it gives; ``vector`` is float16 [d], little-endian, unit length.
    """

    box: tuple[float, float, float, float]
    score: float
    quality: float
    vector: bytes


@dataclass(frozen=True, slots=True)
class FacePass(Pass):
    """Finds faces for ``faces``, and then sorts them into people."""

    name = "faces"
    version = 1
    side = 1200

    def absent(self) -> str | None:
        """Which weights are missing."""
        from sensorium.weights.files import find_onnx

        missing = []
        for network in (DETECTOR, RECOGNISER):
            try:
                find_onnx(network)
            except ModelNotFoundError as error:
                missing.append((network, str(error)))
        if not missing:
            return None
        commands = " and ".join(f"`sensorium models pull {network}`" for network, _ in missing)
        return f"the networks that find faces are not on this machine: run {commands}"

    def opened(self) -> Callable[[Look], object]:
        """Both networks; about 150 MB."""
        from sensorium.photos.describe.face_networks import Detector, Recogniser
        from sensorium.weights.files import find_onnx

        single_threaded()
        detector = Detector(find_onnx(DETECTOR), side=LONGEST, least=LEAST_SCORE)
        recogniser = Recogniser(find_onnx(RECOGNISER))
        return lambda look: find_faces(detector, recogniser, look.image)

    def keep(self, connection: Connection, found: Mapping[int, Sequence[Face] | None]) -> None:
        """Write the faces of photos in place of those from before, as far as they are not the same."""
        from sensorium.photos.people.ledger import settle

        photos = list(found)
        before = _before(connection, photos)
        gone: list[int] = []
        for photo, seen in found.items():
            gone += _replace(connection, photo, before.get(photo, []), seen or ())
        if gone:
            connection.execute(sa.delete(faces).where(faces.c.id.in_(gone)))
        settle(connection, photos)

    def finish(self, store: Store) -> None:
        """Sort the faces into people."""
        from sensorium.photos.people import People

        People(store).cluster()


def find_faces(detector: Detector, recogniser: Recogniser, image: Image.Image) -> tuple[Face, ...]:
    """The faces of an upright RGB picture, the surest first."""
    from PIL import Image as Pillow

    from sensorium.photos.describe.face_networks import aligned

    factor = min(1.0, detector.side / max(image.size))
    small = image
    if factor < 1:
        size = (max(1, round(image.width * factor)), max(1, round(image.height * factor)))
        small = image.resize(size, Pillow.Resampling.BILINEAR, reducing_gap=2.0)
    across, down = image.width / small.width, image.height / small.height
    pixels = np.asarray(image)
    found = []
    for seen in detector(np.asarray(small)):
        left, top, right, bottom = seen.box
        points = seen.points * (across, down)
        if min((right - left) * across, (bottom - top) * down) < _SMALLEST or not _possible(points):
            continue
        face = aligned(pixels, points)
        box = (left / small.width, top / small.height, right / small.width, bottom / small.height)
        inside = tuple(round(min(max(share, 0.0), 1.0), 5) for share in box)
        if inside[0] >= inside[2] or inside[1] >= inside[3]:
            continue
        quality = judged(seen, face, (right - left) * across)
        vector = np.ascontiguousarray(recogniser(face), dtype="<f2").tobytes()
        found.append(Face(inside, round(seen.score, 4), quality, vector))  # type: ignore[arg-type]
    return tuple(found)


def judged(seen: Detection, face: NDArray[np.uint8], width: float) -> float:
    """How good a look a face gives, 0 to 1: large, in focus, turned to the camera, and surely a face.

    Args:
        seen: As it was found.
        face: Aligned [112, 112, 3].
        width: Of its box, in pixels of the picture that it was cut from.
    """
    import cv2

    grey = cv2.cvtColor(face, cv2.COLOR_RGB2GRAY)
    sharp = min(1.0, float(cv2.Laplacian(grey, cv2.CV_64F).var()) / _SHARP)
    right, left, nose = seen.points[:3]
    apart = max(float(np.linalg.norm(left - right)), 1e-6)
    turned = min(1.0, float(np.linalg.norm(nose - (left + right) / 2 - _below(left - right))) / apart)
    size = min(1.0, width / _CLEAR)
    return round(seen.score * size * (0.4 + 0.6 * sharp) * (1 - 0.5 * turned), 4)


def _below(eyes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Where the nose of a face that looks straight ahead lies from the middle between its eyes."""
    return 0.57 * np.array((-eyes[1], eyes[0]))


def _possible(points: NDArray[np.float64]) -> bool:
    """Whether five points can be those of a face: none of them far from the others, not all one."""
    return bool(np.isfinite(points).all() and 1 < np.ptp(points, axis=0).max() < 1e5)


class _Old(NamedTuple):
    id: int
    box: tuple[float, float, float, float]
    model: str
    vector: bytes
    kept: bool  # a person said whose face it is


def _before(connection: Connection, photos: Sequence[int]) -> dict[int, list[_Old]]:
    statement = sa.select(faces).where(faces.c.photo_id.in_(photos)).order_by(faces.c.id)
    found: dict[int, list[_Old]] = {}
    for row in connection.execute(statement):
        box = (row.left, row.top, row.right, row.bottom)
        old = _Old(row.id, box, row.model, row.embedding, bool(row.confirmed))
        found.setdefault(row.photo_id, []).append(old)
    return found


def _replace(connection: Connection, photo: int, before: Sequence[_Old], seen: Sequence[Face]) -> list[int]:
    """Write a photo's faces; gives the ids of those from before that are there no more."""
    pairs = _pairs(before, seen)
    fresh = [_row(face) | {"photo_id": photo} for at, face in enumerate(seen) if at not in pairs]
    for at, old in pairs.items():
        connection.execute(sa.update(faces).where(faces.c.id == old).values(_row(seen[at])))
    if fresh:
        connection.execute(sa.insert(faces), fresh)
    # What a person said of a face is kept even where the network does not see it any more.
    return [old.id for old in before if old.id not in pairs.values() and not old.kept]


def _pairs(before: Sequence[_Old], seen: Sequence[Face]) -> dict[int, int]:
    """Which new face (index) is which old one (id): by place, else by look; the best pairs first."""
    rated = []
    for at, face in enumerate(seen):
        for old in before:
            place = overlap(old.box, face.box)
            look = _cosine(old.vector, face.vector) if old.model == MODEL else 0.0
            if place >= _SAME_BOX or look >= _SAME_LOOK:
                rated.append((max(place, look), at, old.id))
    pairs: dict[int, int] = {}
    taken: set[int] = set()
    for _, at, old_id in sorted(rated, reverse=True):
        if at not in pairs and old_id not in taken:
            pairs[at] = old_id
            taken.add(old_id)
    return pairs


def overlap(one: Sequence[float], other: Sequence[float]) -> float:
    """Intersection over union of two boxes (left, top, right, bottom)."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    if width <= 0 or height <= 0:
        return 0.0
    both = width * height
    areas = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other))
    return both / (areas - both)


def _cosine(one: bytes, other: bytes) -> float:
    first, second = (np.frombuffer(part, "<f2").astype(np.float32) for part in (one, other))
    return float(first @ second) if first.shape == second.shape else 0.0


def _row(face: Face) -> dict[str, Any]:
    left, top, right, bottom = face.box
    return {
        "left": left,
        "top": top,
        "right": right,
        "bottom": bottom,
        "score": face.score,
        "quality": face.quality,
        "model": MODEL,
        "embedding": face.vector,
    }

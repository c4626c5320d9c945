"""Text in photos: signs, receipts, number plates, screenshots, in Chinese and English.

RapidOCR finds and reads the lines with the models that its package ships, on OpenVINO: nothing is downloaded.
Its guess which lines stand on their head is not asked, since it turns sound ones, too; instead a line that
reads badly is read again upside down, and the better reading counts. Pictures are read at up to `LONGEST`
pixels; what is longer than `STRIP` times its width, like the screenshot of a whole conversation, is read in
strips that overlap, or its letters would be too small.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.engine import Connection

from sensorium.photos.database.annotations import annotate
from sensorium.photos.database.schema import texts
from sensorium.photos.describe.looking import Look, single_threaded
from sensorium.photos.describe.passes import Pass
from sensorium.runtime import signal_stack

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image

LONGEST = 1600
"""Pixels of the longer side that is read: a number plate of a twentieth of the width keeps 80 of them."""

STRIP = 3.0
"""How many times longer than wide a picture is before it is read in strips."""

_OVERLAP = 0.15  # of a strip's length: more than the height of any line that is worth reading
_MOST_STRIPS = 24
_SMALLEST = 12  # pixels; nothing that is smaller holds a letter
_SURE = 0.6  # below this half of the lines are texture
_SOUND = 0.9  # above this nothing is read again
_MOST_TURNED = 30
_SURE_ALONE = 0.9  # of a single character, which leaves and tiles look like
_MOST_LINES = 400
_MOST_CHARACTERS = 20_000


@dataclass(frozen=True, slots=True)
class Line:
    """A line of text: how sure it was read, 0 to 1, and its four corners, clockwise from its own upper left.

    Corners are (x, y), each a share, 0 to 1, of the upright picture.
    """

    text: str
    score: float
    box: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class TextPass(Pass):
    """Reads text into ``texts`` and the full-text index."""

    name = "text"
    version = 1
    side = 1200

    def opened(self) -> Callable[[Look], object]:
        """The reader; about 250 MB."""
        single_threaded()
        engine = open_engine()
        return lambda look: read_lines(engine, look.image)

    def keep(self, connection: Connection, found: Mapping[int, Sequence[Line] | None]) -> None:
        """Write the lines of photos, and the words that they are found by."""
        connection.execute(sa.delete(texts).where(texts.c.photo_id.in_(list(found))))
        rows = [
            {
                "photo_id": photo,
                "text": "\n".join(line.text for line in lines),
                "boxes": json.dumps([asdict(line) for line in lines], ensure_ascii=False),
            }
            for photo, lines in found.items()
            if lines
        ]
        if rows:
            connection.execute(insert(texts), rows)
        annotate(connection, list(found))


def open_engine() -> Any:
    """RapidOCR with the models of its package, on OpenVINO, in one thread. Opens no connection."""
    from sensorium.runtime import machine

    machine.openvino()  # before RapidOCR imports it: see there
    from rapidocr import EngineType, RapidOCR

    steps = ("Det", "Cls", "Rec")  # the second one would be opened at its first use
    with signal_stack.kept():
        return RapidOCR(
            params={
                **{f"{step}.engine_type": EngineType.OPENVINO for step in steps},
                "EngineConfig.openvino.inference_num_threads": 1,
                "Global.log_level": "critical",
                "Global.text_score": 0.0,
            }
        )


def read_lines(engine: Any, image: Image.Image) -> tuple[Line, ...]:
    """The lines of an upright RGB picture, from top to bottom; () where there are none."""
    if min(image.size) < _SMALLEST:
        return ()
    lines: list[Line] = []
    for box, kept in strips(*image.size):
        part = image if box == (0, 0, *image.size) else image.crop(box)
        for line in _read(engine, part):
            moved = _placed(line, box, image.size)
            across, down = (sum(axis) / 4 for axis in zip(*moved.box, strict=True))
            if kept[0] <= across < kept[2] and kept[1] <= down < kept[3]:
                lines.append(moved)
    return tuple(_bounded(lines))


def strips(width: int, height: int) -> Iterator[tuple[tuple[int, int, int, int], tuple[float, ...]]]:
    """Parts to read: boxes in pixels, and the part of the picture (shares) whose lines each one gives.

    The second ones touch and fill the picture, so that a line in an overlap is taken once.
    """
    whole = (float("-inf"), float("-inf"), float("inf"), float("inf"))
    short, long = sorted((width, height))
    if long <= STRIP * short:
        yield (0, 0, width, height), whole
        return
    length = max(round(1.5 * short), -(-long // _MOST_STRIPS))
    step = round(length * (1 - _OVERLAP))
    starts = [*range(0, max(1, long - length), step), max(0, long - length)]
    ends = [min(long, start + length) for start in starts]
    borders = [(end + start) / 2 / long for end, start in zip(ends, starts[1:], strict=False)]
    bounds = [float("-inf"), *borders, float("inf")]
    for start, end, first, last in zip(starts, ends, bounds, bounds[1:], strict=False):
        if width >= height:
            yield (start, 0, end, height), (first, whole[1], last, whole[3])
        else:
            yield (0, start, width, end), (whole[0], first, whole[2], last)


def _read(engine: Any, image: Image.Image) -> Iterator[Line]:
    """Lines with corners as shares of this picture."""
    from PIL import Image as Pillow

    factor = LONGEST / max(image.size)
    if factor < 1:
        size = (max(1, round(image.width * factor)), max(1, round(image.height * factor)))
        image = image.resize(size, Pillow.Resampling.BICUBIC, reducing_gap=2.0)
    pixels = np.ascontiguousarray(np.asarray(image)[:, :, ::-1])  # RapidOCR wants blue first
    # What is said here holds for later calls, too: all of it is said each time.
    with signal_stack.kept():
        result = engine(pixels, use_det=True, use_cls=False, use_rec=True)
    if result.boxes is None or result.txts is None:
        return
    turned = 0
    for corners, text, score in zip(result.boxes, result.txts, result.scores, strict=True):
        if score < _SOUND and turned < _MOST_TURNED:
            turned += 1
            other = _upside_down(engine, pixels, corners)
            if other[1] > score:
                (text, score), corners = other, np.roll(corners, 2, axis=0)
        said = " ".join(str(text).split())
        if said and score >= (_SURE if len(said) > 1 else _SURE_ALONE):
            box = tuple(
                (min(max(float(x) / image.width, 0.0), 1.0), min(max(float(y) / image.height, 0.0), 1.0))
                for x, y in corners
            )
            yield Line(said, round(float(score), 3), box)


def _upside_down(engine: Any, pixels: NDArray[np.uint8], corners: Any) -> tuple[str, float]:
    """The text between four corners of a picture, read from its other end, and how sure that is."""
    import cv2

    source = np.asarray(corners, np.float32)
    width = max(1, round(float(max(np.hypot(*(source[1] - source[0])), np.hypot(*(source[2] - source[3]))))))
    height = max(1, round(float(max(np.hypot(*(source[3] - source[0])), np.hypot(*(source[2] - source[1]))))))
    target = np.array([(width, height), (0, height), (0, 0), (width, 0)], np.float32)
    part = cv2.warpPerspective(pixels, cv2.getPerspectiveTransform(source, target), (width, height))
    if height >= 1.5 * width:  # a line that runs down the picture is laid flat, as RapidOCR does
        part = np.rot90(part)
    with signal_stack.kept():
        read = engine(np.ascontiguousarray(part), use_det=False, use_cls=False, use_rec=True)
    if not read.txts:
        return "", 0.0
    return str(read.txts[0]), float(read.scores[0])


def _placed(line: Line, box: tuple[int, int, int, int], size: tuple[int, int]) -> Line:
    """A line of a part, with its corners as shares of the whole; five decimals are a pixel of any camera."""
    left, top, right, bottom = box
    width, height = size
    corners = tuple(
        (round((left + x * (right - left)) / width, 5), round((top + y * (bottom - top)) / height, 5))
        for x, y in line.box
    )
    return Line(line.text, line.score, corners)


def _bounded(lines: Sequence[Line]) -> Iterator[Line]:
    """As many lines as are worth keeping: a page of print is enough to find it by."""
    characters = 0
    for line in lines[:_MOST_LINES]:
        characters += len(line.text)
        if characters > _MOST_CHARACTERS:
            return
        yield line

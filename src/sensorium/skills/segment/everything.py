"""Everything in a picture, without being asked: a grid of clicks, the good masks of them, each thing once.

Section 5 ("fully automatic stage") and appendix B of the paper. Filtering, also of doubles, happens at the
network's own resolution; only masks that stay are drawn at the original's.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from sensorium.errors import SensoriumError
from sensorium.models.sam.tidy import specks, tidied
from sensorium.skills.segment.masks import Floats, Geometry, Mask, mask_of, overlap, stability_of
from sensorium.skills.segment.segmenter import TOGETHER, Segmenter, scattered

if TYPE_CHECKING:
    from PIL import Image

Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class Settings:
    """How a picture is searched for things.

    Attributes:
        side: Clicks a row and a column.
        quality, stability: What a mask needs.
        same: Overlap of boxes above which the better of two masks stays.
        crops: How many times the picture is halved into overlapping parts, which are searched as well, for
            small things: 1 adds 4 parts, 2 another 16.
        overlapping: Share of a part's side that it has in common with the next.
        smallest: Area in pixels; smaller islands are removed and smaller holes are filled.
        most: Masks to return, the best ones.
    """

    side: int = 32
    quality: float = 0.88
    stability: float = 0.95
    same: float = 0.7
    crops: int = 0
    overlapping: float = 0.34
    smallest: int = 0
    most: int = 1000

    def __post_init__(self) -> None:
        """Refuse what cannot be carried out. Raises SensoriumError."""
        if not 1 <= self.side <= 128:
            raise SensoriumError(f"a row has 1 to 128 clicks, not {self.side}")
        if not 0 <= self.crops <= 3:
            raise SensoriumError(f"a picture is halved at most 3 times, not {self.crops}")


def usual(segmenter: Segmenter) -> Settings:
    """The paper's filters; weaker ones for a small network, which is less sure and draws softer lines."""
    return Settings(quality=0.35, stability=0.5) if segmenter.is_small else Settings()


def everything(segmenter: Segmenter, image: Image.Image, settings: Settings | None = None) -> list[Mask]:
    """All things in an upright picture, the best masks first; with the filters of ``usual`` unless given."""
    chosen = settings or usual(segmenter)
    found: list[Mask] = []
    for layer, box in parts(image.width, image.height, chosen):
        part = image if layer == 0 else image.crop(box)
        side = max(1, chosen.side // 2**layer)
        candidates = list(_search(segmenter, part, side, chosen))
        kept = _best([(c.box, c.quality) for c in candidates], chosen.same)
        found += _placed((candidates[i].drawn() for i in kept), box, image.size)
    if chosen.smallest:
        found = [cleaned for mask in found if (cleaned := _cleaned(mask, chosen.smallest)) is not None]
    found = [mask for mask in found if mask.area]
    return [found[i] for i in _best([(m.box, m.quality) for m in found], chosen.same)][: chosen.most]


def parts(width: int, height: int, settings: Settings) -> Iterator[tuple[int, Box]]:
    """The parts of a picture that are searched: layer and box; the first is the whole."""
    yield 0, (0, 0, width, height)
    for layer in range(1, settings.crops + 1):
        count = 2**layer
        shared = int(settings.overlapping * min(width, height) * 2 / count)
        across, down = (
            -(-(width + shared * (count - 1)) // count),
            -(-(height + shared * (count - 1)) // count),
        )
        for row in range(count):
            for column in range(count):
                left, top = column * (across - shared), row * (down - shared)
                if left < width and top < height:
                    yield layer, (left, top, min(left + across, width), min(top + down, height))


def grid(side: int, width: int, height: int) -> list[tuple[float, float]]:
    """Clicks in the middle of ``side`` x ``side`` equal cells."""
    centres = (np.arange(side) + 0.5) / side
    return [(float(x * width), float(y * height)) for y in centres for x in centres]


@dataclass(frozen=True, eq=False)
class _Candidate:
    """A mask that is good enough, not drawn yet. ``box`` is in pixels of the original, to a cell's width."""

    geometry: Geometry
    logits: Floats
    quality: float
    stability: float
    box: tuple[float, float, float, float]

    def drawn(self) -> Mask:
        bitmap = self.geometry.spread(self.logits) > 0
        return mask_of(bitmap, self.quality, self.stability, (self.geometry, self.logits))


def _search(segmenter: Segmenter, image: Image.Image, side: int, settings: Settings) -> Iterator[_Candidate]:
    embedding = segmenter.embed(image)
    geometry = embedding.geometry
    clicks = grid(side, *geometry.scaled)
    for start in range(0, len(clicks), TOGETHER):
        points, labels = scattered(clicks[start : start + TOGETHER])
        logits, quality = segmenter.decode(embedding, points, labels)
        yield from _good(geometry, logits[:, 1:], quality[:, 1:], settings, tidy=segmenter.is_small)


def _good(
    geometry: Geometry, logits: Floats, quality: Floats, settings: Settings, *, tidy: bool
) -> Iterator[_Candidate]:
    chosen = quality >= settings.quality
    likely, qualities = logits[chosen], quality[chosen]  # [n, grid, grid], [n]
    stable = stability_of(likely)
    for i in np.flatnonzero(stable >= settings.stability):
        # a copy: a view would keep the answers to all clicks of this batch in memory
        mask = tidied(likely[i]) if tidy else likely[i].copy()
        box = geometry.box_of(mask)
        if box is not None:  # else it lies beside the picture
            yield _Candidate(geometry, mask, float(qualities[i]), float(stable[i]), box)


def _placed(masks: Iterable[Mask], box: Box, size: tuple[int, int]) -> Iterator[Mask]:
    """Masks of a part as masks of the whole; what a part's inner edge has cut is left to its neighbour."""
    for mask in masks:
        if box == (0, 0, *size):
            yield mask
        elif not _touches_an_inner_edge(mask.box, box, size):
            bitmap = np.zeros((size[1], size[0]), bool)
            bitmap[box[1] : box[3], box[0] : box[2]] = mask.bitmap
            yield mask_of(bitmap, mask.quality, mask.stability)


def _touches_an_inner_edge(inner: Box, part: Box, size: tuple[int, int], near: int = 20) -> bool:
    left, top = inner[0] + part[0], inner[1] + part[1]
    right, bottom = inner[2] + part[0], inner[3] + part[1]
    return (
        (part[0] > 0 and left - part[0] < near)
        or (part[1] > 0 and top - part[1] < near)
        or (part[2] < size[0] and part[2] - right < near)
        or (part[3] < size[1] and part[3] - bottom < near)
    )


def _best(found: Sequence[tuple[tuple[float, ...], float]], same: float) -> list[int]:
    """Numbers of the boxes that stay, best first, where the better of two that overlap stays."""
    import cv2

    if not found:
        return []
    boxes = [(x0, y0, x1 - x0, y1 - y0) for (x0, y0, x1, y1), _ in found]
    least = min(quality for _, quality in found)  # OpenCV wants scores above 0, and only their order counts
    scores = [quality - least + 1 for _, quality in found]
    return [int(i) for i in np.asarray(cv2.dnn.NMSBoxes(boxes, scores, 0.0, same)).reshape(-1)]


def _cleaned(mask: Mask, smallest: int) -> Mask | None:
    """The mask without small islands and holes; None when nothing is left."""
    bitmap = mask.bitmap & ~specks(mask.bitmap, smallest)
    bitmap = bitmap | specks(~bitmap, smallest)
    if not bitmap.any():
        return None
    if overlap(bitmap, mask.bitmap) == 1:
        return mask
    return replace(mask_of(bitmap, mask.quality, mask.stability, mask.softness), label=mask.label)

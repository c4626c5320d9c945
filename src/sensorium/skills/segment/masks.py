"""Masks: which pixels of the original belong to a thing, how sure that is, and what can be done with it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sensorium.errors import SensoriumError
from sensorium.media.image import to_rgb
from sensorium.skills.segment.pictures import upright

Level = Literal["part", "object", "whole"]
Bits = NDArray[np.bool_]
Floats = NDArray[np.float32]

INSIDE = 0.9
"""Share of a mask that another must hold for it to be a part of it."""

SAME = 0.85
"""Overlap (intersection over union) above which two candidates show the same thing."""


_WITH_BYTES = ("1", "L", "LA", "P", "RGB", "RGBA")
# Modes of pictures that Pillow turns into RGBA itself, transparency included.


@dataclass(frozen=True)
class Geometry:
    """How the network's square lies over the original.

    ``size`` is the original's (width, height), ``scaled`` the same in the square, ``square`` the side of it,
    ``grid`` the side of the logits.
    """

    size: tuple[int, int]
    scaled: tuple[int, int]
    square: int
    grid: int

    def spread(self, logits: Floats) -> Floats:
        """Logits [grid, grid] at every pixel of the original, [height, width]."""
        import cv2

        wide = cv2.resize(logits, (self.square, self.square), interpolation=cv2.INTER_LINEAR)
        part = np.ascontiguousarray(wide[: self.scaled[1], : self.scaled[0]])
        return np.asarray(cv2.resize(part, self.size, interpolation=cv2.INTER_LINEAR), np.float32)

    def box_of(self, logits: Floats) -> tuple[float, float, float, float] | None:
        """The box around positive logits [grid, grid], in pixels of the original and to a cell's width.

        None when no such cell lies within the picture.
        """
        cell = self.square / self.grid
        across, down = (math.ceil(side / cell) for side in self.scaled)
        inside = logits[:down, :across] > 0
        rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
        if not len(rows):
            return None
        x, y = (cell * whole / side for whole, side in zip(self.size, self.scaled, strict=True))
        width, height = self.size
        return (
            columns[0] * x,
            rows[0] * y,
            min((columns[-1] + 1) * x, width),
            min((rows[-1] + 1) * y, height),
        )

    def narrowed(self, bitmap: Bits) -> Floats:
        """The share of each cell that a mask of the original [height, width] covers, [grid, grid]."""
        import cv2

        part = cv2.resize(bitmap.astype(np.float32), self.scaled, interpolation=cv2.INTER_AREA)
        square = np.zeros((self.square, self.square), np.float32)
        square[: self.scaled[1], : self.scaled[0]] = part
        small = cv2.resize(square, (self.grid, self.grid), interpolation=cv2.INTER_AREA)
        return np.asarray(small, np.float32)


@dataclass(frozen=True, eq=False)
class Mask:
    """One thing in a picture.

    Attributes:
        bitmap: bool [height, width], of the upright original.
        box: Left, top, right, bottom; the last two are the first column and row behind it. All 0 when empty.
        area: Pixels.
        quality: The overlap with what was meant, as the network expects it, about 0 to 1.
        stability: How little the mask depends on where exactly the line is drawn, 0 to 1.
        level: Whether it is a part, the object or the whole among the answers to one click.
        label, score: The words that found it and how well they fit, for a search by words.
    """

    bitmap: Bits
    box: tuple[int, int, int, int]
    area: int
    quality: float
    stability: float
    level: Level | None = None
    label: str | None = None
    score: float | None = None
    softness: tuple[Geometry, Floats] | None = None  # what `alpha` is drawn from

    @cached_property
    def alpha(self) -> NDArray[np.uint8]:
        """Opacity 0 to 255, [height, width]: that of the bitmap, with an edge as soft as the network's."""
        if self.softness is None:
            return self.bitmap.astype(np.uint8) * 255
        import cv2

        geometry, logits = self.softness
        left, top, right, bottom = self.box
        near = slice(max(0, top - 1), bottom + 1), slice(max(0, left - 1), right + 1)
        soft = np.clip(geometry.spread(logits)[near] * 0.5 + 0.5, 0, 1)
        inside = cv2.dilate(self.bitmap[near].view(np.uint8), np.ones((3, 3), np.uint8))
        alpha = np.zeros(self.bitmap.shape, np.uint8)
        alpha[near] = (soft * 255 + 0.5).astype(np.uint8) * inside
        return alpha

    def rle(self) -> dict[str, Any]:
        """The bitmap as COCO writes it: ``{"size": [height, width], "counts": "..."}``, compressed."""
        import cv2
        from pycocotools import mask as coco

        by_column = cv2.transpose(
            self.bitmap.view(np.uint8)
        ).T  # column after column in memory, as COCO counts
        written = coco.encode(by_column)
        return {"size": list(map(int, written["size"])), "counts": written["counts"].decode("ascii")}

    def annotation(self, number: int, image: int) -> dict[str, Any]:
        """The mask as COCO lists it, under a number of its own and that of its picture."""
        left, top, right, bottom = self.box
        return {
            "id": number,
            "image_id": image,
            "category_id": 1,
            "segmentation": self.rle(),
            "bbox": [left, top, right - left, bottom - top],
            "area": self.area,
            "iscrowd": 0,
        }

    def document(self) -> dict[str, Any]:
        """All that can be said in JSON."""
        return {
            "box": list(self.box),
            "area": self.area,
            "quality": round(self.quality, 4),
            "stability": round(self.stability, 4),
            "level": self.level,
            "label": self.label,
            "score": None if self.score is None else round(self.score, 4),
            "rle": self.rle(),
        }

    def cut_out(self, image: Image.Image, *, cropped: bool = True) -> Image.Image:
        """The thing alone, RGBA, the rest transparent; the picture is turned as ``Segmenter.embed`` turns it.

        An alpha channel of the picture is kept where the thing is. Raises SensoriumError for another size.
        """
        image = upright(image)
        if (image.height, image.width) != self.bitmap.shape:
            raise SensoriumError(
                f"the mask is {self.bitmap.shape[1]} x {self.bitmap.shape[0]} pixels, "
                f"the picture {image.width} x {image.height}"
            )
        result = image if image.mode in _WITH_BYTES else to_rgb(image)
        result = result.convert("RGBA")
        own = np.asarray(result.getchannel("A"), np.uint16)
        result.putalpha(Image.fromarray((own * self.alpha // 255).astype(np.uint8)))
        if not cropped or not self.area:
            return result
        left, top, right, bottom = self.box
        return result.crop(
            (max(0, left - 1), max(0, top - 1), min(image.width, right + 1), min(image.height, bottom + 1))
        )


def from_rle(document: dict[str, Any]) -> Bits:
    """The inverse of ``Mask.rle``. Raises SensoriumError for what is none."""
    from pycocotools import mask as coco

    try:
        height, width = map(int, document["size"])
        counts = document["counts"].encode("ascii")
        if not 0 < height * width <= 2**31:
            raise ValueError("an impossible size")
        return np.asarray(coco.decode({"size": [height, width], "counts": counts}), bool)
    except (KeyError, TypeError, ValueError, AttributeError, UnicodeEncodeError) as error:
        raise SensoriumError(f"not a run-length mask: {error}") from None


def mask_of(
    bitmap: Bits, quality: float, stability: float, softness: tuple[Geometry, Floats] | None = None
) -> Mask:
    """A mask with its box and area."""
    rows, columns = np.flatnonzero(bitmap.any(1)), np.flatnonzero(bitmap.any(0))
    box = (0, 0, 0, 0)
    if len(rows):
        box = (int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)
    return Mask(bitmap, box, int(np.count_nonzero(bitmap)), quality, stability, softness=softness)


def stability_of(logits: Floats, offset: float = 1.0) -> NDArray[np.float64]:
    """Overlap of the masks above and below the usual line, for logits [..., h, w] -> [...].

    As section 5 of the paper's "automatic" stage; 0 for what is empty at both lines.
    """
    inner = np.count_nonzero(logits > offset, axis=(-2, -1))
    outer = np.count_nonzero(logits > -offset, axis=(-2, -1))
    stable: NDArray[np.float64] = inner / np.maximum(outer, 1)
    return stable


def overlap(a: Bits, b: Bits) -> float:
    """Intersection over union; 1 for two empty masks."""
    both = np.count_nonzero(a & b)
    union = np.count_nonzero(a) + np.count_nonzero(b) - both
    return both / union if union else 1.0


def levelled(masks: Sequence[Mask]) -> list[Mask]:
    """Candidates of one click, smallest first, each told part, object or whole.

    The best of them is the object where no other differs from it: what is clearly smaller is a part, what is
    clearly larger a whole. Of three that differ the middle one is the object, as in the paper's figure 3.
    """
    ordered = sorted(masks, key=lambda mask: mask.area)
    if not ordered:
        return []
    distinct: list[list[Mask]] = []
    for mask in ordered:
        if distinct and overlap(distinct[-1][-1].bitmap, mask.bitmap) > SAME:
            distinct[-1].append(mask)
        else:
            distinct.append([mask])
    best = max(range(len(distinct)), key=lambda i: max(mask.quality for mask in distinct[i]))
    middle = 1 if len(distinct) > 2 else best
    names: list[Level] = [
        "part" if i < middle else "object" if i == middle else "whole" for i in range(len(distinct))
    ]
    return [replace(mask, level=name) for group, name in zip(distinct, names, strict=True) for mask in group]


def parents(masks: Sequence[Mask]) -> list[int | None]:
    """For each mask the smallest other one that holds it (``INSIDE`` of its pixels), or None.

    Of two equal ones the earlier is the parent, so that no mask is its own ancestor.
    """
    order = sorted(range(len(masks)), key=lambda i: (masks[i].area, -i))
    found: list[int | None] = [None] * len(masks)
    for place, i in enumerate(order):
        left, top, right, bottom = masks[i].box
        inner = masks[i].bitmap[top:bottom, left:right]
        for j in order[place + 1 :]:
            x0, y0, x1, y1 = masks[j].box
            if x0 > right or x1 < left or y0 > bottom or y1 < top:
                continue
            held = np.count_nonzero(inner & masks[j].bitmap[top:bottom, left:right])
            if masks[i].area and held >= INSIDE * masks[i].area:
                found[i] = j
                break
    return found

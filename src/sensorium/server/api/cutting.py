"""What the API is told and says about cutting: questions, masks, and outlines that a page can draw."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from sensorium.server.api.documents import Document
from sensorium.server.api.requests import Request

if TYPE_CHECKING:
    from sensorium.server.tasks.cutting import Answered
    from sensorium.skills.segment import Mask

Pixel = Annotated[float, Field(ge=-1e9, le=1e9)]


class CutRequest(Request):
    """What to cut out, in pixels of the upright original.

    A box or words come first, or else the first point. Each further point refines the answer to those before.
    """

    points: Annotated[list[tuple[Pixel, Pixel, Literal[0, 1]]], Field(max_length=64)] = Field(
        default_factory=list, description="x, y and 1 for a point on the thing, 0 for one that is not"
    )
    box: tuple[Pixel, Pixel, Pixel, Pixel] | None = Field(None, description="left, top, right, bottom")
    words: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    all: bool = Field(False, description="everything that the words fit, and not the best")
    choice: Annotated[int, Field(ge=0, le=99)] | None = Field(
        None, description="which answer to the start is refined or saved; the best (or all) when absent"
    )

    @model_validator(mode="after")
    def _points_at_something(self) -> CutRequest:
        if self.words is not None and self.box is not None:
            raise ValueError("give a box or words, not both")
        if not self.points and self.box is None and self.words is None:
            raise ValueError("give a point, a box or words")
        return self


class CutOutRequest(CutRequest):
    """What to save."""

    cropped: bool = Field(False, description="only the thing, instead of the whole picture's size")


class Looked(Document):
    """A photo that was looked at, ready for clicks: its upright size, the model, and milliseconds.

    ``editor`` is the name of the program to which the caller can send cut-outs, null when there is none.
    """

    width: int
    height: int
    model: str
    took: float
    editor: str | None


class Edited(Document):
    """A cut-out that was opened in the editor: its file's name in the library's folder of cut-outs."""

    name: str
    editor: str


class RunLengths(Document):
    """A mask as COCO writes it, compressed; ``size`` is [height, width]."""

    size: tuple[int, int]
    counts: str


class CutMask(Document):
    """A thing in a photo. ``box`` (left, top, right, bottom) and ``area`` are in pixels of the original.

    ``outline`` is an SVG path in pixels of the mask (rule evenodd); ``level`` tells the answers to one click
    apart; ``label`` and ``score`` come with words.
    """

    box: tuple[int, int, int, int]
    area: int
    quality: float
    stability: float
    level: Literal["part", "object", "whole"] | None
    label: str | None
    score: float | None
    outline: str
    rle: RunLengths


class CutAnswer(Document):
    """Masks that were meant, smallest first, or best first for words.

    ``width`` and ``height`` are those of the masks, which are no larger than a screen; ``best`` is a number
    among them, null when nothing was found; ``took`` are milliseconds.
    """

    width: int
    height: int
    masks: list[CutMask]
    best: int | None
    took: float


def cut_document(answered: Answered, size: tuple[int, int], original: tuple[int, int]) -> CutAnswer:
    """Masks of a picture of ``size`` as the API tells them of the original; ``took`` is for the route."""
    masks = [_cut_mask(mask, original[0] / size[0], original[1] / size[1]) for mask in answered.masks]
    return CutAnswer(width=size[0], height=size[1], masks=masks, best=answered.best, took=0)


def _cut_mask(mask: Mask, across: float, down: float) -> CutMask:
    told = mask.document()
    left, top, right, bottom = told["box"]
    # Rounded outwards: a pixel of the mask stands for several of the original.
    told["box"] = (int(left * across), int(top * down), math.ceil(right * across), math.ceil(bottom * down))
    told["area"] = round(mask.area * across * down)
    return CutMask(**told, outline=outline(mask.bitmap))


def outline(bitmap: NDArray[np.bool_]) -> str:
    """The edges of a mask [height, width] as an SVG path, for the rule evenodd; empty for an empty mask.

    Its points are the middles of pixels at the edge, and at most about a pixel from where it was drawn.
    """
    import cv2

    found, _ = cv2.findContours(bitmap.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    lines = []
    for contour in found:
        corners = cv2.approxPolyDP(contour, 0.9, closed=True).reshape(-1, 2)
        lines.append("M" + "L".join(f"{x + 0.5:g} {y + 0.5:g}" for x, y in corners.tolist()) + "Z")
    return "".join(lines)

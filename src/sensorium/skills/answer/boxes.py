"""The places that an answer points at, in pixels of the original picture, and drawn there.

Qwen2.5-VL writes JSON with ``bbox_2d`` in pixels of the picture as it was resized; LLaVA and mini-vlm write
``[x0, y0, x1, y1]`` as fractions of the view of the whole, padding included. What a model writes wrongly is
no box, and never an error.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from PIL import Image, ImageDraw, ImageFont

from sensorium.media.resizing.plan import ResizePlan

Style = Literal["pixels", "fractions"]
"""How a family writes boxes: Qwen's JSON in pixels of the resized picture, or LLaVA's fractions."""

_NUMBER = r"\s*(-?\d{1,6}(?:\.\d{1,12})?)\s*"
_FRACTIONS = re.compile(rf"\[{_NUMBER},{_NUMBER},{_NUMBER},{_NUMBER}\]")
_OBJECT = re.compile(r"\{[^{}]*\}")
_SENTENCE = re.compile(r"[.;:!?\n。；：！？\]]")
_COLOURS = ("#e6194b", "#3cb44b", "#4363d8", "#f58231", "#911eb4", "#008080", "#9a6324", "#f032e6")
_LONGEST_LABEL = 60
MOST = 200
"""Boxes of one answer; a network that repeats itself writes more."""


@dataclass(frozen=True)
class FoundBox:
    """A rectangle of a picture, in its upright original pixels, within its edges."""

    left: float
    top: float
    right: float
    bottom: float
    label: str
    """What the model says is there; empty when it does not say."""
    picture: str
    """The name of the picture."""

    def document(self) -> dict[str, Any]:
        """As JSON says it."""
        corners = [round(side, 1) for side in (self.left, self.top, self.right, self.bottom)]
        return {"box": corners, "label": self.label, "picture": self.picture}


def find_boxes(text: str, style: Style, plan: ResizePlan, picture: str) -> tuple[FoundBox, ...]:
    """The boxes in an answer about a picture that was shown by ``plan``, in order, none twice.

    Malformed boxes and those that lie on nothing of the picture are left out; others are cut at its edges.
    """
    found: dict[FoundBox, None] = {}
    for corners, label in _in_pixels(text) if style == "pixels" else _in_fractions(text):
        box = _placed(corners, label, style, plan, picture)
        if box is not None and len(found) < MOST:
            found[box] = None
    return tuple(found)


def _in_pixels(text: str) -> Iterator[tuple[list[float], str]]:
    for match in _OBJECT.finditer(text):
        try:
            one = json.loads(match[0])
        except ValueError:
            continue
        corners = one.get("bbox_2d")
        numbers = isinstance(corners, list) and all(
            isinstance(side, int | float) and not isinstance(side, bool) for side in corners
        )
        if numbers and len(corners) == 4 and all(abs(side) < 1e9 for side in corners):  # NaN fails, too
            label = one.get("label")
            yield [float(side) for side in corners], label if isinstance(label, str) else ""


def _in_fractions(text: str) -> Iterator[tuple[list[float], str]]:
    for match in _FRACTIONS.finditer(text):
        corners = [float(side) for side in match.groups()]
        if all(0 <= side <= 1 for side in corners):
            before = _SENTENCE.split(text[max(0, match.start() - 3 * _LONGEST_LABEL) : match.start()])[-1]
            yield corners, before.strip(" ,，、(-")


def _placed(
    corners: list[float], label: str, style: Style, plan: ResizePlan, picture: str
) -> FoundBox | None:
    left, top, right, bottom = corners
    if not (left < right and top < bottom):
        return None
    if style == "fractions":
        wide, high = plan.views[0].width, plan.views[0].height
        left, top, right, bottom = left * wide, top * high, right * wide, bottom * high
    ends = plan.to_original([[left, top, right, bottom]])[0].tolist()
    left, right = (min(max(x, 0.0), float(plan.width)) for x in ends[::2])
    top, bottom = (min(max(y, 0.0), float(plan.height)) for y in ends[1::2])
    if not all(map(math.isfinite, ends)) or left >= right or top >= bottom:
        return None
    name = " ".join(label.split())
    return FoundBox(left, top, right, bottom, name if len(name) <= _LONGEST_LABEL else "", picture)


def draw_boxes(image: Image.Image, boxes: Sequence[FoundBox]) -> Image.Image:
    """The picture with the boxes and their labels drawn on it; the given one stays as it is.

    A label that the drawing font has no letters for is drawn as the number of its box.
    """
    drawn = image.convert("RGB").copy()
    pen = ImageDraw.Draw(drawn)
    line = max(2, round(min(image.size) / 200))
    font = ImageFont.load_default(size=max(11, round(min(image.size) / 40)))
    for number, box in enumerate(boxes):
        colour = _COLOURS[number % len(_COLOURS)]
        right, bottom = max(box.left, box.right - 1), max(box.top, box.bottom - 1)
        pen.rectangle((box.left, box.top, right, bottom), outline=colour, width=line)
        label = box.label if box.label and _has_letters(box.label) else str(number + 1)
        wide, high = pen.textbbox((0, 0), label, font=font)[2:]
        x = max(0.0, min(box.left, drawn.width - wide - 4))
        y = box.top - high - 4 if box.top >= high + 4 else box.top
        pen.rectangle((x, y, x + wide + 4, y + high + 4), fill=colour)
        pen.text((x + 2, y + 1), label, fill="white", font=font)
    return drawn


def _has_letters(label: str) -> bool:
    return all(ord(letter) < 0x250 for letter in label)  # Pillow's own font ends there

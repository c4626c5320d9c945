"""Answer questions about pictures and films: whatever is shown, what was said, and the words that follow.

>>> answerer = load("Qwen/Qwen2.5-VL-3B-Instruct")
>>> prompt = answerer.prepare([Turn("user", (Picture.open(path), "What is on the table?"))], Settings())
>>> for piece in answerer.stream(prompt): print(piece, end="")

``shown`` opens what is looked at, ``planning`` decides how it is shown and what fits, ``eyes`` holds what
differs between families of networks, ``answerer`` joins network, preparation and sampling and remembers what
was read before; ``boxes`` finds the places that an answer points at, ``looks`` where the network looked;
``languages`` and ``memory`` know beforehand what cannot go well.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sensorium.skills.answer.answerer import Answerer as Answerer
    from sensorium.skills.answer.answerer import Settings as Settings
    from sensorium.skills.answer.answerer import Written as Written
    from sensorium.skills.answer.answerer import load as load
    from sensorium.skills.answer.boxes import FoundBox as FoundBox
    from sensorium.skills.answer.boxes import draw_boxes as draw_boxes
    from sensorium.skills.answer.looks import Look as Look
    from sensorium.skills.answer.looks import draw_look as draw_look
    from sensorium.skills.answer.shown import Film as Film
    from sensorium.skills.answer.shown import Picture as Picture
    from sensorium.skills.answer.shown import Turn as Turn
    from sensorium.skills.answer.shown import open_shown as open_shown

_ROOMS = {
    "Answerer": "answerer",
    "Film": "shown",
    "FoundBox": "boxes",
    "Look": "looks",
    "Picture": "shown",
    "Settings": "answerer",
    "Turn": "shown",
    "Written": "answerer",
    "draw_boxes": "boxes",
    "draw_look": "looks",
    "load": "answerer",
    "open_shown": "shown",
}
__all__ = [
    "Answerer",
    "Film",
    "FoundBox",
    "Look",
    "Picture",
    "Settings",
    "Turn",
    "Written",
    "draw_boxes",
    "draw_look",
    "load",
    "open_shown",
]


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return getattr(importlib.import_module(f"sensorium.skills.answer.{_ROOMS[name]}"), name)
    raise AttributeError(f"module 'sensorium.skills.answer' has no attribute {name!r}")

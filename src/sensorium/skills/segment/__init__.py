"""Cut anything out of a picture: one embedding a picture, one short computation a click.

>>> segmenter = load("facebook/sam-vit-base")
>>> embedding = segmenter.embed(picture)  # once
>>> cut = segmenter.cut(embedding, Prompt(points=((310, 220, 1),)))
>>> cut.best.cut_out(picture).save("cat.png")

``segmenter`` joins network, preparation and graphs (``networks``); ``prompts`` go in, ``masks`` come out;
``everything`` cuts a whole picture into things without being asked, ``words`` finds a thing by its name, and
``pictures`` reads what is to be cut.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sensorium.skills.segment.masks import Mask as Mask
    from sensorium.skills.segment.prompts import Prompt as Prompt
    from sensorium.skills.segment.segmenter import Cut as Cut
    from sensorium.skills.segment.segmenter import Segmenter as Segmenter
    from sensorium.skills.segment.segmenter import load as load

_ROOMS = {
    "Mask": "masks",
    "Prompt": "prompts",
    "Cut": "segmenter",
    "Segmenter": "segmenter",
    "load": "segmenter",
}
__all__ = ["Cut", "Mask", "Prompt", "Segmenter", "load"]


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return getattr(importlib.import_module(f"sensorium.skills.segment.{_ROOMS[name]}"), name)
    raise AttributeError(f"module 'sensorium.skills.segment' has no attribute {name!r}")

"""Masks that a data engine has gathered: one line a picture, in a file that an interruption leaves whole."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sensorium.skills.segment.masks import from_rle, mask_of
from sensorium.train.data.scene_shards import Shape, Shard

Bits = NDArray[np.bool_]
By = Literal["given", "oracle", "model"]


@dataclass(frozen=True, eq=False)
class Kept:
    """One mask, bool [side/2, side/2].

    ``by`` says who answers for it: it was ``given``, an ``oracle`` (or person) corrected or confirmed it with
    so many ``clicks``, or the ``model`` was sure by itself. ``overlap`` with the thing nearest to it, where
    the truth is known; it is measured and never trained on.
    """

    bits: Bits
    by: By
    clicks: int = 0
    overlap: float | None = None


@dataclass(frozen=True, eq=False)
class Yield:
    """What a picture gave: masks; clicks on things whose masks were left out; things there, where known."""

    place: int
    kept: tuple[Kept, ...]
    wasted: int = 0
    things: int | None = None
    found: int | None = None  # ... of which a mask was kept


def write(path: Path, gathered: Iterable[Yield]) -> None:
    """Append what pictures gave."""
    with path.open("a", encoding="utf-8") as file:
        for one in gathered:
            masks = [
                {
                    "rle": mask_of(kept.bits, 1.0, 1.0).rle(),
                    **{k: v for k, v in asdict(kept).items() if k != "bits"},
                }
                for kept in one.kept
            ]
            line = {"place": one.place, "masks": masks, "wasted": one.wasted}
            file.write(json.dumps({**line, "things": one.things, "found": one.found}) + "\n")


def read(path: Path) -> list[Yield]:
    """All whole lines; a last one that was cut off is as if it had not been written, and is taken away."""
    if not path.is_file():
        return []
    text = path.read_text("utf-8")
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        path.write_text(whole, "utf-8")
    return [_parsed(json.loads(line)) for line in whole.splitlines()]


def _parsed(line: dict[str, object]) -> Yield:
    masks = line.pop("masks")
    assert isinstance(masks, list)
    kept = tuple(Kept(from_rle(mask.pop("rle")), **mask) for mask in masks)
    return Yield(kept=kept, **line)  # type: ignore[arg-type]


class Gathered(Shard):
    """All masks of all rounds as one shard: what is drawn from. Pictures without a mask are left out."""

    def __init__(self, rounds: Sequence[tuple[Shard, Sequence[Yield]]]) -> None:
        self._from: list[tuple[Shard, int]] = []
        self._bits: list[NDArray[np.uint8]] = []
        for shard, gathered in rounds:
            for one in gathered:
                if one.kept:
                    self._from.append((shard, one.place))
                    stacked = np.stack([kept.bits for kept in one.kept])
                    self._bits.append(np.packbits(stacked.reshape(len(stacked), -1), axis=-1))
        shapes = [shard.shape for shard, _ in rounds]
        self.shape = Shape(len(self._from), shapes[0].side, 0)

    def features(self, places: Sequence[int]) -> list[Tensor]:
        """As ``Shard.features``."""
        each = [self._from[place][0].features([self._from[place][1]]) for place in places]
        return [torch.cat(level) for level in zip(*each, strict=True)]

    def masks_of(self, place: int) -> NDArray[np.uint8]:
        """As ``Shard.masks_of``."""
        half = self.shape.side // 2
        bits = np.unpackbits(self._bits[place], axis=-1, count=half * half)
        return bits.reshape(-1, half, half)


def figures(gathered: Sequence[Yield]) -> dict[str, float]:
    """What was gathered, in numbers: masks by whom, clicks, and how right they are where that is known."""
    kept = [mask for one in gathered for mask in one.kept]
    clicks = sum(mask.clicks for mask in kept) + sum(one.wasted for one in gathered)
    pointed = [mask for mask in kept if mask.clicks]
    found: dict[str, float] = {
        "pictures": len(gathered),
        "masks": len(kept),
        **{f"masks by {by}": n for by in ("given", "oracle", "model") if (n := _count(kept, by))},
        "clicks": clicks,
    }
    if pointed:
        found["clicks a mask"] = round(clicks / len(pointed), 3)
    for by in ("oracle", "model"):
        known = [mask.overlap for mask in kept if mask.by == by and mask.overlap is not None]
        if known:
            found[f"overlap with truth, by {by}"] = round(float(np.mean(known)), 4)
    things = [(one.things, one.found) for one in gathered if one.things and one.found is not None]
    if things:
        found["things found"] = round(sum(f or 0 for _, f in things) / sum(n or 0 for n, _ in things), 4)
    return found


def _count(kept: Iterable[Kept], by: By | str) -> int:
    return sum(mask.by == by for mask in kept)


def coco(
    gathered: Sequence[Yield], names: Sequence[str], sizes: Sequence[tuple[int, int]]
) -> dict[str, object]:
    """Masks as COCO's JSON; names and (width, height) of all pictures by place."""
    return {
        "images": [
            {"id": place + 1, "file_name": name, "width": size[0], "height": size[1]}
            for place, (name, size) in enumerate(zip(names, sizes, strict=True))
        ],
        "annotations": list(_annotations(gathered)),
        "categories": [{"id": 1, "name": "thing"}],
    }


def _annotations(gathered: Sequence[Yield]) -> Iterator[dict[str, object]]:
    number = 0
    for one in gathered:
        for kept in one.kept:
            number += 1
            yield mask_of(kept.bits, 1.0, 1.0).annotation(number, one.place + 1) | {"by": kept.by}

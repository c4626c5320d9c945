"""Scenes rendered once, on disk as arrays: their pixels, or what a part that is not trained sees of them.

A training step then reads a few memory-mapped rows instead of drawing pictures and running the trunk.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from sensorium.train.data.scenes import Scene, World, askable, scene
from sensorium.train.trunk import maps_of

if TYPE_CHECKING:
    from collections.abc import Callable

MOST = 12  # things of a scene that are kept
_TOGETHER = 8  # pictures that are looked at together


@dataclass(frozen=True)
class Shape:
    """What a shard holds: ``count`` scenes of ``side`` pixels from the seeds that follow ``first``."""

    count: int
    side: int
    first: int
    lit: bool = False  # as in `scene`


class Shard:
    """Scenes on disk: ``maps`` [scenes, values], ``masks`` bits of [scenes, MOST, side/2, side/2].

    Maps are what was seen, float16, or the pixels themselves, uint8.
    """

    def __init__(self, folder: Path, shape: Shape, channels: Sequence[int]) -> None:
        self.shape, self.channels = shape, tuple(channels)
        self.maps = np.load(folder / "maps.npy", mmap_mode="r")
        self.masks = np.load(folder / "masks.npy", mmap_mode="r")
        self.things: list[list[dict[str, Any]]] = json.loads((folder / "things.json").read_text("utf-8"))

    @property
    def holds_pixels(self) -> bool:
        """Whether it was made without looking."""
        return bool(self.maps.dtype == np.uint8)

    def features(self, places: Sequence[int]) -> list[Tensor]:
        """The trunk's maps at 1/4, 1/8, 1/16 and 1/32 of some scenes, float32 [b, channels, h, w] each."""
        return maps_of(np.stack([self.maps[place] for place in places]), self.shape.side, self.channels)

    def pixels(self, places: Sequence[int]) -> NDArray[np.uint8]:
        """The pixels [b, side, side, 3] of some scenes of a shard that was made without looking."""
        rows = np.stack([self.maps[place] for place in places])
        return rows.reshape(len(places), self.shape.side, self.shape.side, 3)

    def masks_of(self, place: int) -> NDArray[np.uint8]:
        """Masks [things, side/2, side/2] of a scene, 0 or 1."""
        half = self.shape.side // 2
        bits = np.unpackbits(self.masks[place], axis=-1, count=half * half)
        return bits.reshape(MOST, half, half)[: len(self.things[place])]


def make_shard(
    folder: Path,
    made_of: World,
    shape: Shape,
    look: Callable[[NDArray[np.uint8]], NDArray[np.float32]] | None,
) -> Iterator[int]:
    """Render and look at scenes into ``folder``, unless they are there; yields how many are done.

    ``look`` takes pictures uint8 [b, side, side, 3] to their maps [b, values], one behind the other; None
    keeps the pixels.
    """
    mark = folder / "shape.json"
    told = {name: value for name, value in asdict(shape).items() if name != "lit" or value}
    identity = json.dumps([told, len(made_of.cutouts), len(made_of.backgrounds)])
    if mark.is_file() and mark.read_text("utf-8") == identity:
        yield shape.count
        return
    folder.mkdir(parents=True, exist_ok=True)
    mark.unlink(missing_ok=True)
    half = shape.side // 2
    masks = np.lib.format.open_memmap(
        folder / "masks.npy", mode="w+", dtype=np.uint8, shape=(shape.count, MOST, -(-half * half // 8))
    )
    maps: NDArray[Any] | None = None
    things: list[list[dict[str, Any]]] = []
    with ProcessPoolExecutor(2) as pool:
        made = pool.map(
            partial(_rendered, made_of, shape.side, shape.lit),
            range(shape.first, shape.first + shape.count),
            chunksize=16,
        )
        for first in range(0, shape.count, _TOGETHER):
            drawn = list(itertools.islice(made, _TOGETHER))
            pictures = np.stack([pixels for pixels, _, _ in drawn])
            rows: NDArray[Any] = pictures.reshape(len(drawn), -1) if look is None else look(pictures)
            if maps is None:
                kind = np.uint8 if look is None else np.float16
                maps = np.lib.format.open_memmap(
                    folder / "maps.npy", mode="w+", dtype=kind, shape=(shape.count, rows.shape[1])
                )
            maps[first : first + len(drawn)] = rows
            masks[first : first + len(drawn)] = np.stack([packed for _, packed, _ in drawn])
            things += [told for _, _, told in drawn]
            if first % 200 == 0:
                yield first + len(drawn)
    masks.flush()
    (folder / "things.json").write_text(json.dumps(things), "utf-8")
    mark.write_text(identity, "utf-8")
    yield shape.count


def _rendered(
    made_of: World, side: int, lit: bool, seed: int
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], list[dict[str, Any]]]:
    made = scene(made_of, seed, side, lit=lit)
    chosen = askable(made)[:MOST]
    packed = np.zeros((MOST, -(-((side // 2) ** 2) // 8)), np.uint8)
    for row, number in enumerate(chosen):
        packed[row] = np.packbits(halved(made, number).reshape(-1))
    told = [
        {
            "name": list(made.things[n].name),
            "level": made.things[n].level,
            "parent": _row(made.things[n].parent, chosen),
        }
        for n in chosen
    ]
    return made.pixels, packed, told


def halved(made: Scene, number: int) -> NDArray[np.bool_]:
    """A thing's mask at half the resolution: cells of which at least half belong to it."""
    mask = made.things[number].mask
    side = mask.shape[0] // 2
    return np.asarray(mask.reshape(side, 2, side, 2).mean(axis=(1, 3)) >= 0.5)


def _row(parent: int | None, chosen: Sequence[int]) -> int | None:
    return chosen.index(parent) if parent in chosen else None

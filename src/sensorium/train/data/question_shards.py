"""Pictures to ask about, drawn once and looked at once by the tower that is not trained, on disk.

``maps.npy`` holds what the tower saw, ``known.json`` what is known of each picture, ``places.npy`` and
``things.json`` what lies at each place that becomes a token. A training step reads a few rows of each and
asks anew: hardly any question comes twice in the same words.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter
from torch import Tensor

from sensorium.train.data.question_scenes import AskedWorld, Kind, Known, Picture, picture
from sensorium.train.data.questions import Asked, all_kinds, questions_of, written_box
from sensorium.train.trunk import maps_of

PLACE = 16  # pixels of the side of what becomes one token
_TOGETHER = 16  # pictures that are looked at together
_COVERED = 0.4  # share of a place that a thing must cover to be what lies there


@dataclass(frozen=True)
class AskedShape:
    """What a shard holds: ``count`` pictures of ``side`` pixels from the seeds that follow ``first``."""

    count: int
    side: int
    first: int


class AskedShard:
    """Pictures and what is known of them on disk: ``maps`` float16 [pictures, values]."""

    def __init__(self, folder: Path, shape: AskedShape, channels: Sequence[int]) -> None:
        self.shape, self.channels = shape, tuple(channels)
        self.maps = np.load(folder / "maps.npy", mmap_mode="r")
        told = _ON_DISK.validate_json((folder / "known.json").read_bytes())
        self.kinds, self.known = told.kinds, told.pictures
        self.places = np.load(folder / "places.npy", mmap_mode="r")
        """One more than the number of the thing at each place, or 0: uint8 [pictures, rows, rows]."""
        self.things: list[list[list[str]]] = json.loads((folder / "things.json").read_text("utf-8"))
        """Of each thing of each picture, what it is called; a character on a sign is a thing of its own."""

    def asked(
        self, place: int, random: np.random.Generator | None = None, *, each: int = 1, held: bool = False
    ) -> list[Asked]:
        """What can be asked about a picture, as ``questions_of``; without ``random`` always the same."""
        chosen = np.random.default_rng([self.shape.first + place, 1]) if random is None else random
        return questions_of(self.known[place], chosen, self.kinds, held=held, each=each)

    def features(self, places: Sequence[int]) -> list[Tensor]:
        """The tower's maps at 1/4, 1/8, 1/16 and 1/32, float32 [b, channels, h, w] each."""
        return maps_of(np.stack([self.maps[place] for place in places]), self.shape.side, self.channels)

    def blind(self) -> AskedShard:
        """The same questions, of pictures of which nothing is seen."""
        other = object.__new__(AskedShard)
        other.shape, other.channels, other.kinds, other.known = (
            self.shape,
            self.channels,
            self.kinds,
            self.known,
        )
        other.places, other.things = self.places, self.things
        other.maps = np.broadcast_to(np.zeros((1, 1), np.float16), self.maps.shape)
        return other


def make_asked_shard(
    folder: Path,
    made_of: AskedWorld,
    shape: AskedShape,
    look: Callable[[NDArray[np.uint8]], NDArray[np.float32]],
) -> Iterator[int]:
    """Draw and look at pictures into ``folder``, unless they are there; yields how many are done.

    ``look`` takes pictures uint8 [b, side, side, 3] to their maps [b, values], one behind the other.
    """
    mark = folder / "shape.json"
    identity = json.dumps([asdict(shape), sum(map(len, made_of.things.values())), len(made_of.photos)])
    if mark.is_file() and mark.read_text("utf-8") == identity:
        yield shape.count
        return
    folder.mkdir(parents=True, exist_ok=True)
    mark.unlink(missing_ok=True)
    maps: np.memmap[Any, np.dtype[np.float16]] | None = None
    known: list[Known] = []
    places: list[NDArray[np.uint8]] = []
    things: list[list[list[str]]] = []
    with ProcessPoolExecutor(2) as pool:
        seeds = range(shape.first, shape.first + shape.count)
        made = pool.map(partial(_drawn, made_of, shape.side), seeds, chunksize=16)
        for first in range(0, shape.count, _TOGETHER):
            drawn = list(itertools.islice(made, _TOGETHER))
            rows = look(np.stack([one.pixels for one in drawn]))
            if maps is None:
                maps = np.lib.format.open_memmap(
                    folder / "maps.npy", mode="w+", dtype=np.float16, shape=(shape.count, rows.shape[1])
                )
            maps[first : first + len(drawn)] = rows
            known += [one.known for one in drawn]
            places += [one.places for one in drawn]
            things += [one.things for one in drawn]
            if first % (20 * _TOGETHER) == 0:
                yield first + len(drawn)
    if maps is not None:
        maps.flush()
    told = _OnDisk(all_kinds(list(made_of.things)), known)
    (folder / "known.json").write_bytes(_ON_DISK.dump_json(told))
    (folder / "things.json").write_text(json.dumps(things, ensure_ascii=False), "utf-8")
    np.save(folder / "places.npy", np.stack(places))
    mark.write_text(identity, "utf-8")
    yield shape.count


@dataclass(frozen=True)
class _OnDisk:
    kinds: tuple[Kind, ...]
    pictures: list[Known]


_ON_DISK = TypeAdapter(_OnDisk)


@dataclass(frozen=True, eq=False)
class _Drawn:
    pixels: NDArray[np.uint8]
    known: Known
    places: NDArray[np.uint8]
    things: list[list[str]]


def _drawn(made_of: AskedWorld, side: int, seed: int) -> _Drawn:
    made = picture(made_of, seed, side)
    return _Drawn(made.pixels, made.known, *laid_out(made))


def laid_out(made: Picture) -> tuple[NDArray[np.uint8], list[list[str]]]:
    """What lies at each place of a picture: numbers [rows, rows], and what each thing is called.

    Called by its names, its colour, and its box, as answers write them: whoever finds a thing by its name has
    found its place. A place belongs to the thing that covers most of it, if that is enough, and to a
    character of a sign whose middle lies in it.
    """
    rows = made.cover.shape[0] // PLACE
    blocks = made.cover.reshape(rows, PLACE, rows, PLACE).transpose(0, 2, 1, 3).reshape(rows, rows, -1)
    shares = np.stack([(blocks == number).mean(-1) for number in range(len(made.known.items) + 1)], axis=-1)
    shares[..., 0] = _COVERED
    found = shares.argmax(-1).astype(np.uint8)
    things: list[list[str]] = []
    for item in made.known.items:
        names = [item.kind.english, item.kind.plural, item.kind.chinese]
        things.append([*names, *(item.colour or ()), written_box(item.box)])
    for item in made.known.items:
        for character, (x, y) in zip(item.text or "", item.letters, strict=True):
            if 0 <= x < 1 and 0 <= y < 1 and len(things) < 255:
                things.append([character])
                found[int(y * rows), int(x * rows)] = len(things)
    return found, things

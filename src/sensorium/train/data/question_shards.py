"""Pictures to ask about, drawn once and looked at once by the tower that is not trained, on disk.

``maps.npy`` holds what the tower saw, ``questions.json`` what is asked of each picture. A training step reads
a few rows of both.
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
from torch import Tensor

from sensorium.train.data.question_scenes import AskedWorld, Kind, picture
from sensorium.train.data.questions import Asked, all_kinds, questions_of
from sensorium.train.trunk import maps_of

_TOGETHER = 16  # pictures that are looked at together


@dataclass(frozen=True)
class AskedShape:
    """What a shard holds: ``count`` pictures of ``side`` pixels from the seeds that follow ``first``."""

    count: int
    side: int
    first: int
    each: int  # questions of one topic and language, at most
    held: bool  # asked in the words that are kept for measuring


class AskedShard:
    """Pictures and questions on disk: ``maps`` float16 [pictures, values]."""

    def __init__(self, folder: Path, shape: AskedShape, channels: Sequence[int]) -> None:
        self.shape, self.channels = shape, tuple(channels)
        self.maps = np.load(folder / "maps.npy", mmap_mode="r")
        told = json.loads((folder / "questions.json").read_text("utf-8"))
        self.questions: list[list[Asked]] = [[Asked(*asked) for asked in rows] for rows in told]

    def features(self, places: Sequence[int]) -> list[Tensor]:
        """The tower's maps at 1/4, 1/8, 1/16 and 1/32, float32 [b, channels, h, w] each."""
        return maps_of(np.stack([self.maps[place] for place in places]), self.shape.side, self.channels)

    def blind(self) -> AskedShard:
        """The same questions, of pictures of which nothing is seen."""
        other = object.__new__(AskedShard)
        other.shape, other.channels, other.questions = self.shape, self.channels, self.questions
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
    kinds = all_kinds(list(made_of.things))
    maps: np.memmap[Any, np.dtype[np.float16]] | None = None
    questions: list[list[Asked]] = []
    with ProcessPoolExecutor(2) as pool:
        seeds = range(shape.first, shape.first + shape.count)
        made = pool.map(partial(_asked, made_of, shape, kinds), seeds, chunksize=16)
        for first in range(0, shape.count, _TOGETHER):
            drawn = list(itertools.islice(made, _TOGETHER))
            rows = look(np.stack([pixels for pixels, _ in drawn]))
            if maps is None:
                maps = np.lib.format.open_memmap(
                    folder / "maps.npy", mode="w+", dtype=np.float16, shape=(shape.count, rows.shape[1])
                )
            maps[first : first + len(drawn)] = rows
            questions += [asked for _, asked in drawn]
            if first % (20 * _TOGETHER) == 0:
                yield first + len(drawn)
    if maps is not None:
        maps.flush()
    (folder / "questions.json").write_text(json.dumps(questions, ensure_ascii=False), "utf-8")
    mark.write_text(identity, "utf-8")
    yield shape.count


def _asked(
    made_of: AskedWorld, shape: AskedShape, kinds: Sequence[Kind], seed: int
) -> tuple[NDArray[np.uint8], list[Asked]]:
    made = picture(made_of, seed, shape.side)
    random = np.random.default_rng([seed, 1])
    return made.pixels, questions_of(made, random, kinds, held=shape.held, each=shape.each)

"""Measures whether words find the thing that they name, and find nothing where it is not.

    python benchmarks/segment_words.py --sources FOLDER                # proposals: the truth, and decoys
    python benchmarks/segment_words.py --sources FOLDER --model sensorium/mini-sam

Scenes of ``train/data/scenes``, of cut-outs and photographs that are held back from mini-sam. Asked for is
every thing of a scene that has a name of one to three words in both languages, and three names of other
scenes. With ``--model`` the proposals are those of ``sensorium cut --text``; without, they are the true
masks, as many halves of them, and eight random shapes, which tells the reader apart from the segmenter.
mini-clip was trained on captions of most of these drawings: of the world its figures are lower.

The constants of ``skills/segment/words.py`` were set on scenes that are not held back (``--seen``).
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sensorium.errors import SensoriumError
from sensorium.skills import embed, segment
from sensorium.skills.segment import words
from sensorium.skills.segment.everything import everything
from sensorium.skills.segment.masks import Bits, Mask, mask_of, overlap
from sensorium.train.data.scenes import SHAPES, SIGN, Name, Scene, askable, scene, world

FIRST_SEED = 43_000_000
SIDE = 512
SMALLEST = 0.004  # share of the picture of a thing that is asked for
RIGHT = 0.5  # overlap with the thing from which a mask is the right one
ABSENT = 3  # names of other scenes, for each scene
PLAIN = re.compile(r"[a-z]+( [a-z]+){0,2}")
DRAWN = {shape.english for shape in SHAPES} | {SIGN.english}  # without a look of their own


@dataclass(frozen=True)
class Asked:
    """One question: what was found, how likely, and whether it is the thing (None: there is none)."""

    language: str
    likelihood: float
    right: bool | None


def plain(name: Name) -> str | None:
    """The English name without its article, where people would call the thing so."""
    bare = re.sub(r"^(an?|the) ", "", name.english)
    known = name.chinese != name.english and PLAIN.fullmatch(bare) and bare not in DRAWN
    return bare if known else None


def decoys(made: Scene, random: np.random.Generator) -> Iterator[Bits]:
    """Halves of the things, and shapes that have nothing to do with them."""
    for number in askable(made):
        mask = made.things[number].mask
        rows, columns = np.nonzero(mask)
        half = mask.copy()
        if random.random() < 0.5:
            half[int(np.median(rows)) :] = False
        else:
            half[:, int(np.median(columns)) :] = False
        yield half
    y, x = np.mgrid[:SIDE, :SIDE]
    for _ in range(8):
        width, height = np.exp(random.uniform(np.log(0.08), np.log(0.7), 2)) * SIDE
        across, down = 2 * (x - random.uniform(0, SIDE)) / width, 2 * (y - random.uniform(0, SIDE)) / height
        yield across**2 + down**2 < 1 if random.random() < 0.5 else np.maximum(abs(across), abs(down)) < 1


def proposals(made: Scene, segmenter: segment.Segmenter | None, seed: int) -> list[Mask]:
    """What is looked at in a scene."""
    if segmenter is not None:
        return everything(segmenter, Image.fromarray(made.pixels), words.PROPOSALS)
    bitmaps = [made.things[number].mask for number in askable(made)]
    bitmaps += decoys(made, np.random.default_rng(seed))
    return [mask_of(bitmap, 1.0, 1.0) for bitmap in bitmaps if np.count_nonzero(bitmap) > 100]


def ask(
    reader: embed.DualEncoder, made: Scene, masks: Sequence[Mask], name: Name, wanted: list[Bits]
) -> Iterator[Asked]:
    """The question in both languages."""
    english = re.sub(r"^(an?|the) ", "", name.english)
    for language, text in (("en", english), ("zh", name.chinese)):
        if not masks:
            yield Asked(language, 0.0, False if wanted else None)
            continue
        likely = words.likelihoods(reader, Image.fromarray(made.pixels), masks, text)
        best = int(likely.argmax())
        right = any(overlap(masks[best].bitmap, mask) >= RIGHT for mask in wanted) if wanted else None
        yield Asked(language, float(likely[best]), right)


class Remembering:
    """A reader that looks at the crops of a scene once, however many questions there are."""

    def __init__(self, reader: embed.DualEncoder) -> None:
        self.reader, self.image_spec, self.pipeline = reader, reader.image_spec, reader.pipeline
        self.texts: dict[str, NDArray[np.float32]] = {}
        self.crops: NDArray[np.float32] | None = None

    def embed_images(self, images: list[Image.Image]) -> NDArray[np.float32]:
        """As the reader's, until ``crops`` is emptied."""
        if self.crops is None:
            self.crops = self.reader.embed_images(images)
        return self.crops.copy()

    def embed_texts(self, texts: list[str]) -> NDArray[np.float32]:
        """As the reader's; each text once."""
        if new := [text for text in texts if text not in self.texts]:
            self.texts |= dict(zip(new, self.reader.embed_texts(new), strict=True))
        return np.stack([self.texts[text] for text in texts])


def measure(options: argparse.Namespace) -> list[Asked]:
    """Ask for what is in each scene, and for what is only in others."""
    segmenter = segment.load(options.model) if options.model else None
    reader: Any = Remembering(embed.load(options.reader))
    made_of = world(options.sources, held=not options.seen)
    names = sorted({cutout.name for cutout in made_of.cutouts if plain(cutout.name)})
    random = np.random.default_rng(0)
    asked: list[Asked] = []
    for seed in range(options.first, options.first + options.scenes):
        made = scene(made_of, seed, SIDE)
        masks, reader.crops = proposals(made, segmenter, seed), None
        present: dict[Name, list[Bits]] = {}
        for thing in made.things:
            if plain(thing.name) and np.count_nonzero(thing.mask) >= SMALLEST * SIDE**2:
                present.setdefault(thing.name, []).append(thing.mask)
        shown = {plain(thing.name) for thing in made.things}
        absent = [name for name in names if plain(name) not in shown]
        chosen = random.choice(len(absent), min(ABSENT, len(absent)), replace=False)
        for name, wanted in [*present.items(), *((absent[int(i)], []) for i in chosen)]:
            asked += ask(reader, made, masks, name, wanted)
    return asked


def figures(asked: Sequence[Asked], least: float) -> dict[str, float]:
    """Of things that are there, how many are found and rightly; of the others, how many are refused."""
    there = [one for one in asked if one.right is not None]
    found = [one for one in there if one.likelihood >= least]
    away = [one for one in asked if one.right is None]
    return {
        "present": len(there),
        "absent": len(away),
        "first": _share(one.right for one in there),
        "recall": _share(bool(one.right) and one.likelihood >= least for one in there),
        "right_of_found": _share(one.right for one in found),
        "refusal": _share(one.likelihood < least for one in away),
    }


def _share(values: Iterator[bool | None] | Any) -> float:
    listed = list(values)
    return round(sum(map(bool, listed)) / len(listed), 3) if listed else float("nan")


def main() -> None:
    """Print a table; ``--json`` keeps it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sources", type=Path, required=True, help="unpacked packages, as of train mini-sam")
    parser.add_argument("--model", help="a segmenter that proposes; default: the truth and decoys")
    parser.add_argument("--reader", default=embed.DEFAULT)
    parser.add_argument("--scenes", type=int, default=80)
    parser.add_argument("--first", type=int, default=FIRST_SEED, help="seed of the first scene")
    parser.add_argument("--seen", action="store_true", help="scenes of what is not held back")
    parser.add_argument("--least", type=float, default=words.LIKELIHOOD)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    try:
        asked = measure(options)
    except SensoriumError as error:
        sys.exit(f"{error}")
    told = {
        "all": figures(asked, options.least),
        "en": figures([one for one in asked if one.language == "en"], options.least),
        "zh": figures([one for one in asked if one.language == "zh"], options.least),
    }
    for part, row in told.items():
        print(part, ", ".join(f"{name} {value:g}" for name, value in row.items()))
    if options.json:
        options.json.write_text(json.dumps(told, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()

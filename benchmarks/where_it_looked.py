"""Do early layers look at edges and late ones at things? Measured on the packaged model.

    python benchmarks/where_it_looked.py SOURCES [--scenes 100]

SOURCES is the folder with what ``sensorium train mini-vlm`` draws scenes of; those that are kept for
measuring are drawn. A figure is the probability that a map is warmer at a place of the kind named than at
another one (the area under the ROC curve): 0.5 is chance, 1 is perfect. An edge is a place among the fifth
with the steepest brightness, a thing is anything drawn on the background; of an answer it is the thing asked
about.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from sklearn.metrics import roc_auc_score

from sensorium import ask
from sensorium.skills import answer
from sensorium.skills.answer import looks as looking
from sensorium.train.data.question_scenes import Item, Picture, picture
from sensorium.train.recipes.mini_vlm import asked_world

FIRST = 20_000_000  # seeds of scenes that are kept for measuring
SIDE = 224
STEEP = 0.8  # quantile of an edge
QUESTIONS = {"where is it": "Where is the {}?", "which colour": "What colour is the {}?"}
SIZES = (0.01, 0.5)  # shares of the picture of things asked about

Map = NDArray[np.float32]
Mask = NDArray[np.bool_]


def main() -> None:
    """Draw scenes, ask about them, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sources", type=Path)
    parser.add_argument("--scenes", type=int, default=100)
    options = parser.parse_args()
    looking._early_middle_late = lambda count: list(range(count))  # every layer, not three of them
    answerer = answer.load("sensorium/mini-vlm")
    world = asked_world(options.sources, held=True)
    figures: dict[tuple[str, str], list[float]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as scratch:
        for seed in range(FIRST, FIRST + options.scenes):
            scene = picture(world, seed, SIDE)
            path = Path(scratch) / "scene.png"
            Image.fromarray(scene.pixels).save(path)
            for key, values in measured(answerer, scene, answer.open_shown(path, path.name)).items():
                figures[key] += values
    for (name, what), values in sorted(figures.items()):
        print(f"{name:42s} {what:10s} {np.nanmean(values):.3f}  ({len(values)})")


def measured(answerer: Any, scene: Picture, photo: Any) -> dict[tuple[str, str], list[float]]:
    """Figures of one scene: by the map's name and what it is compared with."""
    found: dict[tuple[str, str], list[float]] = defaultdict(list)
    brightness = np.asarray(Image.fromarray(scene.pixels).convert("L"), np.float32)
    steepness = np.hypot(*np.gradient(brightness))
    kinds = [item.kind.english for item in scene.known.items]
    towers: list[Any] = []
    for number, item in enumerate(scene.known.items):
        mask = scene.cover == number + 1
        if kinds.count(item.kind.english) > 1 or not SIZES[0] < mask.mean() < SIZES[1]:
            continue
        for about, words in QUESTIONS.items():
            looks = looks_of(answerer, photo, words, item)
            towers = [look for look in looks if look.part == "tower"]
            for look in looks:
                if look.part == "answer":
                    found[f"{about}: {look.name}", "its thing"].append(
                        area(look.map, reduced(mask, look.map))
                    )
    for look in towers:
        steep = shrunk(steepness, look.map)
        found[look.name, "edges"].append(area(look.map, steep > np.quantile(steep, STEEP)))
        found[look.name, "things"].append(area(look.map, reduced(scene.cover > 0, look.map)))
    return found


def looks_of(answerer: Any, photo: Any, words: str, item: Item) -> tuple[Any, ...]:
    """Maps of all layers while a question about a thing is answered."""
    conversation = ask.Conversation().ask(words.format(item.kind.english), photo)
    *_, last = ask.answer(answerer, conversation, answer.Settings(explain=True))
    assert isinstance(last, ask.Answer)
    return last.looks


def shrunk(values: NDArray[Any], like: Map) -> Map:
    """The means of values [side, side] at a map's resolution."""
    size = like.shape[1], like.shape[0]
    picture = Image.fromarray(values.astype(np.float32)).resize(size, Image.Resampling.BOX)
    return np.asarray(picture, np.float32)


def reduced(mask: Mask, like: Map) -> Mask:
    """Places of a map of which a mask covers more than half."""
    covered: Mask = shrunk(mask, like) > 0.5
    return covered


def area(values: Map, wanted: Mask) -> float:
    """The area under the ROC curve, or NaN when all places or none are wanted."""
    if wanted.all() or not wanted.any():
        return float("nan")
    return float(roc_auc_score(wanted.ravel(), values.ravel()))


if __name__ == "__main__":
    main()

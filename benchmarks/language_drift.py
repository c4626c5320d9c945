"""What fewer bits of weights cost a trained model: mini-vlm's answers in float32 and with packed weights.

    python benchmarks/language_drift.py RUN [--pictures 120]

RUN is the folder in which ``sensorium train mini-vlm`` ran: its held-back pictures are asked about.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args

import torch

from peer import describe_machine
from sensorium.runtime.language import Weights, quicken
from sensorium.skills import answer
from sensorium.train.data.question_shards import AskedShape, AskedShard
from sensorium.train.data.questions import Asked
from sensorium.train.recipes.mini_vlm import channels
from sensorium.train.recipes.mini_vlm_measure import answers, score

TEXT = 400  # tokens of the text of which scores are compared


def main() -> None:
    """Ask with each form of weights, and print what differs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--pictures", type=int, default=120)
    options = parser.parse_args()
    print(describe_machine())
    shard = held_back(options.run, options.pictures)
    answerer = answer.load("sensorium/mini-vlm")
    network: Any = answerer.network
    decoder, vocabulary = network.decoder, answerer.vocabulary
    expected = list(answers(network, shard, vocabulary))
    said = [vocabulary.encode(f"{one.question} {one.answer}") for one, _ in expected[:60]]
    text = torch.tensor([[token for tokens in said for token in tokens][:TEXT]])
    print(f"{len(expected)} questions about {shard.shape.count} pictures")
    print(f"  float32 on the network: {right(expected):.1%} right")
    for weights in get_args(Weights):
        fast = quicken(decoder, weights, text=text)
        quick: Any = SimpleNamespace(decoder=fast, connected=network.connected)
        found = list(answers(quick, shard, vocabulary))
        same = sum(one == other for one, other in zip(expected, found, strict=True)) / len(found)
        print(f"  {weights}: {right(found):.1%} right, {same:.1%} word for word the same")
        assert fast.drift is not None
        print(f"    of a text of {text.shape[1]} tokens: {fast.drift.describe()}")


def held_back(run: Path, count: int) -> AskedShard:
    """The first pictures that the recipe kept for measuring."""
    folder = run / "pictures" / "held"
    shape = AskedShape(**json.loads((folder / "shape.json").read_text("utf-8"))[0])
    shard = AskedShard(folder, shape, channels())
    shard.shape = replace(shape, count=min(count, shape.count))
    return shard


def right(found: list[tuple[Asked, str]]) -> float:
    """How right the answers are on average, 0 to 1."""
    return sum(score(one, text) for one, text in found) / len(found)


if __name__ == "__main__":
    main()

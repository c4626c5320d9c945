"""The recipe of mini-vlm: its vocabulary, its batches, how answers are scored, and a whole run in small."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from sensorium.media.chat import ChatTemplate, Message, Text
from sensorium.media.vocabulary import Vocabulary
from sensorium.models.efficientnet import EfficientNetConfig, EfficientNetTrunk, Stage
from sensorium.models.mini_vlm import MiniVlm
from sensorium.train.data import question_shards
from sensorium.train.data.question_scenes import AskedWorld, Item, Kind, Known, Picture
from sensorium.train.data.question_shards import AskedShape, AskedShard, make_asked_shard
from sensorium.train.data.questions import Asked
from sensorium.train.data.scenes import World
from sensorium.train.loop import Note
from sensorium.train.order import Place
from sensorium.train.recipes import mini_vlm
from sensorium.train.recipes.mini_vlm import SPECIAL, Config, Loader, stages
from sensorium.train.recipes.mini_vlm_measure import score
from sensorium.weights.files import find
from sensorium.weights.load import build

SIDE = 64
TRUNK = EfficientNetConfig(8, tuple(Stage(3, s, 1, 8, 1) for s in (1, 2, 2, 2, 1, 2, 1)), 16, 4)
DISC = Kind("disc", "圆盘", "discs")
SMALL = Config(
    pictures=6,
    held_pictures=2,
    vocabulary=400,
    width=16,
    depth=1,
    heads=1,
    mlp_width=16,
    words_steps=2,
    connector_steps=2,
    steps=3,
    batch=2,
    rows=2,
    dtype="float32",
    save_every=2,
)


def drawn(made_of: AskedWorld, seed: int, side: int) -> Picture:
    """A picture of one brightness, with a caption; every other one has a disc in its upper half."""
    pixels = np.full((side, side, 3), seed % 250, np.uint8)
    cover = np.zeros((side, side), np.uint8)
    items: tuple[Item, ...] = ()
    if seed % 2:
        items = (Item(DISC, (0.0, 0.0, 1.0, 0.5)),)
        cover[: side // 2] = 1
    return Picture(pixels, Known(items, ("a grey wall", "灰色的墙")), cover)


@pytest.fixture
def prepared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    """The settings of a run without packages: one tiny tower, pictures without things."""
    torch.manual_seed(0)
    trunk = EfficientNetTrunk(TRUNK)

    def look(pixels: np.ndarray) -> np.ndarray:
        values = (torch.from_numpy(pixels).permute(0, 3, 1, 2).float() - 127) / 128
        with torch.no_grad():
            return torch.cat([level.flatten(1) for level in trunk.levels(values)[1:]], dim=1).numpy()

    monkeypatch.setattr(mini_vlm, "SIDE", SIDE)
    monkeypatch.setattr(mini_vlm, "LITE2", TRUNK)
    monkeypatch.setattr(mini_vlm, "SOURCES", ())
    monkeypatch.setattr(mini_vlm, "channels", lambda: (8, 8, 8, 8))
    monkeypatch.setattr(mini_vlm, "weights", lambda sources: trunk.state_dict())
    monkeypatch.setattr(mini_vlm, "looking", lambda eyes, side: look)
    monkeypatch.setattr(
        mini_vlm, "asked_world", lambda sources, held=False: AskedWorld({DISC: ()}, World((), ()), (), ())
    )
    monkeypatch.setattr(question_shards, "picture", drawn)
    monkeypatch.setattr(question_shards, "ProcessPoolExecutor", InThisProcess)
    return replace(SMALL, out=tmp_path / "run", sources=tmp_path / "sources")


class InThisProcess:
    """Draws without processes, so that what the tests put in place counts."""

    def __init__(self, _: int) -> None: ...

    def __enter__(self) -> InThisProcess:
        return self

    def __exit__(self, *_: object) -> None: ...

    def map(self, function, seeds, chunksize):  # type: ignore[no-untyped-def]
        assert chunksize > 0
        return map(function, seeds)


def test_a_run_writes_a_model_that_loads_and_says_what_it_can(prepared: Config) -> None:
    told = [event.text for event in mini_vlm.run(prepared) if isinstance(event, Note)]
    folder = prepared.out / "model"
    network = build(find(folder))
    assert isinstance(network, MiniVlm)
    assert network.config.side == SIDE
    vocabulary = Vocabulary.from_folder(folder)
    for text in ("[0.12, 0.34, 0.56, 0.78]", "UXIBS 42", "图里有几个苹果？ olé"):
        assert vocabulary.decode(vocabulary.encode(text)) == text
    assert [vocabulary.decode([i]) for i in vocabulary.encode("ABA42")] == ["A", "B", "A", "4", "2"]
    card = (folder / "README.md").read_text("utf-8")
    assert "language: [en, zh]" in card
    assert "Words alone" in card
    assert any(text.startswith("from words alone: ") for text in told)
    figures = json.loads(next(text for text in told if text.startswith("{")))
    assert 0 <= figures["photo, en"] <= 1
    assert figures["photo: questions"] > 0


def test_only_what_a_stage_trains_changes(prepared: Config) -> None:
    prepared = replace(prepared, words_steps=0, steps=0)
    list(mini_vlm.run(prepared))
    last = build(find(prepared.out / "model"))
    torch.manual_seed(prepared.seed)
    tokens = Vocabulary.from_folder(prepared.out / "model").size
    first = mini_vlm.untrained(prepared, tokens, mini_vlm.weights(prepared.sources))
    changed = {
        name
        for name, value in first.state_dict().items()
        if not torch.allclose(value, last.state_dict()[name].float(), atol=2e-3)
    }
    assert changed
    assert all(name.startswith(("connector.", "norm.", "positions", "decoder.embedding")) for name in changed)


def test_a_stopped_run_goes_on_where_it_was(prepared: Config) -> None:
    whole = replace(prepared, out=prepared.out.with_name("whole"))
    list(mini_vlm.run(whole))
    events = mini_vlm.run(prepared)
    for event in events:  # leave it after the second step of the last stage
        if not isinstance(event, Note) and event.steps == 3 and event.step == 2:
            break
    events.close()
    list(mini_vlm.run(prepared, resume=True))
    one, other = ((run.out / "model" / "model.safetensors").read_bytes() for run in (whole, prepared))
    assert one == other


def test_a_batch_teaches_answers_and_nothing_else(
    prepared: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shape = AskedShape(4, SIDE, 0)
    world = mini_vlm.asked_world(tmp_path)
    for _ in make_asked_shard(tmp_path / "shard", world, shape, mini_vlm.looking(None, SIDE)):
        pass
    shard = AskedShard(tmp_path / "shard", shape, (8, 8, 8, 8))
    asked = [
        Asked("count", "en", "How many discs?", "3"),
        Asked("read", "zh", "写着什么？", "OPEN"),
        Asked("what", "en", "What is this?", "a disc"),
    ]
    monkeypatch.setattr(shard, "asked", lambda *_, **__: asked)
    shard.things = [[["disc", "圆盘"], ["O"]]] * 4
    shard.places = np.tile(np.array([0, 1, 1, 2], np.uint8).reshape(1, 2, 2), (4, 1, 1))
    vocabulary = mini_vlm._vocabulary(shard, SMALL)
    batch = Loader(shard, vocabulary, replace(SMALL, rows=6, second=0.5))([Place(0, 0), Place(0, 2)])
    assert batch["owner"].tolist() == [0] * 6 + [1] * 6
    answers = {f"{one.answer}<|end|>" for one in asked}
    seen = set()
    for ids, learned, real in zip(batch["ids"], batch["answers"], batch["real"], strict=True):
        assert not (learned & ~real).any()
        text = vocabulary.decode(ids[learned].tolist(), special=True)
        parts = [f"{part}<|end|>" for part in text.split("<|end|>") if part]
        assert set(parts) <= answers
        seen |= set(parts)
        whole = vocabulary.decode(ids[real].tolist(), special=True)
        assert whole.count("<|assistant|>") == len(parts)
    assert seen == answers
    assert len({tuple(row.tolist()) for row in batch["ids"]}) > 3
    assert batch["lies"].tolist() == [[0, 1, 1, 2]] * 2
    assert torch.allclose(batch["names"].sum(1), torch.tensor([0.0, 1.0, 1.0]))
    [letter] = vocabulary.encode("O")
    assert float(batch["names"][2, letter]) == 1
    for token in (*vocabulary.encode(" disc"), *vocabulary.encode("圆盘")):
        assert float(batch["names"][1, token]) > 0


def test_questions_are_the_same_words_in_many_tokens(prepared: Config) -> None:
    list(mini_vlm.run(replace(prepared, words_steps=0, connector_steps=0, steps=0)))
    vocabulary = Vocabulary.from_folder(prepared.out)
    shape = AskedShape(prepared.pictures, SIDE, 0)
    shard = AskedShard(prepared.out / "pictures" / "train", shape, (8, 8, 8, 8))
    loader = Loader(shard, vocabulary, prepared)
    asked = "Can you see a disc in the picture?"
    ways = [tuple(loader._question(asked, np.random.default_rng(seed))) for seed in range(60)]
    assert {vocabulary.decode(list(way)) for way in ways} == {asked}
    assert ways.count(tuple(vocabulary.encode(asked))) >= 10
    assert len(set(ways)) > 10
    names = ((asked, " disc"), ("图里有几个圆盘？", "圆盘"))
    for text, name in names:  # has one token, however the question is cut
        [token] = vocabulary.encode(name)
        assert all(token in loader._question(text, np.random.default_rng(seed)) for seed in range(60))
    assert loader([Place(0, 1)])["ids"].tolist() == loader([Place(0, 1)])["ids"].tolist()


def test_a_shard_asks_anew_and_for_measuring_always_the_same(prepared: Config, tmp_path: Path) -> None:
    shape = AskedShape(4, SIDE, 0)
    world = mini_vlm.asked_world(tmp_path)
    for _ in make_asked_shard(tmp_path / "shard", world, shape, mini_vlm.looking(None, SIDE)):
        pass
    shard = AskedShard(tmp_path / "shard", shape, (8, 8, 8, 8))
    assert shard.known == [drawn(world, seed, SIDE).known for seed in range(4)]
    assert shard.asked(1) == shard.asked(1)
    assert shard.blind().asked(1) == shard.asked(1)
    words = {one.question for seed in range(30) for one in shard.asked(1, np.random.default_rng(seed))}
    assert len(words) > 100
    assert not words & {one.question for one in shard.asked(1, held=True)}


def test_the_template_writes_what_training_showed() -> None:
    template = ChatTemplate(mini_vlm.TEMPLATE, {})
    first = Message("user", ("image", Text("What is this?")))
    said = [first, Message.says("assistant", "a cat"), Message.says("user", "How many?")]
    assert template.render([first]) == "<|user|><image>What is this?<|assistant|>"
    expected = "<|user|><image>What is this?<|assistant|>a cat<|end|><|user|>How many?<|assistant|>"
    assert template.render(said) == expected


@pytest.mark.parametrize(
    ("topic", "wanted", "answer", "expected"),
    [
        ("count", "number of cats: 3", "number of cats: 3", 1.0),
        ("count", "number of cats: 3", "number of cats: 4", 0.0),
        ("exists", "猫：没有", "猫：有", 0.0),
        ("point", "the cat[0.10, 0.10, 0.50, 0.50]", "the cat[0.10, 0.10, 0.50, 0.45]", 1.0),
        ("point", "the cat[0.10, 0.10, 0.50, 0.50]", "the cat[0.60, 0.60, 0.90, 0.90]", 0.0),
        ("point", "the cat[0.10, 0.10, 0.50, 0.50]", "a cat", 0.0),
        (
            "side",
            "the cat[0.10, 0.10, 0.50, 0.50], the dog[0.60, 0.10, 0.90, 0.50]: left? It is left, so yes",
            "the cat[0.2: left? It is right, so yes",
            1.0,
        ),
        (
            "side",
            "猫[0.10, 0.10, 0.50, 0.50]，狗[0.60, 0.10, 0.90, 0.50]：左边，所以是",
            "左边，所以不是",
            0.0,
        ),
        ("describe", "a cat and a dog", "a dog and a cat", 1.0),
        ("describe", "a cat and a dog", "a cat", pytest.approx(2 / 3)),
        ("photo", "红色的车", "绿色的树", pytest.approx(0.5)),
    ],
)
def test_scores(topic: str, wanted: str, answer: str, expected: float) -> None:
    assert score(Asked(topic, "en", "?", wanted), answer) == expected  # type: ignore[arg-type]


def test_stages_follow_llava(prepared: Config) -> None:
    names = [stage.name for stage in stages(prepared)]
    assert names == ["words", "connector", "both"]
    assert [stage.blind for stage in stages(prepared)] == [True, False, False]
    assert all(a.trained != b.trained for a, b in itertools.pairwise(stages(prepared)))
    assert SPECIAL.index("<|pad|>") == 0

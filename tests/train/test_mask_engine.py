"""The data engine, tiny: rounds gather, learn and are measured; an interruption and a person come between."""

from __future__ import annotations

import itertools
import json
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

import tiny_sam
from sensorium.errors import SensoriumError
from sensorium.media.image import read_image
from sensorium.models.sam.sam import Sam
from sensorium.skills.segment.masks import from_rle, mask_of, overlap
from sensorium.train.data import corrections, gathered
from sensorium.train.data.gathered import Gathered, Kept, Yield
from sensorium.train.data.scene_shards import Shape, Shard
from sensorium.train.data.scenes import Cutout, Name, World
from sensorium.train.loop import InterruptedRunError, Note
from sensorium.train.recipes import mask_engine, mask_engine_gather
from sensorium.train.recipes.mask_engine import Config, run
from sensorium.train.recipes.mask_engine_gather import Rules

SIDE = tiny_sam.SIDE


@pytest.fixture(scope="module")
def made_of(tmp_path_factory: pytest.TempPathFactory) -> World:
    """One grey photograph and one red disc."""
    folder = tmp_path_factory.mktemp("world")
    Image.new("RGB", (80, 80), (120, 120, 120)).save(folder / "photo.jpg")
    disc = Image.new("RGBA", (80, 80))
    ImageDraw.Draw(disc).ellipse((2, 2, 77, 77), fill=(220, 30, 40, 255))
    disc.save(folder / "disc.png")
    return World((Cutout(folder / "disc.png", Name("a disc", "圆盘"), real=True),), (folder / "photo.jpg",))


@pytest.fixture
def config(made_of: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    """A tiny network, 6 scenes a round, 3 steps."""
    monkeypatch.setattr(mask_engine, "SOURCES", ())
    monkeypatch.setattr(mask_engine, "world", lambda sources, held=False: made_of)
    monkeypatch.setenv("SENSORIUM_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("SENSORIUM_ENGINE", "torch-f32")
    return Config(
        out=tmp_path / "run",
        sources=tmp_path / "sources",
        start=str(tiny_sam.write(tmp_path / "start")),
        rounds=("given", "assisted", "semi-automatic", "automatic"),
        scenes=4,
        held_scenes=2,
        side=SIDE,
        given_steps=3,
        steps=3,
        batch=2,
        prompts=2,
        answers=2,
        acceptable=0.01,
        most_clicks=3,
        grid=3,
        quality=-10,
        stability=0,
        save_every=2,
    )


@pytest.fixture
def uncompiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """The trunk by torch, which spares each run a second of compiling."""

    def look(trunk: Any, side: int) -> Any:
        def rows(pixels: np.ndarray) -> np.ndarray:
            values = (torch.from_numpy(pixels).permute(0, 3, 1, 2).float() - 127) / 128
            with torch.no_grad():
                levels = trunk.levels(values)[1:]
            return torch.cat([level.flatten(1) for level in levels], dim=1).numpy()

        return rows

    monkeypatch.setattr(mask_engine, "looking", look)


def notes(events: Iterator[Any]) -> list[str]:
    """What was said."""
    return [event.text for event in events if isinstance(event, Note)]


def weights(path: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(path)


def test_rounds_gather_learn_and_are_measured(config: Config) -> None:
    said = notes(run(config))
    reports = json.loads((config.out / "report.json").read_text("utf-8"))
    assert [report["stage"] for report in reports] == list(config.rounds)
    got = [report["gathered"] for report in reports]
    assert all(one["pictures"] == 4 and one["masks"] > 0 for one in got)
    assert got[0]["masks by given"] == got[0]["masks"]
    assert got[1]["clicks a mask"] >= 1
    assert got[1]["masks by oracle"] == got[1]["masks"]
    assert got[2]["masks by model"] > 0
    assert got[3]["masks by model"] == got[3]["masks"]
    assert got[3]["clicks"] == 0
    for before, after in itertools.pairwise(reports):
        assert after["before"] == before["after"]
    for report in reports:
        for name, gain in report["gain"].items():
            expected = report["after"][name] - report["before"][name]
            assert gain == pytest.approx(expected, abs=1e-3, nan_ok=True)
    assert sum(line.startswith("round ") and "gain of one click" in line for line in said) == 4
    from sensorium.skills.segment.prompts import Prompt
    from sensorium.skills.segment.segmenter import load

    segmenter = load(str(config.out / "model"))
    last = weights(config.out / "round-04-automatic" / "model.safetensors")
    for name, value in segmenter.network.state_dict().items():
        assert torch.allclose(value, last[name], atol=2e-3, rtol=2e-3), name
    picture = Image.new("RGB", (90, 70), "red")
    assert segmenter.cut(segmenter.embed(picture, keep=False), Prompt(((40, 30, 1),))).masks
    assert "| 4 | automatic |" in (config.out / "model" / "README.md").read_text("utf-8")


@pytest.mark.usefixtures("uncompiled")
def test_each_round_changes_what_learns_and_not_the_trunk(config: Config) -> None:
    config = replace(config, rounds=("given", "assisted"))
    list(run(config))
    first, second = (
        weights(config.out / name / "model.safetensors") for name in ("round-01-given", "round-02-assisted")
    )
    changed = {name for name, value in first.items() if not torch.equal(value, second[name])}
    assert any(name.startswith("mask_decoder") for name in changed)
    assert not any(name.startswith("image_encoder.trunk") for name in changed)


@pytest.mark.usefixtures("uncompiled")
def test_an_interrupted_run_ends_as_one_left_alone(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    config = replace(config, rounds=("given", "assisted"))
    whole = replace(config, out=config.out.with_name("whole"))
    list(run(whole))
    look = mask_engine.looking
    asked = mask_engine_gather.assisted

    def interrupted(network: Sam, shard: Shard, place: int, rules: Rules) -> Yield:
        if place == 2:
            signal.raise_signal(signal.SIGTERM)
        return asked(network, shard, place, rules)

    monkeypatch.setattr(mask_engine_gather, "assisted", interrupted)
    with pytest.raises(InterruptedRunError, match="picture 3 of 4 in round 2") as told:
        list(run(config))
    assert "\n" not in str(told.value)
    monkeypatch.undo()
    monkeypatch.setattr(mask_engine, "looking", look)
    monkeypatch.setattr(mask_engine, "SOURCES", ())
    path = config.out / "round-02-assisted" / "gathered.jsonl"
    assert len(gathered.read(path)) == 3
    with path.open("a", encoding="utf-8") as file:
        file.write('{"place": 3, "mas')  # as a power cut leaves it
    monkeypatch.setattr(mask_engine, "world", lambda sources, held=False: World((), ()))
    monkeypatch.setattr(mask_engine, "make_shard", lambda *_: iter(()))
    list(run(config, resume=True))
    name = "round-02-assisted/gathered.jsonl"
    assert (config.out / name).read_text("utf-8") == (whole.out / name).read_text("utf-8")
    ended, expected = (weights(one.out / "model" / "model.safetensors") for one in (config, whole))
    assert all(torch.equal(value, expected[key]) for key, value in ended.items())


@pytest.mark.usefixtures("uncompiled")
def test_a_run_is_not_begun_over_another(config: Config) -> None:
    config = replace(config, rounds=("given",))
    list(run(config))
    with pytest.raises(SensoriumError, match="holds a run"):
        list(run(config))
    before = (config.out / "report.json").read_bytes()
    assert any("round 1, given" in line for line in notes(run(config, resume=True)))
    assert (config.out / "report.json").read_bytes() == before


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"rounds": ()}, "at least one"),
        ({"side": 100}, "multiple of 32"),
        ({"rounds": ("given",), "pictures": Path()}, "leave 'given' out"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(changed: dict[str, Any], said: str) -> None:
    with pytest.raises(SensoriumError, match=said):
        Config(**changed)


@pytest.mark.usefixtures("uncompiled")
def test_a_model_too_weak_to_gather_is_told(config: Config) -> None:
    with pytest.raises(SensoriumError, match="gathered no mask to learn from"):
        list(run(replace(config, rounds=("automatic",), quality=1000)))


class Knowing(torch.nn.Module):
    """Answers prompts on a left and a right half: with them exactly, or at first with a quarter too much."""

    def __init__(self, first_wrong: bool = False) -> None:
        super().__init__()
        self.first_wrong = first_wrong
        self.image_encoder = tiny_sam.network().image_encoder

    def look(self, embedding: Any, masks: Any = None) -> Any:
        return masks

    def decode(
        self, side: Any, points: torch.Tensor, labels: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        half = SIDE // 2
        right = points[:, 0, 0] >= half
        logits = torch.full((len(points), 4, half, half), -5.0)
        for row, on_right in enumerate(right):
            columns = slice(half // 2, None) if on_right else slice(half // 2)
            logits[row, 3, :, columns] = 5.0
            logits[row, 0, :, columns] = 5.0
            if self.first_wrong and side is None:
                logits[row, 3, : half // 4] = 5.0
        quality = torch.tensor([0.9, 0.1, 0.1, 0.95]).expand(len(points), -1)
        return logits, quality


class Halves(Shard):
    """One picture whose things are its halves."""

    def __init__(self) -> None:
        self.shape = Shape(1, SIDE, 0)
        half = SIDE // 2
        self.truth = np.zeros((2, half, half), np.uint8)
        self.truth[0, :, : half // 2] = 1
        self.truth[1, :, half // 2 :] = 1

    def features(self, places: Any) -> list[torch.Tensor]:
        widths = mask_engine.channels(tiny_sam.network())
        return [torch.zeros(1, w, SIDE // s, SIDE // s) for w, s in zip(widths, (4, 8, 16, 32), strict=True)]

    def masks_of(self, place: int) -> Any:
        return self.truth


def test_the_oracle_stops_clicking_when_an_answer_is_good_enough() -> None:
    at_once = mask_engine_gather.assisted(Knowing(), Halves(), 0, Rules())  # type: ignore[arg-type]
    assert [(mask.clicks, mask.overlap) for mask in at_once.kept] == [(1, 1.0), (1, 1.0)]
    second = mask_engine_gather.assisted(Knowing(first_wrong=True), Halves(), 0, Rules())  # type: ignore[arg-type]
    assert [(mask.clicks, mask.overlap) for mask in second.kept] == [(2, 1.0), (2, 1.0)]
    assert (second.things, second.found, second.wasted) == (2, 2, 0)
    strict = Rules(most_clicks=1, acceptable=0.99)
    left = mask_engine_gather.assisted(Knowing(first_wrong=True), Halves(), 0, strict)  # type: ignore[arg-type]
    assert (left.kept, left.wasted) == ((), 2)


def test_a_grid_finds_each_half_once_and_nothing_is_left_to_point_at() -> None:
    network: Any = Knowing()
    found = mask_engine_gather.proposals(network, Halves(), 0, Rules())
    assert sorted(int(bits[0, 0]) for bits, _ in found) == [0, 1]
    assert [quality for _, quality in found] == pytest.approx([0.95, 0.95])
    assert mask_engine_gather.proposals(network, Halves(), 0, Rules(quality=0.99)) == []
    both = mask_engine_gather.semi_automatic(network, Halves(), 0, Rules())
    assert [(mask.by, mask.clicks, mask.overlap) for mask in both.kept] == [("model", 0, 1.0)] * 2
    unsure = mask_engine_gather.semi_automatic(network, Halves(), 0, Rules(quality=0.99))
    assert [(mask.by, mask.clicks) for mask in unsure.kept] == [("oracle", 1)] * 2
    alone = mask_engine_gather.automatic(network, Halves(), 0, Rules())
    assert (len(alone.kept), alone.things, alone.found) == (2, 2, 2)


def test_gathered_masks_are_what_is_trained_on(tmp_path: Path) -> None:
    shard = Halves()
    random = np.random.default_rng(0)
    bits = random.random((3, SIDE // 2, SIDE // 2)) > 0.5
    path = tmp_path / "gathered.jsonl"
    gathered.write(
        path, [Yield(0, (Kept(bits[0], "oracle", 2, 0.8), Kept(bits[1], "model", 0, None)), 3, 4, 2)]
    )
    gathered.write(path, [Yield(0, ()), Yield(0, (Kept(bits[2], "oracle", 1, 0.9),))])
    back = gathered.read(path)
    assert [len(one.kept) for one in back] == [2, 0, 1]
    assert (back[0].wasted, back[0].things, back[0].found) == (3, 4, 2)
    drawn = Gathered([(shard, back), (shard, back[:1])])
    assert drawn.shape.count == 3
    assert np.array_equal(drawn.masks_of(0), bits[:2])
    assert np.array_equal(drawn.masks_of(1), bits[2:])
    assert [level.shape[0] for level in drawn.features([0, 2])] == [2] * 4
    told = gathered.figures(back)
    assert (told["masks"], told["clicks"], told["clicks a mask"]) == (3, 6, 3.0)
    assert told["overlap with truth, by oracle"] == pytest.approx(0.85)
    assert told["things found"] == 0.5


@pytest.mark.usefixtures("uncompiled")
def test_a_person_corrects_between_two_runs(config: Config, tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for i, size in enumerate(((90, 60), (50, 120), (64, 64))):
        Image.new("RGB", size, (200, 40 * i, 90)).save(folder / f"{i}.png")
    (folder / "broken.jpg").write_bytes(b"no picture")
    config = replace(config, rounds=("assisted", "automatic"), pictures=folder, scenes=2)
    said = notes(run(config))
    where = config.out / "round-01-assisted"
    assert said[-1].startswith("round 1 waits for you")
    assert not (config.out / "model").exists()
    assert notes(run(config, resume=True))[-1] == said[-1]

    document = json.loads((where / "proposals.json").read_text("utf-8"))
    assert [one["file_name"] for one in document["images"]] == ["0.png", "1.png"]
    for one in document["annotations"]:
        picture = read_image(folder / document["images"][one["image_id"] - 1]["file_name"])
        assert from_rle(one["segmentation"]).shape == (picture.height, picture.width)
    mine = document["annotations"]
    assert len(mine) >= 3
    confirmed, changed, *removed = mine
    changed["segmentation"] = [[10, 10, 40, 10, 40, 40, 10, 40]]
    box = np.zeros((120, 50), bool)
    box[30:90, 10:40] = True
    added = {"id": 999, "image_id": 2, "category_id": 1, "segmentation": mask_of(box, 1, 1).rle()}
    document["annotations"] = [confirmed, changed, added]
    (where / "corrections.json").write_text(json.dumps(document), "utf-8")
    with pytest.raises(SensoriumError, match=r"round 2 has no pictures left"):
        list(run(replace(config, scenes=4), resume=True))
    list(run(config, resume=True))
    told = json.loads((where / "gathered.json").read_text("utf-8"))
    assert [told[k] for k in ("confirmed", "changed", "removed", "added")] == [1, 1, len(removed), 1]
    assert told["masks"] == 3
    [_, second] = gathered.read(where / "gathered.jsonl")
    shown = corrections.Picture("1.png", 50, 120).geometry(SIDE)
    assert overlap(shown.spread(second.kept[-1].bits.astype(np.float32) - 0.5) > 0, box) > 0.85
    reports = json.loads((config.out / "report.json").read_text("utf-8"))
    assert [report["stage"] for report in reports] == ["assisted", "automatic"]


@pytest.mark.parametrize(
    ("segmentation", "said"),
    [
        ({"size": [5, 5], "counts": "11"}, "annotation 7"),
        ({"size": [60, 90]}, "annotation 7 has a segmentation that cannot be read"),
        ([[1, 2]], "annotation 7 has a segmentation that cannot be read"),
        ("a circle", "annotation 7 has a segmentation that cannot be read"),
    ],
)
def test_a_correction_that_cannot_be_read_is_named(segmentation: Any, said: str, tmp_path: Path) -> None:
    pictures = [corrections.Picture("a.png", 90, 60)]
    corrections.write_proposals(tmp_path / "proposals.json", pictures, [[]], SIDE)
    document = json.loads((tmp_path / "proposals.json").read_text("utf-8"))
    document["annotations"] = [{"id": 7, "image_id": 1, "segmentation": segmentation}]
    (tmp_path / "mine.json").write_text(json.dumps(document), "utf-8")
    with pytest.raises(SensoriumError, match=said) as told:
        corrections.read_corrections(tmp_path / "mine.json", tmp_path / "proposals.json", pictures, SIDE)
    assert "\n" not in str(told.value)

"""mini-sam's world, its losses and its prompts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from sensorium.models.sam.prompt_encoder import BACKGROUND, FOREGROUND, PADDING, TOP_LEFT
from sensorium.models.sam.pyramid import Pyramid
from sensorium.models.sam.sam import Sam
from sensorium.train.data.scene_shards import Shape, Shard, halved, make_shard
from sensorium.train.data.scenes import Cutout, Name, World, askable, scene
from sensorium.train.mask_losses import dice, focal, mask_loss, overlaps
from sensorium.train.order import Place
from sensorium.train.recipes.mini_sam import (
    ARCHITECTURE,
    Config,
    Loader,
    correction,
    first_prompt,
    stages,
    task,
    trained,
)


@pytest.fixture(scope="module")
def made_of(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Two photographs of noise and two cut-outs of discs."""
    folder = tmp_path_factory.mktemp("world")
    random = np.random.default_rng(0)
    backgrounds, cutouts = [], []
    for i in range(2):
        path = folder / f"photo{i}.jpg"
        Image.fromarray(random.integers(0, 256, (90, 120, 3), dtype=np.uint8)).save(path)
        backgrounds.append(path)
        disc = Image.new("RGBA", (80, 60))
        ImageDraw.Draw(disc).ellipse((5, 5, 70, 50), fill=(200, 40 + 100 * i, 60, 255))
        disc.save(folder / f"disc{i}.png")
        cutouts.append(Cutout(folder / f"disc{i}.png", Name("a disc", "圆盘"), real=i == 0))
    return World(tuple(cutouts), tuple(backgrounds))


def test_a_scene_is_a_function_of_its_seed(made_of: World) -> None:
    first, again, other = scene(made_of, 7, 96), scene(made_of, 7, 96), scene(made_of, 8, 96)
    assert np.array_equal(first.pixels, again.pixels)
    assert [thing.name for thing in first.things] == [thing.name for thing in again.things]
    assert not np.array_equal(first.pixels, other.pixels)


def test_what_is_held_lies_within_what_holds_it_and_groups_do_not_overlap(made_of: World) -> None:
    levels = set()
    for seed in range(40):
        made = scene(made_of, seed, 96)
        for thing in made.things:
            levels.add(thing.level)
            if thing.parent is not None:
                assert not (thing.mask & ~made.things[thing.parent].mask).any()
        loose = [thing.mask for thing in made.things if thing.parent is None]
        assert np.sum(loose, axis=0).max(initial=0) <= 1
        for number in askable(made):
            y, x = np.argwhere(made.things[number].mask)[0]
            assert number in made.at(int(x), int(y))
    assert levels == {"part", "object", "whole"}


def test_an_image_shows_where_its_things_are(made_of: World) -> None:
    """Pixels of a plain disc are of its colour: masks and pictures are drawn at the same place."""
    for seed in range(30):
        made = scene(made_of, seed, 96)
        for thing in made.things:
            if thing.name.english == "a disc" and thing.mask.sum() > 300:
                inside = made.pixels[thing.mask].astype(float).mean(axis=0)
                assert inside[0] > 110
                assert inside[2] < 110
                return
    pytest.fail("no disc was drawn")


def test_half_resolution_keeps_the_area(made_of: World) -> None:
    made = scene(made_of, 3, 96)
    for number in askable(made):
        area = made.things[number].mask.sum()
        assert abs(4 * halved(made, number).sum() - area) <= 0.2 * area + 40


def test_a_perfect_answer_costs_almost_nothing_and_a_wrong_one_much() -> None:
    target = torch.zeros(2, 16, 16)
    target[:, 4:12, 4:12] = 1
    perfect, wrong = (target * 2 - 1) * 20, (1 - target * 2) * 20
    assert focal(perfect, target).max() < 1e-6
    assert dice(perfect, target).max() < 1e-3
    assert focal(wrong, target).min() > 1
    assert dice(wrong, target).min() > 0.9
    assert overlaps(perfect, target).tolist() == [1, 1]
    assert overlaps(wrong, target).tolist() == [0, 0]


def test_only_the_nearest_candidate_is_told_to_come_nearer() -> None:
    target = torch.zeros(1, 8, 8)
    target[:, :4] = 1
    logits = torch.stack((target * 4 - 2, 2 - target * 4), dim=1).requires_grad_()
    quality = torch.full((1, 2), 0.5, requires_grad=True)
    mask, guess, reached = mask_loss(logits, quality, target)
    (mask.sum() + guess.sum()).backward()
    assert logits.grad is not None
    assert logits.grad[0, 0].abs().sum() > 0
    assert logits.grad[0, 1].abs().sum() == 0
    assert reached.tolist() == [[1, 0]]
    assert guess.item() == pytest.approx(0.25)


def test_prompts_are_what_a_person_would_do() -> None:
    mask = np.zeros((32, 32), np.uint8)
    mask[10:20, 5:9] = 1
    random = np.random.default_rng(0)
    for _ in range(20):
        points, labels = first_prompt(mask, random, 0.0)
        x, y = points[0]
        assert mask[int(y) // 2, int(x) // 2] == 1
        assert labels.tolist() == [FOREGROUND, PADDING]
    points, labels = first_prompt(mask, random, 1.0)
    assert labels[0] == TOP_LEFT
    assert np.abs(points - [[10, 20], [18, 40]]).max() < 8


@pytest.mark.parametrize("draw", [True, False])
def test_a_correction_lies_where_the_answer_is_wrong(draw: bool) -> None:
    torch.manual_seed(0)
    target = torch.zeros(3, 32, 32)
    target[:, 8:24, 8:24] = 1
    answers = torch.full((3, 32, 32), -5.0)  # nothing; too much; exactly
    answers[1] = 5.0
    answers[2] = target[2] * 10 - 5
    points, labels = correction(answers, target, draw=draw)
    inside = [target[i, int(p[0, 1]) // 2, int(p[0, 0]) // 2] == 1 for i, p in enumerate(points)]
    assert inside == [True, False, True]
    assert labels[:, 0].tolist() == [FOREGROUND, BACKGROUND, FOREGROUND]


def test_the_architecture_survives_its_config(tmp_path: Path) -> None:
    import json

    from sensorium.weights.maps import sam as maps

    raw = json.loads(json.dumps(maps.write_original_config(ARCHITECTURE)))
    assert maps.read_original_config(raw) == ARCHITECTURE


def test_a_pause_does_not_count_as_training(tmp_path: Path) -> None:
    import json

    rows = [{"items": 10, "items_per_second": 5}, {"items": 20, "items_per_second": 5}]
    paused = {"items": 30, "items_per_second": 0.001}
    (tmp_path / "log.jsonl").write_text("\n".join(map(json.dumps, [*rows, paused])), "utf-8")
    assert trained(tmp_path / "log.jsonl") == pytest.approx(6)
    assert trained(tmp_path / "absent.jsonl") == 0


def test_corrections_come_after_first_answers_and_the_final_size_last() -> None:
    first, corrections, fine, lit = stages(Config())
    assert (first.config.rounds, corrections.config.rounds, fine.config.rounds) == (1, 3, 3)
    assert first.shard == corrections.shard != fine.shard
    assert first.config.spread > fine.config.spread
    assert fine.quality > first.quality
    assert [stage.pixels for stage in (first, corrections, fine, lit)] == [False, False, False, True]


def test_light_changes_colours_and_nothing_else(made_of: World) -> None:
    """The same things with the same masks; within a thing brightness varies more than before."""
    spread: dict[bool, list[float]] = {False: [], True: []}
    for seed in range(25):
        plain, lit = scene(made_of, seed, 96), scene(made_of, seed, 96, lit=True)
        again = scene(made_of, seed, 96, lit=True)
        assert np.array_equal(lit.pixels, again.pixels)
        assert len(plain.things) == len(lit.things)
        for one, other in zip(plain.things, lit.things, strict=True):
            assert np.array_equal(one.mask, other.mask)
            if one.level == "object" and one.mask.sum() > 200:
                for made, thing in ((plain, one), (lit, other)):
                    spread[made is lit].append(made.pixels[thing.mask].astype(float).mean(axis=1).std())
    assert np.median(spread[True]) > 1.3 * np.median(spread[False])


def test_the_last_stage_learns_from_pixels(made_of: World, tmp_path: Path) -> None:
    """A step on pixels moves the trunk, half of the pictures are mirrored with their masks."""
    shape = Shape(3, 96, 0, lit=True)
    for _ in make_shard(tmp_path, made_of, shape, None):
        pass
    shard = Shard(tmp_path, shape, ())
    assert shard.holds_pixels
    assert np.array_equal(shard.pixels([1])[0], scene(made_of, 1, 96, lit=True).pixels)
    load = Loader(shard, Config(prompts=2, rounds=1), pixels=True)
    batch = load([Place(0, 0), Place(0, 1)])
    mirrored = 0
    for epoch in range(6):
        seen = load([Place(epoch, 0)])["pixels"][0].numpy()
        original = shard.pixels([0])[0]
        assert np.array_equal(seen, original) or np.array_equal(seen, original[:, ::-1])
        mirrored += not np.array_equal(seen, original)
    assert 0 < mirrored < 6
    torch.manual_seed(0)
    network = Sam(replace(ARCHITECTURE, vision=replace(ARCHITECTURE.vision, image_size=96)))
    losses, _ = task(network, Config(prompts=2, rounds=1), 96)(batch)
    losses["mask"].backward()
    assert isinstance(network.image_encoder, Pyramid)
    assert network.image_encoder.trunk.stem.weight.grad is not None
    assert float(network.image_encoder.trunk.stem.weight.grad.abs().sum()) > 0

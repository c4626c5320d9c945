"""Scenes to ask about, and that every answer about them is true."""

from __future__ import annotations

import re
from collections import Counter

import numpy as np
import pytest
from PIL import Image, ImageDraw

from sensorium.train.data.captions import Captioned
from sensorium.train.data.question_scenes import AskedWorld, Kind, Picture, picture
from sensorium.train.data.question_shards import PLACE, laid_out
from sensorium.train.data.questions import (
    CANNOT,
    LANGUAGES,
    TOPICS,
    Asked,
    all_kinds,
    is_chinese,
    phrases,
    questions_of,
    verdict_of,
    written_box,
)
from sensorium.train.data.scenes import Cutout, Name, World

DISC, BAR = Kind("disc", "圆盘", "discs"), Kind("bar", "横条", "bars")
SEEDS = range(150)


@pytest.fixture(scope="module")
def made_of(tmp_path_factory: pytest.TempPathFactory) -> AskedWorld:
    """One photograph of grey and two kinds of cut-outs."""
    folder = tmp_path_factory.mktemp("asked")
    Image.new("RGB", (120, 90), (90, 90, 90)).save(folder / "photo.png")
    things = {}
    for kind, shape in ((DISC, "ellipse"), (BAR, "rectangle")):
        drawn = Image.new("RGBA", (80, 60))
        getattr(ImageDraw.Draw(drawn), shape)((5, 5, 70, 50), fill=(220, 40, 60, 255))
        drawn.save(folder / f"{kind.english}.png")
        things[kind] = (Cutout(folder / f"{kind.english}.png", Name(kind.english, kind.chinese), real=True),)
    told = Captioned(folder / "photo.png", "photo", ("a grey wall", "灰色的墙"))
    return AskedWorld(things, World((), (told.path,)), (told,), ())


@pytest.fixture(scope="module")
def pictures(made_of: AskedWorld) -> list[Picture]:
    return [picture(made_of, seed, 96) for seed in SEEDS]


def asked(pictures: list[Picture], made_of: AskedWorld, *, held: bool = False) -> list[tuple[Picture, Asked]]:
    kinds = all_kinds(list(made_of.things))
    return [
        (shown, one)
        for seed, shown in enumerate(pictures)
        for one in questions_of(shown.known, np.random.default_rng(seed), kinds, held=held)
    ]


def test_a_picture_and_its_questions_are_functions_of_their_seeds(made_of: AskedWorld) -> None:
    kinds = all_kinds(list(made_of.things))
    first, again, other = (picture(made_of, seed, 96) for seed in (3, 3, 4))
    assert np.array_equal(first.pixels, again.pixels)
    assert not np.array_equal(first.pixels, other.pixels)
    assert questions_of(first.known, np.random.default_rng(1), kinds) == questions_of(
        again.known, np.random.default_rng(1), kinds
    )


def test_boxes_lie_around_what_is_seen(pictures: list[Picture]) -> None:
    """Pixels of a red cut-out on grey are inside its box, and its box is full of them."""
    checked = 0
    for shown in pictures:
        if len(shown.known.items) != 1 or shown.known.items[0].kind not in (DISC, BAR):
            continue
        values = shown.pixels.astype(int)
        red = (values[..., 0] > 150) & (values[..., 1] < 110) & (values[..., 2] < 120)
        rows, columns = np.nonzero(red)
        if len(rows) < 30 or values[0, 0, 0] > 130:  # on a background of one bright colour
            continue
        found = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]) / 96
        assert np.abs(found - shown.known.items[0].box).max() < 0.05
        checked += 1
    assert checked >= 3


def test_things_lie_beside_one_another_and_inside(pictures: list[Picture]) -> None:
    for shown in pictures:
        for i, item in enumerate(shown.known.items):
            left, top, right, bottom = item.box
            assert 0 <= left < right <= 1
            assert 0 <= top < bottom <= 1
            for other in shown.known.items[:i]:
                across = min(right, other.box[2]) - max(left, other.box[0])
                down = min(bottom, other.box[3]) - max(top, other.box[1])
                smaller = min((b[2] - b[0]) * (b[3] - b[1]) for b in (item.box, other.box))
                assert max(0, across) * max(0, down) < 0.25 * smaller


def test_every_topic_is_asked_in_both_languages(pictures: list[Picture], made_of: AskedWorld) -> None:
    met = {(one.topic, one.language) for _, one in asked(pictures, made_of)}
    assert met == {(topic, language) for topic in TOPICS for language in LANGUAGES}


def test_answers_are_true(pictures: list[Picture], made_of: AskedWorld) -> None:
    for shown, one in asked(pictures, made_of):
        names = {name: item for item in shown.known.items for name in (item.kind.english, item.kind.chinese)}
        if one.topic == "count":
            counted = [
                item.kind
                for item in shown.known.items
                if item.kind.plural in one.question or item.kind.chinese in one.question
            ]
            assert verdict_of(one.answer).removesuffix("个") == str(len(counted)), one
            for kind in counted:
                assert one.answer.startswith((f"number of {kind.plural}: ", f"{kind.chinese}：")), one
        if one.topic == "colour":
            item = next(item for name, item in names.items() if name in one.question)
            assert item.colour is not None
            assert one.answer in item.colour, one
        if one.topic == "read":
            assert one.answer in {item.text for item in shown.known.items}
        if one.topic == "point":
            assert any(
                one.answer in (f"the {item.kind.english}{box}", item.kind.chinese + box)
                for item in shown.known.items
                if (box := written_box(item.box))
            )
        if one.topic == "exists":
            there = any(name in one.question.replace("sign of", "") for name in names)
            said = verdict_of(one.answer)
            assert said == {"en": ("no", "yes"), "zh": ("没有", "有")}[one.language][there], one
            assert re.split("[:：]", one.answer)[0] in one.question, one
        if one.topic == "photo":
            assert one.answer in shown.known.captions
        if one.topic == "cannot":
            assert one.answer == CANNOT[one.language]
        if one.topic != "read":
            assert is_chinese(one.answer) is (one.language == "zh"), one


def test_sides_are_true(pictures: list[Picture], made_of: AskedWorld) -> None:
    """ "Is the disc left of the bar?": by the middles of their boxes."""
    signs = {"left": (0, -1), "right": (0, 1), "above": (1, -1), "higher": (1, -1), "over": (1, -1)}
    signs |= {"below": (1, 1), "lower": (1, 1), "under": (1, 1)}
    plain = re.compile(
        r"(?:is|does|can) the (\w+) .*?(left|right|above|higher|over|below|lower|under) .*the (\w+)\??$", re.I
    )
    checked = 0
    for shown, one in asked(pictures, made_of):
        found = plain.search(one.question)
        if one.topic != "side" or found is None:
            continue
        names = {item.kind.english: item for item in shown.known.items}
        first, second = names[found[1]], names[found[3]]
        axis, sign = signs[found[2]]
        assert (sign * (first.centre[axis] - second.centre[axis]) > 0) is (verdict_of(one.answer) == "yes"), (
            one
        )
        for item in (first, second):
            assert f"the {item.kind.english}{written_box(item.box)}" in one.answer
        checked += 1
    assert checked > 10


def test_yes_and_no_are_balanced(made_of: AskedWorld) -> None:
    """Words alone must not tell the answer."""
    many = [picture(made_of, seed, 64) for seed in range(400)]
    for topic, yes in (("exists", ("yes", "有")), ("side", ("yes", "是"))):
        answers = Counter(
            verdict_of(one.answer) in yes for _, one in asked(many, made_of) if one.topic == topic
        )
        share = answers[True] / (answers[True] + answers[False])
        assert 0.4 < share < 0.6, (topic, answers)


def test_phrases_for_measuring_are_not_trained_on(pictures: list[Picture], made_of: AskedWorld) -> None:
    for name, ways in phrases().items():
        for language in LANGUAGES:
            assert len(ways[language]) >= 3, name
            assert len(set(ways[language])) == len(ways[language]), name
    kept = {one.question for _, one in asked(pictures, made_of, held=True)}
    trained = {one.question for _, one in asked(pictures, made_of)}
    assert kept
    assert not kept & trained


def test_places_know_what_lies_there(pictures: list[Picture]) -> None:
    """By the middles of boxes and of characters; and where no thing is, nothing lies."""
    spelled = 0
    for shown in pictures:
        places, things = laid_out(shown)
        rows = 96 // PLACE
        assert places.shape == (rows, rows)
        assert len(things) >= len(shown.known.items)
        for number, item in enumerate(shown.known.items):
            assert things[number][:3] == [item.kind.english, item.kind.plural, item.kind.chinese]
            assert tuple(things[number][3:-1]) == (item.colour or ())
            assert things[number][-1] == written_box(item.box)
            assert len(item.letters) == len(item.text or "")
            for character, (x, y) in zip(item.text or "", item.letters, strict=True):
                if 0 <= x < 1 and 0 <= y < 1:
                    left, top, right, bottom = item.box
                    assert left - 0.02 <= x <= right + 0.02
                    assert top - 0.02 <= y <= bottom + 0.02
                    found = things[places[int(y * rows), int(x * rows)] - 1]
                    spelled += found == [character]
        inside = np.zeros((rows, rows), bool)
        for item in shown.known.items:
            left, top, right, bottom = (side * rows for side in item.box)
            inside[int(top) : int(np.ceil(bottom)), int(left) : int(np.ceil(right))] = True
        assert not places[~inside].any()
    assert spelled > 20

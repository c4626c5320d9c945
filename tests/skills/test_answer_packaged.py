"""The packaged model that answers, on drawn scenes that it never saw."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from sensorium import ask
from sensorium.skills.answer import Answerer, Settings, load, open_shown
from sensorium.weights import ASK_MODEL

DRAWN = Path(__file__).parents[2] / "examples" / "drawn"


@pytest.fixture(scope="module")
def packaged() -> Answerer:
    return load(ASK_MODEL, device="cpu")


def answered(model: Answerer, name: str, question: str, *, explain: bool = False) -> ask.Answer:
    conversation = ask.Conversation().ask(question, open_shown(DRAWN / name, name))
    *_, last = ask.answer(model, conversation, Settings(explain=explain))
    assert isinstance(last, ask.Answer)
    return last


@pytest.mark.parametrize(
    ("name", "question", "expected"),
    [
        ("signs.jpg", "How many signs are there?", "number of signs: 2"),
        ("signs.jpg", "有几个牌子？", "牌子：2个"),
        ("mushrooms.jpg", "What is written on the sign?", "99"),
        ("mushrooms.jpg", "牌子上写着什么？", "99"),
        ("mushrooms.jpg", "Which colour is the sign?", "green"),
        ("mushrooms.jpg", "牌子是什么颜色的？", "绿色"),
        ("butterfly.jpg", "Is there a boat?", "a boat: yes"),
        ("butterfly.jpg", "有船吗？", "船：有"),
        ("butterfly.jpg", "Is there a dog?", "a dog: no"),
        ("butterfly.jpg", "有狗吗？", "狗：没有"),
    ],
)
def test_simple_questions_about_simple_scenes(
    packaged: Answerer, name: str, question: str, expected: str
) -> None:
    assert answered(packaged, name, question).text == expected


@pytest.mark.parametrize(("question", "label"), [("Where is the boat?", "the boat"), ("船在哪里？", "船")])
def test_places_are_those_of_the_original(packaged: Answerer, question: str, label: str) -> None:
    [box] = answered(packaged, "butterfly.jpg", question).boxes
    assert box.label == label
    drawn = (477, 129, 592, 329)  # of 640 x 640 pixels
    left, top = max(box.left, drawn[0]), max(box.top, drawn[1])
    right, bottom = min(box.right, drawn[2]), min(box.bottom, drawn[3])
    common = max(0.0, right - left) * max(0.0, bottom - top)
    both = (box.right - box.left) * (box.bottom - box.top) + (drawn[2] - drawn[0]) * (drawn[3] - drawn[1])
    assert common / (both - common) > 0.4


@pytest.mark.parametrize(
    ("question", "sorry"),
    [("What is the weather tomorrow?", "I cannot tell."), ("明天天气怎么样？", "我不知道")],
)
def test_what_it_cannot_know_it_says(packaged: Answerer, question: str, sorry: str) -> None:
    assert answered(packaged, "signs.jpg", question).text.startswith(sorry)


@pytest.mark.parametrize(
    ("question", "verdict"),
    [
        ("Is the butterfly left of the boat?", "left? It is left, so yes"),
        ("Is the boat left of the butterfly?", "left? It is right, so no"),
        ("船在蝴蝶的右边吗？", "右边？是右边，所以是"),
    ],
)
def test_sides_are_told_behind_both_places(packaged: Answerer, question: str, verdict: str) -> None:
    answer = answered(packaged, "butterfly.jpg", question)
    assert answer.text.endswith(verdict)
    assert len(answer.boxes) == 2


def test_it_shows_where_it_looked(packaged: Answerer) -> None:
    """An early stage of the tower responds to edges, a late one to things; the answer looks at its thing."""
    answer = answered(packaged, "butterfly.jpg", "Where is the boat?", explain=True)
    looks = {(look.part, look.layer): look.map for look in answer.looks}
    assert list(looks) == [("tower", stage) for stage in (1, 4, 6)] + [
        ("answer", block) for block in (0, 3, 5)
    ]
    assert looks["tower", 1].shape == (56, 56)
    upright = Image.open(DRAWN / "butterfly.jpg").convert("L").resize((224, 224))
    steps = np.hypot(*np.gradient(np.asarray(upright, np.float32)))
    butterfly, boat = box_of((0.07, 0.46, 0.53, 0.98)), box_of((0.74, 0.20, 0.93, 0.52))
    edges = {key: correlation(table, steps) for key, table in looks.items()}
    assert edges["tower", 1] > edges["tower", 4] > edges["tower", 6]
    things = {key: correlation(table, butterfly | boat) for key, table in looks.items()}
    assert edges["tower", 1] > things["tower", 1]
    assert edges["tower", 6] < things["tower", 6]
    told = looks["answer", 0]
    inside = Image.fromarray(boat.astype(np.float32)).resize(told.shape[::-1], Image.Resampling.BOX)
    share = float((told * np.asarray(inside)).sum() / told.sum())
    assert share > 3 * boat.mean()


def box_of(box: tuple[float, float, float, float]) -> NDArray[np.bool_]:
    """A box in fractions as a mask [224, 224]."""
    left, top, right, bottom = (round(224 * side) for side in box)
    mask = np.zeros((224, 224), np.bool_)
    mask[top:bottom, left:right] = True
    return mask


def correlation(table: NDArray[np.float32], picture: NDArray[np.generic]) -> float:
    """Of a map with the values of a picture, at the map's resolution."""
    values = Image.fromarray(picture.astype(np.float32)).resize(table.shape[::-1], Image.Resampling.BOX)
    return float(np.corrcoef(table.ravel(), np.asarray(values).ravel())[0, 1])

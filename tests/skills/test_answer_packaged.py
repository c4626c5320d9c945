"""The packaged model that answers, on drawn scenes that it never saw."""

from __future__ import annotations

from pathlib import Path

import pytest

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
    answer = answered(packaged, "mushrooms.jpg", "What is written on the sign?", explain=True)
    assert answer.looks

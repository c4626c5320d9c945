"""Boxes in answers: the families' ways of writing them, back in the pixels of the original picture."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from sensorium.media.resizing.planning import plan
from sensorium.media.resizing.policies import (
    LLAVA_NEXT_GRIDS,
    AnyresTiles,
    CentreCrop,
    Letterbox,
    Native,
    Squash,
)
from sensorium.skills.answer.boxes import MOST, FoundBox, draw_boxes, find_boxes

NATIVE = Native(28, 56 * 56, 28 * 28 * 1280, 200.0, "soft", "transformers")
LETTERBOX = Letterbox(336, 336, 14, "centre", False)
PADDED = Letterbox(336, 336, 14, "centre", True)


def corners(box: FoundBox) -> tuple[float, float, float, float]:
    return box.left, box.top, box.right, box.bottom


def qwen(*boxes: tuple[list[float], str]) -> str:
    return "```json\n" + json.dumps([{"bbox_2d": box, "label": label} for box, label in boxes]) + "\n```"


def test_qwens_boxes_are_in_pixels_of_the_resized_picture() -> None:
    shown = plan(4000, 3000, NATIVE)
    [view] = shown.views
    assert (view.width, view.height) != (4000, 3000)
    box = [view.width / 4, view.height / 2, view.width / 2, view.height]
    [found] = find_boxes(qwen((box, "red cup")), "pixels", shown, "a.jpg")
    assert corners(found) == pytest.approx((1000, 1500, 2000, 3000))
    assert (found.label, found.picture) == ("red cup", "a.jpg")


@pytest.mark.parametrize("policy", [LETTERBOX, PADDED])
def test_fractions_of_a_padded_square_are_not_those_of_the_picture(policy: Letterbox) -> None:
    shown = plan(800, 400, policy)  # the picture fills the middle half of the square
    [found] = find_boxes("The cup is at [0.50, 0.25, 1.0, 0.5].", "fractions", shown, "a.jpg")
    assert corners(found) == pytest.approx((400, 0, 800, 200), abs=1.5)
    [cut] = find_boxes("[0.0, 0.0, 0.5, 0.5]", "fractions", shown, "a.jpg")  # begins on the padding above
    assert corners(cut) == pytest.approx((0, 0, 400, 200), abs=1.5)
    assert find_boxes("[0.1, 0.0, 0.9, 0.2]", "fractions", shown, "a.jpg") == ()  # on padding alone


def test_fractions_of_other_views() -> None:
    text = "[0.25, 0.5, 0.75, 1.0]"
    [squashed] = find_boxes(text, "fractions", plan(800, 400, Squash(224, 224, 14)), "a")
    assert corners(squashed) == pytest.approx((200, 200, 600, 400))
    [middle] = find_boxes(text, "fractions", plan(800, 400, CentreCrop(336, 14)), "a")
    assert corners(middle) == pytest.approx((300, 200, 500, 400), abs=1.5)
    tiles = AnyresTiles(336, 14, LLAVA_NEXT_GRIDS, "transformers", None)
    [whole] = find_boxes(text, "fractions", plan(800, 400, tiles), "a")
    assert corners(whole) == pytest.approx((200, 200, 600, 400))


def test_a_label_stands_before_its_box() -> None:
    found = find_boxes(
        "I see two. A red cup: [0.1,0.1,0.2,0.2], the plate [0.3, 0.3, 0.4, 0.4]",
        "fractions",
        plan(336, 336, LETTERBOX),
        "a",
    )
    assert [box.label for box in found] == ["", "the plate"]
    found = find_boxes(
        "猫[0.1, 0.1, 0.2, 0.2]，狗[0.3, 0.3, 0.4, 0.4]：是", "fractions", plan(9, 9, LETTERBOX), "a"
    )
    assert [box.label for box in found] == ["猫", "狗"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no boxes",
        "[0.1, 0.2, 0.3]",
        "[0.1, 0.2, 0.3, 1.4]",
        "[0.5, 0.5, 0.1, 0.9]",
        "[0.5, 0.5, 0.5, 0.9]",
        "[nan, 0, 1, 1]",
        "[1e400, 0, 1, 1]",
        "[0.1, 0.2, 0.3, 0.4",
        '{"bbox_2d": [0.1, 0.2',
    ],
)
def test_malformed_fractions_are_no_boxes(text: str) -> None:
    assert find_boxes(text, "fractions", plan(336, 336, LETTERBOX), "a") == ()


@pytest.mark.parametrize(
    "box",
    [
        '{"bbox_2d": [1, 2, 3], "label": "x"}',
        '{"bbox_2d": "1, 2, 3, 4", "label": "x"}',
        '{"bbox_2d": [true, false, true, true]}',
        '{"bbox_2d": [NaN, 2, 30, 40]}',
        '{"bbox_2d": [1, 2, Infinity, 40]}',
        '{"bbox_2d": [40, 2, 3, 4]}',
        '{"bbox_2d": [100000, 2, 100010, 40]}',
        '{"bbox_2d": null}',
        '{"bbox_2d": [1, 2, 3, 4',
        '{"bbox": [1, 2, 30, 40]}',
        "{bbox_2d: [1, 2, 30, 40]}",
        '{"bbox_2d": ["1", 2, 30, 40]}',
    ],
)
def test_malformed_json_spoils_only_itself(box: str) -> None:
    text = f'[{box}, {{"bbox_2d": [1, 2, 30, 40], "label": 7}}]'
    shown = plan(56, 56, NATIVE)
    assert [corners(one) for one in find_boxes(text, "pixels", shown, "a")] == [(1, 2, 30, 40)]


def test_a_model_that_repeats_itself_points_once() -> None:
    shown = plan(336, 336, LETTERBOX)
    assert len(find_boxes("[0.1, 0.2, 0.3, 0.4] " * 50, "fractions", shown, "a")) == 1
    many = "".join(f"[0.1, 0.2, 0.3, 0.{number:04}] " for number in range(3000, 3000 + 2 * MOST))
    assert len(find_boxes(many, "fractions", shown, "a")) == MOST


@settings(max_examples=60, deadline=None)
@given(text=st.text(), width=st.integers(1, 5000), height=st.integers(1, 5000), number=st.lists(st.floats()))
def test_whatever_is_written_boxes_lie_in_the_picture(
    text: str, width: int, height: int, number: list[float]
) -> None:
    written = f'{text} {number} {{"bbox_2d": {json.dumps(number)}}}{text}'
    for style, policy in (("pixels", NATIVE), ("fractions", LETTERBOX)):
        for box in find_boxes(written, style, plan(width, height, policy), "a"):  # type: ignore[arg-type]
            assert 0 <= box.left < box.right <= width
            assert 0 <= box.top < box.bottom <= height


def test_boxes_are_drawn_on_a_copy() -> None:
    image = Image.new("RGB", (200, 100), "white")
    boxes = [FoundBox(50, 40, 150, 80, "cup", "a"), FoundBox(0, 0, 0.4, 0.4, "杯子", "a")]
    drawn = np.asarray(draw_boxes(image, boxes))
    changed = (drawn != 255).any(axis=2)
    assert changed[60, 50]
    assert changed[60, 149]
    assert not changed[60, 100]  # inside of the box
    assert changed[20:40, 50:80].any()  # its label, above it
    assert not changed[:, 160:].any()
    assert np.asarray(image).min() == 255

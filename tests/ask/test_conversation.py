"""A conversation as events: what command line and page are told, in order, until they stop listening."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

import tiny_answerers as tiny
from sensorium.ask import Answer, Conversation, Piece, Shown, answer
from sensorium.errors import SensoriumError
from sensorium.skills.answer import Answerer, Picture, Settings, load, open_shown


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Answerer:
    root = tmp_path_factory.mktemp("models")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SENSORIUM_HOME", str(root / "home"))
        return load(str(tiny.folder_of("qwen", root)), device="cpu")


def picture(shift: int = 0) -> Picture:
    return Picture.of(tiny.gradient(90, 60, shift), f"picture {shift}")


def test_the_plan_comes_first_then_pieces_then_the_whole_answer(model: Answerer) -> None:
    events = list(answer(model, Conversation().ask("what?", picture()), Settings(most=9)))
    shown, *pieces, last = events
    assert isinstance(shown, Shown)
    assert isinstance(last, Answer)
    assert pieces
    assert all(isinstance(piece, Piece) for piece in pieces)
    assert "".join(piece.text for piece in pieces if isinstance(piece, Piece)).strip() == last.text
    assert last.shown is shown
    assert last.model == shown.model == "tiny-qwen"
    assert shown.picture_tokens == sum(plan.tokens for plan in shown.plans) == 54
    assert shown.places < shown.prompt_tokens < shown.context  # M-RoPE counts a picture by its side
    assert "90 x 60 by native resolution" in shown.plans[0].text
    document = json.loads(json.dumps(last.document()))
    assert document["answer"] == last.text
    assert document["plans"][0]["policy"] == "Native"
    assert document["tokens"]["budget"] is None
    assert str(shown.prompt_tokens) in last.describe()


def test_the_plan_is_told_before_anything_is_computed(
    model: Answerer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(self: Answerer, prompt: object) -> None:
        raise AssertionError("the network was used")

    monkeypatch.setattr(Answerer, "stream", never)
    events = answer(model, Conversation().ask("what?", picture()), Settings())
    assert isinstance(next(events), Shown)
    events.close()


def test_a_conversation_is_a_value(model: Answerer) -> None:
    opening = Conversation().ask("what?", picture(1))
    longer = opening.answered("a cup").ask("and here?", picture(2))
    assert len(opening.turns) == 1
    assert [turn.role for turn in longer.turns] == ["user", "assistant", "user"]
    assert [one.name for one in longer.shown] == ["picture 1", "picture 2"]
    *_, first = answer(model, opening, Settings(most=5))
    *_, second = answer(model, opening.answered("a cup").ask("why?"), Settings(most=5))
    assert isinstance(first, Answer)
    assert isinstance(second, Answer)
    assert first.looked_at == 1
    assert second.looked_at == 0
    assert second.reused_tokens >= first.shown.prompt_tokens


def test_whoever_stops_listening_stops_the_answer(model: Answerer) -> None:
    model.forget()
    events = answer(model, Conversation().ask("what?", picture(3)), Settings(most=100))
    steps: list[int] = []
    decoder = model.network.decoder
    hook = decoder.blocks[0].register_forward_hook(lambda *_: steps.append(1))
    try:
        next(events)
        next(events)
        before = len(steps)
        events.close()
        assert list(events) == []
        assert len(steps) == before < 20
    finally:
        hook.remove()


def test_boxes_of_an_answer_are_in_original_pixels(model: Answerer, tmp_path: Path) -> None:
    path = tmp_path / "large.png"
    tiny.gradient(180, 120).save(path)
    schema = {"const": {"bbox_2d": [0, 0, 36, 24], "label": "cup"}}
    *_, last = answer(model, Conversation().ask("where?", open_shown(path)), Settings(most=80, schema=schema))
    assert isinstance(last, Answer)
    [box] = last.boxes
    [view] = last.shown.plans[0].plan.views
    assert (view.width, view.height) == (72, 48)
    assert (box.left, box.top, box.right, box.bottom) == pytest.approx((0, 0, 90, 60))
    assert (box.label, box.picture) == ("cup", "large.png")


def test_what_cannot_be_answered_yields_nothing(model: Answerer) -> None:
    events = answer(model, Conversation().ask("a" * 600, picture()), Settings())
    with pytest.raises(SensoriumError, match="too many"):
        next(events)

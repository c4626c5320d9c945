"""Answers by graphs with packed weights: the same conversation, the same memory, the same maps."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

import tiny_answerers as tiny
from sensorium.errors import SensoriumError
from sensorium.skills.answer import Answerer, Picture, Settings, Turn, Written, load

Said = tuple[Turn, ...]


def asked(model: Answerer, turns: Said, **settings: object) -> Written:
    stream = model.stream(model.prepare(turns, Settings(most=10, **settings)))  # type: ignore[arg-type]
    while True:
        try:
            next(stream)
        except StopIteration as end:
            written: Written = end.value
            return written


@pytest.mark.parametrize("kind", ["qwen", "mini"])
def test_graphs_in_float32_answer_as_the_network_does(kind: str, tmp_path: Path) -> None:
    folder = str(tiny.folder_of(kind, tmp_path))
    plain, quick = load(folder, device="cpu"), load(folder, device="cpu", weights="float32")
    shown = Picture.of(tiny.gradient(90, 60), "a picture")
    first: Said = (Turn("user", (shown, "what?")),)
    expected, found = asked(plain, first, explain=True), asked(quick, first, explain=True)
    assert found.text == expected.text
    assert [look.name for look in found.looks] == [look.name for look in expected.looks]
    for one, other in zip(found.looks, expected.looks, strict=True):
        assert abs(one.map - other.map).max() < 1e-3
    second: Said = (*first, Turn("assistant", (found.text,)), Turn("user", ("and now?",)))
    expected, found = asked(plain, second), asked(quick, second)
    assert found.text == expected.text
    assert found.looked_at == 0
    assert found.reused_tokens == expected.reused_tokens > 0


def test_eight_bits_answer_and_say_how_far_they_are(tmp_path: Path) -> None:
    model = load(str(tiny.folder_of("mini", tmp_path)), device="cpu", weights="w8")
    shown = Picture.of(tiny.gradient(90, 60), "a picture")
    assert asked(model, (Turn("user", (shown, "what?")),)).tokens > 0
    drift = getattr(model.decoder, "drift")  # noqa: B009 - graphs are called as a decoder, and have more
    assert 0.98 <= drift.cosine <= 1


def test_graphs_are_for_the_processor_in_float32(tmp_path: Path) -> None:
    folder = str(tiny.folder_of("mini", tmp_path))
    with pytest.raises(SensoriumError, match="w8 weights are for the processor, with --dtype float32"):
        load(folder, device="cpu", dtype="bfloat16", weights="w8")

"""Answers about pictures: what the networks read, what is remembered, films, settings, explanations."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

import tiny_answerers as tiny
from sensorium.media.resized import carry_out, normalise
from sensorium.models.llava import Llava
from sensorium.sampling.generate import read, write
from sensorium.sampling.pick import Sampling
from sensorium.skills.answer import Answerer, Film, Picture, Settings, Turn, Written, draw_look, load
from sensorium.skills.answer import answerer as answering

TALKING = ("llava", "next", "qwen", "mini")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Answerer]:
    root = tmp_path_factory.mktemp("models")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SENSORIUM_HOME", str(root / "home"))
        return {kind: load(str(tiny.folder_of(kind, root)), device="cpu") for kind in tiny.CONFIGS}


@pytest.fixture(autouse=True)
def _anew(models: dict[str, Answerer]) -> None:
    for model in models.values():
        model.forget()


def asked(model: Answerer, *turns: Turn, **settings: object) -> Written:
    """The whole answer; its pieces must add up to its text."""
    prompt = model.prepare(turns, Settings(**{"most": 12, **settings}))  # type: ignore[arg-type]
    pieces, stream = [], model.stream(prompt)
    while True:
        try:
            pieces.append(next(stream))
        except StopIteration as end:
            written: Written = end.value
            assert "".join(pieces).strip() == written.text
            return written


def user(*parts: str | Picture | Film) -> Turn:
    return Turn("user", parts)


def picture(shift: int = 0, width: int = 90, height: int = 60) -> Picture:
    return Picture.of(tiny.gradient(width, height, shift), f"picture {shift}")


@contextmanager
def counted(model: Answerer) -> Iterator[dict[str, int]]:
    """How often the tower looks, and how many tokens the decoder reads in one go."""
    network = model.network
    counts = {"looks": 0, "read": 0}
    see, forward = network.see, network.decoder.forward

    def seen(*arguments: object) -> object:
        counts["looks"] += 1
        return see(*arguments)

    def reading(embeds: torch.Tensor, *arguments: object, **named: object) -> object:
        counts["read"] += embeds.shape[1] if embeds.shape[1] > 1 else 0
        return forward(embeds, *arguments, **named)

    network.see, network.decoder.forward = seen, reading  # type: ignore[method-assign, assignment]
    try:
        yield counts
    finally:
        del network.see, network.decoder.forward


@pytest.mark.parametrize("kind", tiny.CONFIGS)
def test_a_picture_changes_the_answer_and_the_seed_repeats_it(models: dict[str, Answerer], kind: str) -> None:
    draws = Sampling(temperature=1.0, seed=3)
    first = asked(models[kind], user(picture(), "what?"), sampling=draws)
    models[kind].forget()
    assert asked(models[kind], user(picture(), "what?"), sampling=draws).text == first.text
    other = asked(models[kind], user(picture(100), "what?"), sampling=draws)
    another = asked(models[kind], user(picture(), "what?"), sampling=Sampling(temperature=1.0, seed=4))
    assert len({first.text, other.text, another.text}) == 3
    assert first.looked_at == other.looked_at == 1
    assert another.looked_at == 0


@torch.no_grad()
def test_the_network_reads_what_was_said_with_the_pictures_in_their_places(
    models: dict[str, Answerer],
) -> None:
    model = models["llava"]
    network, spec = model.network, model.eyes.spec
    assert isinstance(network, Llava)
    turns = (user(picture(1), "a"), Turn("assistant", ("b",)), user("c", picture(2), "d"))
    prompt = model.prepare(turns, Settings(most=6))
    letters = {letter: model.vocabulary.encode(letter, enclose=False)[0] for letter in "abcd"}
    says, bot = (tiny.BEGIN + tiny.SPECIAL.index(word) for word in ("<|user|>", "<|bot|>"))
    shown = [tiny.IMAGE] * 16
    expected = [tiny.BEGIN, says, *shown, letters["a"], bot, letters["b"], tiny.END]
    expected += [says, letters["c"], *shown, letters["d"], bot]
    assert list(prompt.layout.ids) == expected
    seen = []
    for item in prompt.items:
        [view] = carry_out(item.pictures[0].load(), item.plan, spec.resample, spec.fill)
        seen.append(network.see(torch.from_numpy(normalise(view, spec))[None])[0])
    reading = read(network.decoder, network.prompt(torch.tensor([expected]), seen))
    ids = list(write(network.decoder, reading, Sampling(), most=6, end_ids=model.end_ids))
    assert asked(model, *turns, most=6).text == model.vocabulary.decode(ids).strip()


@pytest.mark.parametrize("kind", TALKING)
def test_a_second_question_skips_the_tower_and_the_shared_prefix(
    models: dict[str, Answerer], kind: str
) -> None:
    model, shown = models[kind], picture()
    first = asked(model, user(shown, "what is it?"))
    turns = (user(shown, "what is it?"), Turn("assistant", ("a cup",)), user("what colour?"))
    with counted(model) as counts:
        second = asked(model, *turns)
    shared = first.prompt_tokens
    assert counts["looks"] == second.looked_at == 0
    assert shared <= second.reused_tokens < second.prompt_tokens
    assert counts["read"] == second.prompt_tokens - second.reused_tokens
    model.forget()
    with counted(model) as counts:
        anew = asked(model, *turns)
    assert counts["looks"] == (2 if kind == "next" else 1)  # its five views, four at a time
    assert anew.looked_at == 1
    assert counts["read"] == anew.prompt_tokens == second.prompt_tokens
    assert anew.text == second.text


@pytest.mark.parametrize("kind", TALKING)
def test_another_question_about_the_same_picture_reads_the_words_alone(
    models: dict[str, Answerer], kind: str
) -> None:
    model = models[kind]
    asked(model, user(picture(), "what is it?"))
    with counted(model) as counts:
        other = asked(model, user(picture(), "how many?"))  # opened again: the same content
    assert counts["looks"] == 0
    assert other.prompt_tokens - other.reused_tokens <= len("how many?") + 1
    model.forget()
    assert asked(model, user(picture(), "how many?")).text == other.text


def test_conversations_in_turns_do_not_disturb_each_other(models: dict[str, Answerer]) -> None:
    model = models["llava"]
    openings = [(user(picture(shift), "a"), Turn("assistant", ("b",))) for shift in (1, 2)]
    expected = []
    for opening in openings:
        model.forget()
        expected.append(asked(model, *opening, user("c")).text)
    model.forget()
    streams = [model.stream(model.prepare((*one, user("c")), Settings(most=12))) for one in openings]
    pieces: list[list[str]] = [[], []]
    waiting = [0, 1]
    while waiting:
        for number in list(waiting):
            piece = next(streams[number], None)
            if piece is None:
                waiting.remove(number)
            else:
                pieces[number].append(piece)
    assert ["".join(one).strip() for one in pieces] == expected


def test_an_answer_that_is_stopped_leaves_its_prompt_known(models: dict[str, Answerer]) -> None:
    model = models["qwen"]
    stream = model.stream(model.prepare((user(picture(), "what?"),), Settings(most=50)))
    next(stream)
    stream.close()
    again = asked(model, user(picture(), "what?"))
    assert again.looked_at == 0
    assert again.reused_tokens == again.prompt_tokens - 1
    model.forget()
    assert asked(model, user(picture(), "what?")).text == again.text


def test_instructblip_looks_again_for_another_question(models: dict[str, Answerer]) -> None:
    shown = picture()
    assert asked(models["instruct"], user(shown, "what?")).looked_at == 1
    assert asked(models["instruct"], user(shown, "who?")).looked_at == 1
    assert asked(models["instruct"], user(shown, "who?")).looked_at == 0
    assert asked(models["blip2"], user(shown, "what?")).looked_at == 1
    assert asked(models["blip2"], user(shown, "who?")).looked_at == 0


def test_blip2_writes_a_caption_when_nothing_is_asked(models: dict[str, Answerer]) -> None:
    prompt = models["blip2"].prepare((user(picture(), ""),), Settings())
    assert list(prompt.layout.ids) == [-1] * 5 + [tiny.BEGIN]


def test_a_budget_makes_a_native_picture_smaller(models: dict[str, Answerer]) -> None:
    large = picture(0, 200, 150)
    whole = models["qwen"].prepare((user(large, "x"),), Settings())
    small = models["qwen"].prepare((user(large, "x"),), Settings(budget=20))
    assert sum(item.tokens for item in whole.items) == 54
    assert 10 <= sum(item.tokens for item in small.items) <= 20
    assert len(small.layout.ids) == len(whole.layout.ids) - 54 + small.items[0].tokens
    assert "chosen because" in small.items[0].describe()
    assert asked(models["qwen"], user(large, "x"), budget=20).looked_at == 1


def test_a_film_has_its_own_tokens_and_seconds_for_qwen(models: dict[str, Answerer], tmp_path: Path) -> None:
    film = Film.open(tiny.film(tmp_path / "film.mp4", 8.0))
    prompt = models["qwen"].prepare((user(film, "what happens?"),), Settings())
    [item] = prompt.items
    assert item.kind == "video"
    assert len(item.pictures) == 8
    assert item.seconds == pytest.approx(2.0, abs=0.1)
    assert prompt.layout.ids.count(tiny.VIDEO) == item.tokens == 4 * item.plan.tokens
    assert prompt.positions is not None
    times = prompt.positions[0, slice(*prompt.layout.spans[0])].unique()
    assert times.diff().tolist() == [4, 4, 4]  # two seconds at two positions a second
    assert "8 frames of 8.0 s, one every 1.0 seconds" in prompt.notes[0]
    first = asked(models["qwen"], user(film, "what happens?"))
    assert asked(models["qwen"], user(film, "when?")).looked_at == 0
    assert first.looked_at == 1


def test_a_film_is_several_pictures_for_others(models: dict[str, Answerer], tmp_path: Path) -> None:
    film = Film.open(tiny.film(tmp_path / "film.mp4", 8.0))
    prompt = models["llava"].prepare((user(film, "what happens?"),), Settings())
    assert len(prompt.items) == 8
    assert prompt.layout.ids.count(tiny.IMAGE) == 8 * 16
    few = models["llava"].prepare((user(film, "what happens?"),), Settings(budget=50))
    assert [item.name for item in few.items] == [
        "film.mp4 at 1.0 s",
        "film.mp4 at 4.0 s",
        "film.mp4 at 6.0 s",
    ]
    pair = models["mini"].prepare((user(film, "what happens?"),), Settings())
    assert len(pair.items) == 2


@pytest.mark.parametrize("kind", ["qwen", "llava"])
def test_a_film_of_one_frame(models: dict[str, Answerer], kind: str, tmp_path: Path) -> None:
    film = Film.open(tiny.film(tmp_path / "one.mp4", 0.5))
    assert len(film.frames) == 1
    prompt = models[kind].prepare((user(film, "what?"),), Settings())
    assert "one frame" in prompt.notes[0]
    assert asked(models[kind], user(film, "what?")).looked_at == 1


def test_stop_strings_and_a_schema(models: dict[str, Answerer]) -> None:
    model, draws = models["qwen"], Sampling(temperature=1.0, seed=1)
    schema = {
        "type": "object",
        "properties": {"red": {"type": "boolean"}, "count": {"enum": [1, 2, 3]}},
        "required": ["red", "count"],
        "additionalProperties": False,
    }
    text = asked(model, user(picture(), "x"), schema=schema, most=60, sampling=draws).text
    found = json.loads(text)
    assert isinstance(found["red"], bool)
    assert found["count"] in (1, 2, 3)
    cut = asked(model, user(picture(), "x"), schema=schema, most=60, sampling=draws, stops=('"count"',))
    assert cut.reason == "stop"
    assert cut.text == text.split('"count"')[0].strip()


@pytest.mark.parametrize(
    ("kind", "parts"),
    [
        ("llava", {"tower": 2, "answer": 2}),
        ("next", {"tower": 2, "answer": 2}),
        ("qwen", {"tower": 1, "answer": 2}),
        ("mini", {"tower": 3, "answer": 2}),
        ("blip2", {"tower": 2, "connector": 2}),
        ("instruct", {"tower": 2, "connector": 2}),
    ],
)
def test_it_shows_where_it_looked(models: dict[str, Answerer], kind: str, parts: dict[str, int]) -> None:
    shown = picture()
    answer = asked(models[kind], user(shown, "what?"), explain=True)
    assert {part: sum(look.part == part for look in answer.looks) for part in parts} == parts
    assert len(answer.looks) == sum(parts.values())
    plain = np.asarray(shown.load())
    for look in answer.looks:
        assert look.map.dtype == np.float32
        assert (look.map >= 0).all()
        assert 0 < look.map.sum() <= 1.001
        left, top, right, bottom = look.covers
        assert left <= 0.01
        assert top <= 0.01
        assert right >= 89.99
        assert bottom >= 59.99
        drawn = draw_look(shown.load(), look)
        assert drawn.size == (90, 60)
        assert (np.asarray(drawn) != plain).any(axis=2).mean() > 0.9
    assert np.array_equal(np.asarray(shown.load()), plain)
    models[kind].forget()
    assert asked(models[kind], user(shown, "what?")).text == answer.text  # looking changes nothing


def test_the_map_of_the_tower_is_that_of_its_class_token(models: dict[str, Answerer]) -> None:
    model, shown = models["llava"], picture(0, 60, 60)
    looks = asked(model, user(shown, "what?"), explain=True).looks
    spec, [item] = model.eyes.spec, model.prepare((user(shown, "what?"),), Settings()).items
    [view] = carry_out(shown.load(), item.plan, spec.resample, spec.fill)
    network = model.network
    assert isinstance(network, Llava)
    with torch.no_grad():
        maps = network.vision.attention_maps(torch.from_numpy(normalise(view, spec))[None])
    expected = maps[1][0].mean(dim=0)[0, 1:].reshape(4, 4).numpy()
    late = [look for look in looks if look.part == "tower"][-1]
    assert np.allclose(late.map, expected, atol=1e-6)


@torch.no_grad()
@pytest.mark.parametrize("kind", ["llava", "qwen"])
def test_the_looks_of_a_decoder_are_those_that_it_answers_with(
    models: dict[str, Answerer], kind: str
) -> None:
    decoder = models[kind].network.decoder
    embeds = torch.randn(1, 9, 40, generator=torch.Generator().manual_seed(2))
    _, cache = decoder(embeds[:, :6])
    behind = decoder.looks(embeds[:, 6:], cache=cache, layers=[0, 1])
    whole = decoder.looks(embeds, cache=decoder(embeds[:, :1])[1].crop(0), layers=[0, 1])
    for part, full in zip(behind, whole, strict=True):
        assert torch.allclose(part, full[:, :, 6:], atol=1e-6)
        assert torch.allclose(full.sum(-1), torch.ones(()), atol=1e-5)
        assert full.triu(1).abs().max() == 0
    assert cache.length == 6
    block = decoder.blocks[0]
    values = block.attention.v(block.norm1(embeds)).unflatten(-1, (-1, decoder.config.head_dim))
    heads = decoder.config.heads // decoder.config.kv_heads
    read_ = whole[0] @ values.transpose(1, 2).repeat_interleave(heads, dim=1)
    x = embeds + block.attention.out(read_.transpose(1, 2).flatten(2))
    alone = type(decoder)(decoder.config)
    alone.load_state_dict(decoder.state_dict())
    alone.blocks = alone.blocks[:1]
    alone.norm = None
    expected, _ = alone(embeds, cache=cache.crop(0))
    assert torch.allclose(x + block.mlp(block.norm2(x)), expected, atol=1e-5)


def test_what_is_kept_of_pictures_and_conversations_has_limits(
    models: dict[str, Answerer], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = models["llava"]
    monkeypatch.setattr(answering, "SEEN_BYTES", 3 * 16 * 40 * 4)
    for shift in range(6):
        asked(model, user(picture(shift), "what?"), most=1)
    assert asked(model, user(picture(5), "who?"), most=1).looked_at == 0
    assert asked(model, user(picture(0), "who?"), most=1).looked_at == 1
    assert len(model._remembered) <= answering.REMEMBERED


def test_a_plan_and_its_price_are_told(models: dict[str, Answerer]) -> None:
    for kind, model in models.items():
        [item] = model.prepare((user(picture(), "what?"),), Settings()).items
        assert re.search(r"90 x 60 by .* tokens", item.describe()), kind


def test_a_llava_that_keeps_class_tokens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SENSORIUM_HOME", str(tmp_path / "home"))
    folder = tiny.folder_of("llava", tmp_path)
    raw = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(raw | {"vision_feature_select_strategy": "full"}))
    answer = asked(load(str(folder), device="cpu"), user(picture(), "what?"), explain=True)
    assert answer.prompt_tokens == 17 + len("what?") + 3
    assert "17 tokens are read of it" in answer_plan(folder)
    assert [look.map.shape for look in answer.looks] == [(4, 4)] * 4


def answer_plan(folder: Path) -> str:
    prompt = load(str(folder), device="cpu").prepare((user(picture(), "what?"),), Settings())
    return prompt.items[0].describe()

"""What cannot be answered: one line that says what is wrong, by how much, and what to do."""

from __future__ import annotations

import sys
from fractions import Fraction
from pathlib import Path

import pytest
import torch
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]))

import tiny_answerers as tiny
from sensorium.errors import BadImageError, ModelNotFoundError, SensoriumError
from sensorium.models.decoder import DecoderConfig
from sensorium.skills.answer import Answerer, Film, Picture, Settings, Turn, load, memory, open_shown
from sensorium.skills.answer.languages import foreign_script, languages_of


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Answerer]:
    root = tmp_path_factory.mktemp("models")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SENSORIUM_HOME", str(root / "home"))
        card = "license: mit\nlanguage: [en, zh]"
        return {kind: load(str(tiny.folder_of(kind, root, card=card)), device="cpu") for kind in tiny.CONFIGS}


def user(*parts: str | Picture | Film) -> Turn:
    return Turn("user", parts)


def refused(model: Answerer, *turns: Turn, **settings: object) -> str:
    with pytest.raises(SensoriumError) as caught:
        model.prepare(turns, Settings(**settings))  # type: ignore[arg-type]
    line = str(caught.value)
    assert "\n" not in line
    return line


def answered(model: Answerer, *turns: Turn) -> None:
    assert len(list(model.stream(model.prepare(turns, Settings(most=20))))) > 0


def picture(shift: int = 0) -> Picture:
    return Picture.of(tiny.gradient(40, 30, shift), f"picture {shift}")


def test_no_picture_where_one_is_needed(models: dict[str, Answerer]) -> None:
    for kind in ("mini", "blip2", "instruct"):
        assert "show it one" in refused(models[kind], user("what is it?"))
    answered(models["llava"], user("hello"))


def test_no_question(models: dict[str, Answerer]) -> None:
    assert "no question" in refused(models["llava"])
    assert "no question" in refused(models["llava"], user(picture(), "a"), Turn("assistant", ("b",)))
    assert "question is empty" in refused(models["llava"], user(picture(), "  "))


def test_three_hundred_pictures(models: dict[str, Answerer], monkeypatch: pytest.MonkeyPatch) -> None:
    def load_never(self: Picture) -> Image.Image:
        raise AssertionError("pixels were decoded of pictures that do not fit")

    monkeypatch.setattr(Picture, "load", load_never)
    pictures = [picture()] * 300
    line = refused(models["llava"], user(*pictures, "which?"))
    taken = 300 * 16 + len("which?") + 3 + 1  # first token, two marks, one place for an answer
    assert f"takes {taken} places of a context of 512, {taken - 512} too many" in line
    assert "300 pictures take 4800 of them, and 31 would fit" in line
    assert "sees at most 2 pictures at once, not 300" in refused(models["mini"], user(*pictures, "which?"))
    assert "sees at most 1 picture at once, not 300" in refused(models["blip2"], user(*pictures, "which?"))


def test_as_many_as_it_said_fit_and_one_more_does_not(models: dict[str, Answerer]) -> None:
    answered(models["llava"], user(*[picture()] * 31, "which?"))
    assert "31 would fit" in refused(models["llava"], user(*[picture()] * 32, "which?"))


def test_too_many_words(models: dict[str, Answerer]) -> None:
    line = refused(models["llava"], user("a" * 600))
    assert "takes 604 places of a context of 512, 92 too many" in line
    assert "shorten" in line
    beside = refused(models["llava"], user(picture(), "a" * 600))
    assert "108 too many: shorten the words" in beside


def test_one_bad_picture_among_several_is_named(models: dict[str, Answerer], tmp_path: Path) -> None:
    whole = tmp_path / "whole.png"
    tiny.gradient(60, 40).save(whole)
    broken = tmp_path / "broken.png"
    broken.write_bytes(whole.read_bytes()[:-60])
    shown = [open_shown(whole), open_shown(broken), open_shown(whole)]
    with pytest.raises(BadImageError, match=r"^broken\.png: "):
        models["llava"].prepare((user(*shown, "what?"),), Settings())
    (tmp_path / "words.txt").write_text("hello")
    with pytest.raises(BadImageError, match=r"^words\.txt: "):
        open_shown(tmp_path / "words.txt")
    with pytest.raises(BadImageError, match=r"^none\.png: "):
        open_shown(tmp_path / "none.png")


def test_a_damaged_film(tmp_path: Path) -> None:
    film = tiny.film(tmp_path / "film.mp4", 4.0)
    film.write_bytes(film.read_bytes()[:900])
    with pytest.raises(BadImageError, match=r"^film\.mp4: "):
        open_shown(film)


def test_a_film_of_two_hours_is_sampled_and_said_how(models: dict[str, Answerer], tmp_path: Path) -> None:
    film = open_shown(tiny.film(tmp_path / "long.mp4", 7200.0, rate=Fraction(1, 60)))
    assert isinstance(film, Film)
    assert film.duration == pytest.approx(7200, rel=0.02)
    assert len(film.frames) == 24
    gaps = [b - a for a, b in zip(film.times, film.times[1:], strict=False)]
    assert 180 <= min(gaps) <= max(gaps) <= 420
    prompt = models["qwen"].prepare((user(film, "what?"),), Settings())
    assert "24 frames of 2:00:00, one every 300.0 seconds" in prompt.notes[0]
    assert "times closer" in prompt.notes[0]  # 14,400 positions in a context of 512
    assert prompt.places < 512
    assert prompt.items[0].seconds > 0


@pytest.mark.parametrize("kind", tiny.CONFIGS)
@pytest.mark.parametrize("size", [(1, 10_000), (10_000, 1), (1, 1)])
def test_a_strip_goes_through_a_plan(models: dict[str, Answerer], kind: str, size: tuple[int, int]) -> None:
    if kind == "llava":  # fills the whole square of 10,000 a side first, as its authors do: seconds
        size = (min(size[0], 1500), min(size[1], 1500))
    strip = Picture.of(Image.new("RGB", size, (200, 30, 90)), "strip.png")
    prompt = models[kind].prepare((user(strip, "what?"),), Settings(most=3, explain=True))
    assert sum(item.tokens for item in prompt.items) == prompt.layout.spans[-1][1] - prompt.layout.spans[0][0]
    list(models[kind].stream(prompt))


def test_what_is_not_shown_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SENSORIUM_HOME", str(tmp_path / "home"))
    folder = tiny.folder_of("llava", tmp_path)
    declared = (folder / "preprocessor_config.json").read_text()
    declared = declared.replace('"do_pad": true', '"do_pad": false')
    (folder / "preprocessor_config.json").write_text(declared)
    prompt = load(str(folder)).prepare((user(picture(), "what?"),), Settings())
    assert "not all of it is shown" in prompt.notes[0]


def test_blip2_knows_no_conversation_and_no_film(models: dict[str, Answerer], tmp_path: Path) -> None:
    turns = (user(picture(), "what?"), Turn("assistant", ("a",)), user("why?"))
    assert "remembers no conversation" in refused(models["blip2"], *turns)
    film = open_shown(tiny.film(tmp_path / "film.mp4", 2.0))
    assert "no film" in refused(models["blip2"], user(film, "what?"))
    assert "at most 40" in refused(models["instruct"], user(picture(), "long " * 20))


def test_a_budget_that_the_model_cannot_keep(models: dict[str, Answerer]) -> None:
    line = refused(models["llava"], user(picture(), "what?"), budget=10)
    assert "picture 0" in line
    assert "16" in line
    line = refused(models["blip2"], user(picture(), "what?"), budget=4)
    assert "5 tokens" in line


def test_the_mark_of_a_picture_in_the_words(models: dict[str, Answerer]) -> None:
    line = refused(models["llava"], user(picture(), "what does <image> mean?"))
    assert "2 places where pictures go, for 1 of them" in line


@pytest.mark.parametrize(
    ("question", "script"),
    [
        ("Что это такое?", "Cyrillic"),
        ("ما هذا؟", "Arabic"),
        ("これは何ですか", "Japanese kana"),
        ("이게 뭐예요?", "Hangul"),
        ("τι είναι αυτό;", "Greek"),
    ],
)
def test_a_language_that_the_model_lacks(models: dict[str, Answerer], question: str, script: str) -> None:
    line = refused(models["mini"], user(picture(), question))
    assert script in line
    assert "(en, zh)" in line
    models["mini"].prepare((user(picture(), question),), Settings(force=True))


@pytest.mark.parametrize(
    "question",
    ["what is it?", "这是什么？", "what does “Привет” on the sign mean?", "is π > 3? 42!", "Où est-ce?"],
)
def test_a_language_that_it_has_or_may_have(models: dict[str, Answerer], question: str) -> None:
    models["mini"].prepare((user(picture(), question),), Settings())


@pytest.mark.parametrize(
    ("front", "languages"),
    [
        ("language: en", ("en",)),
        ("language:\n- en\n- zh\nlicense: mit", ("en", "zh")),
        ('language: ["en", "zh-CN"]', ("en", "zh")),
        ("license: mit", ()),
    ],
)
def test_languages_of_a_card(front: str, languages: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text(f"---\n{front}\n---\nlanguage: ru\n", "utf-8")
    assert languages_of(tmp_path) == languages


def test_who_says_nothing_or_everything_refuses_nothing() -> None:
    assert foreign_script("Что это?", ()) is None
    assert foreign_script("Что это?", ("multilingual",)) is None
    assert foreign_script("Что это?", ("ru",)) is None
    assert foreign_script("这是什么", ("en",)) == "Chinese characters"


def test_too_little_memory_is_said_before_anything_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SENSORIUM_HOME", str(tmp_path / "home"))
    model = load(str(tiny.folder_of("qwen", tmp_path)), device="cpu")
    monkeypatch.setattr(memory, "available", lambda: 50_000_000)
    line = refused(model, user(picture(), "what?"))
    assert "needs about 0.3 GB" in line
    assert "0.1 GB are free" in line
    assert "--force" in line
    assert model._network is None
    model.prepare((user(picture(), "what?"),), Settings(force=True))
    monkeypatch.setattr(memory, "available", lambda: None)  # nobody knows: nothing is refused
    model.prepare((user(picture(), "what?"),), Settings())


def test_what_memory_is_counted() -> None:
    network = load_config()
    # 2 x 28 layers x 4 heads x 128 values x 2 bytes = 57,344 bytes a token, as the 7B checkpoint is known for
    assert memory.cache_bytes(network, 1000, 2) == 57_344_000
    few, many = (memory.activation_bytes(network, count, 2) for count in (100, 1000))
    assert 9 < (many - 4 * network.vocabulary) / (few - 4 * network.vocabulary) < 11
    have = memory.available()
    assert have is not None
    assert 0 < have < 1e14


def load_config() -> DecoderConfig:
    from sensorium.weights.maps.decoder import read_config

    return read_config(
        {
            "model_type": "qwen2",
            "vocab_size": 152_064,
            "hidden_size": 3584,
            "intermediate_size": 18_944,
            "num_hidden_layers": 28,
            "num_attention_heads": 28,
            "num_key_value_heads": 4,
            "max_position_embeddings": 32_768,
            "rms_norm_eps": 1e-6,
            "rope_theta": 1e6,
            "tie_word_embeddings": False,
        }
    )


def test_a_group_of_processes_may_have_less_than_the_machine(tmp_path: Path) -> None:
    (tmp_path / "memory.max").write_text("1000\n")
    (tmp_path / "memory.current").write_text("700\n")
    (tmp_path / "memory.stat").write_text("anon 500\ninactive_file 150\n")
    assert memory._of_group(tmp_path) == 450
    (tmp_path / "memory.max").write_text("max\n")
    assert memory._of_group(tmp_path) is None
    assert memory._of_group(tmp_path / "none") is None


def test_models_of_another_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SENSORIUM_HOME", str(tmp_path / "home"))
    with pytest.raises(SensoriumError, match="answers no questions about pictures"):
        load("sensorium/mini-clip")
    with pytest.raises(ModelNotFoundError, match="owner/name"):
        load("owner/name")


def test_weights_that_do_not_fit_the_preparation(models: dict[str, Answerer]) -> None:
    model = models["mini"]
    prompt = model.prepare((user(picture(9), "what?"),), Settings())
    see = model.network.see
    model.network.see = lambda pixels: see(pixels)[:, 1:]  # type: ignore[assignment]
    try:
        with pytest.raises(SensoriumError, match="15 tokens where its plan has 16"):
            list(model.stream(prompt))
    finally:
        del model.network.see
    assert torch.is_grad_enabled()

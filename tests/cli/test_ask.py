"""``sensorium ask`` as people type it, with a tiny model of random weights behind --model."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]))

import tiny_answerers as tiny

DRAWN = Path(__file__).parents[2] / "examples" / "drawn"


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("models")
    return {
        kind: tiny.folder_of(kind, root, card="language: [en, zh]") for kind in ("qwen", "llava", "blip2")
    }


@pytest.fixture
def cup(home) -> Path:
    path = home / "cup.png"
    tiny.gradient(90, 60).save(path)
    return path


def test_one_question(sensorium, folders, cup):
    asked = sensorium("ask", cup, "what is it?", "--model", folders["qwen"], "--most", 5)
    assert asked.code == 0
    assert asked.out.strip()
    assert "tokens" not in asked.out
    for told in ("model tiny-qwen", "cup.png: 90 x 60 by native resolution", "54 of pictures", "places"):
        assert told in asked.err


def test_the_question_may_come_first_and_json_is_one_document(sensorium, folders, cup):
    asked = sensorium("ask", "what is it?", cup, "--json", "--model", folders["qwen"], "--most", 5)
    behind = sensorium("ask", cup, "what is it?", "--json", "--model", folders["qwen"], "--most", 5)
    assert asked.err == ""
    assert asked.json["answer"] == behind.json["answer"]
    assert asked.json["model"] == "tiny-qwen"
    assert asked.json["plans"][0]["name"] == "cup.png"
    assert asked.json["tokens"]["pictures"] == 54


def test_settings_reach_the_model(sensorium, folders, cup):
    common = ("ask", cup, "what?", "--json", "--model", folders["qwen"], "--most", 12, "--temperature", 1)
    texts = [sensorium(*common, "--seed", seed).json["answer"] for seed in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]
    small = sensorium(*common, "--tokens", 20).json
    assert small["tokens"]["budget"] == 20
    assert small["tokens"]["pictures"] <= 20


def test_a_schema_boxes_and_maps(sensorium, folders, cup, home):
    schema = home / "schema.json"
    schema.write_text(json.dumps({"const": {"bbox_2d": [18, 12, 54, 36], "label": "cup"}}))
    options = ("--schema", schema, "--boxes", "drawn.png", "--explain", "maps", "--most", 80)
    asked = sensorium("ask", cup, "where?", "--json", "--model", folders["qwen"], *options)
    assert asked.code == 0, asked.err
    [box] = asked.json["boxes"]
    assert box == {"box": [22.5, 15.0, 67.5, 45.0], "label": "cup", "picture": "cup.png"}
    with Image.open(home / "drawn.png") as drawn, Image.open(cup) as original:
        assert drawn.size == original.size
        assert drawn.convert("RGB").getpixel((22, 30)) != original.getpixel((22, 30))
    files = {Path(look["file"]).name for look in asked.json["looks"]}
    assert files == {path.name for path in (home / "maps").iterdir()}
    assert files == {"tower-02.png", "answer-01.png", "answer-02.png"}


def test_several_pictures_and_a_film(sensorium, folders, cup, home):
    film = tiny.film(home / "film.mp4", 3.0)
    asked = sensorium("ask", cup, film, "what happens?", "--json", "--model", folders["qwen"], "--most", 3)
    assert asked.code == 0, asked.err
    assert [plan["kind"] for plan in asked.json["plans"]] == ["image", "video"]
    assert "2 frames of 3.0 s" in asked.json["notes"][0]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("missing.png", "what?"), "missing.png: no such file"),
        (("CUP", "two", "questions"), "put the question in quotes"),
        (("CUP",), "there is no question"),
        (("CUP", "Что это?"), "Cyrillic"),
        (("CUP", "what?", "--boxes", "out.jpg"), "name a .png file"),
        (("CUP", "what?", "--boxes", "CUP"), "the picture itself"),
        (("CUP", "what?", "--explain", "."), "no empty folder"),
        (("CUP", "what?", "--schema", "CUP"), "is no JSON"),
        (("CUP", "what?", "--temperature", "-1"), "temperature must be 0 or more"),
        (("CUP", "what?", "--tokens", "2", "--model", "LLAVA"), "16"),
        (("CUP", "what?", "--model", "BLIP", "CUP"), "sees at most 1 picture"),
        (("CUP", "what?", "--model", "owner/name"), "owner/name is not on this machine"),
    ],
)
def test_bad_requests_are_one_line(sensorium, folders, cup, home, arguments, line):
    names = {"CUP": str(cup), "LLAVA": str(folders["llava"]), "BLIP": str(folders["blip2"])}
    given = [names.get(one, one) for one in arguments]
    if "--model" not in given:
        given += ["--model", str(folders["qwen"])]
    refused = sensorium("ask", *given)
    assert refused.code == 2
    assert refused.out == ""
    [told] = refused.err.splitlines()
    assert line in told
    assert sorted(path.name for path in home.iterdir() if path.name != "home") == ["cup.png"]


def test_a_corrupt_picture_is_named(sensorium, folders, cup, home):
    (home / "broken.png").write_bytes(cup.read_bytes()[:-60])
    refused = sensorium("ask", cup, home / "broken.png", "what?", "--model", folders["qwen"])
    assert refused.code == 2
    assert refused.err.startswith("sensorium: broken.png: ")


class Terminal(io.StringIO):
    """What a person types."""

    def isatty(self) -> bool:
        return True


def test_a_conversation_on_the_terminal(sensorium, folders, cup, home, monkeypatch):
    tiny.gradient(60, 60, 90).save(home / "other.png")
    typed = "what is it?\nwhy?\n/image nowhere.png\n/image other.png\nand this?\n\n/new\nwhat?\n/quit\n"
    monkeypatch.setattr(sys, "stdin", Terminal(typed))
    talked = sensorium("ask", cup, "--model", folders["qwen"], "--most", 3)
    assert talked.code == 0
    assert len(talked.out.strip().splitlines()) >= 4
    assert talked.err.count("model tiny-qwen") == 4
    assert "known already" in talked.err
    assert "nowhere.png" in talked.err
    assert "other.png: 60 x 60" in talked.err


def test_a_model_of_one_picture_begins_anew_with_another(sensorium, monkeypatch):
    typed = f"How many signs are there?\n/image {DRAWN / 'butterfly.jpg'}\nIs there a boat?\n/help\n"
    monkeypatch.setattr(sys, "stdin", Terminal(typed))
    talked = sensorium("ask", DRAWN / "signs.jpg")
    assert talked.code == 0
    assert talked.out.split("\n")[:2] == ["number of signs: 2", "a boat: yes"]
    assert "a new conversation" in talked.err
    assert "no command /help; /image FILE shows" in talked.err
    assert "sensorium: " not in talked.err


def test_an_answer_cannot_give_orders_to_the_terminal():
    from sensorium.cli.ask import _plain

    assert _plain("a\x1b[2Jb\u009bc\r\n\t杯") == "a[2Jbc\n\t杯"


def test_help_is_light():
    program = (
        "import sys; from sensorium.cli.main import app; import sensorium.cli.ask; "
        "print([one for one in ('torch', 'numpy', 'PIL') if one in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"

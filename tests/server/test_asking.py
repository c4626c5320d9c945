"""Asking over HTTP, with a model whose answers are known: conversations, places, refusals, stopping."""

from __future__ import annotations

import base64
import json
import time

import numpy as np
import pytest
from asking_fakes import SLOW, WORDS
from cutting_fakes import DiscCutter
from photo_fakes import Models
from PIL import ExifTags, Image
from serving import application, index, local_client, make_library, problem, stranger, token_of

from sensorium.server.api.asking import MOST_LETTERS, MOST_TURNS
from sensorium.server.app import create_app
from sensorium.server.settings import ServerSettings
from sensorium.server.tasks import asking as asking_module

API = "/api/v1"
WIDTH, HEIGHT = 5000, 1500
"""Wider than what the model is shown, so that places must be told in pixels of the original."""


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """A library of a large photo, the same stored lying on its side, and one that is cut off by now."""
    folder = tmp_path_factory.mktemp("ask") / "library"
    make_library(folder, ("red", "green"))
    pictures = folder.parent / "pictures"
    picture = Image.new("RGB", (WIDTH, HEIGHT), (10, 120, 200))
    picture.save(pictures / "large photo.jpg")
    turned = Image.Exif()
    turned[ExifTags.Base.Orientation] = 6
    picture.transpose(Image.Transpose.ROTATE_90).save(pictures / "turned.jpg", exif=turned)
    Image.effect_noise((640, 480), 90).save(pictures / "broken.jpg")
    index(folder, pictures)
    whole = (pictures / "broken.jpg").read_bytes()
    (pictures / "broken.jpg").write_bytes(whole[: len(whole) // 3])
    return folder


def with_stand_in(folder, **options):
    settings = ServerSettings(library=folder, **options)
    return create_app(settings, loader=Models(), cutter=DiscCutter(), answering="asking_fakes")


@pytest.fixture(scope="module")
def client(kept):
    with local_client(with_stand_in(kept)) as client:
        yield client


def photo(client, name: str = "large photo.jpg") -> int:
    ids = client.get(f"{API}/grid").json()["ids"]
    cards = client.get(f"{API}/photos", params={"ids": ",".join(map(str, ids))}).json()["photos"]
    return next(card["id"] for card in cards if card["name"] == name)


def events(text: str) -> list[tuple[str, dict]]:
    found = []
    for block in text.replace("\r\n", "\n").split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.split("\n") if ": " in line and line[0] != ":")
        if "data" in lines:
            found.append((lines["event"], json.loads(lines["data"])))
    return found


def user(text: str, *photos: int) -> dict:
    return {"role": "user", "text": text, "photos": list(photos)}


def said(text: str) -> dict:
    return {"role": "assistant", "text": text}


def ask(client, *turns: dict, **options) -> list[tuple[str, dict]]:
    answer = client.post(f"{API}/ask", json={"turns": turns, **options})
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["cache-control"] == "no-store"
    return events(answer.text)


def answered(client, *turns: dict, **options) -> dict:
    happened = ask(client, *turns, **options)
    assert happened[-1][0] == "answer", happened
    return happened[-1][1]


def refused(client, *turns: dict, code: str) -> str:
    happened = ask(client, *turns)
    assert happened[-1][0] == "problem", happened
    assert happened[-1][1]["code"] == code
    assert "\n" not in happened[-1][1]["detail"]
    return happened[-1][1]["detail"]


def test_the_model_says_what_it_can_do(client):
    assert client.get(f"{API}/ask").json() == {
        "model": "test/stand-in",
        "problem": None,
        "detail": None,
        "languages": ["en", "zh"],
        "most_photos": 3,
        "most_letters": MOST_LETTERS,
        "conversation": True,
    }


def test_an_answer_comes_in_pieces_after_what_is_shown_and_before_what_it_took(client):
    happened = ask(client, user("What is this?", photo(client)))
    kinds = [kind for kind, _ in happened]
    assert kinds[:3] == ["state", "state", "shown"], happened
    assert set(kinds[3:-1]) == {"piece"}
    assert kinds[-1] == "answer"
    assert [data["state"] for kind, data in happened if kind == "state"] == ["looking", "reading"]
    assert "".join(data["text"] for kind, data in happened if kind == "piece").strip() == WORDS
    shown, answer = happened[2][1], happened[-1][1]
    assert shown["model"] == answer["model"] == "test/stand-in"
    [plan] = shown["plans"]
    assert (plan["policy"], plan["tokens"], plan["kind"]) == ("Letterbox", 196, "image")
    assert plan["name"] == "large photo.jpg"
    assert shown["tokens"]["budget"] is None
    assert answer["text"] == WORDS
    assert (answer["written"], answer["seconds"], answer["boxes"], answer["looks"]) == (12, 1.25, [], [])


@pytest.mark.parametrize("name", ["large photo.jpg", "turned.jpg"])
def test_places_are_in_pixels_of_the_upright_original(client, name):
    number = photo(client, name)
    answer = answered(client, user("Where is the flower?", number), explain=True)
    assert answer["photo"] == number
    first, second = answer["boxes"]
    assert first["box"] == pytest.approx([0.4 * WIDTH, 0.3 * HEIGHT, 0.6 * WIDTH, 0.8 * HEIGHT], abs=1)
    assert (first["label"], second["label"]) == ("the <i>flower</i>", "")
    assert [look["part"] for look in answer["looks"]] == ["tower", "tower", "answer"]
    for look in answer["looks"]:
        assert look["covers"] == pytest.approx([0, 0, WIDTH, HEIGHT], abs=1)
        values = np.frombuffer(base64.b64decode(look["map"]), np.uint8).reshape(look["rows"], look["columns"])
        assert (values.min(), values.max()) == (0, 255)
        assert values[8, 7] > values[0, 0]


def test_a_conversation_goes_on_and_its_photo_is_opened_once(client, monkeypatch):
    number = photo(client, "red.jpg")
    opened = []
    run = client.app.state.services.decoders.run

    async def counting(work, *arguments):
        opened.append(work.__name__)
        return await run(work, *arguments)

    monkeypatch.setattr(client.app.state.services.decoders, "run", counting)
    first = answered(client, user("What is this?", number))
    second = answered(client, user("What is this?", number), said(first["text"]), user("And again?"))
    assert second["text"] == "You asked 2 times."
    assert second["reused"] == 200
    assert opened == ["look"]


def test_several_photos_are_shown_together_and_the_last_is_pointed_at(client):
    ids = [photo(client, name) for name in ("red.jpg", "green.jpg", "turned.jpg")]
    happened = ask(client, user("where?", *ids))
    assert [plan["name"] for plan in happened[2][1]["plans"]] == ["red.jpg", "green.jpg", "turned.jpg"]
    assert happened[-1][1]["photo"] == ids[2]


def test_more_photos_than_are_kept_open_can_be_asked_about_in_turn(client, monkeypatch):
    monkeypatch.setattr(asking_module, "_KEPT", 1)
    names = ("red.jpg", "green.jpg", "red.jpg")
    assert [answered(client, user("?", photo(client, name)))["text"] for name in names] == [WORDS] * 3
    assert len(client.app.state.services.asking._given) == 1


def test_a_film_is_asked_about_by_its_frames(tmp_path):
    import av

    folder = make_library(tmp_path / "library", ("red",))
    with av.open(str(tmp_path / "pictures" / "film.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", rate=4)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(20):
            colour = Image.new("RGB", (64, 48), (12 * number, 90, 40))
            container.mux(stream.encode(av.VideoFrame.from_image(colour)))
        container.mux(stream.encode(None))
    index(folder, tmp_path / "pictures")
    with local_client(with_stand_in(folder)) as client:
        happened = ask(client, user("where?", photo(client, "film.mp4")))
        [plan] = happened[2][1]["plans"]
        assert plan["kind"] == "video"
        assert plan["frames"] >= 3
        answer = happened[-1][1]
        assert (answer["frame"]["width"], answer["frame"]["height"]) == (64, 48)
        assert answer["frame"]["image"].startswith("data:image/jpeg;base64,")
        assert answer["boxes"][0]["box"] == pytest.approx([25.6, 14.4, 38.4, 38.4], abs=0.1)


def test_what_the_model_refuses_is_told_without_the_options_of_the_command_line(client):
    number = photo(client)
    line = refused(client, user("язык?", number), code="ask_refused")
    assert line == (
        "test/stand-in was not made for Cyrillic letters: ask in one of its languages (en, zh), or "
        "name another model"
    )
    line = refused(client, user("a long conversation", number), code="ask_refused")
    assert "530 places of a context of 512, 18 too many" in line
    assert "--" not in line


def test_a_photo_that_is_cut_off_or_not_there(client, kept, tmp_path):
    assert "cut off" in refused(client, user("what?", photo(client, "broken.jpg")), code="bad_image")
    answer = client.post(f"{API}/ask", json={"turns": [user("what?", 987654)]})
    problem(answer, 404, "photo_not_found")
    place = kept.parent / "pictures" / "green.jpg"
    number = photo(client, "green.jpg")
    aside = place.rename(tmp_path / "green.jpg")
    try:
        client.app.state.services.asking._given.clear()
        refused(client, user("what?", number), code="photo_gone")
    finally:
        aside.rename(place)


def test_a_process_that_dies_is_replaced(client):
    number = photo(client, "red.jpg")
    line = refused(client, user("an elephant", number), code="ask_ended")
    assert line.startswith("the model's process ended")
    assert answered(client, user("what?", number))["text"] == WORDS


def test_leaving_stops_the_answer_and_lets_the_next_begin(client):
    services = client.app.state.services
    number = photo(client, "red.jpg")

    async def leave_early():
        from sensorium.photos.files.originals import original_of

        original = await services.call(lambda library: original_of(library.store, number))
        turn = asking_module.Turn("user", "count", (original,))
        running = services.asking.ask([turn], most=256, budget=None, explain=False)
        happened = services.asking.events(running)
        kinds = [(await anext(happened)).kind for _ in range(4)]
        await happened.aclose()
        return kinds, running

    begun = time.perf_counter()
    kinds, running = client.portal.call(leave_early)
    assert kinds == ["state", "state", "shown", "piece"]
    assert answered(client, user("what?", number))["text"] == WORDS
    assert time.perf_counter() - begun < SLOW * 0.05 / 2
    written = [one for one in running.happened._queue if one is not None and one.kind == "piece"]
    assert len(written) < SLOW / 2


def test_only_so_many_questions_wait(client, monkeypatch):
    monkeypatch.setattr(asking_module, "MOST_WAITING", 0)
    answer = client.post(f"{API}/ask", json={"turns": [user("what?", photo(client))]})
    problem(answer, 503, "busy")


@pytest.mark.parametrize(
    "wanted",
    [
        {},
        {"turns": []},
        {"turns": [user("")]},
        {"turns": [user(" \n ")]},
        {"turns": [user("x" * (MOST_LETTERS + 1))]},
        {"turns": [said("first")]},
        {"turns": [user("a"), user("b")]},
        {"turns": [user("a"), said("b")]},
        {"turns": [user("a"), {"role": "assistant", "text": "b", "photos": [1]}, user("c")]},
        {"turns": [user("a"), said("b" * 20_001), user("c")]},
        {"turns": [{"role": "system", "text": "obey"}]},
        {"turns": [user("a", 0)]},
        {"turns": [user("a", *range(1, 18))]},
        {"turns": [user("a", *range(1, 10)), said("b"), user("c", *range(10, 19))]},
        {"turns": [user("a"), said("b")] * MOST_TURNS + [user("c")]},
        {"turns": [user("a")], "most": 100_000},
        {"turns": [user("a")], "budget": 0},
        {"turns": [user("a")], "model": "other"},
        {"turns": [user("half a pair \ud800")]},
    ],
)
def test_what_cannot_be_meant_is_refused(client, wanted):
    body = json.dumps(wanted)
    answer = client.post(f"{API}/ask", content=body, headers={"content-type": "application/json"})
    problem(answer, 422, "invalid")


def test_a_model_that_is_not_here_is_told_with_how_to_get_it(tmp_path):
    folder = make_library(tmp_path / "library", ("red",))
    with local_client(application(folder, ask_model="nobody/eyes")) as client:
        for _ in range(2):  # a failure is not kept
            about = client.get(f"{API}/ask").json()
            assert (about["model"], about["problem"]) == ("nobody/eyes", "ask_model_missing")
            assert "nobody/eyes" in about["detail"]
        line = refused(client, user("what?", photo(client, "red.jpg")), code="ask_model_missing")
        assert "nobody/eyes" in line


def test_whoever_may_look_may_ask_and_is_told_no_folder(tmp_path):
    folder = make_library(tmp_path / "library", ("red",))
    options = {"host": "0.0.0.0", "without_tls": True, "host_names": ("photos.example",)}
    app = application(folder, ask_model="/home/anna/eyes", **options)
    with stranger(app) as client:
        wanted = {"turns": [user("what?", 1)]}
        problem(client.post(f"{API}/ask", json=wanted), 401, "sign_in_needed")
        problem(client.get(f"{API}/ask"), 401, "sign_in_needed")
        client.headers["authorization"] = f"Bearer {token_of(app, 'view')}"
        about = client.get(f"{API}/ask")
        assert about.status_code == 200
        assert about.json()["problem"] == "ask_model_missing"
        assert "anna" not in about.text
        answer = client.post(f"{API}/ask", json=wanted)
        assert answer.status_code == 200
        assert "anna" not in answer.text

"""Search over HTTP: sentences, chips, corrected queries, pictures, pages."""

from __future__ import annotations

import io

import pytest
from photo_fakes import plain, write
from PIL import Image
from serving import application, local_client, make_library, problem

API = "/api/v1"


@pytest.fixture(scope="module")
def asking(tmp_path_factory):
    folder = make_library(tmp_path_factory.mktemp("search") / "library")
    with local_client(application(folder)) as client:
        yield client


def names(answer) -> list[str]:
    return [hit["name"] for hit in answer.json()["hits"]]


def photo(asking, name: str) -> int:
    ids = asking.get(f"{API}/grid").json()["ids"]
    cards = asking.get(f"{API}/photos", params={"ids": ",".join(map(str, ids))}).json()["photos"]
    return next(card["id"] for card in cards if card["name"] == name)


def png(colour: str) -> bytes:
    buffer = io.BytesIO()
    plain(colour).save(buffer, "PNG")
    return buffer.getvalue()


def test_a_sentence_finds_and_says_why(asking) -> None:
    found = asking.get(f"{API}/search", params={"q": "something red"}).json()
    assert found["verdict"] in ("found", "weak")  # three photos say little about what is usual
    hit = found["hits"][0]
    assert hit["name"] == "red.jpg"
    assert "red" in hit["why"]["en"]
    assert "看起来" in hit["why"]["zh"]
    assert 0 < hit["score"] <= 1
    assert found["total"] == len(found["hits"])


def test_chips_say_what_was_understood_and_take_it_away(asking) -> None:
    parsed = asking.get(
        f"{API}/parse", params={"q": "red, Kyoto, June 2021, screenshots, without dogs"}
    ).json()
    chips = {chip["slot"]: chip for chip in parsed["chips"]}
    assert {slot: chip["label"] for slot, chip in chips.items()} == {
        "text": {"en": "“red”", "zh": "“red”"},
        "time": {"en": "June 2021", "zh": "2021年6月"},
        "place": {"en": "Kyoto", "zh": "京都府"},
        "media": {"en": "screenshots", "zh": "截图"},
        "exclude": {"en": "without dogs", "zh": "不要dogs"},
    }
    assert len({chip["id"] for chip in parsed["chips"]}) == len(parsed["chips"])
    without_place = chips["place"]["remove"]
    assert without_place["places"] == []
    assert without_place["text"] == "red"
    assert chips["exclude"]["remove"]["exclude"] == []
    only_red = parsed
    for slot in ("time", "place", "media", "exclude"):
        chip = next(chip for chip in only_red["chips"] if chip["slot"] == slot)
        only_red = asking.post(f"{API}/search", json={"query": chip["remove"]}).json()
    assert [hit["name"] for hit in only_red["hits"]][:1] == ["red.jpg"]
    assert [chip["slot"] for chip in only_red["chips"]] == ["text"]


def test_words_are_added_and_taken_away(asking) -> None:
    query = asking.get(f"{API}/parse", params={"q": "red"}).json()["query"]
    answer = asking.post(f"{API}/search", json={"query": query, "terms": [{"words": "blue", "weight": -1}]})
    found = answer.json()
    assert names(answer)[0] == "red.jpg"
    assert "blue.jpg" not in names(answer)
    assert [chip["label"]["en"] for chip in found["chips"]] == ["+ red", "− blue"]
    back = found["chips"][1]["remove"]
    assert (back["text"], back.get("terms")) == ("red", None)
    again = asking.post(f"{API}/search", json={"query": found["query"]})
    assert names(again) == names(answer)


def test_photos_are_added(asking) -> None:
    blue = photo(asking, "blue.jpg")
    answer = asking.post(f"{API}/search", json={"query": {}, "terms": [{"photo_id": blue}]})
    assert names(answer)[0] == "blue.jpg"
    assert answer.json()["query"]["terms"] == [{"words": None, "image": f"photo:{blue}", "weight": 1.0}]
    why = answer.json()["hits"][0]["why"]
    assert (why["en"].endswith("like the picture"), why["zh"].endswith("那张图片")) == (True, True)
    problem(
        asking.post(f"{API}/search", json={"query": {}, "terms": [{"photo_id": 4711}]}),
        404,
        "photo_not_found",
    )


@pytest.mark.parametrize("form", [True, False])
def test_a_picture_is_searched_by(asking, form: bool) -> None:
    if form:
        sent = asking.post(f"{API}/search/image", files={"image": ("x.png", png("green"), "image/png")})
    else:
        headers = {"content-type": "image/png"}
        sent = asking.post(f"{API}/search/image", content=png("green"), headers=headers)
    assert sent.status_code == 201
    upload = sent.json()["upload_id"]
    answer = asking.post(f"{API}/search", json={"query": {}, "terms": [{"upload_id": upload}]})
    assert names(answer)[0] == "green.jpg"
    shown = asking.get(f"{API}/search/image/{upload}")
    assert Image.open(io.BytesIO(shown.content)).format == "WEBP"


@pytest.mark.parametrize("content", [b"", b"hello", png("red")[:60], b"<svg/>"])
def test_what_is_no_picture_is_refused(asking, content: bytes) -> None:
    headers = {"content-type": "image/png"}
    problem(asking.post(f"{API}/search/image", content=content, headers=headers), 422, "bad_image")


def test_uploads_end(asking, monkeypatch) -> None:
    from sensorium.server.pictures import uploads

    problem(asking.get(f"{API}/search/image/none"), 410, "upload_expired")
    gone = {"query": {}, "terms": [{"upload_id": "none"}]}
    problem(asking.post(f"{API}/search", json=gone), 410, "upload_expired")
    monkeypatch.setattr(uploads, "SECONDS", -1.0)
    sent = asking.post(
        f"{API}/search/image", content=png("red"), headers={"content-type": "image/png"}
    ).json()
    gone["terms"] = [{"upload_id": sent["upload_id"]}]
    problem(asking.post(f"{API}/search", json=gone), 410, "upload_expired")


@pytest.mark.parametrize("path", ["/etc/passwd", "red.jpg", "photo:", "photo:1e3", "photo:-1", "upload:../x"])
def test_no_path_is_ever_opened(asking, path: str, tmp_path, monkeypatch) -> None:
    write(tmp_path / "red.jpg", plain("red"))
    monkeypatch.chdir(tmp_path)
    query = {"terms": [{"words": None, "image": path, "weight": 1.0}]}
    answer = asking.post(f"{API}/search", json={"query": query})
    assert answer.status_code in (410, 422)
    said = asking.get(f"{API}/search", params={"q": f"{path} + snow"})
    terms = said.json().get("query", {}).get("terms", [])
    assert all(term["image"] is None for term in terms)


@pytest.mark.parametrize(
    "body",
    [
        {"query": {"nonsense": 1}},
        {"query": {"months": [13]}},
        {"query": {"after": "2021-02-01", "before": "2020-01-01", "text": "x"}},
        {"query": {"text": "\ud800"}},
        {"query": {}, "terms": [{"weight": 1}]},
        {"query": {}, "terms": [{"words": "a", "photo_id": 1}]},
        {"query": {}, "terms": [{"words": "a", "weight": 0}]},
        {"query": {}, "terms": [{"words": "  "}]},
        {"query": {}, "terms": [{"words": "a"}] * 17},
        {"query": {}, "cursor": "nonsense"},
        {"query": {}},
        {"query": {"text": "red"}, "k": 0},
        {"unknown": 1},
        [],
    ],
)
def test_bad_requests_are_told_in_a_line(asking, body) -> None:
    import json

    headers = {"content-type": "application/json"}
    answer = asking.post(f"{API}/search", content=json.dumps(body), headers=headers)
    assert answer.status_code in (400, 422)
    assert answer.headers["content-type"] == "application/problem+json"


def test_pages_are_disjoint(asking) -> None:
    query = {"q": "red", "all": True, "k": 1}
    seen, cursor = [], None
    for _ in range(5):
        answer = asking.get(f"{API}/search", params={**query, **({"cursor": cursor} if cursor else {})})
        assert answer.status_code == 200, answer.text
        page = answer.json()
        seen += [hit["id"] for hit in page["hits"]]
        cursor = page["cursor"]
        if cursor is None:
            break
    assert len(seen) == len(set(seen)) == page["total"] == 3
    other = asking.get(f"{API}/search", params={"q": "blue", "all": True, "k": 1}).json()["cursor"]
    problem(asking.get(f"{API}/search", params={**query, "cursor": other}), 400, "bad_request")


def test_nothing_found_says_what_came_closest(asking) -> None:
    found = asking.get(f"{API}/search", params={"q": "red in 1999"}).json()
    assert (found["hits"], found["verdict"]) == ([], "nothing")
    assert found["note"]["en"] == "3 photos tell no date and match no time"
    assert found["note"]["zh"].startswith("3 张照片没有日期")


def test_hidden_photos_are_not_found(tmp_path) -> None:
    folder = make_library(tmp_path / "library")
    with local_client(application(folder)) as asking:
        red = photo(asking, "red.jpg")
        asking.post(f"{API}/photos/marks", json={"ids": [red], "hidden": True})
        assert "red.jpg" not in names(asking.get(f"{API}/search", params={"q": "red", "all": True}))


def test_similar_photos(asking) -> None:
    red = photo(asking, "red.jpg")
    answer = asking.get(f"{API}/photos/{red}/similar?k=2")
    assert len(names(answer)) == 2
    assert "red.jpg" not in names(answer)
    problem(asking.get(f"{API}/photos/4711/similar"), 404, "photo_not_found")


def test_empty_library_says_so(tmp_path) -> None:
    from sensorium.photos.library import Library

    Library.open(tmp_path / "library", create=True).close()
    with local_client(application(tmp_path / "library")) as asking:
        problem(asking.get(f"{API}/search", params={"q": "red"}), 409, "library_empty")
        assert asking.get(f"{API}/suggestions").json() == {"suggestions": []}
        assert asking.get(f"{API}/grid").json()["ids"] == []
        assert asking.get(f"{API}/status").json()["photos"] == 0


def test_suggestions_find_something(asking) -> None:
    suggested = asking.get(f"{API}/suggestions").json()["suggestions"]
    for one in suggested:
        assert asking.get(f"{API}/search", params={"q": one["query"]["en"]}).json()["total"] > 0

"""Text in photos is read without a network, whichever way the photo lies, and found by plain sentences."""

import json
import socket
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa
from drawn_text import paper, plate
from hypothesis import given
from hypothesis import strategies as st
from photo_fakes import picture, run, write
from PIL import Image

from sensorium.photos.database.schema import texts
from sensorium.photos.describe.known import known
from sensorium.photos.describe.text_in_images import TextPass, open_engine, read_lines, strips


@pytest.fixture(scope="module")
def engine():
    """Opened with every socket refused: the models are those of the package."""

    def refuse(*_, **__):
        raise AssertionError("reading text opens no connection")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", refuse)
        patch.setattr(socket, "create_connection", refuse)
        patch.setattr(socket, "getaddrinfo", refuse)
        opened = open_engine()
        read_lines(opened, paper([("hello", 40, (50, 50))], (320, 240)))  # each step opens at its first use
        yield opened


def said(engine, image):
    return [line.text for line in read_lines(engine, image)]


def test_chinese_and_english(engine):
    image = paper(
        [
            ("LAWSON 罗森便利店", 48, (60, 60)),
            ("Receipt No. 20240501", 36, (60, 180)),
            ("合计 128.50 元", 36, (60, 280)),
        ]
    )
    found = said(engine, image)
    assert "LAWSON" in found[0]
    assert "便利店" in found[0]
    assert "20240501" in found[1].replace(" ", "")
    assert "合计" in found[2]
    assert "128.50" in found[2]


def test_corners_are_where_the_text_is(engine):
    (line,) = read_lines(engine, paper([("EXIT 出口", 60, (400, 300))]))
    corners = np.array(line.box) * (800, 600)
    left, top = corners.min(axis=0)
    right, bottom = corners.max(axis=0)
    assert 385 < left < 410
    assert 295 < top < 330
    assert 580 < right < 680
    assert 350 < bottom < 400
    assert line.box[0][0] < line.box[1][0]  # clockwise from its upper left
    assert line.score > 0.8


@pytest.mark.parametrize("turn", [90, 180, 270])
def test_a_photo_that_lies_on_its_side_keeps_its_text(engine, turn):
    image = paper([("京A·12345", 64, (150, 260))]).rotate(turn, expand=True)
    assert any("12345" in words for words in said(engine, image))


def test_nothing_is_read_where_nothing_is_written(engine):
    noise = np.random.default_rng(5).integers(0, 255, (300, 400, 3), np.uint8)
    for image in (
        Image.new("RGB", (640, 480), (90, 140, 200)),
        Image.fromarray(noise),
        picture(3, (11, 900)),
    ):
        assert said(engine, image) == []


def test_a_long_screenshot_is_read_in_strips(engine):
    lines = [(f"message number {number}", 30, (40, 100 + 400 * number)) for number in range(12)]
    found = said(engine, paper(lines, (420, 5000)))
    assert [words.replace(" ", "") for words in found] == [f"messagenumber{number}" for number in range(12)]


@given(st.integers(12, 30_000), st.integers(12, 30_000))
def test_strips_cover_a_picture_once(width, height):
    parts = list(strips(width, height))
    assert len(parts) <= 40
    covered = np.zeros(101, int)
    points = np.linspace(0, 0.9999, 101)
    long, along = (width, 0) if width >= height else (height, 1)
    for box, kept in parts:
        assert 0 <= box[0] < box[2] <= width
        assert 0 <= box[1] < box[3] <= height
        inside = (points >= kept[along]) & (points < kept[along + 2])
        covered += inside
        # What a part gives lies inside what it reads.
        assert (points[inside] * long >= box[along] - 1).all()
        assert (points[inside] * long <= box[along + 2] + 1).all()
    assert (covered == 1).all()


@pytest.fixture(scope="module")
def described(tmp_path_factory):
    """A library of six photos, four of them with text, after the pass."""
    from photo_fakes import Models

    from sensorium.photos.library import Library

    home = tmp_path_factory.mktemp("text")
    folder = home / "pictures"
    folder.mkdir()
    write(folder / "plate.jpg", plate("京A·12345"))
    exif = Image.Exif()
    exif[0x0112] = 6
    plate("沪B·88X90").rotate(90, expand=True).save(folder / "turned.jpg", exif=exif, quality=90)
    lines = [("LAWSON", 60, (250, 60)), ("合计 128.50", 40, (80, 250)), ("谢谢惠顾", 40, (80, 350))]
    write(folder / "paper.jpg", paper(lines))
    write(
        folder / "sign.png", paper([("EXIT 出口", 90, (200, 200))], colour=(20, 120, 50), ink=(255, 255, 255))
    )
    write(folder / "red.jpg", Image.new("RGB", (320, 240), (220, 20, 20)))
    write(folder / "other.jpg", picture(9, (320, 240)))
    with Library.open(home / "library", create=True, loader=Models()) as library:
        run(library, folder)
        events = list(library.describe(["text"], workers=1))
        assert events[-1].tallies["text"].described == 6
        yield library


def test_what_was_read_is_kept_with_its_places(described):
    with described.store.reading() as connection:
        rows = connection.execute(sa.select(texts)).all()
    assert len(rows) == 4
    for row in rows:
        boxes = json.loads(row.boxes)
        assert row.text == "\n".join(box["text"] for box in boxes)
        for box in boxes:
            assert set(box) == {"text", "score", "box"}
            assert np.array(box["box"]).shape == (4, 2)
            assert 0 <= np.min(box["box"]) <= np.max(box["box"]) <= 1


@pytest.mark.parametrize(
    ("sentence", "expected"),
    [
        ("车牌 京A 的照片", "plate"),
        ("京A·12345", "plate"),
        ("京A 12345", "plate"),
        ("车牌号是京A12的车", "plate"),
        ("A12345", "plate"),
        ("the car with plate 345", "plate"),
        ("the red car with number plate A12345", "plate"),
        ("沪B 88X90", "turned"),
        ("沪B88", "turned"),
        ("出口", "sign"),
        ("写着出口的牌子", "sign"),
        ("a sign that says exit", "sign"),
        ("the receipt from Lawson", "paper"),
        ("lawson receipt", "paper"),
        ("合计128.50的小票", "paper"),
        ("谢谢", "paper"),
    ],
)
def test_a_sentence_finds_what_is_written(described, sentence, expected):
    results = described.search(sentence)
    assert results.hits, results.note
    best = results.hits[0]
    assert best.path.stem == expected
    assert "text in it reads “" in best.why


def test_other_photos_are_not_said_to_say_it(described):
    for hit in described.search("京A·12345").hits:
        assert ("reads" in hit.why) == (hit.path.stem == "plate")


def test_text_goes_with_its_photo(described):
    with described.store.reading() as connection:
        before = connection.scalar(sa.select(sa.func.count()).select_from(texts))
    folder = described.store.roots()[0].path
    write(Path(folder, "sign.png"), picture(4, (300, 200)))
    run(described, folder)
    (only,) = [event for event in described.describe(["text"], workers=1) if hasattr(event, "offline")]
    assert only.tallies["text"].described == 1
    with described.store.reading() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(texts)) == before - 1
    assert not any("reads" in hit.why for hit in described.search("出口").hits)


def test_the_pass_is_always_there(library):
    assert TextPass().absent() is None
    assert known(library.store)["text"] == TextPass()

"""The contact sheet, looked at."""

import numpy as np
import pytest
from photo_fakes import COLOURS, picture, plain, write
from PIL import ExifTags, Image

from sensorium.errors import SensoriumError
from sensorium.photos.search.ranking import Hit
from sensorium.photos.sheet import CAPTION, CELL, MARGIN, TITLE, draw_sheet, write_sheet


def hit(path, score=0.5) -> Hit:
    return Hit(path, score, None, None, "looks like it")


def cell(sheet: Image.Image, index: int) -> np.ndarray:
    row, column = divmod(index, 5)
    left, top = MARGIN + column * (CELL + MARGIN), TITLE + MARGIN + row * (CELL + CAPTION + MARGIN)
    return np.asarray(sheet.crop((left, top, left + CELL, top + CELL + CAPTION)))


def test_each_photo_is_in_its_place_with_its_caption(tmp_path):
    for name in ("red", "green", "blue"):
        write(tmp_path / f"{name}.jpg", plain(name, (400, 400)))
    hits = [hit(tmp_path / f"{name}.jpg") for name in ("red", "green", "blue") * 3]
    sheet = draw_sheet(hits, "海边的日落")
    for index, shown in enumerate(hits):
        pixels = cell(sheet, index)
        assert np.abs(pixels[10 : CELL - 10, 10:-10].astype(int) - COLOURS[shown.path.stem]).max() < 8
        caption = pixels[CELL:]
        assert caption.min() < 80
        assert caption.max() > 240
    title = np.asarray(sheet)[:TITLE]
    assert title.min() < 80


def test_photos_are_upright(tmp_path):
    image = Image.new("RGB", (80, 40), (220, 20, 20))
    image.paste((20, 40, 220), (0, 0, 40, 40))
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6  # left becomes top
    write(tmp_path / "x.jpg", image, exif=exif)
    pixels = cell(draw_sheet([hit(tmp_path / "x.jpg")], "t"), 0)
    middle = CELL // 2
    assert pixels[middle - 20, middle][2] > 150
    assert pixels[middle + 20, middle][0] > 150


def test_what_cannot_be_shown_is_said(tmp_path):
    (tmp_path / "bad.jpg").write_text("no")
    sheet = draw_sheet([hit(tmp_path / "bad.jpg"), hit(tmp_path / "a\nb\udcff.jpg")], "x" * 500 + "\n\udcff")
    assert np.ptp(cell(sheet, 0)[:CELL]) > 50
    assert np.ptp(cell(sheet, 1)[:CELL]) > 50


@pytest.mark.parametrize("name", ["s.png", "s.jpg", "s.webp"])
def test_it_is_written_whole_or_not_at_all(tmp_path, name, monkeypatch):
    write(tmp_path / "p.jpg", picture(1))
    target = tmp_path / name
    write_sheet([hit(tmp_path / "p.jpg")], "query", target)
    with Image.open(target) as written:
        assert written.size == draw_sheet([hit(tmp_path / "p.jpg")], "query").size
        assert len(np.unique(np.asarray(written))) > 50
    before = target.read_bytes()

    def full(*args, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(SensoriumError, match="No space left"):
        write_sheet([hit(tmp_path / "p.jpg")], "query", target)
    assert target.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["p.jpg", name])


@pytest.mark.parametrize(("name", "message"), [("s.txt", "is a .png"), ("no/s.png", "does not exist")])
def test_impossible_targets_are_refused(tmp_path, name, message):
    with pytest.raises(SensoriumError, match=message):
        write_sheet([], "query", tmp_path / name)

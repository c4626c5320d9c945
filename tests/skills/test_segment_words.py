"""Things by their names: the likeliest thing, each of them, or nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from segment_stand_ins import COLOURS, ColourReader, FlatSegmenter
from sensorium.errors import SensoriumError
from sensorium.skills.segment import words
from sensorium.skills.segment.everything import Settings as Proposals
from sensorium.skills.segment.masks import mask_of, overlap
from sensorium.skills.segment.words import Settings, find

GREY = (150, 150, 150)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SENSORIUM_HOME", str(tmp_path))
    return tmp_path


def scene(size: tuple[int, int] = (320, 240), **boxes: tuple[int, int, int, int]) -> Image.Image:
    """Boxes on grey; a name is a colour, with a number behind it where there are several."""
    image = Image.new("RGB", size, GREY)
    for name, box in boxes.items():
        ImageDraw.Draw(image).rectangle(box, fill=COLOURS[name.rstrip("0123456789")])
    return image


RED, BLUE, GREEN = (20, 20, 100, 100), (200, 30, 300, 120), (60, 150, 180, 220)


@pytest.fixture
def picture() -> Image.Image:
    return scene(red=RED, blue=BLUE, green=GREEN)


def box_of(bounds: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
    return bounds[0], bounds[1], bounds[2] + 1, bounds[3] + 1


def near(found: tuple[int, int, int, int], wanted: tuple[int, int, int, int], within: float = 4) -> bool:
    return bool(np.abs(np.subtract(found, wanted)).max() <= within)


@pytest.mark.parametrize(("text", "bounds"), [("red", RED), ("a blue thing", BLUE), ("绿色", GREEN)])
def test_words_find_the_thing_they_name(picture: Image.Image, text: str, bounds: Any) -> None:
    found = find(FlatSegmenter(), ColourReader(), picture, f" {text} ")
    assert len(found) == 1
    assert near(found[0].box, box_of(bounds))
    assert found[0].bitmap.shape == (240, 320)
    assert found[0].label == text
    assert found[0].score is not None
    assert words.LIKELIHOOD <= found[0].score <= 1


@pytest.mark.parametrize("text", ["yellow", "黄色", "purple"])
@pytest.mark.parametrize("every", [False, True])
def test_words_for_what_is_not_there_find_nothing(picture: Image.Image, text: str, every: bool) -> None:
    assert find(FlatSegmenter(), ColourReader(), picture, text, all=every) == []


def test_everything_that_is_called_so_is_found_once_each() -> None:
    boxes = {"red1": (10, 10, 70, 60), "red2": (120, 20, 200, 100), "red3": (30, 130, 110, 210)}
    image = scene(**boxes, blue=(220, 140, 300, 220), green=(220, 20, 300, 90))
    found = find(FlatSegmenter(), ColourReader(), image, "red", all=True)
    assert len(found) == 3
    for bounds in boxes.values():
        assert sum(near(mask.box, box_of(bounds)) for mask in found) == 1
    scores = [mask.score for mask in found]
    assert scores == sorted(scores, reverse=True)
    [best] = find(FlatSegmenter(), ColourReader(), image, "red")
    assert best.box == found[0].box


def test_a_thing_has_to_be_as_likely_as_is_asked(picture: Image.Image) -> None:
    [mask] = find(FlatSegmenter(), ColourReader(), picture, "red")
    assert mask.score is not None
    proposals = words.PROPOSALS
    assert find(FlatSegmenter(), ColourReader(), picture, "red", settings=Settings(proposals, 0.999999)) == []
    anything = find(FlatSegmenter(), ColourReader(), picture, "yellow", settings=Settings(proposals, 0.0))
    assert len(anything) == 1
    assert anything[0].score is not None
    assert anything[0].score < mask.score


def test_a_picture_without_a_single_proposal_holds_nothing(picture: Image.Image) -> None:
    unsure = Settings(Proposals(side=4, quality=2.0))
    assert find(FlatSegmenter(), ColourReader(), picture, "red", settings=unsure) == []


@pytest.mark.parametrize("text", ["", "  \n"])
def test_no_words_are_no_question(picture: Image.Image, text: str) -> None:
    with pytest.raises(SensoriumError, match="say what to look for"):
        find(FlatSegmenter(), ColourReader(), picture, text)


def test_a_large_photo_is_searched_small_and_answered_at_full_size() -> None:
    segmenter = FlatSegmenter()
    image = scene((3000, 2000), red=(300, 300, 1200, 1100), blue=(1800, 400, 2700, 1500))
    [mask] = find(segmenter, ColourReader(), image, "red")
    assert mask.bitmap.shape == (2000, 3000)
    assert near(mask.box, box_of((300, 300, 1200, 1100)), within=40)  # two cells of the stand-in's grid
    assert max(segmenter.seen) == (words.LONGEST, 683)
    assert mask.alpha.shape == (2000, 3000)


@pytest.mark.parametrize("size", [(1, 1), (20_000, 300), (3, 700)])
def test_odd_sizes_are_searched_too(size: tuple[int, int]) -> None:
    image = Image.new("RGB", size, COLOURS["red"])
    found = find(FlatSegmenter(), ColourReader(), image, "red", all=True)
    assert all(mask.bitmap.shape == (size[1], size[0]) for mask in found)
    assert len(found) <= 1


def test_all_crops_go_to_the_reader_at_once(picture: Image.Image) -> None:
    reader = ColourReader()
    find(FlatSegmenter(), reader, picture, "red")
    assert len(reader.batches) == 1
    assert reader.batches[0] % 2 == 0


def test_the_other_texts_are_embedded_once_a_model(picture: Image.Image, home: Path) -> None:
    reader = ColourReader()
    first = find(FlatSegmenter(), reader, picture, "red")
    asked = reader.texts
    again = ColourReader()
    second = find(FlatSegmenter(), again, picture, "red")
    assert asked > 400
    assert again.texts == 1
    assert first[0].score == pytest.approx(second[0].score, abs=1e-3)
    [kept] = (home / "embeddings").glob("contrast-*.npy")
    kept.write_bytes(kept.read_bytes()[:100])  # as after a full disk
    assert find(FlatSegmenter(), ColourReader(), picture, "red")
    other = ColourReader(pipeline="another")
    find(FlatSegmenter(), other, picture, "red")
    assert other.texts == asked


def test_the_reader_sees_the_thing_alone_and_amid_pale_surroundings() -> None:
    image = scene((100, 80), red=(40, 30, 59, 49), blue=(0, 0, 29, 79))
    bitmap = np.zeros((80, 100), bool)
    bitmap[30:50, 40:60] = True
    alone, amid = (np.asarray(view, int) for view in words.views(image, mask_of(bitmap, 1, 1), 96))
    assert alone.shape == amid.shape == (96, 96, 3)
    assert np.abs(alone[48, 48] - COLOURS["red"]).max() <= 2
    assert np.abs(amid[48, 48] - COLOURS["red"]).max() <= 2
    neutral = alone[0, 0]
    assert np.ptp(neutral) < 30
    assert (alone[:4] == neutral).all()  # nothing of the neighbours
    outside = np.abs(amid[48, 0] - neutral).max()
    assert 0 < outside < np.abs(np.array(GREY) - COLOURS["blue"]).max()


def test_a_thing_at_the_edge_is_not_shifted() -> None:
    image = scene((200, 100), red=(150, 0, 199, 49))
    bitmap = np.zeros((100, 200), bool)
    bitmap[:50, 150:] = True
    alone, _ = words.views(image, mask_of(bitmap, 1, 1), 120)
    red = np.abs(np.asarray(alone, int) - COLOURS["red"]).max(axis=2) < 30
    rows, columns = np.flatnonzero(red.any(1)), np.flatnonzero(red.any(0))
    for edges in (rows, columns):
        assert abs(edges[0] - 10) <= 1  # a tenth of the thing's side around it, on every side
        assert abs(edges[-1] - 109) <= 1


def test_evidence_is_relative() -> None:
    """Adding what all texts share, or what all proposals share, changes nothing or little."""
    random = np.random.default_rng(0)
    others = random.normal(size=(300, 16)).astype(np.float32)
    crops = random.normal(size=(12, 16)).astype(np.float32)
    query = crops[3]
    plain = words.evidence(crops, query, others)
    assert plain.argmax() == 3
    shared = random.normal(size=16).astype(np.float32)
    assert np.allclose(words.evidence(crops, query + shared, others + shared), plain, atol=1e-3)
    assert np.allclose(words.evidence(crops * 7, query, others), plain, atol=1e-3)
    everywhere = crops + 2 * query
    assert (
        words.evidence(everywhere, query, others).mean() < 0.6 * _unshared(everywhere, query, others).mean()
    )


def _unshared(crops: Any, query: Any, others: Any) -> Any:
    usual = crops @ others.T
    return (crops @ query - usual.mean(1)) / usual.std(1)


@pytest.mark.parametrize("soft", [True, False])
def test_enlarging_keeps_the_shape(soft: bool) -> None:
    segmenter = FlatSegmenter()
    image = scene((256, 192), red=(64, 48, 159, 111))
    from dataclasses import replace

    from sensorium.skills.segment.everything import everything

    masks = everything(segmenter, image, words.PROPOSALS)
    [small] = [mask for mask in masks if near(mask.box, (64, 48, 160, 112))]
    if not soft:
        small = replace(small, softness=None)
    small = replace(small, label="red", score=0.75)
    large = words.enlarged(small, (1024, 768))
    assert (large.label, large.score, large.quality) == ("red", 0.75, small.quality)
    expected = np.zeros((768, 1024), bool)
    expected[192:448, 256:640] = True
    assert overlap(large.bitmap, expected) > 0.93
    assert words.enlarged(small, (256, 192)) is small


@pytest.mark.slow
def test_mini_clip_tells_what_is_drawn_from_what_is_not_there() -> None:
    """The constants, with the reader that ships."""
    from sensorium.skills.embed import load

    image = Image.new("RGB", (512, 384), (120, 170, 120))
    pen = ImageDraw.Draw(image)
    pen.ellipse((40, 40, 200, 200), fill=(250, 205, 40))
    pen.rectangle((300, 20, 380, 100), fill=(30, 60, 200))
    pen.rectangle((420, 30, 490, 110), fill=(140, 40, 160))
    outline = [(380, 330), (280, 220), (300, 180), (340, 170), (380, 205), (420, 170), (460, 180), (480, 220)]
    pen.polygon(outline, fill=(214, 30, 40))
    reader = load()
    for text in ("a red heart", "红心"):
        [heart] = find(FlatSegmenter(), reader, image, text)
        assert near(heart.box, (280, 170, 481, 331), within=8), text
    for text in ("an elephant", "大象", "bicycle", "自行车"):
        assert find(FlatSegmenter(), reader, image, text) == [], text

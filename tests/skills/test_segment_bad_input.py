"""Cutting and what people really hand over: each gives the right answer or one line that says why not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import tiny_sam
from sensorium.errors import SensoriumError
from sensorium.skills.segment import pictures
from sensorium.skills.segment.everything import Settings, everything
from sensorium.skills.segment.masks import Mask, from_rle, mask_of, overlap
from sensorium.skills.segment.prompts import MOST_POINTS, Prompt
from sensorium.skills.segment.segmenter import Segmenter

ANYTHING = Settings(side=2, quality=-1e9, stability=0.0)


@pytest.fixture(scope="module")
def segmenter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Segmenter]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SENSORIUM_HOME", str(tmp_path_factory.mktemp("home")))
        patch.setenv("SENSORIUM_ENGINE", "openvino-f32")
        yield tiny_sam.segmenter(tmp_path_factory.mktemp("model") / "tiny")


def grey(width: int, height: int) -> Image.Image:
    """Bright and dark places, none of them alike."""
    small = np.random.default_rng(width).integers(0, 256, (5, 7), dtype=np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


def centre(segmenter: Segmenter, image: Image.Image) -> Mask:
    """The best answer to a click in the middle of the upright picture."""
    embedding = segmenter.embed(image)
    width, height = embedding.geometry.size
    return segmenter.cut(embedding, Prompt(points=((width / 2, height / 2, 1),))).best


def refused(segmenter: Segmenter, prompt: Prompt, said: str) -> None:
    with pytest.raises(SensoriumError, match=said) as told:
        segmenter.cut(segmenter.embed(grey(120, 80)), prompt)
    assert "\n" not in str(told.value)
    assert told.value.exit_code == 2


@pytest.mark.parametrize(
    ("x", "y"), [(120, 40), (60, 80), (-0.001, 40), (60, -1), (float("nan"), 40), (60, float("inf"))]
)
def test_a_point_outside_names_itself_and_the_picture(segmenter: Segmenter, x: float, y: float) -> None:
    refused(segmenter, Prompt(points=((x, y, 1),)), r"^the point .* lies outside .* 120 x 80 pixels$")
    refused(segmenter, Prompt(points=((60, 40, 1), (x, y, 0))), "lies outside")


@pytest.mark.parametrize(("x", "y"), [(0, 0), (119.999, 79.999), (0, 79)])
def test_a_point_on_the_very_edge_is_inside(segmenter: Segmenter, x: float, y: float) -> None:
    cut = segmenter.cut(segmenter.embed(grey(120, 80)), Prompt(points=((x, y, 1),)))
    assert len(cut.masks) == 3
    assert all(np.isfinite((mask.quality, mask.stability)).all() for mask in cut.masks)


@pytest.mark.parametrize(
    "box",
    [
        (50, 20, 50, 60),
        (50, 20, 90, 20),
        (90, 20, 50, 60),
        (50, 60, 90, 20),
        (130, 5, 140, 9),
        (-9, -9, 0, 0),
    ],
)
def test_a_box_that_holds_nothing_is_told(segmenter: Segmenter, box: tuple[float, ...]) -> None:
    refused(segmenter, Prompt(box=box), "holds nothing of the picture")  # type: ignore[arg-type]


@pytest.mark.parametrize("side", [float("nan"), float("inf"), -float("inf")])
def test_a_box_of_no_numbers_is_told(segmenter: Segmenter, side: float) -> None:
    refused(segmenter, Prompt(box=(5, 5, side, 60)), "a side that is no number")


@pytest.mark.parametrize(
    ("mask", "said"),
    [
        (np.ones((80, 119), bool), "the mask has 119 x 80 pixels, the picture 120 x 80"),
        (np.ones((120, 80), bool), "the mask has 80 x 120 pixels"),
        (np.ones(120 * 80, bool), "the mask has 9600 pixels"),
        (np.ones((80, 120, 3), bool), "the mask has 80 x 120 x 3 pixels"),
        (np.zeros((80, 120), bool), "empty"),
        (np.full((80, 120), 255, np.uint8), "holds uint8, not true and false"),
        (np.full((80, 120), np.nan), "holds float64"),
    ],
)
def test_a_mask_that_does_not_fit_is_told(segmenter: Segmenter, mask: np.ndarray, said: str) -> None:
    refused(segmenter, Prompt(mask=mask), said)


def test_a_memory_that_cannot_be_one_is_told(segmenter: Segmenter) -> None:
    click = ((60.0, 40.0, 1),)
    refused(segmenter, Prompt(points=click, memory=np.zeros((7, 7), np.float32)), "another model")
    side = segmenter.embed(grey(120, 80)).geometry.grid
    broken = np.full((side, side), np.nan, np.float32)
    refused(segmenter, Prompt(points=click, memory=broken), "no numbers")
    refused(segmenter, Prompt(memory=np.zeros((side, side), np.float32)), "nothing is pointed at")


def test_hundreds_of_clicks_are_answered_and_thousands_refused(segmenter: Segmenter) -> None:
    places = [(float(i % 120), float(i % 80), i % 2) for i in range(MOST_POINTS)]
    answer = segmenter.cut(segmenter.embed(grey(120, 80)), Prompt(points=tuple(places)))
    assert len(answer.masks) == 1
    assert np.isfinite(answer.best.quality)
    many = tuple((float(i % 120), float(i % 80), 1) for i in range(100_000))
    refused(segmenter, Prompt(points=many), "at most 500 points, not 100000")


def test_hundreds_of_prompts_are_answered_as_each_alone(segmenter: Segmenter) -> None:
    from sensorium.skills.segment.segmenter import scattered

    embedding = segmenter.embed(grey(120, 80))
    places = [(float(i % 64), float(i * 7 % 42)) for i in range(200)]
    logits, quality = segmenter.decode(embedding, *scattered(places))
    assert logits.shape == (200, 4, embedding.geometry.grid, embedding.geometry.grid)
    for i in (0, 101, 199):
        alone, one = segmenter.decode(embedding, *scattered(places[i : i + 1]))
        assert np.abs(logits[i] - alone[0]).max() < 1e-4
        assert np.abs(quality[i] - one[0]).max() < 1e-4


@pytest.mark.parametrize("size", [(1, 1), (2, 1), (1, 300), (20_000, 300)])
def test_pictures_of_extreme_sizes_are_cut(segmenter: Segmenter, size: tuple[int, int]) -> None:
    image = grey(*size)
    mask = centre(segmenter, image)
    assert mask.bitmap.shape == size[::-1]
    assert mask.area == np.count_nonzero(mask.bitmap)
    assert mask.cut_out(image, cropped=False).size == size
    assert np.array_equal(from_rle(mask.rle()), mask.bitmap)


@pytest.mark.parametrize("size", [(1, 1), (2000, 30)])
def test_everything_is_found_in_pictures_of_extreme_sizes(
    segmenter: Segmenter, size: tuple[int, int]
) -> None:
    for crops in (0, 1):
        found = everything(segmenter, grey(*size), Settings(2, -1e9, 0.0, crops=crops))
        assert all(mask.bitmap.shape == size[::-1] and mask.area > 0 for mask in found)


def test_a_picture_without_pixels_is_told(segmenter: Segmenter) -> None:
    with pytest.raises(SensoriumError, match=r"^the picture has no pixels: it is 0 x 5$"):
        segmenter.embed(Image.new("RGB", (0, 5)))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_masks_lie_on_the_upright_picture(segmenter: Segmenter, orientation: int, tmp_path: Path) -> None:
    stored = grey(120, 80).convert("RGB")
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / "photo.png", exif=exif)  # without loss: all eight hold the same pixels
    expected = pictures.read(tmp_path / "photo.png").rgb
    assert expected.size == ((80, 120) if orientation > 4 else (120, 80))
    mask = centre(segmenter, expected)
    with Image.open(tmp_path / "photo.png") as opened:  # as Pillow opens it: lying, with its tag
        lying = centre(segmenter, opened)
        drawn = lying.cut_out(opened, cropped=False)
    assert np.array_equal(lying.bitmap, mask.bitmap)
    assert drawn.size == expected.size
    assert np.array_equal(np.asarray(drawn)[..., :3], np.asarray(expected))


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P", "CMYK", "I;16", "I", "F"])
def test_every_kind_of_pixels_gives_the_mask_of_the_same_picture(segmenter: Segmenter, mode: str) -> None:
    plain = grey(120, 80)
    values = np.asarray(plain)
    made = {
        "I;16": lambda: Image.fromarray(values.astype(np.uint16) * 257),
        "I": lambda: Image.fromarray(values.astype(np.int32) * 257),
        "F": lambda: Image.fromarray(values.astype(np.float32) / 255),
        "CMYK": lambda: plain.convert("RGB").convert("CMYK"),
    }
    image = made.get(mode, lambda: plain.convert(mode))()
    assert image.mode == mode
    mask, expected = centre(segmenter, image), centre(segmenter, plain)
    assert overlap(mask.bitmap, expected.bitmap) > 0.97
    drawn = mask.cut_out(image, cropped=False)
    assert drawn.mode == "RGBA"
    difference = np.asarray(drawn.convert("L"), np.int16) - values
    assert np.abs(difference).max() <= 1


def test_transparency_is_seen_over_white_and_kept(segmenter: Segmenter) -> None:
    image = grey(120, 80).convert("RGBA")
    alpha = np.zeros((80, 120), np.uint8)
    alpha[:, :60] = 130
    image.putalpha(Image.fromarray(alpha))
    flat = Image.new("RGB", image.size, (255, 255, 255))
    flat.paste(image, mask=image.getchannel("A"))
    mask = centre(segmenter, image)
    assert np.array_equal(mask.bitmap, centre(segmenter, flat).bitmap)
    everywhere = mask_of(np.ones((80, 120), bool), 1.0, 1.0)
    assert np.array_equal(np.asarray(everywhere.cut_out(image).getchannel("A")), alpha)


def test_pixels_that_are_no_numbers_count_as_dark(segmenter: Segmenter) -> None:
    values = np.asarray(grey(120, 80), np.float32) / 255
    values[:40] = np.nan
    dark = np.where(np.isnan(values), 0, values)
    mask = centre(segmenter, Image.fromarray(values))
    assert np.array_equal(mask.bitmap, centre(segmenter, Image.fromarray(dark)).bitmap)
    assert np.isfinite(mask.quality)


def test_a_plain_surface_gives_finite_answers(segmenter: Segmenter) -> None:
    for colour in (0, 255):
        for mask in everything(segmenter, Image.new("L", (90, 60), colour), ANYTHING):
            assert np.isfinite((mask.quality, mask.stability)).all()
            assert mask.bitmap.shape == (60, 90)

"""The network sees what the reference's Pillow processors show it, and every pixel finds its way back."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from transformers.models.chinese_clip.image_processing_pil_chinese_clip import ChineseCLIPImageProcessorPil
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

from sensorium.media.image import ImageSpec, extent, fit_image, normalize, placement, prepare, read_image

PHOTOS = Path(__file__).parents[2] / "examples" / "photos"
CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
HALF = (0.5, 0.5, 0.5)
CLIP = ImageSpec(224, 224, "crop", 224, "bicubic", CLIP_MEAN, CLIP_STD)
REFERENCES = {
    "clip": (CLIPImageProcessorPil(), CLIP),
    "clip 336": (
        CLIPImageProcessorPil(size={"shortest_edge": 336}, crop_size={"height": 336, "width": 336}),
        ImageSpec(336, 336, "crop", 336, "bicubic", CLIP_MEAN, CLIP_STD),
    ),
    "crop of odd sides": (
        CLIPImageProcessorPil(size={"shortest_edge": 257}, crop_size={"height": 223, "width": 140}),
        ImageSpec(223, 140, "crop", 257, "bicubic", CLIP_MEAN, CLIP_STD),
    ),
    "crop larger than the picture": (
        CLIPImageProcessorPil(size={"shortest_edge": 100}, crop_size={"height": 133, "width": 120}),
        ImageSpec(133, 120, "crop", 100, "lanczos", CLIP_MEAN, CLIP_STD),
    ),
    "chinese clip": (ChineseCLIPImageProcessorPil(), CLIP),
    "siglip": (SiglipImageProcessorPil(), ImageSpec(224, 224, "squash", 224, "bicubic", HALF, HALF)),
    "siglip 2": (
        SiglipImageProcessorPil(resample=2, size={"height": 256, "width": 192}),
        ImageSpec(256, 192, "squash", 256, "bilinear", HALF, HALF),
    ),
    "vit": (ViTImageProcessorPil(), ImageSpec(224, 224, "squash", 224, "bilinear", HALF, HALF)),
}
REFERENCES["crop larger than the picture"][0].resample = Image.Resampling.LANCZOS


def photos(count: int) -> list[Image.Image]:
    paths = sorted(PHOTOS.glob("*.jpg"))
    assert len(paths) >= 15
    return [Image.open(path).convert("RGB") for path in paths[:: len(paths) // count][:count]]


@pytest.mark.parametrize("name", list(REFERENCES))
def test_pixels_equal_the_reference(name: str) -> None:
    reference, spec = REFERENCES[name]
    for number, photo in enumerate(photos(6)):
        width, height = photo.size
        sizes = [(width, height), (width - 3, height // 2 + 1), (301 - number, 97), (33, 50 + number), (7, 5)]
        for size in sizes:
            picture = photo.crop((0, 0, min(size[0], width), min(size[1], height)))
            expected = np.asarray(reference(picture, return_tensors="np")["pixel_values"])[0]
            prepared = prepare(picture, spec)
            assert np.array_equal(prepared.pixels, expected), (number, size)
            assert prepared.pixels.dtype == np.float32


def test_a_batch_is_its_pictures() -> None:
    rows = np.stack([fit_image(photo, CLIP) for photo in photos(3)])
    assert rows.dtype == np.uint8
    values = normalize(rows, CLIP)
    assert values.shape == (3, 3, 224, 224)
    for row, value in zip(rows, values, strict=True):
        assert np.array_equal(normalize(row[None], CLIP)[0], value)
    with pytest.raises(ValueError, match="uint8"):
        normalize(values.transpose(0, 2, 3, 1), CLIP)  # type: ignore[arg-type]


def test_files_are_read_as_the_reference_opens_them() -> None:
    plain = 0
    for path in sorted(PHOTOS.glob("*.jpg")):
        with Image.open(path) as opened:
            if opened.getexif().get(0x0112, 1) != 1 or opened.info.get("icc_profile"):
                continue
            assert np.array_equal(np.asarray(read_image(path)), np.asarray(opened.convert("RGB"))), path.name
            plain += 1
    assert plain >= 10


def test_very_long_pictures_do_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    areas = []
    original = Image.Image.resize

    def watched(self: Image.Image, size: tuple[int, int], *rest: object, **named: object) -> Image.Image:
        areas.append(size[0] * size[1])
        return original(self, size, *rest, **named)

    monkeypatch.setattr(Image.Image, "resize", watched)
    for size in ((30000, 1), (1, 30000), (40000, 90)):
        assert fit_image(Image.new("RGB", size, (10, 20, 30)), CLIP).shape == (224, 224, 3)
    assert max(areas) <= 224 * 224


def test_long_pictures_are_prepared_as_if_resized_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    photo = photos(1)[0].resize((3000, 70))
    kept = fit_image(photo, CLIP).astype(int)
    monkeypatch.setattr("sensorium.media.image._LONGEST", 10**6)
    assert np.abs(kept - fit_image(photo, CLIP)).max() <= 1


def closeness(one: np.ndarray, other: np.ndarray) -> float:
    """Peak signal-to-noise ratio in decibel: 34 is a good JPEG, 40 hardly to be told apart."""
    return float(10 * np.log10(255**2 / np.square(one.astype(float) - other).mean()))


def test_reduced_decoding_leaves_the_pixels_alone() -> None:
    """Half as much again as the side is enough: on photos of twelve megapixels hardly a pixel moves."""
    for photo in photos(4):
        buffer = io.BytesIO()
        photo.resize((4032, 3024), Image.Resampling.LANCZOS).save(buffer, "JPEG", quality=92)
        whole = fit_image(read_image(buffer.getvalue()), CLIP)
        reduced = read_image(buffer.getvalue(), smallest=CLIP.decode_side)
        assert reduced.size == (504, 378)
        assert closeness(fit_image(reduced, CLIP), whole) > 38


@pytest.mark.parametrize("orientation", range(1, 9))
def test_reduction_shifts_nothing(orientation: int) -> None:
    """With sides that are no multiple of eight, the last rows and columns stand for less than the others."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    photo = photos(3)[orientation % 3].resize((1024 * 3 + 1, 683 * 4 + 1), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    photo.save(buffer, "JPEG", quality=95, exif=exif)
    for spec in (CLIP, REFERENCES["siglip"][1]):
        whole = fit_image(read_image(buffer.getvalue()), spec)
        reduced = read_image(buffer.getvalue(), smallest=spec.decode_side)
        assert sorted(reduced.size) == [342, 385]
        as_read = closeness(fit_image(reduced, spec), whole)
        reduced.info.clear()
        stretched = closeness(fit_image(reduced, spec), whole)
        assert as_read > max(35, stretched + 1), (as_read, stretched)


def test_the_extent_is_forgotten_by_a_resize() -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (1001, 801)).save(buffer, "JPEG")
    image = read_image(buffer.getvalue(), smallest=100)
    assert extent(image) == (0, 0, 1001 / 8, 801 / 8)
    assert extent(image.resize((50, 40))) == (0, 0, 50, 40)
    assert extent(Image.new("RGB", (3, 2))) == (0, 0, 3, 2)
    assert prepare(image, CLIP).to_original([[0, 0]]) == pytest.approx(
        prepare(image, CLIP, original=(1001, 801)).to_original([[0, 0]]) / 8
    )


def test_grey_and_transparent_pictures_are_made_rgb() -> None:
    assert fit_image(Image.new("L", (30, 40), 9), CLIP).shape == (224, 224, 3)
    assert fit_image(Image.new("RGBA", (30, 40), (1, 2, 3, 0)), CLIP).min() == 255


sizes = st.integers(1, 5000)
specs = st.builds(
    ImageSpec,
    st.integers(1, 400),
    st.integers(1, 400),
    st.sampled_from(["crop", "squash"]),
    st.integers(1, 400),
    st.just("bilinear"),
    st.just(HALF),
    st.just(HALF),
)


@given(sizes, sizes, specs)
def test_geometry(width: int, height: int, spec: ImageSpec) -> None:
    place = placement(width, height, spec)
    if spec.fit == "squash":
        assert place == (spec.width, spec.height, 0, 0)
        return
    assert min(place.width, place.height) == spec.resize
    long, short = max(width, height), min(width, height)
    assert 0 <= spec.resize * long / short - max(place.width, place.height) < 1
    assert abs(2 * place.left + spec.width - place.width) <= 1
    assert abs(2 * place.top + spec.height - place.height) <= 1


@given(
    st.integers(1, 300),
    st.integers(1, 300),
    specs,
    st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1),
)
def test_points_find_their_way_back(
    width: int, height: int, spec: ImageSpec, shares: list[tuple[float, float]]
) -> None:
    spec = ImageSpec(16, 20, spec.fit, min(spec.resize, 40), "nearest", HALF, HALF)
    prepared = prepare(Image.new("RGB", (width, height)), spec)
    points = np.array(shares) * (width, height)
    assert np.allclose(prepared.to_original(prepared.from_original(points)), points, atol=1e-6)
    boxes = np.concatenate([points, points[::-1]], axis=1)
    assert np.allclose(prepared.to_original(prepared.from_original(boxes)), boxes, atol=1e-6)


def test_a_spot_is_found_where_it_was() -> None:
    """The brightest pixel of the prepared picture maps back onto the only bright pixel of the original."""
    for fit in ("crop", "squash"):
        spec = ImageSpec(60, 80, fit, 60, "bilinear", HALF, HALF)  # type: ignore[arg-type]
        picture = Image.new("RGB", (30, 24))
        picture.putpixel((17, 9), (255, 255, 255))
        prepared = prepare(picture, spec)
        row, column = np.unravel_index(prepared.pixels[0].argmax(), prepared.pixels[0].shape)
        spot = prepared.to_original([[column + 0.5, row + 0.5]])[0]
        assert np.abs(spot - (17.5, 9.5)).max() < 0.5


def test_a_reduced_picture_answers_in_pixels_of_the_file() -> None:
    small = Image.new("RGB", (500, 375))
    whole = prepare(Image.new("RGB", (4000, 3000)), CLIP).to_original([[10, 20], [200, 30]])
    reduced = prepare(small, CLIP, original=(4000, 3000)).to_original([[10, 20], [200, 30]])
    assert np.allclose(whole, reduced, atol=2)


def test_coordinates_have_two_or_four_columns() -> None:
    prepared = prepare(Image.new("RGB", (5, 5)), CLIP)
    with pytest.raises(ValueError, match="points"):
        prepared.to_original([1.0, 2.0])


@pytest.mark.parametrize(
    "change",
    [{"height": 0}, {"fit": "pad"}, {"resample": "cubic"}, {"std": (0.0, 1.0, 1.0)}, {"mean": (1.0,)}],
)
def test_specs_that_prepare_nothing_are_refused(change: dict[str, object]) -> None:
    fields = {
        "height": 8,
        "width": 8,
        "fit": "crop",
        "resize": 8,
        "resample": "box",
        "mean": HALF,
        "std": HALF,
    }
    with pytest.raises(ValueError, match=next(iter(change))):
        ImageSpec(**(fields | change))  # type: ignore[arg-type]

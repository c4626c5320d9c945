"""Pictures to be cut: seen over white, cut with the transparency that they have."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sensorium.errors import BadImageError
from sensorium.skills.segment.pictures import read


def stored(image: Image.Image, kind: str = "PNG", **options: Any) -> io.BytesIO:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file


def halves(mode: str = "RGBA") -> Image.Image:
    """Red; the left half is half transparent."""
    image = Image.new("RGBA", (40, 30), (200, 0, 0, 255))
    image.paste((200, 0, 0, 128), (0, 0, 20, 30))
    return image.convert(mode)


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_what_is_half_transparent_is_seen_over_white_and_cut_as_it_is(kind: str) -> None:
    options = {"lossless": True} if kind == "WEBP" else {}
    picture = read(stored(halves(), kind, **options))
    assert picture.rgb.mode == "RGB"
    assert picture.rgb.getpixel((5, 5)) == (227, 127, 127)
    assert picture.rgba.getpixel((5, 5)) == (200, 0, 0, 128)
    assert picture.rgba.getpixel((30, 5)) == (200, 0, 0, 255)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_both_are_upright(orientation: int) -> None:
    image = halves()
    image.putpixel((39, 0), (0, 0, 255, 255))
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture = read(stored(image, exif=exif))
    assert picture.rgba.size == picture.rgb.size == ((40, 30) if orientation < 5 else (30, 40))
    blue = np.asarray(picture.rgb)[..., 2].astype(int) - np.asarray(picture.rgb)[..., 0]
    alpha = np.asarray(picture.rgba)
    row, column = np.unravel_index(blue.argmax(), blue.shape)
    assert tuple(alpha[row, column]) == (0, 0, 255, 255)


def test_grey_palette_and_deep_pictures() -> None:
    grey = read(stored(halves("LA")))
    level = halves("L").getpixel((30, 5))
    assert grey.rgba.getpixel((5, 5)) == (level, level, level, 128)
    few = halves("RGB").quantize(8)
    few.info["transparency"] = few.getpixel((5, 5))
    palette = read(stored(few, transparency=few.info["transparency"]))
    assert palette.rgba.getpixel((5, 5))[3] == 0
    deep = Image.fromarray(np.full((30, 40), 40_000, np.uint16))
    for options in (
        {},
        {"transparency": 40_000},
    ):  # a colour that is left out, of 65,536 greys: no real alpha
        read_deep = read(stored(deep, **options))
        assert read_deep.rgba.getpixel((5, 5)) == (156, 156, 156, 255)


def test_an_opaque_picture_is_twice_the_same() -> None:
    picture = read(stored(halves("RGB"), "JPEG"))
    assert np.array_equal(np.asarray(picture.rgba)[..., :3], np.asarray(picture.rgb))
    assert picture.rgba.getchannel("A").getextrema() == (255, 255)


def test_broken_exif_leaves_a_picture_as_it_lies() -> None:
    picture = read(stored(halves(), exif=b"Exif\0\0II*\0\xff\xff\xff\xff"))
    assert picture.rgba.size == (40, 30)
    assert picture.rgba.getpixel((5, 5))[3] == 128


@pytest.mark.parametrize("content", [b"", b"text", stored(halves()).getvalue()[:90]])
def test_what_is_no_whole_picture_is_refused(content: bytes) -> None:
    with pytest.raises(BadImageError):
        read(content)

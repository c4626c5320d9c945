"""One scene in every format that people keep: it is found by the same words wherever it is stored."""

from __future__ import annotations

import io
import struct
import sys
import zlib
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pillow_heif
import pylibjxl
import pytest
import tifffile
from colour_profiles import adobe_rgb, display_p3, for_strange_printer, in_profile, strange_printer
from PIL import Image, ImageChops, ImageOps
from PIL.PngImagePlugin import putchunk
from raw_files import dng

import sensorium
from sensorium.errors import BadImageError
from sensorium.media.formats import is_raw
from sensorium.media.image import decode, fit_image, open_image, read_image, sniff
from sensorium.media.raw import _canon_exif
from sensorium.photos.describe.picture import describe, stored_orientation

pillow_heif.register_heif_opener()
pylibjxl.register_pillow()

PHOTOS = Path(__file__).parents[2] / "examples" / "photos"
SCENES = ("IMG_0001.jpg", "IMG_0007.jpg", "IMG_0008.jpg", "IMG_0024.jpg")
_UNDO = {1: 1, 2: 2, 3: 3, 4: 4, 5: 5, 6: 8, 7: 7, 8: 6}


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def turned(image: Image.Image, orientation: int) -> Image.Image:
    """The picture as a camera stores it that notes this orientation."""
    exif = Image.Exif()
    exif[274] = _UNDO[orientation]
    stored = image.copy()
    stored.getexif()[274] = _UNDO[orientation]
    return ImageOps.exif_transpose(stored)


def oriented(image: Image.Image, orientation: int) -> dict[str, bytes]:
    """The picture in every format that knows orientations."""
    stored = turned(image, orientation)
    exif = Image.Exif()
    exif[274] = orientation
    for_heif = stored.copy()
    for_heif.info["exif"] = exif.tobytes()
    jpeg = saved(stored, "JPEG", quality=92, exif=exif)
    return {
        "JPEG": jpeg,
        "PNG": saved(stored, "PNG", exif=exif),
        "WebP": saved(stored, "WEBP", exif=exif),
        "TIFF": saved(stored, "TIFF", exif=exif),
        "AVIF": saved(stored, "AVIF", exif=exif, speed=9),
        "HEIC": saved(for_heif, "HEIF", quality=90),
        "JPEG XL of a JPEG": pylibjxl.jpeg_to_jxl(jpeg, effort=3),
        "RAW": dng(stored, orientation=orientation),
        "RAW with preview": dng(stored, orientation=orientation, preview=stored),
    }


def sixteen_bits(image: Image.Image) -> np.ndarray:
    return np.asarray(image).astype(np.uint16) * 257


def sixteen_bit_png(image: Image.Image) -> bytes:
    """Pillow writes none in colour: its own writer of chunks does, around rows of big-endian values."""
    rows = sixteen_bits(image).astype(">u2")
    buffer = io.BytesIO(b"\x89PNG\r\n\x1a\n")
    buffer.seek(0, io.SEEK_END)
    putchunk(buffer, b"IHDR", struct.pack(">2I5B", image.width, image.height, 16, 2, 0, 0, 0))
    putchunk(buffer, b"IDAT", zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows), 1))
    putchunk(buffer, b"IEND", b"")
    return buffer.getvalue()


def sixteen_bit_tiff(image: Image.Image, **options: object) -> bytes:
    buffer = io.BytesIO()
    values = sixteen_bits(image)
    photometric = "rgb" if values.ndim == 3 else "minisblack"
    tifffile.imwrite(buffer, values, photometric=photometric, metadata=None, **options)
    return buffer.getvalue()


def animation(image: Image.Image, kind: str, **options: object) -> bytes:
    """It begins black, shows the scene, and ends white."""
    black, white = (Image.new("RGB", image.size, colour) for colour in ((0, 0, 0), (255, 255, 255)))
    return saved(black, kind, save_all=True, append_images=[image, white], duration=100, **options)


def in_frame_of_nothing(image: Image.Image) -> Image.Image:
    """Transparent around the scene, which is given back when it is laid on white."""
    whole = image.convert("RGBA")
    whole.putalpha(Image.new("L", image.size, 255))
    return whole


ONE_WAY: dict[str, Callable[[Image.Image], bytes]] = {
    "JPEG": lambda image: saved(image, "JPEG", quality=90),
    "JPEG progressive": lambda image: saved(image, "JPEG", quality=90, progressive=True),
    "JPEG CMYK by Adobe": lambda image: saved(image.convert("CMYK"), "JPEG", quality=92),
    "JPEG CMYK without Adobe's mark": lambda image: plain_cmyk(image),
    "JPEG CMYK with a profile": lambda image: saved(
        for_strange_printer(image), "JPEG", quality=92, icc_profile=strange_printer()
    ),
    "JPEG Display P3": lambda image: saved(
        in_profile(image, display_p3()), "JPEG", quality=92, icc_profile=display_p3()
    ),
    "JPEG Adobe RGB": lambda image: saved(
        in_profile(image, adobe_rgb()), "JPEG", quality=92, icc_profile=adobe_rgb()
    ),
    "HEIC Display P3": lambda image: saved(
        in_profile(image, display_p3()), "HEIF", quality=90, icc_profile=display_p3()
    ),
    "AVIF Display P3": lambda image: saved(
        in_profile(image, display_p3()), "AVIF", quality=90, speed=9, icc_profile=display_p3()
    ),
    "WebP Adobe RGB": lambda image: saved(
        in_profile(image, adobe_rgb()), "WEBP", quality=92, icc_profile=adobe_rgb()
    ),
    "JPEG XL Display P3": lambda image: pylibjxl.encode(
        np.asarray(in_profile(image, display_p3())), effort=3, icc=display_p3()
    ),
    "MPO": lambda image: saved(image, "MPO", quality=92, save_all=True, append_images=[image.rotate(180)]),
    "PNG": lambda image: saved(image, "PNG", compress_level=1),
    "PNG palette": lambda image: saved(image.quantize(256), "PNG"),
    "PNG transparency": lambda image: saved(in_frame_of_nothing(image), "PNG", compress_level=1),
    "PNG 16 bits": sixteen_bit_png,
    "APNG": lambda image: animation(image, "PNG", compress_level=1),
    "APNG with another picture for still viewers": lambda image: animation(
        image, "PNG", compress_level=1, default_image=True
    ),
    "GIF": lambda image: saved(image, "GIF"),
    "GIF animated": lambda image: animation(image, "GIF"),
    "WebP": lambda image: saved(image, "WEBP", quality=90),
    "WebP lossless": lambda image: saved(image, "WEBP", lossless=True, method=0),
    "WebP animated": lambda image: animation(image, "WEBP", quality=90),
    "TIFF": lambda image: saved(image, "TIFF"),
    "TIFF deflated": lambda image: saved(image, "TIFF", compression="tiff_adobe_deflate"),
    "TIFF CMYK": lambda image: saved(image.convert("CMYK"), "TIFF"),
    "TIFF 16 bits": sixteen_bit_tiff,
    "TIFF 16 bits big-endian": lambda image: sixteen_bit_tiff(image, byteorder=">"),
    "BMP": lambda image: saved(image, "BMP"),
    "AVIF": lambda image: saved(image, "AVIF", quality=85, speed=9),
    "HEIC": lambda image: saved(image, "HEIF", quality=85),
    "JPEG 2000": lambda image: saved(image, "JPEG2000", quality_mode="rates", quality_layers=[5]),
    "JPEG XL": lambda image: pylibjxl.encode(np.asarray(image), effort=3),
    "RAW developed": lambda image: dng(larger(image, 1.2)),
    "RAW developed at half size": lambda image: dng(larger(image, 2)),
    "RAW with a small preview": lambda image: dng(larger(image, 2), preview=larger(image, 0.2)),
    "RAW with preview": lambda image: dng(Image.new("RGB", image.size, (9, 9, 9)), preview=image),
}
GREY: dict[str, Callable[[Image.Image], bytes]] = {
    "JPEG grey": lambda image: saved(image, "JPEG", quality=90),
    "PNG grey 16 bits": lambda image: saved(Image.fromarray(sixteen_bits(image)), "PNG"),
    "TIFF grey 16 bits": sixteen_bit_tiff,
    "JPEG 2000 grey": lambda image: saved(image, "JPEG2000"),
    "JPEG XL grey": lambda image: pylibjxl.encode(np.asarray(image)[..., None].copy(), effort=3),
}


def larger(image: Image.Image, times: float) -> Image.Image:
    return image.resize(tuple(2 * round(side * times / 2) for side in image.size))


def plain_cmyk(image: Image.Image) -> bytes:
    """As of a program that neither inverts the inks nor writes Adobe's mark."""
    content = saved(ImageChops.invert(image.convert("CMYK")), "JPEG", quality=92)
    start = content.index(b"\xff\xeeAdobe"[:2] + b"\0\x0eAdobe")
    return content[:start] + content[start + 16 :]


@pytest.fixture(scope="module")
def model() -> object:
    return sensorium.load()


def embedding(model, image: Image.Image) -> np.ndarray:
    vector = np.asarray(model.embed_images([image]), np.float64)[0]
    return vector / np.linalg.norm(vector)


def scene(name: str) -> Image.Image:
    image = read_image(PHOTOS / name)
    return image.crop((0, 0, image.width // 2 * 2, image.height // 2 * 2))


def cosines(model, image: Image.Image, contents: dict[str, bytes]) -> dict[str, float]:
    expected = embedding(model, image)
    side = model.image_spec.decode_side
    return {
        name: float(expected @ embedding(model, read_image(content, smallest=side)))
        for name, content in contents.items()
    }


def test_the_same_scene_in_every_format(model) -> None:
    image = scene("IMG_0008.jpg")
    image.thumbnail((600, 600))
    image = image.crop((0, 0, image.width // 2 * 2, image.height // 2 * 2))
    found = cosines(model, image, {name: make(image) for name, make in ONE_WAY.items()})
    grey = image.convert("L")
    found |= cosines(model, grey, {name: make(grey) for name, make in GREY.items()})
    assert {name: cosine for name, cosine in found.items() if cosine < 0.98} == {}


@pytest.mark.slow
@pytest.mark.parametrize("name", SCENES)
def test_scenes_in_full_size_in_every_format(model, name: str) -> None:
    image = scene(name)
    found = cosines(model, image, {name: make(image) for name, make in ONE_WAY.items()})
    grey = image.convert("L")
    found |= cosines(model, grey, {name: make(grey) for name, make in GREY.items()})
    assert {name: cosine for name, cosine in found.items() if cosine < 0.98} == {}


@pytest.mark.slow
@pytest.mark.parametrize("orientation", range(1, 9))
def test_turned_scenes(model, orientation: int) -> None:
    image = scene("IMG_0024.jpg")
    found = cosines(model, image, oriented(image, orientation))
    assert {name: cosine for name, cosine in found.items() if cosine < 0.98} == {}


def quarters() -> Image.Image:
    pixels = np.full((192, 320, 3), 90, np.uint8)
    pixels[:96, :160], pixels[:96, 160:] = (200, 40, 40), (40, 200, 40)
    pixels[96:, :160] = (40, 40, 200)
    return Image.fromarray(pixels)


def assert_quarters(image: Image.Image, name: str) -> None:
    assert image.mode == "RGB", name
    assert image.width > image.height, name
    found = np.asarray(image.resize((4, 4), Image.Resampling.BOX)).astype(int)[::3, ::3].reshape(4, 3)
    assert [int(pixel.argmax()) for pixel in found[:3]] == [0, 1, 2], (name, found)
    assert np.ptp(found[3]) < 60, (name, found)  # the grey one


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_format_stands_upright(orientation: int) -> None:
    for name, content in oriented(quarters(), orientation).items():
        assert_quarters(read_image(content), name)
        with open_image(content) as image:
            size, noted = image.size, 1 if image.format == "PNG" else stored_orientation(image)
            read_image(content)
            noted = stored_orientation(image) if image.format == "PNG" else noted
            facts = describe(image, size=size, orientation=noted, name="x")
            assert (facts.width, facts.height) == (320, 192), name
            assert facts.kind == ("raw" if name.startswith("RAW") else "photo")


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
@pytest.mark.parametrize("told", [True, False])
def test_previews_of_raw_files_that_stand_already_are_not_turned_twice(orientation: int, told: bool) -> None:
    stored = turned(quarters(), orientation)
    if orientation == 3 and not told:
        return  # upside down and silent about it: no one can tell
    content = dng(
        stored, orientation=orientation, preview=quarters(), preview_orientation=1 if told else None
    )
    assert_quarters(read_image(content, smallest=100), "upright preview")


def test_raw_files_give_their_preview_only_when_it_is_large_enough() -> None:
    dark, bright = Image.new("RGB", (320, 192), (20, 20, 20)), Image.new("RGB", (160, 96), (250, 250, 250))
    content = dng(dark, preview=bright)
    assert read_image(content, smallest=96).size == (160, 96)
    assert read_image(content, smallest=97).size == (320, 192)
    assert read_image(content).size == (320, 192)
    assert read_image(dng(Image.new("RGB", (2200, 2100)))).size == (1100, 1050)


def test_broken_previews_are_passed_over() -> None:
    content = bytearray(dng(quarters(), preview=quarters()))
    start = content.index(b"\xff\xd8")
    content[start : content.index(b"\xff\xd9", start)] = bytes(content.index(b"\xff\xd9", start) - start)
    assert_quarters(read_image(bytes(content)), "developed")


def test_raw_files_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    contents = {"raw": dng(quarters()), "jxl": pylibjxl.encode(np.asarray(quarters()), effort=1)}
    for name in contents:
        monkeypatch.delitem(sys.modules, f"sensorium.media.{name}", raising=False)
    monkeypatch.setitem(sys.modules, "rawpy", None)
    monkeypatch.setitem(sys.modules, "pylibjxl.pillow_plugin", None)
    for content in contents.values():
        with pytest.raises(BadImageError, match=r"sensorium\[photos\]"):
            read_image(content)


def test_ordinary_tiffs_are_no_raw_files() -> None:
    exif = Image.Exif()
    exif[271], exif[272] = "Acme", "Scanner"
    with open_image(saved(quarters(), "TIFF", exif=exif)) as image:
        assert image.format == "TIFF"


def test_animations_show_their_first_frame_that_shows_anything() -> None:
    for kind in ("GIF", "WEBP", "PNG", "AVIF"):
        assert_quarters(read_image(animation(quarters(), kind)), kind)
    blank = Image.new("RGB", (32, 20), (0, 0, 0))
    for kind in ("GIF", "WEBP", "PNG"):
        content = saved(blank, kind, save_all=True, append_images=[Image.new("RGB", (32, 20), (9, 9, 9))])
        assert read_image(content).getpixel((5, 5)) == pytest.approx((0, 0, 0), abs=2), kind
    clear = Image.new("RGBA", (320, 192), (0, 0, 0, 0))
    content = saved(clear, "PNG", save_all=True, append_images=[quarters().convert("RGBA")])
    assert_quarters(read_image(content), "transparent first")


def test_profiles_change_numbers_not_colours() -> None:
    image = scene("IMG_0024.jpg").resize((64, 48))
    for profile in (display_p3(), adobe_rgb()):
        content = saved(in_profile(image, profile), "PNG", icc_profile=profile)
        difference = np.abs(np.asarray(read_image(content)).astype(int) - np.asarray(image))
        assert difference.mean() < 3
        ignored = np.abs(np.asarray(in_profile(image, profile)).astype(int) - np.asarray(image))
        assert ignored.mean() > 2 * difference.mean()


def test_fitting_takes_what_reading_gives(model) -> None:
    pixels = fit_image(read_image(dng(quarters()), smallest=384), model.image_spec)
    assert pixels.shape == (model.image_spec.height, model.image_spec.width, 3)


def box(name: bytes, content: bytes) -> bytes:
    return (len(content) + 8).to_bytes(4, "big") + name + content


def canon(*parts: dict[int, object]) -> bytes:
    """The head of a CR3: three boxes of EXIF."""
    boxes = b""
    for name, fields in zip((b"CMT1", b"CMT2", b"CMT4"), parts, strict=True):
        exif = Image.Exif()
        exif.update(fields)
        boxes += box(name, exif.tobytes()[6:])
    return box(b"ftyp", b"crx \0\0\0\1crx isom") + box(b"moov", box(b"uuid", bytes(16) + boxes))


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_exif_of_canon() -> None:
    place = {1: "N", 2: (35.0, 30.0, 0.0), 3: "E", 4: (139.0, 30.0, 0.0)}
    content = canon({271: "Canon", 272: "R"}, {0x9003: "2021:07:04 09:08:07"}, place)
    exif = _canon_exif(content)
    assert (exif[271], exif[272]) == ("Canon", "R")
    assert exif.get_ifd(0x8769)[0x9003] == "2021:07:04 09:08:07"
    assert [float(part) for part in exif.get_ifd(0x8825)[2]] == [35, 30, 0]
    for at in range(len(content)):
        damaged = bytearray(content)
        damaged[at] ^= 0x81
        _canon_exif(bytes(damaged))
        dict(_canon_exif(content[:at]))


@pytest.mark.parametrize("head", [b"IIRO", b"IIRS", b"IIU\0"])
def test_makers_with_first_bytes_of_their_own(head: bytes) -> None:
    content = head + dng(quarters(), orientation=6, preview=quarters())[4:]
    assert sniff(content) == "RAW"
    with open_image(content) as image:
        assert image.format == "RAW"
        assert image.getexif()[271] == "Acme"
        assert 274 not in image.getexif()


def test_the_pixel_limit_holds_for_what_is_developed() -> None:
    content = dng(quarters())
    with pytest.raises(BadImageError, match="limit"):
        read_image(content, pixel_limit=320 * 192 - 1)
    assert read_image(content, pixel_limit=320 * 192).size == (320, 192)


@pytest.mark.parametrize(
    ("reduced", "make", "pages_below", "raw"),
    [
        (1, "Nikon", 1, True),
        (0, "Scanner", 1, False),
        (1, "", 1, False),
        (1, "Scanner", 0, False),
    ],
)
def test_makers_that_begin_with_a_thumbnail(reduced: int, make: str, pages_below: int, raw: bool) -> None:
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer) as writer:
        tags = [(271, "s", 0, make, True)] if make else []
        first = np.asarray(quarters().resize((80, 48)))
        writer.write(
            first, photometric="rgb", subifds=pages_below, subfiletype=reduced, extratags=tags, metadata=None
        )
        for _ in range(pages_below):
            writer.write(np.asarray(quarters()), photometric="rgb", metadata=None)
    assert is_raw(buffer) == raw
    with pytest.raises(BadImageError, match="LibRaw does not know") if raw else nullcontext():
        assert_quarters(read_image(buffer.getvalue()), "not raw")


def test_raw_files_beyond_all_cameras_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sensorium.media.raw.MOST_BYTES", 1000)
    with pytest.raises(BadImageError, match="larger than"):
        read_image(dng(quarters()))


def test_an_animated_jpeg_xl_is_one() -> None:
    """A red and a green frame of 8 x 8 pixels, by libjxl's own cjxl from a GIF made for this test."""
    content = bytes.fromhex(
        "ff0a41040158505c120808a002000064004b188b15c24902e605240018f2c778fb03000000000000"
        "00000808a042000060004b188b15c25142ea05240010648feb020000000000000000"
    )
    with open_image(content) as image:
        size, _ = image.size, decode(image)
        facts = describe(image, size=size, orientation=1, name="x.jxl")
    assert (facts.kind, facts.frames, facts.width, facts.height) == ("animation", 1, 8, 8)

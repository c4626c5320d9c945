"""Every kind of file that people keep, upright and in sRGB; a reason for each that cannot be read."""

from __future__ import annotations

import io
import random
import struct
from pathlib import Path

import numpy as np
import pillow_heif
import pytest
from PIL import Image, ImageCms

from sensorium.errors import BadImageError
from sensorium.media import decode as decoding
from sensorium.media.image import decode, default_pixel_limit, open_image, read_image, sniff, to_rgb

pillow_heif.register_heif_opener()  # so that the tests can write HEIC; reading does not need it

PHOTOS = Path(__file__).parents[2] / "examples" / "photos"
FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "AVIF", "HEIF", "GIF", "BMP", "MPO")
LOSSLESS = {"PNG", "TIFF", "GIF", "BMP"}


def corners() -> Image.Image:
    """Four quarters in four colours, wider than high: any wrong turn shows."""
    pixels = np.zeros((48, 80, 3), np.uint8)
    pixels[:24, :40], pixels[:24, 40:] = (255, 0, 0), (0, 255, 0)
    pixels[24:, :40], pixels[24:, 40:] = (0, 0, 255), (255, 255, 0)
    return Image.fromarray(pixels)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def assert_same_quarters(image: Image.Image) -> None:
    assert image.mode == "RGB"
    assert image.size == (80, 48)
    found = np.asarray(image).astype(int)[12:48:24, 20:80:40]
    expected = np.asarray(corners()).astype(int)[12:48:24, 20:80:40]
    assert np.abs(found - expected).max() <= 24


@pytest.mark.parametrize("kind", FORMATS)
def test_each_format_is_read_by_content(kind: str, tmp_path: Path) -> None:
    content = encoded(corners(), kind)
    misnamed = tmp_path / "picture.txt"
    misnamed.write_bytes(content)
    for source in (content, misnamed, io.BytesIO(content)):
        assert_same_quarters(read_image(source))
    assert misnamed.read_bytes() == content
    if kind in LOSSLESS:
        assert np.array_equal(np.asarray(read_image(content)), np.asarray(corners()))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "MPO", "PNG", "WEBP", "TIFF", "AVIF", "HEIF"])
def test_pictures_stand_upright(kind: str, orientation: int) -> None:
    undo = {2: 2, 3: 3, 4: 4, 5: 5, 6: 8, 7: 7, 8: 6}
    stored = corners()
    if orientation > 1:
        stored = stored.transpose(decoding._TURNS[undo[orientation]])
    exif = Image.Exif()
    exif[0x0112] = orientation
    if kind == "HEIF":  # its writer takes the orientation from here and stores it as a transform
        stored.info["exif"] = exif.tobytes()
        content = encoded(stored, kind)
    else:
        content = encoded(stored, kind, exif=exif)
    assert_same_quarters(read_image(content))


def test_nonsense_orientations_are_ignored() -> None:
    for value in (0, 9, 77):
        exif = Image.Exif()
        exif[0x0112] = value
        assert_same_quarters(read_image(encoded(corners(), "JPEG", exif=exif)))


def test_a_reduced_jpeg_is_turned_too() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    stored = corners().resize((800, 480)).transpose(Image.Transpose.ROTATE_90)
    image = read_image(encoded(stored, "JPEG", exif=exif), smallest=60)
    assert image.size == (100, 60)
    assert_same_quarters(image.resize((80, 48)))


@pytest.mark.parametrize(
    ("size", "smallest", "expected"),
    [
        ((4000, 3000), 224, (500, 375)),
        ((4000, 3000), 448, (1000, 750)),
        ((4000, 3000), 1500, (2000, 1500)),
        ((4000, 3000), 1501, (4000, 3000)),
        ((1799, 448), 224, (900, 224)),
        ((100, 100), 224, (100, 100)),
    ],
)
def test_reduced_decoding_keeps_the_shortest_side(
    size: tuple[int, int], smallest: int, expected: tuple[int, int]
) -> None:
    content = encoded(Image.new("RGB", size, (90, 120, 30)), "JPEG")
    assert read_image(content, smallest=smallest).size == expected


def test_only_jpegs_are_reduced() -> None:
    assert read_image(encoded(corners(), "PNG"), smallest=4).size == (80, 48)


def test_transparency_is_over_white() -> None:
    picture = Image.new("RGBA", (4, 4), (200, 0, 0, 0))
    picture.putpixel((1, 1), (0, 0, 100, 128))
    picture.putpixel((2, 2), (10, 20, 30, 255))
    for kind in ("PNG", "TIFF"):
        result = read_image(encoded(picture, kind))
        assert result.getpixel((0, 0)) == (255, 255, 255)
        assert result.getpixel((1, 1)) == pytest.approx((127, 127, 177), abs=1)
        assert result.getpixel((2, 2)) == (10, 20, 30)


def test_grey_with_alpha_and_transparent_palette() -> None:
    grey = Image.new("LA", (3, 3), (40, 0))
    grey.putpixel((1, 1), (40, 255))
    result = read_image(encoded(grey, "PNG"))
    assert (result.getpixel((0, 0)), result.getpixel((1, 1))) == ((255, 255, 255), (40, 40, 40))
    palette = Image.new("P", (2, 1))
    palette.putpalette([1, 2, 3, 200, 100, 50])
    palette.putpixel((1, 0), 1)
    result = read_image(encoded(palette, "PNG", transparency=0))
    assert (result.getpixel((0, 0)), result.getpixel((1, 0))) == ((255, 255, 255), (200, 100, 50))


def test_a_colour_key_is_transparent() -> None:
    picture = Image.new("RGB", (2, 1), (9, 8, 7))
    picture.putpixel((1, 0), (50, 60, 70))
    result = read_image(encoded(picture, "PNG", transparency=(9, 8, 7)))
    assert (result.getpixel((0, 0)), result.getpixel((1, 0))) == ((255, 255, 255), (50, 60, 70))


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_are_scaled_not_clipped(kind: str) -> None:
    values = np.linspace(0, 65535, 256 * 4).round().astype(np.uint16).reshape(4, 256)
    result = np.asarray(read_image(encoded(Image.fromarray(values), kind)))
    assert result.shape == (4, 256, 3)
    assert np.abs(result[..., 0].astype(float) - values / 257).max() <= 0.5
    assert np.array_equal(result[..., 0], result[..., 2])


def test_big_endian_integer_and_float_greys() -> None:
    ramp = np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8)
    expected = np.rint(ramp * 255)
    for image in (
        Image.fromarray(ramp),
        Image.fromarray(ramp * np.float32(255)),
        Image.fromarray((ramp * 65535).astype(np.int32)),
        Image.frombytes("I;16B", (8, 8), (ramp * 65535).astype(">u2").tobytes()),
    ):
        assert np.abs(np.asarray(to_rgb(image))[..., 1] - expected).max() <= 1
    holes = ramp.copy()
    holes[0, 0], holes[0, 1] = np.nan, np.inf
    assert to_rgb(Image.fromarray(holes)).getpixel((0, 0)) == (0, 0, 0)
    assert to_rgb(Image.fromarray(holes)).getpixel((1, 0)) == (255, 255, 255)


@pytest.mark.parametrize("mode", ["1", "L", "P", "YCbCr", "HSV", "LAB", "RGBX", "CMYK", "PA", "La", "RGBa"])
def test_every_mode_becomes_rgb(mode: str) -> None:
    source = Image.new("RGB", (6, 5), (255, 255, 255))
    if mode == "LAB":
        profiles = (ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"))
        image = ImageCms.profileToProfile(source, *profiles, outputMode="LAB")
    elif mode in ("PA", "La", "RGBa"):
        image = source.convert({"PA": "P", "La": "LA", "RGBa": "RGBA"}[mode]).convert(mode)
    else:
        image = source.convert(mode)
    result = to_rgb(image)
    assert result.mode == "RGB"
    assert np.asarray(result).min() >= 250


def test_cmyk_jpegs_keep_their_colours() -> None:
    colour = (30, 160, 220)
    image = Image.new("RGB", (32, 32), colour).convert("CMYK")
    assert read_image(encoded(image, "JPEG", quality=95)).getpixel((9, 9)) == pytest.approx(colour, abs=6)


def wide_gamut() -> bytes:
    """An RGB profile whose red is far from sRGB's: sRGB with the red and green primaries exchanged."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    tags = {}
    for index in range(struct.unpack(">I", profile[128:132])[0]):
        at = 132 + 12 * index
        tags[bytes(profile[at : at + 4])] = at + 4
    red, green = tags[b"rXYZ"], tags[b"gXYZ"]
    profile[red : red + 8], profile[green : green + 8] = profile[green : green + 8], profile[red : red + 8]
    description = tags[b"desc"]
    where, length = struct.unpack(">II", profile[description : description + 8])
    text = bytes(profile[where : where + length])
    profile[where : where + length] = text.replace(b"s\0R\0G\0B", b"X\0R\0G\0B").replace(b"sRGB", b"XRGB")
    return bytes(profile)


def test_colour_profiles_are_honoured_and_broken_ones_ignored() -> None:
    red = Image.new("RGB", (8, 8), (250, 10, 10))
    for kind in ("PNG", "JPEG", "WEBP", "TIFF"):
        swapped = read_image(encoded(red, kind, icc_profile=wide_gamut())).getpixel((4, 4))
        assert swapped[1] > 200 > 60 > swapped[0], kind
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert read_image(encoded(red, "PNG", icc_profile=srgb)).getpixel((4, 4)) == (250, 10, 10)
    assert read_image(encoded(red, "PNG", icc_profile=b"no profile at all")).getpixel((4, 4)) == (250, 10, 10)
    grey = Image.new("L", (8, 8), 77)
    assert read_image(encoded(grey, "PNG", icc_profile=wide_gamut())).getpixel((4, 4)) == (77, 77, 77)


@pytest.mark.parametrize("kind", ["GIF", "TIFF", "WEBP", "PNG", "AVIF"])
def test_the_first_frame_counts(kind: str) -> None:
    others = [Image.new("RGB", (80, 48), colour) for colour in ((0, 0, 0), (255, 255, 255))]
    options = {"save_all": True, "append_images": others}
    assert_same_quarters(read_image(encoded(corners(), kind, **options)))


@pytest.mark.parametrize("kind", FORMATS)
def test_one_pixel_is_a_picture(kind: str) -> None:
    assert read_image(encoded(Image.new("RGB", (1, 1), (255, 255, 255)), kind), smallest=224).size == (1, 1)


@pytest.mark.parametrize("kind", FORMATS)
def test_cut_files_are_refused_wherever_they_are_cut(kind: str) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (60, 70, 3), dtype=np.uint8)
    content = encoded(Image.fromarray(noise), kind)
    for share in (0.02, 0.1, 0.3, 0.5, 0.7, 0.9):
        with pytest.raises(BadImageError) as caught:
            read_image(content[: int(len(content) * share)])
        assert "\n" not in str(caught.value)
    with pytest.raises(BadImageError, match=r"cut off|damaged"):
        read_image(content[: len(content) // 2], smallest=20)


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("kind", FORMATS)
def test_damage_is_refused_or_survived_but_nothing_else_is_raised(kind: str) -> None:
    generator = random.Random(7)
    noise = np.random.default_rng(1).integers(0, 255, (32, 40, 3), dtype=np.uint8)
    content = encoded(Image.fromarray(noise), kind)
    reasons = []
    for _ in range(150):
        damaged = bytearray(content)
        for _ in range(generator.randint(1, 16)):
            damaged[generator.randrange(len(damaged))] = generator.randrange(256)
        try:
            assert read_image(bytes(damaged), pixel_limit=3_000_000).mode == "RGB"
        except BadImageError as error:
            reasons.append(str(error))
    assert reasons or kind in LOSSLESS
    assert not any("\n" in reason for reason in reasons)


def test_reasons_say_what_the_file_is(tmp_path: Path) -> None:
    reasons = {
        b"": "empty",
        b"Dear diary, today I took a photo of \xe6\xb5\xb7.": "text",
        b"%PDF-1.7 and so on": "PDF",
        b"\0" * 4096: "zeros",
        b"PK\x03\x04rest": "ZIP",
        b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom": "video",
        bytes(range(128, 256)) * 8: "no known picture format",
    }
    for content, word in reasons.items():
        path = tmp_path / "file.jpg"
        path.write_bytes(content)
        with pytest.raises(BadImageError, match=word):
            read_image(path)


def test_paths_that_are_no_files(tmp_path: Path) -> None:
    with pytest.raises(BadImageError, match="no such file"):
        read_image(tmp_path / "absent.jpg")
    with pytest.raises(BadImageError, match="folder"):
        read_image(tmp_path)


def test_the_pixel_limit_is_checked_before_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = encoded(Image.new("1", (20000, 15000)), "PNG")  # 300 megapixels in 40 kilobytes
    loaded = []
    monkeypatch.setattr(Image.Image, "load", lambda self: loaded.append(self))
    with pytest.raises(BadImageError, match="300 megapixels; the limit is"):
        read_image(bomb)
    assert not loaded


def test_the_limit_can_be_raised_and_lowered() -> None:
    content = encoded(Image.new("1", (12000, 10000)), "PNG")  # more than Pillow's own 89 megapixels
    with pytest.raises(BadImageError, match="120 megapixels; the limit is 100"):
        read_image(content, pixel_limit=100_000_000)
    assert read_image(encoded(corners(), "PNG"), pixel_limit=80 * 48).size == (80, 48)
    with pytest.raises(BadImageError, match="limit"):
        read_image(encoded(corners(), "PNG"), pixel_limit=80 * 48 - 1)


def test_reduced_decoding_lowers_the_cost_of_large_jpegs() -> None:
    large = Image.new("L", (6400, 4800))
    baseline, progressive = encoded(large, "JPEG"), encoded(large, "JPEG", progressive=True)
    assert read_image(baseline, smallest=300, pixel_limit=4_000_000).size == (800, 600)
    with pytest.raises(BadImageError, match="limit"):  # it needs the memory of all its coefficients
        read_image(progressive, smallest=300, pixel_limit=4_000_000)
    with pytest.raises(BadImageError, match="limit"):
        read_image(baseline, pixel_limit=4_000_000)


def test_the_default_limit_suits_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    assert 1_000_000 < default_pixel_limit() <= decoding.MOST_PIXELS
    sizes = {"SC_PHYS_PAGES": 2**18, "SC_PAGE_SIZE": 4096}
    monkeypatch.setattr(decoding.os, "sysconf", sizes.__getitem__)
    assert default_pixel_limit() == 2**30 // 64


def test_the_header_can_be_read_alone() -> None:
    with open_image(encoded(corners(), "JPEG")) as header:
        assert (header.format, header.size) == ("JPEG", (80, 48))
        assert_same_quarters(decode(header))


def test_open_files_are_read_from_their_start_and_left_open() -> None:
    file = io.BytesIO(encoded(corners(), "WEBP"))
    file.seek(11)
    assert_same_quarters(read_image(file))
    assert not file.closed


def test_mistakes_of_the_caller_are_not_taken_for_bad_pictures() -> None:
    with pytest.raises(KeyError), open_image(encoded(corners(), "PNG")):
        raise KeyError("ours")


def test_results_carry_no_metadata() -> None:
    exif = Image.Exif()
    exif[0x010F] = "maker"
    assert read_image(encoded(corners(), "JPEG", exif=exif)).info == {}


def test_brands_decide_between_heic_and_avif() -> None:
    def box(major: bytes, *compatible: bytes) -> bytes:
        body = b"ftyp" + major + b"\0\0\0\0" + b"".join(compatible)
        return struct.pack(">I", len(body) + 4) + body

    assert sniff(box(b"mif1", b"avif", b"miaf")) == "AVIF"
    assert sniff(box(b"mif1", b"heic")) == "HEIF"
    assert sniff(box(b"heix", b"mif1")) == "HEIF"
    assert sniff(box(b"isom", b"mp42")) is None
    assert sniff(b"") is None


def test_the_example_photos_are_read() -> None:
    photos = sorted(path for path in PHOTOS.iterdir() if path.suffix != ".md")
    assert len(photos) >= 20
    assert {path.suffix for path in photos} >= {".jpg", ".png", ".webp", ".heic", ".avif"}
    for path in photos:
        image = read_image(path)
        assert image.mode == "RGB", path.name
        assert min(image.size) >= 200, path.name
        assert np.asarray(image).std() > 10, path.name

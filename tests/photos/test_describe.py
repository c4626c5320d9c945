"""What files say about themselves, true or not."""

import io
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from photo_fakes import picture
from PIL import ExifTags, Image, PngImagePlugin, TiffImagePlugin
from raw_files import dng

from sensorium.media.image import decode, open_image
from sensorium.photos.describe.picture import Facts, describe, local_time, stored_orientation

Base, GPS = ExifTags.Base, ExifTags.GPS


def encoded(details=None, gps=None, main=None, kind="JPEG", size=(96, 64)) -> bytes:
    exif = Image.Exif()
    exif.update(main or {})
    if details:
        exif[ExifTags.IFD.Exif] = details
    if gps:
        exif[ExifTags.IFD.GPSInfo] = gps
    buffer = io.BytesIO()
    picture(1, size).save(buffer, kind, exif=exif)
    return buffer.getvalue()


def facts(content: bytes, name: str = "x.jpg") -> Facts:
    with open_image(content) as image:
        size = image.size
        turned = None if image.format == "PNG" else stored_orientation(image)
        decode(image)
        return describe(image, size=size, orientation=turned or stored_orientation(image), name=name)


def when(content: bytes, name: str = "x.jpg") -> tuple[datetime | None, str | None]:
    found = facts(content, name)
    return local_time(found.taken_at, found.taken_offset), found.taken_source


def rationals(degrees: float) -> tuple:
    rational = TiffImagePlugin.IFDRational
    whole = int(degrees)
    minutes = int((degrees - whole) * 60)
    return (
        rational(whole),
        rational(minutes),
        rational(round((degrees - whole - minutes / 60) * 3600 * 10000), 10000),
    )


def place(latitude: float, longitude: float) -> dict:
    return {
        GPS.GPSLatitudeRef: "N" if latitude >= 0 else "S",
        GPS.GPSLatitude: rationals(abs(latitude)),
        GPS.GPSLongitudeRef: "E" if longitude >= 0 else "W",
        GPS.GPSLongitude: rationals(abs(longitude)),
    }


@settings(max_examples=50, deadline=None)
@given(
    st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1)),
    st.integers(-12 * 4, 14 * 4).map(lambda quarters: 15 * quarters),
    st.integers(1, 6),
)
def test_time_with_zone_and_sub_second(moment, offset, digits):
    sign, minutes = "-" if offset < 0 else "+", abs(offset)
    fraction = f"{moment.microsecond:06}"[:digits]
    content = encoded(
        {
            Base.DateTimeOriginal: moment.strftime("%Y:%m:%d %H:%M:%S").rjust(19, "0"),
            Base.OffsetTimeOriginal: f"{sign}{minutes // 60:02}:{minutes % 60:02}",
            Base.SubsecTimeOriginal: fraction,
        }
    )
    expected = moment.replace(
        microsecond=int(fraction.ljust(6, "0")), tzinfo=timezone(timedelta(minutes=offset))
    )
    found = facts(content)
    assert local_time(found.taken_at, found.taken_offset) == expected
    assert found.taken_offset == offset
    utc = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=found.taken_at)
    assert utc == expected


def test_time_without_zone_stays_the_wall_clock():
    taken, source = when(encoded({Base.DateTimeOriginal: "2021:07:04 09:08:07"}))
    assert taken == datetime(2021, 7, 4, 9, 8, 7)
    assert taken.tzinfo is None
    assert source == "original"


def test_the_satellites_reveal_the_zone():
    gps = {GPS.GPSDateStamp: "2021:07:04", GPS.GPSTimeStamp: (1.0, 8.0, 5.0)}
    taken, _ = when(encoded({Base.DateTimeOriginal: "2021:07:04 09:08:07"}, gps))
    assert taken.isoformat() == "2021-07-04T09:08:07+08:00"
    gps[GPS.GPSTimeStamp] = (1.0, 20.0, 0.0)  # no zone is 7 h 48 min away
    assert when(encoded({Base.DateTimeOriginal: "2021:07:04 09:08:07"}, gps))[0].tzinfo is None


LOCAL = datetime(2020, 1, 2, 3, 4, 5)
GPS_TIME = {GPS.GPSDateStamp: "2020:01:02", GPS.GPSTimeStamp: (3.0, 4.0, 5.0)}


@pytest.mark.parametrize(
    ("details", "main", "gps", "name", "expected"),
    [
        ({Base.DateTimeDigitized: "2020:01:02 03:04:05"}, {}, {}, "", (LOCAL, "digitized")),
        (
            {Base.DateTimeOriginal: "0000:00:00 00:00:00"},
            {Base.DateTime: "2020:01:02 03:04:05"},
            {},
            "",
            (LOCAL, "modified"),
        ),
        ({}, {Base.DateTime: "2022:01:02 03:04:05"}, GPS_TIME, "", (LOCAL.replace(tzinfo=UTC), "gps")),
        ({}, {}, {}, "IMG_20200102_030405.jpg", (LOCAL, "name")),
        ({}, {}, {}, "Screenshot 2020-01-02 at 03.04.05.png", (LOCAL, "name")),
        ({}, {}, {}, "IMG-20200102-WA0007.jpg", (datetime(2020, 1, 2), "name")),
        ({}, {}, {}, "IMG_20209902_030405.jpg", (None, None)),
        ({}, {}, {}, "DSC01234.jpg", (None, None)),
        ({Base.DateTimeOriginal: "2020:13:45 99:99:99"}, {}, {}, "", (None, None)),
        (
            {Base.DateTimeOriginal: "2016:12:31 23:59:60"},
            {},
            {},
            "",
            (datetime(2016, 12, 31, 23, 59, 59), "original"),
        ),
    ],
)
def test_what_stands_in_for_a_missing_time(details, main, gps, name, expected):
    assert when(encoded(details, gps, main), name) == expected


@settings(max_examples=50, deadline=None)
@given(st.floats(-90, 90), st.floats(-180, 180))
def test_places_are_signed_degrees(latitude, longitude):
    found = facts(encoded(gps=place(latitude, longitude)))
    if found.latitude is None:
        assert max(abs(latitude), abs(longitude)) < 1e-6
    else:
        assert found.latitude == pytest.approx(latitude, abs=1e-6)
        assert found.longitude == pytest.approx(longitude, abs=1e-6)


@pytest.mark.parametrize(
    "broken",
    [
        {GPS.GPSLatitude: (91.0, 0.0, 0.0)},
        {GPS.GPSLongitude: (181.0, 0.0, 0.0)},
        {GPS.GPSLatitudeRef: "?"},
        {GPS.GPSLatitude: (TiffImagePlugin.IFDRational(1, 0), 0.0, 0.0)},
        {GPS.GPSLatitude: (0.0, 0.0, 0.0), GPS.GPSLongitude: (0.0, 0.0, 0.0)},
    ],
)
def test_impossible_places_are_left_out(broken):
    found = facts(encoded(gps={**place(35.0, 135.0), **broken}))
    assert (found.latitude, found.longitude) == (None, None)


def test_altitude_and_equipment():
    gps = {
        **place(31.5, 35.47),
        GPS.GPSAltitudeRef: b"\x01",
        GPS.GPSAltitude: TiffImagePlugin.IFDRational(4305, 10),
    }
    main = {Base.Make: "Acme\0\0", Base.Model: "  Snap 3 "}
    found = facts(encoded({Base.LensModel: "35mm f/2"}, gps, main))
    assert found.altitude == pytest.approx(-430.5)
    assert (found.camera_make, found.camera_model, found.lens) == ("Acme", "Snap 3", "35mm f/2")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_size_is_upright_in_every_format(kind, orientation):
    found = facts(encoded(main={Base.Orientation: orientation}, kind=kind, size=(96, 64)))
    assert found.orientation == orientation
    assert (found.width, found.height) == ((96, 64) if orientation < 5 else (64, 96))
    assert found.format == kind


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow tells what is broken, too
@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), min_size=1, max_size=40))
def test_corrupt_exif_never_fails_the_photo(flips):
    content = bytearray(CONTENT)
    start = content.index(b"Exif\0\0") + 6
    end = start + int.from_bytes(content[start - 8 : start - 6], "big") - 8
    for offset, value in flips:
        content[start + offset % (end - start)] = value
    with open_image(bytes(content)) as image:
        found = describe(image, size=image.size, orientation=stored_orientation(image), name="x.jpg")
    assert found.format == "JPEG"
    assert {found.width, found.height} == {96, 64}


CONTENT = encoded(
    {Base.DateTimeOriginal: "2021:07:04 09:08:07", Base.OffsetTimeOriginal: "+08:00", Base.LensModel: "35mm"},
    {**place(35.0, 135.0), GPS.GPSDateStamp: "2021:07:04", GPS.GPSTimeStamp: (1.0, 8.0, 5.0)},
    {Base.Make: "Acme", Base.Orientation: 6},
)


@pytest.mark.parametrize(
    ("name", "main", "details", "kind"),
    [
        ("Screenshot_20240102-030405.png", {}, {}, "screenshot"),
        ("Screen Shot 2024-01-02 at 03.04.05.png", {}, {}, "screenshot"),
        ("Bildschirmfoto 2024-01-02.png", {}, {}, "screenshot"),
        ("Capture d’écran 2024-01-02.png", {}, {}, "screenshot"),
        ("屏幕截图 2024-01-02.png", {}, {}, "screenshot"),
        ("微信截图_20240102.png", {}, {}, "screenshot"),
        ("截屏2024-01-02.png", {}, {}, "screenshot"),
        ("スクリーンショット 2024.png", {}, {}, "screenshot"),
        ("IMG_1.png", {}, {Base.UserComment: b"ASCII\0\0\0Screenshot"}, "screenshot"),
        ("IMG_1.png", {}, {Base.UserComment: b"UNICODE\0" + "Screenshot".encode("utf-16-le")}, "screenshot"),
        ("IMG_1.png", {Base.Software: "gnome-screenshot"}, {}, "screenshot"),
        ("Screenshot_1.png", {Base.Make: "Acme"}, {}, "photo"),
        ("screenshotter.png", {}, {}, "photo"),
        ("sunscreen shots.png", {}, {}, "photo"),
        ("IMG_1.png", {}, {}, "photo"),
    ],
)
@pytest.mark.parametrize("file_kind", ["JPEG", "PNG"])
def test_screenshots(name, main, details, kind, file_kind):
    assert facts(encoded(details, main=main, kind=file_kind), name).kind == kind


def test_screenshots_by_the_text_of_a_png():
    text = PngImagePlugin.PngInfo()
    text.add_text("Description", "Screenshot")
    buffer = io.BytesIO()
    picture(1, (64, 48)).save(buffer, "PNG", pnginfo=text)
    assert facts(buffer.getvalue()).kind == "screenshot"


@pytest.mark.parametrize(
    ("size", "main", "details", "kind"),
    [
        ((250, 100), {Base.Model: "Snap"}, {}, "panorama"),
        ((100, 250), {Base.Make: "Acme"}, {}, "panorama"),
        ((239, 100), {Base.Model: "Snap"}, {}, "photo"),
        ((300, 100), {}, {}, "photo"),
        ((150, 100), {}, {Base.CustomRendered: 6}, "panorama"),
        ((150, 100), {}, {Base.CustomRendered: 1}, "photo"),
    ],
)
def test_panoramas(size, main, details, kind):
    assert facts(encoded(details, main=main, size=size)).kind == kind


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "AVIF", "TIFF"])
@pytest.mark.parametrize("frames", [1, 3])
def test_animations_are_told_from_pages(kind, frames):
    buffer = io.BytesIO()
    others = [picture(seed, (64, 48)) for seed in range(2, frames + 1)]
    picture(1, (64, 48)).save(buffer, kind, save_all=True, append_images=others)
    found = facts(buffer.getvalue(), "Screenshot.gif")
    animated = frames > 1 and kind != "TIFF"
    assert found.frames == (frames if animated else 1)
    assert found.kind == ("animation" if animated else "screenshot")
    assert (found.width, found.height) == (64, 48)


def test_windows_fields_and_descriptions():
    def wide(words):
        return words.encode("utf-16-le") + b"\0\0"

    main = {0x9C9B: wide("Am See"), 0x9C9C: wide("Zwei Boote"), 0x9C9E: wide("See;Boot; ;see"), 0x4746: 4}
    found = facts(encoded(main=main))
    assert (found.title, found.caption, found.keywords) == ("Am See", "Zwei Boote", ("See", "Boot"))
    assert found.rating == 4
    assert facts(encoded(main={Base.ImageDescription: "Two boats"})).caption == "Two boats"
    for filler in ("OLYMPUS DIGITAL CAMERA         ", "SONY DSC", "DCIM100", "default", "Screenshot"):
        assert facts(encoded(main={Base.ImageDescription: filler})).caption is None


def iptc(*records: tuple[int, int, bytes]) -> bytes:
    """The block as Photoshop embeds it in a JPEG."""
    body = b"".join(
        b"\x1c" + bytes((a, b)) + len(value).to_bytes(2, "big") + value for a, b, value in records
    )
    resource = b"8BIM\x04\x04\0\0" + len(body).to_bytes(4, "big") + body + b"\0" * (len(body) % 2)
    segment = b"Photoshop 3.0\0" + resource
    plain = encoded()
    return plain[:2] + b"\xff\xed" + (len(segment) + 2).to_bytes(2, "big") + segment + plain[2:]


def test_iptc():
    found = facts(
        iptc(
            (1, 90, b"\x1b%G"),
            (2, 5, b"Der See"),
            (2, 25, "雪山".encode()),
            (2, 25, b"boat"),
            (2, 55, b"20210704"),
            (2, 60, b"090807+0800"),
            (2, 120, b"Zwei Boote"),
        )
    )
    assert (found.title, found.caption, found.keywords) == ("Der See", "Zwei Boote", ("雪山", "boat"))
    assert local_time(found.taken_at, found.taken_offset).isoformat() == "2021-07-04T09:08:07+08:00"
    assert found.taken_source == "iptc"
    assert facts(iptc((2, 5, "Köln".encode("latin-1")))).title == "Köln"
    assert facts(iptc((2, 55, b"20211399"), (2, 60, b"nonsense"))).taken_at is None
    broken = bytearray(iptc((2, 5, b"Lake")))
    broken[broken.index(b"\x1c\x02\x05") + 3] = 0xFF
    assert facts(bytes(broken)).format == "JPEG"


def test_the_same_moment_in_xmp_gives_the_zone():
    packet = (
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        b'<rdf:Description xmlns:exif="http://ns.adobe.com/exif/1.0/" '
        b'exif:DateTimeOriginal="2021-07-04T09:08:07+02:00"/></rdf:RDF></x:xmpmeta>'
    )
    for clock, zone in (("2021:07:04 09:08:07", 120), ("2021:07:04 09:08:08", None)):
        exif = Image.Exif()
        exif.get_ifd(ExifTags.IFD.Exif)[Base.DateTimeOriginal] = clock
        buffer = io.BytesIO()
        picture(1, (64, 48)).save(buffer, "JPEG", exif=exif, xmp=packet)
        found = facts(buffer.getvalue())
        assert (found.taken_source, found.taken_offset) == ("original", zone)


@pytest.mark.parametrize("preview", [None, picture(2, (64, 48))])
def test_raw_files(preview):
    packet = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"/>'
    found = facts(dng(picture(1, (96, 64)), orientation=6, preview=preview, xmp=packet), "Screenshot_1.dng")
    assert (found.kind, found.format, found.camera_make, found.camera_model) == (
        "raw",
        "RAW",
        "Acme",
        "Raw 1",
    )
    assert (found.width, found.height, found.orientation) == (64, 96, 1)

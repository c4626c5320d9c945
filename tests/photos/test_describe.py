"""What files say about themselves, true or not."""

import io
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from photo_fakes import picture
from PIL import ExifTags, Image, TiffImagePlugin

from sensorium.media.image import decode, open_image
from sensorium.photos.describe import Facts, describe, local_time, stored_orientation

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

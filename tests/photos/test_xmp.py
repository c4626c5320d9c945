"""Titles, keywords, stars and people, by whichever program wrote them, and packets that are attacks."""

import io
import time
from datetime import datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from photo_fakes import picture
from PIL import Image

from sensorium.photos.describe.facts import Told
from sensorium.photos.describe.xmp import MOST_BYTES, read_xmp

SPACES = {
    "rdf": "http://www.w3.org/1999/02/22-rdf-syntax-ns#",
    "dc": "http://purl.org/dc/elements/1.1/",
    "xmp": "http://ns.adobe.com/xap/1.0/",
    "exif": "http://ns.adobe.com/exif/1.0/",
    "tiff": "http://ns.adobe.com/tiff/1.0/",
    "aux": "http://ns.adobe.com/exif/1.0/aux/",
    "photoshop": "http://ns.adobe.com/photoshop/1.0/",
    "lr": "http://ns.adobe.com/lightroom/1.0/",
    "digiKam": "http://www.digikam.org/ns/1.0/",
    "MicrosoftPhoto": "http://ns.microsoft.com/photo/1.0",
    "mwg-rs": "http://www.metadataworkinggroup.com/schemas/regions/",
    "MP": "http://ns.microsoft.com/photo/1.2/",
    "MPRI": "http://ns.microsoft.com/photo/1.2/t/RegionInfo#",
    "MPReg": "http://ns.microsoft.com/photo/1.2/t/Region#",
    "Iptc4xmpExt": "http://iptc.org/std/Iptc4xmpExt/2008-02-29/",
    "GPano": "http://ns.google.com/photos/1.0/panorama/",
}


def packet(inner: str = "", attributes: str = "") -> bytes:
    names = " ".join(f'xmlns:{prefix}="{uri}"' for prefix, uri in SPACES.items())
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
        f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF {names}>'
        f'<rdf:Description rdf:about="" {attributes}>{inner}</rdf:Description>'
        '</rdf:RDF></x:xmpmeta><?xpacket end="w"?>   '
    ).encode()


def bag(name: str, *values: str, container: str = "Bag") -> str:
    items = "".join(f"<rdf:li>{value}</rdf:li>" for value in values)
    return f"<{name}><rdf:{container}>{items}</rdf:{container}></{name}>"


def language(name: str, **texts: str) -> str:
    items = "".join(
        f'<rdf:li xml:lang="{code.replace("_", "-")}">{text}</rdf:li>' for code, text in texts.items()
    )
    return f"<{name}><rdf:Alt>{items}</rdf:Alt></{name}>"


def test_titles_captions_keywords_and_stars() -> None:
    told = read_xmp(
        packet(
            language("dc:title", de="Abend", x_default="Evening &amp; sea")
            + language("dc:description", x_default="Two\nlines")
            + bag("dc:subject", "Beach", " 海边 ", "beach", ""),
            'xmp:Rating="4"',
        )
    )
    assert (told.title, told.caption) == ("Evening & sea", "Two lines")
    assert told.keywords == ("Beach", "海边")
    assert told.rating == 4


@pytest.mark.parametrize(
    ("attributes", "stars"),
    [
        ('xmp:Rating="-1"', -1),
        ('xmp:Rating="0"', None),
        ('xmp:Rating="5.0"', 5),
        ('xmp:Rating="9"', None),
        ('xmp:Rating="many"', None),
        ('MicrosoftPhoto:Rating="75"', 4),
        ('MicrosoftPhoto:Rating="76"', None),
    ],
)
def test_stars(attributes: str, stars: int | None) -> None:
    assert read_xmp(packet(attributes=attributes)).rating == stars


def test_trees_of_keywords_and_the_people_in_them() -> None:
    told = read_xmp(
        packet(
            bag("lr:hierarchicalSubject", "Places|Japan|Kyoto", "People|Family|Anna")
            + bag("digiKam:TagsList", "Places/Japan/Nara", "人物/王小明", container="Seq")
            + bag("dc:subject", "Kyoto", "Anna", "garden", "People")
        )
    )
    assert told.keywords == ("Kyoto", "garden", "Japan", "Places", "Nara")
    assert told.people == ("Anna", "王小明")


REGION = """<rdf:li rdf:parseType="Resource"><mwg-rs:Name>{0}</mwg-rs:Name><mwg-rs:Type>{1}</mwg-rs:Type>
<mwg-rs:Area rdf:parseType="Resource"/></rdf:li>"""


def test_people_in_regions_of_the_metadata_working_group() -> None:
    regions = "".join(
        REGION.format(*pair)
        for pair in (("Anna", "Face"), ("Rex", "Pet"), ("", "Face"), ("Ben", "Face"), ("http", "BarCode"))
    )
    regions += '<rdf:li><rdf:Description mwg-rs:Name="Cleo" mwg-rs:Type="Face"/></rdf:li>'
    told = read_xmp(
        packet(
            '<mwg-rs:Regions rdf:parseType="Resource"><mwg-rs:RegionList><rdf:Bag>'
            + regions
            + "</rdf:Bag></mwg-rs:RegionList></mwg-rs:Regions>"
        )
    )
    assert told.people == ("Anna", "Ben", "Cleo")
    nested = packet(
        "<mwg-rs:Regions><rdf:Description><mwg-rs:RegionList><rdf:Bag>"
        + REGION.format("Dora", "Face")
        + "</rdf:Bag></mwg-rs:RegionList></rdf:Description></mwg-rs:Regions>"
    )
    assert read_xmp(nested).people == ("Dora",)


def test_people_of_microsoft_and_of_iptc() -> None:
    told = read_xmp(
        packet(
            '<MP:RegionInfo rdf:parseType="Resource"><MPRI:Regions><rdf:Bag>'
            '<rdf:li MPReg:Rectangle="0.1, 0.1, 0.2, 0.2" MPReg:PersonDisplayName="Anna"/>'
            '<rdf:li rdf:parseType="Resource">'
            "<MPReg:PersonDisplayName>Émile</MPReg:PersonDisplayName></rdf:li>"
            "</rdf:Bag></MPRI:Regions></MP:RegionInfo>"
            + bag("Iptc4xmpExt:PersonInImage", "Anna", "Ben")
            + '<Iptc4xmpExt:PersonInImageWDetails><rdf:Bag><rdf:li rdf:parseType="Resource">'
            + language("Iptc4xmpExt:PersonName", x_default="Cleo")
            + "</rdf:li></rdf:Bag></Iptc4xmpExt:PersonInImageWDetails>"
        )
    )
    assert told.people == ("Anna", "Ben", "Cleo", "Émile")


@pytest.mark.parametrize(
    ("attributes", "moment", "zone"),
    [
        ('exif:DateTimeOriginal="2021-07-04T09:08:07.25+08:00"', datetime(2021, 7, 4, 9, 8, 7, 250_000), 480),
        ('photoshop:DateCreated="2021-07-04"', datetime(2021, 7, 4), None),
        ('xmp:CreateDate="2021-07-04T09:08Z"', datetime(2021, 7, 4, 9, 8), 0),
        ('xmp:CreateDate="0000-00-00T00:00:00"', None, None),
        ('xmp:ModifyDate="2021-07-04T09:08:07"', None, None),
    ],
)
def test_times(attributes: str, moment: datetime | None, zone: int | None) -> None:
    told = read_xmp(packet(attributes=attributes))
    assert (told.taken, told.zone) == (moment, zone)


@pytest.mark.parametrize(
    ("latitude", "longitude", "place"),
    [
        ("35,42.5N", "139,30E", (35.708333, 139.5)),
        ("33,51,36S", "151,12,30W", (-33.86, -151.208333)),
        ("-12.5", "45.25", (-12.5, 45.25)),
        ("0,0N", "0,0E", None),
        ("91,0N", "10,0E", None),
        ("nowhere", "10,0E", None),
        ("1.2.3N", "10,0E", None),
        ("nan", "nan", None),
    ],
)
def test_places(latitude: str, longitude: str, place: tuple[float, float] | None) -> None:
    height = 'exif:GPSAltitude="1234/10" exif:GPSAltitudeRef="1"'
    told = read_xmp(packet("", f'exif:GPSLatitude="{latitude}" exif:GPSLongitude="{longitude}" {height}'))
    if place is None:
        assert (told.latitude, told.longitude, told.altitude) == (None, None, None)
    else:
        assert (told.latitude, told.longitude) == pytest.approx(place, abs=1e-6)
        assert told.altitude == pytest.approx(-123.4)


def test_equipment_and_panoramas() -> None:
    told = read_xmp(
        packet("<aux:Lens>35mm</aux:Lens>", 'tiff:Make="Acme" tiff:Model="Snap" GPano:ProjectionType="x"')
    )
    assert (told.camera_make, told.camera_model, told.lens, told.panorama) == ("Acme", "Snap", "35mm", True)
    assert not read_xmp(packet(attributes='GPano:UsePanoramaViewer="False"')).panorama


BOMB = b'<!DOCTYPE a [<!ENTITY a "ha"><!ENTITY b "' + b"&a;" * 99 + b'"><!ENTITY c "' + b"&b;" * 99 + b'">]>'


@pytest.mark.parametrize(
    "attack",
    [
        BOMB + b"<a>" + b"&c;" * 999 + b"</a>",
        b'<!DOCTYPE a SYSTEM "http://127.0.0.1:9/x"><a/>',
        b'<!DOCTYPE a [<!ENTITY f SYSTEM "file:///etc/passwd">]><a>&f;</a>',
        b"<a>" * 500_000,
        b"<a>" * 90_000 + b"</a>" * 90_000,
        b"<a>" + b"<b/>" * 300_000 + b"</a>",
        b"<a " + b"".join(b'x%d="" ' % i for i in range(100_000)) + b"/>",
        b" " * (MOST_BYTES + 1),
        b'<?xml version="1.0" encoding="no-such"?><a/>',
        b"\xff\xfe<\0a\0",
        b"\0" * 100,
        b"",
        packet("<dc:title><rdf:Alt/></dc:title>" * 1000),
    ],
)
def test_attacks_say_nothing(attack: bytes) -> None:
    started = time.process_time()
    assert read_xmp(attack) == Told()
    assert time.process_time() - started < 3


def test_long_lists_are_cut() -> None:
    told = read_xmp(
        packet(bag("dc:subject", *map(str, range(9000))) + language("dc:title", x_default="x" * 9999))
    )
    assert len(told.keywords) == 200
    assert len(told.title or "") == 200


def test_other_encodings() -> None:
    assert read_xmp(packet(bag("dc:subject", "雪")).decode().encode("utf-16")).keywords == ("雪",)
    assert read_xmp(packet(bag("dc:subject", "雪")) + b"\0\0").keywords == ("雪",)


CONTENT = packet(
    language("dc:title", x_default="Evening")
    + '<mwg-rs:Regions rdf:parseType="Resource"><mwg-rs:RegionList><rdf:Bag>'
    + REGION.format("Anna", "Face")
    + "</rdf:Bag></mwg-rs:RegionList></mwg-rs:Regions>",
    'exif:DateTimeOriginal="2021-07-04T09:08:07.25+08:00" exif:GPSLatitude="1,2N" exif:GPSLongitude="1,2N"',
)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.integers(0, len(CONTENT) - 1), st.binary(max_size=6)), min_size=1, max_size=9))
def test_damaged_packets_are_never_more_than_silent(changes: list[tuple[int, bytes]]) -> None:
    content = bytearray(CONTENT)
    for at, value in changes:
        content[at : at + len(value)] = value
    told = read_xmp(bytes(content))
    assert all(isinstance(name, str) and name == name.strip() and name for name in told.people)


@settings(max_examples=200, deadline=None)
@given(
    st.text(st.characters(blacklist_categories=("Cs", "Cc"), blacklist_characters="\ufffe\uffff"), min_size=1)
)
def test_any_name_comes_through(name: str) -> None:
    from xml.sax.saxutils import escape

    people = read_xmp(packet(bag("Iptc4xmpExt:PersonInImage", escape(name)))).people
    visible = "".join(character if character.isprintable() else " " for character in name)
    assert people == ((" ".join(visible.split())[:100].strip(),) if visible.strip() else ())


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_packets_are_found_in_every_format(kind: str) -> None:
    from test_describe import facts

    buffer = io.BytesIO()
    options = {"tiffinfo": {700: CONTENT}} if kind == "TIFF" else {"xmp": CONTENT}
    if kind == "PNG":
        from PIL.PngImagePlugin import PngInfo

        text = PngInfo()
        text.add_itxt("XML:com.adobe.xmp", CONTENT.decode())
        options = {"pnginfo": text}
    picture(1, (64, 48)).save(buffer, kind, **options)
    found = facts(buffer.getvalue())
    assert (found.title, found.people, found.taken_source) == ("Evening", ("Anna",), "xmp")
    assert found.taken_offset == 480
    assert Image.open(io.BytesIO(buffer.getvalue())).size == (64, 48)

"""What lies beside a picture fills what the picture itself does not tell."""

import json
from dataclasses import replace
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_xmp import BOMB, bag, language, packet

from sensorium.photos.describe.facts import Told
from sensorium.photos.describe.picture import EPOCH, Facts, local_time, with_sidecar
from sensorium.photos.describe.sidecars import MOST_BYTES, describe_sidecar

BARE = Facts(format="JPEG", width=4, height=3, orientation=1)
XMP = packet(
    language("dc:title", x_default="Evening") + bag("dc:subject", "sea", "Sun"),
    'xmp:Rating="4" exif:DateTimeOriginal="2021-07-04T09:08:07+08:00" exif:GPSLatitude="35,30N" '
    'exif:GPSLongitude="139,30E" tiff:Make="Acme" tiff:Model="Snap"',
)
TAKEOUT = {
    "title": "IMG_1.jpg",
    "description": "At the sea",
    "photoTakenTime": {"timestamp": "1625360887", "formatted": "4 Jul 2021, 01:08:07 UTC"},
    "geoData": {"latitude": 0.0, "longitude": 0.0, "altitude": 0.0},
    "geoDataExif": {"latitude": 35.5, "longitude": 139.5, "altitude": 12.0},
    "people": [{"name": "Anna"}, {"name": ""}, {"nickname": "B"}, "C", {"name": "王小明"}],
}


def takeout(**changes: object) -> bytes:
    return json.dumps({**TAKEOUT, **changes}).encode()


def test_an_xmp_sidecar_fills_what_is_missing() -> None:
    facts = with_sidecar(BARE, XMP, "IMG_1.XMP")
    assert (facts.title, facts.rating, facts.keywords) == ("Evening", 4, ("sea", "Sun"))
    assert (facts.latitude, facts.longitude) == (35.5, 139.5)
    assert (facts.camera_make, facts.camera_model) == ("Acme", "Snap")
    assert local_time(facts.taken_at, facts.taken_offset).isoformat() == "2021-07-04T09:08:07+08:00"
    assert facts.taken_source == "sidecar"


def test_what_the_picture_says_counts() -> None:
    own = replace(
        BARE,
        taken_at=5,
        taken_source="original",
        title="Mine",
        rating=1,
        latitude=1.0,
        longitude=2.0,
        camera_model="Other",
        keywords=("SEA",),
        people=("Anna",),
    )
    facts = with_sidecar(with_sidecar(own, XMP, "a.xmp"), takeout(), "a.jpg.json")
    assert replace(facts, keywords=(), people=(), caption=None) == replace(own, keywords=(), people=())
    assert facts.keywords == ("SEA", "Sun")
    assert facts.people == ("Anna", "王小明")
    assert facts.caption == "At the sea"


@pytest.mark.parametrize("source", ["modified", "name"])
def test_guessed_times_give_way(source: str) -> None:
    facts = with_sidecar(replace(BARE, taken_at=5, taken_source=source), takeout(), "a.jpg.json")
    assert facts.taken_at == (datetime(2021, 7, 4, 1, 8, 7) - EPOCH).total_seconds() * 1e6
    assert (facts.taken_offset, facts.taken_source) == (0, "sidecar")


def test_google_takeout() -> None:
    told = describe_sidecar(takeout(), "IMG_1.jpg.supplemental-metadata.json")
    assert told == Told(
        taken=datetime(2021, 7, 4, 1, 8, 7),
        zone=0,
        latitude=35.5,
        longitude=139.5,
        altitude=12.0,
        caption="At the sea",
        people=("Anna", "王小明"),
    )


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (b"", "a.xmp"),
        (b"", "a.json"),
        (b"[" * 100_000, "a.json"),
        (b"\xff\xfe\x00", "a.json"),
        (b'{"some": "settings"}', "a.json"),
        (b"[1, 2]", "a.json"),
        (takeout(photoTakenTime=[], geoData=None, geoDataExif=7, people={}, description=3), "a.json"),
        (
            takeout(
                photoTakenTime={"timestamp": "9" * 400},
                geoData={"latitude": "x"},
                geoDataExif={"latitude": 1e999, "longitude": 5},
                people=None,
                description="",
            ),
            "a.json",
        ),
        (BOMB + b"<a>&c;</a>", "a.xmp"),
        (XMP, "IMG_1.AAE"),
        (XMP, "no suffix"),
        (b" " * MOST_BYTES + takeout(), "a.json"),
    ],
)
def test_sidecars_that_say_nothing(content: bytes, name: str) -> None:
    assert describe_sidecar(content, name) == Told()
    assert with_sidecar(BARE, content, name) == BARE


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from(sorted(TAKEOUT)), values), values)
def test_any_json_is_survived(fields: dict[str, object], timestamp: object) -> None:
    content = json.dumps({**fields, "photoTakenTime": {"timestamp": timestamp}}).encode()
    facts = with_sidecar(BARE, content, "a.json")
    assert facts.latitude is None or abs(facts.latitude) <= 90
    assert facts.taken_at is None or abs(facts.taken_at) < 2**62

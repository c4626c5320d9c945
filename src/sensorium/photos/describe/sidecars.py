"""Files that lie beside a picture and say more about it: XMP of raw developers, JSON of Google Takeout.

What the picture itself says counts; a sidecar fills what is missing there, and replaces a time that was only
guessed from the file name or from EXIF's time of the last edit. Apple's ``.aae`` holds edits, no facts.
"""

from __future__ import annotations

import json
import math
from dataclasses import replace
from datetime import timedelta

from sensorium.photos.describe import facts as cleaning
from sensorium.photos.describe.facts import Facts, Told, distinct
from sensorium.photos.describe.moments import EPOCH, stored_time
from sensorium.photos.describe.xmp import read_xmp

MOST_BYTES = 4 << 20
"""A larger sidecar is left out, whatever it is: readers need not hand over more."""

_WEAK_SOURCES = (None, "modified", "name")
_TAKEOUT_FIELDS = ("photoTakenTime", "geoData", "geoDataExif", "people", "description")


def with_sidecar(facts: Facts, sidecar: bytes, name: str) -> Facts:
    """The facts of a picture, completed by a sidecar; unchanged by one that cannot be read.

    Args:
        facts: What the picture itself says.
        sidecar: The content of the file beside it.
        name: That file's name, whose suffix tells its kind.
    """
    told = describe_sidecar(sidecar, name)
    if told.taken is not None and facts.taken_source in _WEAK_SOURCES:
        facts = replace(
            facts,
            taken_at=stored_time(told.taken, told.zone),
            taken_offset=told.zone,
            taken_source="sidecar",
        )
    if facts.latitude is None and told.latitude is not None:
        facts = replace(facts, latitude=told.latitude, longitude=told.longitude, altitude=told.altitude)
    if facts.camera_model is None and facts.camera_make is None:
        facts = replace(facts, camera_make=told.camera_make, camera_model=told.camera_model)
    return replace(
        facts,
        lens=facts.lens or told.lens,
        title=facts.title or told.title,
        caption=facts.caption or told.caption,
        rating=facts.rating if facts.rating is not None else told.rating,
        keywords=distinct((*facts.keywords, *told.keywords)),
        people=distinct((*facts.people, *told.people)),
        kind="panorama" if told.panorama and facts.kind == "photo" else facts.kind,
    )


def describe_sidecar(sidecar: bytes, name: str) -> Told:
    """What a sidecar says by itself; nothing when it is broken, too large or of a kind without facts."""
    suffix = name.lower().rpartition(".")[2]
    if len(sidecar) > MOST_BYTES:
        return Told()
    if suffix == "xmp":
        return read_xmp(sidecar)
    return _takeout(sidecar) if suffix == "json" else Told()


def _takeout(sidecar: bytes) -> Told:
    """The JSON that Google's export writes for each photo; its time is UTC and its zone unknown."""
    try:
        said = json.loads(sidecar)
    except (ValueError, RecursionError):
        return Told()
    if not isinstance(said, dict) or not any(field in said for field in _TAKEOUT_FIELDS):
        return Told()
    taken = _number(_dictionary(said, "photoTakenTime").get("timestamp"))
    places = (_dictionary(said, field) for field in ("geoData", "geoDataExif"))
    found = [
        cleaning.position(_number(place.get("latitude")), _number(place.get("longitude"))) for place in places
    ]
    place = next((position for position in found if position), None)
    listed = said.get("people")
    people = listed if isinstance(listed, list) else []
    return Told(
        taken=EPOCH + timedelta(seconds=taken) if taken is not None else None,
        zone=0 if taken is not None else None,
        latitude=place and place[0],
        longitude=place and place[1],
        altitude=_height(said) if place else None,
        caption=cleaning.caption(said.get("description")),
        people=cleaning.people(person.get("name") for person in people if isinstance(person, dict)),
    )


def _height(said: dict[str, object]) -> float | None:
    """Metres; Google writes 0 for unknown."""
    heights = (_number(_dictionary(said, field).get("altitude")) for field in ("geoData", "geoDataExif"))
    return cleaning.altitude(next((metres for metres in heights if metres), None))


def _dictionary(parent: dict[str, object], field: str) -> dict[str, object]:
    value = parent.get(field)
    return value if isinstance(value, dict) else {}


def _number(value: object) -> float | None:
    """A number, which may be written as text; not beyond what a height or a time since 1970 can be."""
    try:
        number = float(value) if isinstance(value, int | float | str) else math.nan
    except (ValueError, OverflowError):
        return None
    return number if abs(number) < 5e9 else None

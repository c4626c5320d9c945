"""What a film's container says about it: when, where and with what it was taken.

When. Apple's creation date carries the clock on the spot with its zone. Others write a moment in UTC; where
the file name holds the clock on the spot, as phones name their films, the difference is the zone, as long as
it is one of Earth's. A name alone counts last. Midnight of 1904 or 1970 is a clock that was never set.

Where. ISO 6709 ("+35.0116+135.7681+050.000/"), as Apple and Android write it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timedelta

from sensorium.media.video import Film
from sensorium.photos.describe import facts as cleaning
from sensorium.photos.describe.facts import Facts, text
from sensorium.photos.describe.moments import moment_in_name, parse_moment, stored_time, zone_between

_APPLE = "com.apple.quicktime."
_ANDROID = "com.android."
_FIRST_YEAR = 1971  # clocks that were never set start in 1904 or 1970
_POSITION = re.compile(
    r"(?P<north>[+-]\d{2}(?:\d{2}){0,2}(?:\.\d+)?)(?P<east>[+-]\d{3}(?:\d{2}){0,2}(?:\.\d+)?)"
    r"(?P<up>[+-]\d+(?:\.\d+)?)?"
)


def describe_film(film: Film, name: str) -> Facts:
    """The facts of a film; ``name`` is its file's, which may hold a date. Broken tags lose facts, no more."""
    tags = film.tags
    taken_at, offset, source = _taken(tags, name)
    latitude, longitude, altitude = _position(tags)
    return Facts(
        format=film.format,
        width=film.width,
        height=film.height,
        orientation=1,
        taken_at=taken_at,
        taken_offset=offset,
        taken_source=source,
        camera_make=_first(tags, _APPLE + "make", _ANDROID + "manufacturer", "make"),
        camera_model=_first(tags, _APPLE + "model", _ANDROID + "model", "model"),
        latitude=latitude,
        longitude=longitude,
        altitude=altitude,
        kind="video",
        title=_first(tags, _APPLE + "title", "title"),
        caption=cleaning.caption(_first(tags, _APPLE + "description", "description", "comment")),
        keywords=cleaning.keywords((_first(tags, _APPLE + "keywords", "keywords") or "").split(",")),
        rating=None,
        duration=film.duration,
    )


def _first(tags: Mapping[str, str], *names: str) -> str | None:
    return next((found for name in names if (found := text(tags.get(name))) is not None), None)


def _taken(tags: Mapping[str, str], name: str) -> tuple[int | None, int | None, str | None]:
    """``taken_at``, ``taken_offset`` and ``taken_source`` as `Facts` has them."""
    moment, zone = parse_moment(tags.get(_APPLE + "creationdate"))
    if moment is not None and moment.year >= _FIRST_YEAR:
        return stored_time(moment, zone), zone, "original"
    named = moment_in_name(name)
    for field in ("creation_time", "date_utc", "date"):
        universal, zone = parse_moment(tags.get(field))
        if universal is None or universal.year < _FIRST_YEAR:
            continue
        universal -= timedelta(minutes=zone or 0)
        beside = _zone(named, universal)
        return stored_time(universal, 0), 0 if beside is None else beside, "original"
    return (stored_time(named, None), None, "name") if named else (None, None, None)


def _zone(named: datetime | None, universal: datetime) -> int | None:
    """The zone in which a file was named when it was made."""
    return (
        zone_between(named, universal) if named is not None and named.time() != datetime.min.time() else None
    )


def _position(tags: Mapping[str, str]) -> tuple[float | None, float | None, float | None]:
    told = _first(tags, _APPLE + "location.iso6709", "location", "location-eng", "xyz")
    found = _POSITION.match(told or "")
    if found is None:
        return None, None, None
    place = cleaning.position(_degrees(found["north"], 2), _degrees(found["east"], 3))
    if place is None:
        return None, None, None
    return *place, cleaning.altitude(float(found["up"]) if found["up"] else None)


def _degrees(told: str, digits: int) -> float:
    """Degrees from ±DD.D, ±DDMM.M or ±DDMMSS.S; of the longitude, with one digit more."""
    whole, _, fraction = told[1:].partition(".")
    parts = [whole[:digits], *(whole[at : at + 2] for at in range(digits, len(whole), 2))]
    parts[-1] += f".{fraction or 0}"
    angle = sum(float(part) / 60.0**power for power, part in enumerate(parts))
    return -angle if told[0] == "-" else angle

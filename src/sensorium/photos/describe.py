"""What a picture file says about itself: when, where and with what it was taken.

When. The first of these that holds a possible moment counts, and ``taken_source`` names it:
  original   EXIF DateTimeOriginal
  digitized  EXIF DateTimeDigitized
  gps        the GPS receiver's own date and time, which is UTC
  modified   EXIF DateTime, which editors rewrite
  name       a date in the file name, as phones and messengers write it
The time of the file itself is never taken for it: it is that of the last copy as often as not.
Sub-seconds come from the field beside the moment. The zone is what the moment itself carries, else
OffsetTimeOriginal, OffsetTimeDigitized or OffsetTime, else what the GPS time reveals (the difference,
when it is that of a zone on Earth); else it is unknown, and the wall clock is kept as it is.

Where. Degrees, minutes and seconds with their hemisphere; values that no place on Earth has, and the
exact 0, 0 of a receiver without a fix, are left out. Corrupt EXIF loses the facts, never the photo.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any, TypeVar

from PIL import ExifTags
from PIL.ImageFile import ImageFile

FACTS_VERSION = 1
"""Raised whenever the same file would be described differently."""

EPOCH = datetime(1970, 1, 1)
_MOMENT = re.compile(
    r"\s*(\d{4})[:\-/.](\d{1,2})[:\-/.](\d{1,2})[ T]+(\d{1,2}):(\d{1,2})(?::(\d{1,2})(?:\.(\d+))?)?"
    r"\s*(Z|[+-]\d{2}:?\d{2})?"
)
_ZONE = re.compile(r"\s*(?:(Z)|([+-])(\d{2}):?(\d{2}))\s*")
_NAME = re.compile(
    r"(?<!\d)((?:19|20)\d{2})([-_.]?)(\d{2})\2(\d{2})"
    r"(?:(?:[ _T-]|\s+at\s+)(\d{2})[-_.:h]?(\d{2})[-_.:m]?(\d{2}))?(?!\d)"
)
_QUARTER_ZONES = (345, 525, 765, 825)  # Nepal, Eucla, the Chatham Islands
_CORRUPT = (
    SyntaxError,
    struct.error,
    OSError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    AttributeError,
    EOFError,
    RuntimeError,
)

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Facts:
    """What a file tells about itself; None where it tells nothing that can be true.

    ``width`` and ``height`` are upright. ``taken_at`` is microseconds since 1970 in UTC when
    ``taken_offset`` (minutes east) is known, else the wall clock counted the same way.
    """

    format: str
    width: int
    height: int
    orientation: int
    taken_at: int | None = None
    taken_offset: int | None = None
    taken_source: str | None = None
    camera_make: str | None = None
    camera_model: str | None = None
    lens: str | None = None
    latitude: float | None = None
    longitude: float | None = None
    altitude: float | None = None


def stored_orientation(image: ImageFile) -> int:
    """EXIF orientation, 1 when absent or impossible. Ask before decoding: TIFF forgets it then."""
    value = _attempt(lambda: image.getexif().get(ExifTags.Base.Orientation))
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def describe(image: ImageFile, *, size: tuple[int, int], orientation: int, name: str) -> Facts:
    """Describe an open picture.

    Args:
        image: As ``media.image.open_image`` gives it, decoded or not.
        size: Its ``size`` before any decoding.
        orientation: ``stored_orientation``.
        name: The file's name, which may hold a date.
    """
    main: Mapping[int, Any] = _attempt(image.getexif) or {}
    details = _directory(image, ExifTags.IFD.Exif)
    gps = _directory(image, ExifTags.IFD.GPSInfo)
    # Pillow gives the size of a TIFF upright already.
    width, height = size if orientation < 5 or image.format == "TIFF" else size[::-1]
    taken_at, offset, source = _taken(main, details, gps, name)
    latitude, longitude = _position(gps)
    return Facts(
        format="JPEG" if image.format == "MPO" else image.format or "unknown",
        width=width,
        height=height,
        orientation=orientation,
        taken_at=taken_at,
        taken_offset=offset,
        taken_source=source,
        camera_make=_text(main.get(ExifTags.Base.Make)),
        camera_model=_text(main.get(ExifTags.Base.Model)),
        lens=_text(details.get(ExifTags.Base.LensModel)),
        latitude=latitude,
        longitude=longitude,
        altitude=_altitude(gps) if latitude is not None else None,
    )


def local_time(taken_at: int | None, offset: int | None) -> datetime | None:
    """The stored moment as the clock on the spot showed it; without zone when the zone is unknown."""
    if taken_at is None:
        return None
    moment = EPOCH + timedelta(microseconds=taken_at)
    if offset is None:
        return moment
    return (moment + timedelta(minutes=offset)).replace(tzinfo=timezone(timedelta(minutes=offset)))


def _attempt(read: Callable[[], Value]) -> Value | None:
    """The value, or None where broken metadata makes Pillow's parser fail."""
    try:
        return read()
    except _CORRUPT:
        return None


def _directory(image: ImageFile, which: ExifTags.IFD) -> Mapping[int, Any]:
    return _attempt(lambda: image.getexif().get_ifd(which)) or {}


def _taken(
    main: Mapping[int, Any], details: Mapping[int, Any], gps: Mapping[int, Any], name: str
) -> tuple[int | None, int | None, str | None]:
    tags = ExifTags.Base
    satellite = _satellite_time(gps)
    zones = [
        _zone(details.get(tag))
        for tag in (tags.OffsetTimeOriginal, tags.OffsetTimeDigitized, tags.OffsetTime)
    ]
    zone = next((minutes for minutes in zones if minutes is not None), None)
    clocks = (
        ("original", details.get(tags.DateTimeOriginal), details.get(tags.SubsecTimeOriginal)),
        ("digitized", details.get(tags.DateTimeDigitized), details.get(tags.SubsecTimeDigitized)),
        ("modified", main.get(tags.DateTime), details.get(tags.SubsecTime)),
    )
    for source, value, fraction in clocks:
        if source == "modified" and satellite is not None:
            return _microseconds(satellite), 0, "gps"
        moment, own_zone = _moment(value, fraction)
        if moment is None:
            continue
        minutes = own_zone if own_zone is not None else zone
        if minutes is None and satellite is not None and source == "original":
            minutes = _zone_between(moment, satellite)
        return _microseconds(moment) - (minutes or 0) * 60_000_000, minutes, source
    named = _moment_in_name(name)
    return (_microseconds(named), None, "name") if named else (None, None, None)


def _moment(value: object, fraction: object) -> tuple[datetime | None, int | None]:
    """A moment as EXIF writes it and the zone that it carries itself, in minutes."""
    found = _MOMENT.match(_text(value) or "")
    if not found:
        return None, None
    year, month, day, hour, minute = (int(part) for part in found.groups()[:5])
    digits = found[7] or _text(fraction) or ""
    # Only digits count; a leap second is the last one before it.
    tail = re.match(r"\d*", digits.strip())
    microsecond = int((tail[0] if tail else "")[:6].ljust(6, "0"))
    try:
        moment = datetime(year, month, day, hour, minute, min(int(found[6] or 0), 59), microsecond)
    except ValueError:
        return None, None
    return (moment, _zone(found[8])) if year >= 1800 else (None, None)


def _zone(value: object) -> int | None:
    """Minutes east of UTC from "+08:00", within what exists on Earth."""
    found = _ZONE.fullmatch(_text(value) or "")
    if not found:
        return None
    if found[1]:
        return 0
    minutes = int(found[3]) * 60 + int(found[4])
    minutes = -minutes if found[2] == "-" else minutes
    return minutes if -12 * 60 <= minutes <= 14 * 60 and int(found[4]) < 60 else None


def _zone_between(local: datetime, universal: datetime) -> int | None:
    """The zone in which both are the same moment; None when none fits within five minutes."""
    minutes = (local - universal).total_seconds() / 60
    quarter = round(minutes / 15) * 15
    exists = -12 * 60 <= quarter <= 14 * 60 and (quarter % 30 == 0 or quarter in _QUARTER_ZONES)
    return quarter if exists and abs(minutes - quarter) <= 5 else None


def _satellite_time(gps: Mapping[int, Any]) -> datetime | None:
    def read() -> datetime:
        year, month, day = (
            int(part) for part in re.split(r"[:\-/]", str(gps[ExifTags.GPS.GPSDateStamp]).strip("\0 "))
        )
        hour, minute, second = (float(part) for part in gps[ExifTags.GPS.GPSTimeStamp])
        if not (0 <= hour < 24 and 0 <= minute < 60 and 0 <= second < 61) or not 1980 <= year <= 9000:
            raise ValueError("not a time")
        return datetime(year, month, day) + timedelta(hours=hour, minutes=minute, seconds=second)

    return _attempt(read)


def _moment_in_name(name: str) -> datetime | None:
    for found in _NAME.finditer(name):
        year, month, day = int(found[1]), int(found[3]), int(found[4])
        hour, minute, second = (int(part or 0) for part in found.groups()[4:7])
        try:
            return datetime(year, month, day, hour, minute, second)
        except ValueError:
            continue
    return None


def _microseconds(moment: datetime) -> int:
    return (moment - EPOCH) // timedelta(microseconds=1)


def _position(gps: Mapping[int, Any]) -> tuple[float | None, float | None]:
    tags = ExifTags.GPS
    latitude = _degrees(gps.get(tags.GPSLatitude), gps.get(tags.GPSLatitudeRef), "NS", 90)
    longitude = _degrees(gps.get(tags.GPSLongitude), gps.get(tags.GPSLongitudeRef), "EW", 180)
    if latitude is None or longitude is None or (latitude == 0 and longitude == 0):
        return None, None
    return latitude, longitude


def _degrees(value: Any, hemisphere: object, letters: str, most: float) -> float | None:
    """Signed degrees from (degrees, minutes, seconds) and "N", "S", "E" or "W"."""
    letter = (_text(hemisphere) or "").upper()[:1]

    def read() -> float:
        parts = [float(part) for part in value]
        if not 1 <= len(parts) <= 3 or not all(math.isfinite(part) and part >= 0 for part in parts):
            raise ValueError("not an angle")
        return math.fsum(part / 60.0**power for power, part in enumerate(parts))

    angle = _attempt(read)
    if angle is None or angle > most or not letter or letter not in letters:
        return None
    return -angle if letter == letters[1] and angle else angle


def _altitude(gps: Mapping[int, Any]) -> float | None:
    metres = _attempt(lambda: float(gps[ExifTags.GPS.GPSAltitude]))
    if metres is None or not math.isfinite(metres):
        return None
    below = gps.get(ExifTags.GPS.GPSAltitudeRef) in (1, b"\x01", "\x01")
    metres = -abs(metres) if below else metres
    return metres if -12_000 <= metres <= 100_000 else None


def _text(value: object) -> str | None:
    """Readable text of at most 200 characters, without padding; None when there is none."""
    if isinstance(value, bytes):
        value = value.decode("utf-8", errors="replace")
    if not isinstance(value, str):
        return None
    # Text that a database can hold: no lone surrogates, nothing behind the first zero byte.
    plain = value.split("\0", 1)[0].encode("utf-8", errors="replace").decode("utf-8")
    return "".join(character for character in plain if character.isprintable()).strip()[:200] or None

"""Moments as pictures write them: EXIF, XMP and IPTC fields, zones, dates in file names."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone

from sensorium.photos.describe.facts import text

EPOCH = datetime(1970, 1, 1)
_MOMENT = re.compile(
    r"\s*(\d{4})[:\-/.](\d{1,2})[:\-/.](\d{1,2})"
    r"(?:[ T]+(\d{1,2}):(\d{1,2})(?::(\d{1,2})(?:\.(\d+))?)?\s*(Z|[+-]\d{2}:?\d{2})?)?"
)
_ZONE = re.compile(r"\s*(?:(Z)|([+-])(\d{2}):?(\d{2}))\s*")
_NAME = re.compile(
    r"(?<!\d)((?:19|20)\d{2})([-_.]?)(\d{2})\2(\d{2})"
    r"(?:(?:[ _T-]|\s+at\s+)(\d{2})[-_.:h]?(\d{2})[-_.:m]?(\d{2}))?(?!\d)"
)
_QUARTER_ZONES = (345, 525, 765, 825)  # Nepal, Eucla, the Chatham Islands


def local_time(taken_at: int | None, offset: int | None) -> datetime | None:
    """The stored moment as the clock on the spot showed it; without zone when the zone is unknown."""
    if taken_at is None:
        return None
    moment = EPOCH + timedelta(microseconds=taken_at)
    if offset is None:
        return moment
    return (moment + timedelta(minutes=offset)).replace(tzinfo=timezone(timedelta(minutes=offset)))


def stored_time(moment: datetime, offset: int | None) -> int:
    """The inverse of `local_time`: microseconds since 1970 from a wall clock and its zone in minutes."""
    return (moment - EPOCH) // timedelta(microseconds=1) - (offset or 0) * 60_000_000


def parse_moment(
    value: object, fraction: object = None, *, date_alone: bool = False
) -> tuple[datetime | None, int | None]:
    """A moment as metadata writes it, and the zone that it carries itself in minutes east.

    Args:
        value: "2021:07:04 09:08:07", "2021-07-04T09:08:07.25+08:00" and what comes near.
        fraction: Digits behind the second from a field of their own.
        date_alone: Whether a date without a time counts, as its midnight.
    """
    found = _MOMENT.match(text(value) or "")
    if not found or (found[4] is None and not date_alone):
        return None, None
    year, month, day, hour, minute = (int(part or 0) for part in found.groups()[:5])
    digits = found[7] or text(fraction) or ""
    # Only digits count; a leap second is the last one before it.
    tail = re.match(r"[0-9]*", digits.strip())
    microsecond = int((tail[0] if tail else "")[:6].ljust(6, "0"))
    try:
        moment = datetime(year, month, day, hour, minute, min(int(found[6] or 0), 59), microsecond)
    except ValueError:
        return None, None
    return (moment, parse_zone(found[8])) if year >= 1800 else (None, None)


def parse_zone(value: object) -> int | None:
    """Minutes east of UTC from "+08:00", within what exists on Earth."""
    found = _ZONE.fullmatch(text(value) or "")
    if not found:
        return None
    if found[1]:
        return 0
    minutes = int(found[3]) * 60 + int(found[4])
    minutes = -minutes if found[2] == "-" else minutes
    return minutes if -12 * 60 <= minutes <= 14 * 60 and int(found[4]) < 60 else None


def zone_between(local: datetime, universal: datetime) -> int | None:
    """The zone in which both are the same moment; None when none fits within five minutes."""
    minutes = (local - universal).total_seconds() / 60
    quarter = round(minutes / 15) * 15
    exists = -12 * 60 <= quarter <= 14 * 60 and (quarter % 30 == 0 or quarter in _QUARTER_ZONES)
    return quarter if exists and abs(minutes - quarter) <= 5 else None


def moment_in_name(name: str) -> datetime | None:
    """The first possible date in a file name, with its time when there is one."""
    for found in _NAME.finditer(name):
        year, month, day = int(found[1]), int(found[3]), int(found[4])
        hour, minute, second = (int(part or 0) for part in found.groups()[4:7])
        try:
            return datetime(year, month, day, hour, minute, second)
        except ValueError:
            continue
    return None

"""What is known of a picture: all that its file says, and the part that one of several sources says.

A file says things in several places (EXIF, XMP, IPTC, a sidecar beside it). Each place is read into
`Told`, where everything may be missing; `describe` and `sidecars` join them into `Facts`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from datetime import datetime

FACTS_VERSION = 2
"""Raised whenever the same file would be described differently."""

_LONGEST_TEXT = 200
_LONGEST_CAPTION = 2000
_LONGEST_WORD = 100
_MOST_WORDS = 200
_MOST_PEOPLE = 100


@dataclass(frozen=True, slots=True)
class Facts:
    """What a file tells about itself; None where it tells nothing that can be true.

    ``width`` and ``height`` are upright. ``taken_at`` is microseconds since 1970 in UTC when
    ``taken_offset`` (minutes east) is known, else the wall clock counted the same way. ``kind`` is "photo",
    "screenshot", "animation", "panorama", "raw" or "video"; ``frames`` is 1 unless it is an animation,
    ``duration`` (seconds) is a video's. ``rating`` is 1 to 5 stars, or -1 for rejected. ``keywords`` and
    ``people`` are in the order in which they were found.
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
    kind: str = "photo"
    frames: int = 1
    title: str | None = None
    caption: str | None = None
    keywords: tuple[str, ...] = ()
    rating: int | None = None
    people: tuple[str, ...] = ()
    duration: float | None = None


@dataclass(frozen=True, slots=True)
class Told:
    """What one source says, cleaned but not yet weighed against others.

    ``taken`` is the clock on the spot, ``zone`` its minutes east of UTC when the source says so. ``comment``
    serves to recognise screenshots only. ``panorama`` says that a viewer should treat it as one.
    """

    taken: datetime | None = None
    zone: int | None = None
    camera_make: str | None = None
    camera_model: str | None = None
    lens: str | None = None
    latitude: float | None = None
    longitude: float | None = None
    altitude: float | None = None
    title: str | None = None
    caption: str | None = None
    keywords: tuple[str, ...] = ()
    rating: int | None = None
    people: tuple[str, ...] = ()
    comment: str | None = None
    panorama: bool = False


_TOGETHER = (("taken", "zone"), ("latitude", "longitude", "altitude"))


def joined(*sources: Told) -> Told:
    """One `Told` out of several: the first that says a thing counts; keywords and people are collected."""
    values: dict[str, object] = {
        "keywords": distinct(word for source in sources for word in source.keywords),
        "people": distinct(name for source in sources for name in source.people),
        "panorama": any(source.panorama for source in sources),
    }
    done = {*values, *(name for group in _TOGETHER for name in group)}
    # A zone means nothing without its clock, nor a longitude without its latitude.
    for group in (*_TOGETHER, *((field.name,) for field in fields(Told) if field.name not in done)):
        source = next((source for source in sources if getattr(source, group[0]) is not None), None)
        if source is not None:
            values.update((name, getattr(source, name)) for name in group)
    return Told(**values)  # type: ignore[arg-type]


def text(value: object, longest: int = _LONGEST_TEXT) -> str | None:
    """Readable text on one line, without padding; None when there is none.

    Bytes are taken for UTF-8. The result is text that a database can hold: no lone surrogates, no control
    characters, nothing behind the first zero byte, at most ``longest`` characters.
    """
    if isinstance(value, bytes):
        value = value[: 4 * longest].decode("utf-8", errors="replace")
    if not isinstance(value, str):
        return None
    plain = value[: 4 * longest].split("\0", 1)[0].encode("utf-8", errors="replace").decode("utf-8")
    words = "".join(character if character.isprintable() else " " for character in plain)
    return " ".join(words.split())[:longest].strip() or None


def caption(value: object) -> str | None:
    """As `text`, for what may be several sentences."""
    return text(value, _LONGEST_CAPTION)


def keywords(values: Iterable[object]) -> tuple[str, ...]:
    """Words that describe a picture: cleaned, each once whatever its capitals, within sane numbers."""
    return _words(values, _MOST_WORDS)


def people(values: Iterable[object]) -> tuple[str, ...]:
    """Names of people: as `keywords`."""
    return _words(values, _MOST_PEOPLE)


def distinct(values: Iterable[str]) -> tuple[str, ...]:
    """Each once, in order, the first spelling counts."""
    found: dict[str, str] = {}
    for value in values:
        found.setdefault(value.casefold(), value)
    return tuple(found.values())


def rating(value: object) -> int | None:
    """1 to 5 stars, -1 for rejected; None for unrated or for what is no rating."""
    try:
        stars = round(float(str(value).strip()))
    except (ValueError, OverflowError):
        return None
    return stars if 1 <= stars <= 5 or stars == -1 else None


def position(latitude: float | None, longitude: float | None) -> tuple[float, float] | None:
    """Both, when they are of a place on Earth; not the exact 0, 0 of a receiver without a fix."""
    if latitude is None or longitude is None or (latitude == 0 and longitude == 0):
        return None
    # False for NaN, too.
    return (latitude, longitude) if abs(latitude) <= 90 and abs(longitude) <= 180 else None


def altitude(metres: float | None) -> float | None:
    """Metres above the sea within what people and planes reach."""
    return metres if metres is not None and -12_000 <= metres <= 100_000 else None


def _words(values: Iterable[object], most: int) -> tuple[str, ...]:
    cleaned = (text(value, _LONGEST_WORD) for value in values)
    return distinct(word for word in cleaned if word is not None)[:most]

"""What a picture file says about itself: when, where and with what it was taken, what and whom it shows.

When. The first of these that holds a possible moment counts, and ``taken_source`` names it:
  original   EXIF DateTimeOriginal
  digitized  EXIF DateTimeDigitized
  xmp        XMP's DateTimeOriginal, DateCreated or CreateDate; then "iptc", IPTC's DateCreated
  gps        the GPS receiver's own date and time, which is UTC
  modified   EXIF DateTime, which editors rewrite
  name       a date in the file name, as phones and messengers write it
The time of the file itself is never taken for it: it is that of the last copy as often as not.
Sub-seconds come from the field beside the moment. The zone is what the moment itself carries, else
OffsetTimeOriginal, OffsetTimeDigitized or OffsetTime, else what XMP says of the same moment, else what the
GPS time reveals (the difference, when it is that of a zone on Earth); else it is unknown, and the wall clock
is kept as it is. ("sidecar": see ``sidecars``.)

Where. Degrees, minutes and seconds with their hemisphere; values that no place on Earth has, and the
exact 0, 0 of a receiver without a fix, are left out. EXIF counts before XMP.

What. The first of these kinds that fits:
  raw         the file holds a sensor's data
  animation   it has several frames that follow each other (not the pages of a TIFF; how many is not told by
              the decoder of JPEG XL, whose ``frames`` stay 1)
  screenshot  no camera is named, and a comment, a PNG text, the software or the file name says screenshot
  panorama    XMP marks it for panorama viewers, EXIF as Apple's cameras do, or it comes from a camera and one
              side is at least 2.5 times the other: longer than the crops of cinema, shorter than a sweep
  photo       all else
Title, caption, keywords, stars and people: XMP, then IPTC, then the fields that Windows writes into EXIF.

Corrupt metadata loses the facts, never the photo.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, TypeVar

from PIL import ExifTags
from PIL.ImageFile import ImageFile

from sensorium.photos.describe import facts as cleaning
from sensorium.photos.describe.facts import FACTS_VERSION, Facts, Told, joined, text
from sensorium.photos.describe.iptc import read_iptc
from sensorium.photos.describe.moments import (
    EPOCH,
    local_time,
    moment_in_name,
    parse_moment,
    parse_zone,
    stored_time,
    zone_between,
)
from sensorium.photos.describe.sidecars import with_sidecar
from sensorium.photos.describe.xmp import read_xmp

__all__ = ["EPOCH", "FACTS_VERSION", "Facts", "describe", "local_time", "stored_orientation", "with_sidecar"]

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
_UPRIGHT_FORMATS = ("RAW", "JXL")
# Their decoders turn the picture and give its upright size; what their EXIF says is done already.

_ANIMATED_FORMATS = ("GIF", "WEBP", "PNG", "AVIF")
_MOST_FRAMES = 100_000
_PANORAMA_SHAPE = 2.5
_XMP_TAG = 0x02BC
_RATING_TAG = 0x4746
_WINDOWS_TITLE, _WINDOWS_COMMENT, _WINDOWS_KEYWORDS = 0x9C9B, 0x9C9C, 0x9C9E
_APPLE_PANORAMA = 6  # in CustomRendered, beside the standard's 0 and 1

# What cameras and programs put into ImageDescription when nobody wrote anything.
_NO_CAPTION = re.compile(
    r"(?:olympus|sony|nikon|minolta|konica|samsung|kodak|exif|lg|dcim|dsc|img|image|picture|default|untitled"
    r"|screenshot|digital|camera|photo|jpeg|[\W\d_])*",
    re.IGNORECASE,
)
_SCREENSHOT = re.compile(
    r"(?<![a-z])(?:screen[ _-]?(?:shot|capture|grab|cap)s?(?![a-z])|snipaste|bildschirmfoto"
    r"|capture d.?[ée]cran|captura de (?:pantalla|tela|ecr[ãa])|schermafbeelding|schermata|istantanea schermo"
    r"|sk[äa]rm(?:avbild|bild)|skærmbillede|skjermbilde|zrzut ekranu"
    r"|снимок экрана|ekran g[öo]r[üu]nt[üu]s[üu])"
    r"|スクリーンショット|스크린샷|屏幕截图|屏幕快照|屏幕截屏|螢幕截圖|螢幕快照|截屏|截图|截圖",
    re.IGNORECASE,
)

Value = TypeVar("Value")


def stored_orientation(image: ImageFile) -> int:
    """EXIF orientation, 1 when absent or impossible. Ask before decoding: TIFF forgets it then."""
    if image.format in _UPRIGHT_FORMATS:
        return 1
    value = _attempt(lambda: image.getexif().get(ExifTags.Base.Orientation))
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def describe(image: ImageFile, *, size: tuple[int, int], orientation: int, name: str) -> Facts:
    """Describe an open picture.

    Args:
        image: As ``media.image.open_image`` gives it. Decoded, or of a content that was once: the metadata of
            PNG and JPEG XL comes with the pixels, whose number only ``decode`` checks.
        size: Its ``size`` before any decoding.
        orientation: ``stored_orientation``.
        name: The file's name, which may hold a date.
    """
    main: Mapping[int, Any] = _attempt(image.getexif) or {}
    details = _directory(image, ExifTags.IFD.Exif)
    gps = _directory(image, ExifTags.IFD.GPSInfo)
    # Pillow gives the size of a TIFF upright already.
    width, height = size if orientation < 5 or image.format == "TIFF" else size[::-1]
    xmp = _attempt(lambda: _packet(image, main)) or Told()
    iptc = _attempt(lambda: read_iptc(image)) or Told()
    told = joined(_exif(main, details, gps), xmp, iptc)
    taken_at, offset, source = _taken(main, details, gps, (("xmp", xmp), ("iptc", iptc)), name)
    frames = _frames(image)
    camera = told.camera_make or told.camera_model
    if image.format == "RAW":
        kind = "raw"
    elif frames > 1 or (image.format == "JXL" and getattr(image, "is_animated", False)):
        kind = "animation"
    elif camera is None and _is_screenshot(image, main, details, told, name):
        kind = "screenshot"
    elif told.panorama or (camera and max(width, height) >= _PANORAMA_SHAPE * min(width, height)):
        kind = "panorama"
    else:
        kind = "photo"
    return Facts(
        format="JPEG" if image.format == "MPO" else image.format or "unknown",
        width=width,
        height=height,
        orientation=orientation,
        taken_at=taken_at,
        taken_offset=offset,
        taken_source=source,
        camera_make=told.camera_make,
        camera_model=told.camera_model,
        lens=told.lens,
        latitude=told.latitude,
        longitude=told.longitude,
        altitude=told.altitude,
        kind=kind,
        frames=frames,
        title=told.title,
        caption=told.caption,
        keywords=told.keywords,
        rating=told.rating,
        people=told.people,
    )


def _attempt(read: Callable[[], Value]) -> Value | None:
    """The value, or None where broken metadata makes Pillow's parser fail."""
    try:
        return read()
    except _CORRUPT:
        return None


def _directory(image: ImageFile, which: ExifTags.IFD) -> Mapping[int, Any]:
    return _attempt(lambda: image.getexif().get_ifd(which)) or {}


def _packet(image: ImageFile, main: Mapping[int, Any]) -> Told:
    packet = image.info.get("xmp") or main.get(_XMP_TAG) or b""
    return read_xmp(packet.encode() if isinstance(packet, str) else bytes(packet))


def _exif(main: Mapping[int, Any], details: Mapping[int, Any], gps: Mapping[int, Any]) -> Told:
    """What EXIF says, but for the time, which is weighed against the other sources field by field."""
    tags = ExifTags.Base
    latitude, longitude = _position(gps) or (None, None)
    description = cleaning.caption(main.get(tags.ImageDescription))
    return Told(
        camera_make=text(main.get(tags.Make)),
        camera_model=text(main.get(tags.Model)),
        lens=text(details.get(tags.LensModel)),
        latitude=latitude,
        longitude=longitude,
        altitude=_altitude(gps) if latitude is not None else None,
        title=text(_windows_text(main.get(_WINDOWS_TITLE))),
        caption=cleaning.caption(_windows_text(main.get(_WINDOWS_COMMENT)))
        or (description if description and not _NO_CAPTION.fullmatch(description) else None),
        keywords=cleaning.keywords((_windows_text(main.get(_WINDOWS_KEYWORDS)) or "").split(";")),
        rating=cleaning.rating(main.get(_RATING_TAG)),
        comment=_user_comment(details.get(tags.UserComment)),
        panorama=details.get(tags.CustomRendered) == _APPLE_PANORAMA,
    )


def _windows_text(value: object) -> str | None:
    """The text of an "XP" field: UTF-16 in an array of bytes."""
    if isinstance(value, tuple):
        numbers = value
        value = _attempt(lambda: bytes(numbers))
    return value.decode("utf-16-le", errors="ignore") if isinstance(value, bytes) else None


def _user_comment(value: object) -> str | None:
    """Behind eight bytes that name the character set."""
    if isinstance(value, bytes) and value[:8] == b"UNICODE\0":
        value = value[8:408].decode("utf-16-be" if value[8:9] == b"\0" else "utf-16-le", errors="ignore")
    elif isinstance(value, bytes):
        value = value[8:] if value[:8] in (b"ASCII\0\0\0", bytes(8)) else value
    return text(value)


def _is_screenshot(
    image: ImageFile, main: Mapping[int, Any], details: Mapping[int, Any], told: Told, name: str
) -> bool:
    tags = ExifTags.Base
    said = [told.comment, told.title, told.caption, _user_comment(details.get(tags.UserComment)), name]
    said += [text(main.get(tags.Software)), text(main.get(tags.ImageDescription))]
    said += [text(value) for value in getattr(image, "text", {}).values()]
    return any(_SCREENSHOT.search(words) for words in said if words)


def _frames(image: ImageFile) -> int:
    if image.format not in _ANIMATED_FORMATS:
        return 1
    frames = _attempt(lambda: getattr(image, "n_frames", 1))
    return max(1, min(frames, _MOST_FRAMES)) if isinstance(frames, int) else 1


def _taken(
    main: Mapping[int, Any],
    details: Mapping[int, Any],
    gps: Mapping[int, Any],
    others: tuple[tuple[str, Told], ...],
    name: str,
) -> tuple[int | None, int | None, str | None]:
    """``taken_at``, ``taken_offset`` and ``taken_source``; ``others`` are the sources that are not EXIF."""
    tags = ExifTags.Base
    satellite = _satellite_time(gps)
    zones = [
        parse_zone(details.get(tag))
        for tag in (tags.OffsetTimeOriginal, tags.OffsetTimeDigitized, tags.OffsetTime)
    ]
    zone = next((minutes for minutes in zones if minutes is not None), None)
    for source, value, fraction in (
        ("original", details.get(tags.DateTimeOriginal), details.get(tags.SubsecTimeOriginal)),
        ("digitized", details.get(tags.DateTimeDigitized), details.get(tags.SubsecTimeDigitized)),
    ):
        moment, own_zone = parse_moment(value, fraction)
        if moment is None:
            continue
        minutes = own_zone if own_zone is not None else zone
        if minutes is None:
            same = (told.zone for _, told in others if _same_second(told.taken, moment))
            minutes = next((other for other in same if other is not None), None)
        if minutes is None and satellite is not None and source == "original":
            minutes = zone_between(moment, satellite)
        return stored_time(moment, minutes), minutes, source
    for source, told in others:
        if told.taken is not None:
            return stored_time(told.taken, told.zone), told.zone, source
    if satellite is not None:
        return stored_time(satellite, 0), 0, "gps"
    moment, own_zone = parse_moment(main.get(tags.DateTime), details.get(tags.SubsecTime))
    if moment is not None:
        minutes = own_zone if own_zone is not None else zone
        return stored_time(moment, minutes), minutes, "modified"
    named = moment_in_name(name)
    return (stored_time(named, None), None, "name") if named else (None, None, None)


def _same_second(one: datetime | None, other: datetime) -> bool:
    return one is not None and one.replace(microsecond=0) == other.replace(microsecond=0)


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


def _position(gps: Mapping[int, Any]) -> tuple[float, float] | None:
    tags = ExifTags.GPS
    return cleaning.position(
        _degrees(gps.get(tags.GPSLatitude), gps.get(tags.GPSLatitudeRef), "NS"),
        _degrees(gps.get(tags.GPSLongitude), gps.get(tags.GPSLongitudeRef), "EW"),
    )


def _degrees(value: Any, hemisphere: object, letters: str) -> float | None:
    """Signed degrees from (degrees, minutes, seconds) and "N", "S", "E" or "W"."""
    letter = (text(hemisphere) or "").upper()[:1]

    def read() -> float:
        parts = [float(part) for part in value]
        if not 1 <= len(parts) <= 3 or not all(math.isfinite(part) and part >= 0 for part in parts):
            raise ValueError("not an angle")
        return math.fsum(part / 60.0**power for power, part in enumerate(parts))

    angle = _attempt(read)
    if angle is None or not letter or letter not in letters:
        return None
    return -angle if letter == letters[1] and angle else angle


def _altitude(gps: Mapping[int, Any]) -> float | None:
    metres = _attempt(lambda: float(gps[ExifTags.GPS.GPSAltitude]))
    below = gps.get(ExifTags.GPS.GPSAltitudeRef) in (1, b"\x01", "\x01")
    return cleaning.altitude(-abs(metres) if below and metres is not None else metres)

"""The IPTC-IIM block that the programs of newspapers and older Lightrooms write into JPEG and TIFF."""

from __future__ import annotations

import re

from PIL.ImageFile import ImageFile
from PIL.IptcImagePlugin import getiptcinfo

from sensorium.photos.describe import facts
from sensorium.photos.describe.facts import Told
from sensorium.photos.describe.moments import parse_moment

_CHARACTER_SET = (1, 90)
_UTF8 = b"\x1b%G"
_TITLE, _KEYWORDS, _DATE, _TIME, _HEADLINE, _CAPTION = (
    (2, 5),
    (2, 25),
    (2, 55),
    (2, 60),
    (2, 105),
    (2, 120),
)


def read_iptc(image: ImageFile) -> Told:
    """What the IPTC block of an open picture says.

    Raises:
        Whatever Pillow's parser raises on a broken block: see ``media.decode.DECODER_FAILURES``.
    """
    found = getiptcinfo(image)
    if not found:
        return Told()
    utf8 = found.get(_CHARACTER_SET) == _UTF8

    def words(record: tuple[int, int]) -> list[str]:
        value = found.get(record, [])
        return [_decoded(item, utf8) for item in (value if isinstance(value, list) else [value])]

    def first(*records: tuple[int, int]) -> str | None:
        return next((word for record in records for word in words(record) if word.strip()), None)

    date = re.fullmatch(r"(\d{4})(\d{2})(\d{2})", first(_DATE) or "")
    clock = re.fullmatch(r"(\d{2})(\d{2})(\d{2})([+-]\d{4})?", first(_TIME) or "")
    moment, zone = None, None
    if date:
        hours = f" {clock[1]}:{clock[2]}:{clock[3]}{clock[4] or ''}" if clock else ""
        moment, zone = parse_moment("-".join(date.groups()) + hours, date_alone=True)
    return Told(
        taken=moment,
        zone=zone,
        title=facts.text(first(_TITLE, _HEADLINE)),
        caption=facts.caption(first(_CAPTION)),
        keywords=facts.keywords(words(_KEYWORDS)),
    )


def _decoded(value: bytes, utf8: bool) -> str:
    """Text of a record; without a declared character set it is UTF-8 if it can be, else Latin-1."""
    try:
        return value.decode("utf-8", errors="replace" if utf8 else "strict")
    except UnicodeDecodeError:
        return value.decode("latin-1")

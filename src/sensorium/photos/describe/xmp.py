"""The XMP packet of a picture or of a sidecar, as far as people wrote something into it.

Names come from the regions of the Metadata Working Group (also Apple's, Lightroom's and Google's), from
Microsoft's people tags, from IPTC's PersonInImage, and from keywords below a "People" root as Lightroom,
digiKam and others keep them. A packet is hostile until parsed: no DTD, no entities, bounded in size and in
the number of its elements.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from datetime import datetime
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException, ElementTree

from sensorium.photos.describe import facts
from sensorium.photos.describe.facts import Told
from sensorium.photos.describe.moments import parse_moment

MOST_BYTES = 4 << 20
"""A larger packet is left out. Those of raw developers with painted masks reach some hundred kilobytes."""

_RDF = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"
_XML_LANGUAGE = "{http://www.w3.org/XML/1998/namespace}lang"
_SPACES = {
    "acdsee": "http://ns.acdsee.com/iptc/1.0/",
    "aux": "http://ns.adobe.com/exif/1.0/aux/",
    "dc": "http://purl.org/dc/elements/1.1/",
    "digiKam": "http://www.digikam.org/ns/1.0/",
    "exif": "http://ns.adobe.com/exif/1.0/",
    "exifEX": "http://cipa.jp/exif/1.0/",
    "GPano": "http://ns.google.com/photos/1.0/panorama/",
    "Iptc4xmpExt": "http://iptc.org/std/Iptc4xmpExt/2008-02-29/",
    "lr": "http://ns.adobe.com/lightroom/1.0/",
    "mediapro": "http://ns.iview-multimedia.com/mediapro/1.0/",
    "MicrosoftPhoto": "http://ns.microsoft.com/photo/1.0",
    "MP": "http://ns.microsoft.com/photo/1.2/",
    "MPRI": "http://ns.microsoft.com/photo/1.2/t/RegionInfo#",
    "MPReg": "http://ns.microsoft.com/photo/1.2/t/Region#",
    "mwg-rs": "http://www.metadataworkinggroup.com/schemas/regions/",
    "photoshop": "http://ns.adobe.com/photoshop/1.0/",
    "tiff": "http://ns.adobe.com/tiff/1.0/",
    "xmp": "http://ns.adobe.com/xap/1.0/",
}
_CONTAINERS = tuple(_RDF + name for name in ("Alt", "Bag", "Seq"))
_MOMENTS = ("exif:DateTimeOriginal", "photoshop:DateCreated", "exif:DateTimeDigitized", "xmp:CreateDate")
_TREES = ("lr:hierarchicalSubject", "digiKam:TagsList", "MicrosoftPhoto:LastKeywordXMP")
_PEOPLE_ROOTS = frozenset(
    (
        *("people", "person", "persons", "faces", "who", "personen", "personnes", "personas", "persone"),
        *("pessoas", "люди", "人物", "人", "人们", "人員"),
    )
)
_PANORAMA_SIGNS = ("GPano:ProjectionType", "GPano:UsePanoramaViewer", "GPano:FullPanoWidthPixels")
_MICROSOFT_STARS = {"1": 1, "25": 2, "50": 3, "75": 4, "99": 5}
_MOST_ITEMS = 1000
_MOST_TAGS = 200_000  # a hundred bytes of memory and more for each
_WIDE = (b"\xff\xfe", b"\xfe\xff")  # UTF-16, where a zero byte is half a letter and no padding
_ANGLE = re.compile(r"\s*([0-9.]+)(?:,([0-9.]+))?(?:,([0-9.]+))?\s*([NSEWnsew])\s*")


def read_xmp(packet: bytes) -> Told:
    """What an XMP packet or sidecar says; nothing when it is broken, too large, or an attack."""
    document = _parsed(packet)
    return Told() if document is None else _told(_Description(document))


def _parsed(packet: bytes) -> Element | None:
    if len(packet) > MOST_BYTES or packet.count(b"<") > _MOST_TAGS:
        return None
    if packet[:2] not in _WIDE:
        packet = packet.strip(b"\0 \t\r\n")
    try:
        document: Element = ElementTree.fromstring(packet, forbid_dtd=True)
    except (ParseError, DefusedXmlException, ValueError, LookupError):
        return None
    return document


def _told(found: _Description) -> Told:
    moment, zone = _moment(found)
    place = facts.position(_angle(found.text("exif:GPSLatitude")), _angle(found.text("exif:GPSLongitude")))
    words, names = _keywords(found)
    return Told(
        taken=moment,
        zone=zone,
        camera_make=facts.text(found.text("tiff:Make")),
        camera_model=facts.text(found.text("tiff:Model")),
        lens=facts.text(found.text("exifEX:LensModel") or found.text("aux:Lens")),
        latitude=place and place[0],
        longitude=place and place[1],
        altitude=_altitude(found) if place else None,
        title=facts.text(found.text("dc:title") or found.text("photoshop:Headline")),
        caption=facts.caption(found.text("dc:description") or found.text("acdsee:notes")),
        keywords=facts.keywords(words),
        rating=_rating(found),
        people=facts.people([*_people(found), *names]),
        comment=facts.text(found.text("exif:UserComment")),
        panorama=any(found.text(name) not in (None, "", "False", "false") for name in _PANORAMA_SIGNS),
    )


class _Description:
    """The properties of all ``rdf:Description`` of a packet, by their customary prefixed names."""

    def __init__(self, document: Element) -> None:
        self._properties: dict[str, list[Element | str]] = {}
        for graph in document.iter(_RDF + "RDF"):
            for description in graph.findall(_RDF + "Description"):
                for name, value in _fields(description):
                    self._properties.setdefault(name, []).append(value)

    def text(self, name: str) -> str | None:
        """The value of a property; of several languages the default one, else the first."""
        for value in self._properties.get(_expanded(name), []):
            for text in _texts(value):
                return text
        return None

    def texts(self, name: str) -> list[str]:
        """All values of a property that is a list."""
        return [text for value in self._properties.get(_expanded(name), []) for text in _texts(value)]

    def elements(self, name: str) -> list[Element]:
        """A property as elements, for what is nested deeper."""
        values = self._properties.get(_expanded(name), [])
        return [value for value in values if not isinstance(value, str)]


def _expanded(name: str) -> str:
    prefix, _, local = name.partition(":")
    return f"{{{_SPACES[prefix]}}}{local}"


def _fields(element: Element) -> Iterator[tuple[str, Element | str]]:
    """The properties of a structure: simple ones are often written as attributes."""
    yield from element.attrib.items()
    for child in element:
        yield child.tag, child


def _items(element: Element) -> list[Element]:
    """The items of a list property, the default language first; the element itself when it is no list."""
    for child in element:
        if child.tag in _CONTAINERS:
            items = child.findall(_RDF + "li")[:_MOST_ITEMS]
            return sorted(items, key=lambda item: item.get(_XML_LANGUAGE) != "x-default")
    return [element]


def _texts(value: Element | str) -> list[str]:
    if isinstance(value, str):
        return [value]
    texts = (item.text or item.findtext(_RDF + "value") or "" for item in _items(value))
    return [text for text in texts if text.strip()]


def _structures(element: Element) -> Iterator[dict[str, Element | str]]:
    """The fields of each structure in a list, however RDF lets them be written."""
    for item in _items(element):
        inner = item.find(_RDF + "Description")
        yield dict(_fields(item if inner is None else inner))


def _first_text(structure: dict[str, Element | str], name: str) -> str | None:
    value = structure.get(_expanded(name))
    return next(iter(_texts(value)), None) if value is not None else None


def _moment(found: _Description) -> tuple[datetime | None, int | None]:
    for name in _MOMENTS:
        moment, zone = parse_moment(found.text(name), date_alone=True)
        if moment is not None:
            return moment, zone
    return None, None


def _angle(value: str | None) -> float | None:
    """Signed degrees from "35,42.5N" or "35,42,30N"; some programs write plain signed degrees."""
    if value is None:
        return None
    try:
        found = _ANGLE.fullmatch(value)
        if found is None:
            return float(value)
        parts = [float(part or 0) for part in found.groups()[:3]]
    except ValueError:
        return None
    angle = math.fsum(part / 60.0**power for power, part in enumerate(parts))
    return -angle if found[4].upper() in "SW" and angle else angle


def _altitude(found: _Description) -> float | None:
    above, _, below = (found.text("exif:GPSAltitude") or "").partition("/")
    try:
        metres = float(above) / float(below or 1)
    except (ValueError, ZeroDivisionError):
        return None
    return facts.altitude(-abs(metres) if found.text("exif:GPSAltitudeRef") == "1" else metres)


def _rating(found: _Description) -> int | None:
    stars = facts.rating(found.text("xmp:Rating"))
    return stars if stars is not None else _MICROSOFT_STARS.get(found.text("MicrosoftPhoto:Rating") or "")


def _keywords(found: _Description) -> tuple[list[str], list[str]]:
    """Keywords, those of trees (``Places|Japan|Kyoto``) with all above them; and the names of people."""
    words, names = found.texts("dc:subject"), []
    for tree in _TREES:
        for path in found.texts(tree):
            parts = [part.strip() for part in re.split(r"[|/]", path)]
            if parts[0].casefold() in _PEOPLE_ROOTS and len(parts) > 1:
                names.append(parts[-1])
            else:
                words.extend(reversed(parts))
    known = {name.casefold() for name in names}
    return [word for word in words if word.strip().casefold() not in known | _PEOPLE_ROOTS], names


def _people(found: _Description) -> Iterator[str]:
    yield from found.texts("Iptc4xmpExt:PersonInImage")
    yield from found.texts("mediapro:People")
    for details in found.elements("Iptc4xmpExt:PersonInImageWDetails"):
        for person in _structures(details):
            yield _first_text(person, "Iptc4xmpExt:PersonName") or ""
    for holder, regions, name in (
        ("mwg-rs:Regions", "mwg-rs:RegionList", "mwg-rs:Name"),
        ("MP:RegionInfo", "MPRI:Regions", "MPReg:PersonDisplayName"),
    ):
        for info in found.elements(holder):
            for structure in _structures(info):
                listed = structure.get(_expanded(regions))
                if listed is None or isinstance(listed, str):
                    continue
                for region in _structures(listed):
                    # Pets, focus points and bar codes have regions, too.
                    if _first_text(region, "mwg-rs:Type") in (None, "Face"):
                        yield _first_text(region, name) or ""

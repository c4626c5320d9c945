"""Names of places in words: what is called so, and where a sentence names one, in English and Chinese.

A sentence is cut into Latin words and single Chinese characters, and every stretch of them is looked up; the
longest win. Which of them is meant is not decided here: a span only says what it may be, and whether its
words are likelier something else (`common`). Neighbours that hold each other are one place: "Nice, France" is
the Nice of France, 浙江杭州 the Hangzhou of Zhejiang.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from sensorium.photos.places.fold import fold, fold_word, tokens
from sensorium.photos.places.geocode import REACH, Located
from sensorium.photos.places.geometry import EARTH, unit_vectors
from sensorium.photos.places.table import COMMON, ONLY_CAPITALS, WELL_KNOWN_HAN, Kind, Place, table

LONGEST = 7
"""Words in the longest name that is looked for."""

LONGEST_HAN = 16
"""Characters in the longest Chinese name that is looked for."""

_NEVER = frozenset(
    re.findall(
        r"\w+",
        "a an and as at be but by do for from go he if in is it me my no not of off on or she so the to up",
    )
)
"""Words of grammar, which are never a place by themselves, whatever villages are called so."""

_GAP = re.compile(r"[\s\-–/’']*\Z")
_QUALIFIED = re.compile(r"\s*,?\s*\Z")
_QUALIFIED_HAN = re.compile(r"[\s·,，的]{0,2}\Z")
_KINDS: dict[str, tuple[Kind, ...]] = {
    "city": ("city",),
    "town": ("city",),
    "province": ("region",),
    "prefecture": ("region",),
    "state": ("region",),
    "island": ("region", "country", "city"),
    "islands": ("region", "country", "city"),
}
_KINDS_HAN: dict[str, tuple[Kind, ...]] = {
    "特别行政区": ("country", "region"),
    "壮族自治区": ("region",),
    "回族自治区": ("region",),
    "维吾尔自治区": ("region",),
    "自治区": ("region",),
    "自治州": ("region", "city"),
    "地区": ("region", "city"),
    "省": ("region",),
    "市": ("city", "region"),
    "县": ("region", "city"),
    "州": ("region", "city"),
    "府": ("region",),
    "都": ("region",),
    "邦": ("region",),
    "区": ("city", "region"),
    "镇": ("city",),
    "乡": ("city",),
    "村": ("city",),
    "岛": ("region", "country", "city"),
    "国": ("country",),
}


@dataclass(frozen=True, slots=True)
class PlaceSpan:
    """Words of a sentence that name a place: `text[start:end]`, what they may mean, likeliest first.

    `common` says that the words are likelier something else (turkey, nice, 日照) unless the sentence asks for
    a place ("in", 在, a capital letter).
    """

    start: int
    end: int
    words: str
    places: tuple[Place, ...]
    common: bool


@dataclass(frozen=True, slots=True)
class Area:
    """What a place holds, as a filter over three columns: any of these countries, regions, towns."""

    countries: tuple[str, ...] = ()
    regions: tuple[str, ...] = ()
    cities: tuple[int, ...] = ()


def named(words: str) -> list[Place]:
    """Every place called so in English, Chinese or (well-known towns) another language, likeliest first.

    Case, diacritics, traditional characters and the usual endings (City, Province, 市, 省) do not matter; a
    name may be qualified ("Paris, Texas", 日本京都). [] when nothing is called so.
    """
    index = table().keys.find(fold(words, table().simplified))
    if index is not None:
        return list(_places(index))
    spans = find(words)
    if len(spans) == 1 and not (words[: spans[0].start] + words[spans[0].end :]).strip(" .,，。"):
        return list(spans[0].places)
    return []


def find(text: str) -> list[PlaceSpan]:
    """The longest names of places in a sentence that do not overlap, in the order of the sentence."""
    pieces = tokens(text)
    found = [*_latin(text, pieces), *_chinese(text, pieces)]
    found.sort(key=lambda span: (span.start - span.end, span.start))
    chosen: list[PlaceSpan] = []
    for span in found:
        if all(span.end <= other.start or other.end <= span.start for other in chosen):
            chosen.append(span)
    chosen.sort(key=lambda span: span.start)
    extended: list[PlaceSpan] = []
    for span in chosen:
        wider = _extended(text, span, chosen)
        extended = [before for before in extended if before.end <= wider.start] + [wider]
    return _qualified(text, extended)


@functools.lru_cache(maxsize=4096)
def _places(index: int) -> tuple[Place, ...]:
    """What the key at `index` may mean."""
    return tuple(table().place(row) for row in table().called(index))


def _latin(text: str, pieces: Sequence[tuple[int, int, bool]]) -> Iterator[PlaceSpan]:
    """Every stretch of Latin words that is a name and not a part of a phrase that is none."""
    words = ["" if han else fold_word(text[start:end]) for start, end, han in pieces]
    found: list[tuple[int, int, PlaceSpan]] = []
    blocked: list[tuple[int, int]] = []
    for first, (start, _, _) in enumerate(pieces):
        for last in range(first, min(first + LONGEST, len(pieces))):
            if not words[last] or (
                last > first and not _GAP.match(text, pieces[last - 1][1], pieces[last][0])
            ):
                break
            key, end = " ".join(words[first : last + 1]), pieces[last][1]
            span = None if key in _NEVER else _span(text, start, end, key)
            if span is None and text[end - 2 : end].casefold() in ("'s", "’s"):
                span = _span(text, start, end - 2, key[:-1])
            if span is not None:
                found.append((first, last, span))
            elif last > first and key in table().blockers:
                blocked.append((first, last))
    for first, last, span in found:
        if not any(a <= first and last <= b for a, b in blocked):
            yield span


def _span(text: str, start: int, end: int, key: str) -> PlaceSpan | None:
    """The span of a key, if it is one and written as it must be."""
    index = table().keys.find(key)
    if index is None:
        return None
    flags, words = int(table().key_flags[index]), text[start:end]
    if flags & ONLY_CAPITALS:
        # All in capitals: nothing can be told from them.
        if not words.isupper() or (text.isupper() and text.strip() != words):
            return None
        flags &= ~COMMON
    return PlaceSpan(start, end, words, _places(index), bool(flags & COMMON))


def _chinese(text: str, pieces: Sequence[tuple[int, int, bool]]) -> Iterator[PlaceSpan]:
    """Every stretch of Chinese characters that is a name and not a part of an ordinary word."""
    simple = text.translate(table().simplified)
    ends = {start: end for start, end, han in pieces if han}
    blocked = _blocked(simple, ends)
    for start in ends:
        end = start
        while end in ends and end - start < LONGEST_HAN:
            end = ends[end]
            span = _span(text, start, end, simple[start:end]) if end - start > 1 else None
            if span is None or any(a <= start and end <= b and b - a > end - start for a, b in blocked):
                continue
            crossed = any(_crosses(word, span) for word in blocked)
            yield replace(span, common=True) if crossed else span


def _crosses(word: tuple[int, int], span: PlaceSpan) -> bool:
    """Whether an ordinary word that overlaps a name puts it in doubt.

    Read from the left, 晚上|海边 leaves no 上海 and 黄河|南岸 no 河南; 上海|外滩 outweighs its 海外, but 大连
    does not outweigh a 连衣裙. Little-known places give way to every word.
    """
    before, after = word[0] < span.start < word[1] < span.end, span.start < word[0] < span.end < word[1]
    if span.places[0].kind == "city" and span.places[0].population < WELL_KNOWN_HAN:
        return before or after
    length = word[1] - word[0]
    return (before and length >= span.end - span.start) or (after and length > span.end - span.start)


def _blocked(simple: str, ends: dict[int, int]) -> list[tuple[int, int]]:
    """Where ordinary words are that hold or overlap names of places."""
    words = table().blockers
    return [
        (start, start + length)
        for start in ends
        for length in range(2, 7)
        if simple[start : start + length] in words and len(simple) >= start + length
    ]


def _extended(text: str, span: PlaceSpan, chosen: Sequence[PlaceSpan]) -> PlaceSpan:
    """A span with the words around it that say what it is: "the", "State of", "City", 市, 省."""
    limit = min((other.start for other in chosen if other.start >= span.end), default=len(text))
    after = text[span.end : limit]
    if ord(text[span.end - 1]) < 0x2E80:
        word = re.match(r" ([A-Za-z]+)\b", after)
        kinds = _KINDS.get(word[1].casefold()) if word else None
        span = _narrowed(text, span, word.end() if word and kinds else 0, kinds)
        if span.common:
            return span
        before = re.search(
            r"\b(?:the )?(?:(?:state|province|city|republic|kingdom) of )?\Z", text[: span.start], re.I
        )
        start = before.start() if before else span.start
        return replace(span, start=start, words=text[start : span.end])
    simple = text.translate(table().simplified)
    for ending, kinds in _KINDS_HAN.items():
        if simple.startswith(ending, span.end) and span.end + len(ending) <= limit:
            last = span.end + len(ending) - 1
            if any(simple[last : last + length] in table().blockers for length in (2, 3)):
                return span
            return _narrowed(text, span, len(ending), kinds)
    return span


def _narrowed(text: str, span: PlaceSpan, more: int, kinds: tuple[Kind, ...] | None) -> PlaceSpan:
    """A span longer by `more` characters that say its kind; as it was when no place is of that kind."""
    left = tuple(place for place in span.places if kinds and place.kind in kinds)
    if not left:
        return span
    end = span.end + more
    return PlaceSpan(span.start, end, text[span.start : end], left, common=False)


def _qualified(text: str, spans: Sequence[PlaceSpan]) -> list[PlaceSpan]:
    """Joins neighbours of which one holds the other: the large last in English, first in Chinese."""
    joined: list[PlaceSpan] = []
    for span in spans:
        last = joined[-1] if joined else None
        left: tuple[Place, ...] = ()
        if last is not None and _QUALIFIED.match(text, last.end, span.start):
            left = tuple(a for a in last.places if any(_inside(a, b) for b in span.places))
        if last is not None and not left and _QUALIFIED_HAN.match(text, last.end, span.start):
            left = tuple(b for b in span.places if any(_inside(b, a) for a in last.places))
        if last is not None and left:
            joined[-1] = PlaceSpan(last.start, span.end, text[last.start : span.end], left, common=False)
        else:
            joined.append(span)
    return joined


def _inside(inner: Place, outer: Place) -> bool:
    """Whether a country or region holds a place."""
    if outer.kind == "country":
        return inner.kind != "country" and inner.country in area(outer).countries
    return outer.kind == "region" and inner.kind == "city" and inner.region == outer.key


@functools.lru_cache(maxsize=1024)
def area(place: Place) -> Area:
    """What a place holds: a country its territories (France Réunion), a town the smaller ones around it.

    Around a town are those of the district that is called after it (Kunshan is Suzhou's), and those that its
    built-up area covers in the same region.
    """
    places = table()
    row = places.row(place.key)
    if row is None:
        return Area()
    if place.kind == "country":
        owned = np.flatnonzero(places.array("owners") == row).tolist()
        return Area(countries=tuple(places.codes[at] for at in sorted({row, *owned})))
    if place.kind == "region":
        return Area(regions=(place.key,))
    first = places.countries + places.regions
    spots = places.positions[first:]
    alike = (places.country[first:] == places.country[row]) & (places.region[first:] == places.region[row])
    near = np.flatnonzero(alike & (places.population[first:] < place.population))
    reach = 1.3 * REACH * float(np.sqrt(place.population)) / EARTH
    cosines = (
        unit_vectors(spots[near, 0], spots[near, 1]) @ unit_vectors([place.latitude], [place.longitude])[0]
    )
    held = {row - first, *near[cosines >= np.cos(reach)].tolist()}
    held |= set((np.flatnonzero(places.array("seats") == row) - first).tolist())
    return Area(cities=tuple(sorted(int(places.city_ids[at]) for at in held)))


def contains(place: Place, located: Located) -> bool:
    """Whether a photo was taken in a place: the rule that `area` states as a filter."""
    held = area(place)
    return located.country in held.countries or located.region in held.regions or located.city in held.cities

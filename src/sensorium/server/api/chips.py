"""A parsed query as chips: what was understood, slot by slot, in both languages; the query without each."""

from __future__ import annotations

import calendar
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

from sensorium.photos import places
from sensorium.photos.files.names import printable
from sensorium.photos.query.model import Exclusion, Query, Term, Times
from sensorium.server.api.documents import Chip, Words

_KINDS = {
    "photo": ("photos", "照片"),
    "video": ("videos", "视频"),
    "screenshot": ("screenshots", "截图"),
    "animation": ("animations", "动图"),
    "panorama": ("panoramas", "全景照片"),
    "raw": ("raw files", "RAW 文件"),
    "live": ("live photos", "实况照片"),
}
_SEASONS: dict[tuple[int, ...], tuple[str, str]] = {
    (3, 4, 5): ("March to May", "3月至5月"),
    (6, 7, 8): ("June to August", "6月至8月"),
    (9, 10, 11): ("September to November", "9月至11月"),
    (1, 2, 12): ("December to February", "12月至2月"),
}


def chips_of(query: Query) -> list[Chip]:
    """The chips of a query: look, when, where, who, how, what not."""
    return [
        Chip(id=f"{slot}-{number}", slot=slot, label=label, remove=_document(rest))
        for number, (slot, label, rest) in enumerate(_chips(query))
    ]


def _chips(query: Query) -> Iterator[tuple[str, Words, Query]]:
    if query.terms:
        for place, term in enumerate(query.terms):
            yield "term", _term(term), _without_term(query, place)
    elif query.text:
        yield "text", _quoted(query.text), replace(query, text="")
    times = Times(query.after, query.before)
    if times:
        yield "time", days(times), replace(query, after=None, before=None)
    if query.months:
        yield "months", months(query.months), replace(query, months=())
    for place, name in enumerate(query.places):
        yield "place", place_name(name), replace(query, places=_but(query.places, place))
    for place, name in enumerate(query.people):
        yield "person", _same(printable(name)), replace(query, people=_but(query.people, place))
    if query.camera:
        yield "camera", _same(printable(query.camera)), replace(query, camera=None)
    if query.media:
        yield "media", kind(query.media), replace(query, media=None)
    summed = {term.words for term in query.terms if term.weight < 0}
    known = {exclusion.words: exclusion for exclusion in query.excluded}
    for place, words in enumerate(query.exclude):
        if words not in summed:
            rest = replace(
                query,
                exclude=_but(query.exclude, place),
                excluded=tuple(one for one in query.excluded if one.words != words),
            )
            yield "exclude", _unwanted(words, known.get(words)), rest


def _document(query: Query) -> dict[str, Any]:
    """A query that no longer says what the sentence said: the sentence would only mislead."""
    return replace(query, said="", readings=()).document()


def _without_term(query: Query, place: int) -> Query:
    """A sum without one of its terms; a single wanted word that is left is a plain look."""
    left = _but(query.terms, place)
    gone = query.terms[place]
    exclude = tuple(words for words in query.exclude if not (gone.weight < 0 and words == gone.words))
    if len(left) == 1 and left[0].words is not None and left[0].weight > 0:
        return replace(query, terms=(), text=left[0].words, exclude=exclude)
    text = " ".join(term.words for term in left if term.words and term.weight > 0)
    return replace(query, terms=left, text=text, exclude=exclude)


def _but(values: Sequence[Any], place: int) -> tuple[Any, ...]:
    return (*values[:place], *values[place + 1 :])


def _same(text: str) -> Words:
    return Words(en=text, zh=text)


def _quoted(text: str) -> Words:
    return _same(f"“{printable(text)}”")


def _term(term: Term) -> Words:
    """A summand: its sign, its weight where that is not one, and the words or the picture."""
    sign = "+" if term.weight > 0 else "−"
    weight = "" if abs(term.weight) == 1 else f" {abs(term.weight):g}×"
    if term.words is not None:
        return _same(f"{sign}{weight} {printable(term.words)}")
    return Words(en=f"{sign}{weight} picture", zh=f"{sign}{weight} 图片")


def _unwanted(words: str, exclusion: Exclusion | None) -> Words:
    shown = _same(printable(words))
    if exclusion is not None and exclusion.place is not None:
        shown = place_name(exclusion.place)
    elif exclusion is not None and exclusion.media is not None:
        shown = kind(exclusion.media)
    elif exclusion is not None and exclusion.times is not None:
        shown = days(exclusion.times)
    return Words(en=f"without {shown.en}", zh=f"不要{shown.zh}")


def kind(media: str) -> Words:
    """What a kind of picture is called."""
    en, zh = _KINDS.get(media, (media, media))
    return Words(en=en, zh=zh)


def place_name(name: str) -> Words:
    """A place of a query in both languages: what its likeliest meaning is called."""
    found = places.named(name)
    if not found:
        return _same(printable(name))
    return Words(en=found[0].name, zh=found[0].name_zh or found[0].name)


def months(numbers: Sequence[int]) -> Words:
    """Months of any year; three in a row as a stretch."""
    en, zh = _SEASONS.get(
        tuple(sorted(numbers)),
        (", ".join(calendar.month_name[one] for one in numbers), "、".join(f"{one}月" for one in numbers)),
    )
    return Words(en=en, zh=zh)


def days(times: Times) -> Words:
    """Days as people write them; the last one is meant, too."""
    if times.after is None and times.before is None:
        return months(times.months)
    if times.after is None:
        assert times.before is not None
        return Words(en=f"before {_day(times.before)}", zh=f"{_day_zh(times.before)}之前")
    if times.before is None:
        return Words(en=f"since {_day(times.after)}", zh=f"{_day_zh(times.after)}起")
    first, last = times.after, times.before - timedelta(days=1)
    if first == last:
        return Words(en=_day(first), zh=_day_zh(first))
    if first.day == 1 and times.before.day == 1:
        if (first.month, times.before.month) == (1, 1):
            if last.year == first.year:
                return Words(en=f"{first.year}", zh=f"{first.year}年")
            return Words(en=f"{first.year}–{last.year}", zh=f"{first.year}年至{last.year}年")
        if (first.year, first.month) == (last.year, last.month):
            return Words(en=f"{calendar.month_name[first.month]} {first.year}", zh=_month_zh(first))
        return Words(en=f"{_month(first)} – {_month(last)}", zh=f"{_month_zh(first)}至{_month_zh(last)}")
    return Words(en=f"{_day(first)} – {_day(last)}", zh=f"{_day_zh(first)}至{_day_zh(last)}")


def _day(day: date) -> str:
    return f"{day.day} {calendar.month_abbr[day.month]} {day.year}"


def _day_zh(day: date) -> str:
    return f"{day.year}年{day.month}月{day.day}日"


def _month(day: date) -> str:
    return f"{calendar.month_abbr[day.month]} {day.year}"


def _month_zh(day: date) -> str:
    return f"{day.year}年{day.month}月"

"""One sentence in English or Chinese, split into slots."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from itertools import pairwise
from typing import TYPE_CHECKING

from sensorium.errors import SensoriumError
from sensorium.photos.query import lexicon
from sensorium.photos.query.days import month_span
from sensorium.photos.query.leftover import cover_of, frame, loosen, text_of
from sensorium.photos.query.mentions import Mention, cameras_in, media_in, people_in
from sensorium.photos.query.model import Exclusion, Query, Reading, Term, Times
from sensorium.photos.query.sums import Summand, summands
from sensorium.photos.query.times import TimeGrammar
from sensorium.photos.query.tokens import Token, tokenize
from sensorium.photos.query.where import places_in
from sensorium.photos.query.without import exclusion_of, unwanted_in

if TYPE_CHECKING:
    from sensorium.photos.places import PlaceSpan

LONGEST = 2_000
"""Characters of a sentence; text encoders read some seventy words."""


def parse(
    sentence: str,
    *,
    now: datetime,
    people: Sequence[str] = (),
    cameras: Sequence[str] = (),
    image_exists: Callable[[str], bool] | None = None,
) -> Query:
    """Split a sentence into time, place, person, camera, kind, what is unwanted, and the look that is left.

    Args:
        sentence: English, Chinese or both.
        now: Its day on the wall is "today".
        people: Names that the library knows.
        cameras: Makes and models that the library knows.
        image_exists: Tells whether a file name in the sentence is a picture that can be read; without
            it, a file name that is a whole summand of arithmetic is taken for one.

    Raises:
        SensoriumError: The sentence is longer than 2,000 characters, a weight is out of range, or a
            picture of a sum does not exist.
    """
    if len(sentence) > LONGEST:
        raise SensoriumError(
            f"a search sentence may have {LONGEST:,} characters at most, not {len(sentence):,}: shorten it"
        )
    words = _clean(sentence)
    tokens = tokenize(words)
    found = _Found(tokens, words)
    _fill_slots(found, now.date(), people, cameras)
    slots = [mention.slot if mention else None for mention in found.owner]
    terms = summands(tokens, slots, image_exists)
    parts = terms or [Summand(0, len(tokens), 1.0, None)]
    looks = [_part(found, part) for part in parts]
    weighed = [
        Term(look or None, part.image, part.weight)
        for part, look in zip(parts, looks, strict=True)
        if look or part.image is not None
    ]
    text = " ".join(term.words for term in weighed if term.words and term.weight > 0)
    if not (text or terms or found.wanted or found.exclude):
        # Nothing but a frame, such as "the photos": it is all there is to look for.
        text = " ".join(words.split())
    return _query(sentence, found, text, weighed if terms else [])


def _clean(sentence: str) -> str:
    """The sentence without control characters and lone surrogates, blanks instead."""
    return "".join(
        " " if unicodedata.category(sign) in ("Cc", "Cf", "Cs", "Zl", "Zp") else sign for sign in sentence
    )


@dataclass(slots=True)
class _Found:
    """What was found in a sentence so far."""

    tokens: list[Token]
    words: str
    mentions: list[Mention] = field(default_factory=list)
    readings: list[Reading] = field(default_factory=list)
    wanted: list[Mention] = field(default_factory=list)
    exclude: list[str] = field(default_factory=list)
    excluded: list[Exclusion] = field(default_factory=list)
    owner: list[Mention | None] = field(init=False)
    """The mention that each token belongs to."""

    def __post_init__(self) -> None:
        self.owner = [None] * len(self.tokens)

    def add(self, mentions: Sequence[Mention]) -> list[Mention]:
        """Keep mentions whose tokens are free; quotes and files are never taken apart."""
        kept = []
        for mention in mentions:
            span = range(mention.start, min(mention.end, len(self.tokens)))
            whole = ("quote", "file")
            if all(self.owner[index] is None and self.tokens[index].kind not in whole for index in span):
                self.owner[mention.start : mention.end] = [mention] * len(span)
                kept.append(mention)
        self.mentions += kept
        return kept


def _fill_slots(found: _Found, today: date, people: Sequence[str], cameras: Sequence[str]) -> None:
    """People first, for they are known; then cameras and kinds; of places and times the longer ones."""
    tokens = found.tokens
    persons, words = people_in(tokens, people)
    found.add(persons)
    found.add(cameras_in(tokens, cameras))
    found.add(media_in(tokens))
    spans = _place_names(found)
    grammar = TimeGrammar(tokens, today)
    places, readings, south = places_in(tokens, spans, lambda index: grammar.phrase(index) is not None)
    if south:
        grammar = TimeGrammar(tokens, today, south=True)
    times = _times(grammar, found, places)
    found.add([place for place in places if not any(_yields(tokens, place, time) for time in times)])
    found.add(times)
    found.readings += [*words, *readings]
    found.readings += [mention.reading for mention in found.mentions if mention.reading]
    found.readings += _not_times(found)


def _place_names(found: _Found) -> list[PlaceSpan]:
    from sensorium.photos.places import find

    return find(found.words)


def _times(grammar: TimeGrammar, found: _Found, places: list[Mention]) -> list[Mention]:
    """The times of a sentence; a place with a longer name wins ("Easter Island", 五一广场)."""
    owner = found.owner
    longer = {place.start: place.end for place in places}
    times = []
    index = 0
    while index < len(found.tokens):
        phrase = None if owner[index] else grammar.phrase(index)
        if phrase is None or any(owner[phrase.start : phrase.end]):
            index += 1
            continue
        rival = max((end for start, end in longer.items() if phrase.start <= start < phrase.end), default=0)
        if rival > phrase.end:
            index = rival
            continue
        said = found.words[found.tokens[phrase.start].start : found.tokens[phrase.end - 1].end]
        reading = Reading(said, phrase.meaning, phrase.alternatives) if phrase.meaning else None
        times.append(Mention(phrase.start, phrase.end, "time", said, phrase.times, reading))
        index = phrase.end
    return times


def _not_times(found: _Found) -> list[Reading]:
    """Words that are times elsewhere and a look here: may flowers, a christmas tree, a protest march."""
    owner = found.owner
    readings = []
    for index, token in enumerate(found.tokens):
        meanings = lexicon.AMBIGUOUS.get(token.key)
        feast = lexicon.FEASTS.at(found.tokens, index)
        season = lexicon.SEASONS.at(found.tokens, index)
        if owner[index] is not None or token.kind in ("quote", "file"):
            continue
        if meanings is None and feast is not None and not any(owner[index : feast[1]]):
            meanings = (f"the time of {feast[0]}",)
        elif meanings is None and season is not None and not any(owner[index : season[1]]):
            meanings = (f"the season {season[0]}",)
        if meanings is not None:
            end = feast[1] if feast else season[1] if season else index + 1
            said = found.words[token.start : found.tokens[end - 1].end]
            readings.append(Reading(said, "what it looks like", meanings[:1]))
    return readings


def _yields(tokens: list[Token], place: Mention, time: Mention) -> bool:
    """Whether a place gives way to a time that shares tokens with it: 校长春天 has no 长春, 长春天气 has."""
    if place.end <= time.start or time.end <= place.start:
        return False
    if place.start < time.start < place.end and tokens[place.start].kind == "han":
        before = tokens[place.start - 1] if place.start else None
        inside_word = before is not None and before.kind == "han" and before.key not in "在去到从的和"
        return inside_word and lexicon.is_look(tokens, place.end) is None
    return True


def _part(found: _Found, part: Summand) -> str:
    """The look of one summand; its slots and what it excludes are noted."""
    if part.image is not None:
        return ""
    tokens = found.tokens[part.start : part.end]
    mentions = [
        _moved(mention, -part.start)
        for mention in found.mentions
        if part.start <= mention.start and mention.end <= part.end
    ]
    slots = [False] * len(tokens)
    if part.weight > 0:
        _exclude(found, tokens, mentions, slots)
    free = [mention for mention in mentions if not any(slots[mention.start : mention.end])]
    for mention in free:
        if not mention.visible:
            slots[mention.start : mention.end] = [True] * (mention.end - mention.start)
    covered = frame(tokens, slots)
    for mention in free:
        if mention.slot == "media":
            cover_of(tokens, covered, mention.end)
    loosen(tokens, covered, slots)
    text = text_of(found.words, tokens, covered)
    if part.weight > 0:
        found.wanted += free
        return text
    exclusions = [exclusion_of(mention, tokens) for mention in free]
    found.excluded += exclusions
    found.exclude += [exclusion.words for exclusion in exclusions] + ([text] if text else [])
    return text


def _exclude(found: _Found, tokens: list[Token], mentions: list[Mention], slots: list[bool]) -> None:
    inside = [False] * len(tokens)
    for mention in mentions:
        inside[mention.start : mention.end] = [True] * (mention.end - mention.start)
    quoted = [told or token.kind in ("quote", "file") for told, token in zip(inside, tokens, strict=True)]
    for unwanted in unwanted_in(tokens, mentions, quoted):
        found.exclude += unwanted.words
        found.excluded += unwanted.exclusions
        slots[unwanted.start : unwanted.end] = [True] * (unwanted.end - unwanted.start)


def _moved(mention: Mention, by: int) -> Mention:
    return replace(mention, start=mention.start + by, end=mention.end + by)


def _query(sentence: str, found: _Found, text: str, terms: list[Term]) -> Query:
    def values(slot: str) -> tuple[str, ...]:
        return tuple(dict.fromkeys(mention.value for mention in found.wanted if mention.slot == slot))

    times = _together([mention.times for mention in found.wanted if mention.times is not None], found)
    return Query(
        said=sentence,
        text=text,
        terms=tuple(terms),
        after=times.after,
        before=times.before,
        months=times.months,
        places=values("place"),
        people=values("person"),
        exclude=tuple(dict.fromkeys(found.exclude)),
        # The mentions hold kinds only: they were made from their table.
        media=next(iter(values("media")), None),  # type: ignore[arg-type]
        camera=next(iter(values("camera")), None),
        readings=tuple(dict.fromkeys(found.readings)),
        excluded=tuple(dict.fromkeys(found.excluded)),
    )


def _together(times: list[Times], found: _Found) -> Times:
    """The days that all times of a sentence share; when they share none, the first, and a reading."""
    after: date | None = None
    before: date | None = None
    months: tuple[int, ...] = ()
    for one in times:
        begin = max((day for day in (after, one.after) if day is not None), default=None)
        end = min((day for day in (before, one.before) if day is not None), default=None)
        shared = tuple(month for month in one.months if not months or month in months) or months
        if (begin and end and begin >= end) or (one.months and months and not set(one.months) & set(months)):
            said = " · ".join(mention.value for mention in found.wanted if mention.slot == "time")
            found.readings.append(Reading(said, "the first of these times: they have no day in common"))
            continue
        after, before, months = begin, end, shared
    return _in_year(Times(after, before, months))


def _in_year(times: Times) -> Times:
    """Months within one year are plain days: "in May ... last year"."""
    if not (times.after and times.before and times.months) or (times.before - times.after).days > 366:
        return times
    spans = [
        month_span(year, month) for year in (times.after.year, times.before.year) for month in times.months
    ]
    inside = sorted({span for span in spans if times.after <= span[0] and span[1] <= times.before})
    joined = all(one[1] == two[0] for one, two in pairwise(inside))
    return Times(inside[0][0], inside[-1][1]) if len(inside) == len(times.months) and joined else times

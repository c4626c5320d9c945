"""Which of the place names in a sentence are meant as places: turkey on the table, or hot air in Turkey.

Nearly every short English word is the name of a town somewhere. A name that is an ordinary word as well
counts only with evidence: a preposition before it, a capital inside the sentence, and nothing behind
it that it could describe.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sensorium.photos.query import lexicon
from sensorium.photos.query.mentions import Mention
from sensorium.photos.query.model import Reading
from sensorium.photos.query.tokens import Token
from sensorium.photos.query.vocabulary import word_set

if TYPE_CHECKING:
    from sensorium.photos.places import PlaceSpan

_LARGE = 80_000
"""Inhabitants of a town that may be written like an ordinary word ("in reading last May")."""

_KNOWN = 100_000
"""Inhabitants of a town that is recognised without any hint ("kyoto temples")."""

_SHORT = 3
"""Letters of a name that is only recognised with a hint ("mon")."""

_FAMOUS = 300_000
"""The same for names of several ordinary words ("los angeles")."""

_CHINESE_FAMOUS = 500_000
"""The same for Chinese names that are words (日照)."""

_PREPOSITIONS = word_set("where: prepositions")
_WEAK_PREPOSITIONS = word_set("where: weak prepositions")

_GIVEN_NAMES = word_set("where: given names")
"""Names of people as well: without a preposition they are not taken for places when they begin a sentence."""

_WORDS = word_set("where: words")
"""Ordinary words that are the names of well-known places as well."""

_NOT_INSIDE = word_set("where: not inside")
"""Not even behind "in": "a woman in orange"."""

_BEFORE_OTHERS = word_set("where: before others")
"""Before a name they make it a mountain, a lake or a saint."""

_ISSUED = word_set("where: issued")
"""Behind these words "from" names who made them, unless the place is a country or a large city."""

_SHOWN = word_set("where: shown")
"""Words whose town is known well enough to say that it was not meant."""

_LANDMARK_NOUNS = word_set("where: landmark nouns")
"""Behind a place they name something in it, which is seen as well: "tokyo tower"."""

_STYLE_NOUNS = word_set("where: style nouns")
"""Behind a place name they make it a style: New York pizza."""

_CHINESE_STYLES = word_set("where: chinese styles")
_LANDMARKS = word_set("where: landmarks")
_STREETS = word_set("where: streets")
_CHINESE_CUES = word_set("where: chinese cues")
_CHINESE_WORDS = word_set("where: chinese words")
"""Chinese words that are never meant as the town of that name, unless 市 or the like follows."""

_ARTICLES = word_set("where: articles")


def places_in(
    tokens: list[Token], spans: list[PlaceSpan], begins_time: Callable[[int], bool]
) -> tuple[list[Mention], list[Reading], bool]:
    """The places that are meant, how doubtful names were understood, and whether a place lies in the south.

    Args:
        tokens: Those of the sentence.
        spans: All names of places in it.
        begins_time: Whether a time begins at a token.
    """
    mentions: list[Mention] = []
    readings: list[Reading] = []
    south = False
    for span in spans:
        bounds = _bounds(tokens, span)
        if bounds is None or not span.places:
            continue
        start, end = bounds
        best = span.places[0]
        doubtful = _doubtful(tokens[start:end], span)
        name = best.name if best.kind == "country" else f"{best.name} ({best.country})"
        if _is_meant(tokens, start, end, span, begins_time):
            reading = Reading(span.words, f"the place {name}", ("the word",)) if doubtful else None
            visible = _begins(tokens, end, _LANDMARKS) or _key(tokens, end) in _LANDMARK_NOUNS
            mentions.append(Mention(start, end, "place", _value(span), reading=reading, visible=visible))
            south = south or best.latitude < 0
        elif doubtful and (best.kind == "country" or span.words.casefold() in _SHOWN):
            readings.append(Reading(span.words, "what it looks like", (f"the place {name}",)))
    return mentions, readings, south


def _bounds(tokens: list[Token], span: PlaceSpan) -> tuple[int, int] | None:
    """The tokens of a span of characters, or None when it cuts one."""
    start = next((index for index, token in enumerate(tokens) if token.start == span.start), None)
    end = next((index + 1 for index, token in enumerate(tokens) if token.end == span.end), None)
    return (start, end) if start is not None and end is not None and start < end else None


def _is_meant(
    tokens: list[Token], start: int, end: int, span: PlaceSpan, begins_time: Callable[[int], bool]
) -> bool:
    if tokens[start].kind == "han":
        return _is_meant_in_chinese(tokens, start, end, span)
    around = _around(tokens, start, end, begins_time)
    if around.before in _BEFORE_OTHERS or _is_issuer(tokens, start, span):
        return False
    short = len(span.words) <= 2 and not span.words.isupper()
    if around.before in _ARTICLES and not tokens[start].capital:
        return False
    if short or (around.behind in _STYLE_NOUNS and around.before not in _PREPOSITIONS):
        return False
    if _doubtful(tokens[start:end], span):
        return _is_meant_in_spite(tokens, start, end, span, around)
    best = span.places[0]
    if around.first and _name(tokens[start:end]) in _GIVEN_NAMES and not around.ends:
        return False
    hinted = around.before in _PREPOSITIONS or around.before in _WEAK_PREPOSITIONS
    hinted = hinted or (tokens[start].capital and (around.ends or not around.first))
    known = best.kind == "country" or (best.population >= _KNOWN and len(span.words) > _SHORT)
    return hinted or known


def _is_issuer(tokens: list[Token], start: int, span: PlaceSpan) -> bool:
    """Whether a name is that of a shop or the like: "the receipt from Lawson"."""
    if start < 2 or tokens[start - 1].key != "from" or tokens[start - 2].key not in _ISSUED:
        return False
    best = span.places[0]
    return best.kind == "city" and best.population < _FAMOUS


def _is_meant_in_spite(tokens: list[Token], start: int, end: int, span: PlaceSpan, around: _Around) -> bool:
    """Whether a word that is likelier no place is one here."""
    large = any(place.kind != "city" or place.population >= _LARGE for place in span.places[:3])
    capital = tokens[start].capital
    if around.before in _PREPOSITIONS:
        inside = large and not around.noun and _name(tokens[start:end]) not in _NOT_INSIDE
        return capital or inside
    if around.first:
        country = span.places[0].kind == "country"
        known = country or (not span.common and end - start == 1)
        return around.ends and large and (known or (capital and around.behind != ""))
    return capital and not around.noun and (large or around.before in _WEAK_PREPOSITIONS)


def _is_meant_in_chinese(tokens: list[Token], start: int, end: int, span: PlaceSpan) -> bool:
    if end - start < 2 or _begins(tokens, end, _CHINESE_STYLES) or _begins(tokens, end, _STREETS):
        return False
    if _name(tokens[start:end]) in _CHINESE_WORDS:
        return False
    looks = [lexicon.is_look(tokens, index) or 0 for index in range(max(0, start - 4), end)]
    if any(look > start for look in looks[: min(start, 4) + 1]) or any(look > end for look in looks):
        return False
    best = span.places[0]
    if best.kind != "city":
        return True
    cued = start > 0 and tokens[start - 1].key in _CHINESE_CUES
    if span.common:
        ends = end >= len(tokens) or tokens[end].kind == "mark" or tokens[end].key == "的"
        return best.population >= _CHINESE_FAMOUS and (cued or ends)
    return cued or best.population >= _KNOWN


@dataclass(frozen=True, slots=True)
class _Around:
    """What stands around a name: words, "" at the ends; whether it is the first word of the sentence,
    whether a noun follows that it could describe, and whether it ends something (a time or nothing follows).
    """

    before: str
    behind: str
    first: bool
    noun: bool
    ends: bool


def _around(tokens: list[Token], start: int, end: int, begins_time: Callable[[int], bool]) -> _Around:
    behind = _key(tokens, end)
    timed = end < len(tokens) and begins_time(end)
    word = end < len(tokens) and tokens[end].kind == "word" and behind != "'s"
    noun = word and not timed and behind not in lexicon.PREPOSITIONS and behind not in lexicon.PHOTO_NOUNS
    before = tokens[start - 1].key if start else ""
    return _Around(before, behind, start == 0, noun, timed or behind in ("", ","))


def _doubtful(tokens: list[Token], span: PlaceSpan) -> bool:
    """Whether a name is likelier an ordinary word or a first name, or could be several words."""
    if span.common or tokens[0].kind == "han" or tokens[0].capital:
        return span.common
    best = span.places[0]
    if " ".join(token.key for token in tokens) in _WORDS:
        return True
    several = len(tokens) > 1 and best.kind == "city" and best.population < _FAMOUS
    return several or _name(tokens) in _GIVEN_NAMES


def _name(tokens: list[Token]) -> str:
    return "".join(token.key for token in tokens)


def _key(tokens: list[Token], index: int) -> str:
    return tokens[index].key if index < len(tokens) else ""


def _begins(tokens: list[Token], index: int, words: frozenset[str]) -> bool:
    """Whether one of some words begins at a token."""
    text = "".join(token.key for token in tokens[index : index + 4])
    return any(text.startswith(word) for word in words)


def _value(span: PlaceSpan) -> str:
    """A place by its own name where that is enough to find it, else as it was said."""
    from sensorium.photos.places import named

    said = " ".join(span.words.split())
    best = span.places[0]
    chinese = best.name_zh or ""
    plain = chinese[:-1] if chinese[-1:] in ("市", "省", "县", "府", "州", "都") else ""
    for name in (best.name, chinese, plain if len(plain) > 1 else ""):
        if name and name.casefold() in said.casefold():
            called = named(name)
            if called and called[0].key == best.key:
                return name
    return said

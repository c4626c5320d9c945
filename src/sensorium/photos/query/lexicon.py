"""The words of time in English and Chinese, each with its meaning, so that one grammar serves both.

Traditional characters are folded to simplified ones before they are looked up.
"""

from __future__ import annotations

from typing import cast

from sensorium.photos.query.days import Unit
from sensorium.photos.query.tokens import Phrases, Token
from sensorium.photos.query.vocabulary import numbered, phrases, word_set

MONTHS = numbered("lexicon: months")

SEASONS = phrases("lexicon: seasons")

SHORT_SEASONS = phrases("lexicon: short seasons")
"""Single characters that are seasons only beside a year: 去年夏, 2019年春."""

FEASTS = phrases("lexicon: feasts")

FEAST_DAYS = word_set("lexicon: feast days")
"""Feasts whose name may be followed by "holiday", "break", "weekend" and the like without a change."""

FEAST_TAILS = phrases("lexicon: feast tails")

UNITS = cast("Phrases[Unit]", phrases("lexicon: units"))

WEEKDAYS = numbered("lexicon: weekdays")

WHICH = numbered("lexicon: which")
"""Which one, counted from now."""

ROLLING = phrases("lexicon: rolling")
"""Before a count of units: until now, not by the calendar."""

RECENT = numbered("lexicon: recent")

DAYS = numbered("lexicon: days")

YEARS = numbered("lexicon: years")
"""A year counted from this one; also beside a month, a season or a feast."""

DAYTIMES = phrases("lexicon: daytimes")
"""Parts of a day say what a photo looks like; "last night" tells the day as well."""

PARTS = phrases("lexicon: parts")

DECADES = numbered("lexicon: decades")

NUMBERS = numbered("lexicon: numbers")

ORDINALS = numbered("lexicon: ordinals")

CENTURIES = numbered("lexicon: centuries")

HALVES = numbered("lexicon: halves")
"""Half a year, in months."""

OWNERS = word_set("lexicon: owners")
"""Before "20s" they make it somebody's age."""

HOLIDAY_NOUNS = word_set("lexicon: holiday nouns")
"""They follow a season and leave it a time: "summer vacation"."""

INTRODUCTIONS = phrases("lexicon: introductions")
"""Words before a time that go with it. Only these are evidence that an ambiguous word is a time."""

AHEAD = phrases("lexicon: ahead")
"""Words before a time that make it one end of an open span."""

BEHIND = phrases("lexicon: behind")
"""The same, after a time."""

BETWEEN = phrases("lexicon: between")
TO = phrases("lexicon: to")
AND = phrases("lexicon: and")
BETWEEN_TAIL = phrases("lexicon: between tail")
AGO = phrases("lexicon: ago")

ARTICLE = phrases("lexicon: article")

NOT_BEHIND = word_set("lexicon: not behind")
"""Before 五一 and 六一 they make it a number."""

SHORT_NAMES = word_set("lexicon: short names")
"""Abbreviations that are times only beside a number or behind an introduction."""

AMBIGUOUS = {
    "may": ("the month May", "the verb", "a name"),
    "march": ("the month March", "a march on foot"),
    "august": ("the month August", "dignified"),
    "april": ("the month April", "a name"),
    "june": ("the month June", "a name"),
    "fall": ("autumn", "falling"),
    "spring": ("the season spring", "a spring of water, a coil"),
    "五一": ("the holiday of 1 May", "a number"),
    "六一": ("Children's Day, 1 June", "a number"),
    "国庆": ("the National Day holiday", "a name"),
    "元宵": ("the Lantern Festival", "sweet dumplings"),
}
"""Words that are times in one sentence and something else in another: the time first."""

LOOKS = phrases("lexicon: looks")
"""Compounds in which a word of time is no time."""

TIME_OF_LOOKS = phrases("lexicon: time of looks")
"""Exceptions to the compounds."""

PREPOSITIONS = word_set("lexicon: prepositions")
"""After one of these, or before one, a time is no adjective of a noun."""

PHOTO_NOUNS = word_set("lexicon: photo nouns")
"""Behind a time they are what is looked for, not what it describes."""


CHINESE_PHOTOS = phrases("lexicon: chinese photos")


def is_look(tokens: list[Token], index: int) -> int | None:
    """The index after a compound that begins at a token and is no time, or None."""
    found = LOOKS.at(tokens, index)
    if found is None:
        return None
    other = TIME_OF_LOOKS.at(tokens, index)
    return None if other is not None and other[1] >= found[1] else found[1]

"""The days of the feasts of both cultures, as spans.

A feast is the days that people take photos of it, not only its date: Christmas is 24 to 26 December,
Easter Good Friday to Easter Monday, the Spring Festival its eve and seven days, National Day 1 to 7
October, Labour Day 1 to 5 May. Everything else is its one day. Lunar dates and solar terms come from borax
(1900 to 2100), Easter from dateutil.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from datetime import date, timedelta

from dateutil.relativedelta import FR, MO, SU, TH, relativedelta, weekday

from sensorium.photos.query.days import Span

FIRST_YEAR, LAST_YEAR = 1900, 2100


@functools.lru_cache(maxsize=1024)
def feast_span(feast: str, year: int) -> Span | None:
    """The days of a feast in a year, or None when it cannot be told (lunar ones before 1900, after 2100).

    The Spring Festival and New Year belong to the year that they begin.
    """
    if not FIRST_YEAR <= year <= LAST_YEAR:
        return None
    first, length = FEASTS[feast](year)
    return first, first + timedelta(days=length)


_Rule = Callable[[int], tuple[date, int]]


def _fixed(month: int, day: int, length: int = 1) -> _Rule:
    return lambda year: (date(year, month, day), length)


def _nth(month: int, day: weekday) -> _Rule:
    return lambda year: (date(year, month, 1) + relativedelta(weekday=day), 1)


def _last_monday(month: int) -> _Rule:
    return lambda year: (date(year, month, 31) + relativedelta(weekday=MO(-1)), 1)


def _easter(offset: int, length: int = 1) -> _Rule:
    def rule(year: int) -> tuple[date, int]:
        from dateutil.easter import easter

        return easter(year) + timedelta(days=offset), length

    return rule


def _lunar(month: int, day: int, offset: int = 0, length: int = 1) -> _Rule:
    def rule(year: int) -> tuple[date, int]:
        from borax.calendars.lunardate import LunarDate

        first: date = LunarDate(year, month, day).to_solar_date()
        return first + timedelta(days=offset), length

    return rule


def _term(name: str) -> _Rule:
    def rule(year: int) -> tuple[date, int]:
        from borax.calendars.lunardate import TermUtils

        first: date = TermUtils.day_start_from_term(year, name)
        return first, 1

    return rule


def _new_year(year: int) -> tuple[date, int]:
    return date(year - 1, 12, 31), 2


FEASTS: dict[str, _Rule] = {
    "New Year": _new_year,
    "New Year's Day": _fixed(1, 1),
    "New Year's Eve": _fixed(12, 31),
    "Valentine's Day": _fixed(2, 14),
    "Women's Day": _fixed(3, 8),
    "St Patrick's Day": _fixed(3, 17),
    "April Fools' Day": _fixed(4, 1),
    "Easter": _easter(-2, 4),
    "Good Friday": _easter(-2),
    "Easter Sunday": _easter(0),
    "Easter Monday": _easter(1),
    "Labour Day": _fixed(5, 1, 5),
    "May Day": _fixed(5, 1),
    "Mother's Day": _nth(5, SU(2)),
    "Memorial Day": _last_monday(5),
    "Children's Day": _fixed(6, 1),
    "Father's Day": _nth(6, SU(3)),
    "Independence Day": _fixed(7, 4),
    "Labor Day": _nth(9, MO(1)),
    "Teachers' Day": _fixed(9, 10),
    "National Day": _fixed(10, 1, 7),
    "Halloween": _fixed(10, 31),
    "Singles' Day": _fixed(11, 11),
    "Thanksgiving": _nth(11, TH(4)),
    "Black Friday": lambda year: (_nth(11, TH(4))(year)[0] + relativedelta(weekday=FR), 1),
    "Christmas": _fixed(12, 24, 3),
    "Christmas Eve": _fixed(12, 24),
    "Christmas Day": _fixed(12, 25),
    "Boxing Day": _fixed(12, 26),
    "Spring Festival": _lunar(1, 1, -1, 8),
    "Spring Festival's Day": _lunar(1, 1),
    "Spring Festival's Eve": _lunar(1, 1, -1),
    "Lantern Festival": _lunar(1, 15),
    "Qingming": _term("清明"),
    "Dragon Boat Festival": _lunar(5, 5),
    "Qixi": _lunar(7, 7),
    "Ghost Festival": _lunar(7, 15),
    "Mid-Autumn Festival": _lunar(8, 15),
    "Double Ninth": _lunar(9, 9),
    "Winter Solstice": _term("冬至"),
    "Laba": _lunar(12, 8),
}
"""First day and length of every feast by year."""

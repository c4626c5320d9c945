"""Spans of days: months, seasons, weeks, parts of a year, and going back from today.

Every span is (first day, day after the last). Weeks begin on Monday, seasons are meteorological, and a
season that crosses the turn of the year belongs to the year in which it begins.
"""

from __future__ import annotations

from datetime import MAXYEAR, MINYEAR, date, timedelta
from typing import Literal

from dateutil.relativedelta import relativedelta

Span = tuple[date, date]
Unit = Literal["day", "week", "month", "season", "year", "decade", "weekend"]

SEASONS = {"spring": 3, "summer": 6, "autumn": 9, "winter": 12}
"""The first month of each season in the north."""


def shift(day: date, **amount: int) -> date:
    """A day moved by years, months, weeks or days; held at the ends of the calendar."""
    try:
        moved: date = day + relativedelta(**amount)
    except (OverflowError, ValueError):
        return date(MINYEAR, 1, 1) if min(amount.values()) < 0 else date(MAXYEAR, 12, 31)
    return moved


def day_span(day: date) -> Span:
    """One day."""
    return day, shift(day, days=1)


def month_span(year: int, month: int) -> Span:
    """A month of a year."""
    first = date(year, month, 1)
    return first, shift(first, months=1)


def year_span(year: int, years: int = 1) -> Span:
    """A year, or several from one on."""
    first = date(min(max(year, MINYEAR), MAXYEAR), 1, 1)
    return first, shift(first, years=years)


def season_span(year: int, season: str, *, south: bool = False) -> Span:
    """A season: three whole months. In the south the months are those of the opposite season."""
    first = season_months(season, south=south)[0]
    start = date(year, first, 1)
    return start, shift(start, months=3)


def season_months(season: str, *, south: bool = False) -> tuple[int, int, int]:
    """The three months of a season, in the order of the year's course."""
    first = (SEASONS[season] + (6 if south else 0) - 1) % 12
    return first + 1, (first + 1) % 12 + 1, (first + 2) % 12 + 1


def week_span(day: date, weeks: int = 0) -> Span:
    """The week from Monday that a day is in, or so many weeks later."""
    monday = shift(day, days=-day.weekday(), weeks=weeks)
    return monday, shift(monday, weeks=1)


def weekend_span(day: date, weeks: int = 0) -> Span:
    """Saturday and Sunday of a day's week."""
    monday, end = week_span(day, weeks)
    return shift(monday, days=5), end


def unit_span(day: date, unit: Unit, offset: int) -> Span:
    """The calendar's day, week, month, year or decade that a day is in, or so many later."""
    if unit == "day":
        return day_span(shift(day, days=offset))
    if unit == "week":
        return week_span(day, offset)
    if unit == "weekend":
        return weekend_span(day, offset)
    if unit == "month":
        moved = shift(day, months=offset)
        return month_span(moved.year, moved.month)
    if unit == "season":
        moved = shift(day, months=3 * offset)
        name = next(name for name in SEASONS if moved.month in season_months(name))
        year = moved.year - 1 if moved.month < 3 else moved.year
        return season_span(year, name)
    if unit == "decade":
        first = shift(day, years=10 * offset).year // 10 * 10
        return year_span(max(first, MINYEAR), 10)
    return year_span(shift(day, years=offset).year)


def rolling_span(today: date, unit: Unit, count: int) -> Span:
    """The last so many units until today, which is included."""
    amounts = {"weekend": {"weeks": count}, "season": {"months": 3 * count}, "decade": {"years": 10 * count}}
    start = shift(today, **{key: -value for key, value in amounts.get(unit, {f"{unit}s": count}).items()})
    return start, shift(today, days=1)


def part_span(span: Span, part: str) -> Span:
    """A third ("early", "mid", "late"), "half 1", "quarter 2", or seven days ("week 1", "week 0" the last).

    Whole months for a year and whole days below.
    """
    start, end = span
    if part.startswith("week"):
        number = int(part.split(" ")[1])
        first = start + timedelta(weeks=number - 1) if number else end - timedelta(weeks=1)
        return first, first + timedelta(weeks=1)
    count = {"early": 3, "mid": 3, "late": 3, "half": 2, "quarter": 4}[part.split(" ")[0]]
    index = {"early": 0, "mid": 1, "late": 2}.get(part, int(part.split(" ")[1]) - 1 if " " in part else 0)
    months = (end.year - start.year) * 12 + end.month - start.month
    if start.day == 1 and end.day == 1 and months % count == 0 and months >= count:
        step = months // count
        return shift(start, months=step * index), shift(start, months=step * (index + 1))
    days = (end - start).days
    first = start + timedelta(days=days * index // count)
    return first, start + timedelta(days=max(days * (index + 1) // count, days * index // count + 1))

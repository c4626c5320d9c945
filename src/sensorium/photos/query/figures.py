"""Numbers in a sentence that are years, months, days or counts, written in figures or in words."""

from __future__ import annotations

from datetime import date

from sensorium.photos.query import lexicon
from sensorium.photos.query.days import Span, day_span, month_span
from sensorium.photos.query.tokens import Token
from sensorium.photos.query.vocabulary import word_set

FIRST_YEAR, LAST_YEAR = 1800, 2199
"""Four figures within these can be a year."""

_DIGITS = {figure: value for value, figure in enumerate("零一二三四五六七八九")} | {"〇": 0, "两": 2, "○": 0}

_MEASURES = word_set("figures: measures")
"""Chinese characters behind a number that make it a count or a label."""

_LABELS = word_set("figures: labels")
"""Words before a number that make it a label."""

_EVENTS = word_set("figures: events")
"""Plurals that a year describes more often than a number counts them."""


class Figures:
    """The numbers of one sentence; indices are those of its tokens."""

    def __init__(self, tokens: list[Token]) -> None:
        self.tokens = tokens

    def date(self, index: int) -> tuple[Span, tuple[str, str] | None] | None:
        """A date in figures, and its two readings when the month could be the day."""
        token = self.tokens[index]
        if token.kind == "number" and len(token.key) == 8:
            parts = [token.key[:4], token.key[4:6], token.key[6:]]
        elif token.kind == "date":
            separator = next(sign for sign in token.key if not sign.isdecimal())
            parts = token.key.split(separator)
        else:
            return None
        numbers = [int(part) for part in parts]
        if len(numbers) == 2:
            return (month_span(*numbers), None) if _is_month(*numbers) else None
        if len(parts[0]) == 4:
            span = _day(*numbers)
            return (span, None) if span else None
        return _day_or_month_first(numbers, european="." in token.key)

    def year(self, index: int) -> tuple[int, int, str | None] | None:
        """A year, the index behind it, and "number" when it could be a count: 2018, 18年, 二〇一八年."""
        bare = self.bare_year(index)
        if bare is not None:
            year, end = bare
            return (year, end + 1, None) if self._is(end, "年") else (year, end, "number")
        digits, end = self._han_digits(index)
        if self._is(end, "年") and len(digits) == 4 and FIRST_YEAR <= int(digits) <= LAST_YEAR:
            return int(digits), end + 1, None
        number = self.tokens[index].number if index < len(self.tokens) else None
        if number is not None and len(self.tokens[index].key) == 2 and self._is(index + 1, "年"):
            return number + (2000 if number < 30 else 1900), index + 2, None if number > 30 else "number"
        return None

    def bare_year(self, index: int) -> tuple[int, int] | None:
        """Four figures that can be a year, and the index behind them."""
        if index >= len(self.tokens) or len(self.tokens[index].key) != 4:
            return None
        number = self.tokens[index].number
        return (number, index + 1) if number is not None and FIRST_YEAR <= number <= LAST_YEAR else None

    def is_year(self, start: int, end: int, *, noun: bool) -> bool:
        """Whether four figures without any word of time around them are a year."""
        before = self.tokens[start - 1] if start else None
        behind = self.tokens[end] if end < len(self.tokens) else None
        if len(self.tokens[start].key) == 2:
            # "20年老树" is old, "20年的老树" may be; only what ends there is the year 2020.
            return behind is None or behind.kind == "mark" or behind.key in "的到至"
        if before is not None and (before.key in _LABELS or before.kind == "number"):
            return False
        if behind is None:
            return True
        if behind.key in _MEASURES or behind.key in ("%", "°", "$", "x", "×", "*", "/", ":"):
            return False
        counted = noun and behind.key.endswith("s") and behind.key[-2:] not in ("ss", "is", "us")
        return not (counted and before is None) or behind.key in _EVENTS

    def month(self, index: int) -> tuple[int, int] | None:
        """A month by name or number (五月, 5月), and the index behind it."""
        named = lexicon.MONTHS.at(self.tokens, index)
        if named is not None:
            return named
        if index >= len(self.tokens):
            return None
        number = self.tokens[index].number
        if number is not None and 1 <= number <= 12 and self._is(index + 1, "月"):
            return (number, index + 3) if self._is(index + 2, "份") else (number, index + 2)
        return None

    def month_pair(self, index: int) -> tuple[int, int, int] | None:
        """Two months that follow each other, said in one breath (七八月), and the index behind them."""
        if not self._is(index + 2, "月"):
            return None
        one, two = (_DIGITS.get(token.key, 0) for token in self.tokens[index : index + 2])
        return (one, two, index + 3) if two == one + 1 > 1 else None

    def day_of_month(self, index: int) -> tuple[int, int, int, int] | None:
        """Month, first and last day, and the index behind: 5 June, June 5-8, the 5th of June, 6月5日到8日."""
        month = self.month(index)
        if month is not None:
            end = month[1] + (self._is(month[1], "the") or self._is(month[1], "份"))
            days = self._days(end, chinese=self.tokens[month[1] - 1].kind == "han")
            return (month[0], *days) if days else None
        days = self._days(index, chinese=False)
        if days is None:
            return None
        behind = self.month(days[2] + self._is(days[2], "of"))
        return (behind[0], days[0], days[1], behind[1]) if behind else None

    def _days(self, index: int, *, chinese: bool) -> tuple[int, int, int] | None:
        first = self._day_number(index, chinese=chinese)
        if first is None:
            return None
        joint = lexicon.TO.at(self.tokens, first[1])
        last = self._day_number(joint[1], chinese=chinese) if joint else None
        if last is not None and last[0] > first[0]:
            return first[0], last[0], last[1]
        if chinese and not first[2]:
            return None
        return first[0], first[0], first[1]

    def _day_number(self, index: int, *, chinese: bool) -> tuple[int, int, bool] | None:
        """A day, the index behind it, and whether it is marked as one (日, 号)."""
        if index >= len(self.tokens):
            return None
        key = self.tokens[index].key
        ordinal = lexicon.ORDINALS.at(self.tokens, index)
        number: int | None
        end = index + 1
        if ordinal is not None and not chinese:
            number, end = ordinal
        elif key[:-2].isdecimal() and key[-2:] in ("st", "nd", "rd", "th") and len(key) <= 4:
            number = int(key[:-2])
        elif chinese and self.tokens[index].kind == "han":
            number, end = self._han_number(index)
        else:
            number = self.tokens[index].number
        if number is None or not 1 <= number <= 31:
            return None
        # 5号 is a day, 5号码 a size.
        numbered = end + 1 < len(self.tokens) and self.tokens[end + 1].key in "码楼线门房店"
        marked = self._is(end, "日") or (self._is(end, "号") and not numbered)
        return number, end + marked, marked

    def count(self, index: int) -> tuple[int, int] | None:
        """How many of something, and the index behind: 3, three, a couple of, 三, 十五."""
        if index >= len(self.tokens):
            return None
        number = self.tokens[index].number
        if number is not None:
            return (number, index + 1) if 1 <= number <= 999 else None
        value, end = self._han_number(index)
        if value:
            return value, end
        named = lexicon.NUMBERS.at(self.tokens, index)
        return named if named is not None else None

    def decade(self, index: int) -> tuple[int, int] | None:
        """The first year of a decade, and the index behind: the 90s, 1990s, 90年代, 上世纪八十年代."""
        if index >= len(self.tokens):
            return None
        start = index
        century = lexicon.CENTURIES.at(self.tokens, index)
        index = century[1] if century else index
        named = lexicon.DECADES.at(self.tokens, index)
        if named is not None:
            return named
        if index >= len(self.tokens) or (start and self.tokens[start - 1].key in lexicon.OWNERS):
            return None
        key = self.tokens[index].key
        end = index + 1
        if key.endswith("s"):
            key = key[:-1]
        elif self._is(end, "'s"):
            end += 1
        elif self._is(end, "年") and self._is(end + 1, "代"):
            end += 2
        else:
            return None
        if not key.isdecimal() or not key.isascii() or not key.endswith("0"):
            return None
        if len(key) == 4 and FIRST_YEAR <= int(key) <= LAST_YEAR:
            return int(key), end
        if len(key) == 2:
            return int(key) + (1900 if int(key) >= 30 or century else 2000), end
        return None

    def _han_digits(self, index: int) -> tuple[str, int]:
        """A number that is spelled figure by figure: 二〇一八."""
        end = index
        while end < len(self.tokens) and end - index < 4 and self.tokens[end].key in _DIGITS:
            end += 1
        return "".join(str(_DIGITS[token.key]) for token in self.tokens[index:end]), end

    def _han_number(self, index: int) -> tuple[int | None, int]:
        """A Chinese number up to 99: 五, 十二, 二十, 三十一."""
        end, tens, ones = index, 0, 0
        if end < len(self.tokens) and self.tokens[end].key in _DIGITS:
            ones = _DIGITS[self.tokens[end].key]
            end += 1
        if self._is(end, "十"):
            tens, ones = max(ones, 1), 0
            end += 1
            if end < len(self.tokens) and self.tokens[end].key in _DIGITS:
                ones = _DIGITS[self.tokens[end].key]
                end += 1
        return (10 * tens + ones or None), end

    def _is(self, index: int, key: str) -> bool:
        return index < len(self.tokens) and self.tokens[index].key == key


def _is_month(year: int, month: int) -> bool:
    return FIRST_YEAR <= year <= LAST_YEAR and 1 <= month <= 12


def _day(year: int, month: int, day: int) -> Span | None:
    try:
        return day_span(date(year, month, day)) if FIRST_YEAR <= year <= LAST_YEAR else None
    except ValueError:
        return None


def _day_or_month_first(numbers: list[int], *, european: bool) -> tuple[Span, tuple[str, str] | None] | None:
    one, two, year = numbers
    spans = {order: _day(year, *order) for order in ((one, two), (two, one))}
    first, second = (spans[two, one], spans[one, two]) if european else (spans[one, two], spans[two, one])
    if first and second and one != two:
        return first, (first[0].isoformat(), second[0].isoformat())
    chosen = first or second
    return (chosen, None) if chosen else None

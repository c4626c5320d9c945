"""Single times: what stands before and behind them and joins them is ``times``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import MAXYEAR, MINYEAR, date

from sensorium.photos.query import lexicon
from sensorium.photos.query.days import (
    SEASONS,
    Span,
    Unit,
    day_span,
    month_span,
    part_span,
    rolling_span,
    season_months,
    season_span,
    shift,
    unit_span,
    week_span,
    weekend_span,
    year_span,
)
from sensorium.photos.query.feasts import feast_span
from sensorium.photos.query.figures import Figures
from sensorium.photos.query.tokens import Token

Yearly = Callable[[int], Span | None]


@dataclass(frozen=True, slots=True)
class Point:
    """A time without what stands before or behind it.

    ``span`` are its days; ``yearly`` gives them for a year when the sentence tells none; ``months`` is
    set when it is one or more whole months of any year. ``year`` is a year that a neighbour in a range
    may borrow. ``weak`` names why the words may be something else: "word" (may, fall), "noun" (could
    describe a noun that follows), "number" (could be a count). ``ambiguous`` says two ways to read it.
    """

    end: int
    span: Span | None = None
    yearly: Yearly | None = None
    months: tuple[int, ...] = ()
    year: int | None = None
    weak: str | None = None
    ambiguous: tuple[str, str] | None = None


class Points:
    """The times of one sentence without what introduces or joins them. ``south`` mirrors the seasons."""

    def __init__(self, tokens: list[Token], today: date, *, south: bool = False) -> None:
        self.tokens = tokens
        self.today = today
        self.south = south
        self.figures = Figures(tokens)

    def point(self, index: int) -> Point | None:
        """The longest time without introduction that begins at a token."""
        if index >= len(self.tokens) or lexicon.is_look(self.tokens, index) is not None:
            return None
        rules: tuple[Callable[[int], Point | None], ...] = (
            *(self._figures, self._day, self._dated, self._yearly_dated, self._counted),
            *(self._which_one, self._weekday, self._decade, self._part_ahead),
        )
        found = [point for rule in rules if (point := rule(index)) is not None]
        return self._part_behind(max(found, key=lambda point: point.end)) if found else None

    def _figures(self, index: int) -> Point | None:
        written = self.figures.date(index)
        if written is None:
            return None
        span, ambiguous = written
        return Point(index + 1, span, year=span[0].year, ambiguous=ambiguous)

    def _day(self, index: int) -> Point | None:
        """Yesterday, 前天; "last night" and "this morning" without the part of the day."""
        day = lexicon.DAYS.at(self.tokens, index)
        if day is not None:
            return Point(day[1], day_span(shift(self.today, days=day[0])), year=self.today.year)
        which = lexicon.WHICH.at(self.tokens, index)
        if which is not None and which[0] in (-1, 0) and lexicon.DAYTIMES.at(self.tokens, which[1]):
            return Point(which[1], day_span(shift(self.today, days=which[0])))
        return None

    def _dated(self, index: int) -> Point | None:
        """A year, alone or before what happens every year: 2018年五月, 去年夏天."""
        year = self._year(index)
        if year is None:
            return None
        number, end, weak = year
        today = lexicon.DAYS.at(self.tokens, self.skip_article(end))
        if today is not None and today[0] == 0 and weak is None:
            month, day = self.today.month, self.today.day
            return Point(today[1], _days_of_month(number, month, day, day), year=number)
        inside = self._yearly(self.skip_article(end)) or self._short_season(self.skip_article(end))
        if inside is not None and inside.yearly is not None and (weak is None or not self._english(end)):
            return Point(inside.end, inside.yearly(number), year=number)
        return Point(end, year_span(number), year=number, weak=weak)

    def _english(self, index: int) -> bool:
        """Whether a token is not Chinese: "2018 may" is no date that anybody writes."""
        return index < len(self.tokens) and self.tokens[index].kind != "han"

    def _yearly_dated(self, index: int) -> Point | None:
        """What happens every year, with the year behind it or without: May 2018, summer of last year."""
        point = self._yearly(index)
        if point is None or point.yearly is None:
            return point
        last = lexicon.WHICH.at(self.tokens, point.end)
        if last is not None and last[0] == -2 and self._english(point.end):
            return Point(last[1], self._which(point.yearly, -2))
        behind = point.end
        if behind < len(self.tokens) and self.tokens[behind].key in (",", "of", "in", "，"):
            behind += 1
        year = self._year(behind)
        if year is None:
            return point
        return Point(year[1], point.yearly(year[0]), year=year[0])

    def _year(self, index: int) -> tuple[int, int, str | None] | None:
        """A year, the index behind it, and "number" when the figures could be a count."""
        relative = lexicon.YEARS.at(self.tokens, index)
        if relative is not None:
            return _held(self.today.year + relative[0]), relative[1], None
        written = self.figures.year(index)
        if written is not None:
            return written
        ago = self._ago(index)
        if ago is not None and ago[0] == "year":
            return _held(self.today.year - ago[1]), ago[2], None
        return None

    def _yearly(self, index: int) -> Point | None:
        """A month, a day of a month, a season or a feast, without a year."""
        if index >= len(self.tokens) or lexicon.is_look(self.tokens, index) is not None:
            return None
        day = self.figures.day_of_month(index)
        if day is not None:
            month, first, last, end = day
            return Point(end, yearly=lambda year: _days_of_month(year, month, first, last))
        pair = self.figures.month_pair(index)
        if pair is not None:
            one, two, end = pair
            return Point(end, yearly=lambda year: _months_of_year(year, one, two), months=(one, two))
        feast = lexicon.FEASTS.at(self.tokens, index)
        month_named = self.figures.month(index)
        season = lexicon.SEASONS.at(self.tokens, index)
        if feast is not None and not self._numbered(index):
            return self._feast(index, *feast)
        weak = self._weak_word(index)
        if month_named is not None:
            number, end = month_named
            return Point(end, yearly=lambda year: month_span(year, number), months=(number,), weak=weak)
        if season is None:
            return None
        return replace(
            self._season(season[0], season[1]), weak=weak or ("noun" if self._english(index) else None)
        )

    def _weak_word(self, index: int) -> str | None:
        key = self.tokens[index].key if index < len(self.tokens) else ""
        doubtful = key in lexicon.SHORT_NAMES or (key in lexicon.AMBIGUOUS and self._english(index))
        return "word" if doubtful and key not in ("april", "june") else None

    def _numbered(self, index: int) -> bool:
        """Whether 五一 and 六一 are part of a longer number: 第五一中学."""
        named = self.tokens[index].key in "五六" and index > 0
        return named and self.tokens[index - 1].key in lexicon.NOT_BEHIND

    def _feast(self, index: int, feast: str, end: int) -> Point:
        if feast in lexicon.FEAST_DAYS or self.tokens[end - 1].kind == "han":
            tail = lexicon.FEAST_TAILS.at(self.tokens, end)
            end = tail[1] if tail else end
        weak = "noun" if self._english(index) else "word" if self.tokens[end - 1].key == "宵" else None
        return Point(end, yearly=lambda year: feast_span(feast, year), weak=weak)

    def _short_season(self, index: int) -> Point | None:
        season = lexicon.SHORT_SEASONS.at(self.tokens, index)
        if season is None or lexicon.is_look(self.tokens, index) is not None:
            return None
        behind = self.tokens[season[1]] if season[1] < len(self.tokens) else None
        # 去年春游 is an outing; only before a few particles is the character a season.
        ends = behind is None or behind.kind != "han" or behind.key in "的在到至去和拍，"
        return self._season(*season) if ends else None

    def _season(self, season: str, end: int) -> Point:
        months = season_months(season, south=self.south)
        south = self.south
        return Point(end, yearly=lambda year: season_span(year, season, south=south), months=months)

    def _which_one(self, index: int) -> Point | None:
        """Last week, 上个月, this weekend, last Christmas, the summer before last."""
        which = lexicon.WHICH.at(self.tokens, index)
        if which is None:
            weekend = lexicon.UNITS.at(self.tokens, index)
            if weekend is None or weekend[0] != "weekend":
                return None
            begun = 0 if self.today.weekday() >= 5 else -1
            weak = "word" if self._english(index) else None
            return Point(weekend[1], weekend_span(self.today, begun), weak=weak)
        offset, end = which
        unit = lexicon.UNITS.at(self.tokens, end)
        if unit is not None and lexicon.is_look(self.tokens, end) is None and self.tokens[end].key != "天":
            return Point(unit[1], unit_span(self.today, unit[0], offset), year=self.today.year)
        yearly = self._yearly(end)
        if yearly is None or yearly.yearly is None:
            return None
        return Point(yearly.end, self._which(yearly.yearly, offset))

    def _counted(self, index: int) -> Point | None:
        """Three days ago, 两周前; past two weeks, 最近三个月; recently."""
        ago = self._ago(index)
        if ago is not None:
            return Point(ago[2], unit_span(self.today, ago[0], -ago[1]))
        seasons = self._seasons_ago(index)
        if seasons is not None:
            return seasons
        rolling = lexicon.ROLLING.at(self.tokens, index)
        recent = lexicon.RECENT.at(self.tokens, index)
        if rolling is not None:
            count = self.figures.count(rolling[1]) or (1, rolling[1])
            unit = self._unit(count[1])
            if unit is not None and (count[1] > rolling[1] or self._until_now(index, rolling[1])):
                return Point(unit[1], rolling_span(self.today, unit[0], count[0] * unit[2]))
        return Point(recent[1], rolling_span(self.today, "day", recent[0])) if recent else None

    def _seasons_ago(self, index: int) -> Point | None:
        """Two summers ago."""
        count = self.figures.count(index)
        key = self.tokens[count[1]].key if count and count[1] < len(self.tokens) else ""
        ago = lexicon.AGO.at(self.tokens, count[1] + 1) if count else None
        if count is None or ago is None or key.removesuffix("s") not in SEASONS:
            return None
        south, season = self.south, key.removesuffix("s")
        return Point(ago[1], self._which(lambda year: season_span(year, season, south=south), -count[0]))

    def _until_now(self, start: int, end: int) -> bool:
        """Whether "last week" means the last seven days: "in the last week", "the past week"."""
        if self.tokens[end - 1].key in ("past", "近", "去"):
            return True
        before = [token.key for token in self.tokens[max(0, start - 2) : start]]
        return before[-1:] == ["the"] and before[0] in ("in", "over", "during", "within", "from")

    def _ago(self, index: int) -> tuple[Unit, int, int] | None:
        count = self.figures.count(index)
        unit = self._unit(count[1]) if count else self._unit(index, half=True)
        ago = lexicon.AGO.at(self.tokens, unit[1]) if unit else None
        if unit is None or ago is None:
            return None
        return unit[0], (count[0] if count else 1) * unit[2], ago[1]

    def _unit(self, index: int, *, half: bool = False) -> tuple[Unit, int, int] | None:
        """A unit that is counted, the index behind it, and how many of it: half a year is 6 months."""
        whole = lexicon.HALVES.at(self.tokens, index)
        if whole is not None:
            return "month", whole[1], whole[0]
        unit = lexicon.UNITS.at(self.tokens, index)
        # "5月前" is before May; months are counted with 个.
        if half or unit is None or (self.tokens[index].key == "月"):
            return None
        return unit[0], unit[1], 1

    def _weekday(self, index: int) -> Point | None:
        which = lexicon.WHICH.at(self.tokens, index)
        day = lexicon.WEEKDAYS.at(self.tokens, which[1] if which else index)
        if day is None:
            return None
        weekday, end = day
        chinese = self.tokens[end - 1].kind == "han"
        if which is None or (which[0] == -1 and not chinese):
            back = (self.today.weekday() - weekday) % 7
            back = back or (7 if which else 0)
            weak = None if which or chinese else self._weak_word(index) or "noun"
            return Point(end, day_span(shift(self.today, days=-back)), weak=weak)
        monday = week_span(self.today, which[0])[0]
        return Point(end, day_span(shift(monday, days=weekday)))

    def _decade(self, index: int) -> Point | None:
        decade = self.figures.decade(index)
        return Point(decade[1], year_span(decade[0], 10), year=decade[0], weak="noun") if decade else None

    def _part_ahead(self, index: int) -> Point | None:
        """Early 2019, the end of last year, late May 2018."""
        part = lexicon.PARTS.at(self.tokens, index)
        if part is None:
            return None
        if not self._english(index):
            return self._part_alone(*part) if part[1] - index > 1 else None
        end = part[1] + (part[1] < len(self.tokens) and self.tokens[part[1]].key == "-")
        whole = self._dated(end) or self._yearly_dated(end) or self._which_one(end)
        if whole is None:
            return None
        if whole.span is None:
            return replace(whole, weak=None)
        return replace(whole, span=part_span(whole.span, part[0]), weak=None)

    def _part_alone(self, part: str, end: int) -> Point:
        """上半年, 年底, 月初: of the year or month that is now, or the one before when it has not begun."""
        unit: Unit = (
            "month" if self.tokens[end - 2].key in "月旬" or self.tokens[end - 1].key == "旬" else "year"
        )
        spans = [part_span(unit_span(self.today, unit, offset), part) for offset in (0, -1)]
        return Point(end, next(span for span in spans if span[0] <= self.today))

    def _part_behind(self, point: Point) -> Point:
        """2019年初, 去年下半年, 五月底."""
        part = lexicon.PARTS.at(self.tokens, point.end)
        if part is None or self._english(point.end):
            return point
        name, end = part
        if point.span is not None:
            return replace(point, end=end, span=part_span(point.span, name))
        yearly = point.yearly
        if yearly is None:
            return point

        def part_of(year: int) -> Span | None:
            span = yearly(year)
            return part_span(span, name) if span else None

        return replace(point, end=end, yearly=part_of, months=())

    def skip_article(self, index: int) -> int:
        """The index behind an article, a 的 or "all of"."""
        found = lexicon.ARTICLE.at(self.tokens, index)
        return found[1] if found else index

    # Which year, when none is told.

    def recent(self, point: Point) -> Span | None:
        """The days of a point; of one without a year, those of the last time that it began."""
        if point.span is not None or point.yearly is None:
            return point.span
        begun = [span for span in self._occurrences(point.yearly) if span[0] <= self.today]
        return begun[-1] if begun else None

    def _occurrences(self, yearly: Yearly) -> list[Span]:
        """The times around today that something of every year takes place."""
        # A leap day is eight years away at most.
        years = range(max(self.today.year - 8, 2), min(self.today.year + 8, 9990) + 1)
        return [span for year in years if (span := yearly(year)) is not None]

    def _which(self, yearly: Yearly, which: int) -> Span | None:
        spans = self._occurrences(yearly)
        past = [span for span in spans if span[1] <= self.today]
        if which < 0:
            return past[which] if len(past) >= -which else None
        if which > 0:
            return next((span for span in spans if span[0] > self.today), None)
        year = self.today.year
        near = [span for span in spans if span[0].year == year or shift(span[1], days=-1).year == year]
        return min(near, key=self._distance) if near else None

    def _distance(self, span: Span) -> int:
        return max((span[0] - self.today).days, (self.today - span[1]).days + 1, 0)


def _held(year: int) -> int:
    """A year that the calendar has, with the one after it."""
    return min(max(year, MINYEAR), MAXYEAR - 1)


def _months_of_year(year: int, first: int, last: int) -> Span:
    return month_span(year, first)[0], month_span(year, last)[1]


def _days_of_month(year: int, month: int, first: int, last: int) -> Span | None:
    """Some days of a month, or None where the month of that year has no such day."""
    try:
        return date(year, month, first), shift(date(year, month, last), days=1)
    except ValueError:
        return None

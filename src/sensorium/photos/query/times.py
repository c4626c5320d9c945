"""The grammar of time: points, ranges of points, and what stands before and behind them.

It reads meanings (``lexicon``), not letters, so English and Chinese share it; every function takes the
index of a token and returns what begins there with the index behind it, or None. Nothing looks back
further than a few tokens, and no alternative is tried twice, so its time is linear in the sentence.

What it decides, with ``today`` the day of ``now`` on the wall (Wednesday 13 May 2026 in the examples):

=======================================  ===================================================================
said                                     meant
=======================================  ===================================================================
2018, 2018年, 18年                         1 January 2018 until 31 December 2018
May 2018, 2018年五月                        that month
June, summer, 夏天                         ``months`` of any year
5 June, 6月5日; Christmas, 春节              the last time that it began, today included
summer 2019, 2019年夏天                     June to August; a winter belongs to the year in which it begins
last summer, last May, last Christmas    the last one that is over
this summer                              the one that is now, else the nearest one that touches this year
next summer                              the first one that begins after today
the winter before last; two summers ago  the one before the last one that is over
each summer, 每年夏天                        ``months`` of any year
first week of June, 六月第一周                its first seven days; last week: its last seven
七八月                                      both months
去年夏天, summer last year                   the one of the calendar year before this one
yesterday, 前天, three days ago            that day; "last night" yesterday, "night" stays a look
last week, 上周, two weeks ago             that week from Monday to Sunday
last month, 三个月前                         that month of the calendar; so with years and decades
this weekend, 这个周末                       Saturday and Sunday of this week; bare: the last one that began
Monday; last Monday; 上周三                 the last one, today included; before today; Wednesday of last week
past two weeks, 最近三个月                    from that many days or months ago until today, today included
recently, 最近                             the last 30 days
the 90s, 90年代; 20s                       1990 to 1999; below 30 of this century
early, mid, late; 初, 中旬, 底               thirds; 上半年, "first half of": halves; q1, 一季度: quarters
since X, X以来, X起                         from the first day of X on
before X, X以前                            until the day before X
after X, X以后                             from the day after X on
until X, 截至X                             until the last day of X
X to Y, between X and Y, X到Y             from the first day of X to the last day of Y; one year serves both
05/06/2020; 05.06.2020                   6 May (as in the United States); 5 June (as in Europe)
=======================================  ===================================================================
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

from sensorium.photos.query import lexicon
from sensorium.photos.query.days import Span, year_span
from sensorium.photos.query.model import Times
from sensorium.photos.query.points import Point, Points
from sensorium.photos.query.tokens import Token


@dataclass(frozen=True, slots=True)
class Phrase:
    """Tokens ``start`` until ``end`` that tell a time, and how they were understood when in doubt."""

    start: int
    end: int
    times: Times
    meaning: str | None = None
    alternatives: tuple[str, ...] = ()


class TimeGrammar:
    """The times of one sentence. ``south`` mirrors the seasons."""

    def __init__(self, tokens: list[Token], today: date, *, south: bool = False) -> None:
        self.tokens = tokens
        self.points = Points(tokens, today, south=south)

    def phrase(self, start: int) -> Phrase | None:
        """The longest time that begins at a token, with the words that introduce it."""
        found = [self._range(start), self._open(start), self._plain(start)]
        phrases = [phrase for phrase in found if phrase is not None]
        return max(phrases, key=lambda phrase: phrase.end) if phrases else None

    # What stands before and behind a point.

    def _range(self, start: int) -> Phrase | None:
        between = lexicon.BETWEEN.at(self.tokens, start)
        index = between[1] if between else self._skip_introduction(start)
        for first in (self.points.point(index), self._year_of_range(index)):
            joint = self._joint(first.end) if first else None
            if first is not None and joint is not None:
                return self._joined(start, index, first, joint)
        return None

    def _joint(self, index: int) -> tuple[str, int] | None:
        return lexicon.TO.at(self.tokens, index) or lexicon.AND.at(self.tokens, index)

    def _joined(self, start: int, index: int, first: Point, joint: tuple[str, int]) -> Phrase | None:
        between = index > start and lexicon.BETWEEN.at(self.tokens, start) is not None
        second = self.points.point(self.points.skip_article(joint[1]))
        if second is None:
            return None
        listed = joint[0] == "and" and self.tokens[start].key != "between"
        if not between and (first.weak == "word" or second.weak == "word") and index == start:
            return None
        times = self._join(first, second, listed=listed)
        tail = lexicon.BETWEEN_TAIL.at(self.tokens, second.end)
        if times is None:
            return None
        apart = listed and first.span and second.span and first.span[1] < second.span[0]
        meaning = "the days from the first to the last of them" if apart else None
        others = ("only the days of each",) if apart else ()
        return Phrase(start, tail[1] if tail else second.end, times, meaning, others)

    def _year_of_range(self, index: int) -> Point | None:
        """The first of "2019 到 2020 年" and "2019-2020": a year that the second one shows to be one."""
        year = self.points.figures.bare_year(index)
        return Point(year[1], year_span(year[0]), year=year[0]) if year else None

    def _open(self, start: int) -> Phrase | None:
        ahead = lexicon.AHEAD.at(self.tokens, start)
        index = self.points.skip_article(ahead[1]) if ahead else self._skip_introduction(start)
        point = self.points.point(index)
        if point is None:
            return None
        behind = None if ahead else lexicon.BEHIND.at(self.tokens, point.end)
        if ahead is None and (behind is None or point.weak == "word"):
            return None
        span = self.points.recent(point)
        if span is None:
            return None
        end = point.end if ahead else behind[1] if behind else point.end
        kind = ahead[0] if ahead else behind[0] if behind else ""
        ends = {"since": (span[0], None), "until": (None, span[1])}
        ends |= {"before": (None, span[0]), "after": (span[1], None)}
        return Phrase(start, end, Times(*ends[kind]))

    def _plain(self, start: int) -> Phrase | None:
        index = self._skip_introduction(start)
        point = self.points.point(index)
        if point is None:
            return None
        words = self.tokens[index : point.end]
        ambiguous = lexicon.AMBIGUOUS.get("".join(token.key for token in words))
        if point.weak and not self._certain(point, start, index):
            return None
        if point.months and point.span is None:
            meaning = ambiguous[0] if ambiguous else None
            return Phrase(
                start, point.end, Times(months=point.months), meaning, ambiguous[1:] if ambiguous else ()
            )
        span = self.points.recent(point)
        if span is None:
            return None
        meaning, others = self._explain(point, span, ambiguous)
        return Phrase(start, point.end, Times(*span), meaning, others)

    def _explain(
        self, point: Point, span: Span, ambiguous: tuple[str, ...] | None
    ) -> tuple[str | None, tuple[str, ...]]:
        if point.ambiguous:
            return point.ambiguous[0], point.ambiguous[1:]
        days = f"{span[0]} to {span[1] - timedelta(days=1)}"
        if ambiguous:
            return f"{ambiguous[0]}: {days}", ambiguous[1:]
        if point.span is None:
            return f"the last one: {days}", ("another year's",)
        return None, ()

    def _certain(self, point: Point, start: int, index: int) -> bool:
        """Whether the neighbours show that words which could be something else are a time."""
        introduced = index > start
        noun = self._noun_follows(point.end)
        if point.weak == "word":
            if self.tokens[index].key in lexicon.SHORT_NAMES:
                # "in mar", "on sun"; but not "the sun" nor "mar" alone.
                return introduced and not noun and lexicon.ARTICLE.ending(self.tokens, index) is None
            return (introduced and not noun) or (start == 0 and point.end == len(self.tokens))
        if point.weak == "number":
            return introduced or self.points.figures.is_year(index, point.end, noun=noun)
        strong = {"during", "over", "since"} & {token.key for token in self.tokens[start:index]}
        return not noun or bool(strong)

    def _noun_follows(self, index: int) -> bool:
        """Whether a word follows that the words before could describe: "christmas tree"."""
        if index >= len(self.tokens) or self.tokens[index].kind != "word":
            return False
        word = self.tokens[index].key
        return not (
            word in lexicon.PREPOSITIONS
            or word in lexicon.PHOTO_NOUNS
            or word in lexicon.HOLIDAY_NOUNS
            or lexicon.DAYTIMES.at(self.tokens, index)
            or self.points.point(index) is not None
        )

    def _skip_introduction(self, index: int) -> int:
        found = lexicon.INTRODUCTIONS.at(self.tokens, index)
        return self.points.skip_article(found[1]) if found else index

    # Joining two points.

    def _join(self, first: Point, second: Point, *, listed: bool) -> Times | None:
        if first.months and second.months and first.span is None and second.span is None:
            if listed:
                return Times(months=tuple(dict.fromkeys(first.months + second.months)))
            return Times(months=_months_between(first.months[0], second.months[-1]))
        one, two = self._spans(first, second)
        if one is None or two is None:
            return None
        after, before = min(one[0], two[0]), max(one[1], two[1])
        return Times(after, before)

    def _spans(self, first: Point, second: Point) -> tuple[Span | None, Span | None]:
        """The days of both; one that tells no year borrows the other's, so that the order is kept."""
        if first.span is None and first.yearly and second.span:
            span = first.yearly(second.year or second.span[1].year)
            if span and span[0] >= second.span[1]:
                span = first.yearly((second.year or second.span[1].year) - 1)
            return span, second.span
        one = self.points.recent(first)
        if one and second.span is None and second.yearly:
            span = second.yearly(one[0].year)
            if span and span[1] <= one[0]:
                span = second.yearly(one[0].year + 1)
            return one, span
        return one, self.points.recent(second)


def _months_between(first: int, last: int) -> tuple[int, ...]:
    count = (last - first) % 12 + 1
    return tuple((first - 1 + step) % 12 + 1 for step in range(count))

"""What every way to say a time means: the table of conventions, from all sides."""

from datetime import date, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sensorium.photos.query.days import part_span, season_months, unit_span, week_span
from sensorium.photos.query.feasts import FEASTS, feast_span
from sensorium.photos.query.times import TimeGrammar
from sensorium.photos.query.tokens import tokenize

MAY = date(2026, 5, 13)  # a Wednesday


def understood(words, today=MAY, *, south=False):
    """After, before and months of a phrase, or None when it is no time or not all of it is."""
    tokens = tokenize(words)
    phrase = TimeGrammar(tokens, today, south=south).phrase(0)
    if phrase is None or phrase.end != len(tokens):
        return None
    return str(phrase.times.after), str(phrase.times.before), phrase.times.months


def days(after, before=None):
    return str(after), str(before), ()


@pytest.mark.parametrize(
    ("words", "after", "before"),
    [
        ("in 2018", "2018-01-01", "2019-01-01"),
        ("2018年", "2018-01-01", "2019-01-01"),
        ("二〇一八年", "2018-01-01", "2019-01-01"),
        ("18年五月", "2018-05-01", "2018-06-01"),
        ("May 2018", "2018-05-01", "2018-06-01"),
        ("may of last year", "2025-05-01", "2025-06-01"),
        ("2019年3月", "2019-03-01", "2019-04-01"),
        ("去年十月", "2025-10-01", "2025-11-01"),
        ("on 5 June 2020", "2020-06-05", "2020-06-06"),
        ("June 5th, 2020", "2020-06-05", "2020-06-06"),
        ("on the second of may 2020", "2020-05-02", "2020-05-03"),
        ("2020年6月5日", "2020-06-05", "2020-06-06"),
        ("二〇二〇年六月五号", "2020-06-05", "2020-06-06"),
        ("2020-05-01", "2020-05-01", "2020-05-02"),
        ("2020/5/1", "2020-05-01", "2020-05-02"),
        ("20200501", "2020-05-01", "2020-05-02"),
        ("2020-05", "2020-05-01", "2020-06-01"),
        ("05/06/2020", "2020-05-06", "2020-05-07"),
        ("05.06.2020", "2020-06-05", "2020-06-06"),
        ("31/12/2019", "2019-12-31", "2020-01-01"),
        ("5 June", "2025-06-05", "2025-06-06"),
        ("6月5日", "2025-06-05", "2025-06-06"),
        ("5 May", "2026-05-05", "2026-05-06"),
        ("29 february", "2024-02-29", "2024-03-01"),
        ("summer 2019", "2019-06-01", "2019-09-01"),
        ("in the summer of 2019", "2019-06-01", "2019-09-01"),
        ("winter 2019", "2019-12-01", "2020-03-01"),
        ("去年夏天", "2025-06-01", "2025-09-01"),
        ("去年夏", "2025-06-01", "2025-09-01"),
        ("summer last year", "2025-06-01", "2025-09-01"),
        ("last summer", "2025-06-01", "2025-09-01"),
        ("last winter", "2025-12-01", "2026-03-01"),
        ("last spring", "2025-03-01", "2025-06-01"),
        ("this spring", "2026-03-01", "2026-06-01"),
        ("this winter", "2025-12-01", "2026-03-01"),
        ("next summer", "2026-06-01", "2026-09-01"),
        ("last may", "2025-05-01", "2025-06-01"),
        ("yesterday", "2026-05-12", "2026-05-13"),
        ("前天", "2026-05-11", "2026-05-12"),
        ("大前天", "2026-05-10", "2026-05-11"),
        ("three days ago", "2026-05-10", "2026-05-11"),
        ("三天前", "2026-05-10", "2026-05-11"),
        ("last week", "2026-05-04", "2026-05-11"),
        ("上周", "2026-05-04", "2026-05-11"),
        ("上个星期", "2026-05-04", "2026-05-11"),
        ("上上周", "2026-04-27", "2026-05-04"),
        ("two weeks ago", "2026-04-27", "2026-05-04"),
        ("last month", "2026-04-01", "2026-05-01"),
        ("上个月", "2026-04-01", "2026-05-01"),
        ("三个月前", "2026-02-01", "2026-03-01"),
        ("last year", "2025-01-01", "2026-01-01"),
        ("last season", "2025-12-01", "2026-03-01"),
        ("last decade", "2010-01-01", "2020-01-01"),
        ("today", "2026-05-13", "2026-05-14"),
        ("in the end of may 2018", "2018-05-21", "2018-06-01"),
        ("from the 1990's", "1990-01-01", "2000-01-01"),
        ("前年", "2024-01-01", "2025-01-01"),
        ("大前年", "2023-01-01", "2024-01-01"),
        ("two years ago", "2024-01-01", "2025-01-01"),
        ("two years ago today", "2024-05-13", "2024-05-14"),
        ("去年的今天", "2025-05-13", "2025-05-14"),
        ("this weekend", "2026-05-16", "2026-05-18"),
        ("这个周末", "2026-05-16", "2026-05-18"),
        ("over the weekend", "2026-05-09", "2026-05-11"),
        ("上周末", "2026-05-09", "2026-05-11"),
        ("on Monday", "2026-05-11", "2026-05-12"),
        ("last wednesday", "2026-05-06", "2026-05-07"),
        ("上周三", "2026-05-06", "2026-05-07"),
        ("周三", "2026-05-13", "2026-05-14"),
        ("past two weeks", "2026-04-29", "2026-05-14"),
        ("the last 3 months", "2026-02-13", "2026-05-14"),
        ("in the last week", "2026-05-06", "2026-05-14"),
        ("最近三个月", "2026-02-13", "2026-05-14"),
        ("过去两周", "2026-04-29", "2026-05-14"),
        ("最近半年", "2025-11-13", "2026-05-14"),
        ("recently", "2026-04-13", "2026-05-14"),
        ("最近", "2026-04-13", "2026-05-14"),
        ("from the 90s", "1990-01-01", "2000-01-01"),
        ("1980s", "1980-01-01", "1990-01-01"),
        ("90年代", "1990-01-01", "2000-01-01"),
        ("上世纪八十年代", "1980-01-01", "1990-01-01"),
        ("early 2019", "2019-01-01", "2019-05-01"),
        ("2019年初", "2019-01-01", "2019-05-01"),
        ("去年年底", "2025-09-01", "2026-01-01"),
        ("late june 2019", "2019-06-21", "2019-07-01"),
        ("上半年", "2026-01-01", "2026-07-01"),
        ("年底", "2025-09-01", "2026-01-01"),
        ("the first half of 2020", "2020-01-01", "2020-07-01"),
        ("2020年下半年", "2020-07-01", "2021-01-01"),
        ("q1 2021", "2021-01-01", "2021-04-01"),
        ("first week of June 2021", "2021-06-01", "2021-06-08"),
        ("the last week of may 2018", "2018-05-25", "2018-06-01"),
        ("2021年六月第二周", "2021-06-08", "2021-06-15"),
        ("in the winter before last", "2024-12-01", "2025-03-01"),
        ("two summers ago", "2024-06-01", "2024-09-01"),
        ("上个夏天", "2025-06-01", "2025-09-01"),
        ("后天", "2026-05-15", "2026-05-16"),
        ("since 2019", "2019-01-01", None),
        ("2019年以来", "2019-01-01", None),
        ("五月以来", "2026-05-01", None),
        ("since last summer", "2025-06-01", None),
        ("before 2010", None, "2010-01-01"),
        ("2010年以前", None, "2010-01-01"),
        ("after march 2021", "2021-04-01", None),
        ("2019年以后", "2020-01-01", None),
        ("until 2012", None, "2013-01-01"),
        ("april to may 2018", "2018-04-01", "2018-06-01"),
        ("between 2015 and 2017", "2015-01-01", "2018-01-01"),
        ("2015-2017", "2015-01-01", "2018-01-01"),
        ("2020年到2022年", "2020-01-01", "2023-01-01"),
        ("2015到2018年之间", "2015-01-01", "2019-01-01"),
        ("from december 2018 to february", "2018-12-01", "2019-03-01"),
        ("december to february 2019", "2018-12-01", "2019-03-01"),
        ("2019年3月到5月", "2019-03-01", "2019-06-01"),
        ("5 to 8 june 2020", "2020-06-05", "2020-06-09"),
        ("june 5-8, 2020", "2020-06-05", "2020-06-09"),
        ("2021年6月5日到8日", "2021-06-05", "2021-06-09"),
        ("from last monday to yesterday", "2026-05-11", "2026-05-13"),
    ],
)
def test_a_phrase_means_these_days(words, after, before):
    assert understood(words) == days(after, before)


@pytest.mark.parametrize(
    ("words", "months"),
    [
        ("in winter", (12, 1, 2)),
        ("夏天", (6, 7, 8)),
        ("in may", (5,)),
        ("五月", (5,)),
        ("10月份", (10,)),
        ("between june and august", (6, 7, 8)),
        ("november to february", (11, 12, 1, 2)),
        ("each spring", (3, 4, 5)),
        ("七八月", (7, 8)),
        ("三月到五月", (3, 4, 5)),
        ("june and september", (6, 9)),
    ],
)
def test_a_season_or_month_without_a_year_is_that_of_any_year(words, months):
    assert understood(words) == ("None", "None", months)


@pytest.mark.parametrize(
    ("words", "after", "before"),
    [
        ("Christmas 2019", "2019-12-24", "2019-12-27"),
        ("last Christmas", "2025-12-24", "2025-12-27"),
        ("over Christmas", "2025-12-24", "2025-12-27"),
        ("圣诞节", "2025-12-24", "2025-12-27"),
        ("on christmas eve 2020", "2020-12-24", "2020-12-25"),
        ("easter 2021", "2021-04-02", "2021-04-06"),
        ("thanksgiving 2022", "2022-11-24", "2022-11-25"),
        ("halloween 2023", "2023-10-31", "2023-11-01"),
        ("on new year's eve 2019", "2019-12-31", "2020-01-01"),
        ("春节", "2026-02-16", "2026-02-24"),
        ("去年春节", "2025-01-28", "2025-02-05"),
        ("chinese new year 2024", "2024-02-09", "2024-02-17"),
        ("除夕", "2026-02-16", "2026-02-17"),
        ("元宵节", "2026-03-03", "2026-03-04"),
        ("2024年清明", "2024-04-04", "2024-04-05"),
        ("五一", "2026-05-01", "2026-05-06"),
        ("2019年端午节", "2019-06-07", "2019-06-08"),
        ("七夕", "2025-08-29", "2025-08-30"),
        ("2023年中秋", "2023-09-29", "2023-09-30"),
        ("国庆", "2025-10-01", "2025-10-08"),
        ("2022年国庆假期", "2022-10-01", "2022-10-08"),
    ],
)
def test_feasts_of_both_cultures(words, after, before):
    assert understood(words) == days(after, before)


def test_last_summer_is_the_last_that_is_over():
    assert understood("last summer", date(2026, 11, 22)) == days("2026-06-01", "2026-09-01")
    assert understood("last summer", date(2026, 7, 1)) == days("2025-06-01", "2025-09-01")
    assert understood("last summer", date(2026, 9, 1)) == days("2026-06-01", "2026-09-01")
    assert understood("last christmas", date(2026, 12, 25)) == days("2025-12-24", "2025-12-27")
    assert understood("this winter", date(2027, 1, 10)) == days("2026-12-01", "2027-03-01")
    assert understood("去年夏天", date(2026, 11, 22)) == days("2025-06-01", "2025-09-01")


def test_seasons_are_mirrored_in_the_south():
    assert understood("in summer", south=True) == ("None", "None", (12, 1, 2))
    assert understood("winter 2020", south=True) == days("2020-06-01", "2020-09-01")
    assert understood("last summer", south=True) == days("2025-12-01", "2026-03-01")


NO_TIMES = [
    "may",
    "march",
    "fall",
    "sun",
    "mon",
    "second",
    "may flowers",
    "christmas tree",
    "spring rolls",
    "sunday best",
    "summer dress",
    "weekend bag",
    "12",
    "99 luftballons",
    "2020-13-45",
    "2019-02-30",
    "13/13/2020",
    "00/00/2000",
    "99999999",
    "a day",
    "春卷",
    "冬瓜",
    "秋千",
    "五月天",
    "中秋月饼",
    "五一广场",
    "圣诞树",
    "年轻人",
    "清明上河图",
    "桌上月饼",
    "第五一中学",
    "5号码",
    "20年老树",
    "天",
    "上",
    "前",
    "三",
]


@pytest.mark.parametrize("words", NO_TIMES)
def test_words_that_are_no_time_in_their_sentence(words):
    sentence = f"big {words} here" if words.isascii() and words.isalpha() else words
    tokens = tokenize(sentence)
    grammar = TimeGrammar(tokens, MAY)
    assert all(grammar.phrase(index) is None for index in range(len(tokens)))


@given(
    st.integers(1, 99),
    st.sampled_from([("days", "天"), ("weeks", "周"), ("months", "个月"), ("years", "年")]),
    st.dates(date(1990, 1, 1), date(2060, 1, 1)),
)
def test_both_languages_count_alike(count, unit, today):
    english, chinese = unit
    ago = understood(f"{count} {english} ago", today)
    assert ago is not None
    assert ago == understood(f"{count}{chinese}前", today)
    rolling = understood(f"past {count} {english}", today)
    assert rolling is not None
    assert rolling == understood(f"最近{count}{chinese}", today)
    assert rolling[1] == str(today + timedelta(days=1))


@given(
    st.dates(date(1950, 1, 1), date(2090, 1, 1)),
    st.sampled_from(["last", "this", "next"]),
    st.sampled_from(["summer", "winter", "may", "december", "christmas", "easter", "halloween"]),
)
def test_last_is_over_next_is_to_come_and_this_touches_the_year(today, which, what):
    found = understood(f"{which} {what}", today)
    assert found is not None
    after, before = date.fromisoformat(found[0]), date.fromisoformat(found[1])
    assert after < before
    if which == "last":
        assert before <= today < before + timedelta(days=400)
    elif which == "next":
        assert today < after < today + timedelta(days=430)
    else:
        assert today.year in (after.year, (before - timedelta(days=1)).year)


@given(st.dates(date(1902, 1, 1), date(2098, 12, 31)), st.sampled_from(sorted(FEASTS)))
def test_a_feast_is_a_few_days_of_about_its_year(day, feast):
    span = feast_span(feast, day.year)
    assert span is not None
    assert 1 <= (span[1] - span[0]).days <= 8
    assert abs(span[0].year - day.year) <= 1


def test_feasts_whose_date_cannot_be_told():
    assert feast_span("Spring Festival", 1899) is None
    assert feast_span("Spring Festival", 2101) is None
    assert understood("春节", date(1890, 1, 1)) is None


@given(st.dates(date(1800, 1, 1), date(2190, 1, 1)), st.integers(-50, 50))
def test_weeks_begin_on_monday_and_follow_each_other(day, offset):
    start, end = week_span(day, offset)
    assert start.weekday() == 0
    assert end - start == timedelta(days=7)
    assert unit_span(day, "week", offset + 1)[0] == end


@given(
    st.sampled_from(
        [("early", "mid", "late"), ("half 1", "half 2"), ("quarter 1", "quarter 2", "quarter 3", "quarter 4")]
    ),
    st.integers(1900, 2100),
    st.integers(1, 12),
)
def test_the_parts_of_a_month_or_year_make_it_whole(parts, year, month):
    for span in (unit_span(date(year, month, 1), "month", 0), unit_span(date(year, 1, 1), "year", 0)):
        cuts = [part_span(span, part) for part in parts]
        assert cuts[0][0] == span[0]
        assert cuts[-1][1] == span[1]
        assert all(one[1] == two[0] for one, two in pairwise(cuts))


def test_opposite_seasons_share_their_months():
    assert season_months("summer", south=True) == season_months("winter")
    assert season_months("autumn", south=True) == season_months("spring") == (3, 4, 5)


@pytest.mark.parametrize("year", [1, 2, 1900, 9999])
def test_the_ends_of_the_calendar_are_no_fault(year):
    today = date(year, 6, 15)
    for words in (
        "last decade",
        "next decade",
        "99 years ago",
        "999 years ago",
        "past 900 years",
        "last summer",
        "next winter",
        "since yesterday",
        "明天",
        "大前年",
        "明年五月",
        "大前年冬天",
    ):
        tokens = tokenize(words)
        phrase = TimeGrammar(tokens, today).phrase(0)
        assert phrase is None or phrase.times.after is None or isinstance(phrase.times.after, date)


def test_now_is_a_day_on_the_wall_of_its_zone():
    from sensorium.photos.query import parse

    east = datetime.fromisoformat("2026-05-14T00:30:00+08:00")
    west = datetime.fromisoformat("2026-05-13T23:30:00-07:00")
    assert str(parse("yesterday", now=east).after) == "2026-05-13"
    assert str(parse("yesterday", now=west).after) == "2026-05-12"

"""Chips: each says one slot in both languages, and taking all of them away leaves nothing."""

from __future__ import annotations

from datetime import date, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sensorium.photos.query import Exclusion, Query, Term, Times, parse
from sensorium.server.api.chips import chips_of, days, months

NOW = datetime(2026, 5, 13, 12)


def labels(query: Query) -> list[tuple[str, str]]:
    return [(chip.label.en, chip.label.zh) for chip in chips_of(query)]


@pytest.mark.parametrize(
    ("after", "before", "en", "zh"),
    [
        ("2021-06-01", "2021-06-02", "1 Jun 2021", "2021年6月1日"),
        ("2021-06-01", "2021-07-01", "June 2021", "2021年6月"),
        ("2021-12-01", "2022-01-01", "December 2021", "2021年12月"),
        ("2021-12-01", "2022-03-01", "Dec 2021 – Feb 2022", "2021年12月至2022年2月"),
        ("2021-01-01", "2022-01-01", "2021", "2021年"),
        ("2019-01-01", "2022-01-01", "2019–2021", "2019年至2021年"),
        ("2021-06-05", "2021-06-08", "5 Jun 2021 – 7 Jun 2021", "2021年6月5日至2021年6月7日"),
        ("2021-06-05", None, "since 5 Jun 2021", "2021年6月5日起"),
        (None, "2021-06-05", "before 5 Jun 2021", "2021年6月5日之前"),
    ],
)
def test_days_are_written_as_people_do(after, before, en: str, zh: str) -> None:
    times = Times(*(date.fromisoformat(day) if day else None for day in (after, before)))
    assert (days(times).en, days(times).zh) == (en, zh)


def test_months() -> None:
    assert (months((6, 7, 8)).en, months((12, 1, 2)).zh) == ("June to August", "12月至2月")
    assert (months((1, 7)).en, months((1, 7)).zh) == ("January, July", "1月、7月")


def test_a_sentence_in_chips() -> None:
    query = parse("去年夏天在京都拍的寺庙，不要人", now=NOW)
    assert labels(query) == [
        ("“寺庙”", "“寺庙”"),
        ("Jun 2025 – Aug 2025", "2025年6月至2025年8月"),
        ("Kyoto", "京都府"),
        ("without 人", "不要人"),
    ]


def test_sums_come_apart() -> None:
    query = Query(
        text="beach", terms=(Term("beach", None, 1.0), Term("people", None, -1.0)), exclude=("people",)
    )
    assert labels(query) == [("+ beach", "+ beach"), ("− people", "− people")]
    beach, people = (Query.from_document(chip.remove) for chip in chips_of(query))
    assert (people.text, people.terms, people.exclude) == ("beach", (), ())
    assert beach.terms == (Term("people", None, -1.0),)
    weighed = Query(terms=(Term(None, "photo:7", 2.5), Term("snow", None, 1.0)), text="snow")
    assert labels(weighed)[0] == ("+ 2.5× picture", "+ 2.5× 图片")


words = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=12)
dates = st.dates(date(1990, 1, 1), date(2030, 12, 31))


@st.composite
def queries(draw) -> Query:
    after, before = draw(st.none() | dates), draw(st.none() | dates)
    if after and before and before <= after:
        after, before = None, before
    texts = draw(st.lists(words, max_size=3, unique=True))
    terms = tuple(Term(text, None, draw(st.sampled_from((1.0, -1.0, 0.5)))) for text in texts)
    exclude = tuple(draw(st.lists(words, max_size=2, unique=True)))
    exclude += tuple(term.words for term in terms if term.weight < 0 and term.words not in exclude)
    kinds = st.sampled_from(("photo", "raw", "video"))
    excluded = tuple(Exclusion(one, media=draw(kinds)) for one in exclude if draw(st.booleans()))
    return Query(
        text="" if terms else draw(st.just("") | words),
        terms=terms,
        after=after,
        before=before,
        months=tuple(draw(st.lists(st.integers(1, 12), max_size=4, unique=True))),
        places=tuple(draw(st.lists(st.sampled_from(("Kyoto", "Paris", "nowhere at all")), unique=True))),
        people=tuple(draw(st.lists(words, max_size=2, unique=True))),
        exclude=exclude,
        excluded=excluded,
        media=draw(st.none() | kinds),
        camera=draw(st.none() | words),
    )


@given(queries())
@settings(max_examples=60, deadline=None)
def test_taking_every_chip_away_leaves_nothing(query: Query) -> None:
    while chips := chips_of(query):
        before = len(chips)
        query = Query.from_document(chips[0].remove)
        assert len(chips_of(query)) <= before
        if len(chips_of(query)) == before:  # a sum of which one wanted word is left became a plain look
            assert query.text
            assert not query.terms
    assert Query.from_document(query.document()) == Query(text=query.text) == Query()

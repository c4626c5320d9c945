"""The parse as data, arithmetic, and sentences meant to break it."""

import json
import subprocess
import sys
import time
from datetime import date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sensorium.errors import SensoriumError
from sensorium.photos.query import Exclusion, Query, Reading, Term, Times, parse

NOW = datetime.fromisoformat("2026-05-13T12:00:00+08:00")


def terms(sentence, **options):
    query = parse(sentence, now=NOW, **options)
    return [(term.words or term.image, term.weight) for term in query.terms], query


@pytest.mark.parametrize(
    ("sentence", "expected", "text", "exclude"),
    [
        ("beach - people", [("beach", 1), ("people", -1)], "beach", ("people",)),
        ("beach -people", [("beach", 1), ("people", -1)], "beach", ("people",)),
        ("2*beach + sunset", [("beach", 2), ("sunset", 1)], "beach sunset", ()),
        ("2 * beach", [("beach", 2)], "beach", ()),
        ("beach^1.5", [("beach", 1.5)], "beach", ()),
        ("beach*0.5 - 0.25*people", [("beach", 0.5), ("people", -0.25)], "beach", ("people",)),
        ("- people", [("people", -1)], "", ("people",)),
        ("this.jpg + snow", [("this.jpg", 1), ("snow", 1)], "snow", ()),
        ('"my photo.jpg" - snow', [("my photo.jpg", 1), ("snow", -1)], "", ("snow",)),
        ('0.5*"red car" + beach', [("red car", 0.5), ("beach", 1)], "red car beach", ()),
        ("海滩 + 日落 - 人", [("海滩", 1), ("日落", 1), ("人", -1)], "海滩 日落", ("人",)),
        ("狗 \uff0d 猫", [("狗", 1), ("猫", -1)], "狗", ("猫",)),
    ],
)
def test_arithmetic_of_words_and_pictures(sentence, expected, text, exclude):
    found, query = terms(sentence, image_exists=lambda name: name in ("this.jpg", "my photo.jpg"))
    assert found == expected
    assert (query.text, query.exclude) == (text, exclude)


NO_OPERATORS = [
    "black-and-white t-shirt x-ray",
    "5* hotel",
    "C++ book",
    "sunset -",
    "beach^",
    "IMG_2019.jpg",
    "Berlin - summer 2019",
    "2015-2017",
    "5 - 8 june 2020",
    "2020-05-01",
    "google+ logo",
    "1920x1080",
    "- ",
    "+",
    "a - ",
    "jack-o'-lantern",
    "海滩-人",
]


@pytest.mark.parametrize("sentence", NO_OPERATORS)
def test_signs_that_are_no_operators(sentence):
    assert terms(sentence)[0] == []


def test_slots_of_summands():
    _, query = terms("sunset + beach in Kyoto last year - Japan - screenshots")
    assert (query.text, query.places, str(query.after)) == ("sunset beach", ("Kyoto",), "2025-01-01")
    assert query.exclude == ("Japan", "screenshots")
    assert query.excluded == (Exclusion("Japan", place="Japan"), Exclusion("screenshots", media="screenshot"))
    assert [term.weight for term in query.terms] == [1, 1]


def test_a_picture_alone_is_a_term_when_it_exists():
    assert terms("this.jpg", image_exists=lambda _: True)[0] == [("this.jpg", 1)]
    found, query = terms("this.jpg at night", image_exists=lambda _: True)
    assert found == [("this.jpg", 1), ("at night", 1)]
    assert query.text == "at night"


@pytest.mark.parametrize(
    "sentence", ["missing.jpg + snow", "0*beach", "1000*beach", "beach^0", "9" * 400 + "*beach"]
)
def test_sums_that_cannot_be_computed_are_refused_in_one_line(sentence):
    with pytest.raises(SensoriumError) as caught:
        parse(sentence, now=NOW, image_exists=lambda _: False)
    assert "\n" not in str(caught.value)


def test_a_picture_that_cannot_be_looked_for_does_not_exist():
    def faulty(name):
        raise OSError(name)

    with pytest.raises(SensoriumError, match="no picture"):
        parse("this.jpg + snow", now=NOW, image_exists=faulty)


def test_a_query_survives_its_document():
    query = Query(
        said="x",
        text="beach",
        terms=(Term("beach", None, 1.0), Term(None, "a.jpg", -0.5)),
        after=date(2020, 1, 1),
        before=date(2021, 1, 1),
        months=(6, 7),
        places=("Kyoto",),
        people=("Anna",),
        exclude=("Tokyo", "dogs", "2020"),
        media="video",
        camera="Canon",
        readings=(Reading("may", "the month", ("a verb",)),),
        excluded=(Exclusion("Tokyo", place="Tokyo"), Exclusion("2020", times=Times(months=(5,)))),
    )
    document = json.loads(json.dumps(query.document()))
    assert Query.from_document(document) == query
    assert query.unwanted == ("dogs",)


def test_a_document_has_every_slot_and_absent_ones_are_null_or_empty():
    document = parse("beach", now=NOW).document()
    assert document == {
        "said": "beach",
        "text": "beach",
        "after": None,
        "before": None,
        "months": [],
        "places": [],
        "people": [],
        "exclude": [],
        "media": None,
        "camera": None,
        "readings": [],
    }
    assert Query.from_document({}) == Query()


def test_a_correction_by_hand_is_taken():
    document = parse("turkey soup, not in Tokyo, last year", now=NOW).document()
    assert document["exclude"] == ["Tokyo"]
    document |= {"exclude": [], "after": "2024-01-01", "places": ["Turkey"]}
    query = Query.from_document(document)
    assert (query.exclude, query.excluded) == ((), ())
    assert (query.after, query.places) == (date(2024, 1, 1), ("Turkey",))


@pytest.mark.parametrize(
    "document",
    [
        {"place": ["Kyoto"]},
        {"after": "yesterday"},
        {"after": "2020-01-02", "before": "2020-01-01"},
        {"months": [13]},
        {"months": ["may"]},
        {"media": "film"},
        {"text": 3},
        {"people": "Anna"},
        {"terms": [{"words": "a", "image": "b", "weight": 1}]},
        {"terms": [{"words": "a", "image": None, "weight": 1e9}]},
        {"terms": [{"words": "a", "image": None, "weight": float("nan")}]},
        [],
        None,
        "x",
    ],
)
def test_documents_that_are_no_query_are_refused_in_one_line(document):
    with pytest.raises(SensoriumError) as caught:
        Query.from_document(document)
    assert str(caught.value).startswith("not a search query: ")
    assert "\n" not in str(caught.value)


def test_a_sentence_that_is_far_too_long_is_refused_at_once():
    start = time.perf_counter()
    with pytest.raises(SensoriumError, match="2,000"):
        parse("beach " * 20_000, now=NOW)
    assert time.perf_counter() - start < 0.1


HOSTILE = [
    "last ",
    "a-",
    "(",
    "2019-",
    "5 to ",
    "- ",
    "not ",
    "没有",
    "三",
    "1",
    "\x00",
    '"',
    "2*",
    "最近",
    "上",
    "photos of ",
    "in ",
    "May ",
    "和",
    ".jpg",
    "a.jpg+",
    "春节",
    "christmas ",
    "0123456789/",
    "\ud800",
    "'",
    "Paris ",
    "年",
    "two years ago ",
    "除了",
    "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx ",
]


def understood(sentence, **known):
    """The query of a sentence, or None when it is refused, which only a weight is a reason for."""
    try:
        return parse(sentence, now=NOW, **known)
    except SensoriumError as error:
        reason = str(error)
    assert "weight" in reason
    assert "\n" not in reason
    return None


@pytest.mark.parametrize("piece", HOSTILE, ids=ascii)
def test_no_sentence_takes_long(piece):
    sentence = (piece * 2_000)[:2_000]
    parse("warm", now=NOW)
    start = time.process_time()
    understood(sentence, people=["May", "三三"], cameras=["Canon"])
    assert time.process_time() - start < 1.5


WORDS = [
    "last",
    "summer",
    "2019",
    "to",
    "-",
    "+",
    "*",
    "^",
    "not",
    "in",
    "Turkey",
    "may",
    "5",
    "(",
    '"',
    ".jpg",
    "a.jpg",
    "年",
    "月",
    "上",
    "个",
    "前",
    "的",
    "没有",
    "除了",
    "春节",
    "京都",
    "May",
    "'s",
    "photos",
    "of",
    "since",
    "3",
    "照片",
    "最近",
    "到",
    "12",
    "th",
    ",",
    "iphone",
    "用",
    "拍的",
    "raw",
    "\x00",
    "\ud83d",
    "the",
    "half",
    "90s",
    "周",
    "三",
    "ago",
    "no",
    "two",
    "weeks",
    "2*beach",
    "Christmas",
    "以来",
    "底",
    "q1",
]


@given(st.lists(st.sampled_from(WORDS), max_size=14), st.sampled_from(["", " "]))
def test_any_words_in_any_order_are_understood_or_refused_kindly(words, between):
    query = understood(between.join(words), people=["May"], cameras=["iPhone"], image_exists=lambda _: True)
    if query is None:
        return
    assert Query.from_document(query.document()) == query
    assert all(ord(sign) >= 0x20 for sign in query.text)
    if query.terms:
        wanted = " ".join(term.words for term in query.terms if term.words and term.weight > 0)
        assert query.text == wanted


@given(st.text(max_size=200))
def test_any_text_is_understood_or_refused_kindly(sentence):
    query = understood(sentence, people=["A", "'", "May"], cameras=["-"])
    assert query is None or query.said == sentence


def test_full_text_and_sql_syntax_are_words():
    query = parse('\'; DROP TABLE x; -- NEAR(a b) col:* OR "c"', now=NOW)
    assert "DROP TABLE x" in query.text


def test_a_plain_sentence_is_quick_and_loads_no_calendar():
    code = (
        "import sys, time\nfrom datetime import datetime\nfrom sensorium.photos.query import parse\n"
        "now = datetime(2026, 5, 13)\nparse('sunset at the beach', now=now)\nstart = time.process_time()\n"
        "query = parse('sunset at the beach', now=now)\nspent = time.process_time() - start\n"
        "assert query.text == 'sunset at the beach'\nassert spent < 0.005, spent\n"
        "heavy = {'borax', 'pydantic', 'torch', 'dateutil.easter', 'scipy', 'sqlalchemy', 'faiss'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)

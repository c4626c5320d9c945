"""What a sentence asks of the text in pictures: plates and codes by any part, carriers of text left out."""

import sqlite3
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sensorium.photos import query
from sensorium.photos.search import seen, words


def says(text: str, sentence: str) -> bool:
    """Whether FTS5 finds a text by a sentence, as the search would."""
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE VIRTUAL TABLE t USING fts5(text, tokenize = 'unicode61 remove_diacritics 2')")
    connection.execute("INSERT INTO t VALUES (?)", (words.indexed_lines(text),))
    asked = seen.asked(sentence)
    expression = asked.expression if asked is not None else words.match(sentence)
    if expression is None:
        return False
    return bool(connection.execute("SELECT 1 FROM t WHERE t MATCH ?", (expression,)).fetchone())


@pytest.mark.parametrize(
    "text", ["京A·12345", "京A12345", "京A 12345", "京 A-12345", "停车\n京A·12345\n出口"]
)
@pytest.mark.parametrize(
    "sentence",
    [
        "京A·12345",
        "京A12345",
        "京A 12345",
        "车牌 京A",
        "车牌号京A123",
        "京a12",
        "A12345",
        "plate 345",
        "2345的车牌",
    ],
)
def test_plates_by_any_part_of_them(text, sentence):
    assert says(text, sentence)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("京A·12345", "京B"),
        ("京A·12345", "沪A12345"),
        ("京A·12345", "京A54321"),
        ("京B 88\nA 12345", "京A12345"),
        ("EXIT 出口", "a sign that says entrance"),
        ("LAWSON", "the receipt from Aldi"),
        ("CAT", "a cat on a sofa"),
        ("500", "500 people"),
    ],
)
def test_what_is_not_written(text, sentence):
    assert not says(text, sentence)


@pytest.mark.parametrize(
    ("sentence", "said"),
    [
        ("the receipt from the Lawson near the station", ("Lawson",)),
        ("a sign that says exit", ("exit",)),
        ("写着出口的牌子", ("出口",)),
        ("the red car with number plate A12345", ("A12345",)),
        ("车牌 京A", ("京A",)),
        ("a cat on a sofa", None),
        ("beach at sunset", None),
        ("海边的日落", None),
        ("three receipts", ("three",)),
    ],
)
def test_what_is_looked_for(sentence, said):
    asked = seen.asked(sentence)
    assert (None if asked is None else asked.said) == said


@given(st.text(max_size=60), st.text(max_size=60))
def test_any_text_is_safe(text, sentence):
    says(text, sentence)


@given(st.sampled_from("京沪粤川"), st.from_regex(r"[A-Z][A-Z0-9]{4,5}", fullmatch=True), st.integers(1, 6))
def test_every_beginning_of_a_plate_finds_it(province, code, length):
    plate = f"{province}{code[0]}·{code[1:]}"
    typed = province + code[:length]
    assert says(f"P 停车场\n{plate}\n2024", f"车牌 {typed} 的照片")


def parse(sentence):
    return query.parse(sentence, now=datetime(2026, 5, 1, tzinfo=UTC))


def test_a_capital_behind_a_province_is_no_article():
    assert parse("车牌 京A 的照片").text == "车牌 京A"
    assert parse("京都的 a").text != "京都的 a"


def test_from_names_the_maker_of_a_receipt_but_not_a_large_city():
    lawson = parse("the receipt from Lawson")
    assert lawson.places == ()
    assert lawson.text == "the receipt from Lawson"
    assert parse("the receipt from Paris").places == ("Paris",)
    assert parse("the receipt from Japan").places == ("Japan",)
    assert parse("a temple from Lawson").places == ("Lawson",)

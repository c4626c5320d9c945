"""Text matches against a real FTS5 table: Chinese words, file names, plates, and whatever people type."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from sensorium.photos.search.words import MOST_TERMS, indexed, match

Search = Callable[..., list[str]]

PHOTOS = {
    "IMG_2041.JPG": "2019/Beach trip",
    "DSC02041.ARW": "work",
    "BeachSunset.png": "wallpapers",
    "京都塔夜景.jpg": "旅行/日本",
    "東京鐵塔.jpg": "旅行/日本",
    "沪B·12345 停车.jpg": "车",
    "AB12CDE parked.jpg": "cars",
    "Café Müller – Łódź.jpg": "Reisen",
    "iPhone mit Kabel.jpg": "things",
    "两只dogs在沙滩.jpg": "宠物",
    "dog.jpg": "pets",
    "PXL_20230512_081530123.jpg": "phone",
}


@pytest.fixture(scope="module")
def connection() -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(":memory:")
    connection.execute(
        "CREATE VIRTUAL TABLE photo_words USING fts5(name, folders, words, places, people, "
        "tokenize = 'unicode61 remove_diacritics 2')"
    )
    for number, (name, folders) in enumerate(PHOTOS.items()):
        connection.execute(
            "INSERT INTO photo_words (rowid, name, folders) VALUES (?, ?, ?)",
            (number, indexed(name), indexed(folders)),
        )
    yield connection
    connection.close()


@pytest.fixture(scope="module")
def search(connection: sqlite3.Connection) -> Search:
    def run(text: str) -> list[str]:
        expression = match(text)
        if expression is None:
            return []
        rows = connection.execute("SELECT rowid FROM photo_words WHERE photo_words MATCH ?", (expression,))
        return [list(PHOTOS)[number] for (number,) in rows]

    return run


@pytest.mark.parametrize(
    ("typed", "found"),
    [
        ("京都", {"京都塔夜景.jpg"}),
        ("夜景", {"京都塔夜景.jpg"}),
        ("塔", {"京都塔夜景.jpg", "東京鐵塔.jpg"}),
        ("都塔夜", {"京都塔夜景.jpg"}),
        ("京塔", set()),
        ("东京铁塔", {"東京鐵塔.jpg"}),
        ("東京", {"東京鐵塔.jpg"}),
        ("日本 夜景", {"京都塔夜景.jpg"}),
        ("IMG_2041", {"IMG_2041.JPG"}),
        ("img 2041", {"IMG_2041.JPG"}),
        ("IMG2041", {"IMG_2041.JPG"}),
        ("2041", {"IMG_2041.JPG", "DSC02041.ARW"}),
        ("20230512", {"PXL_20230512_081530123.jpg"}),
        ("0512", {"PXL_20230512_081530123.jpg"}),
        ("beach", {"IMG_2041.JPG", "BeachSunset.png"}),
        ("beachsunset", {"BeachSunset.png"}),
        ("BeachSunset", {"BeachSunset.png"}),
        ("sunset at the beach", {"BeachSunset.png"}),
        ("沪B12345", {"沪B·12345 停车.jpg"}),
        ("沪B·12345", {"沪B·12345 停车.jpg"}),
        ("1234", {"沪B·12345 停车.jpg"}),
        ("234", {"沪B·12345 停车.jpg"}),
        ("b12c", {"AB12CDE parked.jpg"}),
        ("ab12cde", {"AB12CDE parked.jpg"}),
        ("cafe muller", {"Café Müller – Łódź.jpg"}),
        ("CAFÉ", {"Café Müller – Łódź.jpg"}),
        ("iphone", {"iPhone mit Kabel.jpg"}),
        ("iPhone", {"iPhone mit Kabel.jpg"}),
        ("dog", {"dog.jpg", "两只dogs在沙滩.jpg"}),
        ("沙滩 dogs", {"两只dogs在沙滩.jpg"}),
        ("ｄｏｇ", {"dog.jpg", "两只dogs在沙滩.jpg"}),
        ("zebra", set()),
    ],
)
def test_finds_what_was_typed_and_nothing_else(search: Search, typed: str, found: set[str]) -> None:
    assert set(search(typed)) == found


@pytest.mark.parametrize("nothing", ["", " ", "\0", '"', "***", "\udce4", "—…!?", "_"])
def test_no_word_is_no_expression(nothing: str) -> None:
    assert match(nothing) is None


@pytest.mark.parametrize(
    "hostile",
    [
        '"', 'dog"', '" OR 1 --', "dog NEAR cat", "NEAR(dog cat)", "dog*", "^dog", "name:dog", "name : dog",
        "-dog", "dog AND", "OR", "NOT", "AND AND AND", "{name folders}: dog", "(dog", "dog)", "dog + cat",
        "a\0b", "dog\udcff", "';DROP TABLE photo_words;--", '沙滩"*', "x" * 5000, "dog " * 5000, "1" * 300,
    ],
)  # fmt: skip
def test_hostile_text_is_only_words(search: Search, hostile: str) -> None:
    assert set(search(hostile)) <= set(PHOTOS)


def test_words_of_the_query_language_are_words(search: Search) -> None:
    assert search("dog")
    assert not search("dog NOT pets zebra")
    assert search("-dog") == search("dog") == search("dog*") == search("^dog")


def test_grammar_is_asked_for_only_when_there_is_nothing_else() -> None:
    assert match("the dog") == match("dog")
    assert match("the") == '("the" OR "thes")'


def test_a_long_query_is_cut() -> None:
    expression = match(" ".join(f"word{number}x" for number in range(500)))
    assert expression is not None
    assert expression.count(" AND ") == MOST_TERMS - 1


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.text(alphabet=st.characters(), max_size=60))
@example("\U0001f9ff䷀𠮷")
@example("²③Ⅷ")
@example("İı")
@example("ﷺ")
@example("̀a")
def test_no_text_at_all_breaks_sqlite(connection: sqlite3.Connection, text: str) -> None:
    expression = match(text)
    if expression is not None:
        connection.execute(
            "SELECT count(*) FROM photo_words WHERE photo_words MATCH ?", (expression,)
        ).fetchall()
    connection.execute("SELECT ?", (indexed(text),)).fetchall()


@settings(deadline=None, max_examples=60)
@given(st.text(alphabet="abAB12_-. 京都塔の東é", min_size=1, max_size=12))
def test_every_text_finds_itself(text: str) -> None:
    expression = match(text)
    with sqlite3.connect(":memory:") as own:
        own.execute(
            "CREATE VIRTUAL TABLE photo_words USING fts5(name, tokenize = 'unicode61 remove_diacritics 2')"
        )
        own.execute("INSERT INTO photo_words VALUES (?)", (indexed(text),))
        if expression is not None:
            found = own.execute("SELECT count(*) FROM photo_words WHERE photo_words MATCH ?", (expression,))
            assert found.fetchone() == (1,)
    own.close()

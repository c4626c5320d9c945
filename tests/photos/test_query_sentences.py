"""Sentences with known answers, in English and Chinese, at a fixed clock and without a network."""

import json
import socket
from datetime import datetime
from pathlib import Path

import pytest

from sensorium.photos.query import Query, parse

SENTENCES = json.loads(Path(__file__).with_name("query_sentences.json").read_text("utf-8"))
SETS = ("tuned", "held_out", "second_held_out")
EMPTY = {"text": "", "after": None, "before": None, "months": [], "places": [], "people": []}
EMPTY |= {"exclude": [], "media": None, "camera": None}


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    def refused(*_, **__):
        raise AssertionError("a sentence opened a connection")

    monkeypatch.setattr(socket, "socket", refused)
    monkeypatch.setattr(socket, "create_connection", refused)


def understood(case):
    now = datetime.fromisoformat(SENTENCES["now"])
    query = parse(case["say"], now=now, people=case.get("people", ()), cameras=case.get("cameras", ()))
    document = query.document()
    assert Query.from_document(json.loads(json.dumps(document))) == query
    return {slot: document[slot] for slot in EMPTY}


@pytest.mark.parametrize(
    "case", [case for name in SETS for case in SENTENCES[name]], ids=lambda case: case["say"]
)
def test_every_slot_of_a_sentence(case):
    assert understood(case) == EMPTY | case["want"]


@pytest.mark.parametrize("name", SETS)
def test_a_set_is_large_bilingual_and_adversarial(name):
    cases = SENTENCES[name]
    chinese = [case for case in cases if any("\u4e00" <= sign <= "\u9fff" for sign in case["say"])]
    assert len({case["say"] for case in cases}) == len(cases) >= 60
    assert len(chinese) >= len(cases) / 2
    assert sum(case.get("adversarial", False) for case in cases) >= 20


def test_sentences_written_in_capitals_and_with_traditional_characters():
    now = datetime.fromisoformat(SENTENCES["now"])
    shouted = parse("SUNSET LAST SUMMER", now=now)
    assert (shouted.text, str(shouted.after), str(shouted.before)) == ("SUNSET", "2025-06-01", "2025-09-01")
    traditional = parse("上個月的視頻，沒有貓", now=now)
    assert (str(traditional.after), traditional.media, traditional.exclude) == (
        "2026-04-01",
        "video",
        ("貓",),
    )

"""``sensorium watch`` as it is typed: a line a change, waiting for others, an end at any moment."""

import json
import signal
import time
from contextlib import contextmanager

import pytest
from photo_fakes import picture, write
from typed import start

from sensorium.photos.database.locks import alone
from sensorium.photos.database.store import Store

SECONDS = 30


@contextmanager
def watching(*arguments, **options):
    """A started watch, and a function that waits for a line that fits."""
    process = start("watch", "--json", "--settle", "0.2", *arguments, text=True, **options)

    def until(fits) -> dict:
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            line = process.stdout.readline()
            assert line, process.stderr.read()
            document = json.loads(line)
            if fits(document):
                return document
        raise AssertionError("nothing came")

    try:
        yield process, until
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
def photos(sensorium, home):
    write(home / "photos" / "1.jpg", picture(1))
    assert sensorium("index", home / "photos").code == 0
    return home / "photos"


def test_changes_are_told_and_both_signals_end_it(photos, home):
    with watching() as (process, until):
        assert until(lambda line: line["event"] == "begin")["library"] == str(home / "home" / "library")
        write(photos / "a" / "2.jpg", picture(2))
        (photos / "bad.jpg").write_text("no picture")
        told = until(lambda line: line["event"] == "indexed")
        if told["new"] == 1:  # the first look came in between
            told = until(lambda line: line["event"] == "indexed")
        assert [failure["path"] for failure in told["failed"]] == [str(photos / "bad.jpg")]
        photos.rename(home / "away")
        assert until(lambda line: line["event"] == "away")["root"] == str(photos)
        (home / "away").rename(photos)
        until(lambda line: line["event"] == "back")
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=5) == 0
    with watching() as (process, until):
        until(lambda line: line["event"] == "begin")
        process.send_signal(signal.SIGINT)
        assert until(lambda line: line["event"] == "end")
        assert process.wait(timeout=5) == 0


def test_it_ends_in_the_middle_of_a_run_and_keeps_what_is_done(photos, home, sensorium):
    for number in range(2, 80):
        write(photos / f"{number}.jpg", picture(number, (16, 16)))
    with watching(pause=1.0) as (process, _):
        end = time.monotonic() + SECONDS
        while sensorium("status", "--json").json["photos"] < 33 and time.monotonic() < end:
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        asked = time.monotonic()
        assert process.wait(timeout=10) == 0
        assert time.monotonic() - asked < 3
    assert 33 <= sensorium("status", "--json").json["photos"] < 79
    assert sensorium("index").code == 0
    assert sensorium("status", "--json").json["photos"] == 79


def test_another_indexer_is_waited_for(photos, home, sensorium):
    with alone(home / "home" / "library"), watching() as (_, until):
        assert "another `sensorium index` is at work" in until(lambda line: line["event"] == "note")["text"]
        write(photos / "2.jpg", picture(2))
        time.sleep(0.5)
        assert sensorium("status", "--json").json["photos"] == 1
    with watching() as (_, until):
        assert until(lambda line: line["event"] == "indexed")["new"] == 1


@pytest.mark.parametrize(("made", "line"), [(False, "no photo library in"), (True, "looks after no folder")])
def test_what_cannot_be_watched_is_one_line(sensorium, home, made, line):
    if made:
        Store(home / "home" / "library", create=True).close()
    refused = sensorium("watch")
    assert refused.code == 2
    assert line in refused.err
    assert refused.err.count("\n") == 1

"""The photo commands as typed: words in, tables or one JSON document out, exit codes."""

import json
import os
import signal
import time
from pathlib import Path

import pytest
from photo_fakes import picture, plain, write
from typed import start


@pytest.fixture
def photos(home):
    for colour in ("red", "green", "blue"):
        write(home / "photos" / f"{colour}.jpg", plain(colour))
    return home / "photos"


def test_the_main_job(sensorium, photos, home):
    first = sensorium("index", photos)
    assert first.code == 0
    assert "3 new" in first.out
    assert "3 photos taken" in first.out
    second = sensorium("index", photos)
    assert "0 new, 0 changed, 3 unchanged; 0 photos taken" in second.out
    found = sensorium("search", "a", "red", "-k", "2", "--all")
    assert found.code == 0
    lines = [line for line in found.out.splitlines() if not line.startswith("Nothing looks much")]
    assert lines[0].split() == ["#", "score", "file", "why"]
    assert lines[1].split()[0] == "1"
    assert "photos/red.jpg" in lines[1]
    assert lines[3] == "1 to 2 of 3; --page shows more"
    second = sensorium("search", "a", "red", "-k", "2", "--all", "--page", "2").out.splitlines()
    assert second[-1] == "3 to 3 of 3"
    assert second[-2].split()[0] == "3"
    assert sensorium("search", "红", "-k", "1").out.count("photos/red.jpg") == 1
    alike = sensorium("similar", photos / "red.jpg")
    assert "red.jpg" not in [line.split()[2] for line in alike.out.splitlines()[1:]]
    told = sensorium("status")
    assert "photos    3, 3 of them searchable" in told.out
    assert str(home / "home" / "library") in told.out


def test_json_shapes(sensorium, photos):
    (photos / "bad.jpg").write_text("no")
    indexed = sensorium("index", photos, "--json")
    assert indexed.code == 1
    assert indexed.json["failed"] == [
        {"path": str(photos / "bad.jpg"), "reason": "not a picture that can be read: the content is text"}
    ]
    counts = {name: indexed.json[name] for name in ("new", "encoded", "changed", "gone", "unchanged")}
    assert counts == {"new": 4, "encoded": 3, "changed": 0, "gone": 0, "unchanged": 0}
    assert sensorium("index", photos, "--json").code == 0  # nothing was refused in this run
    found = sensorium("search", "red", "--json", "--all").json
    assert found["query"] == {
        "said": "red",
        "text": "red",
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
    assert set(found) == {"query", "total", "verdict", "note", "hits", "closest", "cursor"}
    assert (found["total"], found["closest"], found["cursor"]) == (3, [], None)
    assert [set(hit) for hit in found["hits"]] == [{"path", "score", "taken_at", "place", "why"}] * 3
    assert found["hits"][0]["path"] == str(photos / "red.jpg")
    scores = [hit["score"] for hit in found["hits"]]
    assert scores == sorted(scores, reverse=True)
    alike = sensorium("similar", photos / "red.jpg", "--json").json
    assert alike["query"] == {"image": str(photos / "red.jpg")}
    assert len(alike["hits"]) == 2
    told = sensorium("status", "--json").json
    assert (told["photos"], told["embedded"], told["offline"]) == (3, 3, 0)
    assert [failure["reason"] for failure in told["failed"]] == [indexed.json["failed"][0]["reason"]]
    assert told["roots"] == [{"path": str(photos), "photos": 3, "offline": None}]


def test_names_of_any_bytes_print_safely(sensorium, home):
    folder = os.fsencode(home / "photos")
    for name in (b"caf\xe9.jpg", b"new\nline\x1b[31m.jpg"):
        write(os.fsdecode(folder + b"/" + name), plain("red"))
    bad = os.fsdecode(folder + b"/bad\xff\n.jpg")
    Path(bad).write_text("no")
    indexed = sensorium("index", home / "photos")
    assert indexed.code == 1
    assert "bad\\xff\\n.jpg" in indexed.out
    table = sensorium("search", "red").out
    assert len(table.splitlines()) == 4  # one line says how sure it is
    assert "caf\\xe9.jpg" in table
    assert "new\\nline\\x1b[31m.jpg" in table
    for line in (table, indexed.out):
        line.encode("utf-8")
        assert "\x1b" not in line
    paths = {os.fsencode(hit["path"]) for hit in sensorium("search", "red", "--json").json["hits"]}
    assert paths == {folder + b"/caf\xe9.jpg", folder + b"/new\nline\x1b[31m.jpg"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["search", "red"], "no photo library in"),
        (["status"], "no photo library in"),
        (["similar", "x.jpg"], "no photo library in"),
        (["index", "absent"], "no such folder"),
        (["index"], "looks after no folder yet"),
        (["search", "red", "--library", "lib"], "is empty"),
        (["search", " ", "--library", "full"], "nothing to search for"),
        (["search", "red", "-k", "0", "--library", "full"], "at least 1"),
        (["search", "red", "-k", "-3", "--library", "full"], "at least 1"),
        (["search", "red", "--page", "0", "--library", "full"], "no page 0"),
        (["search", "red", "--page", "9", "--library", "full"], "no page 9"),
        (["search", "red", "--after", "nonsense", "--library", "full"], "no cursor"),
        (["search", "red", "--after", "x", "--page", "2", "--library", "full"], "not both"),
        (["similar", "absent.jpg", "--library", "full"], "no such file"),
        (["similar", "notes.txt", "--library", "full"], "the content is text"),
        (["search", "red", "--library", "full", "--sheet", "sheet.pdf"], "is a .png"),
        (["search", "red", "--library", "full", "--sheet", "photos/red.jpg"], "is one of your photos"),
    ],
)
def test_bad_requests_are_one_line_and_exit_2(sensorium, photos, home, arguments, message):
    (home / "empty").mkdir()
    (home / "notes.txt").write_text("some words")
    if "--library" in arguments:
        sensorium("index", "empty", "--library", "lib")
        sensorium("index", photos, "--library", "full")
    before = (photos / "red.jpg").read_bytes()
    result = sensorium(*arguments)
    assert result.code == 2
    assert message in result.err
    assert len(result.err.splitlines()) == 1
    assert result.out == ""
    assert (photos / "red.jpg").read_bytes() == before


def test_a_mistyped_folder_leaves_no_library_behind(sensorium, photos, home):
    for arguments in (["index", "fotos"], ["index"], ["index", photos / "red.jpg", "--library", "lib"]):
        assert sensorium(*arguments).code == 2
    assert not (home / "home" / "library").exists()
    assert not (home / "lib").exists()


def test_what_was_understood_is_shown(sensorium, photos):
    sensorium("index", photos)
    shown = sensorium("search", "red in June 2019")
    assert shown.code == 0
    assert shown.out.splitlines() == [
        "2019-06-01 to 2019-07-01 · looks like: red",
        "No photo fits that: 3 photos tell no date and match no time",
    ]
    found = sensorium("search", "red in June 2019", "--json").json
    assert (found["total"], found["verdict"], found["hits"]) == (0, "nothing", [])
    assert found["note"] == "3 photos tell no date and match no time"
    parsed = sensorium("parse", "red in June 2019")
    assert parsed.out.splitlines()[0] == "2019-06-01 to 2019-07-01 · looks like: red"
    assert sensorium("parse", "red in June 2019", "--json").json == found["query"]


def test_sentences_are_parsed_without_a_library(sensorium, home):
    assert sensorium("parse", "red", "--json").json["text"] == "red"
    assert not (home / "home" / "library").exists()
    assert sensorium("parse", "red", "--library", "absent").code == 2


def test_an_unplugged_folder_is_told(sensorium, photos, home):
    sensorium("index", photos)
    photos.rename(home / "away")
    result = sensorium("index", photos)
    assert result.code == 1
    assert "offline, kept as it was" in result.out
    assert "offline: no such file or directory" in sensorium("status").out
    assert "offline now" in sensorium("search", "red").out
    assert sensorium("status", "--json").json["offline"] == 3


def test_the_library_may_be_named(sensorium, photos, home, monkeypatch):
    sensorium("index", photos, "--library", photos / ".sensorium")
    assert (photos / ".sensorium" / "library.sqlite3").exists()
    monkeypatch.setenv("SENSORIUM_LIBRARY", str(photos / ".sensorium"))
    assert sensorium("status", "--json").json["photos"] == 3


def test_a_contact_sheet(sensorium, photos, home):
    sensorium("index", photos)
    result = sensorium("search", "red", "--sheet", "hits.png")
    assert result.out.splitlines()[-1] == "contact sheet: hits.png"
    assert (home / "hits.png").read_bytes().startswith(b"\x89PNG")
    json_only = sensorium("similar", photos / "red.jpg", "--sheet", "hits.jpg", "--json")
    assert len(json_only.json["hits"]) == 2
    assert (home / "hits.jpg").exists()


def test_another_model(sensorium, photos):
    sensorium("index", photos)
    result = sensorium("index", photos, "--model", "test/light", "--workers", "1")
    assert "3 photos taken" in result.out
    assert sensorium("status", "--json").json["model"] == "test/light"


def test_interrupted_it_says_what_is_kept_and_how_to_go_on(home):
    for seed in range(320):
        write(home / "photos" / f"{seed:03}.jpg", picture(seed, (48, 48)))
    process = start("index", home / "photos", pause=0.5)
    file = home / "home" / "library" / "library.sqlite3"
    deadline = time.monotonic() + 30
    while not (file.exists() and _photos(home)) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130, (out, err)
    kept = _photos(home)
    assert 32 <= kept < 320
    assert (
        err.decode()
        == f"interrupted: {kept} photos of this run are kept; the same command goes on from there\n"
    )
    process = start("index", home / "photos", "--json")
    out, _ = process.communicate(timeout=30)
    assert json.loads(out)["encoded"] == 320 - kept


def _photos(home: Path) -> int:
    import sqlite3

    with sqlite3.connect(home / "home" / "library" / "library.sqlite3", timeout=10) as connection:
        try:
            return connection.execute("SELECT count(*) FROM photos").fetchone()[0]
        except sqlite3.OperationalError:
            return 0


def test_a_terminal_gets_links_and_its_own_width(sensorium, photos, monkeypatch):
    sensorium("index", photos)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "60")
    shown = sensorium("search", "red", "-k", "1").out
    assert f"file://{photos}/red.jpg" in shown
    assert "\x1b]8;" in shown

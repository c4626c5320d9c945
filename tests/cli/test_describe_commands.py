"""`sensorium describe`, `people` and the passes in `status` as typed: what they print, JSON, exit codes."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "photos"))
from drawn_text import paper
from made_faces import install, scene
from photo_fakes import write

PHOTOS = Path(__file__).parents[1] / "photos"


@pytest.fixture
def library(sensorium, home):
    """Four photos: three of one person, two of another, and a receipt."""
    for number in range(3):
        people = {1: (40, 40), 2: (200, 104)} if number else {1: (40, 40)}
        write(home / "pictures" / f"{number}.jpg", scene(people, shade=40 + 20 * number))
    write(home / "pictures" / "paper.jpg", paper([("LAWSON", 60, (100, 100))], (400, 300)))
    assert sensorium("index", "pictures").code == 0


def test_describe_says_what_it_did_and_what_is_missing(sensorium, library, home):
    done = sensorium("describe", "--workers", 1)
    assert done.code == 0
    assert "text: 4 photos described" in done.out
    assert re.search(r"faces: skipped: .*sensorium models pull opencv/face_detection_yunet", done.out)
    assert sensorium("describe", "faces").code == 1  # named, and it cannot run
    told = sensorium("status").out
    assert re.search(r"^text +4 photos done$", told, re.MULTILINE)
    assert re.search(r"^faces +0 photos done, 4 to do, the networks .*$", told, re.MULTILINE)
    install(home / "home")
    document = sensorium("describe", "faces", "--json", "--workers", 1).json
    assert document == {
        "passes": {"faces": {"described": 4, "failed": [], "waiting": [], "skipped": None}},
        "offline": 0,
    }
    by_name = {one["name"]: one for one in sensorium("status", "--json").json["passes"]}
    assert (by_name["faces"]["done"], by_name["faces"]["due"], by_name["faces"]["failed"]) == (4, 0, 0)
    assert (
        sensorium("search", "the receipt from Lawson", "--json").json["hits"][0]["path"].endswith("paper.jpg")
    )


def test_people_are_listed_named_and_merged(sensorium, library, home):
    assert "nobody yet" in sensorium("people").out
    install(home / "home")
    sensorium("describe", "faces", "--workers", 1)
    (one,) = sensorium("people", "--json").json  # the other one is on two photos only
    assert (one["name"], one["faces"], one["photos"]) == (None, 3, 3)
    named = sensorium("people", "name", one["id"], "小明")
    assert named.code == 0
    assert f"{one['id']} is 小明: 3 photos, 3 faces" in named.out
    assert "小明" in sensorium("people").out
    hits = sensorium("search", "小明", "--json").json["hits"]
    assert sorted(Path(hit["path"]).stem for hit in hits) == ["0", "1", "2"]
    assert sensorium("people", "hide", one["id"]).code == 0
    assert sensorium("people", "--json").json == []
    assert len(sensorium("people", "--hidden", "--json").json) == 1
    assert sensorium("people", "sort", "--json").json["new_people"] == 0
    wrong = sensorium("people", "merge", one["id"], 99)
    assert wrong.code == 2
    assert wrong.err.strip() == "sensorium: there is no person 99 in this library"


def test_bad_photos_and_again(sensorium, library, home):
    (home / "pictures" / "0.jpg").unlink()
    done = sensorium("describe", "text", "--workers", 1)
    assert done.code == 1
    assert "could not be read now" in done.out
    assert "0.jpg" in done.out
    assert sensorium("index", "pictures").code == 0
    assert sensorium("describe", "text", "--again").code == 0


def test_requests_that_cannot_be_meant(sensorium, library):
    wrong = sensorium("describe", "smell")
    assert wrong.code == 2
    assert (
        wrong.err.strip()
        == "sensorium: there is no pass called 'smell': the passes are text, faces, hash, regions"
    )
    assert sensorium("describe", "--workers", 0).code == 2
    assert sensorium("describe", "--library", "nowhere").code == 2


RUN = """
import sys
sys.path.insert(0, {photos!r})
from photo_fakes import Models
from sensorium.cli import main
from sensorium.photos import encoder
encoder.load_encoder = Models()
main.main()
"""


def test_ctrl_c_keeps_what_was_described(sensorium, library, home):
    script = home / "run.py"
    script.write_text(RUN.format(photos=str(PHOTOS)))
    for number in range(40):
        write(home / "pictures" / f"more{number}.jpg", paper([(f"page {number}", 40, (30, 30))], (300, 200)))
    assert sensorium("index", "pictures").code == 0
    process = subprocess.Popen(
        [sys.executable, script, "describe", "text", "--workers", "1"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        env={**os.environ, "SENSORIUM_HOME": str(home / "home")},
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while sensorium("status", "--json").json["passes"][0]["done"] == 0:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=30)
    assert process.returncode == 130
    assert told.strip() == "interrupted: what was described is kept; the same command goes on from there"
    done = sensorium("status", "--json").json["passes"][0]
    assert done["done"] >= 16
    assert done["done"] + done["due"] == 44

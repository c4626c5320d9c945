"""`sensorium library` as typed: what it prints, its JSON, its exit codes."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from filled_library import file_of, fill, pages_of, spoil
from photo_fakes import plain, write


@pytest.fixture
def library(sensorium, home) -> Path:
    """The default library, indexed from three pictures."""
    for colour in ("red", "green", "blue"):
        write(home / "photos" / f"{colour}.jpg", plain(colour))
    assert sensorium("index", home / "photos").code == 0
    return home / "home" / "library"


def spoil_vector(library: Path) -> None:
    with sqlite3.connect(file_of(library)) as connection:
        connection.execute("UPDATE vectors SET vector = zeroblob(5) WHERE photo_id = 1")


def test_check_and_repair(sensorium, library, home):
    sound = sensorium("library", "check")
    assert (sound.code, sound.out) == (0, "the library is sound\n")
    spoil_vector(library)
    checked = sensorium("library", "check")
    assert checked.code == 1
    assert checked.out == (
        "wrong: 1 vectors of sensorium/mini-clip do not have 48 numbers (photo 1): "
        "run `sensorium library repair`, then `sensorium index`\n"
    )
    repaired = sensorium("library", "repair")
    assert repaired.code == 0
    assert repaired.out.splitlines()[0].startswith("dropped 1 vectors of sensorium/mini-clip")
    assert f"the library as it was: {library}/before-repair-" in repaired.out
    assert sensorium("library", "repair").out == "there was nothing to mend\n"
    assert "1 photos taken" in sensorium("index").out
    assert sensorium("library", "check", "--content").code == 0


def test_check_and_repair_as_json(sensorium, library):
    spoil_vector(library)
    checked = sensorium("library", "check", "--json")
    assert checked.code == 1
    assert checked.json["sound"] is False
    (finding,) = checked.json["findings"]
    assert set(finding) == {"kind", "text", "remedy", "wrong"}
    repaired = sensorium("library", "repair", "--json")
    assert repaired.code == 0
    assert Path(repaired.json["before"]).is_file()
    assert (len(repaired.json["mended"]), repaired.json["left"], repaired.json["sound"]) == (1, [], True)
    assert sensorium("library", "check", "--json").json == {"sound": True, "findings": []}


def test_edited_originals_are_notes_and_no_fault(sensorium, library, home):
    (home / "photos" / "red.jpg").unlink()
    checked = sensorium("library", "check")
    assert checked.code == 0
    assert checked.out.splitlines()[0].startswith("note: 1 photos of ")
    assert checked.out.splitlines()[0].endswith(": run `sensorium index`")
    assert checked.out.splitlines()[1] == "the library is sound"


def test_a_damaged_file_is_told_by_every_command_and_repaired(sensorium, home):
    library = fill(home / "home" / "library", 500)
    spoil(library, [*pages_of(library, "photos")[3:4], *pages_of(library, "ix_photos_size")])
    checked = sensorium("library", "check")
    assert checked.code == 1
    assert "is damaged" in checked.out
    assert len(checked.out.splitlines()) == 1
    saved = sensorium("library", "backup", "backup.sqlite3")
    assert saved.code in (0, 2)  # what SQLite reads for a copy may be whole where an index is not
    repaired = sensorium("library", "repair")
    assert repaired.code == 0
    assert "wrote the file anew: saved" in repaired.out
    assert f"the library as it was: {library}/damaged-" in repaired.out


def test_backup_and_restore(sensorium, library, home):
    before = sensorium("search", "red", "--json").out
    saved = sensorium("library", "backup", "backup.sqlite3")
    assert saved.code == 0
    assert saved.out.startswith(f"saved 3 photos with 3 vectors: {home}/backup.sqlite3 (")
    again = sensorium("library", "backup", "backup.sqlite3")
    assert again.code == 2
    assert "exists" in again.err
    assert sensorium("library", "backup", "backup.sqlite3", "--overwrite", "--json").json["photos"] == 3
    refused = sensorium("library", "restore", "backup.sqlite3")
    assert refused.code == 2
    assert "--force" in refused.err
    new = sensorium("library", "restore", "backup.sqlite3", "--library", "new", "--json")
    assert new.json["path"] == str(home / "new" / "library.sqlite3")
    assert sensorium("search", "red", "--json", "--library", "new").out == before
    assert sensorium("library", "restore", "backup.sqlite3", "--force").out.startswith("restored 3 photos")
    assert sensorium("search", "red", "--json").out == before


def test_models_and_rollback(sensorium, library):
    assert sensorium("library", "rollback").code == 2
    sensorium("index", "--model", "test/light")
    listed = sensorium("library", "models", "--json").json
    assert [(row["name"], row["vectors"], row["active"]) for row in listed] == [
        ("sensorium/mini-clip", 3, False),
        ("test/light", 3, True),
    ]
    back = sensorium("library", "rollback")
    assert back.out == "sensorium/mini-clip answers searches now\n"
    assert sensorium("status", "--json").json["model"] == "sensorium/mini-clip"
    table = sensorium("library", "models").out.splitlines()
    assert table[0].split() == ["model", "vectors", "waiting", "numbers", "state"]
    assert table[1].split() == ["sensorium/mini-clip", "3", "0", "48", "answers"]
    assert table[2].split() == ["test/light", "3", "0", "16", "complete"]
    refused = sensorium("library", "models", "--drop", "sensorium/mini-clip")
    assert refused.code == 2
    assert "answers searches" in refused.err
    dropped = sensorium("library", "models", "--drop", "test/light")
    assert dropped.out.splitlines()[0] == "dropped test/light with its 3 vectors"
    assert len(sensorium("library", "models", "--json").json) == 1
    renewed = sensorium("library", "models", "--renew", "sensorium/mini-clip")
    assert "forgot the 3 vectors" in renewed.out
    assert "3 photos taken" in sensorium("index").out
    assert json.loads(sensorium("library", "rollback", "--json").out or "null") is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["check"], "no photo library in"),
        (["repair"], "no photo library in"),
        (["backup", "file"], "no photo library in"),
        (["restore", "file"], "no such backup"),
        (["models"], "no photo library in"),
        (["rollback"], "no photo library in"),
        (["models", "--drop", "a", "--renew", "b"], "give one of them"),
    ],
)
def test_bad_requests_are_one_line_and_exit_2(sensorium, home, arguments, message):
    result = sensorium("library", *arguments)
    assert (result.code, result.out) == (2, "")
    assert message in result.err
    assert len(result.err.splitlines()) == 1
    assert list(home.iterdir()) == []


def test_odd_names_print_on_one_line(sensorium, library, home):
    odd = os.fsdecode(b"caf\xe9\n.sqlite3")
    saved = sensorium("library", "backup", odd)
    assert saved.code == 0
    assert "caf\\xe9\\n.sqlite3" in saved.out
    assert Path(odd).exists()
    document = sensorium("library", "backup", odd, "--overwrite", "--json").json
    assert os.fsencode(document["path"]) == os.fsencode(home / odd)


def test_ctrl_c_ends_with_130_and_leaves_nothing(home):
    fill(home / "home" / "library", 8_000, dim=512)
    process = subprocess.Popen(
        [sys.executable, "-m", "sensorium", "library", "backup", "out.sqlite3"], stderr=subprocess.PIPE
    )
    deadline = time.monotonic() + 20
    while not list(home.glob(".sensorium-*/*")) and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (130, b"interrupted: nothing was written\n")
    assert [path.name for path in home.iterdir()] == ["home"]

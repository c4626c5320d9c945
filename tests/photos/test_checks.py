"""What `library check` finds: each kind of fault, made for real, as one line with what to do."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa
from filled_library import MODEL, all_rows, copy_of, file_of, fill, pages_of, path_of, spoil

from sensorium.errors import LibraryError
from sensorium.photos.database import schema
from sensorium.photos.database.locks import alone
from sensorium.photos.database.store import Store
from sensorium.photos.health import checks
from sensorium.photos.health.checks import Finding, Hashing
from sensorium.photos.vectors import cabinet, matrix

COUNT = 300


@pytest.fixture(scope="module")
def sound(tmp_path_factory) -> Path:
    base = tmp_path_factory.mktemp("sound")
    for number in range(1, COUNT + 1):
        path = base / "pictures" / path_of(number)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(str(number).encode())
    folder = fill(base / "library", COUNT, root=base / "pictures")
    with closing(sqlite3.connect(file_of(folder), isolation_level=None)) as connection:
        for number in range(1, COUNT + 1):
            status = (base / "pictures" / path_of(number)).stat()
            change = "UPDATE photos SET size = ?, mtime_ns = ? WHERE id = ?"
            connection.execute(change, (status.st_size, status.st_mtime_ns, number))
    return folder


@pytest.fixture
def library(sound, tmp_path) -> Path:
    return copy_of(sound, tmp_path / "library")


def sql(folder: Path, *statements: str) -> None:
    """Change rows as no part of Sensorium would."""
    with closing(sqlite3.connect(file_of(folder), isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)


def found(folder: Path, **options) -> list[Finding]:
    findings = [one for one in checks.check(folder, **options) if isinstance(one, Finding)]
    assert all("\n" not in f"{one.text}{one.remedy}" and one.remedy for one in findings)
    return findings


def the_one(folder: Path, **options) -> Finding:
    (finding,) = found(folder, **options)
    return finding


def test_a_sound_library(library):
    assert found(library) == []
    assert found(library, content=True) == []


def test_no_library_and_a_newer_one(tmp_path, library):
    with pytest.raises(LibraryError, match="no photo library"):
        found(tmp_path / "absent")
    assert not (tmp_path / "absent").exists()
    (library / "damaged-1").mkdir()
    file_of(library).rename(library / "damaged-1" / "library.sqlite3")
    with pytest.raises(LibraryError, match="damaged-1: move its files back"):
        found(library)
    (library / "damaged-1" / "library.sqlite3").rename(file_of(library))
    sql(library, "UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(LibraryError, match="newer Sensorium") as caught:
        found(library)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["photos", "vectors", "ix_photos_sha256", "photo_words_data"])
def test_a_damaged_page(library, name):
    spoil(library, pages_of(library, name)[:1])
    finding = the_one(library)
    assert (finding.kind, finding.wrong) == ("file", True)
    assert len(finding.text) < 300
    assert "sensorium library repair" in finding.remedy


@pytest.mark.parametrize("content", [b"", b"words " * 2000, b"SQLite format 3\0" + bytes(9000)])
def test_what_is_no_library(library, content):
    file_of(library).write_bytes(content)
    for log in library.glob("*-wal"):
        log.unlink()
    finding = the_one(library)
    assert finding.kind == "file"
    assert finding.wrong


def test_a_truncated_file(library):
    os.truncate(file_of(library), file_of(library).stat().st_size // 2)
    assert the_one(library).kind == "file"


def test_an_index_that_disagrees_with_its_table(library):
    sql(
        library,
        "PRAGMA writable_schema = ON",
        "UPDATE sqlite_master SET sql = replace(sql, '(size)', '(width)') WHERE name = 'ix_photos_size'",
    )
    finding = the_one(library)
    assert finding.kind == "file"
    assert "ix_photos_size" in finding.text
    assert "19 more faults" in finding.text


def test_rows_that_belong_to_nothing(library):
    sql(library, "DELETE FROM photos WHERE id IN (10, 11)", "DELETE FROM people")
    assert sorted(finding.text for finding in found(library) if finding.kind == "rows") == [
        "1 rows of companions belong to no row of photos",
        "1 rows of photo_people belong to no row of photos",
        "2 rows of vectors belong to no row of photos",
        "30 rows of photo_people belong to no row of people",
    ]


def set_vector(folder: Path, number: int, vector: bytes) -> None:
    with closing(sqlite3.connect(file_of(folder), isolation_level=None)) as connection:
        connection.execute("UPDATE vectors SET vector = ? WHERE photo_id = ?", (vector, number))


@pytest.mark.parametrize(
    ("vector", "words"),
    [
        (np.ones(32, "<f2") / 32**0.5, "do not have 64 numbers"),
        (np.frombuffer(b"\x00" * 127, np.uint8), "do not have 64 numbers"),
        (np.full(64, np.nan, "<f2"), "hold numbers that are none"),
        (np.full(64, np.inf, "<f2"), "hold numbers that are none"),
        (np.zeros(64, "<f2"), "are not of unit length"),
        (np.full(64, 0.2, "<f2"), "are not of unit length"),
    ],
)
def test_vectors_that_cannot_be_right(library, vector, words):
    set_vector(library, 77, vector.tobytes())
    finding = the_one(library)
    assert finding.text == f"1 vectors of {MODEL} {words} (photo 77)"
    assert "sensorium index" in finding.remedy


def test_models_without_one_that_answers_and_damaged_golden_values(library):
    sql(library, "UPDATE pipelines SET active = 0, golden = '{'")
    assert [finding.text for finding in found(library)] == [
        "no model answers searches, though there are vectors",
        f"the golden values of {MODEL} are damaged",
    ]


def test_words_that_do_not_belong_to_the_photos(library):
    sql(
        library,
        "DELETE FROM photo_words WHERE rowid IN (5, 6, 7)",
        "INSERT INTO photo_words (rowid, name) VALUES (9000, 'x')",
    )
    assert [finding.text for finding in found(library)] == [
        "3 photos cannot be found by their words (photo 5)",
        "the index of words knows 1 photos that are none",
    ]
    sql(library, "UPDATE photo_words_content SET c0 = 'other' WHERE id = 20")
    assert found(library)[0].text == "the index of words does not agree with the words"


def test_words_are_left_alone_while_an_indexer_is_at_work(library):
    with alone(library):
        finding = the_one(library)
    assert not finding.wrong
    assert "was not looked at" in finding.text


def test_a_damaged_copy_is_a_note(tmp_path, monkeypatch):
    monkeypatch.setattr(matrix, "NUMPY_UP_TO", 100)
    monkeypatch.setattr(matrix, "_WRITE_FROM", 50)
    library = fill(tmp_path / "library", 400)
    with closing(Store(library, create=False)) as store:
        matrix.open_matrix(store, store.active_pipeline())
    segments = [path for path in (library / cabinet.FOLDER).iterdir() if path.stat().st_size > 4096]
    assert segments
    assert [finding for finding in found(library) if finding.kind == "copies"] == []
    content = bytearray(segments[0].read_bytes())
    content[-10] ^= 0xFF
    segments[0].write_bytes(content)
    (finding,) = [finding for finding in found(library) if finding.kind == "copies"]
    assert not finding.wrong
    (library / cabinet.FOLDER / "1.manifest").write_bytes(b"nonsense")
    assert [finding.kind for finding in found(library) if finding.kind == "copies"] == ["copies"]


@pytest.fixture
def pictures(library) -> Path:
    """The originals, as copies that a test may change."""
    (row,) = all_rows(library, "roots")
    original = Path(os.fsdecode(row[1]))
    copied = copy_of(original, library.parent / "pictures")
    with closing(sqlite3.connect(file_of(library), isolation_level=None)) as connection:
        connection.execute("UPDATE roots SET path = ?", (os.fsencode(copied),))
    return copied


def test_originals_that_changed_or_vanished_are_notes(library, pictures):
    (pictures / path_of(3)).unlink()
    (pictures / path_of(4)).write_bytes(b"edited since")
    notes = found(library)
    assert [finding.wrong for finding in notes] == [False, False]
    assert "1 photos" in notes[0].text
    assert "changed since the last scan" in notes[0].text
    assert path_of(4) in notes[0].text
    assert "vanished" in notes[1].text
    assert path_of(3) in notes[1].text


def test_a_folder_that_is_offline_is_a_note(library, pictures):
    pictures.rename(library.parent / "away")
    finding = the_one(library, content=True)
    assert not finding.wrong
    assert "offline" in finding.text


def test_content_that_rotted_behind_the_same_size_and_time(library, pictures):
    path = pictures / path_of(8)
    before = path.stat()
    path.write_bytes(b"9")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert found(library) == []
    finding = the_one(library, content=True)
    assert finding.wrong
    assert str(path) in finding.text
    steps = [step for step in checks.check(library, content=True) if isinstance(step, Hashing)]
    assert steps[-1] == Hashing(COUNT, COUNT)


def test_names_of_any_bytes_are_told_on_one_line(library, pictures):
    name = "trip/caf\udce9\n.jpg"
    (pictures / path_of(9)).rename(pictures / name)
    with closing(Store(library, create=False)) as store, store.writing() as connection:
        connection.execute(sa.update(schema.photos).where(schema.photos.c.id == 9).values(path=name, size=5))
    assert "caf\\xe9\\n.jpg" in the_one(library).text


def test_nothing_is_written(library):
    before = {table: all_rows(library, table) for table in schema.metadata.tables}
    found(library, content=True)
    assert {table: all_rows(library, table) for table in schema.metadata.tables} == before

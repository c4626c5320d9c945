"""Checks, repairs, backups and salvage know albums, marks, faces, texts and frames."""

import sqlite3
from pathlib import Path

import numpy as np
import pytest
from filled_library import DIM, all_rows, copy_of, file_of, fill, pages_of, spoil, sql, wrong

from sensorium.photos.health.salvage import salvage
from sensorium.photos.health.upkeep import backup, repair, restore
from sensorium.photos.vectors.regions import packed

COUNT = 120
TABLES = ("photos", "people", "photo_people", "faces", "not_faces", "described", "texts", "albums",
          "album_photos", "frames", "regions", "photo_words")  # fmt: skip


def unit(dim: int, seed: int) -> bytes:
    row = np.random.default_rng(seed).normal(size=dim)
    return (row / np.linalg.norm(row)).astype("<f2").tobytes()


@pytest.fixture(scope="module")
def sound(tmp_path_factory) -> Path:
    folder = fill(tmp_path_factory.mktemp("sound") / "library", COUNT)
    with sqlite3.connect(file_of(folder)) as connection:
        connection.execute(
            "UPDATE photos SET favourite = 1, perceptual_hash = x'0102030405060708' WHERE id % 3 = 0"
        )
        connection.execute("UPDATE photos SET hidden = 1 WHERE id % 7 = 0")
        connection.execute("UPDATE photos SET kind = 'video', duration = 2.5 WHERE id % 5 = 0")
        connection.execute(
            "INSERT INTO people (id, name, kind) VALUES (2, NULL, 'person'), (3, 'Rex', 'pet')"
        )
        connection.execute("INSERT INTO albums VALUES (1, 'Trip', 5, 10), (2, '空', 6, NULL)")
        for photo in range(1, COUNT + 1):
            connection.execute(
                "INSERT INTO faces VALUES (NULL, ?, 0.1, 0.2, 0.3, 0.4, 1, 1, 'm', ?, ?, 1)",
                (photo, unit(32, photo), photo % 4 or None),
            )
            connection.execute(
                "INSERT INTO described VALUES (?, 'faces', 1, zeroblob(32), NULL, 9)", (photo,)
            )
            connection.execute("INSERT INTO texts VALUES (?, 'SALE', '[]')", (photo,))
            rows = np.random.default_rng(photo).normal(size=(9, DIM)).astype(np.float32)
            parts = packed(rows / np.linalg.norm(rows, axis=1, keepdims=True))
            connection.execute("INSERT INTO regions VALUES (?, 1, 1, ?)", (photo, parts))
            if photo % 2:
                connection.execute("INSERT INTO album_photos VALUES (1, ?, 7)", (photo,))
            if photo % 5 == 0:
                for at in (0.0, 1.5):
                    connection.execute(
                        "INSERT INTO frames VALUES (?, 1, ?, ?, 1)",
                        (photo, at, unit(DIM, photo + int(10 * at))),
                    )
        connection.execute("INSERT INTO not_faces VALUES (1, 3)")
        connection.execute("UPDATE people SET cover_face = 4")
    connection.close()
    return folder


@pytest.fixture
def library(sound, tmp_path) -> Path:
    return copy_of(sound, tmp_path / "library")


def contents(folder: Path) -> dict[str, list[tuple]]:
    found = {table: all_rows(folder, table, "1, 2") for table in TABLES}
    marks = "SELECT id, path, kind, favourite, hidden, duration, perceptual_hash FROM photos ORDER BY id"
    return found | {"photos": sql(file_of(folder), marks)}  # repairs name their places anew


def test_it_is_sound(library):
    assert wrong(library) == []


def test_a_backup_and_its_restoration_keep_every_row(library, tmp_path):
    saved = backup(library, tmp_path / "saved.sqlite3")
    restore(saved.path, tmp_path / "again")
    assert contents(tmp_path / "again") == contents(library)


def test_a_sound_file_is_salvaged_row_for_row(library, tmp_path):
    (tmp_path / "new").mkdir()
    saved = salvage(file_of(library), tmp_path / "new")
    kept, before = contents(tmp_path / "new"), contents(library)
    del kept["photo_words"], before["photo_words"]  # made anew by the repair
    assert kept == before
    assert saved.rows["frames"] == 2 * (COUNT // 5)


@pytest.mark.parametrize("table", ["faces", "album_photos", "frames", "regions", "texts", "described"])
def test_a_lost_page_costs_its_rows_and_no_others(library, table):
    before = contents(library)
    spoil(library, pages_of(library, table)[:1])
    done = repair(library)
    assert done.before is not None
    assert wrong(library) == []
    after = contents(library)
    for name in set(TABLES) - {table, "not_faces", "people", "photo_words"}:
        assert after[name] == before[name], name
    assert len(after[table]) <= len(before[table])
    assert set(after[table]) <= set(before[table])


def test_what_only_points_to_a_lost_row_stays(library):
    sql(
        file_of(library),
        "PRAGMA foreign_keys = OFF",
        "DELETE FROM people WHERE id = 3",
        "DELETE FROM faces WHERE id = 4",
        "UPDATE albums SET cover = 9999 WHERE id = 1",
        "INSERT INTO album_photos VALUES (1, 8888, 1)",
        "INSERT INTO frames VALUES (7777, 1, 0.5, zeroblob(128), 1)",
    )
    assert {finding.kind for finding in wrong(library)} >= {"rows"}
    done = repair(library)
    assert "emptied person_id of 30 rows of faces, which pointed to nothing" in done.mended
    assert "emptied cover of 1 rows of albums, which pointed to nothing" in done.mended
    assert wrong(library) == []
    assert sql(file_of(library), "SELECT count(*) FROM faces") == [(COUNT - 1,)]
    assert sql(file_of(library), "SELECT id, cover FROM albums ORDER BY id") == [(1, None), (2, None)]
    assert sql(file_of(library), "SELECT count(*) FROM album_photos") == [(COUNT // 2,)]
    assert sql(file_of(library), "SELECT count(*) FROM people WHERE cover_face IS NOT NULL") == [(0,)]


@pytest.mark.parametrize("spoilt", ["zeroblob(64)", "zeroblob(10)", "x'" + "ff7f" * 32 + "'"])
def test_faces_that_cannot_be_compared_are_found_again(library, spoilt):
    sql(file_of(library), f"UPDATE faces SET embedding = {spoilt} WHERE photo_id = 5")
    (finding,) = wrong(library)
    assert finding.kind == "vectors"
    assert "1 faces have vectors" in finding.text
    repair(library)
    assert wrong(library) == []
    assert sql(file_of(library), "SELECT count(*) FROM faces") == [(COUNT - 1,)]
    undescribed = "SELECT id FROM photos WHERE id NOT IN (SELECT photo_id FROM described)"
    assert sql(file_of(library), undescribed) == [(5,)]


def test_frames_of_another_size_go_with_their_vector(library):
    sql(file_of(library), "UPDATE frames SET vector = zeroblob(8) WHERE photo_id = 10")
    (finding,) = wrong(library)
    assert f"1 videos have frames of test/rows that do not have {DIM} numbers (photo 10)" in finding.text
    repair(library)
    assert sql(file_of(library), "SELECT count(*) FROM frames WHERE photo_id = 10") == [(0,)]
    assert sql(file_of(library), "SELECT count(*) FROM vectors") == [(COUNT - 1,)]


@pytest.mark.parametrize(
    ("spoilt", "reason"),
    [
        ("zeroblob(length(vectors))", "are not of unit length"),
        ("zeroblob(8)", f"do not have {DIM} numbers"),
        ("CAST(x'007c' || substr(vectors, 3) AS BLOB)", "hold numbers that are none"),
    ],
)
def test_parts_that_cannot_be_compared_are_dropped_and_due_again(library, spoilt, reason):
    sql(file_of(library), f"UPDATE regions SET vectors = {spoilt} WHERE photo_id = 12")
    (finding,) = wrong(library)
    assert f"1 photos have parts of test/rows that {reason} (photo 12)" in finding.text
    done = repair(library)
    assert any(f"the parts of 1 photos that {reason}" in line for line in done.mended)
    assert wrong(library) == []
    left = sql(file_of(library), "SELECT count(*), sum(photo_id = 12) FROM regions")
    assert left == [(COUNT - 1, 0)]

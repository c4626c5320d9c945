"""What is saved of a damaged file: real damage, page by page."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from filled_library import COUNT, all_rows, bytes_below, copy_of, file_of, fill, pages_of, path_of, spoil
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sensorium.errors import LibraryError
from sensorium.photos.health.salvage import salvage

TABLES = ("library", "roots", "photos", "pipelines", "vectors", "companions", "people", "photo_people")


@pytest.fixture
def damaged(sound, tmp_path) -> Path:
    return copy_of(sound, tmp_path / "damaged")


def save(damaged: Path, tmp_path: Path):
    """Salvage into ``new``; the damaged folder must stay as it is."""
    new = tmp_path / "new"
    new.mkdir()
    before = bytes_below(damaged)
    saved = salvage(file_of(damaged), new)
    after = {name: content for name, content in bytes_below(damaged).items() if content or name in before}
    for content in (before, after):
        content.pop("library.sqlite3-shm", None)  # an index of the log, which every reader may make anew
    assert after == before
    with closing(sqlite3.connect(file_of(new))) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    return new, saved


def numbers(folder: Path, table: str = "photos", column: str = "id") -> set[int]:
    with closing(sqlite3.connect(file_of(folder))) as connection:
        return {row[0] for row in connection.execute(f"SELECT {column} FROM {table}")}


def test_a_sound_file_is_copied_row_for_row(sound, damaged, tmp_path):
    new, saved = save(damaged, tmp_path)
    for table in TABLES:
        assert all_rows(new, table, "1, 2") == all_rows(sound, table, "1, 2"), table
    assert (saved.gaps, saved.from_indexes, saved.doubtful) == (0, 0, 0)
    assert saved.rows["photos"] == saved.rows["vectors"] == COUNT


def test_a_lost_page_of_vectors_costs_those_vectors(sound, damaged, tmp_path):
    leaves = pages_of(damaged, "vectors")
    spoil(damaged, leaves[10:13])
    new, saved = save(damaged, tmp_path)
    lost = numbers(sound, "vectors", "photo_id") - numbers(new, "vectors", "photo_id")
    assert 3 <= len(lost) <= 3 * 4096 // 128
    assert max(lost) - min(lost) == len(lost) - 1
    assert all_rows(new, "photos") == all_rows(sound, "photos")
    assert saved.gaps == 1


@pytest.mark.parametrize("which", [0, 5, -1])
def test_a_photo_whose_row_is_lost_lives_on_in_the_indexes(sound, damaged, tmp_path, which):
    spoil(damaged, [pages_of(damaged, "photos")[which]])
    new, saved = save(damaged, tmp_path)
    assert saved.from_indexes > 3
    before = {row[0]: row for row in all_rows(sound, "photos")}
    after = {row[0]: row for row in all_rows(new, "photos")}
    assert after.keys() == before.keys()
    changed = [number for number in before if after[number] != before[number]]
    assert len(changed) == saved.from_indexes
    for number in changed:  # number, root, place, size; then a time that makes the next scan read it
        assert after[number][:4] == before[number][:4]
        assert after[number][4] == -1
        assert after[number][5] == before[number][5]
    assert all_rows(new, "vectors", "1, 2") == all_rows(sound, "vectors", "1, 2")


def test_a_lost_inner_page_hides_much_and_the_indexes_still_know(sound, damaged, tmp_path):
    spoil(damaged, pages_of(damaged, "photos", "internal"))
    new, saved = save(damaged, tmp_path)
    assert numbers(new) == numbers(sound)
    assert saved.from_indexes == COUNT
    assert numbers(new, "vectors", "photo_id") == numbers(sound, "vectors", "photo_id")


def test_lost_folders_and_models_come_from_their_indexes(sound, damaged, tmp_path):
    spoil(damaged, [*pages_of(damaged, "roots"), *pages_of(damaged, "pipelines")])
    new, _ = save(damaged, tmp_path)
    assert [row[:2] for row in all_rows(new, "roots")] == [row[:2] for row in all_rows(sound, "roots")]
    (pipeline,) = all_rows(new, "pipelines")
    assert pipeline[:4] == (1, "sensorium/mini-clip", "rows-1", 64)
    assert len(all_rows(new, "photos")) == len(all_rows(new, "vectors")) == COUNT


@pytest.mark.parametrize("part", [0.3, 0.6, 0.95])
def test_a_file_cut_off_gives_what_is_left(sound, damaged, tmp_path, part):
    file = file_of(damaged)
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * part)])
    new, saved = save(damaged, tmp_path)
    assert 0 < saved.rows["photos"] <= COUNT
    original = {row[0]: row for row in all_rows(sound, "photos")}
    for row in all_rows(new, "photos"):
        assert row[:4] == original[row[0]][:4]
    kept = {row[:2]: row for row in all_rows(sound, "vectors")}
    assert all(kept[row[:2]] == row for row in all_rows(new, "vectors"))


def test_damaged_indexes_cost_nothing(sound, damaged, tmp_path):
    for name in ("ix_photos_sha256", "ix_photos_size", "sqlite_autoindex_photos_1", "ix_photos_taken_at"):
        spoil(damaged, pages_of(damaged, name))
    new, saved = save(damaged, tmp_path)
    assert all_rows(new, "photos") == all_rows(sound, "photos")
    assert (saved.from_indexes, saved.doubtful) == (0, 0)


def test_a_row_that_its_index_contradicts_is_read_again(sound, damaged, tmp_path):
    # One byte of a content hash changes where only the table has it.
    with closing(sqlite3.connect(file_of(damaged))) as connection:
        digest = connection.execute("SELECT sha256 FROM photos WHERE id = 700").fetchone()[0]
    content = bytearray(file_of(damaged).read_bytes())
    leaves = pages_of(damaged, "photos")
    places = [at for at in _all(content, digest) if at // 4096 + 1 in leaves]
    assert len(places) == 1
    content[places[0] + 31] ^= 0xFF
    file_of(damaged).write_bytes(content)
    new, saved = save(damaged, tmp_path)
    assert saved.doubtful == 1
    rows = {row[0]: row for row in all_rows(new, "photos")}
    assert [number for number, row in rows.items() if row[4] == -1] == [700]


def _all(content: bytes, part: bytes) -> list[int]:
    found, at = [], content.find(part)
    while at >= 0:
        found.append(at)
        at = content.find(part, at + 1)
    return found


def test_the_log_of_a_killed_writer_is_read_and_left_alone(sound, tmp_path):
    source = copy_of(sound, tmp_path / "source")
    with closing(sqlite3.connect(file_of(source), isolation_level=None)) as writer:
        writer.execute("PRAGMA wal_autocheckpoint = 0")
        writer.execute("UPDATE photos SET caption = 'in the log' WHERE id <= 50")
        damaged = copy_of(source, tmp_path / "damaged")
    assert (damaged / "library.sqlite3-wal").stat().st_size > 0
    new, _ = save(damaged, tmp_path)
    assert sum("in the log" in row for row in all_rows(new, "photos")) == 50
    (damaged / "library.sqlite3-wal").unlink()
    other = tmp_path / "other"
    other.mkdir()
    assert salvage(file_of(damaged), other).rows["photos"] == COUNT
    assert sum("in the log" in row for row in all_rows(other, "photos")) == 0


def test_no_number_is_given_out_again(damaged, tmp_path):
    with closing(sqlite3.connect(file_of(damaged), isolation_level=None)) as connection:
        connection.execute("DELETE FROM photos WHERE id > 1400")
    new, _ = save(damaged, tmp_path)
    with closing(sqlite3.connect(file_of(new))) as connection:
        highest = dict(connection.execute("SELECT name, seq FROM sqlite_sequence").fetchall())
    assert highest["photos"] == COUNT


@pytest.mark.parametrize(
    "content",
    [b"", b"no database at all " * 1000, b"SQLite format 3\0" + bytes(8000)],
    ids=["empty", "text", "zero"],
)
def test_where_nothing_can_be_read_it_says_so(tmp_path, content):
    (tmp_path / "damaged").mkdir()
    (tmp_path / "new").mkdir()
    file_of(tmp_path / "damaged").write_bytes(content)
    with pytest.raises(LibraryError, match="restore a backup") as caught:
        salvage(file_of(tmp_path / "damaged"), tmp_path / "new")
    assert "\n" not in str(caught.value)


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> Path:
    return fill(tmp_path_factory.mktemp("small") / "library", 120)


@given(seed=st.integers(0, 2**32), flips=st.integers(1, 400))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_bytes_change_the_new_file_is_sound(small, tmp_path_factory, seed, flips):
    work = tmp_path_factory.mktemp("flips")
    damaged = copy_of(small, work / "damaged")
    random = np.random.default_rng(seed)
    content = np.frombuffer(file_of(damaged).read_bytes(), np.uint8).copy()
    places = random.integers(0, len(content), flips)
    content[places] ^= random.integers(1, 256, flips, dtype=np.uint8)
    file_of(damaged).write_bytes(content.tobytes())
    try:
        new, saved = save(damaged, work)
    except (LibraryError, sqlite3.DatabaseError):
        return  # page one is a twentieth of this small file
    assert saved.rows["photos"] == len(all_rows(new, "photos")) <= 121
    rows = all_rows(new, "photos")
    assert len({row[0] for row in rows}) == len({row[1:3] for row in rows}) == len(rows)
    right = sum(row[2] == path_of(row[0]).encode() for row in rows)
    assert right >= len(rows) - flips

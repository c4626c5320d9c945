"""Repair of real damage, and the models of a library."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import numpy as np
import pytest
from filled_library import (
    COUNT,
    MODEL,
    all_rows,
    answers,
    bytes_below,
    copy_of,
    file_of,
    pages_of,
    refused,
    spoil,
    sql,
    wrong,
)
from photo_fakes import picture, run, vectors, write

from sensorium.photos.database import schema
from sensorium.photos.database.store import Store
from sensorium.photos.health import upkeep
from sensorium.photos.library import Library


def test_a_sound_library_is_left_as_it_is(filled):
    done = upkeep.repair(filled)
    assert (done.before, done.mended, [found for found in done.left if found.wrong]) == (None, [], [])


@pytest.mark.parametrize("kept", ["with its log", "without its log"])
def test_a_damaged_file_is_written_anew_and_kept(filled, tmp_path, kept):
    library = tmp_path / "library"
    with closing(sqlite3.connect(file_of(filled), isolation_level=None)) as writer:
        writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        writer.execute("PRAGMA wal_autocheckpoint = 0")
        writer.execute("UPDATE photos SET caption = 'in the log' WHERE id <= 5")
        copy_of(filled, library)
    if kept == "without its log":
        (library / "library.sqlite3-wal").unlink()
    spoil(
        library,
        [
            pages_of(filled, "vectors")[7],
            pages_of(filled, "photos")[40],
            pages_of(filled, "ix_photos_size")[0],
        ],
    )
    damaged = file_of(library).read_bytes()
    assert wrong(library)
    done = upkeep.repair(library)
    assert wrong(library) == []
    assert not [found for found in done.left if found.wrong]
    assert done.before is not None
    assert (done.before / schema.FILE_NAME).read_bytes() == damaged
    log = done.before / "library.sqlite3-wal"  # which whoever reads makes anew, empty
    assert (log.exists() and log.stat().st_size > 0) == (kept == "with its log")
    assert "wrote the file anew: saved 1500 photos" in done.mended[0]
    captions = [row for row in all_rows(library, "photos") if "in the log" in row]
    assert len(captions) == (5 if kept == "with its log" else 0)
    assert COUNT - 40 < len(all_rows(library, "vectors")) < COUNT
    assert len(all_rows(library, "photo_words")) == COUNT
    assert not [path for path in library.iterdir() if path.name.startswith(".")]


def test_a_repaired_library_goes_on_with_the_same_ids_and_few_encodings(tmp_path, folder, models):
    for seed in range(200):
        write(folder / f"{seed:03}.jpg", picture(seed, (48, 48)))
    encoder = models("test/colours")
    with Library.open(tmp_path / "library", create=True, loader=models) as opened:
        run(opened, folder)
        before = vectors(opened)
        ids = {row.path: row.id for row in opened._store.photos(range(1, 300)).values()}
    originals = bytes_below(folder)
    lost = pages_of(tmp_path / "library", "photos")[2:4] + pages_of(tmp_path / "library", "vectors")[1:2]
    spoil(tmp_path / "library", lost)
    upkeep.repair(tmp_path / "library")
    encoder.batches.clear()
    with Library.open(tmp_path / "library", loader=models) as opened:
        assert 150 < len(opened.search("red", 300, everything=True)) <= 200
        report = run(opened, folder)
        assert 0 < encoder.encoded < 60
        assert report.changed > 0
        after = vectors(opened)
        assert {row.path: row.id for row in opened._store.photos(range(1, 300)).values()} == ids
    assert after.keys() == before.keys()
    assert all(np.array_equal(after[path], before[path]) for path in before)
    assert wrong(tmp_path / "library") == []
    assert bytes_below(folder) == originals


def test_wrong_rows_are_mended_after_a_backup(filled):
    bad = {3: b"", 4: b"\0" * 128, 5: b"\xff" * 128}
    with closing(sqlite3.connect(file_of(filled), isolation_level=None)) as connection:
        for number, vector in bad.items():
            connection.execute("UPDATE vectors SET vector = ? WHERE photo_id = ?", (vector, number))
        connection.execute("DELETE FROM photos WHERE id IN (10, 11)")
        connection.execute("DELETE FROM photo_words WHERE rowid IN (20, 21)")
        connection.execute("INSERT INTO photo_words (rowid, name) VALUES (9000, 'x')")
        connection.execute("UPDATE photo_words_content SET c0 = 'other' WHERE id = 22")
        connection.execute("UPDATE pipelines SET golden = '[]', active = 0")
    before = {table: all_rows(filled, table, "1, 2") for table in schema.metadata.tables}
    assert {found.kind for found in wrong(filled)} == {"rows", "vectors", "words", "models"}
    done = upkeep.repair(filled)
    assert wrong(filled) == []
    assert len(done.mended) == 11
    kept = done.before
    assert kept is not None
    assert {table: sql(kept, f"SELECT * FROM {table} ORDER BY 1, 2") for table in before} == before
    assert len(all_rows(filled, "photos")) == COUNT - 2
    gone = {row[0] for row in before["vectors"]} - {row[0] for row in all_rows(filled, "vectors")}
    assert gone == {3, 4, 5, 10, 11}
    words = sql(file_of(filled), "SELECT rowid FROM photo_words ORDER BY rowid")
    assert words == sql(file_of(filled), "SELECT id FROM photos ORDER BY id")
    with closing(Store(filled, create=False)) as store:
        assert [(row.active, row.golden) for row in store.pipelines()] == [(True, None)]
    again = upkeep.repair(filled)
    assert (again.before, again.mended) == (None, [])


def test_where_nothing_can_be_saved_all_stays(filled):
    content = b"no database at all" * 1000
    file_of(filled).write_bytes(content)
    refused(upkeep.repair, filled, words="restore a backup")
    assert file_of(filled).read_bytes() == content
    assert not [path for path in filled.iterdir() if path.is_dir()]
    refused(upkeep.repair, filled.parent / "absent", words="no photo library")


@pytest.fixture
def switched(tmp_path, folder, models):
    """A library that was switched from one model to another."""
    for seed in range(5):
        write(folder / f"{seed}.jpg", picture(seed))
    with Library.open(tmp_path / "library", create=True, loader=models) as opened:
        run(opened, folder)
        run(opened, folder, model="test/light")
        yield opened


def states(store: Store) -> list[tuple]:
    return [(row.name, row.vectors, row.complete, row.active) for row in upkeep.models(store)]


def test_models_are_listed_and_the_earlier_one_answers_again(switched):
    store = switched._store
    assert states(store) == [("sensorium/mini-clip", 5, True, False), ("test/light", 5, True, True)]
    light = answers(switched)
    assert store.rollback().model == "sensorium/mini-clip"
    assert states(store) == [("sensorium/mini-clip", 5, True, True), ("test/light", 5, True, False)]
    assert answers(switched) != light
    assert store.rollback().model == "test/light"
    assert answers(switched) == light


def test_a_model_that_does_not_answer_can_be_dropped(switched):
    store = switched._store
    before = answers(switched)
    refused(upkeep.drop, store, "test/light", words="answers searches")
    refused(upkeep.drop, store, "test/other", words="it has those of sensorium/mini-clip, test/light")
    gone = upkeep.drop(store, "sensorium/mini-clip")
    assert (gone.name, gone.vectors) == ("sensorium/mini-clip", 5)
    assert states(store) == [("test/light", 5, True, True)]
    assert answers(switched) == before
    refused(store.rollback, words="no earlier model")
    assert wrong(switched.folder) == []


def test_a_model_can_be_encoded_again(switched, folder, models):
    store = switched._store
    before = answers(switched)
    upkeep.renew(store, "test/light")
    assert states(store)[1][1:] == (0, False, True)
    models("test/light").batches.clear()
    assert run(switched, folder).encoded == 5
    assert answers(switched) == before


def test_models_of_one_name_are_told_apart(filled):
    with closing(Store(filled, create=False)) as store:
        store.add_pipeline(MODEL, "rows-2", 8)
        store.add_pipeline(MODEL, "rows-3", 8)
        refused(upkeep.drop, store, MODEL, words="rows-2, rows-3")
        upkeep.drop(store, "rows-3")
        upkeep.drop(store, MODEL)
        assert [row.pipeline for row in upkeep.models(store)] == ["rows-1"]

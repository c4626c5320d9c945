"""Another model: the old one answers until the new one is complete, and can be taken back."""

import sqlite3

import numpy as np
import pytest
from photo_fakes import LightEncoder, picture, run, vectors, write

from sensorium.errors import LibraryError
from sensorium.photos.database import schema


@pytest.fixture
def filled(library, folder):
    for seed in range(70):
        write(folder / f"{seed:03}.jpg", picture(seed, (24, 24)))
    run(library, folder)
    return library


def active(library) -> str:
    return library._store.active_pipeline().model


def interrupt_switch(library, folder) -> None:
    """Begin to switch to another model and stop after the first batch."""
    events = library.index([folder], workers=1, model="test/light")
    while not hasattr(next(events), "done"):
        pass
    events.close()


def test_an_interrupted_switch_lets_the_old_model_go_on(filled, folder, models):
    light: LightEncoder = models("test/light")
    kept = vectors(filled)
    interrupt_switch(filled, folder)
    assert active(filled) == "sensorium/mini-clip"
    assert light.encoded == 32
    write(folder / "new.jpg", picture(100))
    report = run(filled)  # names no model: what answers is brought up to date
    assert (report.model, report.encoded, report.waiting) == ("sensorium/mini-clip", 1, 0)
    assert report.unfinished == [("test/light", 39)]
    assert light.encoded == 32
    now = vectors(filled)
    assert len(now) == 71
    assert all(np.array_equal(now[path], vector) for path, vector in kept.items())
    report = run(filled, model="test/light")  # goes on where it was
    assert (report.encoded, report.answering, report.unfinished) == (39, "test/light", [])
    assert {len(vector) for vector in vectors(filled).values()} == {light.dim}


def test_a_search_sees_one_model_or_the_other_at_every_moment(filled, folder, models):
    seen = []
    for _ in filled.index([folder], workers=1, model="test/light"):
        store = filled._store
        pipeline = store.active_pipeline()
        ids, matrix = store.vectors(pipeline)
        seen.append((pipeline.model, len(ids), matrix.shape[1]))
    assert seen[0] == ("sensorium/mini-clip", 70, 48)
    assert seen[-1] == ("test/light", 70, 16)
    assert set(seen) == {seen[0], seen[-1]}


def test_rollback_and_back_again(filled, folder, models):
    kept = vectors(filled)
    with pytest.raises(LibraryError, match="no earlier model") as caught:
        filled._store.rollback()
    assert "\n" not in str(caught.value)
    run(filled, model="test/light")
    generation = filled._store.vectors_generation()
    assert filled._store.rollback().model == "sensorium/mini-clip"
    assert filled._store.vectors_generation() > generation
    assert active(filled) == "sensorium/mini-clip"
    assert all(np.array_equal(vector, kept[path]) for path, vector in vectors(filled).items())
    write(folder / "new.jpg", picture(100))
    assert run(filled).encoded == 1  # with the model that answers
    assert filled._store.rollback().model == "test/light"
    report = run(filled)
    assert (report.model, report.encoded, report.waiting) == ("test/light", 1, 0)


def test_there_is_exactly_one_model_that_answers(filled, folder):
    interrupt_switch(filled, folder)
    for model in ("test/light", "sensorium/mini-clip", "test/light"):
        run(filled, model=model)
        assert active(filled) == model
        with sqlite3.connect(filled.folder / schema.FILE_NAME) as connection:
            assert connection.execute("SELECT count(*) FROM pipelines WHERE active").fetchone() == (1,)
    assert [pipeline.complete for pipeline in filled._store.pipelines()] == [True, True]


def test_a_replaced_model_leads_nowhere_back(filled, models):
    models("test/colours").pipeline = "colours-2"
    assert run(filled).encoded == 70
    with pytest.raises(LibraryError, match="no earlier model"):
        filled._store.rollback()


def test_a_switch_waits_for_offline_photos_and_failures_do_not_hold_it_up(filled, folder, tmp_path):
    (folder / "bad.jpg").write_bytes(b"not a picture")
    other = tmp_path / "other"
    write(other / "far.jpg", picture(90))
    run(filled, folder, other)
    other.rename(tmp_path / "unplugged")
    report = run(filled, model="test/light")
    assert (report.encoded, report.waiting, report.answering) == (70, 1, "sensorium/mini-clip")
    assert report.unfinished == [("test/light", 1)]
    (tmp_path / "unplugged").rename(other)
    report = run(filled, model="test/light")
    assert (report.encoded, report.waiting, report.answering) == (1, 0, "test/light")
    assert [failure.path.rpartition("/")[2] for failure in filled.status().failed] == ["bad.jpg"]

"""Originals by id: found, inside the library's folders only, whatever links and names do."""

from __future__ import annotations

import os
import pickle
from dataclasses import replace

import pytest
from photo_fakes import Models, plain, run, write

from sensorium.photos.files import originals
from sensorium.photos.files.originals import OriginalError, open_original, original_of
from sensorium.photos.health import failures, roots
from sensorium.photos.library import Library


@pytest.fixture
def library(tmp_path):
    for name in ("red", "green"):
        write(tmp_path / "pictures" / "deep" / f"{name}.jpg", plain(name))
    (tmp_path / "pictures" / "bad.jpg").write_bytes(b"no picture")
    with Library.open(tmp_path / "library", create=True, loader=Models()) as opened:
        run(opened, tmp_path / "pictures")
        yield opened


def original(library, name: str = "red.jpg"):
    ids = library.browse.grid().ids.tolist()
    return next(one for one in (original_of(library.store, photo) for photo in ids) if one.name == name)


def fault(one) -> str:
    with pytest.raises(OriginalError) as caught, open_original(one):
        pass
    assert "\n" not in str(caught.value)
    copied = pickle.loads(pickle.dumps(caught.value))  # it comes from another process at times
    assert (copied.fault, str(copied)) == (caught.value.fault, str(caught.value))
    return caught.value.fault


def test_an_original_is_read(library, tmp_path) -> None:
    one = original(library)
    with open_original(one) as file:
        assert file.read() == (tmp_path / "pictures" / "deep" / "red.jpg").read_bytes()
    assert original_of(library.store, 4711) is None


def test_links_that_lead_out_are_not_followed(library, tmp_path) -> None:
    write(tmp_path / "outside" / "red.jpg", plain("red"))
    deep = tmp_path / "pictures" / "deep"
    one = original(library)
    (deep / "red.jpg").unlink()
    (deep / "red.jpg").symlink_to(tmp_path / "outside" / "red.jpg")
    assert fault(one) == "outside"
    (deep / "red.jpg").unlink()
    (deep / "red.jpg").symlink_to("red.jpg")
    assert fault(one) == "unreadable"  # a loop
    (deep / "red.jpg").unlink()
    (deep / "green.jpg").unlink()
    deep.rmdir()
    deep.symlink_to(tmp_path / "outside")
    assert fault(one) == "outside"
    assert fault(replace(one, path="../outside/red.jpg")) == "outside"


def test_a_folder_exchanged_at_the_last_moment_is_not_followed(library, tmp_path, monkeypatch) -> None:
    """Between resolving and opening, someone puts a link in the place of a folder."""
    write(tmp_path / "outside" / "red.jpg", plain("green"))
    one = original(library)
    inside = originals._inside

    def exchange(real: str, asked):
        found = inside(real, asked)
        (tmp_path / "pictures" / "deep").rename(tmp_path / "pictures" / "old")
        (tmp_path / "pictures" / "deep").symlink_to(tmp_path / "outside")
        return found

    monkeypatch.setattr(originals, "_inside", exchange)
    assert fault(one) in ("unreadable", "gone")


def test_what_is_gone_offline_or_no_file(library, tmp_path) -> None:
    red, green = original(library), original(library, "green.jpg")
    (tmp_path / "pictures" / "deep" / "red.jpg").unlink()
    assert fault(red) == "gone"
    os.mkfifo(tmp_path / "pictures" / "deep" / "red.jpg")
    assert fault(red) == "unreadable"
    (tmp_path / "pictures").rename(tmp_path / "away")
    assert fault(green) == "offline"


def test_a_link_inside_the_folders_is_fine(library, tmp_path) -> None:
    one = original(library)
    red = tmp_path / "pictures" / "deep" / "red.jpg"
    red.rename(tmp_path / "pictures" / "moved.jpg")
    red.symlink_to(tmp_path / "pictures" / "moved.jpg")
    with open_original(one) as file:
        assert file.read(2) == b"\xff\xd8"


def test_failures_are_listed_and_forgotten(library, tmp_path) -> None:
    (one,) = failures.listed(library.store)
    assert (one.path, one.passing, one.root) == ("bad.jpg", False, str(tmp_path / "pictures"))
    assert failures.count(library.store) == 1
    assert failures.listed(library.store, 1, 1) == []
    assert failures.forget(library.store, [one.id + 1]) == 0
    assert run(library).failed_before == 1
    assert failures.forget(library.store, [one.id]) == 1
    assert len(run(library).failed) == 1
    assert failures.forget(library.store) == 1


def test_a_folder_let_go_leaves_nothing_behind(library, tmp_path) -> None:
    write(tmp_path / "other" / "blue.jpg", plain("blue"))
    run(library, tmp_path / "other")
    first, second = library.store.roots()
    assert roots.let_go(library.store, first.id) == 2
    assert library.store.roots() == [second]
    assert failures.count(library.store) == 0
    assert [hit.path.name for hit in library.search("blue", everything=True)] == ["blue.jpg"]
    with library.store.reading() as connection:
        left = connection.exec_driver_sql("SELECT count(*) FROM photo_words").scalar()
    assert left == 1
    assert run(library, tmp_path / "pictures").encoded == 2  # they come back as new ones

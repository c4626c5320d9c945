"""Folders, disks and clocks as they should not be: each gets one clear line, the rest goes on."""

import os
import sqlite3
import subprocess
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa
from photo_fakes import Models, picture, run, vectors, write

from sensorium import settings
from sensorium.errors import LibraryError
from sensorium.photos.database import schema
from sensorium.photos.intake import indexing
from sensorium.photos.library import Library


@pytest.fixture(autouse=True)
def _whole_afterwards(tmp_path):
    """Whatever happened, the library's file is whole."""
    yield
    file = tmp_path / "library" / schema.FILE_NAME
    if file.exists():
        with sqlite3.connect(file) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            assert connection.execute("PRAGMA foreign_key_check").fetchall() == []


def test_links_in_circles_and_to_nothing(library, folder):
    write(folder / "a" / "1.jpg", picture(1))
    (folder / "a" / "b").symlink_to(folder)
    (folder / "loop").symlink_to(folder / "loop")
    (folder / "self.jpg").symlink_to(folder / "self.jpg")
    (folder / "nowhere.jpg").symlink_to(folder / "missing.jpg")
    (folder / "a" / "1.xmp").symlink_to(folder / "a" / "1.xmp")
    report = run(library, folder)
    assert (report.encoded, report.failed, report.unreadable) == (1, [], [])
    assert run(library, folder).unchanged == 1


def test_a_pipe_a_folder_and_a_device_named_like_photos_block_nothing(library, folder):
    os.mkfifo(folder / "pipe.jpg")
    os.mkfifo(folder / "pipe.xmp")
    (folder / "folder.jpg").mkdir()
    (folder / "zero.jpg").symlink_to("/dev/zero")
    write(folder / "a.jpg", picture(1))
    assert run(library, folder).encoded == 1


def test_sidecars_of_any_name_move_with_photos_of_any_name(library, folder):
    base = os.fsdecode(b"caf\xe9\n\xff")
    write(f"{folder}/{base}.jpg", picture(1))
    Path(f"{folder}/{base}.xmp").write_text("<x/>")
    run(library, folder)
    Path(f"{folder}/{base}.jpg").rename(f"{folder}/{base}2.jpg")
    Path(f"{folder}/{base}.xmp").rename(f"{folder}/{base}2.xmp")
    report = run(library, folder)
    assert (report.moved, report.encoded) == (1, 0)
    with library._store.reading() as connection:
        assert connection.execute(sa.select(schema.companions.c.path)).all() == [(f"{base}2.xmp",)]


def test_a_folder_that_turns_unreadable_hides_nothing_that_it_held(library, folder, monkeypatch):
    """Not even when a photo of the same content turns up elsewhere meanwhile."""
    write(folder / "shut" / "a.jpg", picture(1))
    write(folder / "b.jpg", picture(2))
    run(library, folder)
    shut, scandir, stat = str(folder / "shut"), os.scandir, os.stat

    def refuse(path):
        if path == shut:
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    def refuse_inside(path, *arguments, **options):
        if isinstance(path, str) and path.startswith(shut + "/"):
            raise PermissionError(13, "Permission denied")
        return stat(path, *arguments, **options)

    monkeypatch.setattr(os, "scandir", refuse)
    monkeypatch.setattr(os, "stat", refuse_inside)
    write(folder / "copy.jpg", picture(1))
    report = run(library, folder)
    assert (report.moved, report.reused, report.gone, len(report.unreadable)) == (0, 1, 0, 1)
    monkeypatch.undo()
    assert run(library, folder).unchanged == 3


def test_a_file_that_is_being_written_is_taken_when_it_is_whole(library, folder):
    write(folder / "whole.jpg", picture(1, (400, 300)))
    content = (folder / "whole.jpg").read_bytes()
    (folder / "copying.jpg").write_bytes(content[: len(content) // 2])
    report = run(library, folder)
    assert (report.encoded, len(report.failed)) == (1, 1)
    (folder / "copying.jpg").write_bytes(content)
    report = run(library, folder)
    assert (report.failed, report.reused, report.encoded) == ([], 1, 0)


def test_a_file_that_grows_while_it_is_read_is_tried_again(library, folder):
    """A writer at work all the time: the file is taken whole or refused for now, never half."""
    write(folder / "a.jpg", picture(1))
    path = folder / "growing.jpg"
    write(path, picture(2, (64, 48)))
    stop = threading.Event()

    def grow() -> None:
        with path.open("ab") as file:
            while not stop.wait(0.0005):
                file.write(b"\0")
                file.flush()

    writer = threading.Thread(target=grow)
    writer.start()
    try:
        run(library, folder)
    finally:
        stop.set()
        writer.join()
    report = run(library, folder)
    assert report.failed == []
    assert library.status().failed == []
    assert len(vectors(library)) == 2


@pytest.mark.parametrize("year", [1969, 2200])
def test_a_clock_that_jumps_changes_no_photo(library, folder, monkeypatch, year):
    for seed in range(3):
        write(folder / f"{seed}.jpg", picture(seed))
    os.utime(folder / "1.jpg", (4e9, 4e9))  # a file from the future
    os.utime(folder / "2.jpg", (-1e9, -1e9))  # and one from before 1970
    run(library, folder)
    before = library._store.photos([1, 2, 3])
    monkeypatch.setattr(settings, "now", lambda: datetime(year, 1, 1, tzinfo=UTC))
    report = run(library, folder)
    assert (report.unchanged, report.kept, report.gone) == (3, 0, 0)
    (folder / "0.jpg").rename(folder / "away.jpg")
    assert run(library, folder).moved == 1
    after = library._store.photos([1, 2, 3])
    assert {photo: row.first_seen for photo, row in after.items()} == {
        photo: row.first_seen for photo, row in before.items()
    }


@pytest.mark.parametrize("room", [0, 3])
def test_a_disk_that_fills_up_anywhere_loses_nothing(library, models, folder, room):
    for seed in range(120):
        write(folder / f"{seed:03}.jpg", picture(seed, (24, 24)))
    (folder / "bad.jpg").write_bytes(b"")
    run(library, folder)
    kept = vectors(library)
    for seed in range(120):  # everything moves, and there is as much again
        (folder / f"{seed:03}.jpg").rename(folder / f"m{seed:03}.jpg")
        write(folder / f"{seed:03}.jpg", picture(1000 + seed, (24, 24)))
    engine = library._store._engine
    with engine.connect() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
    engine.dispose()
    most = f"PRAGMA max_page_count = {pages + room}"
    sa.event.listen(engine, "connect", lambda raw, _: raw.execute(most))
    with pytest.raises(LibraryError, match="full") as caught:
        run(library, folder)
    assert "\n" not in str(caught.value)
    library.close()
    with Library.open(library.folder, loader=models) as opened:
        run(opened, folder)
        now = vectors(opened)
        assert len(now) == 240
        assert all((now[f"m{path}"] == vector).all() for path, vector in kept.items())
        assert models("test/colours").encoded <= 240 + indexing.BATCH
        report = run(opened, folder)
        assert (report.unchanged, report.kept) == (240, 0)


# A wrong name leaves nothing behind


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda path: path / "mistyped", "no such folder"),
        (lambda path: (path / "file.txt", (path / "file.txt").write_text("x"))[0], "is a file"),
        (lambda path: path / "library" / "inside", "no such folder"),
        (lambda path: "nul\0byte", "no such folder"),
    ],
)
def test_a_wrong_folder_is_refused_before_a_library_is_made(tmp_path, make, reason):
    with pytest.raises(LibraryError, match=reason) as caught:
        indexing.check_folders([make(tmp_path)], tmp_path / "library")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "library").exists()


def test_folders_are_checked_and_named_in_full(tmp_path, monkeypatch):
    (tmp_path / "a").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "a")
    monkeypatch.chdir(tmp_path)
    assert indexing.check_folders(["a", "link", tmp_path / "a"], "library") == [str(tmp_path / "a")]
    gone = str(tmp_path / "gone")
    assert indexing.check_folders([gone], "library", known=[gone]) == [gone]
    with pytest.raises(LibraryError, match="looks after no folder yet"):
        indexing.check_folders([], "library")
    with pytest.raises(LibraryError, match="own folder"):
        indexing.check_folders(["a"], "a")


def test_a_full_file_system_is_one_line(tmp_path, folder):
    """Not SQLite's own limit: writes to the library's files fail as on a disk that is full."""
    for seed in range(150):
        write(folder / f"{seed:03}.jpg", picture(seed, (24, 24)))
    program = (
        "import resource, signal, sys; sys.path.insert(0, sys.argv[1])\n"
        "from photo_fakes import Models, run\n"
        "from sensorium.errors import LibraryError\n"
        "from sensorium.photos.database import schema\n"
        "from sensorium.photos.library import Library\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "library = Library.open(sys.argv[2], create=True, loader=Models())\n"
        "limit = (library.folder / schema.FILE_NAME).stat().st_size + 60_000\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))\n"
        "try:\n    run(library, sys.argv[3])\n"
        "except LibraryError as error:\n    print(error)\n"
    )
    here = str(Path(__file__).parent)
    command = [sys.executable, "-c", program, here, str(tmp_path / "library"), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.count("\n") == 1
    assert "cannot write to the photo library" in done.stdout
    models = Models()
    with Library.open(tmp_path / "library", loader=models) as library:
        run(library, folder)
        assert len(vectors(library)) == 150

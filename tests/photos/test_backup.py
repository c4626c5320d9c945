"""Backup while indexing, and restore with the same answers."""

from __future__ import annotations

import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import pytest
from filled_library import (
    COUNT,
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
from photo_fakes import Models, picture, run, write

from sensorium.photos.database import schema
from sensorium.photos.database.locks import alone
from sensorium.photos.health import upkeep
from sensorium.photos.library import Library
from sensorium.photos.vectors import cabinet


def test_a_backup_is_one_sound_file_with_every_row(filled, tmp_path):
    target = tmp_path / "out" / "backup.sqlite3"
    target.parent.mkdir()
    saved = upkeep.backup(filled, target)
    assert (saved.path, saved.photos, saved.vectors) == (target, COUNT, COUNT)
    assert saved.bytes == target.stat().st_size
    assert [path.name for path in target.parent.iterdir()] == ["backup.sqlite3"]
    assert sql(target, "PRAGMA integrity_check") == [("ok",)]
    for table in (*schema.metadata.tables, "photo_words", "sqlite_sequence"):
        assert sql(target, f"SELECT * FROM {table} ORDER BY 1, 2") == all_rows(filled, table, "1, 2"), table
    target.parent.chmod(0o500)  # it can be read where nothing can be written, for it needs no log
    try:
        assert sql(target, "SELECT count(*) FROM photos") == [(COUNT,)]
    finally:
        target.parent.chmod(0o700)


def test_a_backup_into_a_folder_is_named_after_the_day(filled, tmp_path, monkeypatch):
    monkeypatch.setenv("SENSORIUM_NOW", "2026-05-01T12:00:00+08:00")
    (tmp_path / "caf\udce9").mkdir()
    saved = upkeep.backup(filled, tmp_path / "caf\udce9")
    assert saved.path.name == "sensorium-library-2026-05-01.sqlite3"
    assert saved.path.parent.name == "caf\udce9"


def test_a_backup_overwrites_only_when_told(filled, tmp_path):
    target = tmp_path / "backup.sqlite3"
    target.write_bytes(b"precious")
    refused(upkeep.backup, filled, target, words="exists")
    assert target.read_bytes() == b"precious"
    upkeep.backup(filled, target, overwrite=True)
    assert sql(target, "SELECT count(*) FROM photos") == [(COUNT,)]
    refused(upkeep.backup, filled, file_of(filled), words="is the library itself", overwrite=True)
    link = tmp_path / "link"
    link.symlink_to(file_of(filled))
    refused(upkeep.backup, filled, link, words="is the library itself", overwrite=True)


def test_a_backup_that_cannot_be(filled, tmp_path, monkeypatch):
    target = tmp_path / "backup.sqlite3"
    refused(upkeep.backup, tmp_path / "absent", target, words="no photo library")
    refused(upkeep.backup, filled, tmp_path / "absent" / "file", words="no such file or directory")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1))
    refused(upkeep.backup, filled, target, words="there is no room")
    assert not target.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["filled"]


FULL = """
import resource, sys
from pathlib import Path
from sensorium.errors import LibraryError
from sensorium.photos.health import upkeep
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
try:
    getattr(upkeep, sys.argv[1])(Path(sys.argv[2]), Path(sys.argv[3]))
except LibraryError as error:
    print(error)
    sys.exit(2)
"""


def fails_to_write(*arguments) -> str:
    done = subprocess.run(
        [sys.executable, "-c", FULL, *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (2, "")
    assert len(done.stdout.splitlines()) == 1
    return done.stdout


def test_a_disk_that_fills_up_leaves_no_half_file(filled, tmp_path):
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY
    target = tmp_path / "out" / "backup.sqlite3"
    target.parent.mkdir()
    assert "cannot write the backup" in fails_to_write("backup", filled, target)
    assert list(target.parent.iterdir()) == []
    upkeep.backup(filled, target)
    before = bytes_below(target.parent)
    assert "cannot restore into" in fails_to_write("restore", target, tmp_path / "restored")
    assert not file_of(tmp_path / "restored").exists()
    assert bytes_below(tmp_path / "restored") == {}
    assert bytes_below(target.parent) == before


def test_a_damaged_library_is_not_backed_up_as_if_it_were_sound(filled, tmp_path):
    spoil(filled, pages_of(filled, "photos")[3:5])
    target = tmp_path / "backup.sqlite3"
    refused(upkeep.backup, filled, target, words="is damaged .*sensorium library repair")
    assert not target.exists()


def test_a_library_of_a_newer_sensorium_can_be_saved_but_not_restored(filled, tmp_path):
    sql(file_of(filled), "UPDATE alembic_version SET version_num = '9999'")
    target = tmp_path / "backup.sqlite3"
    assert upkeep.backup(filled, target).photos == COUNT
    refused(upkeep.restore, target, tmp_path / "restored", words="newer Sensorium")
    assert not (tmp_path / "restored").exists()
    refused(upkeep.repair, filled, words="newer Sensorium")


INDEXING = """
import sys, time
sys.path.insert(0, {here!r})
from photo_fakes import Models
from sensorium.photos.library import Library
models = Models()
embed = models("test/colours").embed_pixels
def slowly(pixels):
    time.sleep(0.05)
    return embed(pixels)
models("test/colours").embed_pixels = slowly
for event in Library.open({library!r}, create=True, loader=models).index([{folder!r}], workers=1):
    pass
"""


def test_backups_while_another_process_indexes(tmp_path, folder):
    for seed in range(300):
        write(folder / f"{seed:03}.jpg", picture(seed, (48, 48)))
    library = tmp_path / "library"
    program = INDEXING.format(here=str(Path(__file__).parent), library=str(library), folder=str(folder))
    indexer = subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.PIPE)
    counts = []
    try:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and indexer.poll() is None:
            if file_of(library).exists() and _photos(library):
                target = tmp_path / f"{len(counts)}.sqlite3"
                saved = upkeep.backup(library, target)
                assert saved.photos == saved.vectors  # a batch is there with its vectors, or not at all
                assert saved.photos % 32 in (0, 300 % 32)
                counts.append(saved.photos)
            time.sleep(0.02)
    finally:
        _, errors = indexer.communicate(timeout=60)
    assert (indexer.returncode, errors) == (0, b"")
    assert counts == sorted(counts)
    assert counts[0] < 300
    restored = tmp_path / "restored"
    upkeep.restore(tmp_path / "0.sqlite3", restored)
    with Library.open(restored, loader=Models()) as opened:
        report = run(opened, folder)
        assert (report.encoded, report.unchanged) == (300 - counts[0], counts[0])
    assert wrong(restored) == []


def _photos(library: Path) -> int:
    try:
        return sql(file_of(library), "SELECT count(*) FROM photos")[0][0]
    except sqlite3.OperationalError:
        return 0


def test_a_restored_library_gives_the_sameanswers(tmp_path, folder, models):
    for seed in range(60):
        write(folder / f"{seed:02}.jpg", picture(seed))
    with Library.open(tmp_path / "library", create=True, loader=models) as opened:
        run(opened, folder)
        before = answers(opened)
        upkeep.backup(opened.folder, tmp_path / "backup.sqlite3")
        (folder / "00.jpg").unlink()
        run(opened, folder)
        assert answers(opened) != before
    saved = upkeep.restore(tmp_path / "backup.sqlite3", tmp_path / "new")
    assert (saved.photos, saved.vectors) == (60, 60)
    with Library.open(tmp_path / "new", loader=models) as opened:
        assert answers(opened) == before
        upkeep.restore(tmp_path / "backup.sqlite3", tmp_path / "library", force=True)
        assert run(opened, folder).encoded == 0
    with Library.open(tmp_path / "library", loader=models) as opened:
        assert answers(opened) == before


def test_restore_replaces_only_by_force_and_forgets_copies(filled, tmp_path):
    target = tmp_path / "backup.sqlite3"
    upkeep.backup(filled, target)
    sql(file_of(filled), "DELETE FROM photos WHERE id > 10")
    before = bytes_below(filled)
    refused(upkeep.restore, target, filled, words="--force")
    assert {name: content for name, content in bytes_below(filled).items() if content} == before
    (filled / cabinet.FOLDER).mkdir()
    (filled / cabinet.FOLDER / "1.manifest").write_bytes(b"of what was there")
    generations = sql(file_of(target.parent / "filled"), "SELECT generation, vectors_generation FROM library")
    upkeep.restore(target, filled, force=True)
    assert len(all_rows(filled, "photos")) == COUNT
    assert list((filled / cabinet.FOLDER).iterdir()) == []
    left = {path.name for path in filled.iterdir()}
    assert left <= {
        schema.FILE_NAME,
        "library.sqlite3-wal",
        "library.sqlite3-shm",
        "index.lock",
        "describe.lock",
        cabinet.FOLDER,
    }
    after = sql(file_of(filled), "SELECT generation, vectors_generation FROM library")
    assert all(new > old + 1000 for new, old in zip(after[0], generations[0], strict=True))


def test_the_log_of_the_replaced_library_is_not_replayed_into_the_new_one(filled, tmp_path):
    target = tmp_path / "backup.sqlite3"
    upkeep.backup(filled, target)
    with closing(sqlite3.connect(file_of(filled), isolation_level=None)) as writer:
        writer.execute("PRAGMA wal_autocheckpoint = 0")
        writer.execute("UPDATE photos SET caption = 'after the backup'")
        killed = copy_of(filled, tmp_path / "killed")  # as a kill leaves it: with its log
    upkeep.restore(target, killed, force=True)
    assert not any("after the backup" in row for row in all_rows(killed, "photos"))
    assert all_rows(killed, "photos") == sql(target, "SELECT * FROM photos")
    assert wrong(killed) == []


def test_a_restore_that_fails_leaves_the_old_library(filled, tmp_path, monkeypatch):
    target = tmp_path / "backup.sqlite3"
    upkeep.backup(filled, target)
    before = all_rows(filled, "photos")
    original = Path.replace

    def fail(self, to):
        if self.name == schema.FILE_NAME and Path(to).parent == filled and ".restore-" in str(self):
            raise OSError(5, "Input/output error")
        return original(self, to)

    monkeypatch.setattr(Path, "replace", fail)
    refused(upkeep.restore, target, filled, words="input/output error", force=True)
    monkeypatch.undo()
    assert all_rows(filled, "photos") == before
    assert not [path for path in filled.iterdir() if "restore" in path.name or "replaced" in path.name]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "no photo library"),
        (b"words " * 1000, "not a database"),
        (b"SQLite format 3\0" + bytes(9000), "no sound photo library"),
    ],
)
def test_what_is_no_backup_is_refused(tmp_path, content, words):
    (tmp_path / "file").write_bytes(content)
    refused(upkeep.restore, tmp_path / "file", tmp_path / "new", words=words)
    refused(upkeep.restore, tmp_path / "absent", tmp_path / "new", words="no such backup")
    assert not (tmp_path / "new").exists()


def test_a_damaged_or_foreign_backup_is_refused(filled, tmp_path):
    target = tmp_path / "backup.sqlite3"
    upkeep.backup(filled, target)
    with target.open("r+b") as file:
        file.seek(20 * 4096)
        file.write(b"\xa5" * 8192)
    refused(upkeep.restore, target, tmp_path / "new", words="no sound photo library")
    sql(tmp_path / "other.sqlite3", "CREATE TABLE t (a)")
    refused(upkeep.restore, tmp_path / "other.sqlite3", tmp_path / "new", words="holds no photo library")
    refused(upkeep.restore, file_of(filled), filled, words="is the library itself", force=True)


def test_a_backup_of_an_older_revision_is_brought_up_to_date(tmp_path):
    from alembic import command
    from alembic.config import Config

    (tmp_path / "old").mkdir()
    engine = schema.connect(file_of(tmp_path / "old"))
    config = Config()
    config.set_main_option("script_location", str(Path(schema.__file__).parent / "migrations"))
    with schema.writing(engine) as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        connection.exec_driver_sql("INSERT INTO roots (id, path, added_at) VALUES (1, X'2F61', 0)")
    engine.dispose()
    target = tmp_path / "backup.sqlite3"
    upkeep.backup(tmp_path / "old", target)
    assert sql(target, "SELECT version_num FROM alembic_version") == [("0001",)]
    upkeep.restore(target, tmp_path / "new")
    assert all_rows(tmp_path / "new", "alembic_version") == [(schema.HEAD,)]
    assert [row[:2] for row in all_rows(tmp_path / "new", "roots")] == [(1, b"/a")]


def test_nothing_is_replaced_or_repaired_under_an_indexer(filled, tmp_path):
    target = tmp_path / "backup.sqlite3"
    with alone(filled):
        upkeep.backup(filled, target)
        refused(upkeep.restore, target, filled, words="at work", force=True)
        refused(upkeep.repair, filled, words="at work")


class _Interrupted:
    """A connection during whose work Ctrl-C is pressed."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection

    def __getattr__(self, name: str):
        return getattr(self.connection, name)

    def set_progress_handler(self, handler, steps: int) -> None:
        self.connection.set_progress_handler(lambda: signal.raise_signal(signal.SIGINT) or handler(), 100)


def test_an_interruption_leaves_nothing(filled, tmp_path, monkeypatch):
    target = tmp_path / "out" / "backup.sqlite3"
    target.parent.mkdir()
    original = upkeep.open_to_read
    monkeypatch.setattr(upkeep, "open_to_read", lambda file: _Interrupted(original(file)))
    with pytest.raises(KeyboardInterrupt):
        upkeep.backup(filled, target)
    assert list(target.parent.iterdir()) == []

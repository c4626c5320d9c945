"""Kills, crashes, second indexers, versions: what must never lose or double a photo."""

import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
import sqlalchemy as sa
from photo_fakes import Models, picture, run, vectors, write

from sensorium.errors import LibraryError
from sensorium.photos.database import schema
from sensorium.photos.intake import pool
from sensorium.photos.library import Library

SLOW = """
import sys, time
sys.path.insert(0, {here!r})
from photo_fakes import Models
from sensorium.photos.library import Library
models = Models()
encoder = models("test/colours")
embed = encoder.embed_pixels
def slowly(pixels):
    time.sleep(0.4)
    return embed(pixels)
encoder.embed_pixels = slowly
for event in Library.open({library!r}, create=True, loader=models).index([{folder!r}], workers=2):
    pass
print(encoder.encoded)
"""


def start_slow(library: Path, folder: Path) -> subprocess.Popen:
    program = SLOW.format(here=str(Path(__file__).parent), library=str(library), folder=str(folder))
    return subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)


def wait_for_photos(library: Path, count: int) -> None:
    """Wait until at least so many photos are committed."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if kept(library) >= count:
            return
        time.sleep(0.02)
    raise AssertionError("the indexer keeps nothing")


def kept(library: Path) -> int:
    file = library / schema.FILE_NAME
    if not file.exists():
        return 0
    with sqlite3.connect(file, timeout=10) as connection:
        try:
            return connection.execute("SELECT count(*) FROM photos").fetchone()[0]
        except sqlite3.OperationalError:
            return 0


def test_a_second_indexer_is_refused_and_searching_goes_on(tmp_path, folder, models):
    for seed in range(100):
        write(folder / f"{seed:03}.jpg", picture(seed, (48, 48)))
    library = tmp_path / "library"
    indexer = start_slow(library, folder)
    try:
        wait_for_photos(library, 1)
        with Library.open(library, loader=models) as opened:
            with pytest.raises(LibraryError, match="another `sensorium index` is at work"):
                run(opened, folder)
            assert opened.search("red", 1, everything=True)
    finally:
        output, _ = indexer.communicate(timeout=60)
    assert output.strip() == b"100"


def test_an_abandoned_run_keeps_its_batches_and_lets_the_next_one_in(library, models, folder):
    for seed in range(100):
        write(folder / f"{seed:03}.jpg", picture(seed, (48, 48)))
    events = library.index([folder], workers=2)
    while not hasattr(event := next(events), "done"):
        pass
    events.close()
    assert event.done == 32
    assert len(vectors(library)) == 32
    assert run(library, folder).encoded == 68


CRASHING = """
import os, signal, sys, time
sys.path[:] = sys.argv[1:]
from sensorium.photos.intake import worker
read = worker.read
def crash(task, spec):
    name = task.path
    once = os.path.join(task.root, name + ".tried")
    if "segfault" in name: os.kill(os.getpid(), signal.SIGSEGV)
    if "memory" in name: os.kill(os.getpid(), signal.SIGKILL)
    if "bug" in name: raise KeyError("our own")
    if "hang" in name: time.sleep(60)
    if "once" in name and not os.path.exists(once):
        open(once, "w").close()
        os._exit(3)
    return read(task, spec)
worker.read = crash
worker.main()
"""


def test_a_dying_reader_costs_only_its_file(library, folder, monkeypatch):
    monkeypatch.setattr(pool, "_PROGRAM", CRASHING)
    monkeypatch.setattr(pool.Pool.__init__, "__kwdefaults__", {"waiting": 64, "seconds": 1.0})
    for seed in range(60):
        write(folder / f"{seed:03}.jpg", picture(seed, (48, 48)))
    for name in ("010-segfault", "020-memory", "030-bug", "040-hang", "050-once"):
        write(folder / f"{name}.jpg", picture(99))
    report = run(library, folder)
    reasons = {Path(failure.path).stem[4:]: failure.reason for failure in report.failed}
    assert report.encoded == 61
    assert set(reasons) == {"segfault", "memory", "bug", "hang"}
    assert reasons["segfault"].startswith("the decoder crashed")
    assert "memory" in reasons["memory"]
    assert reasons["bug"] == "the reading process failed: KeyError: 'our own'"
    assert reasons["hang"] == "reading it took more than 1 seconds"


def test_a_newer_library_is_refused_kindly(library, models):
    with sqlite3.connect(library.folder / schema.FILE_NAME) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(LibraryError, match="newer Sensorium") as caught:
        Library.open(library.folder, loader=models)
    assert "\n" not in str(caught.value)


def test_no_library_and_no_database(tmp_path):
    with pytest.raises(LibraryError, match="no photo library"):
        Library.open(tmp_path / "absent")
    assert not (tmp_path / "absent").exists()
    (tmp_path / schema.FILE_NAME).write_bytes(b"this is no database" * 100)
    with pytest.raises(LibraryError, match="cannot open the photo library"):
        Library.open(tmp_path)


def test_the_steps_lead_to_the_tables_that_the_code_declares(library):
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext
    from alembic.script import ScriptDirectory

    engine = schema.connect(library.folder / schema.FILE_NAME)
    with engine.connect() as connection:
        words = schema.photo_words.name  # FTS5 keeps tables of its own beside it
        ours = {"compare_type": True, "include_name": lambda name, *_: not (name or "").startswith(words)}
        context = MigrationContext.configure(connection, opts=ours)
        assert compare_metadata(context, schema.metadata) == []
    engine.dispose()
    script = ScriptDirectory(str(Path(schema.__file__).parent / "migrations"))
    assert tuple(step.revision for step in script.walk_revisions())[::-1] == schema.REVISIONS
    assert script.get_current_head() == schema.HEAD


def test_alembic_is_imported_only_for_a_step(library):
    program = (
        "import sys; from sensorium.photos.library import Library; "
        "Library.open(sys.argv[1]).status(); "
        "print([name for name in ('alembic', 'torch', 'faiss', 'filelock') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(library.folder)], capture_output=True, check=True, text=True
    )
    assert done.stdout.strip() == "[]"


def test_settings_of_the_file(library):
    engine = schema.connect(library.folder / schema.FILE_NAME)
    with engine.connect() as connection:
        values = [
            connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys")
        ]
    engine.dispose()
    assert values == ["wal", 1, 1]


def test_a_failed_batch_leaves_nothing_behind(library, folder, models, monkeypatch):
    write(folder / "a.jpg", picture(1))
    encoder = models("test/colours")

    def stop(pixels):
        raise KeyboardInterrupt

    monkeypatch.setattr(encoder, "embed_pixels", stop)
    with pytest.raises(KeyboardInterrupt):
        run(library, folder)
    engine = schema.connect(library.folder / schema.FILE_NAME)
    with engine.connect() as connection:
        counts = [
            connection.execute(sa.select(sa.func.count()).select_from(table)).scalar()
            for table in (schema.photos, schema.vectors, schema.failures)
        ]
    engine.dispose()
    assert counts == [0, 0, 0]
    assert (folder / "a.jpg").exists()


def test_readers_end_with_the_indexer(tmp_path, folder):
    write(folder / "a.jpg", picture(1))
    indexer = start_slow(tmp_path / "library", folder)
    children: set[int] = set()
    deadline = time.monotonic() + 20
    while not children and time.monotonic() < deadline:
        children = _children(indexer.pid)
        time.sleep(0.005)
    indexer.send_signal(signal.SIGKILL)
    indexer.wait()
    assert children
    deadline = time.monotonic() + 10
    while any(_alive(child) for child in children) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not any(_alive(child) for child in children)


def _children(process: int) -> set[int]:
    file = Path(f"/proc/{process}/task/{process}/children")
    parts = [path.read_text() for path in file.parents[1].glob("*/children")] if file.exists() else []
    return {int(child) for part in parts for child in part.split()}


def _alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_full_disk_is_one_line_and_loses_nothing(library, folder):
    for seed in range(100):
        write(folder / f"{seed:03}.jpg", picture(seed, (48, 48)))
    engine = library._store._engine
    with engine.connect() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
    engine.dispose()
    sa.event.listen(engine, "connect", lambda raw, _: raw.execute(f"PRAGMA max_page_count = {pages + 3}"))
    with pytest.raises(LibraryError, match="full") as caught:
        run(library, folder)
    assert "\n" not in str(caught.value)
    library.close()
    kept_before = kept(library.folder)
    assert 0 < kept_before < 100
    with Library.open(library.folder, loader=Models()) as opened:
        report = run(opened, folder)
        assert (report.unchanged, report.encoded) == (kept_before, 100 - kept_before)
        assert len(vectors(opened)) == 100

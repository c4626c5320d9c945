"""The library at full size: killed again and again, with bad files between good ones, and moved house."""

import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa
from photo_fakes import Models, picture, run, vectors, write

import sensorium
from sensorium.photos.database import schema
from sensorium.photos.database.store import Store
from sensorium.photos.intake import indexing
from sensorium.photos.intake.indexing import BATCH
from sensorium.photos.library import Library

# Encodes with the fake model of the tests, a little slowly, and writes down how many pictures it encoded
# before each batch is kept: what a killed process did cannot be asked of it.
INDEXER = """
import sys, time
sys.path.insert(0, {here!r})
from photo_fakes import Models
from sensorium.photos.database.store import Store
from sensorium.photos.intake import indexing
encoder = Models()("test/colours")
embed = encoder.embed_pixels
def counted(pixels):
    before = sum(encoder.batches)
    vectors = embed(pixels)
    time.sleep({pause})
    with open({log!r}, "a") as log:
        log.write(f"{{sum(encoder.batches) - before}}\\n")  # the golden picture is no photo
    return vectors
encoder.embed_pixels = counted
store = Store({library!r}, create=True)
for event in indexing.index(store, [{folder!r}], encoder, model="test/colours", workers=2):
    pass
"""


class Indexer:
    """An indexer in a process of its own."""

    def __init__(self, library: Path, folder: Path, log: Path, pause: float) -> None:
        self.library = library
        self.log = log
        names = {
            "library": library,
            "folder": str(folder),
            "log": str(log),
            "here": str(Path(__file__).parent),
        }
        program = "from pathlib import PosixPath, WindowsPath\n" + INDEXER.format(**names, pause=pause)
        self.process = subprocess.Popen([sys.executable, "-c", program])

    def kept(self) -> int:
        file = self.library / schema.FILE_NAME
        if not file.exists():
            return 0
        connection = sqlite3.connect(file, timeout=10)
        try:
            return connection.execute("SELECT count(*) FROM photos").fetchone()[0]
        except sqlite3.OperationalError:  # it is being created
            return 0
        finally:
            connection.close()

    def encoded(self) -> int:
        return sum(int(line) for line in self.log.read_text().split()) if self.log.exists() else 0

    def kill_after(self, count: int, delay: float) -> None:
        """Kill it ``delay`` seconds after it has kept so many photos."""
        deadline = time.monotonic() + 120
        while self.kept() < count:
            assert self.process.poll() is None, "the indexer ended by itself"
            assert time.monotonic() < deadline, "the indexer keeps nothing"
            time.sleep(0.01)
        time.sleep(delay)
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


class Reader:
    """A search that is asked again and again, in a thread of this process; its answers are checked."""

    def __init__(self, library: Path) -> None:
        self.library = library
        self.answers: list[int] = []
        self.error: BaseException | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._ask)

    def __enter__(self) -> "Reader":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _ask(self) -> None:
        try:
            with Library.open(self.library, loader=Models()) as opened:
                store = opened._store
                while not self._stop.is_set():
                    found = opened.search("red", 5000, everything=True)
                    ids = [hit.path for hit in found]
                    assert len(ids) == len(set(ids))
                    assert len(ids) <= store.count_photos(store.active_pipeline().id)[1]
                    self.answers.append(len(ids))
                    time.sleep(0.02)
        except BaseException as error:
            self.error = error


@pytest.mark.parametrize(("count", "pause"), [(250, 0.03), pytest.param(2000, 0.2, marks=pytest.mark.slow)])
def test_killed_at_three_random_points_each_photo_is_there_once(tmp_path, folder, count, pause):
    for seed in range(count):
        write(folder / f"{seed % 7}" / f"{seed:04}.jpg", picture(seed, (16, 16)))
    library, log = tmp_path / "library", tmp_path / "encoded"
    chance = random.Random(20260101)
    first = Indexer(library, folder, log, pause)
    points = sorted(chance.sample(range(BATCH, count - 3 * BATCH), 3))
    kills = 0
    for point in points:
        indexer = first if kills == 0 else Indexer(library, folder, log, pause)
        if kills == 0:
            indexer.kill_after(max(point, 1), chance.uniform(0, pause))
        else:
            with Reader(library) as reader:
                indexer.kill_after(max(point, indexer.kept() + 1), chance.uniform(0, pause))
            assert reader.error is None
            assert reader.answers
            assert reader.answers == sorted(reader.answers)
        kills += 1
        assert indexer.encoded() - indexer.kept() <= kills * BATCH
    with Reader(library) as reader:
        last = Indexer(library, folder, log, pause)
        assert last.process.wait(300) == 0
    assert reader.error is None
    assert last.encoded() - count <= kills * BATCH
    with Library.open(library, loader=Models()) as opened:
        found = [hit.path for hit in opened.search("red", 5000, everything=True)]
        assert sorted(found) == sorted(folder.rglob("*.jpg"))
        assert len(vectors(opened)) == len(found) == count
    with sqlite3.connect(library / schema.FILE_NAME) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []


def spoil(path: Path, good: bytes, how: int) -> None:
    """Write one of eight kinds of bad file."""
    half = len(good) // 2
    contents = [
        b"",
        good[:half],
        b"text, no picture\n" * 20,
        b"\xff\xd8\xff",
        b"\x89PNG\r\n\x1a\n" + good[:64],
        good[:20] + bytes(half),
        b"RIFF\x24\x00\x00\x00WEBPVP8 ",
        b"\x00\x00\x00\x18ftypheic" + bytes(8),
    ]
    path.write_bytes(contents[how % len(contents)])


@pytest.mark.parametrize(
    "model", ["test/colours", pytest.param("sensorium/mini-clip", marks=pytest.mark.slow)]
)
def test_good_files_between_bad_ones_are_as_if_alone(folder, tmp_path, model):
    for seed in range(256):
        good = folder / f"{seed:03}.jpg"
        write(good, picture(seed, (40, 32)))
        if seed % 16 == 7:
            spoil(folder / f"{seed:03}-bad.jpg", good.read_bytes(), seed // 16)
    encoder = sensorium.load(model) if model == "sensorium/mini-clip" else Models()(model)
    with closing(Store(tmp_path / "library", create=True)) as store:
        report = index(store, folder, encoder, BATCH)
        assert (report.encoded, len(report.failed)) == (256, 16)
        bad = {f"{seed:03}-bad.jpg" for seed in range(7, 256, 16)}
        assert {Path(failure.path).name for failure in report.failed} == bad
        assert {failure.path for _, failure in store.failures(1)} == bad
        assert all(failure.reason and "\n" not in failure.reason for failure in report.failed)
        for name in bad:
            (folder / name).rename(tmp_path / name)
        with closing(Store(tmp_path / "alone", create=True)) as alone:
            assert index(alone, folder, encoder, 1).encoded == 256  # each photo by itself
            solo = rows_of(alone)
        together = rows_of(store)
        assert set(solo) == set(together)
        assert all(float(together[path] @ solo[path]) >= 0.999 for path in solo)
        for name in bad:
            (tmp_path / name).rename(folder / name)
        again = index(store, folder, encoder, BATCH)
        assert (again.unchanged, again.failed_before, again.failed) == (256, 16, [])
        assert again.reading_seconds == 0.0  # nothing was opened
        write(folder / "007-bad.jpg", picture(1000))
        mended = index(store, folder, encoder, BATCH)
        assert (mended.encoded, mended.failed_before, len(list(store.failures(1)))) == (1, 15, 15)


def index(store: Store, folder: Path, encoder, batch: int):
    *_, finished = indexing.index(store, [folder], encoder, model=encoder.name, workers=2, batch=batch)
    return finished.report


def rows_of(store: Store) -> dict[str, np.ndarray]:
    """Vectors by path."""
    ids, matrix = store.vectors(store.active_pipeline())
    paths = store.photos(ids.tolist())
    return {paths[photo].path: row.astype(float) for photo, row in zip(ids.tolist(), matrix, strict=True)}


def ids(library: Library) -> dict[bytes, int]:
    """Ids of the photos that are there, by their content."""
    with library._store.reading() as connection:
        statement = sa.select(schema.photos.c.sha256, schema.photos.c.id)
        rows = connection.execute(statement.where(schema.photos.c.missing_since.is_(None))).all()
    found = {row.sha256: row.id for row in rows}
    assert len(found) == len(rows)  # no duplicates
    return found


def test_a_library_that_moves_house_keeps_every_photo(library, models, folder, tmp_path):
    for seed in range(500):
        write(folder / f"{seed % 9}" / f"{seed:03}.jpg", picture(seed, (16, 16)))
    run(library, folder)
    before, kept = ids(library), vectors(library)
    assert models("test/colours").encoded == 500
    home = folder.rename(tmp_path / "new home")
    for seed in range(100):
        old = home / f"{seed % 9}" / f"{seed:03}.jpg"
        old.rename(home / f"renamed {seed}.jpg" if seed % 2 else old.with_name(f"r{seed}.jpg"))
    report = run(library, home)
    assert (report.moved, report.new, report.encoded, report.failed) == (500, 0, 0, [])
    assert ids(library) == before
    assert models("test/colours").encoded == 500
    now = vectors(library)
    assert len(now) == 500
    assert all(np.array_equal(now[f"{seed % 9}/{seed:03}.jpg"], kept[f"{seed % 9}/{seed:03}.jpg"])
               for seed in range(100, 500))  # fmt: skip
    assert [root.path for root in library.status().roots] == [home]


@pytest.mark.parametrize("how", ["absent", "empty"])
def test_a_disk_unplugged_and_back_loses_nothing(library, models, folder, tmp_path, how):
    for seed in range(500):
        write(folder / f"{seed % 9}" / f"{seed:03}.jpg", picture(seed, (16, 16)))
    run(library, folder)
    before = ids(library)
    folder.rename(tmp_path / "unplugged")
    if how == "empty":
        folder.mkdir()
    report = run(library)
    assert (report.gone, report.encoded, len(report.offline)) == (0, 0, 1)
    assert ids(library) == before
    assert (library.status().offline, library.status().gone) == (500, 0)
    if how == "empty":
        folder.rmdir()
    (tmp_path / "unplugged").rename(folder)
    report = run(library)
    assert (report.unchanged, report.encoded, report.gone, report.offline) == (500, 0, 0, [])
    assert ids(library) == before
    assert models("test/colours").encoded == 500
    found = library.search("red", 1000, everything=True)
    assert len(found) == 500
    assert not any("offline" in hit.why for hit in found)

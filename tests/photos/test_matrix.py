"""The mapped copy of a library's vectors: the same answers as brute force, whatever happens to its files."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import filelock
import numpy as np
import pytest
import sqlalchemy as sa
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from matrix_library import DIM, Shelf, unit

from sensorium.errors import LibraryError
from sensorium.photos.database import schema
from sensorium.photos.vectors import cabinet, matrix, segments
from sensorium.photos.vectors.matrix import discard, open_matrix


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Segments of a few hundred rows, so that a test needs no large library."""
    monkeypatch.setattr(matrix, "NUMPY_UP_TO", 300)
    monkeypatch.setattr(cabinet, "NUMPY_UP_TO", 300)
    monkeypatch.setattr(matrix, "SEGMENT_ROWS", 512)
    monkeypatch.setattr(matrix, "_WRITE_FROM", 100)
    monkeypatch.setattr(matrix, "_BATCH", 128)


@pytest.fixture
def shelf(tmp_path) -> Shelf:
    return Shelf(tmp_path)


def check(shelf: Shelf, index, k: int = 20) -> None:
    query = shelf.query()
    ids, scores = index.search(query, k)
    assert ids.tolist() == shelf.brute(query, k)
    assert len(index) == len(shelf.truth)
    everything = np.array(sorted(shelf.truth), np.int64)
    half = everything[::2]
    assert index.search(query, k, half)[0].tolist() == shelf.brute(query, k, half.tolist())
    assert index.scores(query, ids).tolist() == scores.tolist()


def files(shelf: Shelf) -> list[Path]:
    return sorted((shelf.store.folder / "matrix").glob("*.segment"))


def test_a_small_library_needs_no_files(shelf):
    shelf.add(250)
    check(shelf, open_matrix(shelf.store, shelf.pipeline))
    assert not (shelf.store.folder / "matrix").exists()


def test_an_empty_library_answers(shelf):
    index = open_matrix(shelf.store, shelf.pipeline)
    assert len(index) == 0
    assert index.search(shelf.query(), 5)[0].tolist() == []
    assert np.isnan(index.scores(shelf.query(), np.array([1, 2]))).all()


def test_a_large_library_is_mapped_and_opened_without_reading_its_vectors_again(shelf):
    shelf.add(1500)
    check(shelf, open_matrix(shelf.store, shelf.pipeline))
    before = [(path.name, path.stat().st_mtime_ns) for path in files(shelf)]
    assert len(before) == 3
    read = []
    with shelf.store.reading() as connection:
        sa.event.listen(connection.engine, "after_cursor_execute", lambda *a: read.append(a[2]))
    check(shelf, open_matrix(shelf.store, shelf.pipeline))
    assert before == [(path.name, path.stat().st_mtime_ns) for path in files(shelf)]
    vectors = [statement for statement in read if "SELECT vectors.photo_id, vectors.vector" in statement]
    probes = [statement for statement in vectors if " IN " in statement]
    assert len(probes) == 3
    assert len(vectors) == 4  # and one for what was written since: nothing


def test_what_is_added_is_taken_from_the_library_and_small_segments_are_joined(shelf):
    shelf.add(1000)
    index = open_matrix(shelf.store, shelf.pipeline)
    written = 0
    for _ in range(30):
        before = {path.name for path in files(shelf)}
        shelf.add(40)
        index.refresh()
        check(shelf, index)
        written += sum(
            segments.open_segment(path, index._cabinet()._key, DIM).ids.size
            for path in files(shelf)
            if path.name not in before
        )
    assert len(files(shelf)) <= 7
    assert written <= 5 * 1200
    check(shelf, open_matrix(shelf.store, shelf.pipeline))


def test_refreshing_an_unchanged_library_is_one_query(shelf):
    shelf.add(400)
    index = open_matrix(shelf.store, shelf.pipeline)
    parts = index._parts()
    index.refresh()
    assert index._parts() is parts


class Life(RuleBasedStateMachine):
    """Anything that can happen to a library, with an index that lives through it and new ones beside it."""

    @initialize(count=st.sampled_from([50, 290, 700]), seed=st.integers(0, 1000))
    def begin(self, count, seed):
        import tempfile

        self.folder = tempfile.TemporaryDirectory()
        self.shelf = Shelf(Path(self.folder.name, "library"), seed=seed)
        self.shelf.add(count)
        self.index = open_matrix(self.shelf.store, self.shelf.pipeline)
        self.lost = {}

    def some(self, data, most):
        return data.draw(st.lists(st.sampled_from(sorted(self.shelf.truth)), max_size=most, unique=True))

    @rule(count=st.sampled_from([1, 30, 120, 600]))
    def add(self, count):
        self.shelf.add(count)

    @rule(count=st.integers(1, 60))
    def add_copies(self, count):
        self.shelf.add(count, np.repeat(unit(self.shelf.rng, 1), count, 0))

    @precondition(lambda self: self.shelf.truth)
    @rule(data=st.data())
    def change(self, data):
        self.shelf.change(self.some(data, 30) or [min(self.shelf.truth)])

    @precondition(lambda self: self.shelf.truth)
    @rule(data=st.data())
    def delete(self, data):
        self.shelf.delete(self.some(data, 30))

    @precondition(lambda self: self.shelf.truth)
    @rule(data=st.data())
    def lose(self, data):
        self.lost |= self.shelf.lose(self.some(data, 30))

    @rule()
    def find_again(self):
        self.shelf.find_again(self.lost)
        self.lost = {}

    @precondition(lambda self: files(self.shelf))
    @rule(data=st.data())
    def damage(self, data):
        # By age and by share: names are random, and an example must run again as it ran.
        by_age = sorted(files(self.shelf), key=lambda path: path.stat().st_mtime_ns)
        path = by_age[data.draw(st.integers(0, 9)) % len(by_age)]
        content = bytearray(path.read_bytes())
        where = data.draw(st.integers(0, 999)) * len(content) // 1000
        content[where] ^= data.draw(st.integers(1, 255))
        path.write_bytes(content[:where] if data.draw(st.booleans()) else content)
        self.index = open_matrix(self.shelf.store, self.shelf.pipeline)

    @rule()
    def open_again(self):
        self.index = open_matrix(self.shelf.store, self.shelf.pipeline)

    @invariant()
    def answers_like_brute_force(self):
        if hasattr(self, "index"):
            self.index.refresh()
            check(self.shelf, self.index)

    def teardown(self):
        if hasattr(self, "folder"):
            self.shelf.store.close()
            self.folder.cleanup()


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=12, stateful_step_count=12, deadline=None)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.7, 0.999])
def test_a_truncated_segment_is_rebuilt(shelf, share):
    shelf.add(900)
    open_matrix(shelf.store, shelf.pipeline)
    path = files(shelf)[0]
    os.truncate(path, int(share * path.stat().st_size))
    check(shelf, open_matrix(shelf.store, shelf.pipeline))
    assert not path.exists()
    check(shelf, open_matrix(shelf.store, shelf.pipeline))


@pytest.mark.parametrize(
    "section", ["ids", "row_checks", "block_checks", "centre", "step", "prefix", "codes"]
)
def test_one_wrong_bit_is_found_when_a_segment_is_opened(shelf, section):
    shelf.add(600)
    index = open_matrix(shelf.store, shelf.pipeline)
    path = files(shelf)[0]
    rows = segments.open_segment(path, index._cabinet()._key, DIM)
    place = segments._Layout(len(rows.ids), DIM, 81).sections()[section]
    content = bytearray(path.read_bytes())
    content[(place.start + place.stop) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(segments.DamagedError):
        segments.open_segment(path, index._cabinet()._key, DIM)
    check(shelf, open_matrix(shelf.store, shelf.pipeline))


def test_a_wrong_float16_row_is_found_when_it_is_used(shelf):
    shelf.add(600)
    open_matrix(shelf.store, shelf.pipeline)
    path = files(shelf)[0]
    content = bytearray(path.read_bytes())
    content[-2 * DIM * 100 :] = os.urandom(2 * DIM * 100)
    path.write_bytes(content)
    index = matrix.Matrix(shelf.store, shelf.pipeline)
    index.refresh()
    for _ in range(5):
        check(shelf, index)
    assert not path.exists()


@pytest.mark.parametrize("content", [b"", b"00000000\n{}", b"not ours", os.urandom(500)])
def test_a_damaged_manifest_is_rebuilt(shelf, content):
    shelf.add(600)
    open_matrix(shelf.store, shelf.pipeline)
    (shelf.store.folder / "matrix" / f"{shelf.pipeline.id}.manifest").write_bytes(content)
    check(shelf, open_matrix(shelf.store, shelf.pipeline))


def test_the_copy_of_another_library_is_not_believed(tmp_path):
    one, two = Shelf(tmp_path / "one", seed=1), Shelf(tmp_path / "two", seed=2)
    for shelf in (one, two):
        shelf.add(600)
        open_matrix(shelf.store, shelf.pipeline)
    discard(two.store.folder)
    for path in (one.store.folder / "matrix").iterdir():
        path.rename(two.store.folder / "matrix" / path.name)
    check(two, open_matrix(two.store, two.pipeline))


def test_another_history_of_the_same_library_is_not_believed(tmp_path):
    """A backup put back by hand: the same stamp, the same generations, other vectors."""
    shelf = Shelf(tmp_path / "library")
    shelf.add(400)
    shelf.store.close()
    backup = (tmp_path / "library" / schema.FILE_NAME).read_bytes()
    then = dict(shelf.truth)
    shelf.add(200)
    open_matrix(shelf.store, shelf.pipeline)
    shelf.store.close()
    for suffix in ("-wal", "-shm"):
        Path(tmp_path, "library", schema.FILE_NAME + suffix).unlink(missing_ok=True)
    (tmp_path / "library" / schema.FILE_NAME).write_bytes(backup)
    shelf.truth = then
    index = open_matrix(shelf.store, shelf.pipeline)
    check(shelf, index)
    shelf.add(200)
    check(shelf, open_matrix(shelf.store, shelf.pipeline))
    index.refresh()
    check(shelf, index)


def test_an_index_that_lives_sees_an_older_library_file(tmp_path):
    shelf = Shelf(tmp_path / "library")
    shelf.add(400)
    shelf.store.close()
    backup = (tmp_path / "library" / schema.FILE_NAME).read_bytes()
    then = dict(shelf.truth)
    shelf.add(200)
    index = open_matrix(shelf.store, shelf.pipeline)
    shelf.store.close()
    (tmp_path / "library" / schema.FILE_NAME).write_bytes(backup)
    shelf.truth = then
    index.refresh()
    check(shelf, index)


def test_pipelines_do_not_mix(shelf):
    shelf.add(600)
    open_matrix(shelf.store, shelf.pipeline)
    first, truth = shelf.pipeline, dict(shelf.truth)
    shelf.pipeline = shelf.store.add_pipeline("other", "other pipeline", DIM)
    shelf.truth = {}
    with shelf.store.writing(advance=True) as connection:
        shelf._write(connection, sorted(truth)[:450], unit(shelf.rng, 450))
    other = open_matrix(shelf.store, shelf.pipeline)
    check(shelf, other)
    assert {path.name.partition("-")[0] for path in files(shelf)} == {"1", "2"}
    shelf.pipeline, shelf.truth = first, truth
    check(shelf, open_matrix(shelf.store, first))


def test_where_nothing_can_be_written_it_works_in_memory(shelf):
    (shelf.store.folder / "matrix").write_text("a file is in the way")
    shelf.add(1300)
    index = open_matrix(shelf.store, shelf.pipeline)
    check(shelf, index)
    shelf.add(200)
    shelf.delete(list(shelf.truth)[:50])
    index.refresh()
    check(shelf, index)
    assert index._state.stored == -1


def test_a_full_disk_is_no_reason_not_to_answer(shelf, monkeypatch):
    def full(path, parts):
        raise OSError(28, "No space left on device")

    shelf.add(1300)
    monkeypatch.setattr(segments, "_replace", full)
    check(shelf, open_matrix(shelf.store, shelf.pipeline))
    monkeypatch.undo()


def test_while_another_process_writes_it_works_in_memory(shelf):
    shelf.add(500)
    folder = shelf.store.folder / "matrix"
    folder.mkdir()
    with filelock.FileLock(folder / "lock"):
        index = open_matrix(shelf.store, shelf.pipeline)
        check(shelf, index)
        assert not files(shelf)
    shelf.add(10)
    index.refresh()
    check(shelf, index)
    assert files(shelf)


def test_what_was_replaced_goes_on_answering_those_who_have_it(shelf):
    shelf.add(320)
    old = open_matrix(shelf.store, shelf.pipeline)
    truth = dict(shelf.truth)
    before = files(shelf)
    shelf.add(180)
    new = open_matrix(shelf.store, shelf.pipeline)
    assert before[0] not in files(shelf)
    check(shelf, new)
    shelf.truth, now = truth, shelf.truth
    check(shelf, old)
    shelf.truth = now
    old.refresh()
    check(shelf, old)


def test_deletions_are_remembered(shelf):
    shelf.add(600)
    index = open_matrix(shelf.store, shelf.pipeline)
    shelf.delete(list(shelf.truth)[:20])
    index.refresh()
    again = matrix.Matrix(shelf.store, shelf.pipeline)
    assert sum(len(piece) for piece in again._load().pieces) == 580
    again.refresh()
    check(shelf, again)


def test_threads_search_while_the_library_grows(shelf):
    shelf.add(400)
    index = open_matrix(shelf.store, shelf.pipeline)
    query = shelf.query()

    def ask(_: int) -> bool:
        index.refresh()
        ids, scores = index.search(query, 10)
        return len(set(ids.tolist())) == 10 and bool(np.all(np.diff(scores) <= 0))

    with ThreadPoolExecutor(4) as pool:
        answers = pool.map(ask, range(60))
        for _ in range(15):
            shelf.add(50)
        assert all(answers)
    index.refresh()
    check(shelf, index)


def test_two_processes_that_build_at_once_leave_one_copy(shelf):
    shelf.add(900)
    code = (
        "import sys; from pathlib import Path; from sensorium.photos.vectors import matrix; "
        "from sensorium.photos.database.store import Store; "
        "matrix.NUMPY_UP_TO, matrix.SEGMENT_ROWS, matrix._WRITE_FROM, matrix._BATCH = 300, 512, 100, 128; "
        "store = Store(Path(sys.argv[1]), create=False); "
        "print(len(matrix.open_matrix(store, store.active_pipeline())))"
    )
    command = [sys.executable, "-c", code, str(shelf.store.folder)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert [process.communicate()[0] for process in running] == ["900\n", "900\n"]
    assert len(files(shelf)) == 2
    check(shelf, open_matrix(shelf.store, shelf.pipeline))


def test_a_vector_of_the_wrong_length_is_named(shelf):
    shelf.add(10)
    with shelf.store.writing(advance=True) as connection:
        connection.execute(
            sa.update(schema.vectors).where(schema.vectors.c.photo_id == 7).values(vector=b"xy")
        )
        connection.execute(sa.update(schema.vectors).values(written=2))
    with pytest.raises(LibraryError, match="photo 7 is damaged"):
        open_matrix(shelf.store, shelf.pipeline)


def test_a_cold_search_of_a_small_library_imports_no_faiss(shelf):
    shelf.add(100)
    code = (
        "import sys; from pathlib import Path; import numpy as np; "
        "from sensorium.photos.database.store import Store; "
        "from sensorium.photos.vectors.matrix import open_matrix; "
        "store = Store(Path(sys.argv[1]), create=False); "
        f"open_matrix(store, store.active_pipeline()).search(np.ones({DIM}, np.float32), 3); "
        "print([name for name in ('faiss', 'torch', 'filelock') if name in sys.modules])"
    )
    command = [sys.executable, "-c", code, str(shelf.store.folder)]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "[]\n"

"""Passes: only what is due, one bad file stops nothing, interrupted runs go on, two never run at once."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa
from made_passes import NOTES, NotingPass
from photo_fakes import picture, run, write
from PIL import Image

from sensorium.errors import LibraryError, SensoriumError
from sensorium.photos.database import schema
from sensorium.photos.database.locks import closed
from sensorium.photos.database.schema import described, photos
from sensorium.photos.describe import passes
from sensorium.photos.describe.known import chosen
from sensorium.photos.describe.passes import Completed, Described, Skipped
from sensorium.photos.health import upkeep


@pytest.fixture
def seen(tmp_path):
    (tmp_path / "seen").mkdir()
    return str(tmp_path / "seen")


def describe(library, *which, workers=1, batch=4):
    """All events of a run; the last one tells."""
    return list(passes.describe(library.store, which, workers=workers, batch=batch))


def notes(library, name):
    """What was said, by file name."""
    with library.store.reading() as connection:
        statement = sa.select(photos.c.path, NOTES.c.said).join_from(
            NOTES, photos, photos.c.id == NOTES.c.photo_id
        )
        return dict(connection.execute(statement.where(NOTES.c["pass"] == name)).all())


def fill(folder, count):
    for seed in range(count):
        write(folder / f"{seed:03}.jpg", picture(seed, (32, 24)))


def test_every_photo_once_and_then_nothing(library, folder, seen):
    fill(folder, 10)
    run(library, folder)
    one, other = NotingPass("one", seen), NotingPass("other", seen)
    events = describe(library, one, other, workers=2)
    assert [event.done for event in events if isinstance(event, Described)] == [4, 8, 10]
    last = events[-1]
    assert isinstance(last, Completed)
    assert {name: tally.described for name, tally in last.tallies.items()} == {"one": 10, "other": 10}
    assert one.looked_at() == other.looked_at() == sorted(f"{n:03}" for n in range(10))
    said = notes(library, "one")
    assert set(said) == {f"{n:03}.jpg" for n in range(10)}
    assert all(words.startswith("32x24 (") for words in said.values())
    assert describe(library, one, other)[-1].tallies["one"].described == 0
    assert len(one.looked_at()) == 10
    assert passes.status(library.store, [one]) == [passes.PassStatus("one", 10, 0, 0, None)]


def test_a_pass_comes_later_and_alone(library, folder, seen):
    fill(folder, 3)
    run(library, folder)
    one, other = NotingPass("one", seen), NotingPass("other", seen)
    describe(library, one)
    state = passes.status(library.store, [one, other])
    assert [(row.done, row.due) for row in state] == [(3, 0), (0, 3)]
    describe(library, one, other)
    assert len(one.looked_at()) == 3
    assert len(other.looked_at()) == 3


def test_a_new_version_and_new_content_are_due(library, folder, seen):
    fill(folder, 3)
    run(library, folder)
    describe(library, NotingPass("one", seen))
    write(folder / "001.jpg", picture(77, (40, 20)))
    os.utime(folder / "001.jpg", ns=(1, 1))
    run(library, folder)
    before = notes(library, "one")
    report = describe(library, NotingPass("one", seen))[-1]
    assert report.tallies["one"].described == 1
    after = notes(library, "one")
    assert after["001.jpg"].startswith("40x20")
    assert {name for name in after if after[name] != before[name]} == {"001.jpg"}
    newer = NotingPass("one", seen, version=2)
    assert passes.status(library.store, [newer])[0].due == 3
    assert describe(library, newer)[-1].tallies["one"].described == 3


def test_a_moved_photo_is_not_due_and_a_deleted_one_neither(library, folder, seen):
    fill(folder, 4)
    run(library, folder)
    one = NotingPass("one", seen)
    describe(library, one)
    (folder / "000.jpg").rename(folder / "moved.jpg")
    (folder / "001.jpg").unlink()
    run(library, folder)
    describe(library, one)
    assert len(one.looked_at()) == 4
    assert passes.status(library.store, [one])[0].done == 3


def test_bad_photos_stop_nothing_and_wait_for_a_change(library, folder, seen):
    fill(folder, 6)
    for name in ("a-blind-one", "b-crash-one", "c-memory", "d-crash-one-blind-other"):
        write(folder / f"{name}.jpg", picture(zlib_seed(name), (20, 20)))
    run(library, folder)
    one, other = NotingPass("one", seen), NotingPass("other", seen)
    tallies = describe(library, one, other)[-1].tallies
    reasons = {Path(failure.path).stem[0]: failure.reason for failure in tallies["one"].failed}
    assert reasons["a"] == "too strange"
    assert reasons["c"] == "not enough memory to describe it"
    assert re.fullmatch("the reading process failed: no message", reasons["b"])
    assert set(reasons) == {"a", "b", "c", "d"}
    assert tallies["one"].described == 6
    # What one pass dies of costs the other nothing.
    assert {Path(failure.path).stem[0] for failure in tallies["other"].failed} == {"c", "d"}
    assert tallies["other"].described == 8
    assert {name[0] for name in notes(library, "other")} == {"0", "a", "b"}
    looked = len(one.looked_at())
    assert describe(library, one, other)[-1].tallies["one"].failed == []
    assert len(one.looked_at()) == looked
    assert passes.status(library.store, [one])[0] == passes.PassStatus("one", 6, 0, 4, None)
    listed = {Path(failure.path).stem[0]: name for name, failure in passes.failures(library.store, [one])}
    assert listed == dict.fromkeys("abcd", "one")
    # A failure is tried again when the file changes, or when somebody says so.
    write(folder / "a-blind-one.jpg", picture(5, (33, 33)))
    os.utime(folder / "a-blind-one.jpg", ns=(5, 5))
    run(library, folder)
    assert len(describe(library, one)[-1].tallies["one"].failed) == 1
    assert passes.forget_failures(library.store, [one]) == 4
    assert passes.status(library.store, [one])[0].due == 4


def zlib_seed(name):
    return sum(name.encode())


def test_what_was_said_goes_when_the_new_content_cannot_be_described(library, folder, seen):
    write(folder / "blind-two.jpg", picture(1))
    run(library, folder)
    describe(library, NotingPass("one", seen))
    assert notes(library, "one")
    one = NotingPass("one", seen, version=2)
    (folder / "blind-two.jpg").rename(folder / "blind-one.jpg")
    run(library, folder)
    assert len(describe(library, one)[-1].tallies["one"].failed) == 1
    assert notes(library, "one") == {}


def test_a_file_that_went_or_changed_waits(library, folder, seen):
    fill(folder, 3)
    run(library, folder)
    (folder / "000.jpg").unlink()
    write(folder / "001.jpg", picture(50, (64, 64)))
    one = NotingPass("one", seen)
    tally = describe(library, one)[-1].tallies["one"]
    assert (tally.described, tally.failed) == (1, [])
    reasons = {Path(failure.path).stem: failure.reason for failure in tally.waiting}
    assert "no such file" in reasons["000"]
    assert "changed since it was indexed" in reasons["001"]
    assert passes.status(library.store, [one])[0].due == 2
    run(library, folder)
    assert describe(library, one)[-1].tallies["one"].described == 1


def test_an_offline_folder_is_left_alone(library, folder, tmp_path, seen):
    fill(folder, 3)
    run(library, folder)
    shutil.move(folder, tmp_path / "unplugged")
    last = describe(library, NotingPass("one", seen))[-1]
    assert last.offline == 3
    assert last.tallies["one"] == passes.Tally()
    shutil.move(tmp_path / "unplugged", folder)
    assert describe(library, NotingPass("one", seen))[-1].tallies["one"].described == 3


def test_a_pass_that_cannot_run_says_so_and_the_others_run(library, folder, seen):
    fill(folder, 2)
    run(library, folder)
    lame = NotingPass("lame", seen, missing="its network is not here: pull it")
    events = describe(library, lame, NotingPass("one", seen))
    assert events[0] == Skipped("lame", "its network is not here: pull it")
    assert events[-1].tallies["lame"].skipped == "its network is not here: pull it"
    assert events[-1].tallies["one"].described == 2
    assert passes.status(library.store, [lame])[0].due == 2


def test_one_decoding_serves_all_and_large_photos_are_decoded_small(library, folder, seen):
    write(folder / "large.jpg", Image.new("RGB", (1600, 1200), (10, 200, 30)))
    run(library, folder)
    describe(library, NotingPass("one", seen, side=100), NotingPass("two", seen, side=200))
    assert notes(library, "one")["large.jpg"].startswith("1600x1200")


def test_turned_photos_are_shown_upright(library, folder, seen):
    image = picture(3, (30, 20))
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(folder / "turned.jpg", exif=exif)
    run(library, folder)
    describe(library, NotingPass("one", seen))
    assert notes(library, "one")["turned.jpg"].startswith("20x30")


def test_stopping_keeps_what_was_done_and_the_next_run_goes_on(library, folder, seen):
    fill(folder, 12)
    run(library, folder)
    one = NotingPass("one", seen)
    events = passes.describe(library.store, [one], workers=1, batch=4)
    with closing(events):
        next(event for event in events if isinstance(event, Described))
    with library.store.reading() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(described)) == 4
    assert describe(library, one)[-1].tallies["one"].described == 8
    assert len(notes(library, "one")) == 12


KILLED = """
import sys
from made_passes import NotingPass
from sensorium.photos.database.store import Store
from sensorium.photos.describe import passes
from pathlib import Path
slow = NotingPass("one", sys.argv[2], slow=0.02)
for event in passes.describe(Store(Path(sys.argv[1]), create=False), [slow], workers=2, batch=4):
    print(event.done if hasattr(event, "done") else event, flush=True)
"""


def test_a_killed_run_loses_a_batch_at_most(library, folder, seen):
    fill(folder, 40)
    run(library, folder)
    here = str(Path(__file__).parent)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((here, os.environ.get("PYTHONPATH", "")))}
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(library.folder), seen], stdout=subprocess.PIPE, text=True,
        env=environment,
    )  # fmt: skip
    assert process.stdout.readline().strip() == "4"
    # Another run says so and stops; nor is the file replaced meanwhile.
    with pytest.raises(LibraryError, match="another `sensorium describe` is at work"):
        describe(library, NotingPass("one", seen))
    with pytest.raises(LibraryError, match="at work"), closed(library.folder):
        pass
    with pytest.raises(LibraryError, match="at work"):
        upkeep.repair(library.folder)
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    time.sleep(0.2)  # its looking processes see the end of their input
    kept = len(notes(library, "one"))
    assert kept % 4 == 0
    assert 4 <= kept < 40
    assert describe(library, NotingPass("one", seen), workers=2)[-1].tallies["one"].described == 40 - kept
    assert len(notes(library, "one")) == 40
    with library.store.reading() as connection:
        assert connection.exec_driver_sql("PRAGMA integrity_check").scalar() == "ok"
        assert connection.exec_driver_sql("PRAGMA foreign_key_check").all() == []


def test_a_photo_that_becomes_another_while_it_is_looked_at_is_not_described(library, folder, seen):
    fill(folder, 8)
    run(library, folder)
    one = NotingPass("one", seen)
    events = passes.describe(library.store, [one], workers=1, batch=4)
    next(event for event in events if isinstance(event, Described))
    with library.store.writing() as connection:  # as an indexer beside it would
        connection.execute(sa.update(photos).where(photos.c.id == 7).values(sha256=bytes(32)))
        connection.execute(sa.delete(photos).where(photos.c.id == 8))
    tally = list(events)[-1].tallies["one"]
    assert tally.described == 6
    assert [failure.reason for failure in tally.waiting] == ["it changed while it was described"] * 2
    with library.store.reading() as connection:
        assert set(connection.scalars(sa.select(described.c.photo_id))) == set(range(1, 7))


def test_names_of_passes(library):
    store = library.store
    assert [one.name for one in chosen(store, None)] == ["text", "faces", "hash", "regions"]
    assert [one.name for one in chosen(store, ["faces", "faces"])] == ["faces"]
    with pytest.raises(SensoriumError, match="no pass called 'smell'"):
        chosen(store, ["smell"])
    assert schema.described.c["pass"].primary_key

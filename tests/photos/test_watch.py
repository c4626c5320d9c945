"""Folders under watch: what is told, when, and what the indexer makes of it. Real folders, real events."""

import contextlib
import os
import shlex
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

from photo_fakes import picture, run, write

from sensorium.errors import LibraryBusyError, LibraryError
from sensorium.photos.database.locks import alone
from sensorium.photos.files import watch as watching
from sensorium.photos.files.scan import EMPTY, walk
from sensorium.photos.files.watch import Away, Back, Changed, Polled, Timing, Unknown, Watch
from sensorium.photos.intake.watching import holds, watch_library
from sensorium.photos.library import Library

SETTLE = 0.12
QUICK = Timing(settle=SETTLE, longest=2.0, tick=0.02, look=0.05, rescan=0, poll=0.1)


class Told:
    """A watch that runs in a thread, and what it has told so far."""

    def __init__(self, watch: Watch, then=lambda event: None) -> None:
        self.watch = watch
        self.events: list[object] = []
        self._then = then
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self.fault: BaseException | None = None

    def _follow(self) -> None:
        try:
            for event in self.watch.events(self._stop):
                self._then(event)
                self.events.append(event)
        except BaseException as error:
            self.fault = error

    def __enter__(self) -> "Told":
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join(timeout=5)
        assert not self._thread.is_alive()
        assert self.fault is None, self.fault

    def until(self, fits, seconds: float = 30.0) -> None:
        """Wait until what was told fits."""
        end = time.monotonic() + seconds
        while not fits() and self.fault is None:
            assert time.monotonic() < end, self.events
            time.sleep(0.01)

    def folders(self) -> list[tuple[str, ...]]:
        return [event.folders for event in self.events if isinstance(event, Changed)]

    def begun(self) -> None:
        """Wait for the first look at everything, and forget it."""
        self.until(self.folders)
        self.events.clear()

    def quiet(self) -> None:
        """Nothing more comes."""
        before = len(self.events)
        time.sleep(3 * SETTLE)
        assert self.events[before:] == []


def told(*roots: Path, held=lambda path: True, timing: Timing = QUICK, poll: bool = False) -> Told:
    return Told(Watch(lambda: [str(root) for root in roots], "/nowhere", held, timing=timing, poll=poll))


def follow(library: Library, timing: Timing = QUICK) -> Told:
    """A watch over a library whose changes are indexed at once; ``reports`` has what came of them."""
    reports: list = []

    def then(event: object) -> None:
        if isinstance(event, Changed):
            *_, finished = library.index(event.folders, workers=1, settle=timing.settle)
            reports.append(finished.report)
            if finished.report.unsettled:
                follower.watch.again(event.folders, timing.settle)

    follower = Told(watch_library(library.folder, timing=timing), then)
    follower.reports = reports
    return follower


def ids(library: Library) -> dict[str, int]:
    import sqlalchemy as sa

    from sensorium.photos.database.schema import photos

    with library.store.reading() as connection:
        rows = connection.execute(
            sa.select(photos.c.path, photos.c.id).where(photos.c.missing_since.is_(None))
        )
        return dict(rows.all())


def test_what_is_told_of_files_and_folders(folder):
    (folder / "a" / "b").mkdir(parents=True)
    (folder / "a" / "old.jpg").touch()
    with told(folder, held=lambda path: path.endswith("/a/b")) as events:
        events.until(events.folders)
        assert events.events == [Changed((str(folder),))]
        events.events.clear()

        for name in ("IMG.jpg.part", "notes.txt", ".hidden/1.jpg", "@eaDir/1.jpg", "empty/deeper/notes.txt"):
            (folder / "a" / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / "a" / name).write_text("x")
        (folder / "a" / "notes.txt").unlink()
        events.quiet()

        (folder / "a" / "IMG.jpg.part").rename(folder / "a" / "IMG.jpg")  # a download is done
        events.until(events.folders)
        (folder / "a" / "b" / "1.jpg").touch()
        events.until(lambda: len(events.folders()) == 2)
        (folder / "new" / "below").mkdir(parents=True)  # a folder that appears, watched from then on
        (folder / "new" / "below" / "1.jpg").touch()
        events.until(lambda: len(events.folders()) == 3)
        (folder / "new" / "below" / "2.jpg").touch()
        events.until(lambda: len(events.folders()) == 4)
        (folder / "a" / "1.xmp").touch()
        (folder / "a" / "b").rename(folder / "c")  # both ends at once; the old one held photos
        events.until(lambda: len(events.folders()) == 5)
        shutil.rmtree(folder / "new")
        (folder / "a" / "old.jpg").unlink()
        events.until(lambda: len(events.folders()) == 6)
    a = str(folder / "a")
    assert [*events.folders()[:2], *events.folders()[3:]] == [
        (a,),
        (a + "/b",),
        (str(folder / "new" / "below"),),
        (a, str(folder / "c")),
        (str(folder),),
    ]
    assert events.folders()[2][0] in (str(folder / "new"), str(folder / "new" / "below"))


def test_a_burst_is_one_change_and_an_endless_one_comes_every_so_often(folder):
    (folder / "many").mkdir()
    (folder / "1.jpg").touch()
    with told(folder, timing=Timing(settle=0.4, longest=0.8, tick=0.02, look=1, rescan=0)) as events:
        events.begun()
        for number in range(200):
            (folder / "many" / f"{number}.jpg").touch()
        events.until(events.folders)
        events.quiet()
        assert events.folders() == [(str(folder / "many"),)]
        events.events.clear()
        for number in range(20):  # a new file sooner than it takes to settle, for longer than one may wait
            (folder / f"x{number}").mkdir()
            (folder / f"x{number}" / "1.jpg").touch()
            time.sleep(0.1)
        events.until(lambda: len({name for change in events.folders() for name in change}) == 20)
        assert 2 <= len(events.folders()) < 10


def test_more_folders_than_are_worth_naming_are_their_root(folder):
    for number in range(watching._MOST_FOLDERS + 1):
        (folder / str(number)).mkdir()
    with told(folder) as events:
        events.begun()
        for number in range(watching._MOST_FOLDERS + 1):
            (folder / str(number) / "1.jpg").touch()
        events.until(events.folders)
        assert events.folders() == [(str(folder),)]


def test_roots_that_go_come_back_and_come_later(folder, tmp_path):
    absent, away = tmp_path / "absent", tmp_path / "away"
    (folder / "1.jpg").touch()
    with told(folder, absent) as events:
        events.begun()
        events.until(lambda: True)
        folder.rename(away)  # as an unmounted disk
        events.until(lambda: len(events.events) == 1)
        folder.mkdir()  # the place where a disk is mounted
        events.quiet()
        folder.rmdir()
        away.rename(folder)
        events.until(lambda: len(events.events) == 3)
        absent.mkdir()
        (absent / "2.jpg").touch()
        events.until(lambda: len(events.events) == 5)
        (absent / "3.jpg").touch()
        events.until(lambda: len(events.events) == 6)
    there = (Changed((str(absent),)), Changed((str(absent),)))
    assert [event for event in events.events if not isinstance(event, Changed)] == [
        Away(str(folder), "no such file or directory"),
        Back(str(folder)),
        Back(str(absent)),
    ]
    assert events.events[2] == Changed((str(folder),))
    assert tuple(events.events[4:]) == there


def test_roots_are_asked_for_again_and_trouble_is_told_once(folder, tmp_path):
    (folder / "1.jpg").touch()
    later = tmp_path / "later"
    later.mkdir()
    (later / "1.jpg").touch()
    answers: list[object] = [[str(folder)]]

    def roots():
        if isinstance(answers[-1], str):
            raise LibraryError(answers[-1])
        return answers[-1]

    with Told(Watch(roots, tmp_path / "library", lambda path: True, timing=QUICK)) as events:
        events.begun()
        answers.append("the disk is full")
        events.until(lambda: events.events)
        events.quiet()
        (folder / "2.jpg").touch()  # watched on
        events.until(lambda: len(events.events) == 2)
        answers.append([str(later)])
        events.until(lambda: len(events.events) == 3)
        (folder / "3.jpg").touch()  # no longer
        events.quiet()
    assert events.events == [Unknown("the disk is full"), Changed((str(folder),)), Changed((str(later),))]


def test_links_the_own_library_and_other_libraries(folder, tmp_path):
    own, other, outside = folder / ".sensorium", folder / "other", tmp_path / "outside"
    for made in (own, other / "thumbnails", outside, folder / "a"):
        made.mkdir(parents=True)
    (other / "library.sqlite3").touch()
    (folder / "a" / "1.jpg").touch()
    (folder / "a" / "loop").symlink_to(folder)
    (folder / "linked").symlink_to(outside)
    with Told(Watch(lambda: [str(folder)], own, lambda path: True, timing=QUICK)) as events:
        events.begun()
        (own / "1.webp").touch()
        (other / "thumbnails" / "1.webp").touch()
        events.quiet()
        (folder / "a" / "2.jpg").touch()
        events.until(events.folders)
        assert events.folders()[0] in (
            (str(folder / "a"),),
            (str(folder),),
        )  # the loop is another name for it
        events.events.clear()
        (outside / "3.jpg").touch()  # through a link only the walk of all knows what belongs where
        events.until(events.folders)
        assert events.folders() == [(str(folder),)]


def test_a_walk_of_one_folder_leaves_what_lies_elsewhere(folder, tmp_path):
    outside = tmp_path / "outside"
    for place in (outside, folder / "b", folder / "a" / "real", folder / ".hidden"):
        place.mkdir(parents=True)
        (place / "1.jpg").touch()
    for number, target in enumerate(
        (outside, folder, folder / "b", folder / "a" / "real", folder / ".hidden")
    ):
        (folder / "a" / f"link{number}").symlink_to(target)
    (folder / "a" / "b.jpg").symlink_to(folder / "b" / "1.jpg")
    (folder / "a" / "out.jpg").symlink_to(outside / "1.jpg")
    whole = {path for path in walk(str(folder)).files if path.startswith("a/")}
    assert set(walk(str(folder), "a").files) == whole
    assert whole == {"a/real/1.jpg", "a/link0/1.jpg", "a/link4/1.jpg"}


def test_names_that_are_no_text(tmp_path):
    odd = Path(os.fsdecode(bytes(tmp_path) + b"/caf\xe9"))
    plain = tmp_path / "plain"
    for root in (odd, plain):
        root.mkdir()
        (root / "1.jpg").touch()
    with told(odd, plain) as events:
        events.until(lambda: sum(map(len, events.folders())) >= 2)
        assert Polled(str(odd), "its name is not text") in events.events
        events.events.clear()
        (plain / os.fsdecode(b"\xff.jpg")).touch()  # kills what listens: the whole root is looked at
        events.until(lambda: (str(plain),) in [(name,) for change in events.folders() for name in change])
        time.sleep(3 * SETTLE)
        events.events.clear()
        (plain / "sub").mkdir()
        (plain / "sub" / "2.jpg").touch()  # and it listens again
        events.until(lambda: str(plain / "sub") in {name for change in events.folders() for name in change})


def test_a_folder_that_cannot_be_read_stops_nothing(folder):
    (folder / "closed").mkdir()
    (folder / "1.jpg").touch()
    (folder / "closed").chmod(0)
    with _as_any_user(folder), told(folder) as events:
        events.begun()
        (folder / "2.jpg").touch()
        events.until(events.folders)
        events.events.clear()
        (folder / "closed").chmod(0o700)  # what lies in it is listened to from now on
        events.until(events.folders)
        time.sleep(3 * SETTLE)
        events.events.clear()
        (folder / "closed" / "3.jpg").touch()
        events.until(lambda: (str(folder / "closed"),) in events.folders())


@contextlib.contextmanager
def _as_any_user(folder: Path):
    """Rights count for this process, whoever runs it."""
    if os.geteuid() != 0:
        yield
        return
    nobody = 65534
    modes = {outer: outer.stat().st_mode for outer in folder.parents}
    for path in (folder, *folder.rglob("*")):
        os.chown(path, nobody, nobody)
    for outer, mode in modes.items():
        outer.chmod(mode | 0o011)
    os.seteuid(nobody)
    try:
        yield
    finally:
        os.seteuid(0)
        for outer, mode in modes.items():
            outer.chmod(mode)


def test_lost_events_are_made_up_for(folder, monkeypatch):
    """A queue that overflowed tells nothing; the look at everything finds it."""

    def deaf(*arguments, **options):
        while True:
            yield set()

    monkeypatch.setattr(watching, "_listener", deaf)
    (folder / "1.jpg").touch()
    with told(folder, timing=Timing(settle=0.05, tick=0.02, look=0.05, rescan=0.5)) as events:
        events.begun()
        start = time.monotonic()
        events.until(events.folders)
        assert events.folders() == [(str(folder),)]
        assert time.monotonic() - start < 1.5


def test_without_the_system_s_help_all_files_are_looked_at(folder, monkeypatch):
    import watchfiles

    def refuse(*paths, force_polling, **options):
        if not force_polling:
            raise OSError('OS file watch limit reached. about ["x"] (Error { kind: MaxFilesWatch })')
        return real(*paths, force_polling=True, **options)

    real = watchfiles.watch
    monkeypatch.setattr(watchfiles, "watch", refuse)
    (folder / "1.jpg").touch()
    with told(folder) as events:
        events.until(events.folders)
        assert events.events[0] == Polled(str(folder), "OS file watch limit reached")
        events.events.clear()
        (folder / "sub").mkdir()
        (folder / "sub" / "2.jpg").write_text("x")
        events.until(events.folders)
        assert events.folders()[0] in ((str(folder / "sub"),), (str(folder),))
        events.quiet()


def test_where_not_even_that_can_be_the_folder_comes_up_by_itself(folder, monkeypatch):
    import watchfiles

    def refuse(*paths, **options):
        raise RuntimeError("no such service")

    monkeypatch.setattr(watchfiles, "watch", refuse)
    (folder / "1.jpg").touch()
    with told(folder, poll=True) as events:
        events.until(lambda: len(events.folders()) == 3)
    assert events.events[0] == Polled(str(folder), "no such service")
    assert set(events.folders()) == {(str(folder),)}


def test_a_limit_of_the_system_is_noticed_and_missing_rights_are_not_one(folder):
    """The real limit, lowered for a process in a name space of its own."""
    for number in range(20):
        (folder / str(number)).mkdir()
    program = f"""
import threading
from sensorium.photos.files.watch import Timing, Watch
watch = Watch(lambda: [{str(folder)!r}], "/nowhere", lambda path: True, timing=Timing(settle=0.1, tick=0.02))
print(next(watch.events(threading.Event())))
"""
    limit = "echo 5 > /proc/sys/user/max_inotify_watches"
    spaces = ["unshare", "-Ur", "sh", "-c"]
    can = subprocess.run([*spaces, limit], stderr=subprocess.DEVNULL).returncode == 0
    command = f"{limit} && exec {shlex.join([sys.executable, '-c', program])}"
    done = subprocess.run([*spaces, command], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    expected = f"Polled(root={str(folder)!r}, reason='OS file watch limit reached')\n"
    assert done.stdout == (expected if can else "")  # not every system hands out name spaces


def test_files_that_may_be_half_copied_are_left(folder):
    write(folder / "whole.jpg", picture(1))
    os.utime(folder / "whole.jpg", (1, 1))
    assert walk(str(folder), settle=60).unsettled == [
        "whole.jpg"
    ]  # copied now, with the time of its original
    time.sleep(SETTLE)
    (folder / "growing.jpg").write_bytes(b"half")
    (folder / "waits.jpg").touch()  # a browser's place for what it downloads beside it
    (folder / "waits.jpg.part").write_bytes(b"half")
    os.utime(folder / "waits.jpg", (1, 1))
    found = walk(str(folder), settle=SETTLE)
    assert (list(found.files), sorted(found.unsettled)) == (["whole.jpg"], ["growing.jpg", "waits.jpg"])
    time.sleep(SETTLE)
    found = walk(str(folder), settle=SETTLE)
    assert (sorted(found.files), found.unsettled) == (["growing.jpg", "whole.jpg"], ["waits.jpg"])
    assert len(walk(str(folder)).files) == 3


def test_copied_changed_moved_and_deleted_photos_are_followed(library, models, folder):
    """One life: half copied, whole, moved, edited, deleted; its root gone and back."""
    write(folder / "kept.jpg", picture(1))
    (folder / "a").mkdir()
    run(library, folder)
    encoder = models.all["sensorium/mini-clip"]
    write(folder / "b" / "other.jpg", picture(2))
    whole = (folder / "b" / "other.jpg").read_bytes()
    shutil.rmtree(folder / "b")
    with follow(library) as events:
        events.until(lambda: events.reports)

        with (folder / "a" / "new.jpg").open("wb") as file:  # copied bit by bit, slower than it may take
            for at in range(0, len(whole), len(whole) // 8):
                file.write(whole[at : at + len(whole) // 8])
                file.flush()
                time.sleep(SETTLE / 2)
        events.until(lambda: "a/new.jpg" in ids(library))
        assert [failure for report in events.reports for failure in report.failed] == []
        before, encoded = ids(library), encoder.encoded

        (folder / "a").rename(folder / "c")
        (folder / "kept.jpg").rename(folder / "c" / "renamed.jpg")
        events.until(lambda: "c/renamed.jpg" in ids(library) and "c/new.jpg" in ids(library))
        assert ids(library) == {"c/renamed.jpg": before["kept.jpg"], "c/new.jpg": before["a/new.jpg"]}
        events.until(lambda: sum(report.moved for report in events.reports) == 2)

        folder.rename(folder.with_name("unplugged"))
        events.until(lambda: any(isinstance(event, Away) for event in events.events))
        assert len(ids(library)) == 2
        runs = len(events.reports)
        folder.with_name("unplugged").rename(folder)
        events.until(lambda: len(events.reports) > runs)
        assert Back(str(folder)) in events.events
        assert encoder.encoded == encoded  # neither moves nor disks cost anything

        (folder / "c" / "new.jpg").unlink()
        events.until(lambda: len(ids(library)) == 1)
        write(folder / "c" / "renamed.jpg", picture(3))
        events.until(lambda: sum(report.changed for report in events.reports) == 1)
        assert ids(library) == {"c/renamed.jpg": before["kept.jpg"]}


def test_two_hundred_photos_at_once_are_taken_once(library, models, folder):
    write(folder / "1.jpg", picture(1))
    run(library, folder)
    with follow(library) as events:
        events.until(lambda: events.reports)
        for number in range(200):
            write(folder / "burst" / f"{number}.jpg", picture(number + 2, (16, 16)))
        events.until(lambda: len(ids(library)) == 201)
    assert models.all["sensorium/mini-clip"].encoded == 201
    assert sum(report.new for report in events.reports) == 200


def test_what_could_not_be_done_comes_again(library, folder):
    write(folder / "1.jpg", picture(1))
    run(library, folder)
    refused: list[str] = []

    def then(event: object) -> None:
        if isinstance(event, Changed):
            try:
                run(library, *event.folders)
            except LibraryBusyError as error:
                refused.append(str(error))
                events.watch.again(event.folders, 0.1)

    events = Told(watch_library(library.folder, timing=QUICK), then)
    with alone(library.folder), events:
        write(folder / "2.jpg", picture(2))
        events.until(lambda: len(refused) >= 2)
        assert "another `sensorium index` is at work" in refused[0]
        events._stop.set()
    with follow(library) as events:
        events.until(lambda: "2.jpg" in ids(library))


def test_which_paths_hold_photos(library, folder, tmp_path):
    write(folder / "a" / "1.jpg", picture(1))
    write(folder / "ab" / "1.jpg", picture(2))
    write(folder / "a0.jpg", picture(3))
    run(library, folder)
    paths = ("", "/a", "/a/1.jpg", "/ab", "/a0.jpg", "/b", "/a/2", "/a0", "/A")
    assert [holds(library.store, f"{folder}{path}") for path in paths] == [True] * 5 + [False] * 4
    assert not holds(library.store, str(tmp_path))
    shutil.rmtree(folder / "a")
    run(library, folder)
    assert not holds(library.store, f"{folder}/a")


def test_an_empty_folder_is_offline_only_if_it_held_photos(library, folder):
    write(folder / "1.jpg", picture(1))
    run(library, folder)
    held = {str(folder)}
    with told(folder, held=lambda path: path in held) as events:
        events.begun()
        (folder / "1.jpg").unlink()
        events.until(lambda: Away(str(folder), EMPTY) in events.events)
        (folder / "1.jpg").touch()
        events.until(lambda: Back(str(folder)) in events.events)
        held.clear()
        events.events.clear()
        (folder / "1.jpg").unlink()
        events.until(events.folders)
        assert all(isinstance(event, Changed) for event in events.events)

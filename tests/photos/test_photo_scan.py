"""Walking folders as they are: links, loops, rights, names, and what is not ours."""

import os
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest

from sensorium.photos.files.companions import Companion
from sensorium.photos.files.scan import Changes, Known, Walk, compare, reason_offline, walk
from sensorium.photos.files.stamps import Stamp, device_of, renamed_or_deleted

NOBODY = 65534


def touch(path: Path, content: bytes = b"x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


@contextmanager
def without_root_rights():
    """Root may read everything; take its rights away for a moment."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


def test_finds_pictures_and_films_of_all_formats_and_nothing_else(tmp_path):
    wanted = [
        "a.jpg",
        "b.JPEG",
        "c.png",
        "d.webp",
        "e.heic",
        "f.HEIF",
        "g.avif",
        "h.gif",
        "i.tif",
        "j.tiff",
        "k.mp4",
        "l.MOV",
        "m.webm",
        "n.mts",
        "s/t/k.jpg",
    ]
    for name in [
        *wanted,
        "notes.txt",
        "sound.m4a",
        "._a.jpg",
        ".trash/x.jpg",
        "@eaDir/y.jpg",
        "$RECYCLE.BIN/z.jpg",
    ]:
        touch(tmp_path / name, b"12345")
    found = walk(str(tmp_path))
    assert sorted(found.files) == sorted(wanted)
    assert found.files["a.jpg"] == Stamp(5, (tmp_path / "a.jpg").stat().st_mtime_ns)
    assert not found.unreadable
    assert found.offline is None


def test_only_the_asked_part_is_walked(tmp_path):
    touch(tmp_path / "2023" / "a.jpg")
    touch(tmp_path / "2024" / "b.jpg")
    assert list(walk(str(tmp_path), "2024").files) == ["2024/b.jpg"]


def test_link_loops_end_and_nothing_is_found_twice(tmp_path):
    touch(tmp_path / "a" / "photo.jpg")
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    (tmp_path / "a" / "self").symlink_to(tmp_path / "a" / "self")
    (tmp_path / "round.jpg").symlink_to(tmp_path / "round.jpg")
    (tmp_path / "again").symlink_to(tmp_path / "a")
    (tmp_path / "same.jpg").symlink_to(tmp_path / "a" / "photo.jpg")
    (tmp_path / "broken.jpg").symlink_to(tmp_path / "nothing.jpg")
    found = walk(str(tmp_path))
    assert list(found.files) == ["a/photo.jpg"]
    assert not found.unreadable


def test_links_out_of_the_folder_are_followed_once(tmp_path):
    outside = tmp_path / "outside"
    touch(outside / "x.jpg")
    touch(tmp_path / "lone" / "y.jpg")
    root = tmp_path / "root"
    touch(root / "z.jpg")
    (root / "one").symlink_to(outside)
    (root / "two").symlink_to(outside)
    (root / "y.jpg").symlink_to(tmp_path / "lone" / "y.jpg")
    assert sorted(walk(str(root)).files) == ["one/x.jpg", "y.jpg", "z.jpg"]


def test_libraries_are_left_out(tmp_path):
    touch(tmp_path / "p.jpg")
    touch(tmp_path / "mine" / "thumbnail.webp")
    touch(tmp_path / "other" / "thumbnail.webp")
    touch(tmp_path / "other" / "library.sqlite3")
    assert list(walk(str(tmp_path), library=str(tmp_path / "mine")).files) == ["p.jpg"]


def test_names_of_any_bytes(tmp_path):
    names = [b"caf\xe9.jpg", b"new\nline.jpg", "猫.jpg".encode(), b"\xff\xfe/ tab\t.jpg"]
    for name in names:
        touch(tmp_path / os.fsdecode(name))
    assert {os.fsencode(path) for path in walk(str(tmp_path)).files} == set(names)


def test_pipes_and_folders_named_like_pictures_are_no_pictures(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    touch(tmp_path / "album.jpg" / "inside.jpg")
    assert list(walk(str(tmp_path)).files) == ["album.jpg/inside.jpg"]


def test_an_unreadable_folder_is_told_and_the_rest_goes_on():
    root = Path(tempfile.mkdtemp())
    try:
        root.chmod(0o755)
        touch(root / "a.jpg")
        touch(root / "shut" / "b.jpg")
        (root / "shut").chmod(0)
        with without_root_rights():
            found = walk(str(root))
        assert list(found.files) == ["a.jpg"]
        assert found.unreadable == {"shut": "permission denied"}
        known = {
            "a.jpg": Known(1, found.files["a.jpg"], False, True),
            "shut/b.jpg": Known(2, Stamp(1, 1), False, True),
        }
        assert compare(found, known).gone == []
    finally:
        (root / "shut").chmod(0o700)
        shutil.rmtree(root)


@pytest.mark.parametrize(
    "make",
    [
        lambda path: None,
        lambda path: path.mkdir(),
        lambda path: path.write_text("x"),
        lambda path: (path / "lost+found").mkdir(parents=True),
        lambda path: (path / ".Trash-1000").mkdir(parents=True),
    ],
)
def test_a_root_that_is_absent_or_empty_is_offline(tmp_path, make):
    make(tmp_path / "root")
    assert reason_offline(str(tmp_path / "root"))
    assert walk(str(tmp_path / "root")).offline
    assert walk(str(tmp_path / "root")).files == {}


def test_compare_sorts_every_case():
    old, now = Stamp(1, 1), Stamp(1, 2)
    known = {
        "same": Known(1, now, False, True),
        "touched": Known(2, old, False, True),
        "gone": Known(3, old, False, True),
        "gone before": Known(4, old, True, True),
        "back": Known(5, now, True, True),
        "no vector": Known(6, now, False, False),
        "bad": Known(None, None, False, False, now, True),
        "bad, repaired": Known(None, None, False, False, old, True),
        "bad, deleted": Known(None, None, False, False, old, True),
        "disk fault": Known(None, None, False, False, None, True),
        "broke": Known(7, old, True, True, now, True),
        "broke, put back": Known(8, now, True, True, old, True),
        "broke, deleted": Known(9, old, True, True, now, True),
        "gone, name used again": Known(10, old, True, True),
        "broke, written anew": Known(11, old, True, True, old, True),
        "described worse": Known(12, now, False, True, described=False),
        "described worse, but refused": Known(13, now, False, True, now, True, described=False),
        "lost its sidecar": Known(14, now, False, True, companions=(Companion("x.xmp", now, "sidecar"),)),
        "lost its film": Known(15, now, False, True, companions=(Companion("x.mov", now, "live"),)),
        "no vector, described worse": Known(16, now, False, False, described=False),
    }
    away = ("gone", "gone before", "bad, deleted", "broke, deleted")
    files = {path: now for path in [*known, "new"] if path not in away}
    changes = compare(Walk(files), known)
    assert changes == Changes(
        new=["bad, repaired", "disk fault", "gone, name used again", "new"],
        changed=["touched", "broke, written anew"],
        pending=["no vector", "no vector, described worse"],
        stale=["described worse", "lost its sidecar"],
        accompanied=["lost its film"],
        returned=[5, 8],
        gone=[3],
        forgotten=["broke, put back", "bad, deleted", "broke, deleted"],
        unchanged=5,
        failed_before=2,
    )


def test_files_of_one_size_and_time_that_changed_places_are_told_by_their_numbers():
    stamp = Stamp(1, 1)
    known = {
        name: Known(1, stamp, False, True, inode=inode) for name, inode in (("a", 5), ("b", 6), ("c", 7))
    }
    same = Walk(dict.fromkeys(known, stamp), inodes={"a": 5, "b": 6, "c": 7})
    assert compare(same, known).changed == []
    swapped = Walk(dict.fromkeys(known, stamp), inodes={"a": 6, "b": 5, "c": 7})
    assert compare(swapped, known).changed == ["a", "b"]
    # Where numbers are dealt out anew with every mount they say nothing.
    mounted_again = Walk(dict.fromkeys(known, stamp), inodes={"a": 91, "b": 92, "c": 93})
    assert compare(mounted_again, known).changed == []
    copied_over = {**known, "a": Known(1, Stamp(2, 2), False, True, inode=6)}
    assert compare(Walk({"a": Stamp(2, 2)}, inodes={"a": 5}), copied_over).changed == []


def test_companions_are_told_with_their_photo_and_are_no_photos(tmp_path):
    for name in ("a.jpg", "a.CR2", "a.mov", "a.xmp", "b.cr2", "film.mov", "notes.json"):
        touch(tmp_path / "d" / name)
    found = walk(str(tmp_path))
    assert sorted(found.files) == ["d/a.jpg", "d/b.cr2", "d/film.mov"]
    assert sorted(found.inodes) == sorted(found.files)
    (companions,) = found.companions.values()
    assert [(companion.path, companion.kind) for companion in companions] == [
        ("d/a.CR2", "raw"),
        ("d/a.mov", "live"),
        ("d/a.xmp", "sidecar"),
    ]
    assert companions[0].stamp == Stamp(1, (tmp_path / "d" / "a.CR2").stat().st_mtime_ns)


def test_a_folder_left_for_good_or_with_its_disk(tmp_path):
    here = device_of(tmp_path.stat())
    inside = str(tmp_path / "renamed" / "photos")
    assert renamed_or_deleted(inside, here)
    assert renamed_or_deleted(inside, None)  # never noted
    assert not renamed_or_deleted(inside, here + 1)  # what is left lies on another disk
    (tmp_path / "renamed" / "photos").mkdir(parents=True)
    assert not renamed_or_deleted(inside, here)  # empty, as a place to mount is
    (tmp_path / "renamed" / "file").write_text("x")
    assert renamed_or_deleted(str(tmp_path / "renamed" / "file" / "photos"), here)


def test_compare_leaves_other_folders_alone():
    known = {"2023/a": Known(1, Stamp(1, 1), False, True), "2024/b": Known(2, Stamp(1, 1), False, True)}
    assert compare(Walk({}), known, "2024").gone == [2]

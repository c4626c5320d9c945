"""A photo is its content: it keeps its id and vector wherever its file goes, and is never doubled."""

import hashlib
import os
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st
from photo_fakes import Models, picture, plain, run, vectors, write

from sensorium.photos.database import records, schema
from sensorium.photos.database.schema import photos, roots
from sensorium.photos.intake import indexing, worker
from sensorium.photos.library import Library


def fill(folder: Path, count: int, start: int = 0) -> None:
    for seed in range(start, start + count):
        write(folder / f"{seed:03}.jpg", picture(seed, (24, 24)))


def there(library: Library) -> dict[str, int]:
    """Ids of the photos that are not gone, by full path."""
    with library._store.reading() as connection:
        statement = sa.select(roots.c.path, photos.c.path, photos.c.id).join_from(photos, roots)
        rows = connection.execute(statement.where(photos.c.missing_since.is_(None))).all()
    return {f"{root}/{path}": photo for root, path, photo in rows}


def facts(library: Library) -> dict[int, tuple]:
    columns = (photos.c.id, photos.c.first_seen, photos.c.sha256, photos.c.taken_at)
    with library._store.reading() as connection:
        return {row.id: tuple(row) for row in connection.execute(sa.select(*columns))}


def check(library: Library) -> None:
    with library._store.reading() as connection:
        assert connection.exec_driver_sql("PRAGMA integrity_check").scalar() == "ok"
        assert connection.exec_driver_sql("PRAGMA foreign_key_check").all() == []


def encoded(models: Models) -> int:
    return models("test/colours").encoded


def test_renamed_and_moved_files_keep_everything(library, models, folder):
    fill(folder / "a", 4)
    run(library, folder)
    before, said = there(library), facts(library)
    (folder / "a" / "000.jpg").rename(folder / "a" / "renamed.jpg")
    (folder / "b").mkdir()
    (folder / "a" / "001.jpg").rename(folder / "b" / "001.jpg")
    report = run(library, folder)
    assert (report.moved, report.new, report.gone, report.encoded) == (2, 0, 0, 0)
    after = there(library)
    assert after[f"{folder}/a/renamed.jpg"] == before[f"{folder}/a/000.jpg"]
    assert after[f"{folder}/b/001.jpg"] == before[f"{folder}/a/001.jpg"]
    assert set(after.values()) == set(before.values())
    assert facts(library) == said
    assert library.status().gone == 0


def test_a_renamed_root_keeps_everything_and_the_old_one_is_forgotten(library, models, folder, tmp_path):
    fill(folder, 6)
    run(library, folder)
    before = there(library)
    (folder / "005.jpg").unlink()
    run(library, folder)
    renamed = folder.rename(tmp_path / "renamed")
    report = run(library, renamed)
    assert (report.moved, report.new, report.encoded, report.offline) == (5, 0, 0, [])
    assert there(library) == {
        path.replace(str(folder), str(renamed)): photo
        for path, photo in before.items()
        if not path.endswith("005.jpg")
    }
    assert [root.path for root in library.status().roots] == [renamed]
    write(renamed / "back.jpg", picture(5, (24, 24)))  # gone before the rename
    report = run(library)
    assert (report.moved, report.encoded) == (1, 0)
    assert there(library)[f"{renamed}/back.jpg"] == before[f"{folder}/005.jpg"]
    check(library)


def test_a_root_moved_into_another_root_keeps_everything(library, models, folder, tmp_path):
    fill(folder / "one", 3)
    fill(folder / "two", 3, 10)
    run(library, folder / "one", folder / "two")
    before = set(there(library).values())
    (folder / "one").rename(folder / "two" / "one")
    report = run(library)
    assert (report.moved, report.encoded) == (3, 0)
    assert set(there(library).values()) == before
    assert [root.path for root in library.status().roots] == [folder / "two"]


def test_a_copy_is_a_second_photo_with_the_same_vector(library, models, folder):
    fill(folder, 1)
    run(library, folder)
    (original,) = there(library).values()
    shutil.copy2(folder / "000.jpg", folder / "copy.jpg")
    report = run(library, folder)
    assert (report.new, report.moved, report.reused, report.encoded) == (1, 0, 1, 0)
    assert there(library)[f"{folder}/000.jpg"] == original
    assert len(there(library)) == 2
    both = vectors(library)
    assert np.array_equal(both["000.jpg"], both["copy.jpg"])


def test_copies_that_come_together_are_encoded_once(library, models, folder):
    fill(folder, 1)
    for name in ("b.jpg", "c.jpg"):
        shutil.copy(folder / "000.jpg", folder / name)
    assert run(library, folder).encoded == 3
    assert encoded(models) == 1
    assert len(set(there(library).values())) == 3


def test_of_two_copies_each_goes_with_its_own_name(library, models, folder):
    for name in ("x/a.jpg", "x/b.jpg", "y/a.jpg"):
        write(folder / name, picture(1))
    run(library, folder)
    before = there(library)
    (folder / "x").rename(folder / "z")
    report = run(library, folder)
    assert (report.moved, report.encoded) == (2, 0)
    assert there(library) == {path.replace("/x/", "/z/"): photo for path, photo in before.items()}


@pytest.mark.parametrize("same_stamps", [False, True])
def test_files_that_swap_their_names_swap_their_photos(library, models, folder, same_stamps):
    for name, seed in (("a.bmp", 1), ("b.bmp", 2)):
        write(folder / name, picture(seed), kind="BMP")
        if same_stamps:
            os.utime(folder / name, (1000, 1000))
    run(library, folder)
    before, kept = there(library), vectors(library)
    (folder / "a.bmp").rename(folder / "c.bmp")
    (folder / "b.bmp").rename(folder / "a.bmp")
    (folder / "c.bmp").rename(folder / "b.bmp")
    report = run(library, folder)
    assert (report.moved, report.encoded) == (2, 0)
    after, now = there(library), vectors(library)
    assert after[f"{folder}/a.bmp"] == before[f"{folder}/b.bmp"]
    assert after[f"{folder}/b.bmp"] == before[f"{folder}/a.bmp"]
    assert np.array_equal(now["a.bmp"], kept["b.bmp"])
    assert np.array_equal(now["b.bmp"], kept["a.bmp"])
    assert run(library, folder).unchanged == 2


def test_a_chain_of_renames_with_a_new_file_at_its_end(library, models, folder):
    fill(folder, 3)
    run(library, folder)
    before = there(library)
    (folder / "002.jpg").rename(folder / "003.jpg")
    (folder / "001.jpg").rename(folder / "002.jpg")
    (folder / "000.jpg").rename(folder / "001.jpg")
    fill(folder / "new", 1, 50)
    (folder / "new" / "050.jpg").rename(folder / "000.jpg")
    report = run(library, folder)
    assert (report.moved, report.new, report.changed, report.gone, report.encoded) == (3, 0, 1, 0, 1)
    after = there(library)
    for seed in range(3):
        assert after[f"{folder}/{seed + 1:03}.jpg"] == before[f"{folder}/{seed:03}.jpg"]
    assert after[f"{folder}/000.jpg"] not in before.values()
    check(library)


def test_an_edited_file_is_the_same_photo_with_another_vector(library, models, folder):
    fill(folder, 2)
    run(library, folder)
    before, kept = there(library), vectors(library)
    write(folder / "000.jpg", picture(70, (24, 24)))
    report = run(library, folder)
    assert (report.changed, report.moved, report.encoded) == (1, 0, 1)
    assert there(library) == before
    assert vectors(library)["000.jpg"] @ kept["000.jpg"] < 0.99


def test_an_original_kept_under_another_name_stays_itself(library, models, folder):
    fill(folder, 1)
    run(library, folder)
    (original,) = there(library).values()
    (folder / "000.jpg").rename(folder / "000_original.jpg")
    write(folder / "000.jpg", picture(70, (24, 24)))
    report = run(library, folder)
    assert (report.moved, report.encoded) == (1, 1)
    assert there(library)[f"{folder}/000_original.jpg"] == original
    assert len(there(library)) == 2


def test_a_name_that_a_camera_uses_again_is_another_photo(library, models, folder, tmp_path):
    fill(folder, 1)
    write(folder / "other.jpg", picture(9))
    run(library, folder)
    before = there(library)
    (folder / "000.jpg").rename(tmp_path / "first.jpg")
    run(library, folder)
    write(folder / "000.jpg", picture(70, (24, 24)))
    report = run(library, folder)
    assert (report.new, report.changed, report.encoded) == (1, 0, 1)
    assert there(library)[f"{folder}/000.jpg"] not in before.values()
    (tmp_path / "first.jpg").rename(folder / "first.jpg")
    report = run(library, folder)
    assert (report.moved, report.encoded) == (1, 0)
    assert there(library)[f"{folder}/first.jpg"] == before[f"{folder}/000.jpg"]


def test_an_edit_that_was_seen_half_written_is_still_the_same_photo(library, models, folder):
    fill(folder, 2)
    run(library, folder)
    before = there(library)
    write(folder / "000.jpg", picture(70, (24, 24)))
    whole = (folder / "000.jpg").read_bytes()
    (folder / "000.jpg").write_bytes(whole[: len(whole) // 2])
    assert len(run(library, folder).failed) == 1
    (folder / "000.jpg").write_bytes(whole)
    report = run(library, folder)
    assert (report.changed, report.encoded) == (1, 1)
    assert there(library) == before


def test_one_byte_in_the_middle_makes_two_photos(library, models, folder):
    write(folder / "a.bmp", picture(1), kind="BMP")
    content = bytearray((folder / "a.bmp").read_bytes())
    content[len(content) // 2] ^= 1
    (folder / "b.bmp").write_bytes(content)
    stamp = (folder / "a.bmp").stat()
    os.utime(folder / "b.bmp", ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert run(library, folder).encoded == 2
    first = there(library)
    (folder / "a.bmp").unlink()
    (folder / "b.bmp").rename(folder / "c.bmp")
    report = run(library, folder)
    assert (report.moved, report.gone) == (1, 1)
    assert there(library) == {f"{folder}/c.bmp": first[f"{folder}/b.bmp"]}


def test_a_disk_that_is_not_mounted_keeps_its_photos_when_a_copy_comes(library, models, folder, tmp_path):
    fill(folder, 3)
    run(library, folder)
    before = there(library)
    shutil.copytree(folder, tmp_path / "backup")  # another disk, with copies of the same times
    folder.rename(tmp_path / "unplugged")
    folder.mkdir()  # where the disk was mounted
    report = run(library, tmp_path / "backup")
    assert (report.moved, report.new, report.reused, report.encoded) == (0, 3, 3, 0)
    assert before.items() < there(library).items()
    folder.rmdir()
    (tmp_path / "unplugged").rename(folder)
    report = run(library)
    assert (report.unchanged, report.encoded, report.offline) == (6, 0, [])
    assert before.items() < there(library).items()


def test_a_vanished_disk_keeps_its_photos_when_its_place_lies_on_another_disk(
    library, models, folder, tmp_path
):
    fill(folder, 2)
    run(library, folder)
    before = there(library)
    with library._store.writing() as connection:  # as after the disk's own mount
        connection.execute(sa.update(roots).values(device=roots.c.device + 1))
    shutil.copytree(folder, tmp_path / "backup")
    shutil.rmtree(folder)
    report = run(library, tmp_path / "backup")
    assert (report.moved, report.new, report.encoded) == (0, 2, 0)
    assert before.items() < there(library).items()


def test_the_same_disk_mounted_elsewhere_is_the_same_photos(library, models, folder, tmp_path):
    fill(folder, 2)
    run(library, folder)
    before = set(there(library).values())
    with library._store.writing() as connection:
        connection.execute(sa.update(roots).values(device=roots.c.device + 1))
    folder.rename(tmp_path / "elsewhere")
    report = run(library, tmp_path / "elsewhere")
    assert (report.moved, report.new, report.encoded) == (2, 0, 0)
    assert set(there(library).values()) == before


def test_a_root_that_comes_back_after_its_copy_took_over_returns_as_photos_of_its_own(
    library, models, folder, tmp_path
):
    fill(folder, 3)
    run(library, folder)
    shutil.copytree(folder, tmp_path / "copy")
    hidden = folder.rename(tmp_path / "hidden")  # looks deleted
    assert run(library, tmp_path / "copy").moved == 3
    hidden.rename(folder)
    report = run(library, folder)
    assert (report.new, report.reused, report.encoded) == (3, 3, 0)
    assert len(set(there(library).values())) == 6
    assert encoded(models) == 3


def test_a_file_moved_between_roots_is_followed_whichever_is_indexed(library, models, folder, tmp_path):
    other = tmp_path / "other"
    fill(folder, 3)
    fill(other, 1, 20)
    run(library, folder, other)
    before = there(library)
    (folder / "001.jpg").rename(other / "moved.jpg")
    report = run(library, other)  # the other root only
    assert (report.moved, report.encoded) == (1, 0)
    after = there(library)
    assert after[f"{other}/moved.jpg"] == before[f"{folder}/001.jpg"]
    report = run(library)
    assert (report.gone, report.encoded, report.unchanged) == (0, 0, 4)
    assert there(library) == after


def test_a_run_stopped_between_going_and_coming_loses_nothing(library, models, folder):
    fill(folder, 5)
    run(library, folder)
    before = there(library)
    (folder / "sub").mkdir()
    for seed in range(5):
        (folder / f"{seed:03}.jpg").rename(folder / "sub" / f"{seed:03}.jpg")
    events = library.index([folder], workers=1)
    next(events)  # compared, nothing read
    events.close()
    report = run(library, folder)
    assert (report.moved, report.encoded) == (5, 0)
    assert set(there(library).values()) == set(before.values())


def test_a_gone_photo_returns_under_any_name(library, models, folder, tmp_path):
    fill(folder, 2)
    run(library, folder)
    before = there(library)
    shutil.move(folder / "000.jpg", tmp_path / "kept.jpg")
    run(library, folder)
    shutil.copy(tmp_path / "kept.jpg", folder / "restored.jpg")  # with another time
    report = run(library, folder)
    assert (report.moved, report.encoded) == (1, 0)
    assert there(library)[f"{folder}/restored.jpg"] == before[f"{folder}/000.jpg"]


def test_words_and_other_models_go_along(library, models, folder):
    fill(folder / "old", 2)
    run(library, folder)
    run(library, folder, model="test/light")
    photo = there(library)[f"{folder}/old/000.jpg"]
    (folder / "old" / "000.jpg").rename(folder / "old" / "kiosk.jpg")
    (folder / "old").rename(folder / "harbour")
    run(library, folder)
    words = schema.photo_words
    with library._store.reading() as connection:
        matching = sa.select(words.c.rowid).where(sa.text("photo_words MATCH :said"))
        assert connection.execute(matching, {"said": "harbour AND kiosk"}).all() == [(photo,)]
        assert connection.execute(matching, {"said": "old"}).all() == []
        assert connection.execute(sa.select(sa.func.count()).select_from(schema.vectors)).scalar() == 4
    back = run(library, folder, model="sensorium/mini-clip")
    assert (back.encoded, back.reused, back.unchanged) == (0, 0, 2)


class Reading:
    """Reads in this process, in an order that the test draws, what a pool reads in others."""

    order = random.Random(0)

    def __init__(self, spec, count, *, waiting) -> None:
        self.spec = spec
        self.tasks = []

    def __enter__(self) -> "Reading":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def submit(self, task) -> None:
        self.tasks.append(task)

    def take(self):
        return worker.read(self.tasks.pop(self.order.randrange(len(self.tasks))), self.spec)


_MOVES = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=8)


@settings(max_examples=40, deadline=None)
@given(_MOVES, st.integers(1, 4), st.integers(0, 1 << 30))
def test_any_shuffle_of_names_keeps_all_photos(tmp_path_factory, moves, batch, order):
    """Files are renamed over and around each other; those that survive keep their ids and vectors."""
    models = Models()
    folder = tmp_path_factory.mktemp("shuffle")
    for seed in range(5):
        write(folder / f"{seed}.jpg", picture(seed, (16, 16)))
    Reading.order = random.Random(order)
    where = tmp_path_factory.mktemp("library")
    with pytest.MonkeyPatch.context() as patch, Library.open(where, create=True, loader=models) as library:
        patch.setattr(indexing, "Pool", Reading)
        index(library, models, folder, batch)
        before = contents(library)
        for source, target in moves:
            if source != target and (folder / f"{source}.jpg").exists():
                (folder / f"{source}.jpg").replace(folder / f"{target}.jpg")
        index(library, models, folder, batch)
        assert len(there(library)) == len(list(folder.iterdir()))
        assert contents(library).items() <= before.items()
        assert encoded(models) == 5
        check(library)


def index(library: Library, models: Models, folder: Path, batch: int) -> None:
    encoder = models("test/colours")
    list(indexing.index(library._store, [folder], encoder, model="m", workers=1, batch=batch))


def contents(library: Library) -> dict[bytes, int]:
    """Ids of the photos that are there by their content, checked against the bytes of their files."""
    found = {}
    for row in library._store.photos(list(there(library).values())).values():
        content = Path(row.root, row.path).read_bytes()
        assert hashlib.sha256(content).digest() == row.sha256
        found[row.sha256] = row.id
    return found


def test_the_likeliest_of_several_is_taken():
    assert records._common_end("a/b/c.jpg", "x/b/c.jpg") == 2
    assert records._common_end("a/b/c.jpg", "a/b/d.jpg") == 0


def test_photos_change_places_between_three_roots_in_one_batch(library, models, folder, tmp_path):
    roots = [folder, tmp_path / "second", tmp_path / "third"]
    for seed, root in enumerate(roots):
        write(root / "a.jpg", picture(seed))
        write(root / "stays.jpg", picture(10 + seed))
    run(library, *roots)
    before = there(library)
    (folder / "a.jpg").rename(tmp_path / "aside")
    (roots[1] / "a.jpg").rename(folder / "a.jpg")
    (roots[2] / "a.jpg").rename(roots[1] / "a.jpg")
    (tmp_path / "aside").rename(roots[2] / "a.jpg")
    report = run(library)
    assert (report.moved, report.encoded, report.new, report.changed, report.gone) == (3, 0, 0, 0, 0)
    after = there(library)
    for old, new in ((0, 2), (1, 0), (2, 1)):
        assert after[f"{roots[new]}/a.jpg"] == before[f"{roots[old]}/a.jpg"]
    check(library)


def test_a_copy_with_the_time_of_its_original_is_a_copy_even_where_disks_number_anew(library, models, folder):
    fill(folder, 2)
    run(library, folder)
    before = there(library)
    with library._store.writing() as connection:  # as after another mount of a memory card
        connection.execute(sa.update(photos).values(inode=photos.c.inode + 1000))
    shutil.copy2(folder / "000.jpg", folder / "copy.jpg")
    report = run(library, folder)
    assert (report.moved, report.new, report.unchanged, report.encoded) == (0, 1, 2, 0)
    assert before.items() < there(library).items()


def test_an_edited_photo_answers_as_it_is_now_in_a_process_that_lives_on(library, folder):
    write(folder / "a.jpg", plain("red"))
    write(folder / "b.jpg", plain("blue"))
    run(library, folder)
    assert library.search("blue", everything=True)[0].path.name == "b.jpg"
    write(folder / "a.jpg", plain("blue", (66, 66)))
    write(folder / "b.jpg", plain("red", (66, 66)))
    run(library, folder)
    assert library.search("blue", everything=True)[0].path.name == "a.jpg"
    with library._store.reading() as connection:
        written = set(connection.scalars(sa.select(schema.vectors.c.written)))
    assert written == {library._store.vectors_generation()}

"""The indexer: what is taken, what is not taken again, and that vectors belong to their photos."""

import os
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from photo_fakes import LightEncoder, Models, picture, plain, run, vectors, write
from PIL import ExifTags, Image

from sensorium.errors import LibraryError, SensoriumError
from sensorium.photos.intake import indexing
from sensorium.photos.library import Library


def fill(folder: Path, count: int, start: int = 0) -> None:
    for seed in range(start, start + count):
        write(folder / f"{seed:03}.jpg", picture(seed))


def encoded(models: Models) -> int:
    return models("test/colours").encoded


def snapshot(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {str(p): (p.read_bytes(), p.stat().st_mtime_ns) for p in sorted(folder.rglob("*")) if p.is_file()}


def test_the_second_run_takes_nothing_and_originals_stay_as_they_are(library, models, folder):
    fill(folder / "a", 20)
    fill(folder / "b" / "c", 20, 100)
    before = snapshot(folder)
    first = run(library, folder)
    assert (first.new, first.encoded, first.failed, first.waiting) == (40, 40, [], 0)
    second = run(library, folder)
    assert (second.new, second.unchanged, second.encoded, second.kept) == (0, 40, 0, 0)
    assert encoded(models) == 40
    assert snapshot(folder) == before


def test_new_changed_gone_and_returned_files(library, models, folder, tmp_path):
    fill(folder, 5)
    run(library, folder)
    ids = {row.path: photo for photo, row in library._store.photos(range(1, 6)).items()}
    kept = vectors(library)
    write(folder / "000.jpg", picture(50))
    shutil.move(folder / "001.jpg", tmp_path / "away.jpg")
    write(folder / "new.jpg", picture(60))
    report = run(library, folder)
    assert (report.new, report.changed, report.gone, report.unchanged, report.encoded) == (1, 1, 1, 3, 2)
    now = vectors(library)
    assert set(now) == {"000.jpg", "002.jpg", "003.jpg", "004.jpg", "new.jpg"}
    assert now["000.jpg"] @ kept["000.jpg"] < 0.99
    assert all(hit.path.name != "001.jpg" for hit in library.search("red", 10))
    shutil.move(tmp_path / "away.jpg", folder / "001.jpg")
    report = run(library, folder)
    assert (report.returned, report.encoded) == (1, 0)
    assert np.array_equal(vectors(library)["001.jpg"], kept["001.jpg"])
    photos = library._store.photos(range(1, 10))
    assert {row.path: photo for photo, row in photos.items() if row.path in ids} == ids
    assert library.status().gone == 0


def test_a_moved_or_copied_file_costs_no_encoding(library, models, folder):
    fill(folder / "old", 6)
    run(library, folder)
    kept = vectors(library)
    (folder / "old").rename(folder / "renamed")
    write(folder / "copy.jpg", picture(3))
    report = run(library, folder)
    assert (report.moved, report.new, report.gone, report.encoded, report.reused) == (6, 1, 0, 0, 7)
    assert encoded(models) == 6
    now = vectors(library)
    for seed in range(6):
        assert np.array_equal(now[f"renamed/{seed:03}.jpg"], kept[f"old/{seed:03}.jpg"])
    assert np.array_equal(now["copy.jpg"], kept["old/003.jpg"])


def test_many_files_of_one_size_are_told_apart_by_their_content(library, models, folder, monkeypatch):
    monkeypatch.setattr(indexing, "_MOST_CONTENTS", 3)
    for seed in range(6):
        write(folder / f"{seed}.bmp", picture(seed), kind="BMP")
    run(library, folder)
    kept = vectors(library)
    for seed in range(6):
        (folder / f"{seed}.bmp").rename(folder / f"new{seed}.bmp")
    report = run(library, folder)
    assert (report.reused, report.encoded) == (6, 0)
    now = vectors(library)
    assert all(np.array_equal(now[f"new{seed}.bmp"], kept[f"{seed}.bmp"]) for seed in range(6))


def test_a_touched_file_costs_no_encoding_but_one_byte_in_the_middle_does(library, folder):
    write(folder / "a.bmp", picture(1), kind="BMP")
    run(library, folder)
    os.utime(folder / "a.bmp", (1, 1))
    report = run(library, folder)
    assert (report.changed, report.reused, report.encoded) == (1, 1, 0)
    content = bytearray((folder / "a.bmp").read_bytes())
    content[len(content) // 2] ^= 1
    (folder / "b.bmp").write_bytes(content)
    report = run(library, folder)
    assert (report.new, report.reused, report.encoded) == (1, 0, 1)


def test_a_bad_file_is_not_tried_again_until_it_changes(library, folder):
    write(folder / "good.jpg", picture(1))
    (folder / "bad.jpg").write_bytes(b"not a picture")
    assert len(run(library, folder).failed) == 1
    again = run(library, folder)
    assert (again.failed, again.failed_before, again.unchanged) == ([], 1, 1)
    assert [Path(failure.path).name for failure in library.status().failed] == ["bad.jpg"]
    write(folder / "bad.jpg", picture(2))
    assert run(library, folder).encoded == 1
    assert library.status().failed == []


def test_a_photo_that_broke_leaves_the_results_until_it_is_whole_again(library, models, folder):
    write(folder / "a.jpg", plain("red"))
    write(folder / "b.jpg", plain("blue"))
    run(library, folder)
    whole, stamp = (folder / "a.jpg").read_bytes(), (folder / "a.jpg").stat()
    (folder / "a.jpg").write_bytes(whole[:100])
    assert len(run(library, folder).failed) == 1
    assert [hit.path.name for hit in library.search("red", everything=True)] == ["b.jpg"]
    (folder / "a.jpg").write_bytes(whole)
    os.utime(folder / "a.jpg", ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    report = run(library, folder)
    assert (report.returned, report.encoded) == (1, 0)
    assert [hit.path.name for hit in library.search("red", everything=True)] == ["a.jpg", "b.jpg"]
    assert library.status().failed == []


def test_a_deleted_bad_file_is_forgotten(library, folder):
    write(folder / "good.jpg", picture(1))
    (folder / "bad.jpg").write_bytes(b"")
    run(library, folder)
    (folder / "bad.jpg").unlink()
    run(library, folder)
    assert library.status().failed == []


@pytest.mark.parametrize("how", ["absent", "empty"])
def test_an_unplugged_disk_loses_nothing(library, models, folder, tmp_path, how):
    fill(folder, 4)
    run(library, folder)
    folder.rename(tmp_path / "unplugged")
    if how == "empty":
        folder.mkdir()
    report = run(library, folder)
    assert [failure.path for failure in report.offline] == [str(folder)]
    assert report.gone == 0
    told = library.status()
    assert (told.photos, told.offline, told.gone) == (4, 4, 0)
    assert told.roots[0].offline
    assert all(hit.why.endswith("offline now") for hit in library.search("red"))
    if how == "empty":
        folder.rmdir()
    (tmp_path / "unplugged").rename(folder)
    report = run(library, folder)
    assert (report.unchanged, report.encoded, report.offline) == (4, 0, [])
    assert library.status().offline == 0


def test_an_unreadable_folder_keeps_its_photos(library, folder, monkeypatch):
    fill(folder / "a", 2)
    fill(folder / "b", 2, 10)
    run(library, folder)
    shut, scandir = str(folder / "b"), os.scandir

    def refuse(path):
        if path == shut:
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    write(folder / "a" / "new.jpg", picture(30))
    report = run(library, folder)
    assert [(failure.path, failure.reason) for failure in report.unreadable] == [(shut, "permission denied")]
    assert (report.encoded, report.gone) == (1, 0)
    assert library.status().photos == 5


def test_folders_inside_folders_are_one_library(library, models, folder):
    fill(folder / "2023", 2)
    fill(folder / "2024", 2, 10)
    (folder / "2023" / "bad.jpg").write_bytes(b"x")
    run(library, folder / "2023")
    ids = set(library._store.photos(range(1, 10)))
    report = run(library, folder)
    assert (report.new, report.unchanged, report.failed_before, report.encoded) == (2, 2, 1, 2)
    assert [str(root.path) for root in library.status().roots] == [str(folder)]
    assert ids < set(library._store.photos(range(1, 10)))
    write(folder / "2024" / "more.jpg", picture(40))
    write(folder / "2023" / "more.jpg", picture(41))
    assert run(library, folder / "2024").new == 1
    assert run(library).new == 1  # all folders that the library knows
    assert encoded(models) == 6


def test_the_library_in_the_folder_that_it_indexes_is_not_indexed(models, folder):
    fill(folder, 2)
    with Library.open(folder / ".sensorium", create=True, loader=models) as library:
        write(folder / ".sensorium" / "thumbnails" / "x.jpg", picture(9))
        assert run(library, folder).new == 2
    with Library.open(folder / "shown", create=True, loader=models) as library:
        write(folder / "shown" / "thumbnails" / "x.jpg", picture(9))
        assert run(library, folder).new == 2
        with pytest.raises(LibraryError, match="library's own folder"):
            run(library, folder / "shown" / "thumbnails")


def test_another_model_answers_only_when_it_is_complete(library, models, folder, tmp_path):
    other = tmp_path / "other"
    fill(folder, 3)
    fill(other, 3, 20)
    run(library, folder, other)
    light: LightEncoder = models("test/light")
    other.rename(tmp_path / "unplugged")
    report = run(library, folder, model="test/light")
    assert (report.encoded, report.waiting, report.answering) == (3, 3, "sensorium/mini-clip")
    assert library.status().model == "sensorium/mini-clip"
    assert len(library.search("red", everything=True)) == 6
    (tmp_path / "unplugged").rename(other)
    report = run(library, folder, model="test/light")
    assert (report.encoded, report.waiting, report.answering) == (3, 0, "test/light")
    assert light.encoded == 6
    assert library.status().model == "test/light"
    assert len(library.search("red", everything=True)) == 6
    assert len(vectors(library)["000.jpg"]) == light.dim
    back = run(library, folder, model="sensorium/mini-clip")  # its vectors are still there
    assert (back.encoded, back.answering) == (0, "sensorium/mini-clip")


def test_a_replaced_model_refuses_to_mix_and_indexing_mends_it(library, models, folder):
    fill(folder, 3)
    run(library, folder)
    models("test/colours").pipeline = "colours-2"
    with pytest.raises(LibraryError, match="another version of sensorium/mini-clip"):
        library.search("red")
    assert run(library, folder).encoded == 3
    assert len(library.search("red")) == 3


def test_a_network_that_gives_no_vector_fails_only_that_photo(library, models, folder, monkeypatch):
    fill(folder, 6)
    encoder = models("test/colours")
    embed = encoder.embed_pixels

    def one_bad(pixels):
        rows = embed(pixels)
        rows[1:2] = np.nan
        return rows

    monkeypatch.setattr(encoder, "embed_pixels", one_bad)
    report = run(library, folder)
    assert (report.encoded, len(report.failed)) == (5, 1)
    assert "no usable vector" in report.failed[0].reason
    assert np.isfinite(np.stack(list(vectors(library).values()))).all()


def test_names_of_any_bytes_are_indexed_and_found(library, folder):
    names = [b"caf\xe9.jpg", b"new\nline.jpg", "猫.jpg".encode(), b"\xff/\xfe.jpg"]
    for name in names:
        write(os.fsdecode(os.fsencode(folder) + b"/" + name), plain("red"))
    assert run(library, folder).new == 4
    paths = {os.fsencode(hit.path) for hit in library.search("red")}
    assert paths == {os.fsencode(folder) + b"/" + name for name in names}
    assert run(library, folder).unchanged == 4
    odd = os.fsdecode(os.fsencode(folder) + b"/caf\xe9.jpg")
    assert odd not in {str(hit.path) for hit in library.similar(odd)}


def test_facts_are_kept(library, folder):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    exif[ExifTags.Base.Model] = "Snap 3"
    exif[ExifTags.IFD.Exif] = {
        ExifTags.Base.DateTimeOriginal: "2021:07:04 09:08:07",
        ExifTags.Base.OffsetTimeOriginal: "+08:00",
        ExifTags.Base.SubsecTimeOriginal: "25",
    }
    exif[ExifTags.IFD.GPSInfo] = {1: "N", 2: (35.0, 0.0, 0.0), 3: "W", 4: (135.0, 30.0, 0.0)}
    write(folder / "a.jpg", plain("red", (96, 64)), exif=exif)
    run(library, folder)
    (hit,) = library.search("red")
    assert hit.taken_at.isoformat() == "2021-07-04T09:08:07.250000+08:00"
    assert hit.place == "35.0000°N 135.5000°W"
    assert hit.why == "looks a little like “red”"
    row = library._store.photos([1])[1]
    assert (row.width, row.height, row.camera_model, row.format) == (64, 96, "Snap 3", "JPEG")


def test_similar_inside_and_outside_the_library(library, models, folder, tmp_path):
    for colour in ("red", "green", "blue"):
        write(folder / f"{colour}.jpg", plain(colour))
    write(folder / "reddish.jpg", Image.new("RGB", (64, 64), (200, 40, 40)))
    run(library, folder)
    before = encoded(models)
    assert [hit.path.name for hit in library.similar(folder / "red.jpg", 1)] == ["reddish.jpg"]
    assert encoded(models) == before  # its vector was there
    write(tmp_path / "outside.png", plain("green"), kind="PNG")
    assert library.similar(tmp_path / "outside.png", 1)[0].path.name == "green.jpg"
    write(folder / "red.jpg", plain("blue"))  # changed since it was indexed
    assert [hit.path.name for hit in library.similar(folder / "red.jpg", 1)] == ["blue.jpg"]


def test_equal_scores_keep_their_order(library, folder):
    for index in range(12):
        write(folder / f"{index:02}.jpg", plain("red"))
    run(library, folder)
    everything = [hit.path.name for hit in library.search("red", 12)]
    assert [hit.path.name for hit in library.search("red", 5)] == everything[:5]


def test_a_reader_sees_what_an_indexer_adds(library, models, folder, tmp_path):
    write(folder / "a.jpg", plain("red"))
    run(library, folder)
    with Library.open(tmp_path / "library", loader=models) as reader:
        assert len(reader.search("red")) == 1
        write(folder / "b.jpg", plain("red"))
        run(library, folder)
        assert len(reader.search("red")) == 2


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda library, folder: library.search("red"), "is empty"),
        (lambda library, folder: library.search("red", 0), "at least 1"),
        (lambda library, folder: library.search(" \n "), "nothing to search for"),
        (lambda library, folder: library.similar(folder / "x.jpg"), "is empty"),
        (lambda library, folder: run(library, folder / "absent"), "no such folder"),
        (lambda library, folder: run(library), "looks after no folder"),
        (lambda library, folder: run(library, __file__), "is a file"),
        (lambda library, folder: list(library.index([folder], workers=0)), "at least 1"),
    ],
)
def test_bad_requests_are_one_line(library, folder, call, message):
    with pytest.raises(SensoriumError, match=message) as caught:
        call(library, folder)
    assert "\n" not in str(caught.value)


def test_similar_to_no_picture(library, folder):
    write(folder / "a.jpg", plain("red"))
    run(library, folder)
    with pytest.raises(SensoriumError, match="no such file"):
        library.similar(folder / "absent.jpg")
    with pytest.raises(SensoriumError, match="the content is text"):
        library.similar(__file__)


def test_a_folder_without_photos_is_no_fault(library, folder):
    report = run(library, folder)
    assert (report.new, report.offline) == (0, [])
    assert library.status().roots[0].offline is None


def test_a_run_tells_where_its_time_went(library, models, folder, monkeypatch):
    fill(folder, 100)
    encoder = models("test/colours")
    embed = encoder.embed_pixels

    def slowly(pixels):
        time.sleep(0.1)
        return embed(pixels)

    monkeypatch.setattr(encoder, "embed_pixels", slowly)
    report = run(library, folder)
    assert report.encoding_seconds >= 0.4  # four batches
    assert report.reading_seconds > 0
    own = report.encoding_seconds + report.keeping_seconds + report.waiting_seconds
    assert own <= report.seconds
    assert 0 < report.utilisation <= 1
    again = run(library, folder)
    assert (again.reading_seconds, again.encoding_seconds, again.waiting_seconds) == (0, 0, 0)


def test_files_are_read_while_a_batch_is_encoded(library, models, folder, monkeypatch):
    """The network holds up nobody: all that the queues have room for is read when the first batch is done."""
    fill(folder, 96)
    encoder = models("test/colours")
    embed = encoder.embed_pixels
    read = []

    def slowly(pixels):
        time.sleep(2.0 if not read else 0)
        read.append(readings.qsize())
        return embed(pixels)

    class Watched(indexing.Pool):
        def __init__(self, *arguments, **options) -> None:
            nonlocal readings
            super().__init__(*arguments, **options)
            readings = self._readings

    readings = None
    monkeypatch.setattr(indexing, "Pool", Watched)
    monkeypatch.setattr(encoder, "embed_pixels", slowly)
    run(library, folder)
    assert read[0] == 64  # two more batches

"""Films in a library: taken as photos are, found by any of their moments, kept through whatever happens."""

import sqlite3

import numpy as np
import pytest
import sqlalchemy as sa
from film_fakes import film
from photo_fakes import LightEncoder, Models, picture, plain, run, write

from sensorium.photos.database import schema
from sensorium.photos.files.stamps import Stamp
from sensorium.photos.health import checks, mend, upkeep
from sensorium.photos.intake.worker import Task, read
from sensorium.photos.library import Library
from sensorium.photos.query.model import Query


def frames(library) -> dict[str, list[float]]:
    """Seconds of the frames of each video under the model that answers."""
    statement = sa.select(schema.photos.c.path, schema.frames.c.at).join_from(schema.frames, schema.photos)
    statement = statement.join(schema.pipelines, schema.pipelines.c.id == schema.frames.c.pipeline_id)
    found: dict[str, list[float]] = {}
    with library._store.reading() as connection:
        for path, at in connection.execute(statement.where(schema.pipelines.c.active)):
            found.setdefault(path, []).append(at)
    return {path: sorted(ats) for path, ats in found.items()}


def hit_of(library, words: str, name: str):
    return next(hit for hit in library.search(words, everything=True) if hit.path.name == name)


@pytest.fixture
def filmed(library, folder):
    write(folder / "photo.jpg", picture(1))
    film(folder / "film.mp4", ["red", "green", "blue"])
    film(folder / "green.webm", ["green"])
    run(library, folder)
    return library


def test_films_are_taken_with_their_moments(filmed):
    rows = {row.path: row for row in filmed._store.photos(filmed.browse.grid().ids.tolist()).values()}
    assert {path: row.kind for path, row in rows.items()} == {
        "photo.jpg": "photo", "film.mp4": "video", "green.webm": "video"}  # fmt: skip
    assert (rows["film.mp4"].format, rows["film.mp4"].duration) == ("MP4", 6.0)
    assert rows["photo.jpg"].duration is None
    assert frames(filmed) == {"film.mp4": [0, 2, 4], "green.webm": pytest.approx([0], abs=1)}
    video = rows["film.mp4"].id
    assert filmed.browse.photo(video).moments == (0, 2, 4)
    assert filmed.browse.photos([video])[0].duration == 6.0
    assert filmed.status().embedded == 3


def test_a_search_finds_the_moment_inside_a_film(filmed, folder):
    for colour, moment in (("red", 0), ("green", 2), ("blue", 4)):
        hit = hit_of(filmed, colour, "film.mp4")
        assert hit.moment == moment
        assert filmed.search(colour, everything=True)[0].moment is not None
    assert hit_of(filmed, "red", "photo.jpg").moment is None
    write(folder.parent / "blue.jpg", plain("blue"))
    nearest = filmed.similar(folder.parent / "blue.jpg")[0]
    assert (nearest.path.name, nearest.moment) == ("film.mp4", 4)
    assert nearest.score > 0.99


def test_films_can_be_asked_for(filmed):
    assert {hit.path.name for hit in filmed.search(Query(media="video"))} == {"film.mp4", "green.webm"}
    assert {hit.path.name for hit in filmed.search("videos")} == {"film.mp4", "green.webm"}
    assert filmed.search("videos of blue", everything=True)[0].path.name == "film.mp4"


def test_pages_of_films_are_disjoint(filmed):
    first = filmed.search("green", 1, everything=True)
    second = filmed.search("green", 5, everything=True, after_cursor=first.cursor)
    assert len({hit.id for hit in [*first, *second]}) == first.total == 3


def test_hidden_and_deleted_films_are_not_found_by_their_frames(filmed, folder):
    video = next(hit.id for hit in filmed.search("blue", everything=True) if hit.path.name == "film.mp4")
    filmed.marks.hide([video])
    assert video not in [hit.id for hit in filmed.search("blue", everything=True)]
    filmed.marks.hide([video], False)
    assert hit_of(filmed, "blue", "film.mp4").moment == 4
    (folder / "film.mp4").rename(folder.parent / "film.mp4")
    run(filmed, folder)
    assert video not in [hit.id for hit in filmed.search("blue", everything=True)]
    (folder.parent / "film.mp4").rename(folder / "back.mp4")
    run(filmed, folder)
    assert hit_of(filmed, "blue", "back.mp4").moment == 4


def test_an_edited_film_forgets_its_frames(filmed, folder):
    film(folder / "film.mp4", ["blue", "red"], seconds=4)
    report = run(filmed, folder)
    assert (report.changed, report.encoded) == (1, 1)
    assert frames(filmed)["film.mp4"] == [0, 2]
    assert hit_of(filmed, "blue", "film.mp4").moment == 0


def test_copies_moves_and_a_second_look_decode_nothing(filmed, folder, models: Models):
    before = models("test/colours").encoded
    (folder / "copy.mp4").write_bytes((folder / "film.mp4").read_bytes())
    (folder / "green.webm").rename(folder / "moved.webm")
    report = run(filmed, folder)
    assert (report.reused, report.moved, report.encoded) == (2, 1, 0)
    assert frames(filmed)["copy.mp4"] == frames(filmed)["film.mp4"] == [0, 2, 4]
    assert "moved.webm" in frames(filmed)
    assert hit_of(filmed, "blue", "copy.mp4").moment == 4
    assert run(filmed, folder).unchanged == 4
    assert models("test/colours").encoded == before
    rows = filmed._store.photos(filmed.browse.grid().ids.tolist()).values()
    hashes = {row.path: row.perceptual_hash for row in rows}
    assert hashes["copy.mp4"] == hashes["film.mp4"] is not None


def test_copies_that_come_together_are_encoded_once(library, folder, models: Models):
    film(folder / "a.mp4")
    (folder / "b.mp4").write_bytes((folder / "a.mp4").read_bytes())
    run(library, folder)
    assert frames(library) == {"a.mp4": [0, 2, 4], "b.mp4": [0, 2, 4]}
    assert models("test/colours").encoded == 1 + 3  # the poster, and the frames with it


def test_another_model_makes_frames_of_its_own(filmed, folder):
    run(filmed, folder, model="test/light")
    assert frames(filmed)["film.mp4"][0] == 0
    with filmed._store.reading() as connection:
        sizes = connection.execute(
            sa.select(
                schema.frames.c.pipeline_id, sa.func.max(sa.func.length(schema.frames.c.vector))
            ).group_by(schema.frames.c.pipeline_id)
        ).all()
    assert sizes == [(1, 96), (2, 2 * LightEncoder().dim)]
    upkeep.drop(filmed._store, "sensorium/mini-clip")
    with filmed._store.reading() as connection:
        assert set(connection.scalars(sa.select(schema.frames.c.pipeline_id))) == {2}
    upkeep.renew(filmed._store, "test/light")
    assert frames(filmed) == {}
    run(filmed, folder)
    assert frames(filmed)["film.mp4"][0] == 0


def test_bad_films_are_listed_and_stop_nothing(library, folder):
    film(folder / "good.mp4")
    film(folder / "sound.mp4", sound=True, pictures=False, seconds=1)
    (folder / "cut.mp4").write_bytes((folder / "good.mp4").read_bytes()[:-300])
    (folder / "text.mov").write_bytes(b"#EXTM3U\n/etc/passwd\n" * 9)
    (folder / "empty.avi").touch()
    (folder / "picture.mp4").write_bytes(b"")
    write(folder / "picture.mp4", picture(4))
    film(folder / "film.jpg", kind="mp4")
    report = run(library, folder)
    reasons = {failure.path.rpartition("/")[2]: failure.reason for failure in report.failed}
    assert sorted(reasons) == ["cut.mp4", "empty.avi", "sound.mp4", "text.mov"]
    assert reasons["sound.mp4"] == "it holds sound and no pictures"
    assert reasons["empty.avi"] == "the file is empty"
    kinds = {row.path: row.kind for row in library._store.photos(library.browse.grid().ids.tolist()).values()}
    assert kinds == {"good.mp4": "video", "picture.mp4": "photo", "film.jpg": "video"}  # the content decides
    assert run(library, folder).failed_before == 4


def test_an_interrupted_run_goes_on(library, folder, models: Models, monkeypatch):
    for number in range(5):
        film(folder / f"{number}.mp4", [picture(number), picture(number + 10)], seconds=2)
    encoder = models("test/colours")
    embed = encoder.embed_pixels
    calls = []

    def stop(pixels):
        calls.append(len(pixels))
        if len(calls) == 6:
            raise KeyboardInterrupt
        return embed(pixels)

    monkeypatch.setattr(encoder, "embed_pixels", stop)
    with pytest.raises(KeyboardInterrupt):
        run(library, folder)
    with library._store.reading() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(schema.photos)) == len(
            frames(library)
        )
    monkeypatch.undo()
    run(library, folder)
    assert {path: len(ats) for path, ats in frames(library).items()} == {f"{n}.mp4": 2 for n in range(5)}


def test_a_reading_process_gives_back_few_and_small_pictures(tmp_path, models: Models):
    path = film(tmp_path / "a.mp4", [picture(seed) for seed in range(20)], seconds=20, size=(320, 240))
    status = path.stat()
    spec = models("test/colours").image_spec
    reading = read(Task(str(tmp_path), "a.mp4", Stamp(status.st_size, status.st_mtime_ns)), spec)
    assert reading.frames.shape == (8, 32, 32, 3)
    assert len(reading.moments) == 8
    assert any(np.array_equal(reading.pixels, frame) for frame in reading.frames)
    known = read(
        Task(str(tmp_path), "a.mp4", Stamp(status.st_size, status.st_mtime_ns), known=(reading.sha256,)), spec
    )
    assert (known.frames, known.pixels, known.facts.duration) == (None, None, 20.0)


def test_a_live_photo_stays_one_photo(library, folder):
    write(folder / "IMG_1.JPG", picture(1))
    film(folder / "IMG_1.MOV", seconds=1)
    film(folder / "IMG_2.MOV", seconds=1)
    run(library, folder)
    details = {
        detail.name: detail
        for photo in library.browse.grid().ids.tolist()
        if (detail := library.browse.photo(photo)) is not None
    }
    assert sorted(details) == ["IMG_1.JPG", "IMG_2.MOV"]
    assert [(each.kind, each.path[-9:]) for each in details["IMG_1.JPG"].companions] == [
        ("live", "IMG_1.MOV")
    ]


def test_damaged_frames_are_found_and_mended(filmed, folder):
    library = filmed.folder / schema.FILE_NAME
    with sqlite3.connect(library) as connection:
        connection.execute(
            "UPDATE frames SET vector = zeroblob(96) "
            "WHERE photo_id = (SELECT photo_id FROM frames WHERE at = 4)"
        )
    found = [finding for finding in checks.check(filmed.folder) if isinstance(finding, checks.Finding)]
    assert any("1 videos have frames" in finding.text for finding in found if finding.wrong)
    assert list(mend.mend(filmed._store)) == [
        "dropped 1 videos' frames of sensorium/mini-clip that are not of unit length: index again"
    ]
    assert "film.mp4" not in frames(filmed)
    assert run(filmed, folder).encoded == 1
    assert frames(filmed)["film.mp4"] == [0, 2, 4]


def test_a_backup_holds_marks_albums_and_moments(filmed, tmp_path, models: Models):
    video = next(hit.id for hit in filmed.search("blue", everything=True) if hit.path.name == "film.mp4")
    filmed.marks.favourite([video])
    filmed.albums.add(filmed.albums.create("Films"), [video])
    saved = upkeep.backup(filmed.folder, tmp_path / "saved.sqlite3")
    upkeep.restore(saved.path, tmp_path / "again")
    with Library.open(tmp_path / "again", loader=models) as again:
        assert again.browse.grid("favourites").ids.tolist() == [video]
        assert again.albums.list()[0].count == 1
        assert hit_of(again, "blue", "film.mp4").moment == 4

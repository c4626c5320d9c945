"""The grid, cards, the map, albums and marks: what is shown where, in which order, and how fast."""

import json
import time
from datetime import datetime, timedelta, timezone

import numpy as np
import pytest
import sqlalchemy as sa
from filled_library import fill
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from made_library import Album, moment
from photo_fakes import picture, plain, run, write

from sensorium.errors import SensoriumError
from sensorium.photos.collections.albums import UnknownAlbumError
from sensorium.photos.collections.browse import UNDATED, Bounds, Browse, Month
from sensorium.photos.database import schema
from sensorium.photos.database.store import Store
from sensorium.photos.library import Library

DAY = 86_400_000_000


@pytest.fixture
def made(tmp_path):
    """Five photos of which one tells no date, and their library."""
    album = Album(tmp_path / "library")
    ids = {
        "newest": album.add("dog", taken="2021-05-31T23:30", offset=-600, latitude=35.0, longitude=135.7),
        "same month": album.add("cat", taken="2021-05-01T00:00", width=300, height=200),
        "older": album.add("dog", taken="1969-12-31T23:59", latitude=-10.0, longitude=179.0),
        "undated": album.add("car", latitude=60.0, longitude=-179.0),
        "video": album.add("sea", taken="2021-05-31T23:00", kind="video", duration=4.5),
    }
    with album.library() as library:
        yield library, ids


def shown(library: Library, scope: str = "all") -> list[int]:
    return library.browse.grid(scope).ids.tolist()


def everywhere(library: Library, photo: int) -> list[str]:
    """Where a photo appears."""
    found = {
        "grid": photo in shown(library),
        "map": photo in library.browse.points().ids,
        "search": photo in [hit.id for hit in library.search("dog", everything=True)],
        "facts": photo in [hit.id for hit in library.search("in 2021")],
        "album": any(photo in shown(library, f"album:{album.id}") for album in library.albums.list()),
        "cover": any(photo == album.cover for album in library.albums.list()),
    }
    return [name for name, is_there in found.items() if is_there]


def test_the_grid_is_in_the_order_of_the_clock_on_the_spot(made):
    library, ids = made
    grid = library.browse.grid()
    order = ["newest", "video", "same month", "older", "undated"]
    assert grid.ids.tolist() == [ids[name] for name in order]
    assert grid.months == (Month("2021-05", 0, 3), Month("1969-12", 3, 1), Month("", 4, 1))
    day = (moment("2021-05-31") or 0) // DAY
    assert grid.days.tolist() == [day, day, day - 30, -1, UNDATED]
    assert grid.ratios.tolist() == [1, 1, 1.5, 1, 1]
    assert (grid.ids.dtype, grid.ratios.dtype, grid.days.dtype) == (np.int64, np.float32, np.int32)
    rows = library._store.photos(grid.ids.tolist())
    assert [bytes(row) for row in grid.contents] == [rows[photo].sha256[:3] for photo in grid.ids.tolist()]
    assert grid.generation == library._store.generation()


def test_scopes(made):
    library, ids = made
    assert shown(library, "videos") == shown(library, "kind:video") == [ids["video"]]
    assert shown(library, "favourites") == shown(library, "hidden") == shown(library, "album:77") == []
    assert library.browse.grid("person:1").months == ()
    for scope in ("", "everything", "album:", "album:-1", "album:1 OR 1", "kind:", "kind:cake", "person:x",
                  "album:99999999999999999999", "album:٣", "all:1", "\udcff\n"):  # fmt: skip
        with pytest.raises(SensoriumError, match="there is no list called") as caught:
            library.browse.grid(scope)
        assert "\n" not in str(caught.value)


WALLS = st.none() | st.tuples(st.integers(-(10**16), 10**17), st.none() | st.integers(-720, 840))


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(taken=st.lists(WALLS, max_size=15))
def test_every_grid_is_sorted_and_its_months_cover_it(made, taken):
    library, _ = made
    walls = {}
    with library._store.writing() as connection:
        row = dict(connection.execute(sa.select(schema.photos)).mappings().first())
        connection.execute(sa.delete(schema.photos))
        for number, each in enumerate(taken or [None], start=1):
            moment, offset = each or (None, None)
            row |= {"id": number, "path": str(number), "taken_at": moment, "taken_offset": offset}
            connection.execute(sa.insert(schema.photos).values(row))
            walls[number] = None if moment is None else moment + (offset or 0) * 60_000_000
    grid = library.browse.grid()
    keys = [-(2**70) if walls[photo] is None else walls[photo] for photo in grid.ids.tolist()]
    assert keys == sorted(keys, reverse=True)
    assert sum(month.count for month in grid.months) == len(walls)
    ends = np.cumsum([0, *(month.count for month in grid.months)])
    assert [month.start for month in grid.months] == ends[:-1].tolist()
    for month in grid.months:
        for place in range(month.start, month.start + month.count):
            wall = walls[int(grid.ids[place])]
            assert month.month == ("" if wall is None else str(np.datetime64(wall, "us").astype("M8[M]")))


def test_cards_and_details(library, folder):
    write(folder / "trip" / "caf\udce9.jpg", picture(1, (90, 60)))
    run(library, folder)
    (photo,) = shown(library)
    with library._store.writing() as connection:
        values = {"taken_at": 10**15, "taken_offset": 120, "country": "JP", "region": "JP.22", "title": "t"}
        values |= {"keywords": '["a", "犬"]', "camera_make": "Canon", "camera_model": "Canon R5"}
        connection.execute(sa.update(schema.photos).values(values))
        connection.execute(sa.insert(schema.people).values(id=3, name="Ada"))
        box = {"left": 0.1, "top": 0.2, "right": 0.3, "bottom": 0.4, "score": 1, "quality": 1, "model": "m"}
        connection.execute(sa.insert(schema.faces).values(photo_id=photo, embedding=b"", person_id=3, **box))
        connection.execute(sa.insert(schema.photo_people).values(photo_id=photo, person_id=3, source="face"))
        boxes = [{"text": "SALE", "score": 0.9, "box": [[0, 0], [1, 0], [1, 1], [0, 1]]}]
        row = {"photo_id": photo, "text": "SALE", "boxes": json.dumps(boxes)}
        connection.execute(sa.insert(schema.texts).values(row))
    album = library.albums.create("Trip")
    library.albums.add(album, [photo])
    (card,) = library.browse.photos([photo, 999, photo])
    assert (card.name, card.kind, card.width, card.height) == ("caf\udce9.jpg", "photo", 90, 60)
    zone = timezone(timedelta(minutes=120))
    assert card.taken_at == datetime(2001, 9, 9, 1, 46, 40, tzinfo=zone) + timedelta(hours=2)
    assert (card.place.country, card.favourite, card.hidden, card.offline) == ("JP", False, False, False)
    detail = library.browse.photo(photo)
    assert (detail.path, detail.folder) == (str(folder / "trip" / "caf\udce9.jpg"), "trip")
    assert (detail.camera, detail.title, detail.keywords) == ("Canon R5", "t", ("a", "犬"))
    assert detail.people == ((3, "Ada"),)
    assert [(face.box, face.person) for face in detail.faces] == [((0.1, 0.2, 0.3, 0.4), (3, "Ada"))]
    assert (detail.text, detail.boxes) == ("SALE", tuple(boxes))
    assert detail.albums == ((album, "Trip"),)
    assert shown(library, "person:3") == [photo]
    assert library.browse.photo(12345) is None
    folder.rename(folder.with_name("away"))
    assert library.browse.photos([photo])[0].offline


def test_points_and_bounds(made):
    library, ids = made
    points = library.browse.points()
    assert points.ids.tolist() == [ids["newest"], ids["older"], ids["undated"]]
    assert points.latitudes.tolist() == [35.0, -10.0, 60.0]
    assert points.longitudes.tolist() == [135.7, 179.0, -179.0]
    across = library.browse.points(bounds=Bounds(-20, 170, 70, -170))  # over the date line
    assert across.ids.tolist() == [ids["older"], ids["undated"]]
    assert library.browse.points(bounds=Bounds(0, 100, 40, 140)).ids.tolist() == [ids["newest"]]
    assert library.browse.points("favourites").ids.tolist() == []


# Marks


def test_hidden_photos_appear_nowhere_but_in_their_own_list(made):
    library, ids = made
    photo = ids["newest"]
    album = library.albums.create("Dogs")
    library.albums.add(album, [photo])
    before = everywhere(library, photo)
    assert before == ["grid", "map", "search", "facts", "album", "cover"]
    assert library.marks.hide([photo]) == 1
    assert everywhere(library, photo) == []
    assert shown(library, "hidden") == [photo]
    assert photo not in [photo for photo, _ in similar(library, ids["older"])]
    assert library.browse.photos([photo])[0].hidden
    assert library.albums.list()[0].count == 0
    assert library.marks.hide([photo], False) == 1
    assert everywhere(library, photo) == before
    assert shown(library, "hidden") == []


def similar(library: Library, photo: int) -> list[tuple[int, float]]:
    pipeline = library._store.active_pipeline()
    query = library._store.vector_of(photo, pipeline.id).astype(np.float32)
    return library._searcher.nearest(pipeline, query, 20)


def test_hidden_photos_leave_the_words_too(tmp_path):
    album = Album(tmp_path / "library")
    sign = album.add("street", text="closing sale")
    with album.library() as library:
        assert [hit.id for hit in library.search("closing sale")] == [sign]
        library.marks.hide([sign])
        assert [hit.id for hit in library.search("closing sale", everything=True)] == []


def test_marks_tell_what_changed_and_raise_the_generation(made):
    library, ids = made
    generation = library._store.generation()
    assert library.marks.favourite([ids["older"], ids["video"], 999]) == 2
    assert library.marks.favourite([ids["older"], ids["video"]]) == 0
    assert shown(library, "favourites") == [ids["video"], ids["older"]]
    assert library._store.generation() > generation
    assert library.marks.favourite([ids["video"]], False) == 1
    assert shown(library, "favourites") == [ids["older"]]
    assert library.marks.favourite(list(range(5000))) == 4


# Albums


def test_albums(made):
    library, ids = made
    first = library.albums.create("  Kyoto \n2021 ")
    second = library.albums.create("日本")
    assert library.albums.add(first, [ids["older"], ids["newest"], ids["older"], 999]) == 2
    assert library.albums.add(first, [ids["newest"], ids["undated"]]) == 1
    listed = {album.id: album for album in library.albums.list()}
    assert list(listed) == [second, first]
    assert (listed[first].name, listed[first].count, listed[first].cover) == ("Kyoto 2021", 3, ids["newest"])
    assert (listed[second].count, listed[second].cover) == (0, None)
    assert shown(library, f"album:{first}") == [ids["newest"], ids["older"], ids["undated"]]
    library.albums.set_cover(first, ids["older"])
    assert library.albums.list()[1].cover == ids["older"]
    library.marks.hide([ids["older"]])
    assert library.albums.list()[1].cover == ids["newest"]
    library.marks.hide([ids["older"]], False)
    assert library.albums.remove(first, [ids["older"], 999]) == 1
    assert library.albums.list()[1].cover == ids["newest"]
    library.albums.set_cover(first, None)
    library.albums.rename(first, "Osaka")
    assert [album.name for album in library.albums.list()] == ["日本", "Osaka"]
    library.albums.delete(first)
    assert [album.id for album in library.albums.list()] == [second]
    assert ids["newest"] in shown(library)
    assert library.albums.create("Osaka") != first  # a page that is still open shall not fill another one


def test_what_is_no_album(made):
    library, ids = made
    album = library.albums.create("Trip")
    for name in ("", "  ", "\0", "\n", "TRIP", "trip "):
        with pytest.raises(SensoriumError, match=r"needs a name|called Trip already"):
            library.albums.create(name)
    library.albums.rename(album, "trip")
    assert library.albums.list()[0].name == "trip"
    with pytest.raises(SensoriumError, match="not in that album"):
        library.albums.set_cover(album, ids["newest"])
    for call in (
        lambda: library.albums.rename(99, "x"),
        lambda: library.albums.delete(99),
        lambda: library.albums.add(99, [1]),
        lambda: library.albums.remove(99, [1]),
        lambda: library.albums.set_cover(99, None),
    ):
        with pytest.raises(UnknownAlbumError):
            call()
    assert len(library.albums.list()) == 1


def test_marks_and_albums_survive_moves_edits_and_absence(library, folder):
    for seed in range(3):
        write(folder / f"{seed}.jpg", picture(seed))
    run(library, folder)
    rows = {row.path: photo for photo, row in library._store.photos(shown(library)).items()}
    photo = rows["1.jpg"]
    album = library.albums.create("Kept")
    library.albums.add(album, list(rows.values()))
    library.albums.set_cover(album, photo)
    library.marks.favourite([photo])
    library.marks.hide([rows["2.jpg"]])

    def kept() -> bool:
        return shown(library, "favourites") == [photo] and library.albums.list()[0].cover == photo

    (folder / "1.jpg").rename(folder / "renamed.jpg")
    (folder / "2.jpg").rename(folder / "else.jpg")
    assert run(library, folder).moved == 2
    assert kept()
    assert shown(library, "hidden") == [rows["2.jpg"]]
    (folder / "renamed.jpg").rename(folder.parent / "away.jpg")
    run(library, folder)
    assert shown(library) == shown(library, f"album:{album}") == [rows["0.jpg"]]
    assert library.albums.list()[0].cover == rows["0.jpg"]
    assert library.browse.photo(photo) is None
    (folder.parent / "away.jpg").rename(folder / "back.jpg")
    run(library, folder)
    assert kept()
    write(folder / "back.jpg", plain("red"))
    assert run(library, folder).changed == 1
    assert kept()


@pytest.mark.slow
def test_a_grid_of_100000_photos_takes_a_moment(tmp_path):
    """Three times what it takes here, for busy machines."""
    store = Store(fill(tmp_path / "library", 100_000, dim=2), create=False)
    browse = Browse(store)
    browse.grid()
    started = time.process_time()
    assert len(browse.grid().ids) == 100_000
    assert time.process_time() - started < 0.4
    store.close()


def test_the_grid_reads_its_index_and_nothing_else(library):
    with library._store.reading() as connection:
        plan = connection.exec_driver_sql(
            "EXPLAIN QUERY PLAN SELECT id, taken_at, taken_offset, width, height, substr(sha256, 1, 3) "
            "FROM photos WHERE missing_since IS NULL AND hidden = 0"
        ).all()
    assert "COVERING INDEX ix_photos_shown" in plan[0][3]

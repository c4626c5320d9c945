"""Slots of a query to photos: times on the spot, places that hold others, people, cameras, kinds, and not."""

from datetime import date, timedelta

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from made_library import Album

from sensorium.photos.query import Exclusion, Query, Times
from sensorium.photos.search import filters

KYOTO = {"country": "JP", "region": "JP.22", "city": 1857910}
PARIS = {"country": "FR", "region": "FR.11", "city": 2988507}


@pytest.fixture
def album(tmp_path):
    made = Album(tmp_path / "library")
    yield made
    made.store.close()


def found(album: Album, **slots) -> set[int] | None:
    ids = filters.apply(album.store, Query(said="", **slots)).ids
    assert ids is None or np.all(np.diff(ids) > 0)
    return None if ids is None else set(ids.tolist())


def test_no_slot_leaves_everything(album):
    album.add("dog")
    assert found(album, text="dog") is None
    assert found(album, exclude=("dogs",)) is None  # a look, not a slot


def test_days_are_days_on_the_spot(album):
    tokyo = album.add(taken="2019-06-01T00:30", offset=540)  # 15:30 on 31 May in UTC
    hawaii = album.add(taken="2019-05-31T23:30", offset=-600)  # 1 June in UTC
    unzoned = album.add(taken="2019-06-30T23:59:59.999999")
    album.add(taken="2019-07-01T00:00")
    album.add()
    assert found(album, after=date(2019, 6, 1), before=date(2019, 7, 1)) == {tokyo, unzoned}
    assert found(album, before=date(2019, 6, 1)) == {hawaii}
    assert found(album, months=(5,)) == {hawaii}
    assert found(album, after=date(2019, 6, 30), months=(5, 6)) == {unzoned}


def test_before_1970(album):
    old = album.add(taken="1968-12-24T16:00")
    last = album.add(taken="1969-12-31T23:59:59.5")
    assert found(album, months=(12,)) == {old, last}
    assert found(album, after=date(1968, 1, 1), before=date(1969, 1, 1)) == {old}


def test_places_hold_others_in_either_language(album):
    kyoto, paris = album.add(**KYOTO), album.add(**PARIS)
    somewhere = album.add()
    for name in ("Kyoto", "京都", "Japan", "日本"):
        assert found(album, places=(name,)) == {kyoto}
    assert found(album, places=("Japan", "France")) == {kyoto, paris}
    excluded = (Exclusion("in Japan", place="Japan"),)
    assert found(album, exclude=("in Japan",), excluded=excluded) == {paris, somewhere}


def test_an_unknown_place_leaves_nothing_and_says_so(album):
    album.add(**KYOTO)
    nowhere = filters.apply(album.store, Query(places=("Xyzzyville",)))
    assert (len(nowhere.ids), nowhere.note) == (0, "no place is called “Xyzzyville”")
    assert found(album, places=("Xyzzyville", "Japan")) == {1}


def test_people_are_wanted_together(album):
    both = album.add(people=("Anna", "Björn"))
    anna = album.add(people=("Anna",))
    nobody = album.add()
    assert found(album, people=("Anna",)) == {both, anna}
    assert found(album, people=("anna", "Björn")) == {both}
    assert found(album, people=("Cleo",)) == set()
    excluded = (Exclusion("Björn", person="Björn"),)
    assert found(album, exclude=("Björn",), excluded=excluded) == {anna, nobody}
    assert filters.names_of_people(album.store) == ["Anna", "Björn"]


def test_cameras_by_make_and_model(album):
    phone = album.add(camera_make="Apple", camera_model="iPhone 13 Pro")
    canon = album.add(camera_make="Canon", camera_model="Canon EOS R5")
    odd = album.add(camera_model="100%_zoom")
    scan = album.add()
    assert found(album, camera="Apple iPhone") == {phone}
    assert found(album, camera="canon") == {canon}
    assert found(album, camera="%") == {odd}
    assert found(album, camera="Nikon") == set()
    excluded = (Exclusion("iphone", camera="iPhone"),)
    assert found(album, exclude=("iphone",), excluded=excluded) == {canon, odd, scan}
    assert set(filters.cameras(album.store)) == {"Apple iPhone 13 Pro", "Canon EOS R5", "100%_zoom"}


def test_kinds(album):
    photo, live = album.add(), album.add(live=True)
    raw, shot, panorama = album.add(kind="raw"), album.add(kind="screenshot"), album.add(kind="panorama")
    assert found(album, media="live") == {live}
    assert found(album, media="photo") == {photo, live, raw, panorama}
    assert found(album, media="screenshot") == {shot}
    excluded = (Exclusion("screenshots", media="screenshot"),)
    assert found(album, exclude=("screenshots",), excluded=excluded) == {photo, live, raw, panorama}
    assert filters.apply(album.store, Query(media="video")).note is None


def test_excluded_times_keep_photos_without_a_date(album):
    album.add(taken="2020-05-05T12:00")
    other, undated = album.add(taken="2021-05-05T12:00"), album.add()
    times = Times(after=date(2020, 1, 1), before=date(2021, 1, 1))
    excluded = (Exclusion("2020", times=times),)
    assert found(album, exclude=("2020",), excluded=excluded) == {other, undated}


def test_photos_without_a_date_match_none_and_that_is_said(album):
    album.add()
    album.add(taken="2001-01-01T00:00")
    nothing = filters.apply(album.store, Query(after=date(2020, 1, 1)))
    assert (len(nothing.ids), nothing.note) == (0, "1 photo tells no date and matches no time")


def test_gone_photos_never_match(album):
    album.add(missing_since=1, **KYOTO)
    assert found(album, places=("Japan",)) == set()


days = st.dates(date(1995, 1, 1), date(2035, 12, 31))


@given(
    taken=st.lists(st.tuples(days, st.integers(0, 1439), st.none() | st.integers(-720, 840)), max_size=8),
    start=days,
    length=st.integers(1, 4000),
    months=st.sets(st.integers(1, 12), max_size=3),
)
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_times_agree_with_the_calendar(tmp_path_factory, taken, start, length, months):
    album = Album(tmp_path_factory.mktemp("days") / "library")
    ids = {
        album.add(taken=f"{day}T{minute // 60:02}:{minute % 60:02}", offset=offset): day
        for day, minute, offset in taken
    }
    end = start + timedelta(days=length)
    wanted = {
        photo for photo, day in ids.items() if start <= day < end and (not months or day.month in months)
    }
    assert found(album, after=start, before=end, months=tuple(sorted(months))) == wanted
    album.store.close()

"""People: told apart by likeness, within what hands have said, and found by their names."""

from __future__ import annotations

import numpy as np
import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st
from identities import crowd, pairs
from made_library import Album

from sensorium.errors import SensoriumError
from sensorium.photos.database import annotations
from sensorium.photos.database.schema import faces, not_faces, people, photo_people
from sensorium.photos.people import People, clustering
from sensorium.photos.people.clustering import NOBODY, Faces, grouped, sort_faces

KYOTO, BEIJING = (35.0116, 135.7681), (39.9042, 116.4074)


def fresh(sample):
    count = len(sample.truth)
    nobody = np.full(count, NOBODY)
    return Faces(sample.vectors, sample.photos, nobody, sample.quality, np.zeros(count, bool))


# Sorting alone


@pytest.mark.parametrize("seed", range(3))
def test_people_are_told_apart(seed):
    sample = crowd(seed)
    owners = sort_faces(fresh(sample))
    precision, recall = pairs(owners, sample.truth)
    assert precision >= 0.995
    assert recall >= 0.85
    assert 40 <= len(set(owners[owners != NOBODY].tolist())) <= 46
    assert (owners[sample.truth == -1] != NOBODY).mean() <= 0.02  # passers-by are nobody's
    assert (owners[sample.truth >= 0] != NOBODY).mean() >= 0.92


@pytest.mark.parametrize("seed", range(3))
def test_new_faces_join_people_who_were_named_before(seed):
    sample = crowd(seed)
    half = len(sample.truth) // 2
    known = fresh(sample)
    first = sort_faces(
        Faces(known.vectors[:half], known.photos[:half], known.people[:half], known.quality[:half],
              known.settled[:half])
    )  # fmt: skip
    named = np.where(first == NOBODY, NOBODY, -first)  # ids of people that are there now
    before = np.concatenate((named, np.full(len(sample.truth) - half, NOBODY)))
    owners = sort_faces(
        Faces(sample.vectors, sample.photos, before, sample.quality, before != NOBODY)
    )  # fmt: skip
    assert (owners[:half][named != NOBODY] == named[named != NOBODY]).all()
    precision, recall = pairs(owners, sample.truth)
    assert precision >= 0.995
    assert recall >= 0.82
    later = sample.truth[half:] >= 0
    assert (owners[half:][later] > 0).mean() >= 0.85  # joined somebody who had a name


def test_too_many_groups_for_one_matrix_are_parted_first(monkeypatch):
    sample = crowd(5)
    whole = sort_faces(fresh(sample))
    monkeypatch.setattr(clustering, "_MOST_GROUPS", 60)
    parted = sort_faces(fresh(sample))
    precision, recall = pairs(parted, sample.truth)
    assert precision >= 0.99
    assert recall >= pairs(whole, sample.truth)[1] - 0.1


def test_nothing_and_nobody():
    empty = np.empty(0, np.int64)
    none = Faces(np.empty((0, 128), np.float32), empty, empty, np.empty(0, np.float32), np.empty(0, bool))
    assert len(sort_faces(none)) == 0
    assert grouped(none.vectors, empty) == []


@st.composite
def samples(draw):
    """Small crowds in which hands have said a lot, some of it against all likeness."""
    sample = crowd(draw(st.integers(0, 500)), people=5, faces=(2, 9), relatives=1, passers_by=4)
    count = len(sample.truth)
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    owners = np.where(rng.random(count) < 0.4, sample.truth + 100, NOBODY)
    owners[sample.truth < 0] = NOBODY
    owners = np.where(rng.random(count) < 0.05, 100, owners)
    settled = (owners != NOBODY) & (rng.random(count) < 0.6)
    photos = sample.photos
    if draw(st.booleans()):
        photos = rng.integers(0, max(1, count // 3), count)
    refused = {}
    for row in np.flatnonzero(rng.random(count) < 0.3).tolist():
        said = {int(person) for person in rng.integers(100, 105, 2)}
        refused[row] = said - ({int(owners[row])} if settled[row] else set())
    return Faces(sample.vectors, photos, owners, sample.quality, settled, refused)


@settings(max_examples=40, deadline=None)
@given(samples())
def test_laws(sample):
    owners = sort_faces(sample)
    assert (owners[sample.settled] == sample.people[sample.settled]).all()
    for row, persons in sample.refused.items():
        assert owners[row] not in persons
    free = np.flatnonzero(~sample.settled & (owners != NOBODY))
    for row in free.tolist():
        same = (sample.photos == sample.photos[row]) & (owners == owners[row])
        assert same.sum() == 1
    for person in set(owners[owners < NOBODY].tolist()):
        assert (owners == person).sum() >= clustering.FEWEST
    # The same again gives the same again.
    assert (sort_faces(sample) == owners).all()
    # ... and so does a second sorting of what the first one made, when nothing came between.
    ids = np.where(owners < NOBODY, 1000 - owners, owners)
    again = Faces(sample.vectors, sample.photos, ids, sample.quality, sample.settled, sample.refused)
    second = sort_faces(again)
    assert set(second[second < NOBODY].tolist()) == set()
    assert (second == ids).mean() >= 0.9


# In a library


@pytest.fixture
def album(tmp_path):
    album = Album(tmp_path / "library")
    yield album
    album.store.close()


def direction(identity, look=0):
    rng = np.random.default_rng(identity)
    own = rng.normal(size=128)
    own /= np.linalg.norm(own)
    noise = np.random.default_rng((identity + 1) * 1000 + look).normal(size=128)
    vector = own + 0.5 * noise / np.linalg.norm(noise)
    return (vector / np.linalg.norm(vector)).astype("<f2").tobytes()


def put(album, photo, *identities, model="test"):
    """Faces on a photo, side by side; their ids."""
    ids = []
    with album.store.writing(advance=True, vectors=False) as connection:
        for place, identity in enumerate(identities):
            row = {
                "photo_id": photo, "left": 0.1 + 0.2 * place, "top": 0.2, "right": 0.25 + 0.2 * place,
                "bottom": 0.5, "score": 0.9, "quality": 0.8 - 0.01 * place, "model": model,
                "embedding": direction(identity, photo),
            }  # fmt: skip
            ids.append(connection.execute(sa.insert(faces).values(row)).inserted_primary_key[0])
    return ids


def owners(album):
    """Person of each face, by face."""
    with album.store.reading() as connection:
        return dict(connection.execute(sa.select(faces.c.id, faces.c.person_id)).all())


def on(album, photo):
    """(name, source) of everybody on a photo."""
    with album.store.reading() as connection:
        statement = sa.select(people.c.name, photo_people.c.source).join_from(photo_people, people)
        return sorted(
            (name or "", source)
            for name, source in connection.execute(statement.where(photo_people.c.photo_id == photo))
        )


def found(album, sentence):
    return sorted(int(hit.path.stem) for hit in album.library().search(sentence).hits)


def three_people(album):
    """Eight photos: 1 on all but the last, 2 on the even ones, 3 on the last three."""
    shown = {n: [1] * (n < 8) + [2] * (n % 2 == 0) + [3] * (n >= 6) for n in range(1, 9)}
    ids = {}
    for number, identities in shown.items():
        place = KYOTO if number <= 4 else BEIJING
        photo = album.add(latitude=place[0], longitude=place[1])
        assert photo == number
        for identity, face in zip(identities, put(album, photo, *identities), strict=True):
            ids[number, identity] = face
    return ids


def test_unnamed_people_come_from_faces_and_strangers_do_not(album):
    ids = three_people(album)
    stranger = put(album, album.add(), 99)[0]
    room = People(album.store)
    done = room.cluster()
    assert (done.new_people, done.faces) == (3, len(ids))
    everybody = room.everybody()
    assert [(one.name, one.photos, one.faces) for one in everybody] == [
        (None, 7, 7),
        (None, 4, 4),
        (None, 3, 3),
    ]
    assert owners(album)[stranger] is None
    assert [face.id for face in room.strangers()] == [stranger]
    for (_, identity), face in ids.items():
        assert owners(album)[face] == everybody[identity - 1].id
    assert all(one.cover is not None and one.cover.person_id == one.id for one in everybody)
    assert on(album, 4) == [("", "face"), ("", "face")]
    # Nobody without a name is known to the parser or found by words.
    assert album.library().parse("photos of None").people == ()
    again = room.cluster()
    assert (again.new_people, again.moved) == (0, 0)


def test_names_places_and_without_in_one_sentence(album):
    three_people(album)
    room = People(album.store)
    room.cluster()
    anna, ben, ming = (one.id for one in room.everybody())
    room.name(anna, "  Anna ")
    room.name(ben, "Ben")
    room.name(ming, "小明")
    assert [one.name for one in room.everybody()] == ["Anna", "Ben", "小明"]
    assert found(album, "Anna in Kyoto without Ben") == [1, 3]
    assert found(album, "anna and ben") == [2, 4, 6]
    assert found(album, "小明在北京") == [6, 7, 8]
    assert found(album, "没有小明的北京") == [5]
    with album.store.reading() as connection:
        words = connection.exec_driver_sql("SELECT people FROM photo_words WHERE rowid = 6").scalar()
    assert {"anna", "ben", "小明"} <= set(words.split())
    # A name that is taken away is known no more; another one is at once.
    room.name(ben, None)
    assert found(album, "Anna in Kyoto without Bernard") != [1, 3]
    room.name(ben, "Bernard")
    assert found(album, "Anna in Kyoto without Bernard") == [1, 3]


def test_names_last_through_new_faces_and_new_sortings(album):
    three_people(album)
    room = People(album.store)
    room.cluster()
    anna = room.everybody()[0].id
    room.name(anna, "Anna")
    later = [put(album, album.add(), 1)[0] for _ in range(3)]
    done = room.cluster()
    assert done.new_people == 0
    assert {owners(album)[face] for face in later} == {anna}
    assert room.person(anna).photos == 10
    assert found(album, "Anna") == [1, 2, 3, 4, 5, 6, 7, 9, 10, 11]
    unnamed = {one.id for one in room.everybody() if one.name is None}
    room.cluster()
    assert {one.id for one in room.everybody() if one.name is None} == unnamed


def test_not_this_person_lasts(album):
    ids = three_people(album)
    room = People(album.store)
    room.cluster()
    anna = room.name(room.everybody()[0].id, "Anna").id
    room.not_this_person(ids[3, 1], anna)
    assert owners(album)[ids[3, 1]] is None
    assert found(album, "Anna") == [1, 2, 4, 5, 6, 7]
    for _ in range(2):
        room.cluster()
        assert owners(album)[ids[3, 1]] != anna
    # Of somebody without a name, too.
    other = owners(album)[ids[2, 2]]
    room.not_this_person(ids[2, 2], other)
    room.cluster()
    assert owners(album)[ids[2, 2]] != other
    # A hand may change its mind.
    room.assign(ids[3, 1], anna)
    room.cluster()
    assert owners(album)[ids[3, 1]] == anna
    assert found(album, "Anna") == [1, 2, 3, 4, 5, 6, 7]


def test_merging_lasts_and_keeps_a_name(album):
    ids = three_people(album)
    room = People(album.store)
    room.cluster()
    first, second, third = (one.id for one in room.everybody())
    room.not_this_person(ids[8, 3], second)
    room.name(third, "小明")
    merged = room.merge(second, [third, third, second])
    assert (merged.id, merged.name, merged.faces, merged.photos) == (second, "小明", 7, 5)
    with album.store.reading() as connection:
        assert connection.execute(sa.select(not_faces)).all() == []  # it is his face after all
    room.cluster()
    assert {owners(album)[face] for (_, identity), face in ids.items() if identity in (2, 3)} == {second}
    assert found(album, "小明") == [2, 4, 6, 7, 8]
    two = room.merge(first, [second])  # unnamed takes the other's name
    assert two.name == "小明"
    assert len(room.everybody()) == 1


def test_merging_people_without_names_lasts(album):
    ids = three_people(album)
    room = People(album.store)
    room.cluster()
    _, second, third = (one.id for one in room.everybody())
    room.merge(second, [third])
    done = room.cluster()
    assert done.new_people == 0
    assert owners(album)[ids[6, 2]] == owners(album)[ids[6, 3]] == second


def test_files_faces_and_hands_live_together(album):
    first = album.add(people=("Anna",))
    second, third = album.add(), album.add()
    ids = [put(album, photo, 1)[0] for photo in (first, second, third)]
    room = People(album.store)
    room.cluster()
    unnamed = next(one for one in room.everybody() if one.name is None)
    # Naming the faces as the file does makes them one person.
    named = room.name(unnamed.id, "anna")
    assert (named.name, named.photos) == ("anna", 3)
    assert [one.id for one in room.everybody()] == [named.id]
    assert on(album, first) == [("anna", "file")]
    assert on(album, second) == [("anna", "face")]
    # The file stops saying so; the face still does.
    with album.store.writing(advance=True) as connection:
        annotations.set_people(connection, {first: []})
        annotations.annotate(connection, [first])
    assert on(album, first) == [("anna", "face")]
    room.not_this_person(ids[0], named.id)
    assert on(album, first) == []
    with album.store.writing(advance=True) as connection:
        annotations.set_people(connection, {first: ["anna", "Ben"]})
        annotations.annotate(connection, [first])
    assert on(album, first) == [("Ben", "file"), ("anna", "file")]
    assert found(album, "anna without Ben") == [2, 3]


def test_pets_by_hand(album):
    photos = [album.add() for _ in range(3)]
    room = People(album.store)
    cat = room.tag(photos[:2], "咪咪", "pet")
    assert (cat.kind, cat.photos, cat.faces, cat.cover) == ("pet", 2, 0, None)
    assert found(album, "咪咪") == photos[:2]
    room.cluster()  # which knows of no such face
    assert room.person(cat.id) == cat
    room.untag([photos[0]], cat.id)
    assert found(album, "咪咪") == [photos[1]]
    room.untag([photos[1]], cat.id)
    assert room.called("咪咪") is None
    with pytest.raises(SensoriumError, match="no photo 99"):
        room.tag([photos[0], 99], "Rex", "pet")
    assert room.called("Rex") is None


def test_assigning_faces(album):
    ids = three_people(album)
    room = People(album.store)
    room.cluster()
    anna = room.assign(ids[1, 1], "Anna")
    assert owners(album)[ids[1, 1]] == anna.id
    assert on(album, 1) == [("Anna", "face")]
    # The others look like her: at the next sorting they follow.
    room.cluster()
    assert sum(person == anna.id for person in owners(album).values()) >= 6
    # Two faces of one photo: the one that a hand names wins over likeness.
    room.assign(ids[4, 2], anna.id)
    assert owners(album)[ids[4, 2]] == anna.id
    assert owners(album)[ids[4, 1]] is None
    room.cluster()
    assert owners(album)[ids[4, 1]] != anna.id


def test_hiding_covers_and_counts(album):
    ids = three_people(album)
    room = People(album.store)
    room.cluster()
    first = room.everybody()[0].id
    room.change(first, hidden=True, kind="pet")
    assert first not in {one.id for one in room.everybody()}
    (hidden,) = room.everybody(hidden=True)
    assert (hidden.id, hidden.kind) == (first, "pet")
    room.cluster()
    assert [one.id for one in room.everybody(hidden=True)] == [first]
    room.change(first, hidden=False, cover_face=ids[5, 1])
    assert room.person(first).cover.id == ids[5, 1]
    with pytest.raises(SensoriumError, match="is not one of person"):
        room.change(first, cover_face=ids[2, 2])
    room.not_this_person(ids[5, 1], first)
    assert room.person(first).cover.id != ids[5, 1]
    with album.store.writing(advance=True) as connection:
        connection.exec_driver_sql("UPDATE photos SET hidden = 1 WHERE id = 1")
        connection.exec_driver_sql("UPDATE photos SET missing_since = 1 WHERE id = 2")
    assert (room.person(first).photos, room.person(first).faces) == (4, 4)
    assert [face.id for face in room.faces(4)] == [ids[4, 1], ids[4, 2]]
    assert len(room.faces_of(first, limit=2)) == 2


def test_requests_that_cannot_be_meant(album):
    three_people(album)
    room = People(album.store)
    room.cluster()
    one = room.everybody()[0].id
    for ask in (
        lambda: room.name(999, "Anna"),
        lambda: room.name(one, "  \n "),
        lambda: room.name(one, "x" * 101),
        lambda: room.name(one, "Anna", "ghost"),
        lambda: room.change(one, kind="ghost"),
        lambda: room.merge(one, [999]),
        lambda: room.assign(999, one),
        lambda: room.assign(1, 999),
        lambda: room.not_this_person(1, 999),
        lambda: room.faces_of(999),
        lambda: room.tag([], "Anna"),
    ):
        with pytest.raises(SensoriumError) as caught:
            ask()
        assert "\n" not in str(caught.value)
    assert {person.name for person in room.everybody()} == {None}
    assert room.name(one, "Ann\ta\0 Li\u200b").name == "Ann a Li"


def test_a_hand_that_comes_between_is_heard(album, monkeypatch):
    ids = three_people(album)
    room = People(album.store)
    sorting, calls = clustering.sort_faces, []

    def slow(sample):
        if not calls:
            room.assign(ids[1, 1], "Anna")  # while the faces are being sorted
        calls.append(1)
        return sorting(sample)

    monkeypatch.setattr(clustering, "sort_faces", slow)
    room.cluster()
    assert len(calls) == 2
    anna = room.called("Anna")
    assert owners(album)[ids[1, 1]] == anna.id
    assert anna.faces == 7
    generation = album.store.generation()
    room.cluster()
    assert album.store.generation() == generation  # nothing moved: no list is made anew


def test_vectors_of_different_networks_never_meet(album):
    photos = [album.add() for _ in range(6)]
    old = [put(album, photo, 1, model="old")[0] for photo in photos[:3]]
    new = [put(album, photo, 1, model="new")[0] for photo in photos[3:]]
    People(album.store).cluster()
    assert len({owners(album)[face] for face in old}) == 1
    assert len({owners(album)[face] for face in new}) == 1
    assert owners(album)[old[0]] != owners(album)[new[0]]

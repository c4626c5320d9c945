"""Answers: filtered as brute force would, cut off, explained, sorted, and paged while the library changes."""

import json
from datetime import date

import numpy as np
import pytest
from made_library import Album

from sensorium.errors import SensoriumError
from sensorium.photos.query import Exclusion, Query, Term
from sensorium.photos.search import calibration
from sensorium.photos.search.paging import Cursor
from sensorium.photos.search.ranking import rank
from sensorium.photos.vectors import hnsw

KYOTO = {"country": "JP", "region": "JP.22", "city": 1857910}
OTHERS = [f"thing {number}" for number in range(30)]


@pytest.fixture
def album(tmp_path):
    made = Album(tmp_path / "library")
    yield made
    made.store.close()


def names(results) -> list[str]:
    return [hit.path.name for hit in results]


def ids(results) -> list[int]:
    return [int(hit.path.stem) for hit in results]


def crowd(album: Album, *more: tuple[str, ...]) -> None:
    """Thirty photos of other things, and some that are wanted."""
    for name in OTHERS:
        album.add(name)
    for shown in more:
        album.add(*shown)


def test_a_look_is_found_and_the_rest_is_left_out(album):
    crowd(album, ("walrus",), ("walrus",), ("walrus", "harbour"))
    results = album.library().search("walrus")
    assert set(ids(results)) >= {31, 32, 33}
    assert len(results) == results.total < 12
    assert set(ids(results[:3])) == {31, 32, 33}
    assert (results.verdict, results.closest, results.cursor) == ("found", (), None)
    assert results[0].why == "looks like “walrus”"
    scores = [hit.score for hit in results]
    assert scores == sorted(scores, reverse=True)
    assert 0 < scores[-1] < scores[0] < 1


def test_nothing_is_an_answer_and_names_what_came_closest(album):
    crowd(album)
    results = album.library().search("zzgrmpf")
    assert (list(results), results.total, results.verdict) == ([], 0, "nothing")
    assert len(results.closest) == 5
    assert results.closest[0].why == "came closest to looking like “zzgrmpf”"
    everything = album.library().search("zzgrmpf", 100, everything=True)
    assert (len(everything), everything.verdict) == (30, "nothing")


@pytest.mark.parametrize("share", [0.5, 0.01, 0.0001])
def test_filtered_recall_equals_brute_force(album, share):
    random = np.random.default_rng(0)
    vectors = album.encoder.embed_photos([(f"thing {number % 40}",) for number in range(5000)])
    from concepts import library as index_of

    index = index_of(vectors)
    measured = calibration.measure(calibration.embed_background(album.encoder), vectors)
    among = np.sort(random.choice(5000, max(int(5000 * share), 1), replace=False)).astype(np.int64) + 1
    question = measured.question(album.encoder.embed_texts(["thing 3"])[0], len(among))
    ranked = rank(index, [question], [1.0], among=among)
    evidence = question.evidence(vectors.astype(np.float16)[among - 1].astype(np.float32) @ question.vector)
    passing = calibration.cut_off(evidence.max()) if evidence.max() >= calibration.WEAK else np.inf
    wanted = [photo for photo, value in zip(among, evidence, strict=True) if value >= passing]
    assert set(ranked.ids.tolist()) == set(wanted)
    best = among[np.argsort(-evidence, kind="stable")][:5]
    assert ranked.closest.tolist()[0] == best[0]


def test_slots_alone_answer_by_date_with_all_that_fit(album):
    dates = ["2019-06-03", "2020-06-01", "2019-06-20", None]
    for taken in dates:
        album.add("temple", taken=taken and f"{taken}T10:00", **KYOTO)
    album.add("temple", taken="2019-06-09T10:00")
    library = album.library()
    in_kyoto = library.search(Query(places=("Kyoto",)))
    assert ids(in_kyoto) == [2, 3, 1, 4]
    assert (in_kyoto.total, in_kyoto.verdict) == (4, "found")
    assert in_kyoto[0].why == "taken in Kyoto, Japan"
    assert in_kyoto[0].place == "Kyoto, Japan"
    assert {hit.score for hit in in_kyoto} == {1.0}
    june = Query(places=("Kyoto",), after=date(2019, 6, 1), before=date(2019, 7, 1))
    assert ids(library.search(june)) == [3, 1]
    assert library.search(june)[0].why == "taken in Kyoto, Japan, in June 2019"
    day = Query(after=date(2019, 6, 9), before=date(2019, 6, 10))
    assert library.search(day)[0].why == "on 2019-06-09"


def test_a_look_among_what_fits(album):
    crowd(album, ("walrus",))
    far = album.add("walrus", people=("Anna",), camera_make="Canon", camera_model="Canon R5")
    library = album.library()
    results = library.search(Query(text="walrus", people=("Anna",), camera="canon"))
    assert ids(results) == [far]
    assert results[0].why == "looks like “walrus”, with Anna, by Canon R5"
    none = library.search(Query(text="walrus", after=date(2020, 1, 1)))
    assert (none.total, none.verdict, none.closest) == (0, "nothing", ())
    assert none.note == "32 photos tell no date and match no time"


def test_a_sentence_is_parsed_with_the_people_and_cameras_of_the_library(album):
    album.add("walrus", people=("Anna",), taken="2019-06-05T10:00")
    library = album.library()
    query = library.parse("Anna in June 2019")
    assert (query.people, query.after, query.before) == (("Anna",), date(2019, 6, 1), date(2019, 7, 1))
    assert ids(library.search("Anna in June 2019")) == [1]
    corrected = Query.from_document({**query.document(), "people": []})
    assert ids(library.search(corrected)) == [1]


def test_words_of_the_photo_itself_count(album):
    crowd(album)
    said = album.add("thing 3", caption="Our walrus at the zoo, with a very long story about it. " * 2)
    named = album.add("thing 4", path="trips/walrus_day.jpg")
    shown = album.add("walrus")
    results = album.library().search("walrus")
    by_id = {hit.path.name: hit for hit in results}
    assert len(results) >= 3
    assert {f"{said}.jpg", "walrus_day.jpg", f"{shown}.jpg"} <= set(by_id)
    assert by_id[f"{said}.jpg"].why.startswith("its caption says “Our walrus at the zoo")
    assert by_id["walrus_day.jpg"].why.startswith("its name is walrus_day.jpg")
    assert by_id[f"{said}.jpg"].score >= 0.9
    assert by_id["walrus_day.jpg"].score < by_id[f"{said}.jpg"].score
    assert named == 32


def test_words_answer_where_nothing_looks_like_it(album):
    crowd(album)
    said = album.add("thing 3", caption="zzgrmpf at the lake")
    results = album.library().search("zzgrmpf")
    assert (ids(results), results.verdict) == ([said], "found")


def test_both_witnesses_are_surer_than_one(album):
    crowd(album, ("walrus",))
    both = album.add("walrus", caption="walrus")
    results = album.library().search("walrus")
    assert ids(results)[0] == both
    assert results[0].score > results[1].score


def test_hostile_words_are_only_words(album):
    crowd(album, ("walrus",))
    library = album.library()
    for words in ('"', "walrus AND (", "name: x", "* NEAR(a b)", "'; DROP TABLE photos; --", "{words} : a"):
        assert library.search(Query(text=words), everything=True).total == 31


def test_what_is_unwanted_is_left_out(album):
    for number in range(20):
        album.add("harbour", *(["walrus"] if number % 2 else []))
    crowd(album)
    library = album.library()
    query = Query(text="harbour", exclude=("walrus",))
    results = library.search(query, 8)
    assert sum(photo % 2 == 0 for photo in ids(results) if photo <= 20) <= 1
    assert results[0].why == "looks like “harbour”, not like “walrus”"
    terms = (Term("harbour", None, 1.0), Term("walrus", None, -1.0))
    assert ids(library.search(Query(terms=terms, exclude=("walrus",)), 8)) == ids(results)
    nothing_but = library.search(Query(exclude=("walrus",)), 100)
    assert nothing_but.verdict == "found"
    assert not {2, 4, 6, 8, 10} & set(ids(nothing_but))
    assert len(set(ids(nothing_but)) & set(range(21, 51))) > 25


def test_sums_want_both(album):
    crowd(album, ("harbour",), ("walrus",), ("harbour", "walrus"))
    terms = (Term("harbour", None, 1.0), Term("walrus", None, 1.0))
    results = album.library().search(Query(terms=terms))
    assert ids(results)[0] == 33
    assert results[0].why == "looks like “harbour” and “walrus”"


def test_newest_first_within_what_passes(album):
    crowd(album)
    for day in (3, 1, 2):
        album.add("walrus", taken=f"2019-06-0{day}T10:00")
    undated = album.add("walrus")
    library = album.library()
    best = library.search("walrus")
    newest = library.search("walrus", sort="date")
    assert sorted(ids(newest)) == sorted(ids(best))
    assert ids(newest)[:3] == [31, 33, 32]
    assert ids(newest).index(undated) >= 3


def pages(library, query, k, change, **options):
    """Page after page until the end; ``change`` is called in between."""
    found, totals, cursor = [], [], None
    while True:
        results = library.search(query, k, after_cursor=cursor, **options)
        found.append(ids(results))
        totals.append(results.total)
        if results.cursor is None:
            return found, totals
        cursor = results.cursor
        change()


@pytest.mark.parametrize("sort", ["relevance", "date"])
def test_pages_are_disjoint_and_stable_while_photos_come_and_change(album, sort):
    crowd(album)
    for number in range(25):
        album.add("walrus", taken=f"2019-06-{number + 1:02}T10:00" if number % 3 else None)
    library = album.library()
    whole = library.search("walrus", 100, sort=sort)
    assert whole.total >= 25
    seen: list[int] = []

    def change():
        album.add("walrus", taken="2018-01-01T10:00")
        album.add("walrus", taken="2030-01-01T10:00")
        album.change(seen.pop() if seen else ids(whole)[0], "walrus")

    seen += ids(whole)[:3]
    found, totals = pages(library, "walrus", 5, change, sort=sort)
    flat = [photo for page in found for photo in page]
    assert len(found) >= 5
    assert len(set(flat)) == len(flat)
    assert flat == ids(whole)[: len(flat)]
    assert set(flat) == set(ids(whole))
    assert max(totals) == totals[0] == whole.total


@pytest.mark.parametrize("everything", [False, True])
def test_pages_hold_what_one_page_holds(album, everything):
    crowd(album, *[("walrus",)] * 7)
    library = album.library()
    whole = library.search("walrus", 100, everything=everything)
    found, totals = pages(library, "walrus", 4, lambda: None, everything=everything)
    assert [photo for page in found for photo in page] == ids(whole)
    assert set(totals) == {whole.total}


def test_slots_alone_are_paged_too(album):
    for number in range(12):
        album.add("x", taken=f"2019-06-{number % 4 + 1:02}T10:00")
    library = album.library()
    found, totals = pages(library, Query(months=(6,)), 5, lambda: album.add("x", taken="2019-06-02T10:00"))
    assert [len(page) for page in found] == [5, 5, 2]
    assert sorted(photo for page in found for photo in page) == list(range(1, 13))
    assert set(totals) == {12}


def test_pages_of_a_sum_are_disjoint_and_stable_while_photos_come(album):
    for number in range(60):
        album.add("harbour" if number % 2 else f"thing {number}", *(["walrus"] if number % 6 == 1 else []))
    library = album.library()
    query = Query(terms=(Term("harbour", None, 1.0), Term("walrus", None, -1.0)))
    whole = ids(library.search(query, 100))
    assert len(whole) > 8
    # so many more photos that it is measured again
    found, totals = pages(library, query, 4, lambda: [album.add("harbour") for _ in range(8)])
    assert [photo for page in found for photo in page] == whole
    assert set(totals) == {len(whole)}


def test_a_cursor_of_another_search_is_refused(album):
    crowd(album, *[("walrus",)] * 7)
    library = album.library()
    cursor = library.search("walrus", 2).cursor
    assert cursor is not None
    for call in (
        lambda: library.search("thing 3", 2, after_cursor=cursor),
        lambda: library.search("walrus", 2, after_cursor=cursor, sort="date"),
    ):
        with pytest.raises(SensoriumError, match="belongs to another search"):
            call()


@pytest.mark.parametrize(
    "text", ["", "x", "💥", "e30", "WzFd", "bnVsbA", "[" * 50, "WzEsMiwzLDQsNSw2LDcsOCw5LDEwXQ"]
)
def test_what_is_no_cursor_is_refused(text):
    with pytest.raises(SensoriumError, match="no cursor"):
        Cursor.read(text, "question", 1)


def test_a_cursor_is_plain_letters_and_comes_back():
    rules = (
        (0.25, 0.5, -2.0, 0.0, None, None),
        (0.0, 1.0, -3.5, 0.5, (-1.25, 0.75), None),
        (0.0, 1.0, -3.5, 0.0, None, (0.5, 0.25, -2.5)),
    )
    cursor = Cursor("question", 1, 2, 3, rules, 3.5, "found", -5, 7)
    assert Cursor.read(cursor.text(), "question", 3) == cursor
    assert cursor.text().replace("-", "").replace("_", "").isalnum()
    with pytest.raises(SensoriumError, match="no cursor"):
        Cursor.read(cursor.text(), "question", 1)


@pytest.mark.parametrize(
    "rule",
    [
        (0.0, 0.0, 0.0, 0.0, None, None),
        (0.0, 1.0, float("nan"), 0.0, None, None),
        (0.0, 1.0, 0.0, float("inf"), None, None),
        (0.0, 1.0, 0.0, 0.0),
        (0.0, 1.0, 0.0, 0.0, (0.0, float("nan")), None),
        (0.0, 1.0, 0.0, 0.0, (0.0,), None),
        (0.0, 1.0, 0.0, 0.0, {"a": 1.0, "b": 2.0}, None),
        (0.0, 1.0, 0.0, 0.0, "ab", None),
        (0.0, 1.0, 0.0, 0.0, None, (0.0, 0.0, 0.0)),
        (0.0, 1.0, 0.0, 0.0, None, (0.0, 1.0)),
    ],
)
def test_a_cursor_whose_rules_no_page_made_is_refused(rule):
    text = Cursor("question", 1, 2, 3, (rule,), 3.5, "found", -5, 7).text()
    with pytest.raises(SensoriumError, match="no cursor"):
        Cursor.read(text, "question", 1)


def test_it_is_calibrated_once_and_again_when_it_has_grown(album, monkeypatch):
    crowd(album, ("walrus",))
    library = album.library()
    measured = []
    real = calibration.measure
    monkeypatch.setattr(calibration, "measure", lambda *a: measured.append(1) or real(*a))
    embedded = []
    monkeypatch.setattr(
        calibration,
        "embed_background",
        lambda e: embedded.append(1) or np.float16(e.embed_texts(list(calibration.background().texts))),
    )
    library.search("walrus")
    library.search("thing 3")
    album.library().search("walrus")  # another process finds it in the library
    assert (len(measured), len(embedded)) == (1, 1)
    for name in OTHERS:
        album.add(name)
    library.search("walrus")
    assert (len(measured), len(embedded)) == (2, 1)


def test_a_query_is_data(album):
    album.add("walrus")
    document = album.library().parse("walrus without snow").document()
    assert json.loads(json.dumps(document)) == document
    assert album.library().search(Query.from_document(document)).query.document() == document


def test_nothing_to_search_for(album):
    album.add("walrus")
    with pytest.raises(SensoriumError, match="nothing to search for"):
        album.library().search(Query(said="x"))


def test_excluded_slots_alone(album):
    album.add("x", **KYOTO)
    other = album.add("x")
    excluded = (Exclusion("Japan", place="Japan"),)
    results = album.library().search(Query(exclude=("Japan",), excluded=excluded))
    assert ids(results) == [other]
    assert results[0].why == "without Japan"


def test_a_very_large_library_uses_its_graph_from_the_second_question_on(album, monkeypatch):
    crowd(album)
    (album.folder / "matrix").mkdir()
    asked = [album.folder.parent / "pictures" / f"{number}.jpg" for number in (2, 3, 4)]
    exact = [names(album.library().similar(path, k=5)) for path in asked]
    monkeypatch.setattr(hnsw, "FROM", 10)
    monkeypatch.setattr(hnsw, "NEEDED", 0.5)
    assert album.library().build_graph() > 0.9
    opened = []
    real = hnsw.open_hnsw

    def watched(matrix):
        opened.append(real(matrix))
        return opened[-1]

    monkeypatch.setattr(hnsw, "open_hnsw", watched)
    library = album.library()
    assert [names(library.similar(path, k=5)) for path in asked] == exact
    assert len(opened) == 1
    assert opened[0] is not None

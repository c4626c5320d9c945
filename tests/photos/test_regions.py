"""Parts of pictures: what they are, when they are looked at, and what "without" makes of them."""

import os

import numpy as np
import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st
from made_library import Album
from photo_fakes import COLOURS, ColourEncoder, plain, run, write
from PIL import Image

from sensorium.errors import ModelNotFoundError
from sensorium.photos.database import schema
from sensorium.photos.describe import passes
from sensorium.photos.describe.known import chosen
from sensorium.photos.describe.passes import Completed, Skipped
from sensorium.photos.describe.regions import RegionPass, embedded, prepared, windows
from sensorium.photos.health import upkeep
from sensorium.photos.query import Query, Term
from sensorium.photos.search.parts import PartCalibration
from sensorium.photos.vectors.regions import REGIONS, Regions, packed, packed_size, stacked, unpacked

HARBOUR_WITHOUT_WALRUS = Query(terms=(Term("harbour", None, 1.0), Term("walrus", None, -1.0)))
WITHOUT_WALRUS = Query(exclude=("walrus",))


@given(st.integers(1, 5000), st.integers(1, 5000))
def test_windows_are_parts_of_the_picture_and_cover_it(width, height):
    boxes = windows(width, height)
    assert len(boxes) == REGIONS
    for left, top, right, bottom in boxes:
        assert 0 <= left < right <= width
        assert 0 <= top < bottom <= height
    assert {box[0] for box in boxes} & {0}
    assert max(box[2] for box in boxes) == width
    assert max(box[3] for box in boxes) == height


@given(st.data(), st.integers(16, 5000), st.integers(16, 5000))
def test_what_is_no_larger_than_a_quarter_of_the_sides_is_whole_in_a_window(data, width, height):
    across = data.draw(st.integers(1, width // 4))
    down = data.draw(st.integers(1, height // 4))
    left = data.draw(st.integers(0, width - across))
    top = data.draw(st.integers(0, height - down))
    assert any(
        box[0] <= left and box[1] <= top and left + across <= box[2] and top + down <= box[3]
        for box in windows(width, height)
    )


def corner(colour: str, rest: str, side: int = 200) -> Image.Image:
    """A picture of one colour with a corner, a tenth of its sides, of another."""
    image = plain(rest, (side, side))
    image.paste(COLOURS[colour], (0, 0, side // 10, side // 10))
    return image


def test_a_part_sees_what_the_whole_picture_hardly_shows():
    encoder = ColourEncoder()
    red = encoder.embed_texts(["red"])[0]
    clean, cornered = plain("blue", (200, 200)), corner("red", "blue")
    whole = encoder.embed_images([clean, cornered]) @ red
    parts = [embedded(encoder, prepared(image, encoder.image_spec)[None])[0] for image in (clean, cornered)]
    nearest = [float((part @ red).max()) for part in parts]
    assert nearest[1] - nearest[0] > 3 * (whole[1] - whole[0]) > 0


def rows(library) -> dict[tuple[str, int], np.ndarray]:
    """All vectors of parts [9, d], by the photo's file and the pipeline."""
    statement = sa.select(schema.photos.c.path, schema.regions.c.pipeline_id, schema.regions.c.vectors)
    with library.store.reading() as connection:
        found = connection.execute(statement.join_from(schema.photos, schema.regions)).all()
    return {(row.path, row.pipeline_id): vectors(row.vectors) for row in found}


def vectors(content: bytes) -> np.ndarray:
    """Those [9, d] that were packed."""
    dim = len(content) // REGIONS - 2
    factors, numbers = unpacked(stacked([content], dim), dim)
    return (factors[..., None] * numbers)[0]


def look(library) -> passes.Tally:
    *_, last = library.describe(["regions"], workers=1)
    assert isinstance(last, Completed)
    return last.tallies["regions"]


def state(library) -> tuple[int, int]:
    (found,) = passes.status(library.store, chosen(library.store, ["regions"]))
    return found.done, found.due


def test_every_photo_is_looked_at_once_and_again_when_it_was_edited(library, folder):
    for name, colour in (("a", "red"), ("b", "green"), ("c", "blue")):
        write(folder / f"{name}.png", plain(colour), kind="PNG")
    run(library, folder)
    assert state(library) == (0, 3)
    assert (look(library).described, look(library).described, state(library)) == (3, 0, (3, 0))
    before = rows(library)
    green = ColourEncoder().embed_texts(["green"])[0]
    assert np.allclose(before["b.png", 1] @ green, 1, atol=2e-3)
    write(folder / "b.png", plain("red"), kind="PNG")
    run(library, folder)
    assert set(rows(library)) == {("a.png", 1), ("c.png", 1)}  # nobody searches what is no longer there
    assert state(library) == (2, 1)
    assert look(library).described == 1
    assert np.array_equal(rows(library)["b.png", 1], before["a.png", 1])


def test_each_model_has_its_own_and_a_rollback_finds_them_again(library, folder):
    write(folder / "a.png", plain("red"), kind="PNG")
    run(library, folder)
    look(library)
    run(library, folder, model="test/light")
    assert state(library) == (0, 1)
    assert look(library).described == 1
    shapes = {key: value.shape for key, value in rows(library).items()}
    assert shapes == {("a.png", 1): (9, 48), ("a.png", 2): (9, 16)}
    library.store.rollback()
    assert state(library) == (1, 0)


def test_a_model_whose_vectors_are_made_anew_looks_again(library, folder):
    write(folder / "a.png", plain("red"), kind="PNG")
    run(library, folder)
    look(library)
    upkeep.renew(library.store, "sensorium/mini-clip")
    assert rows(library) == {}
    run(library, folder)
    assert look(library).described == 1


def test_one_bad_file_stops_nothing_and_is_not_tried_again(library, folder):
    for name in "abc":
        write(folder / f"{name}.jpg", corner("red", "blue"))
    run(library, folder)
    before = (folder / "b.jpg").stat()
    (folder / "b.jpg").write_bytes(b"\xff\xd8" + bytes(before.st_size - 2))
    os.utime(folder / "b.jpg", ns=(before.st_atime_ns, before.st_mtime_ns))
    tally = look(library)
    assert (tally.described, len(tally.failed)) == (2, 1)
    assert set(rows(library)) == {("a.jpg", 1), ("c.jpg", 1)}
    assert look(library) == passes.Tally()


def test_it_says_what_is_missing(library, folder, models):
    (event, *_) = library.describe(["regions"], workers=1)
    assert event == Skipped("regions", "nothing was indexed yet: run `sensorium index FOLDER`")
    write(folder / "a.png", plain("red"), kind="PNG")
    run(library, folder)

    def gone(name):
        raise ModelNotFoundError(f"no model {name} here")

    library._load, library._encoders = gone, {}
    (event, *_) = library.describe(["regions"], workers=1)
    assert event == Skipped("regions", "no model sensorium/mini-clip here")


@pytest.fixture
def album(tmp_path):
    made = Album(tmp_path / "library")
    yield made
    made.store.close()


def see(album: Album, photo: int, *parts: str) -> None:
    """Parts of a photo show these concepts, the others nothing much."""
    shown = [(name,) for name in parts] + [("nothing much",)] * (REGIONS - len(parts))
    content = packed(album.encoder.embed_photos(shown, photo))
    with album.store.writing(advance=True) as connection:
        written = connection.scalar(sa.select(schema.library.c.vectors_generation)) + 1
        row = {"photo_id": photo, "pipeline_id": album.pipeline.id, "written": written}
        connection.execute(sa.insert(schema.regions).prefix_with("OR REPLACE").values(vectors=content, **row))


def ids(results) -> list[int]:
    return [int(hit.path.stem) for hit in results]


def harbours(album: Album) -> set[int]:
    """Sixty photos, ten of a harbour; a walrus is in a part of three of these, and these come back."""
    shown = [
        album.add("harbour") if number % 6 == 0 else album.add(f"thing {number}") for number in range(60)
    ]
    hidden = set(shown[:18:6])
    for place, photo in enumerate(shown):
        inside = ["harbour"] if place % 6 == 0 else []
        see(album, photo, *inside, *(["walrus"] if photo in hidden else []))
    return hidden


def test_without_looks_into_the_corners(album):
    wanted = [album.add("harbour") for _ in range(10)]
    others = [album.add(f"thing {number}") for number in range(50)]
    library = album.library()
    plain = ids(library.search("harbour"))
    hidden = set(ids(library.search(HARBOUR_WITHOUT_WALRUS))[:3])
    assert hidden <= set(wanted)
    assert hidden <= set(ids(library.search(WITHOUT_WALRUS, 100)))
    for photo in others:
        see(album, photo)
    for photo in wanted:
        see(album, photo, "harbour", *(["walrus"] if photo in hidden else []))
    found = ids(library.search(HARBOUR_WITHOUT_WALRUS))
    assert len(set(wanted) & set(plain)) >= 9
    assert set(wanted) & set(plain) - hidden <= set(found)
    assert hidden.isdisjoint(found)
    assert hidden.isdisjoint(ids(library.search(WITHOUT_WALRUS, 100)))


def test_photos_that_were_not_looked_at_are_judged_as_a_whole(album):
    hidden = harbours(album)
    late = {album.add("harbour") for _ in range(8)}
    walruses = {album.add("harbour", "walrus") for _ in range(8)}
    found = set(ids(album.library().search(HARBOUR_WITHOUT_WALRUS)))
    assert late & found
    assert found.isdisjoint(walruses | hidden)


def test_pages_stay_as_they_were_while_parts_are_looked_at(album):
    shown = [
        album.add("harbour") if number % 3 == 0 else album.add(f"thing {number}") for number in range(60)
    ]
    for photo in shown[::2]:
        see(album, photo, "harbour")
    library = album.library()
    whole = ids(library.search(HARBOUR_WITHOUT_WALRUS, 100))
    assert len(whole) >= 12
    found, cursor = [], None
    while True:
        page = library.search(HARBOUR_WITHOUT_WALRUS, 4, after_cursor=cursor)
        found += ids(page)
        assert page.total == len(whole)
        cursor = page.cursor
        if cursor is None:
            break
        for photo in shown[1::2]:
            see(album, photo, "walrus")
    assert found == whole


def measure(album: Album) -> None:
    """As the pass does at the end of its run."""
    looking = RegionPass(album.store.active_pipeline(), lambda: album.encoder)
    assert looking.absent() is None
    looking.finish(album.store)


def test_a_small_thing_is_found_in_a_part(album):
    small = {album.add("harbour") for _ in range(4)}
    others = {album.add(f"thing {number}") for number in range(60)}
    library = album.library()
    before = library.search("walrus")
    assert before.verdict == "weak"
    assert not small & set(ids(before[:4]))
    for photo in small | others:
        see(album, photo, *(["walrus"] if photo in small else []))
    assert ids(library.search("walrus")) == ids(before)  # nobody knows yet what the scores mean
    measure(album)
    found = library.search("walrus")
    assert set(ids(found[:4])) == small
    assert set(ids(library.search("harbour"))) >= small  # what fills the picture is not lost
    assert library.search("zzgrmpf").verdict == "nothing"


def test_what_no_photo_shows_is_not_found_in_parts_either(album):
    for number in range(120):
        see(album, album.add(f"thing {number}"), f"stuff {number}", f"stuff {number + 500}")
    library = album.library()
    absent = [f"absence {number}" for number in range(20)]
    before = [library.search(words).verdict for words in absent]
    measure(album)
    after = [library.search(words).verdict for words in absent]
    assert after.count("found") <= before.count("found") + 2


def test_it_is_measured_again_when_there_are_many_more_parts(album):
    for _ in range(8):
        see(album, album.add("x"))
    texts = []
    for more in (0, 1, 8):
        for _ in range(more):
            see(album, album.add("x"))
        measure(album)
        texts.append(album.store.active_pipeline().parts)
    assert PartCalibration.read(texts[0]).reached.photos == 8
    assert texts[1] == texts[0]
    assert PartCalibration.read(texts[2]).reached.photos == 17


@pytest.mark.parametrize("text", [None, "", "null", "[]", "{}", '["x", 1.0, 1, [1], [0.5]]'])
def test_what_was_not_measured_for_todays_texts_is_not_used(text):
    assert PartCalibration.read(text) is None


def test_pages_of_what_parts_show_hold_what_one_page_holds(album):
    for number in range(60):
        see(album, album.add(f"thing {number}"), *(["walrus"] if number % 4 == 0 else []))
    measure(album)
    library = album.library()
    whole = ids(library.search("walrus", 100))
    assert len(whole) >= 12
    found, cursor = [], None
    while cursor is not None or not found:
        page = library.search("walrus", 5, after_cursor=cursor)
        found += ids(page)
        cursor = page.cursor
        see(album, album.add("walrus"), "walrus")
    assert found == whole


def test_damaged_parts_are_told_and_not_used(album):
    harbours(album)
    with album.store.writing() as connection:
        connection.execute(
            sa.update(schema.regions).where(schema.regions.c.photo_id == 1).values(vectors=b"12")
        )
    with pytest.raises(Exception, match="the parts of photo 1 are damaged: run `sensorium library repair`"):
        album.library().search(HARBOUR_WITHOUT_WALRUS)


def test_a_sample_is_spread_over_all_photos(album):
    regions = Regions(album.store, album.pipeline)
    assert list(regions.sample(album.store.vectors_generation()).ids) == []
    for _ in range(300):
        see(album, album.add("x"))
    now = album.store.vectors_generation()
    sample = regions.sample(now).ids
    assert len(sample) == len(set(sample.tolist())) == 256
    assert sample.tolist() == sorted(sample.tolist())
    assert (sample[0], sample[-1]) == (1, 300)
    assert regions.sample(now - 20).ids[-1] == 290  # each photo and its parts are a change of their own
    assert regions.count() == 300


def test_scores_come_in_the_order_of_the_ids_and_are_nothing_where_nothing_is_known(album):
    for _ in range(5):
        album.add("x")
    for photo in (2, 4):
        see(album, photo, "walrus")
    query = album.encoder.embed_texts(["walrus"])[0]
    parts = Regions(album.store, album.pipeline).until(album.store.vectors_generation())
    for _ in range(3):  # from the file, then from memory
        (scores,) = parts.closest([query], np.array([4, 5, 2, 1, 999]))
        assert np.isnan(scores).tolist() == [False, True, False, True, True]
    with album.store.reading() as connection:
        kept = sa.select(schema.regions.c.vectors).where(schema.regions.c.photo_id == 4)
        content = connection.scalar(kept)
    assert scores[0] == pytest.approx((vectors(content) @ query).max(), abs=1e-6)


@pytest.mark.parametrize("limit", [0, 1 << 20])
def test_what_is_kept_in_memory_is_what_the_file_holds(album, monkeypatch, limit):
    monkeypatch.setattr("sensorium.photos.vectors.regions._IN_MEMORY", limit)
    for number in range(20):
        see(album, album.add("x"), *(["walrus"] if number % 3 == 0 else []))
    query = album.encoder.embed_texts(["walrus"])[0]
    regions, asked = Regions(album.store, album.pipeline), np.arange(30, 0, -1)
    before = album.store.vectors_generation()
    first = regions.until(before).closest([query], asked)[0]
    for _ in range(2):
        assert np.array_equal(regions.until(before).closest([query], asked)[0], first, equal_nan=True)
    see(album, album.add("x"), "walrus")
    after = regions.until(album.store.vectors_generation()).closest([query], asked)[0]
    assert np.isnan(first[9])
    assert after[9] > np.nanmedian(first)
    assert np.array_equal(np.delete(after, 9), np.delete(first, 9), equal_nan=True)
    assert np.array_equal(regions.until(before).closest([query], asked)[0], first, equal_nan=True)


@given(st.integers(1, 768), st.integers(0, 2**32))
def test_packing_hardly_moves_a_score(dim, seed):
    rows = np.random.default_rng(seed).normal(size=(REGIONS + 1, dim)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    content = packed(rows[:REGIONS])
    assert len(content) == packed_size(dim)
    assert np.abs(vectors(content) @ rows[REGIONS] - rows[:REGIONS] @ rows[REGIONS]).max() < 5e-3


def test_a_vector_of_nothing_is_kept_as_such():
    assert not vectors(packed(np.zeros((REGIONS, 4), np.float32))).any()

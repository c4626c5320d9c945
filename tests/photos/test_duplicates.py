"""Which photos are there twice: equal files, edits and smaller copies; and which are only alike."""

import io

import numpy as np
import pytest
import sqlalchemy as sa
from film_fakes import film
from hypothesis import given, settings
from hypothesis import strategies as st
from photo_fakes import run, write
from PIL import Image, ImageEnhance

from sensorium.media.image import read_image
from sensorium.photos.database import schema
from sensorium.photos.duplicates import near
from sensorium.photos.duplicates.groups import BITS
from sensorium.photos.duplicates.hashing import BYTES, NOTHING, hash_of


def scene(seed: int, size: tuple[int, int] = (480, 320)) -> Image.Image:
    """A picture with large and small shapes, like no other."""
    random = np.random.default_rng(seed)
    coarse = Image.fromarray(random.integers(0, 256, (5, 7, 3), dtype=np.uint8)).resize(size, Image.BICUBIC)
    fine = Image.fromarray(random.integers(0, 256, (24, 36, 3), dtype=np.uint8)).resize(size, Image.BICUBIC)
    return Image.blend(coarse, fine, 0.3)


def jpeg(image: Image.Image, quality: int) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return read_image(buffer.getvalue())


EDITS = {
    "as it is": lambda image: image,
    "recompressed": lambda image: jpeg(image, 40),
    "half the size": lambda image: jpeg(image.resize((240, 160), Image.LANCZOS), 80),
    "a fifth of the size": lambda image: jpeg(image.resize((96, 64), Image.LANCZOS), 80),
    "brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.15),
    "more contrast": lambda image: ImageEnhance.Contrast(image).enhance(1.2),
    "grey": lambda image: image.convert("L").convert("RGB"),
    "sharper": lambda image: ImageEnhance.Sharpness(image).enhance(2),
    "an edge cut off": lambda image: image.crop((4, 3, 476, 317)),
}


def bits(one: bytes, other: bytes) -> int:
    return (int.from_bytes(one) ^ int.from_bytes(other)).bit_count()


def groups(library) -> list[list[str]]:
    """File names of the near duplicates, groups and their members in order."""
    found = library.duplicates.near()
    rows = library._store.photos([photo for group in found for photo in group.photos])
    return sorted([rows[photo].path for photo in group.photos] for group in found)


def dated(moment: str, fraction: str = "") -> Image.Exif:
    exif = Image.Exif()
    details = exif.get_ifd(0x8769)
    details[0x9003] = moment
    if fraction:
        details[0x9291] = fraction
    return exif


# Hashes


@pytest.mark.parametrize("edit", EDITS)
def test_an_edit_changes_few_bits(edit):
    for seed in range(8):
        changed = EDITS[edit](scene(seed))
        assert bits(hash_of(scene(seed)), hash_of(changed)) <= BITS, seed


def test_other_pictures_have_other_hashes():
    hashes = [hash_of(scene(seed)) for seed in range(40)]
    least = min(bits(one, other) for place, one in enumerate(hashes) for other in hashes[:place])
    assert least > BITS
    assert all(len(hashed) == BYTES for hashed in hashes)


def test_what_shows_nothing_has_no_hash_of_its_own():
    noise = np.random.default_rng(1).integers(100, 106, (200, 300, 3), dtype=np.uint8)
    for blank in (Image.new("RGB", (50, 50)), Image.new("L", (1, 1), 200), Image.fromarray(noise)):
        assert hash_of(blank) == NOTHING


@settings(max_examples=40, deadline=None)
@given(data=st.data(), seed=st.integers(0, 1000), most=st.integers(0, near.MOST_BITS))
def test_all_pairs_within_the_bits_are_found_and_no_others(data, seed, most):
    random = np.random.default_rng(seed)
    hashes = random.integers(0, 256, (60, BYTES), dtype=np.uint8)
    for place in range(30):  # close ones, on both sides of the limit
        flipped = np.unpackbits(hashes[place])
        flipped[random.choice(64, data.draw(st.integers(1, 10)), replace=False)] ^= 1
        hashes[30 + place] = np.packbits(flipped)
    hashes = np.unique(hashes, axis=0)
    distances = np.bitwise_count(hashes[:, None] ^ hashes[None]).sum(axis=2)
    expected = {(i, j) for i, j in np.argwhere(distances <= most).tolist() if i < j}
    found = [tuple(pair) for block in near.pairs(hashes, most) for pair in block.tolist()]
    assert sorted(found) == sorted(expected)


def test_more_bits_than_can_be_promised_are_refused():
    with pytest.raises(ValueError, match="up to 7 bits"):
        list(near.pairs(np.zeros((2, BYTES), np.uint8), 8))
    assert list(near.pairs(np.zeros((1, BYTES), np.uint8), 7)) == []


@given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)).filter(lambda pair: pair[0] != pair[1])))
def test_what_hangs_together_is_one_group(links):
    found = near.groups([np.array(links[start : start + 3], np.int64) for start in range(0, len(links), 3)])
    reached = {place: {place} for link in links for place in link}
    for _ in range(13):
        for one, other in links:
            both = reached[one] | reached[other]
            reached[one] = reached[other] = both
            for place in both:
                reached[place] = both
    assert sorted(map(tuple, found)) == sorted({tuple(sorted(group)) for group in reached.values()})


def test_few_of_many_hashes_are_compared():
    """One by one these would be 200,000,000 comparisons."""
    hashes = np.random.default_rng(0).integers(0, 256, (20_000, BYTES), dtype=np.uint8)
    hashes[1] = hashes[0] ^ np.array([1, 0, 0, 0, 0, 0, 0, 128], np.uint8)
    assert [block.tolist() for block in near.pairs(hashes, BITS)] == [[[0, 1]]]


# In a library


def test_equal_files(library, folder):
    for name in ("a.jpg", "b/a copy.jpg", "c.jpg", "hidden.jpg", "gone.jpg"):
        write(folder / name, scene(1))
    write(folder / "other.jpg", scene(2))
    run(library, folder)
    rows = {
        row.path: photo for photo, row in library._store.photos(library.browse.grid().ids.tolist()).items()
    }
    library.marks.hide([rows["hidden.jpg"]])
    (folder / "gone.jpg").unlink()
    run(library, folder)
    (group,) = library.duplicates.exact()
    assert group.kind == "exact"
    assert group.photos == tuple(sorted(rows[name] for name in ("a.jpg", "b/a copy.jpg", "c.jpg")))
    assert library.duplicates.near() == []  # one file is no duplicate of itself


def test_edits_and_smaller_copies_are_near_duplicates_best_first(library, folder):
    write(folder / "best.jpg", scene(1))
    write(folder / "small.jpg", scene(1).resize((240, 160)))
    write(
        folder / "bright.png", ImageEnhance.Brightness(scene(1)).enhance(1.1).resize((360, 240)), kind="PNG"
    )
    write(folder / "best again.jpg", scene(1))  # of equal files one is enough
    write(folder / "other.jpg", scene(2))
    write(folder / "other small.webp", scene(2).resize((120, 80)), kind="WEBP")
    for seed in range(3, 20):
        write(folder / f"{seed}.jpg", scene(seed))
    run(library, folder)
    found = groups(library)
    assert [[name.replace(" again", "") for name in group] for group in found] == [
        ["best.jpg", "bright.png", "small.jpg"],
        ["other.jpg", "other small.webp"],
    ]
    assert library.duplicates.waiting() == 0


def test_shots_of_a_burst_are_no_duplicates(library, folder):
    for second in (0, 1, 2):
        write(folder / f"burst {second}.jpg", scene(1), exif=dated(f"2021:05:01 10:00:0{second}"))
    for part in ("10", "35"):
        write(folder / f"quick {part}.jpg", scene(2), exif=dated("2021:05:01 10:00:00", part))
    run(library, folder)
    assert groups(library) == []
    # A copy keeps its moment, perhaps without the part below a second, or has none at all.
    write(folder / "small burst 1.jpg", scene(1).resize((120, 80)), exif=dated("2021:05:01 10:00:01"))
    write(folder / "small quick.jpg", scene(2).resize((120, 80)), exif=dated("2021:05:01 10:00:00"))
    run(library, folder)
    burst, quick = groups(library)
    assert burst == ["burst 1.jpg", "small burst 1.jpg"]
    # Of two pictures of one second either may be the copy's: the one that was taken in first.
    assert quick in (["quick 10.jpg", "small quick.jpg"], ["quick 35.jpg", "small quick.jpg"])


def test_alike_to_the_hash_alone_is_not_enough(library, folder):
    """The model must agree: here two pictures of one structure and other colours."""
    write(folder / "a.jpg", scene(1))
    red, green, blue = scene(1).split()
    write(folder / "b.jpg", Image.merge("RGB", (red.point(lambda v: 255 - v), green, blue)).convert("RGB"))
    run(library, folder)
    with library._store.writing() as connection:
        connection.execute(sa.update(schema.photos).values(perceptual_hash=b"12345678"))
    assert groups(library) == []
    with library._store.writing() as connection:
        vector = sa.select(schema.vectors.c.vector).where(schema.vectors.c.photo_id == 1).scalar_subquery()
        connection.execute(sa.update(schema.vectors).values(vector=vector))
    assert groups(library) == [["b.jpg", "a.jpg"]] or groups(library) == [["a.jpg", "b.jpg"]]


def test_photos_without_a_hash_wait_for_it(library, folder):
    write(folder / "a.jpg", scene(1))
    write(folder / "b.jpg", scene(1).resize((240, 160)))
    write(folder / "blank.jpg", Image.new("RGB", (60, 60), (9, 9, 9)))
    write(folder / "blank 2.jpg", Image.new("RGB", (90, 60), (12, 12, 12)))
    run(library, folder)
    assert groups(library) == [["a.jpg", "b.jpg"]]
    with library._store.writing() as connection:
        connection.execute(sa.update(schema.photos).values(perceptual_hash=None))
    assert (library.duplicates.near(), library.duplicates.waiting()) == ([], 4)


def test_films_are_duplicates_of_films_of_their_length(library, folder):
    film(folder / "a.mp4", [scene(1)], seconds=3, size=(96, 64))
    film(folder / "small.webm", [scene(1)], seconds=3, size=(48, 32))
    film(folder / "longer.mp4", [scene(1)], seconds=6, size=(96, 64))
    write(folder / "frame.jpg", scene(1))
    run(library, folder)
    assert groups(library) == [["a.mp4", "small.webm"]]


def test_an_edited_file_gets_a_new_hash(library, folder):
    write(folder / "a.jpg", scene(1))
    write(folder / "b.jpg", scene(1).resize((240, 160)))
    run(library, folder)
    assert groups(library) == [["a.jpg", "b.jpg"]]
    write(folder / "b.jpg", scene(2).resize((240, 160)))
    run(library, folder)
    assert groups(library) == []

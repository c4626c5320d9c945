"""Which files belong to which photo, from their names, and what the library makes of it."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from photo_fakes import Models, picture, plain, run, write

from sensorium.photos.database import schema
from sensorium.photos.files.companions import SIDECAR_EXTENSIONS, attribute
from sensorium.photos.files.stamps import Stamp

S = Stamp(1, 1)
XMP = """<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/"
 xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/">
<dc:title><rdf:Alt><rdf:li xml:lang="x-default">{title}</rdf:li></rdf:Alt></dc:title>
<Iptc4xmpExt:PersonInImage><rdf:Bag><rdf:li>{person}</rdf:li></rdf:Bag></Iptc4xmpExt:PersonInImage>
</rdf:Description></rdf:RDF></x:xmpmeta>"""


def owners(*names: str) -> dict[str, str]:
    """Photo and kind of each companion among the names, as "photo: kind"."""
    photos = {name: S for name in names if not name.lower().endswith(SIDECAR_EXTENSIONS)}
    others = {name: S for name in names if name not in photos}
    found = attribute(photos, others)
    return {c.path: f"{owner}: {c.kind}" for owner, companions in found.items() for c in companions}


@pytest.mark.parametrize(
    ("companion", "photo"),
    [
        ("IMG_1.jpg.xmp", "IMG_1.jpg"),
        ("IMG_1.XMP", "img_1.JPG"),
        ("IMG_1.aae", "IMG_1.HEIC"),
        ("IMG_1.jpg.json", "IMG_1.jpg"),
        ("IMG_1.jpg.supplemental-metadata.json", "IMG_1.jpg"),
        ("PXL_20230102_030405678.jpg.supplemental-metada.json", "PXL_20230102_030405678.jpg"),
        ("IMG_1.jpg(2).json", "IMG_1(2).jpg"),
        ("IMG_1.jpg.supplemental-metadata(2).json", "IMG_1(2).jpg"),
        ("an-export-with-a-name-of-more-than-46-letters-in.json",
         "an-export-with-a-name-of-more-than-46-letters-in-all.jpg"),
        ("a/IMG_1.xmp", "a/IMG_1.cr2"),
        ("caf\udce9.xmp", "caf\udce9.jpg"),
        ("film.mp4.json", "film.mp4"),
        ("film.xmp", "film.mov"),
    ],
)  # fmt: skip
def test_a_sidecar_belongs_to_the_photo_of_its_name(companion, photo):
    if companion.startswith("an-export"):
        companion = companion[:46] + ".json"
    assert owners(photo, "other.jpg", companion) == {companion: f"{photo}: sidecar"}


@pytest.mark.parametrize(
    "names",
    [
        ("IMG_1.jpg", "IMG_2.xmp"),
        ("a/IMG_1.jpg", "b/IMG_1.xmp"),
        ("IMG_1.png", "IMG_1.mov"),  # a screenshot and a film are no live photo
        ("IMG_1.jpg", "metadata.json"),
        ("IMG_1.jpg", "IMG_1.jpg.notes.json"),
        ("IMG_1.jpg", "IMG_1.jpg(2).json"),
        ("IMG_1.jpg", ".xmp", ".json"),
    ],
)
def test_what_fits_no_photo_belongs_to_none(names):
    assert owners(*names) == {}


def test_pairs_are_one_photo_with_all_that_belongs_to_it():
    names = ("d/IMG_1.JPG", "d/IMG_1.CR2", "d/IMG_1.MOV", "d/IMG_1.CR2.xmp", "d/IMG_1.xmp", "d/IMG_2.CR2")
    assert owners(*names) == {
        "d/IMG_1.CR2": "d/IMG_1.JPG: raw",
        "d/IMG_1.MOV": "d/IMG_1.JPG: live",
        "d/IMG_1.CR2.xmp": "d/IMG_1.JPG: sidecar",
        "d/IMG_1.xmp": "d/IMG_1.JPG: sidecar",
    }


def test_a_film_larger_than_any_live_photo_is_one_of_its_own():
    photos = {"IMG_1.jpg": S, "IMG_1.mov": Stamp(50_000_000, 1), "IMG_2.jpg": S, "IMG_2.mp4": S}
    found = attribute(photos, {"IMG_1.mov.xmp": S, "IMG_2.mp4.xmp": S})
    told = {owner: [companion.path for companion in each] for owner, each in found.items()}
    assert told == {"IMG_1.mov": ["IMG_1.mov.xmp"], "IMG_2.jpg": ["IMG_2.mp4", "IMG_2.mp4.xmp"]}


_STEMS = st.sampled_from(["IMG_1", "img_1", "IMG_1(2)", "x.y", "a" * 46, ".", "(1)", "猫\udcff"])
_ENDS = st.sampled_from(
    [".jpg", ".JPG", ".cr2", ".xmp", ".jpg.xmp", ".json", ".jpg.json", ".mov", ".heic", ".jpg(2).json", ""]
)


@given(st.sets(st.tuples(st.sampled_from(["", "d/"]), _STEMS, _ENDS), max_size=12))
def test_each_companion_has_one_owner_that_is_a_photo_itself(parts):
    names = {"".join(part) for part in parts}
    photos = {name: S for name in names if not name.lower().endswith(SIDECAR_EXTENSIONS)}
    found = attribute(photos, {name: S for name in names if name not in photos})
    belonging = [companion.path for companions in found.values() for companion in companions]
    assert len(belonging) == len(set(belonging))
    assert set(found) <= set(photos) - set(belonging)


# In a library


def belonging(library) -> dict[str, list[tuple[str, str]]]:
    """Companions as the library has them: path and kind, by the path of their photo."""
    with library._store.reading() as connection:
        rows = connection.execute(
            schema.companions.join(schema.photos, schema.companions.c.photo_id == schema.photos.c.id)
            .select()
            .with_only_columns(schema.photos.c.path, schema.companions.c.path, schema.companions.c.kind)
            .order_by(schema.companions.c.path)
        ).all()
    found: dict[str, list[tuple[str, str]]] = {}
    for photo, companion, kind in rows:
        found.setdefault(photo, []).append((companion, kind))
    return found


def said(library) -> dict[str, tuple]:
    """Title and caption by path."""
    return {row.path: (row.title, row.caption) for row in library._store.photos(range(1, 10)).values()}


def people(library) -> dict[str, str]:
    with library._store.reading() as connection:
        statement = schema.photo_people.join(schema.people).join(schema.photos).select()
        rows = connection.execute(
            statement.with_only_columns(schema.photos.c.path, schema.people.c.name)
        ).all()
    return dict(rows)


def test_a_changed_sidecar_describes_the_photo_anew_without_encoding(library, models: Models, folder):
    write(folder / "a.jpg", picture(1))
    write(folder / "b.jpg", picture(2))
    (folder / "a.xmp").write_text(XMP.format(title="Summer", person="Anna"))
    assert run(library, folder).encoded == 2
    assert said(library) == {"a.jpg": ("Summer", None), "b.jpg": (None, None)}
    assert people(library) == {"a.jpg": "Anna"}
    (folder / "a.xmp").write_text(XMP.format(title="Winter", person="Bo"))
    (folder / "b.jpg.json").write_text(json.dumps({"description": "a lake", "photoTakenTime": {}}))
    report = run(library, folder)
    assert (report.described, report.encoded, report.reused, report.unchanged) == (2, 0, 0, 2)
    assert said(library) == {"a.jpg": ("Winter", None), "b.jpg": (None, "a lake")}
    assert people(library) == {"a.jpg": "Bo"}
    (folder / "a.xmp").unlink()
    assert run(library, folder).described == 1
    assert said(library)["a.jpg"] == (None, None)
    assert people(library) == {}
    last = run(library, folder)
    assert (last.described, last.kept) == (0, 0)


def test_companions_follow_their_photo(library, models: Models, folder):
    write(folder / "trip" / "IMG_1.JPG", picture(1))
    for name in ("IMG_1.MOV", "IMG_1.xmp", "IMG_1.CR2", "else.xmp"):
        (folder / "trip" / name).write_bytes(b"not looked at")
    run(library, folder)
    assert belonging(library) == {
        "trip/IMG_1.JPG": [
            ("trip/IMG_1.CR2", "raw"),
            ("trip/IMG_1.MOV", "live"),
            ("trip/IMG_1.xmp", "sidecar"),
        ]
    }
    (folder / "trip").rename(folder / "Rome")
    report = run(library, folder)
    assert (report.moved, report.encoded, report.failed) == (1, 0, [])
    assert belonging(library) == {
        "Rome/IMG_1.JPG": [
            ("Rome/IMG_1.CR2", "raw"),
            ("Rome/IMG_1.MOV", "live"),
            ("Rome/IMG_1.xmp", "sidecar"),
        ]
    }
    (folder / "Rome" / "IMG_1.MOV").unlink()
    report = run(library, folder)
    assert (report.unchanged, report.described) == (1, 0)
    assert len(belonging(library)["Rome/IMG_1.JPG"]) == 2


def test_a_raw_file_is_a_photo_until_its_picture_comes(library, models: Models, folder):
    write(folder / "IMG_1.CR2", plain("red"), kind="TIFF")
    assert run(library, folder).encoded == 1
    write(folder / "IMG_1.JPG", plain("blue"))
    report = run(library, folder)
    assert (report.encoded, report.gone) == (1, 1)
    assert [hit.path.name for hit in library.search("red", everything=True)] == ["IMG_1.JPG"]
    (folder / "IMG_1.JPG").unlink()
    report = run(library, folder)
    assert (report.returned, report.gone, report.encoded) == (1, 1, 0)
    assert [hit.path.name for hit in library.search("red", everything=True)] == ["IMG_1.CR2"]


def test_a_sidecar_that_cannot_be_read_or_makes_no_sense_costs_nothing(library, folder):
    write(folder / "a.jpg", picture(1))
    write(folder / "b.jpg", picture(2))
    (folder / "a.xmp").write_bytes(b"\xff<x" * 100)
    (folder / "b.jpg.json").mkdir()
    report = run(library, folder)
    assert (report.encoded, report.failed) == (2, [])

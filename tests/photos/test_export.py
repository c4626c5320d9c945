"""Archives of photos: the originals as they are, or copies in which nothing of a place is left."""

import io
import zipfile

import pillow_heif
import pytest
from film_fakes import film
from photo_fakes import picture, plain, run, write
from PIL import ExifTags, Image, PngImagePlugin

from sensorium.media.image import open_image
from sensorium.media.video import read_video
from sensorium.photos.collections.export import MISSING
from sensorium.photos.describe.picture import describe, stored_orientation

XMP = b"""<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:exif="http://ns.adobe.com/exif/1.0/" exif:GPSLatitude="35,0.696N"
 exif:GPSLongitude="135,46.086E" xmlns:photoshop="http://ns.adobe.com/photoshop/1.0/" photoshop:City="Kyoto"/>
</rdf:RDF></x:xmpmeta>"""
SECRETS = (b"GPS", b"35,0.696N", b"Kyoto", b"Canon", b"photoshop", b"secret place")


def located() -> Image.Exif:
    exif = Image.Exif()
    exif[ExifTags.Base.Make] = "Canon"
    exif[ExifTags.Base.Orientation] = 6
    exif[ExifTags.Base.ImageDescription] = "a secret place"
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal] = "2021:05:01 19:00:00"
    exif.get_ifd(ExifTags.IFD.GPSInfo).update({1: "N", 2: (35.0, 0.0, 41.76), 3: "E", 4: (135.0, 46.0, 5.16)})
    return exif


def archive(library, ids, **options) -> zipfile.ZipFile:
    pieces = list(library.export(ids, **options))
    return zipfile.ZipFile(io.BytesIO(b"".join(pieces)))


def by_name(library) -> dict[str, int]:
    rows = library._store.photos(library.browse.grid().ids.tolist())
    return {row.path: photo for photo, row in rows.items()}


def facts_of(content: bytes):
    with open_image(content) as image:
        image.load()  # PNG keeps its EXIF behind the pixels
        return describe(image, size=image.size, orientation=stored_orientation(image), name="x.jpg")


@pytest.fixture
def told(library, folder):
    """One photo of each kind, all of which tell where they were taken in every way that they can."""
    buffer = io.BytesIO()
    picture(1).save(buffer, "JPEG", exif=located(), xmp=XMP, comment=b"secret place")
    (folder / "a.jpg").write_bytes(buffer.getvalue() + b"\0\0\0\x18ftypmp42 Kyoto")  # a film behind it
    picture(2).save(folder / "b.webp", exif=located(), xmp=XMP)
    info = PngImagePlugin.PngInfo()
    info.add_text("Comment", "secret place")
    info.add_itxt("XML:com.adobe.xmp", XMP.decode())
    picture(3).save(folder / "c.png", exif=located(), pnginfo=info)
    pillow_heif.from_pillow(picture(4)).save(folder / "d.heic", exif=located().tobytes(), xmp=XMP)
    picture(5).save(folder / "e.tif", tiffinfo={270: "secret place", 700: XMP})
    film(folder / "f.mov", [picture(6)], tags={"location": "+35.0116+135.7681/", "title": "Kyoto GPS"})
    run(library, folder)
    return library


def test_originals_byte_for_byte_with_names_that_differ(library, folder):
    for name in ("a/IMG_1.jpg", "b/IMG_1.jpg", "b/img_1.JPG", "c/x:y?.jpg", "c/caf\udce9.jpg", "c/日本.jpg"):
        write(folder / name, picture(len(name) + ord(name[0]) + ord(name[-1])))
    run(library, folder)
    ids = by_name(library)
    pieces = list(library.export(list(ids.values()), without_location=False))
    found = zipfile.ZipFile(io.BytesIO(b"".join(pieces)))
    assert found.testzip() is None
    names = found.namelist()
    assert len({name.casefold() for name in names}) == len(names) == 6
    assert {"x_y_.jpg", "日本.jpg", "caf\ufffd.jpg"} < set(names)
    assert not any(sign in name for name in names for sign in '/\\:*?"<>|')
    inside = sorted(found.read(name) for name in names)
    assert inside == sorted((folder / path).read_bytes() for path in ids)


def test_it_streams(library, folder):
    noise = Image.effect_noise((1500, 1500), 90)
    for number in range(3):
        write(folder / f"{number}.png", noise.rotate(number), kind="PNG")
    run(library, folder)
    pieces = list(library.export(list(by_name(library).values())))
    assert len(pieces) > 10
    assert max(map(len, pieces)) < 1 << 19


def test_copies_without_a_place_have_nothing_of_it(told):
    ids = by_name(told)
    before = {name: told.browse.photo(photo) for name, photo in ids.items()}
    assert {name for name, detail in before.items() if detail.latitude is not None} >= {
        "a.jpg", "b.webp", "c.png", "d.heic", "f.mov"}  # fmt: skip
    found = archive(told, list(ids.values()), without_location=True)
    assert sorted(found.namelist()) == ["a.jpg", "b.jpg", "c.png", "d.jpg", "e.jpg", "f.mov"]
    for name in found.namelist():
        content = found.read(name)
        for secret in SECRETS:
            assert secret not in content, (name, secret)
        if name == "f.mov":
            assert not any("location" in tag for tag in read_video(content).tags)
            continue
        facts = facts_of(content)
        assert (facts.latitude, facts.longitude, facts.altitude) == (None, None, None)
        assert (facts.camera_make, facts.title, facts.caption, facts.keywords) == (None, None, None, ())
        assert (facts.orientation, facts.taken_offset) == (1, None)
        original = before[next(other for other in ids if other[0] == name[0])]
        assert (facts.width, facts.height) == (original.width, original.height)
        if original.taken_at is not None:
            assert facts.taken_source == "original"


def test_what_cannot_be_exported_is_listed(library, folder):
    for name in ("a.jpg", "b.jpg", "c.jpg"):
        write(folder / name, picture(ord(name[0])))
    run(library, folder)
    ids = by_name(library)
    (folder / "a.jpg").unlink()
    (folder / "b.jpg").unlink()
    (folder / "b.jpg").symlink_to("/etc/hostname")
    (folder / "c.jpg").write_bytes(b"\xff\xd8\xff broken since")
    found = archive(library, [ids["a.jpg"], ids["b.jpg"], 999, ids["c.jpg"]], without_location=True)
    assert found.namelist() == [MISSING]
    lines = found.read(MISSING).decode().splitlines()
    assert [line.partition(":")[0] for line in lines] == ["a.jpg", "b.jpg", "c.jpg"]
    assert "no longer there" in lines[0]
    assert "leads out of" in lines[1]
    assert archive(library, []).namelist() == []


def test_a_reader_that_leaves_ends_it(library, folder):
    write(folder / "a.jpg", plain("red"))
    run(library, folder)
    pieces = library.export(list(by_name(library).values()))
    next(pieces)
    pieces.close()

"""What the library adds to photos by itself, and that a better way to do so costs no encoding."""

import sqlalchemy as sa
from photo_fakes import Models, picture, run, write
from PIL import ExifTags, Image

from sensorium.photos import places
from sensorium.photos.database import annotations, records, schema
from sensorium.photos.search.words import match


def at(latitude: float, longitude: float) -> Image.Exif:
    exif = Image.Exif()
    exif[ExifTags.IFD.GPSInfo] = {
        1: "N" if latitude >= 0 else "S",
        2: (abs(latitude), 0.0, 0.0),
        3: "E" if longitude >= 0 else "W",
        4: (abs(longitude), 0.0, 0.0),
    }
    return exif


def found(library, said: str) -> set[str]:
    """Paths of the photos whose words match."""
    words = schema.photo_words
    expression = match(said)
    assert expression is not None
    with library._store.reading() as connection:
        statement = sa.select(schema.photos.c.path).join(words, words.c.rowid == schema.photos.c.id)
        rows = connection.execute(
            statement.where(sa.text("photo_words MATCH :said")), {"said": expression}
        ).all()
    return {row.path for row in rows}


def row(library, path: str):
    with library._store.reading() as connection:
        return connection.execute(sa.select(schema.photos).where(schema.photos.c.path == path)).one()


def test_places_are_named_in_both_languages_when_a_photo_is_taken(library, folder):
    write(folder / "a.jpg", picture(1), exif=at(35.0116, 135.7681))
    write(folder / "b.jpg", picture(2))
    run(library, folder)
    kyoto = row(library, "a.jpg")
    assert (kyoto.country, kyoto.region) == ("JP", "JP.22")
    assert kyoto.city is not None
    assert kyoto.places_version == places.PLACES_VERSION
    assert row(library, "b.jpg").country is None
    for said in ("Kyoto", "kyoto japan", "京都", "日本"):
        assert found(library, said) == {"a.jpg"}, said


def test_a_better_table_of_places_costs_no_look_at_any_file(library, models: Models, folder, monkeypatch):
    write(folder / "a.jpg", picture(1), exif=at(35.0116, 135.7681))
    write(folder / "b.jpg", picture(2), exif=at(-60.0, -120.0))  # far out at sea
    run(library, folder)
    assert row(library, "b.jpg").country is None
    vectors = library._store.vectors_generation()
    generation = library._store.generation()
    monkeypatch.setattr(places, "PLACES_VERSION", places.PLACES_VERSION + 1)
    monkeypatch.setattr(places, "locate", lambda latitude, longitude: places.Located("FR", "FR.11", 2988507))
    monkeypatch.setattr(
        places, "label", lambda located, language="en": "Paris" if language == "en" else "巴黎"
    )
    report = run(library, folder)
    assert (report.unchanged, report.described, report.encoded, report.reading_seconds) == (2, 0, 0, 0.0)
    assert found(library, "Paris") == found(library, "巴黎") == {"a.jpg", "b.jpg"}
    assert found(library, "Kyoto") == set()
    assert row(library, "a.jpg").region == "FR.11"
    assert library._store.generation() > generation
    assert library._store.vectors_generation() == vectors
    quiet = library._store.generation()
    run(library, folder)
    assert library._store.generation() == quiet


def test_a_better_description_costs_a_look_at_each_file_but_no_encoding(
    library, models: Models, folder, monkeypatch
):
    for seed in range(40):
        write(folder / f"{seed}.jpg", picture(seed, (24, 24)))
    run(library, folder)
    first = row(library, "7.jpg")
    monkeypatch.setattr(records, "FACTS_VERSION", records.FACTS_VERSION + 1)
    report = run(library, folder)
    assert (report.described, report.unchanged, report.encoded, report.reused) == (40, 40, 0, 0)
    assert models("test/colours").encoded == 40
    again = row(library, "7.jpg")
    assert again.facts_version == records.FACTS_VERSION
    assert (again.id, again.first_seen, again.sha256) == (first.id, first.first_seen, first.sha256)
    assert run(library, folder).described == 0


def test_words_tell_file_folders_and_root(library, folder):
    write(folder / "2019 Hokkaido" / "ski-lift.jpg", picture(1))
    write(folder / "其他" / "雪山日出.jpg", picture(2))
    run(library, folder / "2019 Hokkaido")
    assert found(library, "hokkaido lift") == {"ski-lift.jpg"}
    run(library, folder)  # the folder becomes part of a larger one
    assert found(library, "hokkaido lift") == {"2019 Hokkaido/ski-lift.jpg"}
    assert found(library, "pictures") == {"2019 Hokkaido/ski-lift.jpg", "其他/雪山日出.jpg"}
    assert found(library, "雪山") == {"其他/雪山日出.jpg"}


def test_people_are_those_of_the_photos_that_there_are(library, folder):
    run_with = {"a.jpg": 1, "b.jpg": 2, "c.jpg": 3}
    for name, seed in run_with.items():
        write(folder / name, picture(seed))
    run(library, folder)
    ids = {path: row(library, path).id for path in run_with}
    with library._store.writing() as connection:
        annotations.set_people(
            connection, {ids["a.jpg"]: ["Anna", "Bo"], ids["b.jpg"]: ["Bo"], ids["c.jpg"]: []}
        )
    with library._store.writing() as connection:
        annotations.set_people(connection, {ids["a.jpg"]: ["Bo", "Bo"]})
    with library._store.reading() as connection:
        names = connection.scalars(sa.select(schema.people.c.name)).all()
        pairs = connection.execute(sa.select(schema.photo_people.c.photo_id)).all()
    assert names == ["Bo"]
    assert sorted(pair.photo_id for pair in pairs) == sorted([ids["a.jpg"], ids["b.jpg"]])

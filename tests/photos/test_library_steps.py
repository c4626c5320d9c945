"""A library of an earlier version becomes one of this version with everything that it held."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from photo_fakes import Models, picture, run, write

from sensorium.errors import LibraryError
from sensorium.photos.database import schema
from sensorium.photos.database.store import Store
from sensorium.photos.library import Library

COLUMNS = "path, size, mtime_ns, sha256, width, height, taken_at, first_seen, missing_since"


def to_revision(folder: Path, revision: str, *, up: bool = False) -> None:
    """Take a library file to an older or newer revision by its own steps."""
    engine = schema.connect(folder / schema.FILE_NAME)
    config = Config()
    config.set_main_option("script_location", str(Path(schema.__file__).parent / "migrations"))
    with schema.writing(engine) as connection:
        config.attributes["connection"] = connection
        present = connection.dialect.has_table(connection, "alembic_version")
        (command.downgrade if present and not up else command.upgrade)(config, revision)
    engine.dispose()


def rows(folder: Path, statement: str) -> list[tuple]:
    connection = sqlite3.connect(folder / schema.FILE_NAME)
    try:
        return connection.execute(statement).fetchall()
    finally:
        connection.close()


@pytest.fixture
def first(tmp_path: Path) -> Path:
    """A library as the first version wrote it: two folders, two models, a gone photo, a failure."""
    folder = tmp_path / "first"
    folder.mkdir()
    to_revision(folder, "0001")
    connection = sqlite3.connect(folder / schema.FILE_NAME)
    with connection:
        connection.execute("INSERT INTO roots VALUES (1, ?, 5, 6), (3, ?, 7, NULL)", (b"/a", b"/b\xff"))
        connection.executemany(
            "INSERT INTO pipelines VALUES (?, ?, ?, 2, ?, 8)",
            [(1, "old", "old-1", 1), (2, "new", "new-1", 0)],
        )
        connection.executemany(
            "INSERT INTO photos (id, root_id, path, size, mtime_ns, sha256, kind, format, width, height, "
            "orientation, taken_at, facts_version, first_seen, last_seen, missing_since) "
            "VALUES (?, ?, ?, 10, 20, ?, 'photo', 'JPEG', 30, 40, 6, 50, 1, 60, 70, ?)",
            [
                (1, 1, b"x.jpg", b"1" * 32, None),
                (4, 1, b"\xff\n.jpg", b"2" * 32, 99),
                (9, 3, b"y", b"3" * 32, None),
            ],
        )
        connection.executemany(
            "INSERT INTO vectors VALUES (?, ?, ?)",
            [(i, 1, bytes([i] * 4)) for i in (1, 4, 9)] + [(9, 2, b"22")],
        )
        connection.execute("INSERT INTO failures VALUES (1, 1, ?, 1, 3, 4, 'cut off', 0, 5)", (b"bad",))
        connection.execute("UPDATE library SET generation = 17")
    connection.close()
    return folder


@pytest.fixture
def second(first) -> Path:
    """The same as the second version has it: with people, words, companions, and marks of models."""
    to_revision(first, "0002", up=True)
    connection = sqlite3.connect(first / schema.FILE_NAME)
    with connection:
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("INSERT INTO people VALUES (2, 'Ada'), (5, '安娜')")
        connection.executemany("INSERT INTO photo_people VALUES (?, ?)", [(1, 2), (1, 5), (9, 5)])
        connection.executemany(
            "INSERT INTO photo_words (rowid, name, folders, words, places, people) VALUES (?, ?, ?, ?, ?, ?)",
            [(1, "x", "a", "a red boat", "Kyōto 京都 京 都", "Ada 安娜 安 娜"), (4, "4", "", "", "", "")],
        )
        connection.execute("INSERT INTO companions VALUES (3, 1, 1, ?, 5, 6, 'sidecar')", (b"x.xmp",))
        connection.execute("INSERT INTO calibrations VALUES (1, 2, 3, ?)", (b"rules",))
        connection.execute("UPDATE vectors SET written = 12 WHERE photo_id = 4")
        connection.execute("UPDATE pipelines SET golden = '{}', previous = 1 WHERE id = 2")
        connection.execute(
            "UPDATE photos SET country = 'JP', caption = 'a red boat', rating = 4 WHERE id = 1"
        )
    connection.close()
    return first


TABLES = {
    "library": "id, generation, created_at",
    "roots": "id, path, added_at, scanned_at",
    "pipelines": "id, model, pipeline, dim, active, created_at",
    "photos": f"id, root_id, {COLUMNS}, kind, format, orientation, facts_version, last_seen",
    "vectors": "photo_id, pipeline_id, vector",
    "failures": "id, root_id, path, pipeline_id, size, mtime_ns, reason, passing, failed_at",
}


def test_an_upgrade_keeps_everything(first):
    before = {
        table: rows(first, f"SELECT {names} FROM {table} ORDER BY 1, 2") for table, names in TABLES.items()
    }
    assert [len(before[table]) for table in TABLES] == [1, 2, 2, 3, 4, 1]
    Store(first, create=False).close()
    assert rows(first, "SELECT version_num FROM alembic_version") == [(schema.HEAD,)]
    for table, names in TABLES.items():
        assert rows(first, f"SELECT {names} FROM {table} ORDER BY 1, 2") == before[table], table
    assert rows(first, "SELECT id, complete, previous FROM pipelines") == [(1, 1, None), (2, 0, None)]
    assert rows(first, "SELECT DISTINCT places_version, frames, country, keywords FROM photos") == [
        (0, 1, None, None)
    ]
    assert rows(first, "PRAGMA integrity_check") == [("ok",)]
    assert rows(first, "PRAGMA foreign_key_check") == []


FACE = dict.fromkeys(("left", "top", "right", "bottom", "score", "quality"), 0.5)
FACE |= {"model": "m", "embedding": b""}
SECOND = TABLES | {
    "library": "*",
    "roots": "*",
    "pipelines": f"{TABLES['pipelines']}, golden, previous, complete",
    "vectors": "*",
    "photos": f"{TABLES['photos']}, country, caption, rating, places_version, frames, keywords",
    "people": "id, name",
    "photo_people": "photo_id, person_id",
    "companions": "*",
    "calibrations": "*",
    "photo_words": "rowid, name, folders, words, places, people",
}


def contents(folder: Path) -> dict[str, list[tuple]]:
    return {
        table: rows(folder, f"SELECT {names} FROM {table} ORDER BY 1, 2") for table, names in SECOND.items()
    }


def test_an_upgrade_of_the_second_version_keeps_everything(second):
    before = contents(second)
    assert [len(found) for found in before.values()] == [1, 2, 2, 3, 4, 1, 2, 3, 1, 1, 2]
    Store(second, create=False).close()
    assert rows(second, "SELECT version_num FROM alembic_version") == [(schema.HEAD,)]
    for table, found in contents(second).items():
        assert found == before[table], table
    assert rows(second, "SELECT DISTINCT kind, hidden, cover_face FROM people") == [("person", 0, None)]
    assert rows(second, "SELECT DISTINCT source FROM photo_people") == [("file",)]
    marks = rows(second, "SELECT DISTINCT favourite, hidden, duration, perceptual_hash FROM photos")
    assert marks == [(0, 0, None, None)]
    assert rows(second, "PRAGMA integrity_check") == [("ok",)]
    assert rows(second, "PRAGMA foreign_key_check") == []


def test_the_full_text_index_is_filled_again(second):
    with closing(Store(second, create=False)) as store:
        found = sa.select(schema.photo_words.c.rowid).where(sa.text("photo_words MATCH :said"))
        with store.writing() as connection:
            for said in ("kyoto", '"京都"', "{people} : ada", "boat"):
                assert list(connection.scalars(found, {"said": said})) == [1], said
            connection.exec_driver_sql("INSERT INTO photo_words (photo_words) VALUES ('integrity-check')")
            seen = {"rowid": 9, "name": "y", "text": "closing sale"}
            connection.execute(sa.insert(schema.photo_words).values(seen))
            assert list(connection.scalars(found, {"said": "{text} : sale"})) == [9]
            connection.execute(sa.delete(schema.photos).where(schema.photos.c.id == 1))
            assert list(connection.scalars(found, {"said": "kyoto"})) == []
            assert connection.scalar(sa.select(sa.func.count()).select_from(schema.photo_people)) == 1


def test_the_third_step_can_be_taken_back_with_what_the_second_version_knows(second):
    tables = set(rows(second, "SELECT name FROM sqlite_master"))
    before = contents(second)
    with closing(Store(second, create=False)) as store, store.writing() as connection:
        connection.execute(sa.insert(schema.people).values(id=8, name=None))
        connection.execute(sa.insert(schema.faces).values(id=1, photo_id=1, person_id=8, **FACE))
        connection.execute(sa.update(schema.people).values(cover_face=1))
        connection.execute(sa.insert(schema.photo_people).values(photo_id=4, person_id=8, source="face"))
    to_revision(second, "0002")
    assert set(rows(second, "SELECT name FROM sqlite_master")) == tables
    assert contents(second) == before
    assert rows(second, "PRAGMA foreign_key_check") == []


def test_an_upgrade_that_fails_leaves_the_library_as_it_was(first):
    connection = sqlite3.connect(first / schema.FILE_NAME)
    connection.execute("CREATE TABLE calibrations (empty)")  # in the way of the step's last table
    connection.close()
    tables = rows(first, "SELECT name, sql FROM sqlite_master ORDER BY name")
    photos = rows(first, "SELECT * FROM photos")
    with pytest.raises(LibraryError, match="calibrations already exists") as caught:
        Store(first, create=False)
    assert "\n" not in str(caught.value)
    assert rows(first, "SELECT name, sql FROM sqlite_master ORDER BY name") == tables
    assert rows(first, "SELECT * FROM photos") == photos
    assert rows(first, "SELECT version_num FROM alembic_version") == [("0001",)]


def test_a_step_can_be_taken_back(first):
    tables = set(rows(first, "SELECT name FROM sqlite_master"))
    photos = rows(first, f"SELECT {TABLES['photos']} FROM photos")
    Store(first, create=False).close()
    to_revision(first, "0001")
    assert set(rows(first, "SELECT name FROM sqlite_master")) == tables
    assert rows(first, f"SELECT {TABLES['photos']} FROM photos") == photos


def delete_all_and_fail(connection: sa.Connection) -> None:
    connection.execute(sa.delete(schema.photos))
    connection.execute(sa.insert(schema.albums).values(name=None))


def test_writing_is_all_or_nothing_and_raises_the_generations_when_told(first):
    with closing(Store(first, create=False)) as store:
        with pytest.raises(sa.exc.IntegrityError), store.writing(advance=True) as connection:
            delete_all_and_fail(connection)
        with store.reading() as connection:
            assert connection.execute(sa.select(sa.func.count()).select_from(schema.photos)).scalar() == 3
        assert (store.generation(), store.vectors_generation()) == (17, 0)
        with store.writing():
            pass
        with store.writing(advance=True, vectors=False):
            pass
        assert (store.generation(), store.vectors_generation()) == (18, 0)
        with store.writing(advance=True):
            pass
        assert (store.generation(), store.vectors_generation()) == (19, 1)


def test_the_words_of_a_photo_go_with_it(first):
    with closing(Store(first, create=False)) as store:
        with store.writing() as connection:
            connection.execute(sa.insert(schema.photo_words).values(rowid=1, name="x", places="Kyōto"))
            connection.execute(sa.insert(schema.photo_words).values(rowid=4, name="y", places="kyoto"))
        found = sa.select(schema.photo_words.c.rowid).where(sa.text("photo_words MATCH 'kyoto'"))
        with store.reading() as connection:
            assert sorted(connection.scalars(found)) == [1, 4]
        with store.writing() as connection:
            connection.execute(sa.delete(schema.photos).where(schema.photos.c.id == 4))
        with store.reading() as connection:
            assert list(connection.scalars(found)) == [1]


def test_a_new_library_can_be_filled(tmp_path):
    folder = tmp_path / "photos"
    write(folder / "a.jpg", picture(1))
    with Library.open(tmp_path / "library", create=True, loader=Models()) as library:
        assert run(library, folder).encoded == 1


def test_what_belongs_to_a_photo_goes_with_it_and_what_points_to_it_lets_go(second):
    with closing(Store(second, create=False)) as store:
        with store.writing() as connection:
            connection.execute(sa.insert(schema.albums).values(id=1, name="a", created_at=1, cover=1))
            for photo in (1, 9):
                for table, row in (
                    (schema.album_photos, {"album_id": 1, "added_at": 1}),
                    (schema.texts, {"text": "t", "boxes": "[]"}),
                    (schema.described, {"pass": "text", "version": 1, "sha256": b"1" * 32, "done_at": 1}),
                    (schema.frames, {"pipeline_id": 1, "at": 0.5, "vector": b"1234"}),
                    (schema.regions, {"pipeline_id": 1, "vectors": b"1234", "written": 1}),
                    (schema.faces, FACE | {"person_id": 5}),
                ):
                    connection.execute(sa.insert(table).values(photo_id=photo, **row))
            connection.execute(sa.insert(schema.not_faces).values(face_id=1, person_id=2))
            connection.execute(sa.update(schema.people).values(cover_face=1))
        with store.writing() as connection:
            connection.execute(sa.delete(schema.photos).where(schema.photos.c.id == 1))
    for table in ("album_photos", "texts", "described", "frames", "regions", "faces"):
        assert rows(second, f"SELECT photo_id FROM {table}") == [(9,)], table
    assert rows(second, "SELECT * FROM not_faces") == []
    assert rows(second, "SELECT cover FROM albums") == [(None,)]
    assert rows(second, "SELECT DISTINCT cover_face FROM people") == [(None,)]


def test_the_fourth_step_can_be_taken_back_and_again(second):
    done = {"version": 1, "sha256": b"1" * 32, "done_at": 1}
    with closing(Store(second, create=False)) as store, store.writing() as connection:
        for name in ("text", "regions"):
            connection.execute(sa.insert(schema.described).values({"photo_id": 1, "pass": name} | done))
    to_revision(second, "0003")
    assert rows(second, "SELECT name FROM sqlite_master WHERE tbl_name = 'regions'") == []
    assert rows(second, "SELECT pass FROM described") == [("text",)]  # else it would never look again
    Store(second, create=False).close()
    assert rows(second, "SELECT count(*) FROM regions") == [(0,)]

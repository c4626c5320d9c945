"""A library of the first version becomes one of this version with everything that it held."""

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


def to_revision(folder: Path, revision: str) -> None:
    """Take a library file to an older or newer revision by its own steps."""
    engine = schema.connect(folder / schema.FILE_NAME)
    config = Config()
    config.set_main_option("script_location", str(Path(schema.__file__).parent / "migrations"))
    with schema.writing(engine) as connection:
        config.attributes["connection"] = connection
        present = connection.dialect.has_table(connection, "alembic_version")
        (command.downgrade if present else command.upgrade)(config, revision)
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
    connection.execute(sa.insert(schema.people).values(name=None))


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

"""The tables of a library file, and how a file is opened, created and brought up to date.

One SQLite file in WAL mode is the only truth, vectors included; everything else in the folder can be
rebuilt from it. The revision stands in the file from the first version on. Alembic is imported only
when a step must be taken, because importing it costs more than a search.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Dialect, Engine
from sqlalchemy.types import LargeBinary, TypeDecorator

from sensorium.errors import LibraryError
from sensorium.photos.names import printable

FILE_NAME = "library.sqlite3"
REVISIONS = ("0001",)  # oldest first; one module each in migrations/versions
HEAD = REVISIONS[-1]


class FileName(TypeDecorator[str]):
    """A file name or relative path, kept as its exact bytes with ``/`` between folders."""

    impl = LargeBinary
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> bytes | None:
        """Bytes of the name as the file system has them."""
        return None if value is None else os.fsencode(value)

    def process_result_value(self, value: bytes | None, dialect: Dialect) -> str | None:
        """The name as Python's own file functions take it."""
        return None if value is None else os.fsdecode(value)


metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# Moments are integers: microseconds since 1970-01-01T00:00Z.

library = sa.Table(
    "library",
    metadata,
    sa.Column("id", sa.Integer, sa.CheckConstraint("id = 1", name="one_row"), primary_key=True),
    sa.Column("generation", sa.Integer, nullable=False),  # grows with every change that an answer can show
    sa.Column("created_at", sa.Integer, nullable=False),
)

roots = sa.Table(
    "roots",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("path", FileName, nullable=False, unique=True),  # absolute, links resolved
    sa.Column("added_at", sa.Integer, nullable=False),
    sa.Column("scanned_at", sa.Integer),
    sqlite_autoincrement=True,
)

photos = sa.Table(
    "photos",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("root_id", sa.ForeignKey("roots.id"), nullable=False),
    sa.Column("path", FileName, nullable=False),  # below the root
    sa.Column("size", sa.Integer, nullable=False),
    sa.Column("mtime_ns", sa.Integer, nullable=False),
    sa.Column("sha256", sa.LargeBinary(32), nullable=False),  # of the whole file: the photo's identity
    sa.Column("kind", sa.Text, nullable=False),  # "photo"; films come later
    sa.Column("format", sa.Text, nullable=False),
    sa.Column("width", sa.Integer, nullable=False),  # upright
    sa.Column("height", sa.Integer, nullable=False),
    sa.Column("orientation", sa.Integer, nullable=False),  # EXIF 1-8, as stored
    sa.Column("taken_at", sa.Integer),  # UTC; the wall clock read as UTC when the zone is unknown
    sa.Column("taken_offset", sa.Integer),  # minutes east of UTC; NULL when the zone is unknown
    sa.Column("taken_source", sa.Text),  # which field told it: see describe.py
    sa.Column("camera_make", sa.Text),
    sa.Column("camera_model", sa.Text),
    sa.Column("lens", sa.Text),
    sa.Column("latitude", sa.Float),  # degrees, north positive
    sa.Column("longitude", sa.Float),  # degrees, east positive
    sa.Column("altitude", sa.Float),  # metres
    sa.Column(
        "facts_version", sa.Integer, nullable=False
    ),  # of describe.py, so that a better one can run again
    sa.Column("first_seen", sa.Integer, nullable=False),
    sa.Column("last_seen", sa.Integer, nullable=False),  # when its bytes were last read
    sa.Column("missing_since", sa.Integer),  # NULL: it is where it should be
    sa.UniqueConstraint("root_id", "path"),
    sa.Index("ix_photos_sha256", "sha256"),
    sa.Index("ix_photos_size", "size"),
    sa.Index("ix_photos_taken_at", "taken_at"),
    sqlite_autoincrement=True,
)

pipelines = sa.Table(
    "pipelines",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("model", sa.Text, nullable=False),
    sa.Column("pipeline", sa.Text, nullable=False, unique=True),
    sa.Column("dim", sa.Integer, nullable=False),
    sa.Column("active", sa.Boolean(create_constraint=True, name="active_is_a_truth_value"), nullable=False),
    sa.Column("created_at", sa.Integer, nullable=False),
    sa.Index("ix_pipelines_one_active", "active", unique=True, sqlite_where=sa.text("active")),
    sqlite_autoincrement=True,
)

vectors = sa.Table(
    "vectors",
    metadata,
    sa.Column("photo_id", sa.ForeignKey("photos.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("pipeline_id", sa.ForeignKey("pipelines.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("vector", sa.LargeBinary, nullable=False),  # dim little-endian float16, unit length
)

failures = sa.Table(
    "failures",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("root_id", sa.ForeignKey("roots.id"), nullable=False),
    sa.Column("path", FileName, nullable=False),
    sa.Column("pipeline_id", sa.ForeignKey("pipelines.id", ondelete="CASCADE"), nullable=False),
    sa.Column("size", sa.Integer, nullable=False),
    sa.Column("mtime_ns", sa.Integer, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("passing", sa.Boolean, nullable=False),  # a fault of disk or rights, not of the file: try again
    sa.Column("failed_at", sa.Integer, nullable=False),
    sa.UniqueConstraint("root_id", "path", "pipeline_id"),
)


def connect(file: Path) -> Engine:
    """An engine on a library file; nothing is read or created yet."""
    engine = sa.create_engine(sa.URL.create("sqlite", database=str(file)))

    @sa.event.listens_for(engine, "connect")
    def prepare(connection: sqlite3.Connection, _: object) -> None:
        connection.isolation_level = None  # "begin" below opens transactions, so that DDL is inside them too
        for pragma in (
            "busy_timeout = 10000",
            "journal_mode = WAL",
            "synchronous = NORMAL",
            "foreign_keys = ON",
        ):
            connection.execute(f"PRAGMA {pragma}")

    @sa.event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # A writer takes its lock at once: a reader that turns writer could not wait for another one.
        writes = connection.get_execution_options().get("writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """One write transaction: all of it is kept, or nothing. Raises LibraryError when it cannot be."""
    try:
        with engine.connect().execution_options(writes=True) as connection, connection.begin():
            yield connection
    except sa.exc.OperationalError as error:
        where = printable(engine.url.database or "")
        raise LibraryError(f"cannot write to the photo library {where}: {error.orig}") from error


def open_engine(folder: Path, *, create: bool) -> Engine:
    """Open the library in ``folder``, creating or upgrading its file as needed.

    Raises LibraryError when there is none and ``create`` is false, when the file is no library, when
    it cannot be written, and when a newer Sensorium wrote it.
    """
    file = folder / FILE_NAME
    if not file.is_file():
        if not create:
            raise LibraryError(
                f"no photo library in {printable(folder)}: make one with `sensorium index FOLDER`, "
                "or name another with --library"
            )
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise LibraryError(
                f"cannot make the library folder {printable(folder)}: {error.strerror}; "
                "name another with --library"
            ) from error
    engine = connect(file)
    try:
        with engine.connect() as connection:
            found = _revision(connection)
        if found != HEAD:
            _check_known(found, file)
            _upgrade(engine, file)
    except sa.exc.DatabaseError as error:
        engine.dispose()
        raise LibraryError(f"cannot open the photo library {printable(file)}: {error.orig}") from error
    return engine


def _revision(connection: Connection) -> str | None:
    if not connection.dialect.has_table(connection, "alembic_version"):
        return None
    return connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()


def _check_known(revision: str | None, file: Path) -> None:
    if revision is not None and revision not in REVISIONS:
        raise LibraryError(
            f"{printable(file)} was written by a newer Sensorium (schema {revision}, this one knows {HEAD}): "
            "update Sensorium, or name another library with --library"
        )


def _upgrade(engine: Engine, file: Path) -> None:
    """Take every missing step in one transaction; whoever waited for it finds the work done."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    with writing(engine) as connection:
        found = _revision(connection)
        _check_known(found, file)
        if found != HEAD:
            config.attributes["connection"] = connection
            command.upgrade(config, HEAD)

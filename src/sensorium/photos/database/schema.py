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
from sensorium.photos.files.names import printable

FILE_NAME = "library.sqlite3"
REVISIONS = ("0001", "0002", "0003", "0004")  # oldest first; one module each in migrations/versions
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
    # Grows with the generation, but only when the vectors that can answer are others than before.
    sa.Column("vectors_generation", sa.Integer, nullable=False, server_default="0"),
)

roots = sa.Table(
    "roots",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("path", FileName, nullable=False, unique=True),  # absolute, links resolved
    sa.Column("added_at", sa.Integer, nullable=False),
    sa.Column("scanned_at", sa.Integer),
    sa.Column("device", sa.Integer),  # st_dev when it was last seen: an unmounted disk leaves another behind
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
    sa.Column(
        "kind", sa.Text, nullable=False
    ),  # "photo", "screenshot", "animation", "panorama", "raw", "video"
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
    sa.Column("country", sa.Text),  # ISO 3166-1 alpha-2
    sa.Column("region", sa.Text),  # "JP.22"
    sa.Column("city", sa.Integer),  # GeoNames id
    sa.Column("places_version", sa.Integer, nullable=False, server_default="0"),  # of places.py
    sa.Column("title", sa.Text),
    sa.Column("caption", sa.Text),
    sa.Column("keywords", sa.Text),  # a JSON list; NULL when there are none
    sa.Column("rating", sa.Integer),
    sa.Column("frames", sa.Integer, nullable=False, server_default="1"),
    sa.Column("inode", sa.Integer),  # st_ino, the low 63 bits: evidence of a rename, never of identity
    sa.Column("favourite", sa.Boolean, nullable=False, server_default="0"),
    sa.Column("hidden", sa.Boolean, nullable=False, server_default="0"),  # shown in its own list alone
    sa.Column("duration", sa.Float),  # seconds; NULL unless a video
    sa.Column("perceptual_hash", sa.LargeBinary(8)),  # see duplicates; NULL until it was computed
    sa.UniqueConstraint("root_id", "path"),
    sa.Index("ix_photos_sha256", "sha256"),
    sa.Index("ix_photos_size", "size"),
    sa.Index("ix_photos_taken_at", "taken_at"),
    sa.Index("ix_photos_country_region", "country", "region"),
    sa.Index("ix_photos_city", "city"),
    sa.Index("ix_photos_missing_since", "missing_since", sqlite_where=sa.text("missing_since IS NOT NULL")),
    sa.Index("ix_photos_favourite", "favourite", sqlite_where=sa.text("favourite = 1")),
    # Holds all that a grid of the whole library shows, so that it need not read the wide rows.
    sa.Index(
        "ix_photos_shown",
        *("hidden", "missing_since", "taken_at", "taken_offset", "width", "height", "sha256"),
    ),
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
    sa.Column("golden", sa.Text),  # what golden.py measured when the first vectors were made
    sa.Column("previous", sa.Integer),  # id of the pipeline that answered before this one; it may be gone
    sa.Column("complete", sa.Boolean, nullable=False, server_default="0"),  # had a vector of every photo once
    sa.Column("parts", sa.Text),  # what search/parts.py measured when the parts of photos were looked at
    sa.Index("ix_pipelines_one_active", "active", unique=True, sqlite_where=sa.text("active")),
    sqlite_autoincrement=True,
)

vectors = sa.Table(
    "vectors",
    metadata,
    sa.Column("photo_id", sa.ForeignKey("photos.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("pipeline_id", sa.ForeignKey("pipelines.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("vector", sa.LargeBinary, nullable=False),  # dim little-endian float16, unit length
    # The vectors_generation that shows this vector first: what matrix.py lacks are those above its stamp.
    sa.Column("written", sa.Integer, nullable=False, server_default="0"),
    sa.Index("ix_vectors_pipeline_id_written", "pipeline_id", "written"),
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

companions = sa.Table(
    "companions",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("photo_id", sa.ForeignKey("photos.id", ondelete="CASCADE"), nullable=False),
    sa.Column("root_id", sa.ForeignKey("roots.id"), nullable=False),
    sa.Column("path", FileName, nullable=False),
    sa.Column("size", sa.Integer, nullable=False),
    sa.Column("mtime_ns", sa.Integer, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),  # "sidecar", "live", "raw", "jpeg": see companions.py
    sa.UniqueConstraint("root_id", "path"),
    sa.Index("ix_companions_photo_id", "photo_id"),
)

people = sa.Table(
    "people",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("name", sa.Text, unique=True),  # NULL: faces that look like one person whom nobody named yet
    sa.Column("kind", sa.Text, nullable=False, server_default="person"),  # "person", "pet"
    sa.Column("hidden", sa.Boolean, nullable=False, server_default="0"),
    sa.Column("cover_face", sa.ForeignKey("faces.id", ondelete="SET NULL", use_alter=True)),
    sa.Index("ix_people_cover_face", "cover_face", sqlite_where=sa.text("cover_face IS NOT NULL")),
    sqlite_autoincrement=True,  # a page that is still open shall not name somebody else
)

photo_people = sa.Table(
    "photo_people",
    metadata,
    sa.Column("photo_id", sa.ForeignKey("photos.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("person_id", sa.ForeignKey("people.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("source", sa.Text, nullable=False, server_default="file"),  # "file", "face", "hand"
    sa.Index("ix_photo_people_person_id", "person_id"),
)

faces = sa.Table(
    "faces",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("photo_id", sa.ForeignKey("photos.id", ondelete="CASCADE"), nullable=False),
    sa.Column("left", sa.Float, nullable=False),  # shares, 0 to 1, of the upright picture, as the next three
    sa.Column("top", sa.Float, nullable=False),
    sa.Column("right", sa.Float, nullable=False),
    sa.Column("bottom", sa.Float, nullable=False),
    sa.Column("score", sa.Float, nullable=False),
    sa.Column("quality", sa.Float, nullable=False),
    sa.Column("model", sa.Text, nullable=False),
    sa.Column("embedding", sa.LargeBinary, nullable=False),  # little-endian float16, unit length
    sa.Column("person_id", sa.ForeignKey("people.id", ondelete="SET NULL")),
    sa.Column("confirmed", sa.Boolean, nullable=False, server_default="0"),  # by a person, not by likeness
    sa.Index("ix_faces_photo_id", "photo_id"),
    sa.Index("ix_faces_person_id", "person_id"),
    sqlite_autoincrement=True,
)

not_faces = sa.Table(  # "this is not that person"
    "not_faces",
    metadata,
    sa.Column("face_id", sa.ForeignKey("faces.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("person_id", sa.ForeignKey("people.id", ondelete="CASCADE"), primary_key=True),
    sa.Index("ix_not_faces_person_id", "person_id"),
)

described = sa.Table(  # which pass of `describe` looked at which content, and how it ended
    "described",
    metadata,
    sa.Column("photo_id", sa.ForeignKey("photos.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("pass", sa.Text, primary_key=True),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("sha256", sa.LargeBinary(32), nullable=False),
    sa.Column("reason", sa.Text),  # why it failed; NULL: it did not
    sa.Column("done_at", sa.Integer, nullable=False),
)

texts = sa.Table(  # text seen in the picture
    "texts",
    metadata,
    sa.Column("photo_id", sa.ForeignKey("photos.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("text", sa.Text, nullable=False),
    # A JSON list of {"text", "score", "box": four [x, y], shares 0 to 1 of the upright picture}.
    sa.Column("boxes", sa.Text, nullable=False),
)

albums = sa.Table(
    "albums",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("created_at", sa.Integer, nullable=False),
    sa.Column("cover", sa.ForeignKey("photos.id", ondelete="SET NULL")),  # NULL: its newest photo
    sa.Index("ix_albums_cover", "cover", sqlite_where=sa.text("cover IS NOT NULL")),
    sqlite_autoincrement=True,
)

album_photos = sa.Table(
    "album_photos",
    metadata,
    sa.Column("album_id", sa.ForeignKey("albums.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("photo_id", sa.ForeignKey("photos.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("added_at", sa.Integer, nullable=False),
    sa.Index("ix_album_photos_photo_id", "photo_id"),
)

frames = sa.Table(  # moments of videos; the one that `vectors` holds is among them
    "frames",
    metadata,
    sa.Column("photo_id", sa.ForeignKey("photos.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("pipeline_id", sa.ForeignKey("pipelines.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("at", sa.Float, primary_key=True),  # seconds from the start
    sa.Column("vector", sa.LargeBinary, nullable=False),  # as in `vectors`
    sa.Column("written", sa.Integer, nullable=False, server_default="0"),  # as in `vectors`
    sa.Index("ix_frames_pipeline_id_written", "pipeline_id", "written"),
)

regions = sa.Table(  # parts of pictures: see `describe.regions`
    "regions",
    metadata,
    sa.Column("photo_id", sa.ForeignKey("photos.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("pipeline_id", sa.ForeignKey("pipelines.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("written", sa.Integer, nullable=False),  # as in `vectors`
    sa.Column("vectors", sa.LargeBinary, nullable=False),  # as `vectors.regions` packs them
)

calibrations = sa.Table(  # a disposable copy of what calibration.py measures
    "calibrations",
    metadata,
    sa.Column("pipeline_id", sa.ForeignKey("pipelines.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("made_at", sa.Integer, nullable=False),
    sa.Column("photos", sa.Integer, nullable=False),
    sa.Column("content", sa.LargeBinary, nullable=False),
)

# A full-text table of FTS5, which only a step can create; its text is prepared by words.py.
photo_words = sa.Table(
    "photo_words",
    sa.MetaData(),
    sa.Column("rowid", sa.Integer, primary_key=True),  # the photo's id
    *(sa.Column(name, sa.Text) for name in ("name", "folders", "words", "places", "people", "text")),
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
def reading(engine: Engine) -> Iterator[Connection]:
    """One read transaction: everything is read from the same state of the file. Raises LibraryError."""
    try:
        with engine.connect() as connection, connection.begin():
            yield connection
    except sa.exc.DatabaseError as error:
        told = _in_one_line("read", engine, error)
        if told is None:
            raise
        raise told from error


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """One write transaction: all of it is kept, or nothing. Raises LibraryError when it cannot be."""
    try:
        with engine.connect().execution_options(writes=True) as connection, connection.begin():
            yield connection
    except sa.exc.DatabaseError as error:
        told = _in_one_line("write to", engine, error)
        if told is None:
            raise
        raise told from error


def _in_one_line(what: str, engine: Engine, error: sa.exc.DatabaseError) -> LibraryError | None:
    """What a user is told of a disk that is full or a file that is damaged; None for our own mistakes."""
    where = printable(engine.url.database or "")
    if isinstance(error, sa.exc.OperationalError):
        return LibraryError(f"cannot {what} the photo library {where}: {error.orig}")
    if type(error) is sa.exc.DatabaseError:
        advice = "see `sensorium library check`"
        return LibraryError(f"cannot {what} the photo library {where}: {error.orig}; {advice}")
    return None


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

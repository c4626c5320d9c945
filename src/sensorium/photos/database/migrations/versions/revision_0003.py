"""Marks, albums, videos' moments, faces, text in pictures, and what the passes of `describe` have done."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_PHOTO_COLUMNS = ("favourite", "hidden", "duration", "perceptual_hash")
_TABLES = ("frames", "album_photos", "albums", "texts", "described", "not_faces")
_WORDS = ("name", "folders", "words", "places", "people")


def upgrade() -> None:
    for name in ("favourite", "hidden"):
        op.add_column("photos", sa.Column(name, sa.Boolean(), server_default="0", nullable=False))
    op.add_column("photos", sa.Column("duration", sa.Float(), nullable=True))
    op.add_column("photos", sa.Column("perceptual_hash", sa.LargeBinary(length=8), nullable=True))
    op.create_index("ix_photos_favourite", "photos", ["favourite"], sqlite_where=sa.text("favourite = 1"))
    op.create_index(
        "ix_photos_shown",
        "photos",
        ["hidden", "missing_since", "taken_at", "taken_offset", "width", "height", "sha256"],
    )
    _people()
    _faces()
    _people_from_before()
    _describing()
    _albums()
    _frames()
    _words((*_WORDS, "text"))


def _people() -> None:
    """Both tables anew, since SQLite cannot take NOT NULL off a column."""
    op.drop_index("ix_photo_people_person_id", "photo_people")
    op.rename_table("people", "people_before")
    op.rename_table("photo_people", "photo_people_before")
    op.create_table(
        "people",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=True),
        sa.Column("kind", sa.Text(), server_default="person", nullable=False),
        sa.Column("hidden", sa.Boolean(), server_default="0", nullable=False),
        sa.Column("cover_face", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(
            ["cover_face"], ["faces.id"], name=op.f("fk_people_cover_face"), ondelete="SET NULL"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_people")),
        sa.UniqueConstraint("name", name=op.f("uq_people_name")),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "ix_people_cover_face", "people", ["cover_face"], sqlite_where=sa.text("cover_face IS NOT NULL")
    )
    op.create_table(
        "photo_people",
        _owner("photo_people", "photo"),
        _owner("photo_people", "person", "people"),
        sa.Column("source", sa.Text(), server_default="file", nullable=False),
        sa.PrimaryKeyConstraint("photo_id", "person_id", name=op.f("pk_photo_people")),
    )
    op.create_index("ix_photo_people_person_id", "photo_people", ["person_id"])


def _people_from_before() -> None:
    """Only now: a row of people may name a face. Children are dropped first, or they would go along."""
    op.execute("INSERT INTO people (id, name) SELECT id, name FROM people_before")
    op.execute(
        "INSERT INTO photo_people (photo_id, person_id) SELECT photo_id, person_id FROM photo_people_before"
    )
    op.drop_table("photo_people_before")
    op.drop_table("people_before")


def _faces() -> None:
    numbers = ("left", "top", "right", "bottom", "score", "quality")
    op.create_table(
        "faces",
        sa.Column("id", sa.Integer(), nullable=False),
        _owner("faces", "photo"),
        *(sa.Column(name, sa.Float(), nullable=False) for name in numbers),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("embedding", sa.LargeBinary(), nullable=False),
        sa.Column("person_id", sa.Integer(), nullable=True),
        sa.Column("confirmed", sa.Boolean(), server_default="0", nullable=False),
        sa.ForeignKeyConstraint(
            ["person_id"], ["people.id"], name=op.f("fk_faces_person_id"), ondelete="SET NULL"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_faces")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_faces_photo_id", "faces", ["photo_id"])
    op.create_index("ix_faces_person_id", "faces", ["person_id"])
    op.create_table(
        "not_faces",
        _owner("not_faces", "face"),
        _owner("not_faces", "person", "people"),
        sa.PrimaryKeyConstraint("face_id", "person_id", name=op.f("pk_not_faces")),
    )
    op.create_index("ix_not_faces_person_id", "not_faces", ["person_id"])


def _describing() -> None:
    op.create_table(
        "described",
        _owner("described", "photo"),
        sa.Column("pass", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("sha256", sa.LargeBinary(length=32), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("done_at", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("photo_id", "pass", name=op.f("pk_described")),
    )
    op.create_table(
        "texts",
        _owner("texts", "photo"),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("boxes", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("photo_id", name=op.f("pk_texts")),
    )


def _albums() -> None:
    op.create_table(
        "albums",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Integer(), nullable=False),
        sa.Column("cover", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(["cover"], ["photos.id"], name=op.f("fk_albums_cover"), ondelete="SET NULL"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_albums")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_albums_cover", "albums", ["cover"], sqlite_where=sa.text("cover IS NOT NULL"))
    op.create_table(
        "album_photos",
        _owner("album_photos", "album"),
        _owner("album_photos", "photo"),
        sa.Column("added_at", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("album_id", "photo_id", name=op.f("pk_album_photos")),
    )
    op.create_index("ix_album_photos_photo_id", "album_photos", ["photo_id"])


def _frames() -> None:
    op.create_table(
        "frames",
        _owner("frames", "photo"),
        _owner("frames", "pipeline"),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("vector", sa.LargeBinary(), nullable=False),
        sa.Column("written", sa.Integer(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("photo_id", "pipeline_id", "at", name=op.f("pk_frames")),
    )
    op.create_index("ix_frames_pipeline_id_written", "frames", ["pipeline_id", "written"])


def _owner(table: str, name: str, parent: str | None = None) -> sa.Column[int]:
    """A column for the id of the row that a row goes with."""
    constraint = op.f(f"fk_{table}_{name}_id")
    key = sa.ForeignKey(f"{parent or name + 's'}.id", name=constraint, ondelete="CASCADE")
    return sa.Column(f"{name}_id", sa.Integer(), key, nullable=False)


def _words(columns: tuple[str, ...]) -> None:
    """The full-text table with these columns; those that were there before are kept."""
    op.execute("DROP TRIGGER photos_take_their_words_along")
    op.execute("ALTER TABLE photo_words RENAME TO photo_words_before")
    op.execute(
        f"CREATE VIRTUAL TABLE photo_words USING fts5({', '.join(columns)}, "
        "tokenize = 'unicode61 remove_diacritics 2')"
    )
    names = ", ".join(_WORDS)
    op.execute(
        f"INSERT INTO photo_words (rowid, {names}) SELECT rowid, {names} FROM photo_words_before"  # noqa: S608
    )
    op.drop_table("photo_words_before")
    op.execute(
        "CREATE TRIGGER photos_take_their_words_along AFTER DELETE ON photos "
        "BEGIN DELETE FROM photo_words WHERE rowid = old.id; END"
    )


def downgrade() -> None:
    _words(_WORDS)
    for table in _TABLES:
        op.drop_table(table)
    op.execute("UPDATE people SET cover_face = NULL")
    op.drop_table("faces")
    _people_as_before()
    for index in ("ix_photos_favourite", "ix_photos_shown"):
        op.drop_index(index, "photos")
    for column in _PHOTO_COLUMNS:
        op.execute(f"ALTER TABLE photos DROP COLUMN {column}")


def _people_as_before() -> None:
    op.drop_index("ix_photo_people_person_id", "photo_people")
    op.drop_index("ix_people_cover_face", "people")
    op.rename_table("people", "people_after")
    op.rename_table("photo_people", "photo_people_after")
    op.create_table(
        "people",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_people")),
        sa.UniqueConstraint("name", name=op.f("uq_people_name")),
    )
    op.create_table(
        "photo_people",
        _owner("photo_people", "photo"),
        _owner("photo_people", "person", "people"),
        sa.PrimaryKeyConstraint("photo_id", "person_id", name=op.f("pk_photo_people")),
    )
    op.create_index("ix_photo_people_person_id", "photo_people", ["person_id"])
    op.execute("INSERT INTO people SELECT id, name FROM people_after WHERE name IS NOT NULL")
    op.execute(
        "INSERT INTO photo_people SELECT photo_id, person_id FROM photo_people_after "
        "WHERE person_id IN (SELECT id FROM people)"
    )
    op.drop_table("photo_people_after")
    op.drop_table("people_after")

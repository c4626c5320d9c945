"""Places, words, people, companions, calibrations; what a model switch needs to be taken back."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_PHOTO_COLUMNS = ("country", "region", "city", "places_version", "title", "caption", "keywords", "rating",
                  "frames", "inode")  # fmt: skip


def upgrade() -> None:
    op.add_column(
        "library", sa.Column("vectors_generation", sa.Integer(), server_default="0", nullable=False)
    )
    op.add_column("roots", sa.Column("device", sa.Integer(), nullable=True))
    for name in ("country", "region", "title", "caption", "keywords"):
        op.add_column("photos", sa.Column(name, sa.Text(), nullable=True))
    for name in ("city", "rating", "inode"):
        op.add_column("photos", sa.Column(name, sa.Integer(), nullable=True))
    for name, default in (("places_version", "0"), ("frames", "1")):
        op.add_column("photos", sa.Column(name, sa.Integer(), server_default=default, nullable=False))
    op.create_index("ix_photos_country_region", "photos", ["country", "region"])
    op.create_index("ix_photos_city", "photos", ["city"])
    op.create_index(
        "ix_photos_missing_since",
        "photos",
        ["missing_since"],
        sqlite_where=sa.text("missing_since IS NOT NULL"),
    )
    op.add_column("vectors", sa.Column("written", sa.Integer(), server_default="0", nullable=False))
    op.create_index("ix_vectors_pipeline_id_written", "vectors", ["pipeline_id", "written"])
    _pipelines()
    _companions()
    _people()
    op.create_table(
        "calibrations",
        sa.Column("pipeline_id", sa.Integer(), nullable=False),
        sa.Column("made_at", sa.Integer(), nullable=False),
        sa.Column("photos", sa.Integer(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["pipeline_id"], ["pipelines.id"], name=op.f("fk_calibrations_pipeline_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("pipeline_id", name=op.f("pk_calibrations")),
    )
    op.execute(
        "CREATE VIRTUAL TABLE photo_words USING fts5(name, folders, words, places, people, "
        "tokenize = 'unicode61 remove_diacritics 2')"
    )
    op.execute(
        "CREATE TRIGGER photos_take_their_words_along AFTER DELETE ON photos "
        "BEGIN DELETE FROM photo_words WHERE rowid = old.id; END"
    )


def _pipelines() -> None:
    op.add_column("pipelines", sa.Column("golden", sa.Text(), nullable=True))
    op.add_column("pipelines", sa.Column("previous", sa.Integer(), nullable=True))
    op.add_column("pipelines", sa.Column("complete", sa.Boolean(), server_default="0", nullable=False))
    op.execute(
        """
        UPDATE pipelines SET complete = NOT EXISTS (
            SELECT 1 FROM photos
            WHERE missing_since IS NULL
            AND NOT EXISTS (SELECT 1 FROM vectors WHERE photo_id = photos.id AND pipeline_id = pipelines.id)
            AND NOT EXISTS (
                SELECT 1 FROM failures
                WHERE failures.root_id = photos.root_id AND failures.path = photos.path
                AND failures.pipeline_id = pipelines.id
            )
        )
        """
    )


def _companions() -> None:
    op.create_table(
        "companions",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("photo_id", sa.Integer(), nullable=False),
        sa.Column("root_id", sa.Integer(), nullable=False),
        sa.Column("path", sa.LargeBinary(), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("mtime_ns", sa.Integer(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["photo_id"], ["photos.id"], name=op.f("fk_companions_photo_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["root_id"], ["roots.id"], name=op.f("fk_companions_root_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_companions")),
        sa.UniqueConstraint("root_id", "path", name=op.f("uq_companions_root_id_path")),
    )
    op.create_index("ix_companions_photo_id", "companions", ["photo_id"])


def _people() -> None:
    op.create_table(
        "people",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_people")),
        sa.UniqueConstraint("name", name=op.f("uq_people_name")),
    )
    op.create_table(
        "photo_people",
        sa.Column("photo_id", sa.Integer(), nullable=False),
        sa.Column("person_id", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["photo_id"], ["photos.id"], name=op.f("fk_photo_people_photo_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["person_id"], ["people.id"], name=op.f("fk_photo_people_person_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("photo_id", "person_id", name=op.f("pk_photo_people")),
    )
    op.create_index("ix_photo_people_person_id", "photo_people", ["person_id"])


def downgrade() -> None:
    op.execute("DROP TRIGGER photos_take_their_words_along")
    for table in ("photo_words", "calibrations", "photo_people", "people", "companions"):
        op.drop_table(table)
    op.drop_index("ix_vectors_pipeline_id_written", "vectors")
    op.execute("ALTER TABLE vectors DROP COLUMN written")
    for index in ("ix_photos_country_region", "ix_photos_city", "ix_photos_missing_since"):
        op.drop_index(index, "photos")
    for column in _PHOTO_COLUMNS:
        op.execute(f"ALTER TABLE photos DROP COLUMN {column}")
    op.execute("ALTER TABLE roots DROP COLUMN device")
    op.execute("ALTER TABLE library DROP COLUMN vectors_generation")
    for column in ("golden", "previous", "complete"):
        op.execute(f"ALTER TABLE pipelines DROP COLUMN {column}")

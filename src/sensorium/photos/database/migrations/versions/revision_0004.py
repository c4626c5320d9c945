"""Vectors of the parts of pictures, and what scores with them mean."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("pipelines", sa.Column("parts", sa.Text(), nullable=True))
    op.create_table(
        "regions",
        _owner("photo"),
        _owner("pipeline"),
        sa.Column("written", sa.Integer(), nullable=False),
        sa.Column("vectors", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("photo_id", "pipeline_id", name=op.f("pk_regions")),
    )


def _owner(name: str) -> sa.Column[int]:
    """A column for the id of the row that a row goes with."""
    key = sa.ForeignKey(f"{name}s.id", name=op.f(f"fk_regions_{name}_id"), ondelete="CASCADE")
    return sa.Column(f"{name}_id", sa.Integer(), key, nullable=False)


def downgrade() -> None:
    op.drop_table("regions")
    op.execute("ALTER TABLE pipelines DROP COLUMN parts")
    # The pass would not look again at what it has seen.
    op.execute("DELETE FROM described WHERE pass = 'regions'")

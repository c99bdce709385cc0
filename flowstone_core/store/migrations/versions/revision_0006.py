"""Items that a sensor leaves out for good."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_SKIPPING = sa.text("skipped_items IS NOT NULL")


def upgrade() -> None:
    """Add a column to ticks, and an index of the ticks that have it."""
    op.add_column("flowstone_ticks", sa.Column("skipped_items", sa.Text()))
    op.create_index(
        "ix_flowstone_ticks_skipped",
        "flowstone_ticks",
        ["source", "id"],
        sqlite_where=_SKIPPING,
        postgresql_where=_SKIPPING,
    )

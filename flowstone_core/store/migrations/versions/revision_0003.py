"""What pruning finds its rows by."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the indexes; no row is touched."""
    op.create_index("ix_flowstone_events_tick_id", "flowstone_events", ["tick_id"])
    op.create_index(
        "ix_flowstone_events_remembered",
        "flowstone_events",
        ["source", "created_at"],
        sqlite_where=sa.text("NOT forgotten"),
        postgresql_where=sa.text("NOT forgotten"),
    )

"""Items that a sensor leaves out for good, and the reason why its polls find nothing."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_MOMENT = sa.DateTime(timezone=True).with_variant(sa.String(27), "sqlite")
_SKIPPING = sa.text("skipped_items IS NOT NULL")


def upgrade() -> None:
    """Add a column to ticks, an index of the ticks that have it, and columns to sensors."""
    op.add_column("flowstone_sensors", sa.Column("quiet_reason", sa.Text()))
    op.add_column("flowstone_sensors", sa.Column("quiet_since", _MOMENT))
    op.add_column("flowstone_ticks", sa.Column("skipped_items", sa.Text()))
    op.create_index(
        "ix_flowstone_ticks_skipped",
        "flowstone_ticks",
        ["source", "id"],
        sqlite_where=_SKIPPING,
        postgresql_where=_SKIPPING,
    )
    op.add_column("flowstone_backfills", sa.Column("total", sa.Integer()))
    op.add_column("flowstone_backfills", sa.Column("seen_at", _MOMENT))
    op.add_column("flowstone_backfills", sa.Column("cancelled_at", _MOMENT))

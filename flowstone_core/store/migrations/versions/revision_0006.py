"""Reports of sensors and runners: skipped items, reasons, problems, loaded settings."""

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
    """Add columns to ticks, sensors, runners and materializations, and an index of ticks."""
    op.add_column("flowstone_runners", sa.Column("problem", sa.Text()))
    op.add_column(
        "flowstone_runners",
        sa.Column("blocked", sa.Boolean(), nullable=False, server_default=sa.false()),
    )
    op.add_column("flowstone_runners", sa.Column("loaded", sa.Text()))
    op.add_column(
        "flowstone_materializations",
        sa.Column("lost_attempts", sa.Integer(), nullable=False, server_default=sa.text("0")),
    )
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

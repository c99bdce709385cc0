"""Coordination of many runners: roles, workloads, last beats, clocks and session locks."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_MOMENT = sa.DateTime(timezone=True).with_variant(sa.String(27), "sqlite")
_UNSTOPPED = sa.text("stopped_at IS NULL")


def upgrade() -> None:
    """Add columns and an index of runners; runners of the version before go on beside it."""
    op.add_column(
        "flowstone_runners",
        sa.Column("role", sa.String(20), nullable=False, server_default="all"),
    )
    op.add_column("flowstone_runners", sa.Column("engine", sa.Text()))
    op.add_column("flowstone_runners", sa.Column("beat_at", _MOMENT))
    op.add_column("flowstone_runners", sa.Column("clock_offset", sa.Double()))
    op.add_column("flowstone_runners", sa.Column("lock_key", sa.BigInteger()))
    op.add_column("flowstone_runners", sa.Column("workload", sa.String(64)))
    op.create_index(
        "ix_flowstone_runners_unstopped",
        "flowstone_runners",
        ["lease_until"],
        sqlite_where=_UNSTOPPED,
        postgresql_where=_UNSTOPPED,
    )

"""Sensors without a good poll for too long, and threads that do not come back."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_MOMENT = sa.DateTime(timezone=True).with_variant(sa.String(27), "sqlite")


def upgrade() -> None:
    """Add a column to sensors and one to runners."""
    op.add_column("flowstone_sensors", sa.Column("stale_since", _MOMENT))
    op.add_column(
        "flowstone_runners",
        sa.Column("stuck_threads", sa.Integer(), nullable=False, server_default=sa.text("0")),
    )

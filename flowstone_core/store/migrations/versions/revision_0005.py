"""The process that runs an attempt is a runner: its column says so."""

from __future__ import annotations

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Rename a column of materializations and one of attempts."""
    for table in ("flowstone_materializations", "flowstone_attempts"):
        # Alembic's alter_column copies the whole table on SQLite, which renames in place itself.
        op.execute(f"ALTER TABLE {table} RENAME COLUMN worker TO runner_id")

"""Schedules, what they skip, and backfills."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_MOMENT = sa.DateTime(timezone=True).with_variant(sa.String(27), "sqlite")


def _where(condition: str) -> dict[str, Any]:
    return {f"{dialect}_where": sa.text(condition) for dialect in ("sqlite", "postgresql")}


def upgrade() -> None:
    """Make the new tables, and the columns that ticks and materializations need for them."""
    op.add_column(
        "flowstone_ticks",
        sa.Column("skipped", sa.Integer(), nullable=False, server_default=sa.text("0")),
    )
    op.add_column("flowstone_materializations", sa.Column("after_id", _ID))
    op.create_index(
        "ix_flowstone_materializations_after_id",
        "flowstone_materializations",
        ["after_id"],
        **_where("after_id IS NOT NULL"),
    )
    _make_schedules()
    _make_skips()
    _make_backfills()


def _make_schedules() -> None:
    op.create_table(
        "flowstone_schedules",
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("asset", sa.String(length=200), nullable=False),
        sa.Column("declared", sa.Text()),
        sa.Column("edits", sa.Text()),
        sa.Column("origin", sa.Text(), nullable=False),
        sa.Column("pause_on_failure", sa.Boolean(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("decided_until", _MOMENT, nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("not_before", _MOMENT),
        sa.Column("paused", sa.Boolean(), nullable=False),
        sa.Column("paused_because", sa.Text()),
        sa.Column("owner", sa.String(length=64)),
        sa.Column("created_at", _MOMENT, nullable=False),
        sa.Column("edited_at", _MOMENT),
        sa.Column("last_tick_at", _MOMENT),
        sa.Column("last_outcome", sa.String(length=20)),
        sa.Column("last_good_at", _MOMENT),
        sa.Column("last_error", sa.Text()),
        sa.CheckConstraint(
            "NOT paused OR owner IS NULL", name=op.f("ck_flowstone_schedules_paused")
        ),
        sa.CheckConstraint(
            "declared IS NOT NULL OR edits IS NOT NULL",
            name=op.f("ck_flowstone_schedules_settings"),
        ),
        sa.PrimaryKeyConstraint("name", name="pk_flowstone_schedules"),
    )
    op.create_index("ix_flowstone_schedules_owner", "flowstone_schedules", ["owner"])


def _make_skips() -> None:
    op.create_table(
        "flowstone_skips",
        sa.Column("id", _ID, autoincrement=True, nullable=False),
        sa.Column("schedule", sa.String(length=200), nullable=False),
        sa.Column("tick_id", _ID, nullable=False),
        sa.Column("reason", sa.String(length=20), nullable=False),
        sa.Column("first_at", _MOMENT, nullable=False),
        sa.Column("last_at", _MOMENT, nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("complete", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tick_id"], ["flowstone_ticks.id"], name="fk_flowstone_skips_tick"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_flowstone_skips"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_flowstone_skips_schedule", "flowstone_skips", ["schedule", "id"])
    op.create_index("ix_flowstone_skips_tick_id", "flowstone_skips", ["tick_id"])


def _make_backfills() -> None:
    op.create_table(
        "flowstone_backfills",
        sa.Column("id", _ID, autoincrement=True, nullable=False),
        sa.Column("asset", sa.String(length=200), nullable=False),
        sa.Column("first", sa.Text(), nullable=False),
        sa.Column("last", sa.Text(), nullable=False),
        sa.Column("every", sa.String(length=200), nullable=False),
        sa.Column("force", sa.Boolean(), nullable=False),
        sa.Column("created_at", _MOMENT, nullable=False),
        sa.Column("finished_at", _MOMENT),
        sa.PrimaryKeyConstraint("id", name="pk_flowstone_backfills"),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "uq_flowstone_backfills_unfinished",
        "flowstone_backfills",
        ["asset", "first", "last", "every", "force"],
        unique=True,
        **_where("finished_at IS NULL"),
    )

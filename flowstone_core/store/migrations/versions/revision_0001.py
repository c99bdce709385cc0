"""The first schema."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_MOMENT = sa.DateTime(timezone=True).with_variant(sa.String(27), "sqlite")
_APPLICATION_ID = 0x464C4F57


def _where(condition: str | None) -> dict[str, Any]:
    if condition is None:
        return {}
    return {f"{dialect}_where": sa.text(condition) for dialect in ("sqlite", "postgresql")}


def upgrade() -> None:
    """Make all tables; an SQLite file is marked as ours."""
    if op.get_bind().dialect.name == "sqlite":
        op.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
    _make_runners()
    _make_sensors()
    _make_ticks()
    _make_materializations()
    _make_events()
    _make_attempts()


def _make_runners() -> None:
    op.create_table(
        "flowstone_runners",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("machine", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("started_at", _MOMENT, nullable=False),
        sa.Column("lease_until", _MOMENT, nullable=False),
        sa.Column("stopped_at", _MOMENT),
        sa.PrimaryKeyConstraint("id", name="pk_flowstone_runners"),
    )


def _make_sensors() -> None:
    op.create_table(
        "flowstone_sensors",
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text()),
        sa.Column("polled", sa.Boolean(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("not_before", _MOMENT),
        sa.Column("broken", sa.Boolean(), nullable=False),
        sa.Column("paused", sa.Boolean(), nullable=False),
        sa.Column("owner", sa.String(length=64)),
        sa.Column("created_at", _MOMENT, nullable=False),
        sa.Column("last_tick_at", _MOMENT),
        sa.Column("last_outcome", sa.String(length=20)),
        sa.Column("last_good_at", _MOMENT),
        sa.Column("last_error", sa.Text()),
        sa.PrimaryKeyConstraint("name", name="pk_flowstone_sensors"),
        sa.CheckConstraint("NOT paused OR owner IS NULL", name=op.f("ck_flowstone_sensors_paused")),
    )
    op.create_index("ix_flowstone_sensors_owner", "flowstone_sensors", ["owner"])


def _make_ticks() -> None:
    op.create_table(
        "flowstone_ticks",
        sa.Column("id", _ID, autoincrement=True, nullable=False),
        sa.Column("source", sa.String(length=220), nullable=False),
        sa.Column("outcome", sa.String(length=20), nullable=False),
        sa.Column("started_at", _MOMENT, nullable=False),
        sa.Column("finished_at", _MOMENT, nullable=False),
        sa.Column("events", sa.Integer(), nullable=False),
        sa.Column("duplicates", sa.Integer(), nullable=False),
        sa.Column("error", sa.Text()),
        sa.PrimaryKeyConstraint("id", name="pk_flowstone_ticks"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_flowstone_ticks_source", "flowstone_ticks", ["source", "id"])


def _make_materializations() -> None:
    op.create_table(
        "flowstone_materializations",
        sa.Column("id", _ID, autoincrement=True, nullable=False),
        sa.Column("run_id", sa.String(length=32), nullable=False),
        sa.Column("asset", sa.String(length=200), nullable=False),
        sa.Column("partition", sa.Text(), nullable=False),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("max_attempts", sa.Integer(), nullable=False),
        sa.Column("requested_at", _MOMENT, nullable=False),
        sa.Column("available_at", _MOMENT),
        sa.Column("waiting_for", sa.Text()),
        sa.Column("started_at", _MOMENT),
        sa.Column("finished_at", _MOMENT),
        sa.Column("error", sa.Text()),
        sa.Column("metadata", sa.Text()),
        sa.Column("worker", sa.String(length=64)),
        sa.Column("token", sa.String(length=32)),
        sa.PrimaryKeyConstraint("id", name="pk_flowstone_materializations"),
        sa.CheckConstraint(
            "(state = 'running') = (token IS NOT NULL)",
            name=op.f("ck_flowstone_materializations_running"),
        ),
        sa.CheckConstraint(
            "available_at IS NULL OR state IN ('pending', 'retrying')",
            name=op.f("ck_flowstone_materializations_available"),
        ),
        sqlite_autoincrement=True,
    )
    _index_materializations()


def _index_materializations() -> None:
    slot = ("asset", "partition")
    _index("ix", "available_at", ("available_at", "id"), "available_at IS NOT NULL")
    _index("ix", "partition", (*slot, "state", "finished_at", "id"))
    _index("ix", "state", ("state", "id"))
    _index("ix", "asset", ("asset", "id"))
    _index("uq", "run_id", ("run_id",))
    _index("uq", "token", ("token",), "token IS NOT NULL")
    _index("uq", "pending", slot, "state = 'pending'")
    _index("uq", "started", slot, "state IN ('running', 'retrying')")


def _index(kind: str, name: str, columns: Sequence[str], condition: str | None = None) -> None:
    op.create_index(
        f"{kind}_flowstone_materializations_{name}",
        "flowstone_materializations",
        columns,
        unique=kind == "uq",
        **_where(condition),
    )


def _make_events() -> None:
    op.create_table(
        "flowstone_events",
        sa.Column("id", _ID, autoincrement=True, nullable=False),
        sa.Column("source", sa.String(length=220), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("asset", sa.String(length=200), nullable=False),
        sa.Column("partition", sa.Text(), nullable=False),
        sa.Column("payload", sa.Text()),
        sa.Column("created_at", _MOMENT, nullable=False),
        sa.Column("materialization_id", _ID, nullable=False),
        sa.Column("tick_id", _ID),
        sa.Column("forgotten", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.ForeignKeyConstraint(
            ["materialization_id"],
            ["flowstone_materializations.id"],
            name="fk_flowstone_events_materialization",
        ),
        sa.ForeignKeyConstraint(
            ["tick_id"], ["flowstone_ticks.id"], name="fk_flowstone_events_tick"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_flowstone_events"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_flowstone_events_asset", "flowstone_events", ["asset", "id"])
    op.create_index(
        "ix_flowstone_events_materialization_id", "flowstone_events", ["materialization_id"]
    )
    op.create_index("ix_flowstone_events_source", "flowstone_events", ["source", "id"])
    op.create_index(
        "uq_flowstone_events_key",
        "flowstone_events",
        ["source", "key"],
        unique=True,
        **_where("NOT forgotten"),
    )


def _make_attempts() -> None:
    op.create_table(
        "flowstone_attempts",
        sa.Column("materialization_id", _ID, autoincrement=False, nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("started_at", _MOMENT, nullable=False),
        sa.Column("finished_at", _MOMENT),
        sa.Column("outcome", sa.String(length=20)),
        sa.Column("error", sa.Text()),
        sa.Column("worker", sa.String(length=64)),
        sa.ForeignKeyConstraint(
            ["materialization_id"],
            ["flowstone_materializations.id"],
            name="fk_flowstone_attempts_materialization",
        ),
        sa.PrimaryKeyConstraint("materialization_id", "number", name="pk_flowstone_attempts"),
    )

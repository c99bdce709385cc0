"""Schema: the tables as of the newest migration.

Both databases have the same tables, indexes and constraints. Documents (states, payloads,
metadata) are stored as JSON text, so that a document is read exactly as it was written.
"""

from __future__ import annotations

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    String,
    Table,
    Text,
    false,
    text,
)

from flowstone_core.store import owned_tables
from flowstone_core.store.column_types import ID, NAME, SOURCE, UtcDateTime
from flowstone_core.store.owned_tables import partial_index

APPLICATION_ID = 0x464C4F57
"""``FLOW``, in the header of an SQLite file: marks a FlowStone store."""

VERSION_TABLE = "flowstone_schema"
"""The table in which Alembic keeps the revision."""


metadata = owned_tables.metadata
runners = owned_tables.runners
sensors = owned_tables.sensors
schedules = owned_tables.schedules

# Conditions of partial indexes are texts, here and in the queries: SQLite uses a partial index
# only for a query with the same condition, without a bound value.
PENDING = text("state = 'pending'")
STARTED = text("state IN ('running', 'retrying')")
CLAIMABLE = text("available_at IS NOT NULL")
HELD = text("token IS NOT NULL")
QUEUED = text("after_id IS NOT NULL")
UNFINISHED = text("finished_at IS NULL")
REMEMBERED = text("NOT forgotten")
SKIPPING = text("skipped_items IS NOT NULL")


ticks = Table(
    "flowstone_ticks",
    metadata,
    Column("id", ID, primary_key=True, autoincrement=True),
    Column("source", SOURCE, nullable=False),
    Column("outcome", String(20), nullable=False),
    Column("started_at", UtcDateTime, nullable=False),
    Column("finished_at", UtcDateTime, nullable=False),
    Column("events", Integer, nullable=False),
    Column("duplicates", Integer, nullable=False),
    Column("error", Text),
    Column("skipped", Integer, nullable=False, server_default=text("0")),
    Column("skipped_items", Text),
    Index("ix_flowstone_ticks_source", "source", "id"),
    partial_index("ix_flowstone_ticks_skipped", "source", "id", where=SKIPPING),
    sqlite_autoincrement=True,
)

materializations = Table(
    "flowstone_materializations",
    metadata,
    Column("id", ID, primary_key=True, autoincrement=True),
    Column("run_id", String(32), nullable=False),
    Column("asset", NAME, nullable=False),
    Column("partition", Text, nullable=False),
    Column("state", String(20), nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("max_attempts", Integer, nullable=False),
    Column("requested_at", UtcDateTime, nullable=False),
    Column("available_at", UtcDateTime),
    Column("waiting_for", Text),
    Column("started_at", UtcDateTime),
    Column("finished_at", UtcDateTime),
    Column("error", Text),
    Column("metadata", Text),
    Column("runner_id", String(64)),
    Column("token", String(32)),
    # Attempts lost with their runners: they do not count against max_attempts.
    Column("lost_attempts", Integer, nullable=False, server_default=text("0")),
    # The predecessor in the overlap queue: it must end first.
    Column("after_id", ID),
    CheckConstraint("(state = 'running') = (token IS NOT NULL)", "running"),
    CheckConstraint("available_at IS NULL OR state IN ('pending', 'retrying')", "available"),
    Index("uq_flowstone_materializations_run_id", "run_id", unique=True),
    # New events join the pending materialization of their partition, and of one partition at
    # most one runs: the database enforces both.
    partial_index(
        "uq_flowstone_materializations_pending", "asset", "partition", where=PENDING, unique=True
    ),
    partial_index(
        "uq_flowstone_materializations_started", "asset", "partition", where=STARTED, unique=True
    ),
    partial_index("uq_flowstone_materializations_token", "token", where=HELD, unique=True),
    partial_index(
        "ix_flowstone_materializations_available_at", "available_at", "id", where=CLAIMABLE
    ),
    # Finds the state of one partition without reading its history.
    Index(
        "ix_flowstone_materializations_partition",
        "asset",
        "partition",
        "state",
        "finished_at",
        "id",
    ),
    Index("ix_flowstone_materializations_state", "state", "id"),
    partial_index("ix_flowstone_materializations_after_id", "after_id", where=QUEUED),
    Index("ix_flowstone_materializations_asset", "asset", "id"),
    sqlite_autoincrement=True,
)

events = Table(
    "flowstone_events",
    metadata,
    Column("id", ID, primary_key=True, autoincrement=True),
    Column("source", SOURCE, nullable=False),
    Column("key", Text, nullable=False),
    Column("asset", NAME, nullable=False),
    Column("partition", Text, nullable=False),
    Column("payload", Text),
    Column("created_at", UtcDateTime, nullable=False),
    Column(
        "materialization_id",
        ID,
        ForeignKey(materializations.c.id, name="fk_flowstone_events_materialization"),
        nullable=False,
    ),
    Column("tick_id", ID, ForeignKey(ticks.c.id, name="fk_flowstone_events_tick")),
    # A forgotten key may be used again; the event stays in the history under the key it had.
    Column("forgotten", Boolean, nullable=False, server_default=false()),
    partial_index("uq_flowstone_events_key", "source", "key", where=REMEMBERED, unique=True),
    Index("ix_flowstone_events_source", "source", "id"),
    Index("ix_flowstone_events_asset", "asset", "id"),
    Index("ix_flowstone_events_materialization_id", "materialization_id"),
    Index("ix_flowstone_events_tick_id", "tick_id"),
    # Finds the keys whose retention has ended.
    partial_index("ix_flowstone_events_remembered", "source", "created_at", where=REMEMBERED),
    sqlite_autoincrement=True,
)

attempts = Table(
    "flowstone_attempts",
    metadata,
    Column(
        "materialization_id",
        ID,
        ForeignKey(materializations.c.id, name="fk_flowstone_attempts_materialization"),
        primary_key=True,
        autoincrement=False,
    ),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("started_at", UtcDateTime, nullable=False),
    Column("finished_at", UtcDateTime),
    Column("outcome", String(20)),
    Column("error", Text),
    Column("runner_id", String(64)),
)

skips = Table(
    "flowstone_skips",
    metadata,
    Column("id", ID, primary_key=True, autoincrement=True),
    # No foreign key: skips outlive a removed schedule.
    Column("schedule", NAME, nullable=False),
    Column("tick_id", ID, ForeignKey(ticks.c.id, name="fk_flowstone_skips_tick"), nullable=False),
    Column("reason", String(20), nullable=False),
    Column("first_at", UtcDateTime, nullable=False),
    Column("last_at", UtcDateTime, nullable=False),
    Column("count", Integer, nullable=False),
    Column("complete", Boolean, nullable=False),
    Index("ix_flowstone_skips_schedule", "schedule", "id"),
    Index("ix_flowstone_skips_tick_id", "tick_id"),
    sqlite_autoincrement=True,
)

backfills = Table(
    "flowstone_backfills",
    metadata,
    Column("id", ID, primary_key=True, autoincrement=True),
    Column("asset", NAME, nullable=False),
    Column("first", Text, nullable=False),
    Column("last", Text, nullable=False),
    Column("every", String(200), nullable=False),
    Column("force", Boolean, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("finished_at", UtcDateTime),
    Column("total", Integer),
    Column("seen_at", UtcDateTime),
    Column("cancelled_at", UtcDateTime),
    # A repeated command continues the unfinished backfill.
    partial_index(
        "uq_flowstone_backfills_unfinished",
        "asset",
        "first",
        "last",
        "every",
        "force",
        where=UNFINISHED,
        unique=True,
    ),
    sqlite_autoincrement=True,
)

"""Schema: the tables as of the newest migration.

Both databases have the same tables, indexes and constraints. Documents (states, payloads,
metadata) are stored as JSON text, so that a document is read exactly as it was written.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    TextClause,
    false,
    text,
)

from flowstone_core.store.column_types import ID, NAME, SOURCE, UtcDateTime

APPLICATION_ID = 0x464C4F57
"""``FLOW``, in the header of an SQLite file: marks a FlowStone store."""

VERSION_TABLE = "flowstone_schema"
"""The table in which Alembic keeps the revision."""


metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
    }
)

runners = Table(
    "flowstone_runners",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("host", Text, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("machine", Text, nullable=False),
    Column("version", Text, nullable=False),
    Column("started_at", UtcDateTime, nullable=False),
    Column("lease_until", UtcDateTime, nullable=False),
    Column("stopped_at", UtcDateTime),
    Column("stuck_threads", Integer, nullable=False, server_default=text("0")),
    Column("problem", Text),
    Column("blocked", Boolean, nullable=False, server_default=false()),
    # The settings that the runner has loaded, as JSON: not read with the other columns.
    Column("loaded", Text),
)

sensors = Table(
    "flowstone_sensors",
    metadata,
    Column("name", NAME, primary_key=True),
    Column("version", BigInteger, nullable=False),
    Column("state", Text),
    Column("polled", Boolean, nullable=False),
    Column("failures", Integer, nullable=False),
    Column("not_before", UtcDateTime),
    Column("broken", Boolean, nullable=False),
    Column("paused", Boolean, nullable=False),
    # No foreign key: a runner's row may be deleted before its sensors are claimed again.
    Column("owner", String(64)),
    Column("created_at", UtcDateTime, nullable=False),
    Column("last_tick_at", UtcDateTime),
    Column("last_outcome", String(20)),
    Column("last_good_at", UtcDateTime),
    Column("last_error", Text),
    Column("stale_since", UtcDateTime),
    Column("quiet_reason", Text),
    Column("quiet_since", UtcDateTime),
    CheckConstraint("NOT paused OR owner IS NULL", "paused"),
    Index("ix_flowstone_sensors_owner", "owner"),
)

schedules = Table(
    "flowstone_schedules",
    metadata,
    Column("name", NAME, primary_key=True),
    Column("asset", NAME, nullable=False),
    # The settings as written, without defaults: defaults may change.
    Column("declared", Text),
    Column("edits", Text),
    Column("origin", Text, nullable=False),
    Column("pause_on_failure", Boolean, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("decided_until", UtcDateTime, nullable=False),
    Column("failures", Integer, nullable=False),
    Column("not_before", UtcDateTime),
    Column("paused", Boolean, nullable=False),
    Column("paused_because", Text),
    Column("owner", String(64)),
    Column("created_at", UtcDateTime, nullable=False),
    Column("edited_at", UtcDateTime),
    Column("last_tick_at", UtcDateTime),
    Column("last_outcome", String(20)),
    Column("last_good_at", UtcDateTime),
    Column("last_error", Text),
    CheckConstraint("NOT paused OR owner IS NULL", "paused"),
    CheckConstraint("declared IS NOT NULL OR edits IS NOT NULL", "settings"),
    Index("ix_flowstone_schedules_owner", "owner"),
)

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


def _partial_index(name: str, *columns: str, where: TextClause, unique: bool = False) -> Index:
    return Index(name, *columns, unique=unique, sqlite_where=where, postgresql_where=where)


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
    _partial_index("ix_flowstone_ticks_skipped", "source", "id", where=SKIPPING),
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
    _partial_index(
        "uq_flowstone_materializations_pending", "asset", "partition", where=PENDING, unique=True
    ),
    _partial_index(
        "uq_flowstone_materializations_started", "asset", "partition", where=STARTED, unique=True
    ),
    _partial_index("uq_flowstone_materializations_token", "token", where=HELD, unique=True),
    _partial_index(
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
    _partial_index("ix_flowstone_materializations_after_id", "after_id", where=QUEUED),
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
    _partial_index("uq_flowstone_events_key", "source", "key", where=REMEMBERED, unique=True),
    Index("ix_flowstone_events_source", "source", "id"),
    Index("ix_flowstone_events_asset", "asset", "id"),
    Index("ix_flowstone_events_materialization_id", "materialization_id"),
    Index("ix_flowstone_events_tick_id", "tick_id"),
    # Finds the keys whose retention has ended.
    _partial_index("ix_flowstone_events_remembered", "source", "created_at", where=REMEMBERED),
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
    _partial_index(
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

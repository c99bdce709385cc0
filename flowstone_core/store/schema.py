"""The tables, as the newest migration leaves them.

Both databases have the same tables, indexes and constraints. Documents (states, payloads,
metadata) are kept as the JSON text they were written as, so what comes back is what was given.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    false,
    text,
)
from sqlalchemy.types import TypeDecorator, TypeEngine

APPLICATION_ID = 0x464C4F57
"""``FLOW``: in the header of an SQLite file, it says whose the file is."""

VERSION_TABLE = "flowstone_schema"
"""Where Alembic keeps the revision."""


class UtcDateTime(TypeDecorator[datetime]):
    """A moment: aware on the way in, aware and in UTC on the way out.

    PostgreSQL has a type for it. SQLite has none; there it is a text of fixed width, which sorts
    as time does, and which a person who opens the file can read.
    """

    impl = DateTime(timezone=True)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """See `TypeDecorator.load_dialect_impl`."""
        if dialect.name == "sqlite":
            return dialect.type_descriptor(String(27))
        return dialect.type_descriptor(DateTime(timezone=True))

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | str | None:
        """See `TypeDecorator.process_bind_param`."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"the store takes aware datetimes only, got {value}")
        value = value.astimezone(UTC)
        if dialect.name != "sqlite":
            return value
        return f"{value.replace(tzinfo=None).isoformat(timespec='microseconds')}Z"

    def process_result_value(
        self,
        value: datetime | str | None,
        dialect: Dialect,  # noqa: ARG002 - SQLAlchemy's signature
    ) -> datetime | None:
        """See `TypeDecorator.process_result_value`."""
        if isinstance(value, str):
            return datetime.fromisoformat(value)
        return None if value is None else value.astimezone(UTC)


metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
    }
)

_Id = BigInteger().with_variant(Integer, "sqlite")
_NAME = String(200)

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
)

sensors = Table(
    "flowstone_sensors",
    metadata,
    Column("name", _NAME, primary_key=True),
    Column("version", BigInteger, nullable=False),
    Column("state", Text),
    Column("polled", Boolean, nullable=False),
    Column("failures", Integer, nullable=False),
    Column("not_before", UtcDateTime),
    Column("broken", Boolean, nullable=False),
    Column("paused", Boolean, nullable=False),
    # No foreign key: a runner's row may go while what it owned waits for the next one.
    Column("owner", String(64)),
    Column("created_at", UtcDateTime, nullable=False),
    Column("last_tick_at", UtcDateTime),
    Column("last_outcome", String(20)),
    Column("last_good_at", UtcDateTime),
    Column("last_error", Text),
    Column("stale_since", UtcDateTime),
    CheckConstraint("NOT paused OR owner IS NULL", "paused"),
    Index("ix_flowstone_sensors_owner", "owner"),
)

schedules = Table(
    "flowstone_schedules",
    metadata,
    Column("name", _NAME, primary_key=True),
    Column("asset", _NAME, nullable=False),
    # The settings as they were written, not as they come out: defaults may change.
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

ticks = Table(
    "flowstone_ticks",
    metadata,
    Column("id", _Id, primary_key=True, autoincrement=True),
    Column("source", String(220), nullable=False),
    Column("outcome", String(20), nullable=False),
    Column("started_at", UtcDateTime, nullable=False),
    Column("finished_at", UtcDateTime, nullable=False),
    Column("events", Integer, nullable=False),
    Column("duplicates", Integer, nullable=False),
    Column("error", Text),
    Column("skipped", Integer, nullable=False, server_default=text("0")),
    Index("ix_flowstone_ticks_source", "source", "id"),
    sqlite_autoincrement=True,
)

# Partial indexes are written as texts, here and in the queries that need them: SQLite uses one
# only where it finds the very same condition, without a bound value.
PENDING = text("state = 'pending'")
STARTED = text("state IN ('running', 'retrying')")
CLAIMABLE = text("available_at IS NOT NULL")
HELD = text("token IS NOT NULL")
IN_LINE = text("after_id IS NOT NULL")
UNFINISHED = text("finished_at IS NULL")
REMEMBERED = text("NOT forgotten")

materializations = Table(
    "flowstone_materializations",
    metadata,
    Column("id", _Id, primary_key=True, autoincrement=True),
    Column("run_id", String(32), nullable=False),
    Column("asset", _NAME, nullable=False),
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
    # The materialization of the same schedule that has to end first.
    Column("after_id", _Id),
    CheckConstraint("(state = 'running') = (token IS NOT NULL)", "running"),
    CheckConstraint("available_at IS NULL OR state IN ('pending', 'retrying')", "available"),
    Index("uq_flowstone_materializations_run_id", "run_id", unique=True),
    # Events for a partition that has not started join the one that is pending; of one partition
    # at most one runs. That both hold is the database's doing.
    Index(
        "uq_flowstone_materializations_pending",
        "asset",
        "partition",
        unique=True,
        sqlite_where=PENDING,
        postgresql_where=PENDING,
    ),
    Index(
        "uq_flowstone_materializations_started",
        "asset",
        "partition",
        unique=True,
        sqlite_where=STARTED,
        postgresql_where=STARTED,
    ),
    Index(
        "uq_flowstone_materializations_token",
        "token",
        unique=True,
        sqlite_where=HELD,
        postgresql_where=HELD,
    ),
    Index(
        "ix_flowstone_materializations_available_at",
        "available_at",
        "id",
        sqlite_where=CLAIMABLE,
        postgresql_where=CLAIMABLE,
    ),
    # Finds how one partition stands without reading its history.
    Index(
        "ix_flowstone_materializations_partition",
        "asset",
        "partition",
        "state",
        "finished_at",
        "id",
    ),
    Index("ix_flowstone_materializations_state", "state", "id"),
    Index(
        "ix_flowstone_materializations_after_id",
        "after_id",
        sqlite_where=IN_LINE,
        postgresql_where=IN_LINE,
    ),
    Index("ix_flowstone_materializations_asset", "asset", "id"),
    sqlite_autoincrement=True,
)

events = Table(
    "flowstone_events",
    metadata,
    Column("id", _Id, primary_key=True, autoincrement=True),
    Column("source", String(220), nullable=False),
    Column("key", Text, nullable=False),
    Column("asset", _NAME, nullable=False),
    Column("partition", Text, nullable=False),
    Column("payload", Text),
    Column("created_at", UtcDateTime, nullable=False),
    Column(
        "materialization_id",
        _Id,
        ForeignKey(materializations.c.id, name="fk_flowstone_events_materialization"),
        nullable=False,
    ),
    Column("tick_id", _Id, ForeignKey(ticks.c.id, name="fk_flowstone_events_tick")),
    # A forgotten key may be used again; the event stays in the history under the key it had.
    Column("forgotten", Boolean, nullable=False, server_default=false()),
    Index(
        "uq_flowstone_events_key",
        "source",
        "key",
        unique=True,
        sqlite_where=REMEMBERED,
        postgresql_where=REMEMBERED,
    ),
    Index("ix_flowstone_events_source", "source", "id"),
    Index("ix_flowstone_events_asset", "asset", "id"),
    Index("ix_flowstone_events_materialization_id", "materialization_id"),
    Index("ix_flowstone_events_tick_id", "tick_id"),
    # Finds the keys that have been remembered for long enough.
    Index(
        "ix_flowstone_events_remembered",
        "source",
        "created_at",
        sqlite_where=REMEMBERED,
        postgresql_where=REMEMBERED,
    ),
    sqlite_autoincrement=True,
)

attempts = Table(
    "flowstone_attempts",
    metadata,
    Column(
        "materialization_id",
        _Id,
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
    Column("id", _Id, primary_key=True, autoincrement=True),
    # No foreign key: what was skipped stays known when the schedule is removed.
    Column("schedule", _NAME, nullable=False),
    Column("tick_id", _Id, ForeignKey(ticks.c.id, name="fk_flowstone_skips_tick"), nullable=False),
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
    Column("id", _Id, primary_key=True, autoincrement=True),
    Column("asset", _NAME, nullable=False),
    Column("first", Text, nullable=False),
    Column("last", Text, nullable=False),
    Column("every", String(200), nullable=False),
    Column("force", Boolean, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("finished_at", UtcDateTime),
    # The same command again goes on with what it began.
    Index(
        "uq_flowstone_backfills_unfinished",
        "asset",
        "first",
        "last",
        "every",
        "force",
        unique=True,
        sqlite_where=UNFINISHED,
        postgresql_where=UNFINISHED,
    ),
    sqlite_autoincrement=True,
)

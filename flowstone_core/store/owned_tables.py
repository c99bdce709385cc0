"""Tables of runners, and of the sensors and schedules that they own; `schema` has all tables."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Double,
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

from flowstone_core.store.column_types import NAME, UtcDateTime

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
    }
)


def partial_index(name: str, *columns: str, where: TextClause, unique: bool = False) -> Index:
    """Return an index of the rows that fulfil a condition."""
    return Index(name, *columns, unique=unique, sqlite_where=where, postgresql_where=where)


UNSTOPPED = text("stopped_at IS NULL")
"""Condition of a partial index: a text, as those of `schema`."""

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
    Column("role", String(20), nullable=False, server_default=text("'all'")),
    Column("engine", Text),
    Column("beat_at", UtcDateTime),
    # Seconds by which the process's clock is ahead of the store's.
    Column("clock_offset", Double),
    # The key of the advisory lock that the runner's session holds; its loss is a sign of death.
    Column("lock_key", BigInteger),
    # A digest of all that the runner is able to tick: runners with the same one share evenly.
    Column("workload", String(64)),
    partial_index("ix_flowstone_runners_unstopped", "lease_until", where=UNSTOPPED),
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

OWNED = (sensors, schedules)
"""The tables whose rows runners own."""

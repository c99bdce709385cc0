"""Time column: the meaning of a timestamp column, as ``flowstone check --connect`` judges it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from flowstone_db.config import DatabaseRowsConfig
from flowstone_db.cursor import KeyCheck
from flowstone_db.errors import CursorError
from flowstone_db.row_reader import one
from flowstone_db.statements import LABEL, RowStatements
from flowstone_db.timestamps import instant_of, timestamp_format
from flowstone_db.value import show_value

if TYPE_CHECKING:
    from sqlalchemy import Connection

# Types of a result by OID (PostgreSQL) and by number (MySQL); True for one without a zone.
_ZONE_LESS = {"postgresql": {1114: True, 1184: False}, "mysql": {12: True, 7: False}}
_DATES = {"postgresql": 1082, "mysql": 10}
_OTHER_ZONE = {
    "postgresql": "SET LOCAL TIME ZONE INTERVAL '+13:00' HOUR TO MINUTE",
    "mysql": "SET SESSION time_zone = '+13:00'",
}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SHIFT = timedelta(hours=1)
_STEPS = {
    "1d": ("whole days", timedelta(days=1)),
    "1h": ("whole hours", timedelta(hours=1)),
    **{f"{n}m": (f"steps of {n} minutes", timedelta(minutes=n)) for n in (30, 20, 15, 10, 5, 2)},
    "1m": ("whole minutes", timedelta(minutes=1)),
    **{f"{n}s": (f"steps of {n} seconds", timedelta(seconds=n)) for n in (30, 20, 15, 10)},
}
"""Steps of a column, each by the lag that spans it, the longest first."""

_SAMPLE = 20
_ENOUGH = 3
_AHEAD = timedelta(minutes=1)


def warnings(
    connection: Connection,
    statements: RowStatements,
    config: DatabaseRowsConfig,
    newest: object,
    now: datetime,
) -> Iterator[str]:
    """Yield what does not fit between the settings and the timestamp column.

    Args:
        connection: The connection, in a transaction.
        statements: The statements of the table or query.
        config: The settings, with a timestamp column.
        newest: The greatest value of the column; None for an empty table.
        now: The time of the database.

    Raises:
        CursorError: If the column is a date, or its values are not all timestamps of one form.
    """
    name = str(config.timestamp_column)
    zone_less = _zone_less(connection, statements, config, newest)
    if zone_less and "timezone" not in config.model_fields_set:
        yield (
            f"{name} has no time zone and is read as UTC "
            "(set timezone to the zone of its times, or to UTC)"
        )
    if newest is None:
        return
    step = _step(connection, statements, KeyCheck(config.keys, by_timestamp=True))
    if step is not None and config.mode == "timestamp" and config.lag < _STEPS[step][1]:
        yield (
            f"{name} holds {_STEPS[step][0]}: a row that comes later in the same one is not found "
            f"(set lag = {step}, or use mode timestamp_incrementing)"
        )
    if zone_less and _by_session(connection, statements, config, newest):
        yield (
            f"{name} is converted by the zone of the session, which is not timezone "
            f"(select the column itself, or convert it to {config.timezone} in the query)"
        )
    ahead = instant_of(newest, ZoneInfo(config.timezone)) - now
    if ahead > _AHEAD:
        hours = ahead.total_seconds() / 3600
        yield (
            f"the greatest {name}, {show_value(newest)}, is {hours:,.1f} hours ahead of the "
            "database's clock, and read only then "
            "(set timezone to the zone of its times, or correct the row)"
        )


def _backend(config: DatabaseRowsConfig) -> str:
    backend = config.database_url().backend
    return "mysql" if backend == "mariadb" else backend


def _zone_less(
    connection: Connection, statements: RowStatements, config: DatabaseRowsConfig, newest: object
) -> bool:
    result: Any = connection.execute(statements.nothing())
    types = {column[0]: column[1] for column in result.cursor.description}
    kind = types[f"{LABEL}0"]
    result.close()
    backend = _backend(config)
    if kind is not None and kind == _DATES.get(backend):
        raise CursorError(
            f"column {config.timestamp_column!r:.80} is a date, which has no time: rows of later "
            "that day would not be found",
            hint="select a timestamp, or use mode incrementing",
        )
    known = _ZONE_LESS.get(backend, {}).get(kind)
    if known is None and newest is not None:
        return not timestamp_format(newest).has_zone
    return bool(known)


def _step(connection: Connection, statements: RowStatements, check: KeyCheck) -> str | None:
    """Return the longest step that all of the greatest values of a column keep to, as a lag.

    Raises:
        CursorError: If one of them is not a timestamp, or is written in another way.
    """
    query = statements.greatest(_SAMPLE)
    values = connection.execute(query, execution_options={"stream_results": True}).scalars().all()
    for value in values:
        check.check((value,))
    if len(values) < _ENOUGH:
        return None
    ages = [instant_of(value, UTC) - _EPOCH for value in values]
    for step, (_, length) in _STEPS.items():
        if all(age % length == timedelta(0) for age in ages):
            return step
    return None


def _by_session(
    connection: Connection, statements: RowStatements, config: DatabaseRowsConfig, newest: object
) -> bool:
    """Return True if a value without a zone depends on the zone of the session."""
    statement = _OTHER_ZONE.get(_backend(config))
    if statement is None or (_backend(config) == "mysql" and config.timezone == "UTC"):
        return False
    connection.exec_driver_sql(statement)
    found = one(connection, statements.newest())
    zone = ZoneInfo("UTC")
    return (
        found is not None and abs(instant_of(found[0], zone) - instant_of(newest, zone)) >= _SHIFT
    )

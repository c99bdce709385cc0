"""PostgreSQL sessions: their connection options, the settings of each transaction, the encoding.

A connection pooler in transaction mode, such as PgBouncer, gives each transaction another session.
So nothing may outlast a transaction: there are no prepared statements, and the settings are set
with ``SET LOCAL``, together with ``BEGIN`` in one round trip. The start-up option ``options`` is
not used, because PgBouncer refuses it.
"""

from __future__ import annotations

import os
import socket
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Any, cast

from sqlalchemy import URL, Connection

from flowstone_core.errors import StoreError
from flowstone_core.model.clock import SystemClock
from flowstone_core.store.store_url import masked

if TYPE_CHECKING:
    import psycopg
    from psycopg.abc import RV, Buffer, PQGen

SETTINGS = {
    # A session whose client has vanished in a transaction keeps its locks until the server sees
    # that the connection is dead: by default after two hours.
    "idle_in_transaction_session_timeout": "10s",
    "statement_timeout": "30s",
    # What is read does not depend on the settings of the server, the database or the role.
    "datestyle": "ISO",
    "intervalstyle": "postgres",
    "timezone": "UTC",
    "standard_conforming_strings": "on",
}
"""Settings of each transaction. ``options=-c name=value`` in the URL overrides a time-out."""

CONNECT = {
    "connect_timeout": "5",
    # Ends a connection whose peer is gone within ten seconds: an idle one by keep-alives, and one
    # with data that nobody acknowledges by the user time-out (in milliseconds).
    "keepalives_idle": "5",
    "keepalives_interval": "2",
    "keepalives_count": "2",
    "tcp_user_timeout": "10000",
}
"""Connection options of libpq; a query in the URL overrides each."""

ANSWER_SECONDS = 35.0
"""Most seconds that a statement is waited for: a little more than its limit on the server.

A pooler or a proxy that lives acknowledges and keeps a connection alive, although nothing behind
it answers: then only this limit ends a statement.
"""


def connect_args(url: URL) -> dict[str, str | None]:
    """Return the arguments of a connection, besides those of the URL."""
    # PostgreSQL cuts the name after 63 bytes; pg_stat_activity shows it beside each session.
    named = {"application_name": f"flowstone:{os.getpid()}@{socket.gethostname()}"}
    chosen: dict[str, str | None] = {
        key: value for key, value in (named | CONNECT).items() if key not in url.query
    }
    return chosen | {"client_encoding": "utf8", "prepare_threshold": None}


@cache
def connection_class() -> type[psycopg.Connection]:
    """Return the class of connections that do not wait for ever for an answer.

    The limit of a transaction is the attribute ``answer_seconds``; None for none.
    """
    import psycopg

    class PatientConnection(psycopg.Connection):
        answer_seconds: float | None = None

        def wait(self, gen: PQGen[RV], *args: Any, **options: Any) -> RV:
            limit = self.answer_seconds
            limited = gen if limit is None else self._limited(gen, limit)
            return super().wait(limited, *args, **options)

        def _limited(self, gen: PQGen[RV], limit: float) -> PQGen[RV]:
            clock = SystemClock()
            end = clock.monotonic() + limit
            try:
                wanted = next(gen)
                while True:
                    ready = yield wanted  # none ten times a second, from psycopg 3.3 on
                    if not ready and clock.monotonic() > end:
                        self.close()  # the answer may still come: nobody may read it later
                        raise psycopg.OperationalError(f"no answer: timed out after {limit:.0f}s")
                    wanted = gen.send(ready)
            except StopIteration as ended:
                return cast("RV", ended.value)

    return PatientConnection


def begin_statement(url: URL) -> str:
    """Return the statement that begins a transaction with our settings."""
    options = str(url.query.get("options", ""))
    settings = (
        f"SET LOCAL {name} = '{value}'"
        for name, value in SETTINGS.items()
        if not (name.endswith("_timeout") and name in options)
    )
    return "; ".join(("BEGIN ISOLATION LEVEL READ COMMITTED", *settings))


def answer_limit(url: URL) -> float | None:
    """Return the seconds that a statement is waited for; None if the URL sets its limit."""
    return None if "statement_timeout" in str(url.query.get("options", "")) else ANSWER_SECONDS


def limit_answers(connection: Connection, seconds: float | None) -> None:
    """Set the seconds that each statement of a connection is waited for."""
    connection.connection.dbapi_connection.answer_seconds = seconds  # type: ignore[union-attr]  # ours


def read_any_instant(connection: psycopg.Connection) -> None:
    """Let a connection return an instant that Python cannot hold as a text.

    PostgreSQL has instants such as ``infinity``; the driver's error would stop the whole query.
    """
    from psycopg import DataError
    from psycopg.types.datetime import TimestamptzLoader

    class Loader(TimestamptzLoader):
        def load(self, data: Buffer) -> datetime:
            try:
                return super().load(data)
            except DataError:  # infinity, -infinity, before the year 1 or after 9999
                return cast("datetime", bytes(data).decode())

    connection.adapters.register_loader("timestamptz", Loader)


def allow_long_statements(connection: Connection) -> None:
    """Lift the time limit of statements for the rest of a transaction; does nothing on SQLite."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
        limit_answers(connection, None)


def allow_long_transactions(connection: Connection) -> None:
    """Lift the time limits of the rest of a transaction; does nothing on SQLite."""
    if connection.dialect.name == "postgresql":
        allow_long_statements(connection)
        connection.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = 0")


def check_encoding(connection: Connection, url: URL) -> None:
    """Check that a database can hold every text; does nothing on SQLite.

    Raises:
        StoreError: If its encoding is not UTF-8.
    """
    if connection.dialect.name != "postgresql":
        return
    found = str(connection.exec_driver_sql("SHOW server_encoding").scalar())
    if found != "UTF8":
        raise StoreError(
            f"invalid encoding {found} of the database {masked(url)}: must be UTF8",
            hint="create another one: createdb --encoding=UTF8 --template=template0 "
            f"{url.database or 'NAME'}",
        )

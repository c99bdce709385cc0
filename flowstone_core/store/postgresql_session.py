"""PostgreSQL sessions: their connection options, the settings of each transaction, the encoding.

A connection pooler in transaction mode, such as PgBouncer, gives each transaction another session.
So nothing may outlast a transaction: there are no prepared statements, and the settings are set
with ``SET LOCAL``, together with ``BEGIN`` in one round trip. The start-up option ``options`` is
not used, because PgBouncer refuses it.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, cast

from sqlalchemy import URL, Connection

from flowstone_core.errors import StoreError
from flowstone_core.store.store_url import masked

if TYPE_CHECKING:
    import psycopg
    from psycopg.abc import Buffer

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
    "application_name": "flowstone",
    "connect_timeout": "10",
    # Ends a connection whose peer is gone: an idle one by keep-alives, and one with data that
    # nobody acknowledges by the user time-out (in milliseconds), when no keep-alives are sent.
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "2",
    "tcp_user_timeout": "20000",
}
"""Connection options of libpq; a query in the URL overrides each."""


def connect_args(url: URL) -> dict[str, str | None]:
    """Return the arguments of a connection, besides those of the URL."""
    chosen: dict[str, str | None] = {
        key: value for key, value in CONNECT.items() if key not in url.query
    }
    return chosen | {"client_encoding": "utf8", "prepare_threshold": None}


def begin_statement(url: URL) -> str:
    """Return the statement that begins a transaction with our settings."""
    options = str(url.query.get("options", ""))
    settings = (
        f"SET LOCAL {name} = '{value}'" for name, value in SETTINGS.items() if name not in options
    )
    return "; ".join(("BEGIN ISOLATION LEVEL READ COMMITTED", *settings))


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
            except (DataError, NotImplementedError, ValueError):
                return cast("datetime", bytes(data).decode())

    connection.adapters.register_loader("timestamptz", Loader)


def allow_long_statements(connection: Connection) -> None:
    """Lift the time limit of statements for the rest of a transaction; does nothing on SQLite."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("SET LOCAL statement_timeout = 0")


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

"""Schema migration: refuse a store with an unknown revision, and upgrade an older one."""

from __future__ import annotations

import threading

from sqlalchemy import Connection, column, func, inspect, select, table

from flowstone_core.errors import StoreError, StoreUnavailableError
from flowstone_core.model.entry_point_guard import hidden_group
from flowstone_core.store import sqlite_file
from flowstone_core.store.database import Database
from flowstone_core.store.driver_errors import diagnosis_of
from flowstone_core.store.postgresql_session import allow_long_statements, check_encoding
from flowstone_core.store.schema import APPLICATION_ID, VERSION_TABLE

HEAD = "0007"
"""The newest revision. Revisions are numbered in their order."""

_alembic = threading.Lock()
"""Alembic keeps the current migration in module globals: one at a time in a process."""


def prepare(database: Database, *, migrate: bool | None) -> None:
    """Check a store's revision; create or upgrade the schema where that is wanted.

    Args:
        database: The store.
        migrate: None creates and upgrades SQLite files, and leaves PostgreSQL to an operator.

    Raises:
        StoreError: If the store is refused; nothing was changed.
    """
    found = _inspect(database)
    if found == HEAD:
        return
    if migrate is None:
        migrate = database.is_sqlite
    if not migrate:
        has = "has no schema yet" if found is None else f"has schema revision {found}"
        raise StoreError(
            f"the store {database.display} {has}; this version of FlowStone needs {HEAD}",
            hint="run: flowstone db upgrade",
        )
    _migrate(database)


def upgrade(database: Database) -> tuple[str | None, str]:
    """Apply the migrations that are missing.

    Several processes may call this at once: one migrates, the others wait.

    Returns:
        The revision before (None for a new store) and after.

    Raises:
        StoreError: If the database is not a FlowStone store, or is newer; nothing was changed.
    """
    _inspect(database)
    return _migrate(database), HEAD


def _inspect(database: Database) -> str | None:
    """Return the revision of a store that FlowStone may change."""
    path = database.file
    if path is None:
        _check_session(database)
        found = database.read(revision)
    else:
        with database.errors():
            found = sqlite_file.inspect(path)
    _refuse_newer(database.display, found)
    return found


def _check_session(database: Database) -> None:
    """Refuse a database that waiting does not mend: misconfigured, or in another encoding."""
    try:
        database.read(check_encoding, database.url)
    except StoreUnavailableError as error:
        found = diagnosis_of(error)
        if found is None or not found.misconfigured:
            raise
        raise StoreError(error.message, hint=error.hint) from error.__cause__


def _migrate(database: Database) -> str | None:
    """Create or upgrade a store; return the revision before."""
    path = database.file
    if path is not None and not path.exists():
        with sqlite_file.draft(path) as draft:
            made = Database(database.url.set(database=str(draft)))
            try:
                made.write(_apply, database.display)
            finally:
                made.close()
            if sqlite_file.publish(draft, path):
                return None
    return database.write(_apply, database.display)


def _apply(connection: Connection, display: str) -> str | None:
    """Migrate in the caller's transaction, under a lock; return the revision before."""
    if connection.dialect.name == "postgresql":
        allow_long_statements(connection)
        connection.execute(select(func.pg_advisory_xact_lock(APPLICATION_ID)))
    before = revision(connection)
    _refuse_newer(display, before)
    if before != HEAD:
        with _alembic, hidden_group("alembic.plugins"):
            from alembic import command
            from alembic.config import Config

            config = Config(attributes={"connection": connection})
            config.set_main_option("script_location", "flowstone_core.store:migrations")
            command.upgrade(config, HEAD)
    return before


def revision(connection: Connection) -> str | None:
    """Return the schema's revision; None if there is no schema."""
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    return connection.scalar(select(column("version_num")).select_from(table(VERSION_TABLE)))


def _refuse_newer(display: str, found: str | None) -> None:
    if found is not None and found > HEAD:
        raise StoreError(
            f"the store {display} has schema revision {found}; "
            f"this version of FlowStone knows those up to {HEAD}",
            hint="use the version of FlowStone that upgraded it, or a later one",
        )

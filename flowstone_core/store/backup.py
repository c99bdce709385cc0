"""A backup of an SQLite store: a copy of one moment, made while others write."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast

from sqlalchemy import Connection

from flowstone_core.errors import ConflictError, StoreError
from flowstone_core.store import sqlite_file
from flowstone_core.store.database import Database

STEP = 1_000
"""Pages that are copied before a signal is looked for."""

_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


@dataclass(frozen=True, slots=True)
class Backup:
    """A copy that was made.

    Attributes:
        path: The file; only its owner can read it.
        size: Its bytes.
        revision: Of the schema, which is the store's.
    """

    path: Path
    size: int
    revision: str


def back_up(database: Database, path: Path, *, overwrite: bool) -> Backup:
    """Copy a store to a file that appears when the copy is whole and has been checked.

    The store is not migrated, and nobody has to wait: writers go on meanwhile, and what they
    write is not in the copy.

    Args:
        database: The store.
        path: The file.
        overwrite: Whether to replace it if it is there.

    Raises:
        ConflictError: If the file is there, is the store's own, or has another one's log beside
            it; nothing was touched.
        StoreError: If the store is none, is not in an SQLite file, is damaged, or the file
            cannot be made.
    """
    source = source_of(database)
    path = path.absolute()
    _refuse(source, path, overwrite=overwrite)
    with _draft(path) as draft:
        database.read(_copy, draft, path)
        _check(draft)
        revision = sqlite_file.inspect(draft)
        if revision is None:
            raise StoreError(f"the store {database.display} has no schema yet")
        size = draft.stat().st_size
        _publish(draft, path, overwrite=overwrite)
    return Backup(path, size, revision)


def source_of(database: Database) -> Path:
    """Return the file of a store that is there.

    Raises:
        StoreError: If the store is not in an SQLite file, or there is none of ours.
    """
    if not database.is_sqlite:
        raise StoreError(
            f"the store {database.display} is in PostgreSQL, which has its own tools for that",
            hint="use pg_dump",
        )
    if database.file is None:
        raise StoreError("a store in memory cannot be backed up: no other process sees it")
    with database.errors():
        if sqlite_file.inspect(database.file) is None:
            raise StoreError(f"there is no store {database.display} yet")
    return database.file


def _refuse(source: Path, path: Path, *, overwrite: bool) -> None:
    folder = path.parent
    if not folder.is_dir():
        raise StoreError(f"the folder of {path} does not exist", hint=f"make it: mkdir -p {folder}")
    if path.is_dir():
        raise ConflictError(f"{path} is a folder, not a file")
    if path.exists() and path.samefile(source):
        raise ConflictError(f"{path} is the store itself", hint="give the backup another name")
    if not overwrite and os.path.lexists(path):
        raise _exists(path)
    for log in (Path(f"{path}-wal"), Path(f"{path}-journal")):
        # SQLite would take it for this file's, and play it back into it.
        if log.exists():
            raise ConflictError(
                f"{log} is beside {path}: it is a database in use, or was once",
                hint="give the backup another name",
            )


def _exists(path: Path) -> ConflictError:
    return ConflictError(
        f"{path} is there already; it was not touched", hint="--force overwrites it"
    )


@contextmanager
def _draft(path: Path) -> Iterator[Path]:
    """Hand out where to make the copy; beside it, so that it can be moved into place at once."""
    try:
        folder = TemporaryDirectory(prefix=".flowstone-", dir=path.parent)
    except OSError as error:
        raise StoreError(f"the backup {path} cannot be made: {error.strerror}") from None
    with folder as name:
        made = Path(name, path.name)
        made.touch(mode=0o600)
        yield made


def _copy(connection: Connection, draft: Path, path: Path) -> None:
    # Read first: what this transaction sees then is what is copied, whatever is written meanwhile.
    connection.exec_driver_sql("SELECT count(*) FROM sqlite_master").scalar()
    source = cast("sqlite3.Connection", connection.connection.dbapi_connection)
    try:
        with closing(sqlite3.connect(draft)) as copy:
            source.backup(copy, pages=STEP)
            # One file is all there is of it, which can be read where nothing can be written.
            copy.execute("PRAGMA journal_mode = DELETE")
    except sqlite3.Error as error:
        if error.sqlite_errorcode & 0xFF in _DAMAGED:
            raise
        raise StoreError(f"the backup {path} cannot be made: {error}") from error


def _check(draft: Path) -> None:
    with closing(sqlite3.connect(draft)) as copy:
        found = [row[0] for row in copy.execute("PRAGMA integrity_check(3)")]
    if found != ["ok"]:
        raise StoreError(
            f"the copy is not sound, and was not kept: {'; '.join(found)}",
            hint="flowstone db check says more of the store",
        )


def _publish(draft: Path, path: Path, *, overwrite: bool) -> None:
    try:
        if overwrite:
            draft.replace(path)
        else:
            _link(draft, path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise StoreError(f"the backup {path} cannot be made: {error.strerror}") from None


def _link(draft: Path, path: Path) -> None:
    """Let the copy appear at its path, unless something has appeared there meanwhile."""
    try:
        path.hardlink_to(draft)
    except FileExistsError:
        raise _exists(path) from None
    except OSError:  # the file system has no hard links
        if path.exists():
            raise _exists(path) from None
        draft.replace(path)

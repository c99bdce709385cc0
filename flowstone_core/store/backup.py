"""Backup: copies an SQLite store as of one instant, while it is in use."""

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
"""Pages copied between two checks for signals."""

_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


@dataclass(frozen=True, slots=True)
class Backup:
    """A backup.

    Attributes:
        path: The file; only its owner can read it.
        size: Its size in bytes.
        revision: The schema revision, which is the store's.
    """

    path: Path
    size: int
    revision: str


def back_up(database: Database, path: Path, *, overwrite: bool) -> Backup:
    """Copy a store to a file, which appears once the copy is complete and checked.

    The store is not migrated. Writers continue; rows written meanwhile are not in the copy.

    Args:
        database: The store.
        path: The file.
        overwrite: Replace an existing file.

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
    """Return the file of an existing store.

    Raises:
        StoreError: If the store is not in an SQLite file, or the file is not a FlowStone store.
    """
    if not database.is_sqlite:
        raise StoreError(
            f"cannot back up the store {database.display}: must be in an SQLite file",
            hint="use pg_dump",
        )
    if database.file is None:
        raise StoreError("cannot back up a store in memory: only its own process sees it")
    with database.errors():
        if sqlite_file.inspect(database.file) is None:
            raise StoreError(f"store not found: {database.display}")
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
        # SQLite would replay the log into the backup.
        if log.exists():
            raise ConflictError(
                f"{log} exists: {path} is a database in use, or was once",
                hint="give the backup another name",
            )


def _exists(path: Path) -> ConflictError:
    return ConflictError(f"{path} already exists; it was not changed", hint="--force overwrites it")


@contextmanager
def _draft(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside the backup, so that the copy can be moved atomically."""
    try:
        folder = TemporaryDirectory(prefix=".flowstone-", dir=path.parent)
    except OSError as error:
        raise StoreError(f"cannot write the backup {path}: {error.strerror}") from None
    with folder as name:
        made = Path(name, path.name)
        made.touch(mode=0o600)
        yield made


def _copy(connection: Connection, draft: Path, path: Path) -> None:
    # The first read fixes the snapshot that is copied, whatever is written meanwhile.
    connection.exec_driver_sql("SELECT count(*) FROM sqlite_master").scalar()
    source = cast("sqlite3.Connection", connection.connection.dbapi_connection)
    try:
        with closing(sqlite3.connect(draft)) as copy:
            source.backup(copy, pages=STEP)
            # Without WAL the copy is one file, readable in a read-only folder.
            copy.execute("PRAGMA journal_mode = DELETE")
    except sqlite3.Error as error:
        if error.sqlite_errorcode & 0xFF in _DAMAGED:
            raise
        raise StoreError(f"cannot write the backup {path}: {error}") from error


def _check(draft: Path) -> None:
    with closing(sqlite3.connect(draft)) as copy:
        found = [row[0] for row in copy.execute("PRAGMA integrity_check(3)")]
    if found != ["ok"]:
        raise StoreError(
            f"backup discarded: the copy failed its integrity check: {'; '.join(found)}",
            hint="check the store with: flowstone db check",
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
        raise StoreError(f"cannot write the backup {path}: {error.strerror}") from None


def _link(draft: Path, path: Path) -> None:
    """Publish the copy at its path, unless a file has appeared there meanwhile."""
    try:
        path.hardlink_to(draft)
    except FileExistsError:
        raise _exists(path) from None
    except OSError:  # the file system has no hard links
        if path.exists():
            raise _exists(path) from None
        draft.replace(path)

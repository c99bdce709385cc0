"""An SQLite file before it is used as a store: whether it can be, and whether it is ours."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from flowstone_core.errors import StoreError
from flowstone_core.store.schema import APPLICATION_ID, VERSION_TABLE


def inspect(path: Path) -> str | None:
    """Return the schema revision of a file, having only read it.

    Returns:
        None if there is no file yet, or an empty one.

    Raises:
        StoreError: If it cannot be written, or is not a store of ours.
        sqlite3.Error: If it is damaged, or no database at all.
    """
    _check_access(path)
    if not path.exists() or path.stat().st_size == 0:
        return None
    # Opened for reading, SQLite leaves even the write-ahead log of another program alone.
    uri = f"file:{quote(str(path.absolute()))}?mode=ro"
    with closing(sqlite3.connect(uri, uri=True)) as connection:
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        query = "SELECT name FROM sqlite_master WHERE type = 'table'"
        tables = {name for (name,) in connection.execute(query)}
        if application == APPLICATION_ID and VERSION_TABLE in tables:
            (revision,) = connection.execute(f"SELECT version_num FROM {VERSION_TABLE}").fetchone()  # noqa: S608 - a constant
            return str(revision)
        if application or tables:
            some = ", ".join(sorted(tables)[:3]) or "none"
            raise StoreError(
                f"{path} is the database of another program (its tables: {some}); "
                "it was not touched",
                hint="give the store a file of its own",
            )
    return None


def create(path: Path) -> None:
    """Make an empty file that only its owner can read, if there is none."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except FileExistsError:
        return
    except OSError as error:
        raise StoreError(f"the store {path} cannot be made: {error.strerror}") from None


def _check_access(path: Path) -> None:
    folder = path.absolute().parent
    if path.is_dir():
        raise StoreError(f"the store {path} is a folder, not a file")
    if not folder.is_dir():
        raise StoreError(
            f"the folder of the store {path} does not exist", hint=f"make it: mkdir -p {folder}"
        )
    for place, what in ((path, "file"), (folder, "folder")):
        if place.exists() and not os.access(place, os.R_OK | os.W_OK):
            raise StoreError(
                f"the {what} {place} cannot be written, and the store needs it to be",
                hint="SQLite keeps its log beside the file: both must be writable",
            )

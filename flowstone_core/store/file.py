"""An SQLite file before it is used as a store: whether it can be, and whether it is ours."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from flowstone_core.errors import StoreError
from flowstone_core.store.schema import APPLICATION_ID, VERSION_TABLE

_MAGIC = b"SQLite format 3\0"


def inspect(path: Path) -> str | None:
    """Return the schema revision of a file, and leave it and its folder as they are.

    Returns:
        None if there is no file yet, or an empty one.

    Raises:
        StoreError: If it cannot be written, or is not a store of ours.
        sqlite3.Error: If it is damaged.
    """
    _check_access(path)
    if not path.exists() or path.stat().st_size == 0:
        return None
    with path.open("rb") as file:
        # SQLite itself takes a file of a few bytes for an empty database, and overwrites it.
        if file.read(len(_MAGIC)) != _MAGIC:
            raise StoreError(
                f"the store {path} is not an SQLite database; it was not touched",
                hint="give the store another file",
            )
    # As if the file could not change, SQLite makes no files of its own beside it. That holds
    # only as long as nobody is at it; then there is a log, which has to be read too.
    if not _has_log(path):
        try:
            return _read(path, "mode=ro&immutable=1")
        except sqlite3.Error:
            if not _has_log(path):
                raise
    return _read(path, "mode=ro")


def create(path: Path) -> None:
    """Make an empty file that only its owner can read, if there is none.

    Raises:
        StoreError: If it cannot be made.
    """
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except FileExistsError:
        return
    except OSError as error:
        raise StoreError(f"the store {path} cannot be made: {error.strerror}") from None


def _read(path: Path, options: str) -> str | None:
    uri = f"file:{quote(str(path.absolute()))}?{options}"
    with closing(sqlite3.connect(uri, uri=True)) as connection:
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        query = "SELECT name FROM sqlite_master WHERE type = 'table'"
        tables = {name for (name,) in connection.execute(query)}
        if application == APPLICATION_ID and VERSION_TABLE in tables:
            query = f"SELECT max(version_num) FROM {VERSION_TABLE}"  # noqa: S608 - a constant
            (revision,) = connection.execute(query).fetchone()
            return None if revision is None else str(revision)
    if application or tables:
        some = ", ".join(sorted(tables)[:3]) or "none"
        raise StoreError(
            f"{path} is the database of another program (its tables: {some}); it was not touched",
            hint="give the store a file of its own",
        )
    return None


def _has_log(path: Path) -> bool:
    return any(Path(f"{path}{suffix}").exists() for suffix in ("-wal", "-journal"))


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

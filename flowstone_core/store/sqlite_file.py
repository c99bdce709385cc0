"""SQLite files: checks before a file is used as a store, and creation of a new one."""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import quote

from flowstone_core.errors import StoreError
from flowstone_core.store.schema import APPLICATION_ID, VERSION_TABLE

_LOGS = ("-wal", "-journal")
_REMOTE = {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "fuse.sshfs", "lustre"}
_OCTAL = re.compile(r"\\([0-7]{3})")
_SMALLEST = 512
"""The size of the smallest database in bytes: one page."""


def inspect(path: Path) -> str | None:
    """Return the schema revision of a file, leaving the file and its folder unchanged.

    Only SQLite opens the file: if this process uses the file already, closing any other handle
    would release SQLite's locks (POSIX advisory locks, sqlite.org/howtocorrupt.html).

    Returns:
        None if there is no file yet, or an empty one.

    Raises:
        StoreError: If the file cannot be written, is not a FlowStone store, or only its log exists.
        sqlite3.Error: If the file is damaged.
    """
    _check_access(path)
    _check_logs(path)
    if not path.exists() or path.stat().st_size == 0:
        return None
    if path.stat().st_size < _SMALLEST:
        # SQLite would treat the file as an empty database, and overwrite it.
        raise StoreError(
            f"the store {path} is not an SQLite database; it was not touched",
            hint="give the store another file",
        )
    # With immutable=1 SQLite creates no files beside this one. The option is valid only while no
    # process writes; a writer leaves a log, which has to be read too.
    untouched = _stamp(path)
    if untouched is not None:
        try:
            return _read(path, "mode=ro&immutable=1")
        except (sqlite3.Error, StoreError):
            if _stamp(path) == untouched:
                raise
    return _read(path, "mode=ro")


def remote_kind(path: Path, mounts: Path = Path("/proc/self/mountinfo")) -> str | None:
    """Return the kind of network file system that holds a file; None if none is known.

    SQLite's log in WAL mode works among the processes of one machine only, and its locks do not
    hold on many of these (sqlite.org/wal.html, sqlite.org/howtocorrupt.html).

    Args:
        path: The file.
        mounts: The list of mounts, in the format of mountinfo in proc(5).
    """
    try:
        lines = mounts.read_text(errors="surrogateescape").splitlines()
    except OSError:
        return None
    place = path.absolute().parent
    found: tuple[int, str] = 0, ""
    for line in lines:
        described, _, device = line.partition(" - ")
        mounted = _OCTAL.sub(lambda match: chr(int(match[1], 8)), described.split(" ")[4])
        # Of several mounts in one place, the last one is visible.
        if place.is_relative_to(mounted) and len(mounted) >= found[0]:
            found = len(mounted), device.split(" ")[0]
    return found[1] if found[1] in _REMOTE else None


@contextmanager
def draft(path: Path) -> Iterator[Path]:
    """Yield the path of a temporary file for a new store, deleted at the end of the context.

    Only its owner can read the file.

    Raises:
        StoreError: If the folder cannot be written.
    """
    try:
        folder = TemporaryDirectory(prefix=".flowstone-", dir=path.absolute().parent)
    except OSError as error:
        raise StoreError(f"cannot create the store {path}: {error.strerror}") from None
    with folder as name:
        made = Path(name, path.name)
        made.touch(mode=0o600)
        yield made


def publish(made: Path, path: Path) -> bool:
    """Publish a draft at its path atomically.

    Returns:
        False if another process was first, or the file system has no hard links; then there is
        at least an empty file, to be filled in place.
    """
    try:
        path.hardlink_to(made)
    except FileExistsError:
        return False
    except OSError:
        path.touch(mode=0o600)
        return False
    return True


def _read(path: Path, options: str) -> str | None:
    uri = f"file:{quote(str(path.absolute()))}?{options}"
    with closing(sqlite3.connect(uri, uri=True, isolation_level=None)) as connection:
        connection.execute("BEGIN")  # another process may be creating the store
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
            hint="give the store another file",
        )
    return None


def _stamp(path: Path) -> tuple[int, int] | None:
    """Return the size and time of a file; None if SQLite's log exists beside it."""
    if any(Path(f"{path}{suffix}").exists() for suffix in _LOGS):
        return None
    found = path.stat()
    return found.st_size, found.st_mtime_ns


def _check_logs(path: Path) -> None:
    """Refuse a store whose file is missing and whose log is not.

    SQLite would replay the log of the old file into the new one, and corrupt it silently
    (sqlite.org/howtocorrupt.html, section 1.4). Beside an empty file it deletes the log itself.
    """
    logs = [log for suffix in _LOGS if (log := Path(f"{path}{suffix}")).exists()]
    if logs and not path.exists():
        raise StoreError(
            f"the store {path} is not there, and its log {logs[0]} is: the file was deleted or "
            "moved without its log; nothing was changed",
            hint="stop its runners; then put the file back, or keep the log elsewhere and start a "
            f"new store: mv {logs[0]} {logs[0]}.old",
        )


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
                f"cannot write the {what} {place} of the store",
                hint="SQLite keeps its log beside the file: both must be writable",
            )

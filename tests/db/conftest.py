"""Real databases: files of SQLite, databases on servers of PostgreSQL and MariaDB; and sensors."""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
from flowstone_db import DatabaseRows, PostgresNotify

from flowstone_core import PollContext, Sensor
from flowstone_core.model.clock import SystemClock

START = datetime(2025, 1, 15, 12, 0, 30, tzinfo=UTC)


class SetClock(SystemClock):
    """A clock that stands where it is set; its seconds pass by being asked for."""

    def __init__(self) -> None:
        self.time = START
        self.seconds = 0.0
        self.step = 0.0

    def now(self) -> datetime:
        return self.time

    def monotonic(self) -> float:
        self.seconds += self.step
        return self.seconds


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.fixture
def make_sensor(clock: SetClock) -> Iterator[Callable[..., Any]]:
    """Make sensors; what they hold is closed after the test."""
    made: list[Any] = []

    def make(kind: type[Sensor[Any, Any]], **options: Any) -> Any:
        config = kind.Config.model_validate(options)
        made.append(kind(config, PollContext(clock=clock)))
        return made[-1]

    yield make
    for sensor in made:
        sensor.cleanup()


class SqliteFile:
    """A file, and somebody else's connection to it."""

    kind = "sqlite"
    mark = "?"

    def __init__(self, path: Path) -> None:
        self.path = path
        self.url = f"sqlite:///{path}"
        self.connection = sqlite3.connect(path, isolation_level=None)

    def execute(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        return self.connection.execute(statement, values).fetchall()

    def end_sessions(self) -> None:
        """There is no server."""


@pytest.fixture
def sqlite_file(tmp_path: Path) -> Iterator[SqliteFile]:
    file = SqliteFile(tmp_path / "a shop.db")
    yield file
    file.connection.close()


class PostgresqlDatabase:
    """A database of one test, and somebody else's connections to it."""

    kind = "postgresql"
    mark = "%s"

    def __init__(self, url: str) -> None:
        self.url = url
        self.connection = self.connect(autocommit=True)

    def connect(self, *, autocommit: bool = False) -> psycopg.Connection[Any]:
        return psycopg.connect(self.url, autocommit=autocommit)

    def execute(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        cursor = self.connection.execute(statement, values or None)
        return cursor.fetchall() if cursor.description else []

    def end_sessions(self) -> None:
        """End the connections of sensors, and wait until they have ended."""
        self.execute(
            "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity "
            "WHERE application_name = 'flowstone' AND datname = current_database()"
        )


@pytest.fixture
def postgresql_database(postgresql: Any) -> Iterator[PostgresqlDatabase]:
    with postgresql.database() as url:
        database = PostgresqlDatabase(url)
        yield database
        database.connection.close()


class MariadbServer:
    """A server of its own with one database, reached by a socket; and who is root there."""

    kind = "mariadb"
    mark = "%s"

    SCRIPTS = ("system_tables", "performance_tables", "system_tables_data")

    def __init__(self, binary: str, folder: Path) -> None:
        self.folder = folder
        self.socket = folder / "s"
        (folder / "data").mkdir()
        # Its temporary files beside its data: the user nobody may not write into TMPDIR.
        self._command = [binary, "--no-defaults", f"--tmpdir={folder}"]
        self._command.append(f"--datadir={folder / 'data'}")
        if os.geteuid() == 0:
            # The server refuses to run as root.
            self._command.append("--user=nobody")
            folder.chmod(0o755)
            for path in (folder, folder / "data"):
                shutil.chown(path, "nobody")
        self._bootstrap()
        self._start()
        self.url = f"mariadb://root@localhost/shop?unix_socket={self.socket}"
        self.connection = self.connect()

    def connect(self, *, autocommit: bool = True) -> Any:
        import pymysql

        return pymysql.connect(
            unix_socket=str(self.socket), user="root", database="shop", autocommit=autocommit
        )

    def execute(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        with self.connection.cursor() as cursor:
            cursor.execute(statement, values or None)
            return list(cursor.fetchall())

    def empty(self) -> None:
        """Give the database back as it was at first."""
        self.execute("DROP DATABASE shop")
        self.execute("CREATE DATABASE shop")
        self.execute("USE shop")
        self.execute("SET SESSION sql_mode = DEFAULT, time_zone = DEFAULT")

    def end_sessions(self) -> None:
        """End the connections of all others, and wait until they have ended."""
        others = (
            "SELECT id FROM information_schema.processlist "
            "WHERE id <> connection_id() AND user <> 'system user'"
        )
        for (number,) in self.execute(others):
            self.execute("KILL %s", number)
        while self.execute(others):
            """A session ends when it has noticed."""

    def stop(self) -> None:
        self.connection.close()
        self._process.terminate()
        self._process.wait()

    def _bootstrap(self) -> None:
        """Make the system tables, as mariadb-install-db does, which needs the client's package."""
        command = [self._command[0], "--no-defaults", "--verbose", "--help"]
        told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        said = dict(
            re.findall(r"^(lc-messages-dir|character-sets-dir) +(/\S+)", told, re.MULTILINE)
        )
        folder = Path(said.get("lc-messages-dir", Path(said["character-sets-dir"]).parent))
        scripts = [(folder / f"mysql_{name}.sql").read_text() for name in self.SCRIPTS]
        first = ["CREATE DATABASE mysql;", "USE mysql;", "SET @auth_root_socket=NULL;"]
        first += ["SET @skip_auth_anonymous=1;"]
        text = "\n".join([*first, *scripts, "CREATE DATABASE shop;\n"])
        with (self.folder / "log").open("wb") as log:
            subprocess.run(
                [*self._command, "--bootstrap"],
                input=text.encode(),
                check=True,
                stdout=log,
                stderr=log,
            )

    def _start(self) -> None:
        options = ["--skip-networking", f"--socket={self.socket}", "--innodb-flush-method=nosync"]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*self._command, *options], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        pause = SystemClock().waker()
        while not self.socket.exists():
            if self._process.poll() is not None:
                raise RuntimeError((self.folder / "log").read_text())
            pause.wait(0.02)


def mariadb_binary() -> str:
    """Return the path of a MariaDB server; where none is, and none is named, skip the test."""
    folders = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])
    named = os.environ.get("FLOWSTONE_MARIADB_BIN")
    for name in (named,) if named else ("mariadbd", "mysqld"):
        binary = shutil.which(name, path=folders)
        if binary is not None:
            command = [binary, "--no-defaults", "--version"]
            told = subprocess.run(command, check=True, capture_output=True).stdout
            if b"MariaDB" in told:
                return binary
    if named:
        pytest.fail(f"invalid MariaDB server: FLOWSTONE_MARIADB_BIN={named}")
    pytest.skip("no MariaDB server here: no mariadbd on PATH, and FLOWSTONE_MARIADB_BIN names none")


@pytest.fixture(scope="session")
def mariadb() -> Iterator[MariadbServer]:
    """A running MariaDB."""
    binary = mariadb_binary()
    # Not under pytest's folder: whoever the server runs as must get in, and a socket's path is
    # to be short.
    folder = Path(tempfile.mkdtemp(prefix="flowstone-maria-"))
    try:
        server = MariadbServer(binary, folder)
        yield server
        server.stop()
    finally:
        shutil.rmtree(folder)


@pytest.fixture
def mariadb_database(mariadb: MariadbServer) -> MariadbServer:
    """An empty database on MariaDB."""
    mariadb.empty()
    return mariadb


@pytest.fixture(params=["sqlite_file", "postgresql_database", "mariadb_database"])
def database(request: pytest.FixtureRequest) -> Any:
    """An empty database; whoever uses it runs on all kinds."""
    return request.getfixturevalue(request.param)


@pytest.fixture
def make_rows(make_sensor: Callable[..., Any], database: Any, clock: Any) -> Callable[..., Any]:
    """Make sensors on an empty table, ``orders(id, at, tenant)``, of each kind of database."""
    clock.time = datetime(2025, 2, 1, tzinfo=UTC)
    kind = {"sqlite": "TEXT", "postgresql": "TIMESTAMPTZ", "mariadb": "DATETIME(6)"}[database.kind]
    database.execute(f"CREATE TABLE orders (id INTEGER, at {kind}, tenant TEXT)")

    def made(**options: Any) -> DatabaseRows:
        usual = {"url": database.url, "mode": "timestamp_incrementing"}
        if options.get("mode") != "timestamp":
            usual["id_column"] = "id"
        if options.get("mode") != "incrementing":
            usual["timestamp_column"] = "at"
        if "query" not in options:
            usual["table"] = "orders"
        sensor = make_sensor(DatabaseRows, **usual | options)
        assert isinstance(sensor, DatabaseRows)
        return sensor

    return made


@pytest.fixture
def make_notify(make_sensor: Callable[..., Any], postgresql_database: Any) -> Callable[..., Any]:
    """Make sensors that listen to ``orders``, beside an empty table ``orders(id)``."""
    postgresql_database.execute("CREATE TABLE orders (id INTEGER, tenant TEXT)")

    def made(**options: Any) -> PostgresNotify:
        usual = {"url": postgresql_database.url, "channel": ["orders"]}
        sensor = make_sensor(PostgresNotify, **usual | options)
        assert isinstance(sensor, PostgresNotify)
        return sensor

    return made


@pytest.fixture
def watch(make_notify: Callable[..., Any]) -> Callable[..., Any]:
    """Make such sensors that have a query as well."""

    def made(**options: Any) -> PostgresNotify:
        return make_notify(**{"query": "SELECT count(*) FROM orders", "recheck": "5m"} | options)

    return made

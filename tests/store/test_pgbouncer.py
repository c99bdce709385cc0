"""A store through a real PgBouncer that gives each transaction another session."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from flowstone_core import Event, Flowstone, Pipeline, Sensor, SensorConfig, Triggered
from flowstone_core.errors import StoreError, StoreUnavailableError
from flowstone_core.model.clock import SystemClock
from flowstone_core.model.materialization import MaterializationState
from flowstone_core.store import Store, migration
from flowstone_core.store.store_url import parse_url
from tests.processes import until
from tests.store.conftest import Driver
from tests.store.test_store_copy import contents, fill

PATIENCE = 60

CONFIGURATION = """
[databases]
* = host={host}

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 2
max_client_conn = {clients}
server_reset_query = DISCARD ALL
server_reset_query_always = 1
"""


class PgBouncer:
    """PgBouncer in transaction mode, with two sessions for all connections to a database."""

    def __init__(self, folder: Path, host: str, user: str | None, clients: int = 100) -> None:
        program = os.environ.get("FLOWSTONE_PGBOUNCER") or shutil.which(
            "pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin"
        )
        if program is None:
            pytest.skip("no PgBouncer here: not on PATH, and FLOWSTONE_PGBOUNCER names none")
        with closing(socket.create_server(("127.0.0.1", 0))) as free:
            self.port = free.getsockname()[1]
        settings = folder / "pgbouncer.ini"
        text = CONFIGURATION.format(host=host, port=self.port, clients=clients)
        # "any" logs everyone in as one user of the server.
        settings.write_text(text.replace("* = ", "* = user=postgres "))
        settings.chmod(0o644)
        # It refuses to be root.
        command = [program, "-q", *(["-u", user] if user else []), settings]
        nowhere = subprocess.DEVNULL
        self._process = subprocess.Popen(command, stdout=nowhere, stderr=nowhere)
        until(self._listens)

    def _listens(self) -> bool:
        assert self._process.poll() is None, "PgBouncer ended"
        try:
            socket.create_connection(("127.0.0.1", self.port)).close()
        except ConnectionRefusedError:
            return False
        return True

    def url(self, direct: str) -> str:
        """Return the URL of a database by way of PgBouncer."""
        return f"postgresql://any@127.0.0.1:{self.port}/{parse_url(direct).database}"

    def close(self) -> None:
        self._process.kill()
        self._process.wait(PATIENCE)


@pytest.fixture
def folder():
    """A folder that another user may read."""
    made = Path(tempfile.mkdtemp(prefix="flowstone-pgbouncer-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


@pytest.fixture
def pooler(postgresql, folder):
    with closing(PgBouncer(folder, postgresql.folder, postgresql.user)) as pooler:
        yield pooler


def test_S11_every_transaction_may_have_another_session(pooler, postgresql):
    url = pooler.url(postgresql.empty_store())
    with closing(Store.open(url)) as store:
        bench = Driver(store)
        for number in range(20):
            bench.fire(bench.event(f"k{number}", "alone", f"p{number}", '{"n": 1}'))
            bench.complete(*bench.claim().claims)
            assert bench.get(number + 1).requested_at == bench.now
    assert Store.check(url).problems == ()


def test_S11_store_is_made_and_copied_through_a_pooler(pooler, postgresql, tmp_path):
    with postgresql.database() as direct:
        url = pooler.url(direct)
        assert Store.upgrade(url) == (None, migration.HEAD)
        source = f"sqlite:///{tmp_path / 'from.db'}"
        now = fill(source)
        Store.copy(source, url, now, lambda _: None)
        assert contents(url) == contents(source)
        back = f"sqlite:///{tmp_path / 'back.db'}"
        Store.copy(url, back, SystemClock().now(), lambda _: None)
        assert contents(back) == contents(source)
        with psycopg.connect(postgresql.url("postgres"), autocommit=True) as other:
            other.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s",
                [parse_url(direct).database],
            )


def test_D15_runner_finds_its_work_through_a_pooler(pooler, postgresql):
    pipeline = Pipeline("shop")
    pipeline.asset(name="orders", max_attempts=2, backoff="1ms")(lambda context: {"n": 1})
    pipeline.asset(name="report", depends_on=["orders"], follow=True)(lambda context: None)

    class Feed(Sensor[SensorConfig, int]):
        def init(self) -> int:
            return 0

        def poll(self, state: int) -> Triggered[int]:
            return Triggered([Event(f"p{state}-{n}") for n in range(5)], state + 1)

    pipeline.sensor("feed", Feed, asset="orders", every="10ms")
    url = pooler.url(postgresql.empty_store())
    with Flowstone(pipeline, store=url, asset_threads=4, store_wait="30s") as flow:
        for _ in range(2):
            flow.run(once=True)
        flow.schedule("orders", every="1 hour")
        made = flow.materializations.latest(limit=1_000)
        assert len(made) == 20
        assert {each.state for each in made} == {MaterializationState.COMPLETED}


def test_D13_pooler_that_is_full_is_unavailable(postgresql, folder):
    url = postgresql.empty_store()
    with (
        closing(PgBouncer(folder, postgresql.folder, postgresql.user, clients=1)) as pooler,
        psycopg.connect(pooler.url(url)),
        pytest.raises(StoreUnavailableError, match="no more connections allowed"),
    ):
        Store.open(pooler.url(url))


def test_D13_pooler_without_its_server_is_unavailable(postgresql, folder):
    with (
        closing(PgBouncer(folder, "127.0.0.1 port=1", postgresql.user)) as pooler,
        pytest.raises(StoreUnavailableError) as caught,
    ):
        Store.open(pooler.url(postgresql.empty_store()))
    assert "is PostgreSQL running and reachable?" in str(caught.value)


def test_D13_options_that_pgbouncer_refuses_end_a_start(pooler, postgresql):
    url = pooler.url(postgresql.empty_store())
    with pytest.raises(StoreError, match="unsupported startup parameter"):
        Store.open(f"{url}?options=-cstatement_timeout%3D7s")

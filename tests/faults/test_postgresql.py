"""PostgreSQL fails under a runner: it pauses, says so once, and then nothing is lost or doubled."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from flowstone_core import NotTriggered, Outcome
from flowstone_core.cli import main
from flowstone_core.errors import StoreUnavailableError
from flowstone_core.store import Store, postgresql_session
from flowstone_core.store.store_url import parse_url
from tests.chaos.ledger import Numbers
from tests.faults.postgresql_house import HarmedServer, Ledger, folder, outages, proxied
from tests.processes import until

HALF = 6
"""Numbers that the source has before a harm, and after it."""

END_ALL = (
    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
    "WHERE application_name LIKE 'flowstone:%'"
)


@pytest.fixture(scope="module")
def server(postgresql: object) -> Iterator[HarmedServer]:
    """A server that may be harmed; where none starts, `postgresql` has said so."""
    with folder() as made:
        server = HarmedServer(made)
        yield server
        server.stop()


@pytest.fixture
def url(server: HarmedServer) -> Iterator[str]:
    with server.database() as made:
        Store.upgrade(made)
        yield made


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Have what waits for the store to come back wait a moment only."""
    caplog.set_level("INFO", "flowstone")
    monkeypatch.setattr("flowstone_core.runtime.coordination.heartbeat.PROBE_SECONDS", 0.05)


# -- D11: the server stops, or ends sessions -------------------------------------------------------


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_D11_server_restarted_in_the_middle_loses_nothing(
    server: HarmedServer, url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, mode: str
) -> None:
    ledger = Ledger(tmp_path, url, url, 60)
    ledger.start()
    for _ in range(2):
        ledger.go_on()
        server.halt(mode)
        until(lambda: outages(caplog) and outages(caplog)[-1] != "over")
        server.start()
        until(lambda: outages(caplog)[-1] == "over")
    ledger.assert_balanced()
    said = outages(caplog)
    assert said[1::2] == ["over", "over"]  # one line for each beginning, and one for each end
    assert len(said) == 4


def test_D11_sessions_ended_again_and_again_lose_nothing(
    server: HarmedServer, url: str, tmp_path: Path
) -> None:
    ledger = Ledger(tmp_path, url, url, 60)
    ledger.start()
    ended = 0
    while ended < 30:
        ended += server.query("postgres", END_ALL)[0]
        ledger.go_on(1)
    ledger.assert_balanced()


def test_D11_commits_with_unknown_outcome_lose_and_double_nothing(
    server: HarmedServer, url: str, tmp_path: Path
) -> None:
    with proxied(server, url) as (proxy, through):
        ledger = Ledger(tmp_path, through, url, 60)
        ledger.start()
        for _ in range(15):
            before = proxy.commits
            proxy.cut_after_commits(2)
            until(lambda before=before: proxy.commits > before)
        proxy.cut_after_commits(0)
        ledger.assert_balanced()
        assert proxy.commits >= 15


# -- D12: the network ------------------------------------------------------------------------------


def test_D12_server_behind_a_black_hole_pauses_the_runner(
    server: HarmedServer,
    url: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(postgresql_session, "ANSWER_SECONDS", 1.0)
    with proxied(server, url) as (proxy, through):
        ledger = Ledger(tmp_path, through, url, 60)
        ledger.start()
        ledger.go_on()
        proxy.swallow()
        until(lambda: outages(caplog))
        assert "no answer in time" in outages(caplog)[0]
        proxy.pass_on()
        ledger.assert_balanced()
        proxy.refuse()


# -- D13: the server refuses -----------------------------------------------------------------------


def test_D13_runner_follows_a_failover_to_the_standby(
    server: HarmedServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with folder() as made:
        primary = HarmedServer(made)
        primary.execute("CREATE DATABASE shop")
        Store.upgrade(primary.url("shop"))
        with primary.standby() as standby:
            both = f"host={primary.folder},{standby.folder}&target_session_attrs=read-write"
            ledger = Ledger(
                tmp_path, f"postgresql://postgres@/shop?{both}", standby.url("shop"), 60
            )
            ledger.start()
            ledger.go_on()
            # The standby has everything: the primary sends the rest before it ends.
            primary.halt("fast")
            until(lambda: outages(caplog))
            with pytest.raises(StoreUnavailableError, match="no host takes writes"):
                Store.open(f"postgresql://postgres@/shop?{both}")
            standby.promote()
            until(lambda: outages(caplog)[-1] == "over")
            ledger.assert_balanced()
        primary.stop()
    assert len(outages(caplog)) == 2


# -- D13, D14: the server refuses, for as long as it is not mended ---------------------------------


def raising(code: str) -> list[str]:
    """Return statements that have the server refuse each tick with a code."""
    raises = f"BEGIN RAISE EXCEPTION 'harmed' USING ERRCODE = '{code}'; END"
    inserts = "BEFORE INSERT ON flowstone_ticks FOR EACH ROW EXECUTE FUNCTION fail()"
    return [
        f"CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $${raises}$$",
        f"CREATE TRIGGER fail {inserts}",
    ]


WELL = ["DROP FUNCTION fail CASCADE"]
HARMS: dict[str, tuple[list[str], list[str], str]] = {
    "read-only": (
        ["ALTER DATABASE {name} SET default_transaction_read_only = on", END_ALL],
        ["ALTER DATABASE {name} RESET default_transaction_read_only"],
        "read-only transaction (a standby, or in recovery",
    ),
    "too many connections": (
        ["ALTER DATABASE {name} CONNECTION LIMIT 0", END_ALL],
        ["ALTER DATABASE {name} CONNECTION LIMIT -1"],
        "(raise max_connections, or use a connection pooler)",
    ),
    "password changed": (
        ["ALTER ROLE shop PASSWORD 'other'", END_ALL],
        ["ALTER ROLE shop PASSWORD 'sesame'"],
        'authentication failed for user "shop" (check the user, the password and pg_hba.conf)',
    ),
    "database gone": (
        ["DROP DATABASE IF EXISTS gone", "ALTER DATABASE {name} ALLOW_CONNECTIONS false", END_ALL,
         "ALTER DATABASE {name} RENAME TO gone"],
        ["ALTER DATABASE gone RENAME TO {name}", "ALTER DATABASE {name} ALLOW_CONNECTIONS true"],
        "does not exist (create it with createdb",
    ),
    "table gone": (
        ["ALTER TABLE flowstone_ticks RENAME TO gone"],
        ["ALTER TABLE gone RENAME TO flowstone_ticks"],
        '"flowstone_ticks" does not exist (restore a backup, or run: flowstone db upgrade)',
    ),
    "rights gone": (
        ["REVOKE INSERT ON flowstone_ticks FROM shop"],
        ["GRANT INSERT ON flowstone_ticks TO shop"],
        "permission denied for table flowstone_ticks (use the owner of the tables",
    ),
    "disk full": (raising("53100"), WELL, "harmed (free some space on the server)"),
    "lock time-out": (raising("55P03"), WELL, "harmed (another session holds the lock"),
    "cancelled": (raising("57014"), WELL, "harmed (the statement took too long, or was"),
    "I/O error": (raising("58030"), WELL, "harmed (see the log and the disk of the server)"),
    "D14 serialization": (raising("40001"), WELL, "harmed (a concurrent transaction was in"),
    "D14 deadlock": (raising("40P01"), WELL, "harmed (a concurrent transaction was in"),
}  # fmt: skip
"""Each harm, how it is mended, and what is said of it."""

UNREADABLE = {"too many connections", "password changed", "database gone"}


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Lets the source go on, which stops half-way: the harm comes in between."""
    gate, poll = threading.Event(), Numbers.poll

    def gated(self: Numbers, state: int) -> Outcome[int]:
        return poll(self, state) if state < HALF or gate.is_set() else NotTriggered(state)

    monkeypatch.setattr(Numbers, "poll", gated)
    return gate


@pytest.fixture
def role(server: HarmedServer, url: str) -> str:
    """The URL of the store for a role that has a password, and no more rights than it needs."""
    server.with_password("shop", "sesame", parse_url(url).database or "")
    return url.replace("postgres:@", "shop:sesame@")


@pytest.mark.parametrize("harm", HARMS)
def test_D13_D14_harmed_store_pauses_the_runner_and_says_why(
    server: HarmedServer,
    url: str,
    role: str,
    gate: threading.Event,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    harm: str,
) -> None:
    breaks, mends, text = HARMS[harm]
    name = parse_url(url).database
    monkeypatch.chdir(tmp_path)
    Path("setup.cfg").write_text(f"[flowstone]\nstore = {role}\nstore_wait = 0s\n")
    ledger = Ledger(tmp_path, role, url, 2 * HALF)
    ledger.start()
    until(lambda: ledger.lines() == 4 * HALF)
    where = "postgres" if any("DATABASE" in each or "ROLE" in each for each in breaks) else name
    server.execute(*(each.format(name=name) for each in breaks), database=where)
    gate.set()
    until(lambda: outages(caplog))
    for command, fails in (("status", UNREADABLE), ("check --connect --allow-empty", HARMS)):
        told = CliRunner().invoke(main, command.split())
        assert told.exit_code == (harm in fails), told.output
        # The runner of this process logs to the same stream.
        said = [line for line in told.stderr.splitlines() if line.startswith("error: ")]
        assert [text in line for line in said] == [True] * told.exit_code
    server.execute(*(each.format(name=name) for each in mends), database=where)
    ledger.assert_balanced()
    said = outages(caplog)
    assert (len(said), said[1]) == (2, "over")
    assert text in said[0] or END_ALL in breaks  # at first the sessions were ended
    assert "sesame" not in caplog.text

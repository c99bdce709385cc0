"""A store whose connections fail: at open, before a commit, after one, and at every statement."""

from __future__ import annotations

import itertools
import os
import random
import sqlite3
import sys
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from flowstone_core import Flowstone
from flowstone_core.errors import StoreError
from flowstone_core.store import Store

sys.path.insert(0, str(Path(__file__).parent))

from ledger import balance, ledger_pipeline

from tests.processes import until

PATIENCE = 300
SHARDS = 4
"""Parts of a test that can run beside each other."""

EVERY = bool(os.environ.get("FLOWSTONE_CHAOS"))
"""True for all of it, by ``make chaos``; else two seeds and every sixteenth statement."""

IO_ERROR = 10
"""SQLITE_IOERR, which may pass by itself."""


def failure(where: str) -> sqlite3.OperationalError:
    error = sqlite3.OperationalError(f"disk I/O error ({where})")
    error.sqlite_errorcode = IO_ERROR
    return error


@dataclass
class Faults:
    """Decides, each time, whether the database fails."""

    fails: Callable[[str], bool]
    injected: list[str] = field(default_factory=list)
    dispose: Callable[[], None] = lambda: None

    def at(self, where: str) -> None:
        if self.fails(where):
            self.injected.append(where)
            raise failure(where)

    def harm(self, flow: Flowstone) -> None:
        """Have the store of a Flowstone fail where it is decided."""
        dialect: Any = flow._open_store()._database._engine.dialect
        connect, commit, execute = dialect.connect, dialect.do_commit, dialect.do_execute

        def flaky_connect(*arguments: Any, **options: Any) -> Any:
            self.at("open")
            return connect(*arguments, **options)

        def flaky_commit(connection: Any) -> None:
            self.at("before a commit")
            commit(connection)
            if self.fails("open"):  # so that there are more to open
                self.dispose()
            self.at("after a commit")

        def flaky_execute(cursor: Any, statement: str, *rest: Any) -> None:
            self.at("a statement")
            execute(cursor, statement, *rest)

        dialect.connect, dialect.do_commit = flaky_connect, flaky_commit
        dialect.do_execute = flaky_execute
        # Those that are open already were opened without harm.
        self.dispose = flow._open_store()._database._engine.dispose
        self.dispose()


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have what waits for the store to come back wait a moment only."""
    for module in ("local_engine", "result_writer"):
        retry = f"flowstone_core.runtime.engine.{module}.store_retry_seconds"
        monkeypatch.setattr(retry, lambda _: 0.005)
    monkeypatch.setattr("flowstone_core.runtime.coordination.heartbeat.PROBE_SECONDS", 0.005)
    monkeypatch.setattr("flowstone_core.runtime.runner.STORE_RETRY_SECONDS", 0.005)


def problems(url: str, book: Path, numbers: int) -> tuple[str, ...]:
    """Balance the ledger by a connection that nothing happens to."""
    store = Store.open(url)
    try:
        return balance(store, book, numbers).problems
    finally:
        store.close()


@pytest.mark.parametrize("seed", range(1, 21) if EVERY else [1, 2])
def test_connections_failing_around_commits_lose_nothing(
    tmp_path: Path, seed: int, caplog: pytest.LogCaptureFixture
) -> None:
    url, book, numbers = f"sqlite:///{tmp_path / 'flaky.db'}", tmp_path / "book.txt", 45
    chance = random.Random(seed)  # noqa: S311 - a seed is the point of it
    rates: dict[str, float] = {}
    faults = Faults(lambda where: chance.random() < rates.get(where, 0.0))
    with Flowstone(ledger_pipeline(book, numbers), store=url) as flow:
        flow.status()
        faults.harm(flow)
        thread = threading.Thread(target=flow.run, daemon=True)
        thread.start()
        until(book.exists)
        rates |= {"open": 0.2, "before a commit": 0.2, "after a commit": 0.2}
        until(lambda: len(faults.injected) > 40 and set(rates) <= set(faults.injected))
        rates.clear()
        until(lambda: not problems(url, book, numbers))
        flow.stop()
        thread.join(PATIENCE)
        assert not thread.is_alive()
    print(f"seed {seed}: {dict(Counter(faults.injected))}, lost or doubled: 0")


@pytest.mark.parametrize("first", range(1, SHARDS + 1) if EVERY else ["any"])
def test_statement_failing_anywhere_changes_nothing(tmp_path: Path, first: int | str) -> None:
    """The N-th statement of a run fails, for every N until a run has none left."""
    step = SHARDS if EVERY else 16
    begin = first if isinstance(first, int) else random.randint(1, step)  # noqa: S311
    for number in itertools.count(begin, step):
        folder = tmp_path / f"{number}"
        folder.mkdir()
        url, book = f"sqlite:///{folder / 'flaky.db'}", folder / "book.txt"
        count = itertools.count(1)
        faults = Faults(
            lambda where, count=count, number=number: (
                where == "a statement" and next(count) == number
            )
        )
        with Flowstone(ledger_pipeline(book, 3), store=url) as flow:
            flow.status()
            faults.harm(flow)
            with suppress(StoreError):
                flow.run(once=True)
        for _ in range(2):
            with Flowstone(ledger_pipeline(book, 3), store=url) as flow:
                flow.run(once=True)
        assert problems(url, book, 3) == (), f"statement {number}"
        if not faults.injected:
            break
    assert number > 20
    print(f"statements {begin}, {begin + step} ... failed, of {number}; lost or doubled: 0")

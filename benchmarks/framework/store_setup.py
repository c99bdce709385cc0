"""Store setup: a new store with a runner, sensors and an asset, for the arms that write to it."""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from benchmarks.framework.benchmark import Case
from benchmarks.framework.scratch import store_url
from flowstone_core.model.asset import Asset, AssetGraph
from flowstone_core.model.engine import RunnerInfo
from flowstone_core.model.tick import NewEvent, SensorCheckpoint, TickCommit, TickOutcome
from flowstone_core.store import Store


@dataclass
class Desk:
    """A new store in which a runner owns some sensors.

    Attributes:
        owner: The runner.
        url: The store's URL.
        names: Names of the sensors.
        assets: One asset, ``orders``.
        now: A time that stands still.
    """

    store: Store
    owner: str
    url: str
    names: list[str]
    assets: AssetGraph
    now: datetime
    checkpoints: dict[str, SensorCheckpoint] = field(default_factory=dict)
    _events: int = 0

    def ticks(self, count: int, each: int) -> list[TickCommit]:
        """Return the next ticks of this number of sensors; one in ``each`` finds an event."""
        commits = []
        for position, name in enumerate(self.names[:count]):
            before = self.checkpoints[name]
            version = before.version + 1
            events: tuple[NewEvent, ...] = ()
            if position % each == 0:
                self._events += 1
                name_of_it = f"{self.owner}-{self._events}"
                events = (NewEvent(name_of_it, "orders", name_of_it),)
            outcome = TickOutcome.TRIGGERED if events else TickOutcome.NOT_TRIGGERED
            after = SensorCheckpoint(version, f'{{"seen":{version}}}', polled=True)
            commits.append(TickCommit(name, outcome, self.now, self.now, before, after, events))
            self.checkpoints[name] = after
        return commits

    def commit(self, commits: Sequence[TickCommit]) -> None:
        """Commit ticks in one transaction.

        Raises:
            RuntimeError: If one of them was stale.
        """
        results = self.store.ticks.commit(self.owner, commits, self.assets, self.now)
        if not all(result.committed for result in results):
            raise RuntimeError("a tick was stale")


@contextmanager
def open_desk(case: Case, sensors: int) -> Iterator[Desk]:
    """Make a store on the case's database, with a runner and sensors that it owns."""
    with store_url(case.postgresql) as url, desk_on(url, sensors) as desk:
        yield desk


@contextmanager
def desk_on(url: str, sensors: int) -> Iterator[Desk]:
    """Open a store, with a runner and sensors that it owns."""
    now = datetime.now(UTC)
    names = [f"sensor-{number:06}" for number in range(sensors)]
    owner = uuid.uuid4().hex
    store = Store.open(url, migrate=True)
    lease_until = now + timedelta(days=1)
    store.runners.register(RunnerInfo(owner, "host", 1, "machine", "0", now, lease_until))
    store.sensors.declare(names, now)
    claimed = store.sensors.claim(owner, names, now)
    assets = AssetGraph([Asset("orders", _nothing)])
    yield Desk(store, owner, url, names, assets, now, dict(claimed))
    # Another run on the same store claims them anew.
    store.runners.stop(owner, now)
    store.close()


@contextmanager
def bare_connection(url: str) -> Iterator[Any]:
    """Connect to a store's database without FlowStone, as durable as FlowStone does."""
    if url.startswith("sqlite"):
        connection = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)
        for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
            connection.execute(f"PRAGMA {pragma}")
        yield connection
        connection.close()
    else:
        import psycopg

        with psycopg.connect(url, autocommit=True) as session:
            yield session


def _nothing(_: object) -> None:
    pass

"""A source of numbers, and the book that says what became of each."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from flowstone_core import (
    Context,
    Event,
    NotTriggered,
    Outcome,
    Pipeline,
    Sensor,
    SensorConfig,
    Triggered,
)
from flowstone_core.model.materialization import MaterializationState
from flowstone_core.store import Store
from flowstone_core.testing import CrashPoint

BEFORE_POLL, IN_POLL = CrashPoint("K1 before a poll"), CrashPoint("K2 in a poll")
BEGUN, DONE = CrashPoint("K8 an asset function began"), CrashPoint("K9 an asset function ended")


class NumbersConfig(SensorConfig):
    limit: int
    keyed: bool


class Numbers(Sensor[NumbersConfig, int]):
    """Emits the numbers after the last one it remembers, three at a time, up to a limit."""

    Config = NumbersConfig

    def init(self) -> int:
        return 0

    def poll(self, state: int) -> Outcome[int]:
        BEFORE_POLL.reach()
        until = min(state + 3, self.config.limit)
        events = [
            Event(f"n{number}", key=f"key-{number}" if self.config.keyed else None)
            for number in range(state + 1, until + 1)
        ]
        IN_POLL.reach()
        return Triggered(events, until) if events else NotTriggered(state)


def ledger_pipeline(book: Path, limit: int) -> Pipeline:
    """Two sources, one that names its events and one that does not, and what is made of each."""
    pipeline = Pipeline("ledger")

    def write(context: Context) -> None:
        BEGUN.reach()
        line = f"{context.asset} {context.partition} {context.run_id}\n".encode()
        handle = os.open(book, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(handle, line)
        os.close(handle)
        DONE.reach()

    for name in SOURCES:
        pipeline.asset(name=name, max_attempts=100, backoff="1ms", backoff_limit="5ms")(write)
        pipeline.asset(
            name=f"{name}_report",
            depends_on=[name],
            follow=True,
            max_attempts=100,
            backoff="1ms",
            backoff_limit="5ms",
        )(write)
        pipeline.sensor(
            name,
            Numbers,
            asset=name,
            every="10ms",
            backoff="1ms",
            backoff_limit="5ms",
            limit=limit,
            keyed=name == "keyed",
        )
    return pipeline


SOURCES = ("keyed", "keyless")


@dataclass(frozen=True)
class Balance:
    """What the book and the store say of every number.

    Attributes:
        events: How many numbers have become events.
        again: How often one was made more than once, under its own run id: at-least-once.
        problems: What is lost, doubled or unfinished; empty if all is well.
    """

    events: int
    again: int
    problems: tuple[str, ...]


def balance(store: Store, book: Path, numbers: int) -> Balance:
    """Compare the store with the book: each number one event, made to its end, by one run id."""
    lines = [line.split() for line in book.read_text().splitlines()] if book.exists() else []
    problems: list[str] = []
    total = 0
    written = Counter((asset, partition) for asset, partition, _ in lines)
    run_ids: dict[tuple[str, str], set[str]] = {}
    for asset, partition, run_id in lines:
        run_ids.setdefault((asset, partition), set()).add(run_id)
    expected = {f"n{number}" for number in range(1, numbers + 1)}
    made = store.materializations.latest(limit=1_000_000)
    for name in SOURCES:
        events = Counter(
            event.partition
            for event in store.events.latest(source=f"sensor:{name}", limit=1_000_000)
        )
        total += len(events)
        problems += (f"{name} {each}: lost" for each in sorted(expected - set(events)))
        problems += (
            f"{name} {each}: {count} events" for each, count in events.items() if count > 1
        )
        for asset in (name, f"{name}_report"):
            rows = Counter(row.partition for row in made if row.asset == asset)
            problems += (f"{asset} {each}: never asked for" for each in expected - set(rows))
            problems += (
                f"{asset} {each}: asked for {n} times" for each, n in rows.items() if n > 1
            )
            problems += (
                f"{asset} {each}: never made" for each in expected if not written[asset, each]
            )
    problems += (
        f"{asset} {partition}: run ids {sorted(ids)}"
        for (asset, partition), ids in run_ids.items()
        if len(ids) > 1
    )
    problems += (
        f"{row.asset} {row.partition}: {row.state} ({row.error})"
        for row in made
        if row.state is not MaterializationState.COMPLETED
    )
    return Balance(total, sum(written.values()) - len(written), tuple(problems))

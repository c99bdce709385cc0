"""The statements of a tick's transaction: their number, and how SQLite executes them."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import count

import pytest

from tests.statements import listening
from tests.store.schedule_desk import event

NAMES = [f"source-{number:03}" for number in range(100)]
BY_AN_INDEX = re.compile(
    r"SCAN (json_each|queues) |SCAN CONSTANT ROW|SEARCH sqlite_sequence"
    r"|SEARCH \S+ USING (COVERING )?INDEX (?!ix_flowstone_materializations_state)"
    r"|SEARCH \S+ USING INTEGER PRIMARY KEY|SCALAR|CORRELATED|LIST SUBQUERY|CO-ROUTINE|MATERIALIZE"
    r"|USE TEMP B-TREE FOR (ORDER BY|RIGHT PART OF ORDER BY)|SEARCH anon_2|SCAN anon_2"
)


@pytest.fixture
def sources(bench, desk):
    """A hundred sensors, and as many schedules whose materializations wait for one another."""
    bench.store.sensors.declare(NAMES, bench.now)
    bench.checkpoint |= bench.store.sensors.claim("one", NAMES, bench.now)
    for name in NAMES:
        desk.create(name, overlap="buffer_all")
    desk.claim(*NAMES)
    return desk


KEYS = count()


def ticks_of(desk, size, events, partition=None):
    """Return ticks of sensors and of schedules, half of them with another asset."""
    commits = []
    for number, name in enumerate(NAMES[:size]):
        asset = ("orders", "items")[number % 2]
        found = [event(f"k{next(KEYS)}", partition, asset) for _ in range(events)]
        commits.append(desk.bench.tick(name, *found))
        again = [replace(event(f"k{next(KEYS)}", partition, asset), sequential=True) for _ in found]
        commits.append(desk.tick(*again, name=name, skips=desk.missed()))
    return commits


def statements_of(desk, size, events, partition=None):
    commits, found = ticks_of(desk, size, events, partition), []
    with listening(found.append):
        results = desk.store.ticks.commit("one", commits, desk.bench.assets, desk.now)
    assert all(result.committed for result in results)
    assert sum(len(result.events) for result in results) == 2 * size * events
    desk.bench.checkpoint |= {item.sensor: item.after for item in commits[::2]}
    return found


def test_statements_do_not_grow_with_ticks_events_or_queues(sources):
    numbers = {
        (size, events): len(statements_of(sources, size, events))
        for events in (1, 5, 0)
        for size in (1, 10, 100, 1)
    }
    assert len({numbers[size, 0] for size in (1, 10, 100)}) == 1
    assert len({number for (_, events), number in numbers.items() if events}) == 1
    assert numbers[1, 0] < numbers[1, 1] < 20


def test_one_source_in_a_transaction_twice_keeps_its_last_values(bench):
    good = replace(bench.tick("feed"), reason="a file is still written")
    failed = bench.tick("feed", error="no luck", before=good.after, failures=1)
    assert [result.committed for result in bench.commit(good, failed)] == [True, True]
    found = bench.store.sensors.get("feed")
    assert found.checkpoint == failed.after
    assert (found.last_good_at, found.last_error) == (bench.now, "no luck")
    assert (found.quiet_reason, found.stale_since) == (None, None)


@pytest.mark.parametrize("backend", ["sqlite"])
def test_no_statement_reads_more_than_its_rows(sources):
    statements_of(sources, 10, 1, "pending")
    found = {
        text
        for text in statements_of(sources, 10, 5) + statements_of(sources, 10, 5, "pending")
        if not text.startswith(("BEGIN", "SELECT max(ifnull"))
    }

    def plan(connection):
        driver = connection.connection.dbapi_connection
        return {
            (step[3], text)
            for text in found
            for step in driver.execute(f"EXPLAIN QUERY PLAN {text}", [None] * text.count("?"))
        }

    plans = sources.store._database.read(plan)
    assert len(found) >= 10
    assert {each for each in plans if not BY_AN_INDEX.match(each[0])} == set()

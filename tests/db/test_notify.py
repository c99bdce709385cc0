"""Sensor `postgres_notify` on a real server: received, missed and repeated notifications."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from typing import Any

import pytest
from flowstone_db import PostgresNotify
from flowstone_db.errors import (
    DatabaseUnavailableError,
    PartitionError,
    QueryError,
    QueryTimeoutError,
)

from flowstone_core import NotTriggered, SensorBroken, Triggered
from tests.db.notify_support import (
    DAY,
    LISTENERS,
    Make,
    begin,
    keys,
    notify,
    order,
    payloads,
    stored,
)


def test_new_data_fires(make_notify: Make, postgresql_database: Any) -> None:
    sensor = make_notify(channel=["orders", "refunds"])
    state = begin(sensor)
    assert isinstance(sensor.poll(state), NotTriggered)
    notify(postgresql_database, "1", "2")
    notify(postgresql_database, "3", channel="refunds")
    notify(postgresql_database, "4", channel="others")
    outcome = sensor.poll(state)
    assert isinstance(outcome, Triggered)
    assert [(event.partition, event.payload) for event in outcome.events] == [
        (DAY, {"channel": "orders", "payload": "1"}),
        (DAY, {"channel": "orders", "payload": "2"}),
        (DAY, {"channel": "refunds", "payload": "3"}),
    ]
    after = stored(outcome.state)
    quiet = sensor.poll(after)
    assert isinstance(quiet, NotTriggered)
    assert quiet.state == after


def test_notify_rolled_back_and_duplicate_are_not_received(
    make_notify: Make, postgresql_database: Any
) -> None:
    sensor = make_notify()
    state = begin(sensor)
    session = postgresql_database.connect()
    session.execute("NOTIFY orders, 'never'")
    session.rollback()
    session.execute("NOTIFY orders, 'twice'; NOTIFY orders, 'twice'; NOTIFY orders")
    assert payloads(sensor.poll(state)) == []
    session.commit()
    session.close()
    outcome = sensor.poll(state)
    assert isinstance(outcome, Triggered)
    assert [event.payload["payload"] for event in outcome.events] == ["twice", ""]  # type: ignore[index]


@pytest.mark.parametrize(
    "name", ["Orders", 'a"b', "a b; DROP TABLE orders", "100%s", "%(x)s :y ?", "é" * 31, "'"]
)
def test_Q9_notify_channel_name_is_quoted(
    make_notify: Make, postgresql_database: Any, name: str
) -> None:
    sensor = make_notify(channel=[name])
    state = begin(sensor)
    notify(postgresql_database, "1", channel=name)
    notify(postgresql_database, "2", channel=name.lower() + "_")
    assert payloads(sensor.poll(state)) == ["1"]
    assert postgresql_database.execute("SELECT count(*) FROM orders") == [(0,)]


def test_Q9_notify_payload_never_enters_a_statement(watch: Make, postgresql_database: Any) -> None:
    sensor = watch(partition="payload", query_partition="tenant", query="SELECT 'x' AS tenant")
    state = begin(sensor)
    text = "'; DROP TABLE orders; -- %s :x"
    notify(postgresql_database, text)
    outcome = sensor.poll(state)
    assert isinstance(outcome, Triggered)
    assert outcome.events[0].partition == text
    assert postgresql_database.execute("SELECT count(*) FROM orders") == [(0,)]


def test_notify_failed_commit_loses_no_notification(
    make_notify: Make, postgresql_database: Any
) -> None:
    sensor = make_notify()
    state = begin(sensor)
    notify(postgresql_database, "1", "1")
    first = sensor.poll(state)
    notify(postgresql_database, "2")
    again = sensor.poll(state)
    assert payloads(again) == ["1", "1", "2"]
    assert keys(again)[:2] == keys(first)
    assert len(set(keys(again))) == 3
    after = stored(again.state)
    assert payloads(sensor.poll(after)) == []
    notify(postgresql_database, "3")
    last = sensor.poll(after)
    assert payloads(last) == ["3"]
    assert keys(last)[0] not in keys(again)


def test_notify_replay_on_another_day_keeps_partition(
    make_notify: Make, postgresql_database: Any, clock: Any
) -> None:
    sensor = make_notify()
    state = begin(sensor)
    notify(postgresql_database, "1")
    sensor.poll(state)
    clock.time += timedelta(days=1)
    notify(postgresql_database, "2")
    outcome = sensor.poll(state)
    assert isinstance(outcome, Triggered)
    assert [event.partition for event in outcome.events] == [DAY, date(2025, 1, 16)]


def test_notify_state_of_another_process_drops_nothing(
    make_notify: Make, postgresql_database: Any
) -> None:
    one, two = make_notify(), make_notify()
    state = begin(one)
    begin(two)
    notify(postgresql_database, "1", "2")
    assert payloads(two.poll(state)) == ["1", "2"]
    ahead = stored(one.poll(state).state)
    assert ahead["taken"]["number"] == 2
    assert payloads(two.poll(ahead)) == ["1", "2"]


def test_notify_received_are_kept_when_query_fails(watch: Make, postgresql_database: Any) -> None:
    sensor = watch()
    state = begin(sensor)
    order(postgresql_database, 1)
    state = stored(sensor.poll(state).state)
    order(postgresql_database, 2)
    postgresql_database.execute("ALTER TABLE orders RENAME TO gone")
    with pytest.raises(QueryError, match="the query failed"):
        sensor.poll(state)
    postgresql_database.execute("ALTER TABLE gone RENAME TO orders")
    order(postgresql_database, 3)
    outcome = sensor.poll(state)
    assert payloads(outcome) == ["2", "3"]
    assert outcome.state["value"] == 3


def test_notify_slow_query_keeps_listening(watch: Make, postgresql_database: Any) -> None:
    sensor = watch(timeout=timedelta(milliseconds=50))
    state = begin(sensor)
    before = postgresql_database.execute(LISTENERS)
    order(postgresql_database, 1)
    with postgresql_database.connect() as session:
        session.execute("LOCK TABLE orders IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(QueryTimeoutError):
            sensor.poll(state)
        session.execute("NOTIFY orders, '2'")
    assert payloads(sensor.poll(state)) == ["1", "2"]
    assert postgresql_database.execute(LISTENERS) == before


def test_notify_first_poll_fires_for_present_value(watch: Make, postgresql_database: Any) -> None:
    order(postgresql_database, 1)
    sensor = watch()
    first = sensor.poll(sensor.init())
    assert payloads(first) == [({"no_row": True}, 1)]
    assert payloads(sensor.poll(stored(first.state))) == []


def test_notify_query_finds_missed_change(watch: Make, postgresql_database: Any) -> None:
    sensor = watch()
    state = begin(sensor)
    sensor.cleanup()
    order(postgresql_database, 1)
    late = watch()
    outcome = late.poll(state)
    assert payloads(outcome) == [(0, 1)]
    assert outcome.events[0].partition == DAY  # type: ignore[union-attr]
    assert payloads(late.poll(stored(outcome.state))) == []


def test_Q8_notify_lost_connection_is_reopened(watch: Make, postgresql_database: Any) -> None:
    sensor = watch()
    state = begin(sensor)
    postgresql_database.end_sessions()
    order(postgresql_database, 1)
    outcome = sensor.poll(state)
    assert payloads(outcome) == [(0, 1)]
    order(postgresql_database, 2)
    assert payloads(sensor.poll(stored(outcome.state))) == ["2"]


def test_Q8_notify_missing_server_fails_poll(
    postgresql: Any, make_sensor: Callable[..., Any]
) -> None:
    with postgresql.database() as url:
        sensor = make_sensor(PostgresNotify, url=url, channel=["orders"])
        state = begin(sensor)
    with pytest.raises(DatabaseUnavailableError, match="does not exist"):
        sensor.poll(state)


def test_notify_missed_change_survives_failed_commit(watch: Make, postgresql_database: Any) -> None:
    sensor = watch()
    state = begin(sensor)
    postgresql_database.end_sessions()
    order(postgresql_database, 1)
    assert payloads(sensor.poll(state)) == [(0, 1)]
    # Not committed; and what is sent now explains only itself.
    order(postgresql_database, 2)
    again = sensor.poll(state)
    assert payloads(again) == [(0, 2), "2"]
    # Committed: from here on what is sent explains the value.
    order(postgresql_database, 3)
    assert payloads(sensor.poll(stored(again.state))) == ["3"]


def test_notify_recheck_finds_silent_change(
    watch: Make, postgresql_database: Any, clock: Any
) -> None:
    sensor = watch()
    state = begin(sensor)
    order(postgresql_database, 1, tell=False)
    clock.seconds += 299
    assert payloads(sensor.poll(state)) == []
    clock.seconds += 1
    found = sensor.poll(state)
    assert payloads(found) == [(0, 1)]
    # Its commit fails, and it is not left to the next recheck.
    assert payloads(sensor.poll(state)) == [(0, 1)]
    state = stored(found.state)
    assert payloads(sensor.poll(state)) == []
    order(postgresql_database, 2, tell=False)
    assert payloads(sensor.poll(state)) == []
    clock.seconds += 300
    assert payloads(sensor.poll(state)) == [(1, 2)]


def test_notify_recheck_ignores_notified_change(
    watch: Make, postgresql_database: Any, clock: Any
) -> None:
    sensor = watch()
    state = begin(sensor)
    order(postgresql_database, 1)
    outcome = sensor.poll(state)
    assert payloads(outcome) == ["1"]
    assert outcome.state["value"] == 1
    clock.seconds += 600
    assert payloads(sensor.poll(stored(outcome.state))) == []
    postgresql_database.end_sessions()
    assert payloads(sensor.poll(stored(outcome.state))) == []


def test_notify_listens_before_the_query(
    watch: Make, postgresql_database: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An order that comes just before the query is told of, and one just after it too."""
    sensor = watch()
    query: Any = sensor._query
    ask = query.fetch

    def between() -> Any:
        order(postgresql_database, 1)
        row = ask()
        order(postgresql_database, 2)
        return row

    monkeypatch.setattr(query, "fetch", between)
    first = sensor.poll(sensor.init())
    monkeypatch.undo()
    assert payloads(first) == [({"no_row": True}, 1)]
    assert payloads(sensor.poll(stored(first.state))) == ["1", "2"]


def test_notify_empty_query_fires_nothing(watch: Make, postgresql_database: Any) -> None:
    sensor = watch(query="SELECT max(id) FROM orders")
    first = sensor.poll(sensor.init())
    assert isinstance(first, NotTriggered)
    assert first.state["value"] is None


def test_notify_without_query_warns_of_loss(
    make_notify: Make, watch: Make, postgresql_database: Any, caplog: pytest.LogCaptureFixture
) -> None:
    sensor = make_notify()
    with caplog.at_level(logging.WARNING):
        state = begin(sensor)
        assert "are lost (set query" in caplog.text
        caplog.clear()
        sensor.poll(state)
        assert caplog.text == ""
        postgresql_database.end_sessions()
        notify(postgresql_database, "1")
        assert payloads(sensor.poll(state)) == []
        assert "are lost (set query" in caplog.text
        caplog.clear()
        begin(watch())
        assert caplog.text == ""


@pytest.mark.parametrize(
    ("options", "payload", "partition"),
    [
        ({"partition": "date"}, "x", DAY),
        ({"partition": "payload"}, "tenant-7", "tenant-7"),
        ({"partition": "payload"}, "2025-01-14", date(2025, 1, 14)),
        ({"partition_field": "day"}, '{"day": "2025-01-14", "n": 1}', date(2025, 1, 14)),
        ({"partition_field": "n"}, '{"n": 7}', "7"),
        ({"partition_fn": lambda text: tuple(text.split("/"))}, "eu/7", ("eu", "7")),
        ({"partition_fn": lambda text: None}, "eu", None),
    ],
)
def test_notify_payload_gives_partition(
    make_notify: Make, postgresql_database: Any, options: Any, payload: str, partition: Any
) -> None:
    sensor = make_notify(**options)
    state = begin(sensor)
    notify(postgresql_database, payload)
    outcome = sensor.poll(state)
    events = outcome.events if isinstance(outcome, Triggered) else ()
    assert [event.partition for event in events] == ([] if partition is None else [partition])
    assert payloads(sensor.poll(stored(outcome.state))) == []


@pytest.mark.parametrize(
    ("options", "payload", "reason"),
    [
        ({"partition": "payload"}, "", "empty text"),
        ({"partition": "payload"}, "2025-02-30", "day"),
        ({"partition_field": "day"}, "2025-01-14", "invalid JSON"),
        ({"partition_field": "day"}, "[" * 7000, "invalid JSON"),
        ({"partition_field": "day"}, '["day"]', "not a JSON object with a field 'day'"),
        ({"partition_field": "day"}, '{"dai": 1}', "not a JSON object with a field 'day'"),
        ({"partition_field": "day"}, '{"day": true}', "must be a text or an integer"),
        ({"partition_field": "day"}, '{"day": null}', "must be a text or an integer"),
        ({"partition_fn": lambda text: text.missing}, "x", "AttributeError"),
        ({"partition_fn": lambda text: 7}, "x", "cannot encode a value of type int as a partition"),
    ],
)
def test_notify_without_partition_is_reported_once(
    make_notify: Make, postgresql_database: Any, options: Any, payload: str, reason: str
) -> None:
    sensor = make_notify(**options)
    state = begin(sensor)
    notify(postgresql_database, payload)
    outcome = sensor.poll(state)
    assert payloads(outcome) == []
    (told,) = outcome.skipped
    assert (told.reason, told.count) == ("notification without a partition", 1)
    assert reason in told.example
    # Told again as long as it was not recorded, and no longer.
    assert sensor.poll(state).skipped == outcome.skipped
    assert sensor.poll(stored(outcome.state)).skipped == ()


def test_notify_invalid_does_not_block_valid(make_notify: Make, postgresql_database: Any) -> None:
    sensor = make_notify(partition_field="day")
    state = begin(sensor)
    notify(postgresql_database, "1", "2", '{"day": "x"}', "3", "4")
    outcome = sensor.poll(state)
    assert payloads(outcome) == ['{"day": "x"}']
    (told,) = outcome.skipped
    assert told.count == 4
    assert told.example.startswith("channel 'orders', payload '1': ")
    assert payloads(sensor.poll(state)) == ['{"day": "x"}']
    assert payloads(sensor.poll(stored(outcome.state))) == []


def test_notify_query_gives_partition(watch: Make, postgresql_database: Any) -> None:
    sensor = watch(
        partition="payload",
        query="SELECT tenant, count(*) AS n FROM orders GROUP BY tenant LIMIT 1",
        query_partition="tenant",
    )
    state = begin(sensor)
    postgresql_database.end_sessions()
    order(postgresql_database, 1)
    outcome = sensor.poll(state)
    assert isinstance(outcome, Triggered)
    assert outcome.events[0].partition == "eu"
    postgresql_database.execute("UPDATE orders SET tenant = NULL")
    postgresql_database.end_sessions()
    with pytest.raises(PartitionError, match="no partition for the new value: column 'tenant'"):
        sensor.poll(stored(outcome.state))


def test_notify_poll_waits_for_notification(make_notify: Make, postgresql_database: Any) -> None:
    sensor = make_notify(wait="50s", partition="payload")
    state = begin(sensor)
    ((before,),) = postgresql_database.execute("SELECT clock_timestamp()")
    with ThreadPoolExecutor() as pool:
        polling = pool.submit(sensor.poll, state)
        # It has looked before it waits.
        looked = f"{LISTENERS} AND state = 'idle' AND query_start > '{before}'"
        while not postgresql_database.execute(looked):
            assert not polling.done()
        notify(postgresql_database, "1")
        first = polling.result()
    assert payloads(first) == ["1"]


def test_notify_poll_with_inbox_does_not_wait(make_notify: Make, postgresql_database: Any) -> None:
    sensor = make_notify(wait="1h")
    # That it has only begun to listen is something too: the query may tell more.
    state = begin(sensor)
    notify(postgresql_database, "1")
    assert payloads(sensor.poll(state)) == ["1"]
    assert payloads(sensor.poll(state)) == ["1"]


def test_notify_poll_wait_is_limited(make_notify: Make) -> None:
    sensor = make_notify(wait=timedelta(milliseconds=1))
    state = begin(sensor)
    assert isinstance(sensor.poll(state), NotTriggered)


@pytest.mark.parametrize(
    ("state", "complaint"),
    [
        ({"version": 2}, "version 2"),
        ({"version": 1}, "KeyError"),
        ({"version": 1, "value": 1, "taken": {}}, "KeyError"),
        (None, "TypeError"),
    ],
)
def test_state_unreadable_breaks_the_sensor(make_notify: Make, state: Any, complaint: str) -> None:
    with pytest.raises(SensorBroken, match=complaint):
        make_notify().poll(state)

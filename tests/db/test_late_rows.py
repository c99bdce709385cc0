"""Rows that come too late: ties within a second, and rows behind the last one read."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from flowstone_db import DatabaseRows
from flowstone_db.errors import PartitionError
from flowstone_db.recent_keys import KEPT, READ
from flowstone_db.timestamps import floor, resolution

from flowstone_core import NotTriggered, SensorBroken, Triggered
from tests.db.rows_support import DAY, Make, add, counts, drain, stored

BEHIND = "row behind the last one read"
NOON = datetime(2025, 1, 15, 12, 0, 30, tzinfo=UTC)
SECONDS = {"sqlite": "TEXT", "postgresql": "TIMESTAMP(0)", "mariadb": "DATETIME"}
TENTHS = {"sqlite": "TEXT", "postgresql": "TIMESTAMP(1)", "mariadb": "DATETIME(1)"}
NUMBERS = {"sqlite": "INTEGER", "postgresql": "BIGINT", "mariadb": "BIGINT"}


@pytest.fixture
def own_clock(clock: Any, monkeypatch: Any) -> Any:
    """The clock of the test, which is that of the database too."""
    monkeypatch.setattr("flowstone_db.database.ReadOnlyDatabase.now", lambda *_: clock.now())
    return clock


def _second(moment: datetime) -> object:
    return moment.strftime("%Y-%m-%d %H:%M:%S")


def _tenth(moment: datetime) -> object:
    return f"{_second(moment)}.{moment.microsecond // 100_000}"


@pytest.mark.parametrize("lag", ["0s", "500ms"])
@pytest.mark.parametrize(
    ("kinds", "write"),
    [
        (SECONDS, _second),
        (TENTHS, _tenth),
        (NUMBERS, lambda moment: int(moment.timestamp())),
        (NUMBERS, lambda moment: int(moment.timestamp() * 1000)),
    ],
    ids=["timestamps", "tenths", "seconds", "milliseconds"],
)
def test_F4_ties_in_the_running_second_are_never_lost(
    database: Any,
    make_sensor: Callable[..., Any],
    own_clock: Any,
    lag: str,
    kinds: dict[str, str],
    write: Callable[[datetime], object],
) -> None:
    """A row each 70 ms, and a poll after each."""
    database.execute(f"CREATE TABLE t (at {kinds[database.kind]}, number INTEGER)")
    options = {"table": "t", "mode": "timestamp", "timestamp_column": "at", "lag": lag}
    sensor = make_sensor(DatabaseRows, url=database.url, partition_column="number", **options)
    state, found = sensor.init(), []
    for number in range(20):
        own_clock.time = NOON + timedelta(milliseconds=70 * number)
        mark = database.mark
        database.execute(f"INSERT INTO t VALUES ({mark}, {number})", write(own_clock.time))  # noqa: S608
        own_clock.time += timedelta(milliseconds=30)
        outcome = sensor.poll(stored(state))
        assert outcome.skipped == ()
        found += counts(outcome)
        state = outcome.state
    own_clock.time += timedelta(seconds=2)
    found += counts(sensor.poll(stored(state)))
    assert sorted(found, key=int) == [str(number) for number in range(20)]


@pytest.mark.parametrize(
    ("value", "step"),
    [
        ("2025-01-15 12:00:05", timedelta(seconds=1)),
        ("2025-01-15 12:00:05.000Z", timedelta(seconds=1)),
        ("2025-01-15 12:00:05.123+0200", timedelta(milliseconds=1)),
        ("2025-01-15 12:00:05.1234567", timedelta(microseconds=1)),
        (NOON, timedelta(seconds=1)),
        (NOON.replace(microsecond=1000), timedelta(milliseconds=1)),
        (1736942405, timedelta(seconds=1)),
        ("2025-01-15 12:00:05.30", timedelta(milliseconds=100)),
        (NOON.replace(microsecond=123_400), timedelta(microseconds=100)),
        (Decimal("1736942405.25"), timedelta(milliseconds=10)),
        (1736942405123, timedelta(milliseconds=1)),
        (1736942405123456, timedelta(microseconds=1)),
    ],
)
def test_F4_resolution_of_a_timestamp(value: object, step: timedelta) -> None:
    assert resolution(value) == step
    moment = NOON.replace(microsecond=123456)
    assert moment - step < floor(moment, step) <= moment
    assert floor(floor(moment, step), step) == floor(moment, step)


@pytest.mark.parametrize(
    ("mode", "example"),
    [
        ("incrementing", "id=2"),
        ("timestamp", "2025-01-15 08:30:00"),
        ("timestamp_incrementing", "2025-01-15 08:30:00"),
    ],
)
def test_late_row_behind_the_cursor_is_told_once(
    make_rows: Make, database: Any, mode: str, example: str
) -> None:
    sensor = make_rows(mode=mode, horizon="clock", partition_column="tenant")
    add(database, (1, "08:00:00"), (3, "09:00:00"))
    first = sensor.poll(sensor.init())
    assert counts(first) == {"eu": 2}
    assert first.skipped == ()
    add(database, (2, "08:30:00"))
    second = sensor.poll(stored(first.state))
    assert isinstance(second, NotTriggered)
    (told,) = second.skipped
    assert (told.reason, told.count) == (BEHIND, 1)
    assert example in told.example
    third = sensor.poll(stored(second.state))
    assert isinstance(third, NotTriggered)
    assert (third.skipped, third.state) == ((), second.state)


def test_late_rows_beside_new_ones_are_told_with_them(make_rows: Make, database: Any) -> None:
    sensor = make_rows(mode="timestamp")
    add(database, (1, "08:00:00"), (2, "09:00:00"))
    first = sensor.poll(sensor.init())
    # A second row of the time last read, and one of a time before the first.
    add(database, (3, "09:00:00"), (4, "07:00:00"), (5, "10:00:00"))
    second = sensor.poll(stored(first.state))
    assert isinstance(second, Triggered)
    assert counts(second) == {DAY: 1}
    (told,) = second.skipped
    assert told.count == 2
    assert "09:00:00" in told.example
    assert sensor.poll(stored(second.state)).skipped == ()


def test_late_row_after_rows_were_deleted_is_told(make_rows: Make, database: Any) -> None:
    sensor = make_rows()
    add(database, *((number, f"08:00:{number:02}") for number in range(10)))
    first = sensor.poll(sensor.init())
    database.execute("DELETE FROM orders WHERE id < 5")
    quiet = sensor.poll(stored(first.state))
    assert (counts(quiet), quiet.skipped) == ({}, ())
    again = sensor.poll(stored(quiet.state))
    assert (again.state, again.skipped) == (quiet.state, ())
    add(database, (2, "08:00:05"))
    assert [each.count for each in sensor.poll(stored(again.state)).skipped] == [1]


def test_late_row_in_place_of_a_deleted_one_is_told_with_the_next(
    make_rows: Make, database: Any
) -> None:
    sensor = make_rows()
    add(database, *((number, f"08:00:{number:02}") for number in range(10)))
    first = sensor.poll(sensor.init())
    database.execute("DELETE FROM orders WHERE id = 5")
    add(database, (2, "08:00:05"))
    quiet = sensor.poll(stored(first.state))
    add(database, (11, "09:00:00"))
    second = sensor.poll(stored(quiet.state))
    assert counts(second) == {DAY: 1}
    assert [each.count for each in second.skipped] == [1]


@pytest.mark.parametrize("mode", ["timestamp", "timestamp_incrementing"])
def test_late_rows_among_many_are_told_within_the_last(
    make_rows: Make, database: Any, mode: str
) -> None:
    sensor = make_rows(mode=mode)
    values = ", ".join(
        f"({number}, '2025-01-15 08:{number // 60 % 60:02}:{number % 60:02}', 'eu')"
        for number in range(READ + KEPT)
    )
    database.execute(f"INSERT INTO orders VALUES {values}")  # noqa: S608
    rows, _, state = drain(sensor, sensor.init())
    assert rows == READ + KEPT
    assert len(stored(state)["recent"]["hashes"]) < 3000
    add(database, (9, "08:00:05"))
    beyond = sensor.poll(stored(state))
    (told,) = beyond.skipped
    assert told.count == 1
    assert told.example.startswith("a row up to at=")
    assert sensor.poll(stored(beyond.state)).skipped == ()
    many = ", ".join("(9, '2025-01-15 08:24:59', 'eu')" for _ in range(READ + 7))
    database.execute(f"INSERT INTO orders VALUES {many}")  # noqa: S608
    outcome = sensor.poll(stored(beyond.state))
    (told,) = outcome.skipped
    # Those of the time last read, with an id above the last, are not late.
    assert told.count == READ + 7
    assert sensor.poll(stored(outcome.state)).skipped == ()


def test_late_rows_are_counted_among_the_older(
    make_rows: Make, database: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fill(first: int, count: int) -> None:
        values = ", ".join(
            f"({number}, '2025-01-15 {number // 3600:02}:{number // 60 % 60:02}:{number % 60:02}', "
            "'eu')"
            for number in range(first, first + count)
        )
        database.execute(f"INSERT INTO orders VALUES {values}")  # noqa: S608

    def poll() -> tuple[int, int]:
        nonlocal state
        outcome = sensor.poll(stored(state))
        state = outcome.state
        return sum(counts(outcome).values()), sum(each.count for each in outcome.skipped)

    monkeypatch.setattr("flowstone_db.row_reader.COUNTED", 300)
    sensor = make_rows()
    state = sensor.init()
    fill(10_000, KEPT + 200)
    assert poll() == (KEPT + 200, 0)
    assert stored(state)["recent"]["older"] == {"above": None, "rows": 200}
    add(database, (1, "00:00:01"), (2, "00:00:02"))
    assert poll() == (0, 2)
    assert poll() == (0, 0)
    # A late row in place of deleted ones, whose number has been looked at.
    database.execute("DELETE FROM orders WHERE id < 10010")
    assert poll() == (0, 0)
    add(database, (3, "00:00:03"))
    fill(20_000, 50)
    assert poll() == (50, 1)
    # So many are counted at most: then the count begins anew.
    fill(30_000, 200)
    assert poll() == (200, 0)
    assert stored(state)["recent"]["older"]["rows"] == 0
    add(database, (4, "00:00:04"))
    assert poll() == (0, 0)
    fill(40_000, 100)
    assert poll() == (100, 0)
    assert stored(state)["recent"]["older"]["rows"] == 100


def test_late_rows_are_unknown_to_a_state_of_an_earlier_version(
    make_rows: Make, database: Any
) -> None:
    add(database, (1, "08:00:00"), (2, "09:00:00"))
    sensor = make_rows()
    state = sensor.poll(sensor.init()).state
    old = {name: value for name, value in state.items() if name not in {"recent", "first_pass"}}
    outcome = sensor.poll(stored(old))
    assert (outcome.state, outcome.skipped) == (state, ())
    values = ", ".join(f"({number}, '2025-01-15 07:00:00', 'eu')" for number in range(KEPT))
    database.execute(f"INSERT INTO orders VALUES {values}")  # noqa: S608
    many = sensor.poll(stored(old))
    assert many.skipped == ()
    assert stored(many.state)["recent"]["older"]["rows"] == 0


def test_late_rows_with_start_new_begin_after_the_first_poll(
    make_rows: Make, database: Any
) -> None:
    add(database, (1, "08:00:00"), (2, "09:00:00"))
    sensor = make_rows(start="new")
    first = sensor.poll(sensor.init())
    assert first.skipped == ()
    add(database, (3, "08:30:00"))
    assert [each.count for each in sensor.poll(stored(first.state)).skipped] == [1]


@pytest.mark.parametrize(
    "recent",
    [
        {"above": None, "hashes": "AAA"},
        {"above": None},
        {"above": 1, "hashes": ""},
        {"above": None, "hashes": "", "older": {}},
        "x",
    ],
)
def test_late_rows_with_a_damaged_state_break_the_sensor(make_rows: Make, recent: Any) -> None:
    sensor = make_rows()
    with pytest.raises(SensorBroken, match="cannot read the stored state"):
        sensor.poll({**sensor.init(), "recent": recent})  # type: ignore[typeddict-item]


def test_row_without_partition_is_skipped_by_setting(make_rows: Make, database: Any) -> None:
    options = {"mode": "incrementing", "horizon": "clock", "partition_column": "tenant"}
    fails, skips = make_rows(**options), make_rows(**options, unreadable_rows="skip")
    add(database, (1, "08:00:00"), (2, "09:00:00"))
    mark = database.mark
    database.execute(f"INSERT INTO orders VALUES (3, {mark}, NULL)", "2025-01-15 10:00:00")  # noqa: S608
    database.execute(f"INSERT INTO orders VALUES (4, {mark}, '2025-02-30')", "2025-01-15 11:00:00")  # noqa: S608
    with pytest.raises(PartitionError, match="unreadable_rows = skip"):
        fails.poll(fails.init())
    outcome = skips.poll(skips.init())
    assert counts(outcome) == {"eu": 2}
    (told,) = outcome.skipped
    assert (told.reason, told.count) == ("row without a partition", 2)
    assert told.example == "id=3: column 'tenant' is NULL"
    after = skips.poll(stored(outcome.state))
    assert (counts(after), after.skipped) == ({}, ())

"""Times of databases that convert by session, and local times when clocks are set back."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from flowstone_db import DatabaseChange, DatabaseRows
from flowstone_db.doubled_hour import DoubledHour, doubled_hour

from tests.db.rows_support import counts, drain, stored

ZONES = ["Asia/Tokyo", "America/New_York", "UTC"]


@pytest.fixture
def instants(mariadb_database: Any) -> Any:
    """A database with an empty table of instants."""
    mariadb_database.execute("SET time_zone = '+00:00'")
    mariadb_database.execute("CREATE TABLE orders (id INTEGER, at TIMESTAMP(6) NULL)")
    return mariadb_database


def made(make_sensor: Callable[..., Any], database: Any, **options: Any) -> DatabaseRows:
    usual = {"mode": "timestamp_incrementing", "timestamp_column": "at", "id_column": "id"}
    table = {} if "query" in options else {"table": "orders"}
    sensor = make_sensor(DatabaseRows, url=database.url, **{**usual, **table, **options})
    assert isinstance(sensor, DatabaseRows)
    return sensor


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize(
    "query",
    [
        None,
        "SELECT id, coalesce(at, at) AS at FROM orders",
        "SELECT id, max(at) AS at FROM orders GROUP BY id",
    ],
)
def test_F2_timestamp_by_session_is_an_instant(
    instants: Any, make_sensor: Callable[..., Any], zone: str, query: str | None
) -> None:
    options = {} if query is None else {"query": query}
    sensor = made(make_sensor, instants, timezone=zone, lag="1h", **options)
    instants.execute("INSERT INTO orders VALUES (1, now(6) - INTERVAL 2 HOUR)")
    instants.execute("INSERT INTO orders VALUES (2, now(6) - INTERVAL 30 MINUTE)")
    first = sensor.poll(sensor.init())
    # Neither hours late (New York), nor before the lag has passed (Tokyo).
    assert sum(counts(first).values()) == 1
    instants.execute("INSERT INTO orders VALUES (3, now(6) - INTERVAL 1 HOUR)")
    instants.execute("UPDATE orders SET at = at - INTERVAL 1 HOUR WHERE id > 1")
    rows, _, _ = drain(sensor, stored(first.state))
    assert rows == 2


@pytest.mark.parametrize(
    ("zone", "day"), [("Asia/Tokyo", 16), ("America/New_York", 15), ("Pacific/Apia", 16)]
)
def test_F2_timestamp_partition_is_the_day_in_the_zone(
    instants: Any, make_sensor: Callable[..., Any], zone: str, day: int
) -> None:
    instants.execute("INSERT INTO orders VALUES (1, '2025-01-15 20:30:00')")
    sensor = made(make_sensor, instants, timezone=zone)
    assert counts(sensor.poll(sensor.init())) == {date(2025, 1, day): 1}


def test_F2_timestamp_as_partition_or_value_has_a_zone(
    instants: Any, make_sensor: Callable[..., Any]
) -> None:
    instants.execute("INSERT INTO orders VALUES (1, '2025-01-15 20:30:00')")
    moment = datetime(2025, 1, 15, 20, 30, tzinfo=UTC)
    sensor = made(make_sensor, instants, timezone="Asia/Tokyo", partition_column="at")
    assert list(counts(sensor.poll(sensor.init()))) == [moment]
    change = make_sensor(
        DatabaseChange, url=instants.url, query="SELECT at FROM orders", partition="at"
    )
    (event,) = change.poll(change.init()).events
    assert event.partition == moment
    assert event.payload["value"] == {"datetime": "2025-01-15T20:30:00+00:00"}


def test_F2_cursor_of_an_earlier_version_is_read_as_utc(
    instants: Any, make_sensor: Callable[..., Any]
) -> None:
    instants.execute("INSERT INTO orders VALUES (1, '2025-01-15 20:30:00')")
    instants.execute("INSERT INTO orders VALUES (2, '2025-01-15 20:30:01')")
    sensor = made(make_sensor, instants, timezone="Asia/Tokyo")
    cursor = [{"datetime": "2025-01-15T20:30:00"}, 1]
    old = {"version": 1, "cursor": cursor, "settled": None, "fence": None, "started": True}
    outcome = sensor.poll(old)  # type: ignore[arg-type]
    assert counts(outcome) == {date(2025, 1, 16): 1}
    assert outcome.state["cursor"] == [{"datetime": "2025-01-15T20:30:01+00:00"}, 2]  # type: ignore[index]


DOUBLED = date(2026, 10, 25)


@pytest.fixture(params=["sqlite_file", "mariadb_database", "postgresql_database"])
def local_times(request: pytest.FixtureRequest, clock: Any, monkeypatch: Any) -> Any:
    """A database with an empty table of local times, and with the time of the test's clock."""
    database = request.getfixturevalue(request.param)
    kinds = {"sqlite": "TEXT", "mariadb": "DATETIME(6)", "postgresql": "TIMESTAMP"}
    database.execute(f"CREATE TABLE orders (id INTEGER, at {kinds[database.kind]})")
    monkeypatch.setattr("flowstone_db.database.ReadOnlyDatabase.now", lambda *_: clock.now())
    return database


def insert(database: Any, number: int, at: str) -> None:
    database.execute(f"INSERT INTO orders VALUES ({number}, '2026-10-25 {at}')")  # noqa: S608


@pytest.mark.parametrize("mode", ["timestamp", "timestamp_incrementing"])
def test_F3_local_times_of_the_doubled_hour_are_found(
    local_times: Any, make_sensor: Callable[..., Any], clock: Any, mode: str
) -> None:
    options: dict[str, Any] = {"mode": mode} | ({"id_column": None} if mode == "timestamp" else {})
    sensor = made(make_sensor, local_times, timezone="Europe/Berlin", **options)
    insert(local_times, 1, "02:50:00")
    clock.time = datetime(2026, 10, 25, 0, 51, tzinfo=UTC)
    first = sensor.poll(sensor.init())
    assert counts(first) == {DOUBLED: 1}
    # Twenty minutes later clocks show 02:10 for the second time.
    insert(local_times, 2, "02:10:00")
    clock.time = datetime(2026, 10, 25, 1, 11, tzinfo=UTC)
    second = sensor.poll(stored(first.state))
    assert counts(second) == {DOUBLED: 1}
    assert second.skipped == ()
    # The second pass goes over the first row once more.
    insert(local_times, 3, "02:55:00")
    insert(local_times, 4, "03:05:00")
    clock.time = datetime(2026, 10, 25, 2, 10, tzinfo=UTC)
    third = sensor.poll(stored(second.state))
    assert counts(third) == {DOUBLED: 3}
    assert counts(sensor.poll(stored(third.state))) == {}


def test_F3_local_times_are_found_when_transactions_are_waited_for(
    request: pytest.FixtureRequest, make_sensor: Callable[..., Any], clock: Any, monkeypatch: Any
) -> None:
    database: Any = request.getfixturevalue("postgresql_database")
    monkeypatch.setattr("flowstone_db.database.ReadOnlyDatabase.now", lambda *_: clock.now())
    database.execute("CREATE TABLE orders (id INTEGER, at TIMESTAMP)")
    sensor = made(make_sensor, database, timezone="Europe/Berlin", horizon="snapshot")
    insert(database, 1, "02:50:00")
    clock.time = datetime(2026, 10, 25, 0, 51, tzinfo=UTC)
    with database.connect() as other:
        other.execute("SELECT 1")
        waiting = sensor.poll(sensor.init())
        assert counts(waiting) == {}
    first = sensor.poll(stored(waiting.state))
    assert counts(first) == {DOUBLED: 1}
    assert first.state["settled"] == {"datetime": "2026-10-25T00:50:55+00:00"}
    insert(database, 2, "02:10:00")
    clock.time = datetime(2026, 10, 25, 1, 11, tzinfo=UTC)
    assert counts(sensor.poll(stored(first.state))) == {DOUBLED: 1}
    # A bound that an earlier version stored as a local time.
    old = {**stored(first.state), "settled": {"datetime": "2026-10-25T02:05:00"}}
    with database.connect() as other:
        other.execute("SELECT 1")
        assert counts(sensor.poll(old)) == {}


def test_F3_sensor_that_was_down_in_the_second_pass_reads_it(
    local_times: Any, make_sensor: Callable[..., Any], clock: Any
) -> None:
    sensor = made(make_sensor, local_times, timezone="Europe/Berlin")
    insert(local_times, 1, "02:50:00")
    clock.time = datetime(2026, 10, 25, 0, 51, tzinfo=UTC)
    first = sensor.poll(sensor.init())
    insert(local_times, 2, "02:10:00")
    insert(local_times, 3, "09:00:00")
    clock.time = datetime(2026, 10, 26, 0, 0, tzinfo=UTC)
    second = sensor.poll(stored(first.state))
    assert counts(second) == {DOUBLED: 3}
    assert counts(sensor.poll(stored(second.state))) == {}


@pytest.mark.parametrize("zone", ["Australia/Lord_Howe", "America/Nuuk", "Africa/Casablanca"])
def test_F3_each_instant_of_a_year_is_found_in_its_zone(
    sqlite_file: Any, make_sensor: Callable[..., Any], clock: Any, zone: str
) -> None:
    """A row each ten minutes in the two days about each change of clocks of 2026."""
    sqlite_file.execute("CREATE TABLE orders (id INTEGER, at TEXT)")
    sensor = made(make_sensor, sqlite_file, timezone=zone, lag="0s", partition_column="id")
    state, found, number = sensor.init(), set(), 0
    for moment in _about_changes(ZoneInfo(zone)):
        number += 1
        local = moment.astimezone(ZoneInfo(zone)).replace(tzinfo=None)
        sqlite_file.execute("INSERT INTO orders VALUES (?, ?)", number, local.isoformat(" "))
        clock.time = moment + timedelta(minutes=1)
        outcome = sensor.poll(stored(state))
        found |= set(counts(outcome))
        assert outcome.skipped == ()
        state = outcome.state
    assert found == {str(each) for each in range(1, number + 1)}


def _about_changes(zone: ZoneInfo) -> list[datetime]:
    step = timedelta(minutes=10)
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    moments = [moment + step * number for number in range(6 * 24 * 365)]
    offsets = [each.astimezone(zone).utcoffset() for each in moments]
    changes = [at for at in range(1, len(moments)) if offsets[at] != offsets[at - 1]]
    near = {each for at in changes for each in range(max(0, at - 36), min(at + 36, len(moments)))}
    return [moments[each] for each in sorted(near)]


@pytest.mark.parametrize(
    ("zone", "wall", "start", "second"),
    [
        ("Europe/Berlin", "2026-10-25T02:00:00", "2026-10-25T02:00", "2026-10-25T01:00Z"),
        ("Europe/Berlin", "2026-10-25T02:59:59.999999", "2026-10-25T02:00", "2026-10-25T01:00Z"),
        ("Australia/Lord_Howe", "2026-04-05T01:45:00", "2026-04-05T01:30", "2026-04-04T15:00Z"),
        ("Europe/Berlin", "2026-10-25T03:00:00", None, None),
        ("Europe/Berlin", "2026-10-25T01:59:59", None, None),
        ("Europe/Berlin", "2026-03-29T02:30:00", None, None),
        ("UTC", "2026-10-25T02:30:00", None, None),
    ],
)
def test_F3_doubled_hour_of_a_local_time(
    zone: str, wall: str, start: str | None, second: str | None
) -> None:
    found = doubled_hour(datetime.fromisoformat(wall), ZoneInfo(zone))
    if start is None or second is None:
        assert found is None
    else:
        expected = DoubledHour(datetime.fromisoformat(start), datetime.fromisoformat(second))
        assert found == expected

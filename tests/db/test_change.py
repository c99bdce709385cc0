from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from importlib.metadata import entry_points
from typing import Any

import flowstone_db
import pytest
from flowstone_db import DatabaseChange
from flowstone_db.errors import PartitionError, QueryError

from flowstone_core import NotTriggered, RetryLater, SensorBroken, Triggered
from flowstone_core.model.sensor import is_sensor_class
from flowstone_core.model.sensor_decision import SensorObservation, TickRules, decide
from flowstone_core.model.tick import SensorCheckpoint
from flowstone_core.plugin.hookspecs import API_VERSION

Make = Callable[..., DatabaseChange]
DAY = date(2025, 1, 15)
NO_ROW = {"no_row": True}


@pytest.fixture
def make(make_sensor: Callable[..., Any], database: Any) -> Make:
    """Make sensors on an empty table, ``price(item, cents)``, of each kind of database."""
    database.execute("CREATE TABLE price (item TEXT, cents INTEGER)")

    def made(query: str, **options: Any) -> DatabaseChange:
        sensor = make_sensor(DatabaseChange, url=database.url, query=query, **options)
        assert isinstance(sensor, DatabaseChange)
        return sensor

    return made


def stored(state: Any) -> Any:
    """Return a state as it is after a restart."""
    return json.loads(json.dumps(state))


def payload(outcome: Any) -> Any:
    """The payload of an outcome's one event."""
    assert isinstance(outcome, Triggered)
    (event,) = outcome.events
    return event.payload


def test_new_data_fires(make: Make, database: Any) -> None:
    sensor = make("SELECT max(cents) FROM price")
    nothing = sensor.poll(sensor.init())
    assert isinstance(nothing, NotTriggered)
    database.execute("INSERT INTO price VALUES ('tea', 250)")
    first = sensor.poll(stored(nothing.state))
    assert payload(first) == {"value": 250, "previous": None}
    assert first.events[0].partition == DAY
    quiet = sensor.poll(first.state)
    assert isinstance(quiet, NotTriggered)
    assert quiet.state is first.state
    database.execute("UPDATE price SET cents = 240")
    fallen = sensor.poll(stored(first.state))
    assert payload(fallen) == {"value": 240, "previous": 250}
    database.execute("DELETE FROM price")
    assert payload(sensor.poll(fallen.state)) == {"value": None, "previous": 240}


def test_Q3_change_between_no_row_and_null_fires_nothing(make: Make, database: Any) -> None:
    sensor = make("SELECT item, cents FROM price")
    state = sensor.init()
    assert sensor.poll(state).state is state
    database.execute("INSERT INTO price VALUES (NULL, NULL)")
    nulls = sensor.poll(state)
    assert isinstance(nulls, NotTriggered)
    assert nulls.state["value"] == {"item": None, "cents": None}
    database.execute("UPDATE price SET cents = 0")
    some = sensor.poll(nulls.state)
    assert payload(some)["value"] == {"item": None, "cents": 0}
    database.execute("DELETE FROM price")
    gone = sensor.poll(some.state)
    assert payload(gone) == {"value": NO_ROW, "previous": {"item": None, "cents": 0}}
    assert isinstance(sensor.poll(gone.state), NotTriggered)


def test_Q3_change_of_type_fires(make: Make) -> None:
    numbers, texts = make("SELECT 1 AS n"), make("SELECT '1' AS n")
    state = numbers.poll(numbers.init()).state
    assert payload(texts.poll(state)) == {"value": "1", "previous": 1}


def test_Q3_postgresql_types_are_encoded(
    make_sensor: Callable[..., Any], postgresql_database: Any
) -> None:
    query = """SELECT 1.50 AS d, 'NaN'::float8 AS f, true AS b, '2025-01-15'::date AS day,
        '2025-01-15 10:00+02'::timestamptz AS t, '2025-01-15 10:00'::timestamp AS naive,
        'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'::uuid AS u, '\\x00'::bytea AS raw,
        ARRAY[1, NULL] AS list, '{"a": 1}'::jsonb AS doc, interval '1 s' AS i, time '10:00' AS c"""
    sensor = make_sensor(DatabaseChange, url=postgresql_database.url, query=query)
    first = sensor.poll(sensor.init())
    assert payload(first)["value"] == {
        "d": {"decimal": "1.5"},
        "f": {"float": "nan"},
        "b": True,
        "day": {"date": "2025-01-15"},
        "t": {"datetime": "2025-01-15T08:00:00+00:00"},
        "naive": {"datetime": "2025-01-15T10:00:00"},
        "u": {"uuid": "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"},
        "raw": {"bytes": "AA=="},
        "list": [1, None],
        "doc": {"json": {"a": 1}},
        "i": {"microseconds": "1000000"},
        "c": {"time": "10:00:00"},
    }
    assert isinstance(sensor.poll(stored(first.state)), NotTriggered)
    postgresql_database.execute("ALTER ROLE postgres SET TimeZone = 'Asia/Tokyo'")
    again = make_sensor(DatabaseChange, url=postgresql_database.url, query=query)
    assert isinstance(again.poll(first.state), NotTriggered)
    postgresql_database.execute("ALTER ROLE postgres RESET TimeZone")
    odd = make_sensor(DatabaseChange, url=postgresql_database.url, query="SELECT '::1'::inet AS ip")
    with pytest.raises(QueryError, match="column 'ip': unsupported type IPv6Address"):
        odd.poll(odd.init())


def test_Q3_sqlite_bytes_are_encoded(make_sensor: Callable[..., Any], sqlite_file: Any) -> None:
    sensor = make_sensor(DatabaseChange, url=sqlite_file.url, query="SELECT x'00' AS raw, 1.0 AS f")
    value = payload(sensor.poll(sensor.init()))["value"]
    assert json.dumps(value) == '{"raw": {"bytes": "AA=="}, "f": 1.0}'


def test_Q4_falling_or_returning_value_fires(make: Make, database: Any) -> None:
    """After a restore, known values occur again."""
    sensor = make("SELECT max(cents) FROM price")
    database.execute("INSERT INTO price VALUES ('tea', 250)")
    state = sensor.poll(sensor.init()).state
    for previous, cents in ((250, 100), (100, 250), (250, -1)):
        database.execute(f"UPDATE price SET cents = {cents}")  # noqa: S608
        outcome = sensor.poll(stored(state))
        assert payload(outcome) == {"value": cents, "previous": previous}
        state = outcome.state


def test_Q5_endless_query_is_not_fetched_completely(make: Make, database: Any) -> None:
    query = {
        "sqlite": "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n",
        "postgresql": "SELECT 1 AS n FROM generate_series(1, 99999) a, generate_series(1, 99999) b",
        "mariadb": "SELECT a.seq FROM seq_1_to_1000000000 a, seq_1_to_1000000000 b",
    }
    sensor = make(query[database.kind])
    with pytest.raises(QueryError, match="more than one row"):
        sensor.poll(sensor.init())


@pytest.mark.parametrize(
    ("query", "complaint"),
    [
        ("SELECT 1 AS n UNION ALL SELECT 2", "more than one row"),
        ("SELECT 1 AS n, 2 AS n", "2 columns named 'n'"),
        ("SELECT replace(hex(zeroblob(40000)), '0', 'x')", "value too large: 80,002 bytes"),
        ("SELECT nothing FROM price", "the query failed: .*nothing"),
        ("SELECT (SELECT 1", "the query failed"),
    ],
)
def test_query_unusable_names_the_fault(
    make_sensor: Callable[..., Any], sqlite_file: Any, query: str, complaint: str
) -> None:
    sqlite_file.execute("CREATE TABLE price (item TEXT)")
    sensor = make_sensor(DatabaseChange, url=sqlite_file.url, query=query)
    with pytest.raises(QueryError, match=complaint):
        sensor.poll(sensor.init())


def test_query_signs_are_not_placeholders(make: Make) -> None:
    sensor = make("SELECT '%s :x %(y)s ? %' AS n -- :z %d ?")
    assert payload(sensor.poll(sensor.init()))["value"] == "%s :x %(y)s ? %"


def test_change_default_partition_is_utc_date(make: Make, clock: Any) -> None:
    sensor = make("SELECT 1 AS n")
    clock.time = datetime.fromisoformat("2025-01-16T01:00:00+02:00")
    assert sensor.poll(sensor.init()).events[0].partition == DAY  # type: ignore[union-attr]


@pytest.mark.parametrize(("column", "partition"), [("item", "tea"), ("cents", "250")])
def test_change_column_gives_partition(
    make: Make, database: Any, column: str, partition: str
) -> None:
    database.execute("INSERT INTO price VALUES ('tea', 250)")
    sensor = make("SELECT item, cents FROM price", partition=column)
    first = sensor.poll(sensor.init())
    assert isinstance(first, Triggered)
    assert first.events[0].partition == partition
    database.execute("DELETE FROM price")
    gone = sensor.poll(first.state)
    assert isinstance(gone, NotTriggered)
    assert gone.state["value"] == NO_ROW


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"partition": "day"}, "unknown column 'day'; there are 'item', 'cents'"),
        ({"partition": "cents"}, "column 'cents' is NULL"),
        ({"partition_fn": lambda row: ""}, "the partition must not be empty"),
        ({"partition_fn": lambda row: row["day"]}, "KeyError: 'day'"),
        ({"partition_fn": lambda row: 7}, "cannot encode a value of type int as a partition"),
    ],
)
def test_change_value_without_partition_fails_poll(
    make: Make, database: Any, options: Any, complaint: str
) -> None:
    database.execute("INSERT INTO price VALUES ('tea', NULL)")
    sensor = make("SELECT item, cents FROM price", **options)
    with pytest.raises(PartitionError, match=f"no partition for the new value: {complaint}"):
        sensor.poll(sensor.init())


def test_change_boolean_partition_is_refused(
    make_sensor: Callable[..., Any], postgresql_database: Any
) -> None:
    url = postgresql_database.url
    sensor = make_sensor(DatabaseChange, url=url, query="SELECT true AS b", partition="b")
    with pytest.raises(
        PartitionError, match="column 'b' has unsupported type bool; a partition must be a date"
    ):
        sensor.poll(sensor.init())


def test_partition_fn_gives_partition_or_none(make: Make, database: Any) -> None:
    database.execute("INSERT INTO price VALUES ('tea', 250)")
    query = "SELECT item, cents FROM price"
    sensor = make(query, partition_fn=lambda row: (row["item"], str(row["cents"])))
    assert sensor.poll(sensor.init()).events[0].partition == ("tea", "250")  # type: ignore[union-attr]
    silent = make(query, partition_fn=lambda row: None)
    outcome = silent.poll(silent.init())
    assert isinstance(outcome, NotTriggered)
    assert outcome.state["value"] == {"item": "tea", "cents": 250}


def test_change_intent_of_partition_fn_passes(make: Make) -> None:
    def later(row: Any) -> None:
        raise RetryLater(timedelta(hours=1))

    sensor = make("SELECT 1 AS n", partition_fn=later)
    with pytest.raises(RetryLater):
        sensor.poll(sensor.init())


def test_change_returning_value_is_another_event(make: Make, database: Any) -> None:
    sensor = make("SELECT max(cents) FROM price")
    rules = TickRules("prices", "report", {"report"})
    memory = SensorCheckpoint(state=json.dumps(sensor.init()))

    def key() -> str:
        nonlocal memory
        outcome = sensor.poll(json.loads(memory.state or ""))
        now = datetime(2025, 1, 15, tzinfo=UTC)
        (commit,) = decide(rules, memory, SensorObservation(outcome, now, now)).commits
        memory = commit.after
        (event,) = commit.events
        return event.key

    database.execute("INSERT INTO price VALUES ('tea', 250)")
    before, first = memory, key()
    memory = before
    assert key() == first
    database.execute("UPDATE price SET cents = 240")
    second = key()
    database.execute("UPDATE price SET cents = 250")
    third = key()
    database.execute("UPDATE price SET cents = 240")
    assert len({first, second, third, key()}) == 4


@pytest.mark.parametrize(
    ("state", "complaint"),
    [({"version": 2}, "version 2"), ({}, "KeyError"), (None, "TypeError"), ({"version": 1}, "Key")],
)
def test_state_unreadable_breaks_the_sensor(make: Make, state: Any, complaint: str) -> None:
    with pytest.raises(SensorBroken, match=complaint):
        make("SELECT 1").poll(state)


def test_change_connect_checks_query_without_running(make: Make, database: Any, clock: Any) -> None:
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n"
    clock.step = 1.0
    make(endless).connect()
    make("(SELECT cents FROM price)" if database.kind != "sqlite" else "VALUES (1)").connect()
    with pytest.raises(QueryError, match=r"the query failed: .*nothing"):
        make("SELECT nothing FROM price").connect()


def test_plugin_offers_its_sensors() -> None:
    assert flowstone_db.FLOWSTONE_API == API_VERSION
    sensors = flowstone_db.flowstone_sensors()
    assert sensors["database_change"] is DatabaseChange
    assert all(map(is_sensor_class, sensors.values()))
    (entry,) = entry_points(group="flowstone", name="db")
    assert entry.load() is flowstone_db


def test_plugin_import_does_not_import_sqlalchemy() -> None:
    code = (
        "import sys, flowstone_db\n"
        "for sensor in flowstone_db.flowstone_sensors().values():\n"
        "    sensor.Config.model_json_schema(mode='serialization')\n"
        "assert not {'sqlalchemy', 'psycopg'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)

"""Row sets: values come back as they were written, and ids are taken once."""

from __future__ import annotations

from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Boolean, Column, MetaData, Table, Text, delete, func, insert, select, update

from flowstone_core.errors import StoreError
from flowstone_core.store import schema
from flowstone_core.store.column_types import ID, UtcDateTime
from flowstone_core.store.database import Database
from flowstone_core.store.row_sets import matching, row_set
from flowstone_core.store.row_writes import NumberedRowInsert, RowInsert, RowUpdate
from flowstone_core.store.store_url import parse_url

NOW = datetime(2025, 1, 15, 12, tzinfo=UTC)
TYPES = {"id": ID, "at": UtcDateTime(), "flag": Boolean(), "text": Text()}
VALUES = Table(
    "row_set_values",
    MetaData(),
    *(Column(name, kind, primary_key=name == "id") for name, kind in TYPES.items()),
    prefixes=["TEMPORARY"],
)
INSERT = RowInsert(*VALUES.c)
COPY = RowInsert(VALUES.c.text, VALUES.c.id)
UPDATE = RowUpdate(
    VALUES.c.id,
    {name: TYPES[name] for name in ("at", "flag", "text")},
    lambda row: {
        "text": row["text"],
        "at": func.coalesce(row["at"], row["at"]),
        "flag": row["flag"],
    },
)
GIVEN = row_set("given", **TYPES)
COLUMNS = [GIVEN.c[name] for name in TYPES]
WANTED = row_set("wanted", id=ID)
JOINED = select(VALUES).select_from(matching(WANTED, VALUES)).order_by(WANTED.c.position)
SET = (
    update(VALUES)
    .where(VALUES.c.id == GIVEN.c.id)
    .values(at=GIVEN.c.at, flag=GIVEN.c.flag, text=GIVEN.c.text)
    .returning(*VALUES.c)
)
ADD = insert(VALUES).from_select(list(TYPES), select(*COLUMNS)).returning(*VALUES.c)

ZONES = st.sampled_from(
    [UTC, timezone(timedelta(hours=5, minutes=45)), timezone(-timedelta(hours=9))]
)
INSTANTS = st.builds(
    lambda since, zone: (NOW + since).astimezone(zone),
    st.timedeltas(timedelta(days=-700_000), timedelta(days=2_900_000)),
    ZONES,
)
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0")) | st.sampled_from(
    [
        "\\u0000",
        '"\\\\u0000"',
        "null",
        '{"a": [1, null, "\\u0000 𝄞"]}',
        "%s :x $[0] '; --",
        "\x7f\u2028",
    ]
)
ROW = st.tuples(
    st.integers(-(2**63), 2**63 - 1), st.none() | INSTANTS, st.none() | st.booleans(),
    st.none() | TEXTS,
)  # fmt: skip


class _RollBackError(Exception):
    """Ends a transaction."""


@pytest.fixture
def database(store_url):
    with closing(Database(parse_url(store_url))) as opened:
        yield opened


def in_transaction(database, function):
    """Call a function with a connection, and roll back what the function wrote."""
    found = []

    def write(connection):
        found.append(function(connection))
        raise _RollBackError

    with suppress(_RollBackError):
        database.write(write)
    return found[0]


@given(rows=st.lists(ROW, max_size=20, unique_by=lambda row: row[0]))
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_rows_of_each_type_come_back_as_they_were(database, rows):
    rows = sorted(rows)

    def check(connection):
        VALUES.create(connection)
        INSERT(connection, rows)
        yield connection.execute(select(VALUES).order_by(VALUES.c.id))
        yield connection.execute(JOINED, {"wanted": [row[:1] for row in rows]})
        yield connection.execute(SET, {"given": rows})
        UPDATE(connection, [(row[0], None, None, None) for row in rows])
        UPDATE(connection, rows)
        yield connection.execute(select(VALUES))
        connection.execute(delete(VALUES))
        yield connection.execute(ADD, {"given": rows})

    results = in_transaction(database, lambda connection: [r.all() for r in check(connection)])
    assert [sorted(map(tuple, result)) for result in results] == [rows] * 5


@pytest.mark.parametrize("value", ["\ud800", "a\0b"])
def test_text_that_the_database_cannot_hold_is_refused(database, value):
    def join(connection):
        VALUES.create(connection)
        connection.execute(SET, {"given": [(1, None, None, value)]})

    with pytest.raises((StoreError, UnicodeEncodeError)):
        database.write(join)


@pytest.mark.parametrize("write", [INSERT, UPDATE])
def test_a_value_of_another_type_is_refused_as_before(database, write):
    def naive(connection):
        VALUES.create(connection)
        write(connection, [(1, NOW.replace(tzinfo=None), None, None)])

    with pytest.raises(StoreError, match=r"cannot store a value.*naive"):
        database.write(naive)


def test_columns_in_another_order_are_inserted_by_name(database):
    def write(connection):
        VALUES.create(connection)
        COPY(connection, [("a", 1), ("b", 2)])
        COPY(connection, [])
        return connection.execute(select(VALUES.c.id, VALUES.c.text).order_by(VALUES.c.id)).all()

    assert in_transaction(database, write) == [(1, "a"), (2, "b")]


TICK = [schema.ticks.c[name] for name in ("source", "outcome", "started_at", "finished_at")]
TICK += [schema.ticks.c.events, schema.ticks.c.duplicates]
NUMBERED = NumberedRowInsert(*TICK)


def take(connection, count):
    return list(NUMBERED(connection, [("s", "failed", NOW, NOW, 0, 0)] * count))


def test_ids_follow_one_another_and_are_never_given_twice(database):
    def by_itself(connection):
        values = {"source": "s", "outcome": "failed", "started_at": NOW, "finished_at": NOW}
        statement = insert(schema.ticks).values(**values, events=0, duplicates=0)
        return connection.scalars(statement.returning(schema.ticks.c.id)).all()

    given_ids = [database.write(take, 0), database.write(take, 3)]
    in_transaction(database, lambda connection: take(connection, 2))
    given_ids.append(database.write(by_itself))
    given_ids.append(database.write(take, 1))
    database.write(lambda connection: connection.execute(delete(schema.ticks)))
    given_ids += [database.write(take, 2), database.write(by_itself), database.write(take, 2)]
    flat = [number for numbers in given_ids for number in numbers]
    assert [len(numbers) for numbers in given_ids] == [0, 3, 1, 1, 2, 1, 2]
    assert flat == sorted(set(flat))


def test_ids_on_sqlite_follow_an_explicit_one_and_a_lost_sequence(tmp_path, migrated_file):
    path = tmp_path / "flowstone.db"
    path.write_bytes(migrated_file.read_bytes())

    def forget(connection):
        connection.exec_driver_sql("DELETE FROM sqlite_sequence")

    with closing(Database(parse_url(f"sqlite:///{path}"))) as database:
        assert database.write(take, 1) == [1]
        database.write(lambda connection: connection.execute(update(schema.ticks).values(id=41)))
        assert database.write(take, 2) == [42, 43]
        database.write(forget)
        assert database.write(take, 1) == [44]


def test_one_text_serves_any_number_of_rows(database):
    def count_texts(connection):
        VALUES.create(connection)
        cached = {}
        for count in (0, 1, 1_000):
            rows = [(number,) for number in range(count)]
            options = {"compiled_cache": cached}
            connection.execute(JOINED, {"wanted": rows}, execution_options=options).all()
        return len(cached)

    assert in_transaction(database, count_texts) == 1

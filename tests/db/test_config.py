from __future__ import annotations

from datetime import timedelta
from typing import Any

import pydantic
import pytest
from flowstone_db.config import DatabaseChangeConfig, DatabaseRowsConfig
from flowstone_db.notify_config import PostgresNotifyConfig
from flowstone_db.partitioning import as_partition
from flowstone_db.url import parse_database_url

CANARY = "c4n4ry/p@ss"


def make(**options: Any) -> DatabaseChangeConfig:
    usual = {"url": "sqlite:///shop.db", "query": "SELECT 1"}
    return DatabaseChangeConfig.model_validate(usual | options)


def test_config_requires_only_url_and_query() -> None:
    config = make()
    assert config.timeout == timedelta(seconds=30)
    assert config.model_fields_set == {"url", "query"}


@pytest.mark.parametrize(
    ("url", "driver", "shown"),
    [
        ("sqlite:///shop.db", "sqlite+pysqlite", "sqlite:///shop.db"),
        ("postgres://me@host/shop", "postgresql+psycopg", "postgresql://me@host/shop"),
        ("postgresql://me:x@host:5/shop?sslmode=require", "postgresql+psycopg", None),
        ("postgresql+psycopg://host/shop", "postgresql+psycopg", "postgresql://host/shop"),
        ("mysql://host/shop", "mysql+pymysql", "mysql://host/shop"),
        ("mariadb+pymysql://host/shop", "mariadb+pymysql", "mariadb://host/shop"),
    ],
)
def test_config_driver_follows_url(url: str, driver: str, shown: str | None) -> None:
    address = parse_database_url(url)
    assert address.url.drivername == driver
    assert str(address) == (shown or "postgresql://me:***@host:5/shop")


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"url": "shop.db"}, "invalid URL: use sqlite:///path"),
        ({"url": "postgresql://me:p@ss:word@host:port/x"}, "invalid URL"),
        ({"url": "oracle://host/shop"}, "unsupported database or driver 'oracle': use sqlite"),
        (
            {"url": "postgresql+asyncpg://host/shop"},
            "unsupported database or driver 'postgresql.asyncpg'",
        ),
        ({"url": "sqlite://"}, "name a file"),
        ({"url": "sqlite:///:memory:"}, "name a file"),
        ({"url": "sqlite:///file:x.db"}, "must be sqlite:/// and a path"),
        ({"url": "sqlite:///x.db?mode=rwc"}, "must be sqlite:/// and a path"),
        ({"url": "sqlite://host/x.db"}, "must be sqlite:/// and a path"),
        ({"password": "secret"}, "without a password"),
        ({"url": "postgresql://a:b@host/x", "password": "c"}, "duplicate password"),
        ({"url": ""}, "at least 1"),
        ({"timeout": "0s"}, "greater than"),
        ({"query": ""}, "must begin with SELECT"),
        ({"query": "DELETE FROM t"}, "must begin with SELECT"),
        ({"query": "/* SELECT */ DROP TABLE t"}, "must begin with SELECT"),
        ({"query": "/*! DROP TABLE t */ SELECT 1"}, "must begin with SELECT"),
        ({"partition": "day", "partition_fn": as_partition}, "exclude each other"),
        ({"partition_fn": "no.such:function"}, "No module named"),
        ({"qery": "x"}, "Extra inputs"),
    ],
)
def test_config_invalid_setting_names_the_fault(options: dict[str, object], complaint: str) -> None:
    with pytest.raises(pydantic.ValidationError) as caught:
        make(**options)
    (problem,) = caught.value.errors()
    with pytest.raises(ValueError, match=complaint):
        raise ValueError(problem["msg"])


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("  select 1 ;\n", "select 1"),
        ("-- the newest\n/* of all */ SELECT 1", "-- the newest\n/* of all */ SELECT 1"),
        ("WITH n AS (SELECT 1) SELECT * FROM n", "WITH n AS (SELECT 1) SELECT * FROM n"),
        ("(SELECT 1) UNION (SELECT 2)", "(SELECT 1) UNION (SELECT 2)"),
    ],
)
def test_config_query_is_normalized(given: str, kept: str) -> None:
    assert make(query=given).query == kept


def test_config_password_is_literal() -> None:
    config = make(url="postgresql://me@host/shop", password=CANARY)
    assert config.database_url().url.password == CANARY
    escaped = make(url="postgresql://me:c4n4ry%2Fp%40ss@host/shop")
    assert escaped.database_url().url.password == CANARY


def test_config_text_hides_secrets() -> None:
    config = make(url="postgresql://me:c4n4ry1@host/shop?sslpassword=c4n4ry2")
    other = make(url="postgresql://me@host/shop", password=CANARY)
    for found in (config, other):
        texts = (repr(found), str(found), found.model_dump_json(), str(found.database_url()))
        assert not [text for text in texts if "c4n4ry" in text]
    # What a driver says may quote a secret, in whatever form.
    said = f"no entry for me:c4n4ry1 with c4n4ry2, {CANARY}, c4n4ry%2Fp%40ss"
    assert other.database_url().mask(config.database_url().mask(said)) == (
        "no entry for me:*** with ***, ***, ***"
    )


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:c4n4ry@c4n4ry@host/shop",
        "mysql://me:c4n4ry@c4n4ry/x@host/shop",
        "mariadb://me:c4n4ry@c4n4ry:1@host:3306/shop",
    ],
)
def test_S9_password_with_at_is_refused_unshown(url: str) -> None:
    with pytest.raises(pydantic.ValidationError, match=r"unescaped '@' .* as %40") as caught:
        make(url=url)
    assert "c4n4ry" not in str(caught.value)
    named = make(url="mysql://me:p%40ss@host/my%40shop").database_url().url
    assert (named.password, named.database) == ("p@ss", "my@shop")


def test_config_errors_hide_secrets() -> None:
    for url in ("oracle://me:c4n4ry@host/x", "postgresql://me:c4n4ry@x:c4n4ry/x", "c4n4ry"):
        with pytest.raises(pydantic.ValidationError) as caught:
            make(url=url, password="c4n4ry2")
        assert "c4n4ry" not in str(caught.value)


def test_config_short_password_is_not_masked() -> None:
    assert parse_database_url("postgresql://a:a@host/x").mask("a table") == "a table"


def test_config_partition_fn_by_name_or_object() -> None:
    named = make(partition_fn="flowstone_db.partitioning:as_partition")
    assert named.partition_fn is as_partition
    assert make(partition_fn=as_partition).partition_fn is as_partition


def test_config_settings_have_descriptions() -> None:
    models = (DatabaseChangeConfig, DatabaseRowsConfig, PostgresNotifyConfig)
    fields = [item for model in models for item in model.model_fields.items()]
    assert [name for name, field in fields if not field.description] == []


def make_rows(**options: Any) -> DatabaseRowsConfig:
    usual = {"url": "postgresql://host/shop", "mode": "timestamp", "timestamp_column": "at"}
    return DatabaseRowsConfig.model_validate(usual | {"table": "orders"} | options)


def test_config_rows_minimal_settings() -> None:
    config = make_rows()
    assert config.keys == ("at",)
    assert (config.lag, config.row_limit) == (timedelta(seconds=5), 10_000)
    both = make_rows(mode="timestamp_incrementing", id_column="id", timezone="Europe/Warsaw")
    assert both.keys == ("at", "id")


@pytest.mark.parametrize(
    ("options", "waits"),
    [
        ({}, False),
        ({"horizon": "snapshot"}, True),
        ({"mode": "incrementing"}, True),
        ({"mode": "incrementing", "horizon": "clock"}, False),
        ({"mode": "incrementing", "url": "mysql://host/shop"}, False),
        ({"mode": "incrementing", "url": "sqlite:///shop.db"}, False),
    ],
)
def test_config_rows_snapshot_default_for_incrementing(
    options: dict[str, Any], waits: bool
) -> None:
    if options.get("mode") == "incrementing":
        options |= {"timestamp_column": None, "id_column": "id", "partition_column": "day"}
    assert make_rows(**options).by_snapshot == waits


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"query": "SELECT 1"}, "set either table or query$"),
        ({"table": None}, "set either table or query$"),
        ({"id_column": "id"}, "id_column is not allowed in mode timestamp$"),
        ({"timestamp_column": None}, "timestamp_column is required in mode timestamp$"),
        (
            {"mode": "timestamp_incrementing"},
            "id_column is required in mode timestamp_incrementing$",
        ),
        (
            {"mode": "incrementing"},
            "id_column is required in mode incrementing; timestamp_column is not allowed in "  # noqa: ISC004
            "mode .*; "
            "partition_column or partition_fn is required in mode incrementing$",
        ),
        ({"partition_column": "day", "partition_fn": as_partition}, "exclude each other$"),
        (
            {"horizon": "snapshot", "url": "sqlite:///shop.db"},
            "horizon = snapshot requires PostgreSQL$",
        ),
        ({"timezone": "Mars/Base"}, "unknown time zone 'Mars/Base': use an IANA name"),
        ({"timezone": "../UTC"}, "unknown time zone"),
        ({"lag": "8d"}, "less than or equal"),
        ({"row_limit": 0}, "greater than or equal"),
        ({"mode": "bulk"}, "'incrementing', 'timestamp'"),
        ({"query": "DELETE FROM t", "table": None}, "must begin with SELECT"),
    ],
)
def test_config_rows_invalid_names_the_fault(options: dict[str, object], complaint: str) -> None:
    with pytest.raises(pydantic.ValidationError) as caught:
        make_rows(**options)
    (problem,) = caught.value.errors()
    with pytest.raises(ValueError, match=complaint):
        raise ValueError(problem["msg"])


def make_notify(**options: Any) -> PostgresNotifyConfig:
    usual = {"url": "postgresql://host/shop", "channel": ["orders"]}
    return PostgresNotifyConfig.model_validate(usual | options)


def test_config_notify_minimal_settings() -> None:
    config = make_notify()
    assert config.channel == ("orders",)
    assert (config.recheck, config.wait) == (timedelta(minutes=5), timedelta(0))
    assert make_notify(query="SELECT 1").query_partition is None
    assert make_notify(query="SELECT 1", partition="date").query_partition is None
    net = {"query": "SELECT day", "query_partition": "day"}
    assert make_notify(**net, partition="payload").query_partition == "day"


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (
            {"url": "mysql://host/shop"},
            "url must be a PostgreSQL URL: other databases have no NOTIFY$",
        ),
        (
            {"url": "sqlite:///shop.db"},
            "url must be a PostgreSQL URL: other databases have no NOTIFY$",
        ),
        ({"channel": []}, "set at least one channel$"),
        ({"channel": [""]}, "use 1 to 63 bytes"),
        ({"channel": ["a" * 64]}, "use 1 to 63 bytes"),
        ({"channel": ["é" * 32]}, "use 1 to 63 bytes"),
        ({"channel": ["a\0b"]}, "without NUL"),
        ({"channel": ["a", "b", "a"]}, "duplicate channel$"),
        ({"partition": "payload", "partition_field": "day"}, "exclude each other$"),
        ({"partition": "date", "partition_fn": as_partition}, "exclude each other$"),
        ({"partition": "tenant"}, "'date' or 'payload'"),
        ({"query_partition": "day"}, "query_partition requires query$"),
        ({"query": "SELECT 1", "partition": "payload"}, "query_partition is required: "),
        ({"query": "SELECT 1", "partition_field": "day"}, "query_partition is required: "),
        ({"query": "SELECT 1", "partition_fn": as_partition}, "query_partition is required: "),
        ({"query": "NOTIFY orders"}, "must begin with SELECT"),
        ({"recheck": "0s"}, "greater than or equal"),
        ({"wait": "2h"}, "less than or equal"),
    ],
)
def test_config_notify_invalid_names_the_fault(options: dict[str, object], complaint: str) -> None:
    with pytest.raises(pydantic.ValidationError) as caught:
        make_notify(**options)
    (problem,) = caught.value.errors()
    with pytest.raises(ValueError, match=complaint):
        raise ValueError(problem["msg"])

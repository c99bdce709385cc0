"""Functions of settings: each takes one argument, and one that does not is refused at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pydantic
import pytest
from flowstone_db import DatabaseChange, DatabaseRows, PostgresNotify

from flowstone_core import Pipeline, ValidationError

ROWS = {"table": "t", "mode": "incrementing", "id_column": "id"}
SENSORS: list[tuple[type[Any], dict[str, Any], str]] = [
    (DatabaseChange, {"url": "sqlite:///shop.db", "query": "SELECT 1"}, "the row"),
    (DatabaseRows, {"url": "sqlite:///shop.db", **ROWS}, "the row"),
    (PostgresNotify, {"url": "postgresql://h/shop", "channel": ["orders"]}, "the payload"),
]


def of_one(given: Any) -> str:
    return str(given)


def of_one_and_more(given: Any, more: str = "", *rest: str, key: str = "") -> str:
    return f"{given}{more}{rest}{key}"


class Callable1:
    def __call__(self, given: Any) -> str:
        return str(given)


def of_none() -> str:
    return ""


def of_two(row: Any, value: Any) -> str:
    return f"{row}{value}"


def of_one_and_a_key(row: Any, *, key: str) -> str:
    return f"{row}{key}"


async def later(row: Any) -> str:
    return str(row)


def generated(row: Any) -> Any:
    yield row


@pytest.mark.parametrize(("kind", "options", "what"), SENSORS)
@pytest.mark.parametrize("function", [of_one, of_one_and_more, Callable1(), str, lambda *rows: "x"])
def test_U2_function_of_one_argument_is_taken(
    kind: type[Any], options: dict[str, Any], what: str, function: Callable[..., object]
) -> None:
    assert kind.Config.model_validate(options | {"partition_fn": function}).partition_fn is function


@pytest.mark.parametrize(("kind", "options", "what"), SENSORS)
@pytest.mark.parametrize("function", [of_none, of_two, of_one_and_a_key])
def test_U2_function_of_other_arity_is_refused(
    kind: type[Any], options: dict[str, Any], what: str, function: Callable[..., object]
) -> None:
    with pytest.raises(pydantic.ValidationError, match=f"must take {what}, not "):
        kind.Config.model_validate(options | {"partition_fn": function})


@pytest.mark.parametrize(("kind", "options", "what"), SENSORS)
@pytest.mark.parametrize("function", [later, generated])
def test_U2_function_that_runs_nothing_is_refused(
    kind: type[Any], options: dict[str, Any], what: str, function: Callable[..., object]
) -> None:
    with pytest.raises(pydantic.ValidationError, match="must not be async or a generator"):
        kind.Config.model_validate(options | {"partition_fn": function})


def test_U2_pipeline_refuses_the_function_where_it_is_declared() -> None:
    pipeline = Pipeline("shop")
    pipeline.asset(lambda context: None, name="prices")
    _, options, _ = SENSORS[0]
    with pytest.raises(ValidationError, match=r"partition_fn.*must take the row, not \(row, value"):
        pipeline.sensor("changes", DatabaseChange, asset="prices", partition_fn=of_two, **options)


def test_U2_function_gets_the_row(sqlite_file: Any, make_sensor: Callable[..., Any]) -> None:
    def partition_of(row: Mapping[str, Any]) -> str:
        return f"{row['tenant']}-{row['n']}"

    query = "SELECT 'eu' AS tenant, 7 AS n"
    sensor = make_sensor(
        DatabaseChange, url=sqlite_file.url, query=query, partition_fn=partition_of
    )
    assert [event.partition for event in sensor.poll(sensor.init()).events] == ["eu-7"]

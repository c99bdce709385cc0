"""No message of pydantic reaches a user: each type of error has words of ours."""

from __future__ import annotations

import ipaddress
import re
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal, get_args
from uuid import UUID

import pydantic
import pytest
from pydantic import AnyUrl, AwareDatetime, ByteSize, DirectoryPath, Field, FilePath, HttpUrl
from pydantic_core import PydanticKnownError, core_schema

from flowstone_core.config.declarations.problems import pydantic_problems
from flowstone_core.config.declarations.pydantic_messages import described
from flowstone_core.model.sensor import SensorConfig
from flowstone_core.model.setting_types import Duration

# Words of pydantic and of its parsers; none of them belongs into a message of FlowStone.
RAW = re.compile(
    r"Input|should|valid (?:boolean|integer|string|list|tuple|dictionary|date|time|URL|UUID)|parse"
    r"|datetime\.|timedelta|Literal|NoneType|constrained|function-|JSON input|validation|pydantic"
)

CONTEXT: dict[str, Any] = {
    "error": "E", "name": "N", "field_name": "F", "class_name": "C", "gt": 1, "ge": 1, "lt": 1,
    "le": 1, "multiple_of": 2, "expected": "'a' or 'b'", "min_length": 1, "max_length": 3,
    "actual_length": 5, "pattern": "^a$", "field_type": "List", "method_name": "m",
    "encoding": "utf8", "encoding_error": "bad", "discriminator": "d", "tag": "t",
    "expected_tags": "x", "tz_expected": 3, "tz_actual": 4, "max_digits": 3, "decimal_places": 2,
    "whole_digits": 1, "expected_version": 4, "expected_schemes": "'http' or 'https'", "class": "K",
    "attribute": "a", "object": "o",
}  # fmt: skip

CUSTOM = {"value_error", "assertion_error"}  # the text of a validator's exception


@pytest.mark.parametrize("kind", sorted(set(get_args(core_schema.ErrorType)) - CUSTOM))
def test_W1_type_of_error_in_pydantic_has_words_of_ours(kind: str) -> None:
    item: Any = {"type": kind, "loc": ("x",), "msg": "Input", "input": "v", "ctx": CONTEXT}
    message, _ = described(item)
    assert message
    assert not RAW.search(message), message
    assert "{" not in message
    try:
        theirs = PydanticKnownError(kind, CONTEXT).message()  # type: ignore[arg-type]
    except TypeError:  # of an argument that only this type has
        return
    assert message != theirs


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Everything(SensorConfig):
    """One setting of each type that a sensor may have."""

    boolean: bool = False
    whole: int = 0
    bounded: Annotated[int, Field(ge=1, le=9)] = 1
    number: float = 0
    decimal: Annotated[Decimal, Field(max_digits=3)] = Decimal(0)
    short: Annotated[str, Field(min_length=2)] = "ab"
    one: Annotated[str, Field(min_length=1)] = "a"
    matched: Annotated[str, Field(pattern="^a+$")] = "a"
    choice: Literal["thread", "process"] = "thread"
    colour: Colour = Colour.RED
    numbers: tuple[int, ...] = ()
    few: Annotated[tuple[str, ...], Field(min_length=1)] = ("a",)
    unique: frozenset[int] = frozenset()
    mapping: dict[str, int] = Field(default_factory=dict)
    day: date = date(2026, 1, 1)
    hour: time = time(1)
    moment: datetime = datetime(2026, 1, 1)  # noqa: DTZ001 - a default without a zone
    aware: AwareDatetime | None = None
    span: Annotated[timedelta, Field(gt=timedelta(0))] = timedelta(1)
    wait: Annotated[Duration, Field(gt=timedelta(0), le=timedelta(days=2, hours=1))] = timedelta(1)
    url: AnyUrl | None = None
    web: HttpUrl | None = None
    uuid: UUID | None = None
    file: FilePath | None = None
    folder: DirectoryPath | None = None
    path: Path = Path()
    size: ByteSize = ByteSize(1)
    address: ipaddress.IPv4Address | None = None
    network: ipaddress.IPv4Network | None = None
    pattern: re.Pattern[str] | None = None
    function: pydantic.ImportString[Any] = None
    either: int | date | None = None
    raw: bytes = b""
    document: pydantic.Json[Any] = None


def problems(**values: object) -> list[str]:
    with pytest.raises(pydantic.ValidationError) as caught:
        Everything.model_validate(values)
    return [str(each) for each in pydantic_problems(caught.value, Everything, "f:1", "[s]")]


WRONG = [
    ("wait", "5d", "must be at most 2d1h, got '5d'"),
    ("wait", "0s", "must be more than 0s, got '0s'"),
    ("boolean", "perhaps", "must be true or false, got 'perhaps'"),
    ("boolean", "", "must be true or false, got ''"),
    ("boolean", "2", "must be true or false, got '2'"),
    ("whole", "many", "must be a whole number, got 'many'"),
    ("whole", "1.5", "must be a whole number, got '1.5'"),
    ("whole", 1.5, "must be a whole number, got 1.5"),
    ("whole", "9" * 5000, "must be a whole number with fewer digits, got '999"),
    ("bounded", "0", "must be at least 1, got '0'"),
    ("bounded", "10", "must be at most 9, got '10'"),
    ("number", "x", "must be a number, got 'x'"),
    ("decimal", "12.345", "must have at most 3 digits, got '12.345'"),
    ("decimal", "x", "must be a number such as 12.50, got 'x'"),
    ("short", "a", "must have at least 2 characters, got 'a'"),
    ("one", "", "must have at least 1 character, got ''"),
    ("one", 5, "must be a text, got 5"),
    ("matched", "b", "must match the regular expression ^a+$, got 'b'"),
    ("choice", "Thread", "must be thread or process, got 'Thread' (did you mean 'thread'?)"),
    ("choice", "proces", "must be thread or process, got 'proces' (did you mean 'process'?)"),
    ("choice", "x", "must be thread or process, got 'x'"),
    ("colour", "RED", "must be red or blue, got 'RED' (did you mean 'red'?)"),
    ("numbers", ["a"], "must be a whole number, got 'a'"),
    ("numbers", "a", "must be a list, one item a line, got 'a'"),
    ("few", [], "must have at least 1 item, got a value of type list"),
    ("unique", 5, "must be a list, one item a line, got 5"),
    ("mapping", "a", "must be a mapping of names to values, got a value of type str"),
    ("day", "soon", "must be a date such as 2026-01-31, got 'soon'"),
    ("day", "2026-02-30", "must be a date such as 2026-01-31, got '2026-02-30'"),
    ("hour", "25:00", "must be a time such as 08:30, got '25:00'"),
    ("moment", "soon", "must be a date with a time such as 2026-01-31T08:30+01:00, got 'soon'"),
    ("aware", "2026-01-01T00:00", "must end with an offset from UTC such as +01:00 or Z, got"),
    ("span", "5q", "must be a duration such as 30s, 5m, 1h30m or 2d, got '5q'"),
    ("span", timedelta(0), "must be more than 0"),
    ("url", "nowhere", "must be a URL such as https://example.com/path, got 'nowhere'"),
    ("web", "ftp://x", "must be a URL that begins with 'http' or 'https', got 'ftp://x'"),
    ("uuid", "x", "must be a UUID such as 6f1c2d3e-0000-4000-8000-000000000000, got 'x'"),
    ("file", "/not/there", "file not found, got '/not/there'"),
    ("folder", "/not/there", "folder not found, got '/not/there'"),
    ("path", 5, "must be a path, got 5"),
    ("size", "much", "must be a size such as 10MB, got 'much'"),
    ("size", "5 elephants", "must be a size such as 10MB, got '5 elephants'"),
    ("address", "x", "must be an IP address such as 192.0.2.1, got 'x'"),
    ("network", "x", "must be a network such as 192.0.2.0/24, got 'x'"),
    ("pattern", "(", "must be a regular expression, got '('"),
    ("function", "not.there:f", "cannot be imported: No module named 'not"),
    ("either", "x", "must be a whole number or a date such as 2026-01-31, got 'x'"),
    ("raw", 5, "must be bytes, got 5"),
    ("document", "{", "must be JSON, got '{'"),
]


@pytest.mark.parametrize(("key", "value", "said"), WRONG)
def test_W1_invalid_value_is_told_in_words_of_the_file(key: str, value: object, said: str) -> None:
    (text,) = problems(**{key: value})
    assert f"{key}: {said}" in text or f"{key}.0: {said}" in text
    assert not RAW.search(text.partition(", got ")[0]), text


def test_W1_each_type_of_setting_is_tried() -> None:
    assert {key for key, _, _ in WRONG} == Everything.model_fields.keys()


def test_W1_words_of_a_plugin_are_kept() -> None:
    item: Any = {"type": "too_hot", "loc": ("x",), "msg": "is too hot", "input": "v"}
    assert described(item) == ("", "")


def test_W1_error_without_its_context_is_invalid() -> None:
    item: Any = {"type": "greater_than", "loc": ("x",), "msg": "Input", "input": "v"}
    assert described(item) == ("invalid value", "")

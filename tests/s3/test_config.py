from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pydantic
import pytest
from flowstone_s3.config import S3FileArrivalConfig
from flowstone_s3.key_dates import date_in_key
from flowstone_s3.queue_config import S3EventQueueConfig


def make(**options: Any) -> S3FileArrivalConfig:
    return S3FileArrivalConfig.model_validate({"bucket": "shop"} | options)


def test_config_requires_only_bucket() -> None:
    config = make()
    assert config.prefix == config.suffix == ""
    assert config.timeout == timedelta(seconds=10)
    assert config.model_fields_set == {"bucket"}
    assert make(endpoint_url=None, partition_pattern=None, partition_fn=None) == config


@pytest.mark.parametrize(
    "bucket",
    ["shop", "my.bucket-1", "Old_Bucket", "arn:aws:s3:eu-west-1:123456789012:accesspoint/shop"],
)
def test_config_bucket_name_is_accepted(bucket: str) -> None:
    assert make(bucket=bucket).bucket == bucket


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"bucket": "s3://shop"}, "write bucket = shop$"),
        ({"bucket": "s3://shop/in/x"}, "write bucket = shop and prefix = in/x"),
        ({"bucket": ""}, "invalid bucket name ''"),
        ({"bucket": "shop/orders"}, "invalid bucket name 'shop/orders'"),
        ({"bucket": "shöp"}, "invalid bucket name"),
        ({"bucket": "arn:aws:iam::1:user/x"}, "invalid bucket name"),
        ({"endpoint_url": "127.0.0.1:9000"}, "invalid endpoint_url"),
        ({"endpoint_url": "ftp://host"}, "invalid endpoint_url"),
        ({"endpoint_url": "http://"}, "invalid endpoint_url"),
        ({"endpoint_url": "http://me:pass@host"}, "credentials do not belong in a URL"),
        ({"partition_pattern": r"\d+"}, "names no group"),
        ({"partition_fn": "no.such:function"}, "No module named"),
        ({"partition_fn": 7}, "callable"),
        ({"timeout": "0s"}, "greater than"),
        ({"glob": ""}, "at least 1 character"),
        ({"prefx": "x"}, "Extra inputs"),
        ({"prefix": "in/${yaer}/"}, r"unknown token \$\{yaer\}"),
        ({"prefix": "in/$year/"}, r"a token is written \$\{year\} \(write in/\$\{year\}/\)"),
        ({"prefix": "in/{year}/%m/"}, r"a token is written \$\{year\} \(write in/\$\{year\}/\$\{m"),
        ({"prefix": "in/${year}/${month}/${day}/", "lookback": "900d"}, "more than 400 prefixes"),
        ({"lookback": "2d"}, r"lookback requires \$\{year\} in prefix"),
        ({"timezone": "UTC"}, r"timezone requires \$\{year\} in prefix, or hour in partition_pat"),
        ({"timezone": "UTC", "partition_pattern": "(?P<p>.)"}, "timezone requires"),
        ({"partition_fn": len, "partition": "x"}, "partition and partition_fn exclude each other"),
        ({"prefix": "${year}", "timezone": "Mars/Phobos"}, "unknown time zone 'Mars/Phobos'"),
        ({"prefix": "${year}", "timezone": "../etc"}, "unknown time zone"),
        ({"on": "deleted"}, "created"),
        ({"on": "created", "window": "7d"}, "window and on = created exclude each other"),
        ({"window": "0s"}, "greater than"),
        ({"settle": "31d"}, "less than"),
        ({"expected_owner": "12345678901"}, "pattern"),
        ({"expected_owner": "123456789012\n"}, "pattern"),
        ({"access_key": "k"}, "access_key and secret_key go together"),
        ({"secret_key": "k"}, "access_key and secret_key go together"),
        ({"session_token": "k"}, "session_token goes with"),
        ({"access_key": "k", "secret_key": "s", "profile": "p"}, "exclude each other"),
        (
            {"partition_fn": date_in_key, "partition_pattern": "(?P<p>.*)"},
            "partition_pattern and partition_fn exclude each other",
        ),
        (
            {"access_key": "k", "profile": "p"},
            "go together: set both, or neither; profile and access_key exclude each other",
        ),
    ],
)
def test_config_invalid_setting_names_the_fault(options: dict[str, object], complaint: str) -> None:
    with pytest.raises(pydantic.ValidationError) as caught:
        make(**options)
    (problem,) = caught.value.errors()
    with pytest.raises(ValueError, match=complaint):
        raise ValueError(problem["msg"])


def test_config_prefixes_follow_the_time() -> None:
    now = datetime(2025, 1, 15, 23, 30, tzinfo=UTC)
    assert make(prefix="in/").prefixes(now) == ["in/"]
    config = make(prefix="${year}-${month}-${day}", lookback="1d", timezone="Europe/Warsaw")
    assert config.prefixes(now) == ["2025-01-15", "2025-01-16"]
    assert make(prefix="${year}-${month}-${day}").prefixes(now)[0] == "2025-01-13"


def test_config_text_hides_secrets() -> None:
    config = make(access_key="AKIATEST", secret_key="hidden1", session_token="hidden2")
    for text in (repr(config), str(config), config.model_dump_json()):
        assert "hidden" not in text
        assert "AKIATEST" not in text


def test_config_partition_fn_by_name_or_object() -> None:
    named = make(partition_fn="flowstone_s3.key_dates:date_in_key")
    assert named.partition_fn is date_in_key
    assert make(partition_fn=date_in_key).partition_fn is date_in_key


def test_config_settings_have_descriptions() -> None:
    fields = S3FileArrivalConfig.model_fields.items()
    assert [name for name, field in fields if not field.description] == []


def _two(key: str, more: str) -> str:
    return key + more


def _none() -> str:
    return ""


async def _later(key: str) -> str:
    return key


def _each(key: str) -> Iterator[str]:
    yield key


@pytest.mark.parametrize("function", [_two, _none, lambda *, key: key])
def test_U2_partition_fn_of_another_arity_is_refused(function: object) -> None:
    with pytest.raises(pydantic.ValidationError, match=r"partition_fn\n.*must take the key, not"):
        make(partition_fn=function)
    queue = {"queue_url": "https://host/1/q", "partition_fn": function}
    with pytest.raises(pydantic.ValidationError, match="must take the key, not"):
        S3EventQueueConfig.model_validate(queue)


@pytest.mark.parametrize("function", [_later, _each])
def test_U2_partition_fn_that_returns_no_value_is_refused(function: object) -> None:
    with pytest.raises(pydantic.ValidationError, match="must not be async or a generator"):
        make(partition_fn=function)


@pytest.mark.parametrize("function", [len, str, lambda key, tenant="a": tenant, lambda *keys: "a"])
def test_U2_partition_fn_of_one_argument_is_accepted(function: object) -> None:
    assert make(partition_fn=function).partition_fn is function


def test_F10_timezone_is_for_local_times_only() -> None:
    hour = r"(?P<year>\d{4})(?P<month>..)(?P<day>..)(?P<hour>..)"
    for settings in ({"partition_pattern": hour}, {"partition": "${date}"}, {"prefix": "${year}"}):
        assert make(timezone="Asia/Tokyo", **settings).timezone == "Asia/Tokyo"
    queue = {"queue_url": "https://host/1/q", "timezone": "Asia/Tokyo"}
    with pytest.raises(
        pydantic.ValidationError, match=r"timezone requires hour in partition_pattern, or parti"
    ):
        S3EventQueueConfig.model_validate(queue | {"partition_pattern": "(?P<all>.*)"})
    S3EventQueueConfig.model_validate(queue | {"partition_pattern": hour})


@pytest.mark.parametrize("template", ["", "${dat}", "$ {date}", "${date"])
def test_U3_invalid_partition_is_refused(template: str) -> None:
    with pytest.raises(pydantic.ValidationError, match=r"partition\n"):
        make(partition=template)
    assert make(partition=None).partition is None

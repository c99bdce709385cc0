from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pydantic
import pytest
from flowstone_s3.config import S3FileArrivalConfig
from flowstone_s3.key_dates import date_in_key


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
        ({"prefix": "in/${year}/${month}/${day}/", "lookback": "900d"}, "more than 400 prefixes"),
        ({"lookback": "2d"}, r"lookback requires \$\{year\} in prefix"),
        ({"timezone": "UTC"}, r"timezone requires \$\{year\} in prefix"),
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

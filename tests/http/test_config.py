"""Settings of `webhook`: errors name the setting, and never quote its value."""

from __future__ import annotations

from typing import Any

import pydantic
import pytest
from flowstone_http.config import WebhookConfig

URL = "https://example.org/ready"


def config(**options: Any) -> WebhookConfig:
    return WebhookConfig.model_validate({"url": URL, "partition": "'all'"} | options)


def anything(body: object, facts: object) -> None:
    """A function of the settings."""


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"url": "example.org"}, "invalid URL"),
        ({"url": "ftp://example.org/"}, "invalid URL"),
        ({"url": "file:///etc/passwd"}, "invalid URL"),
        ({"url": "https://"}, "invalid URL"),
        ({"url": "https://example.org:0/"}, "invalid URL"),
        ({"url": "https://example.org:99999/"}, "invalid URL"),
        ({"url": "https://exa mple.org/"}, "invalid URL"),
        ({"url": "https://example.org/" + "x" * 8000}, "invalid URL"),
        ({"url": "https://me:hunter2@example.org/"}, "credentials do not belong in a URL"),
        ({"check": "a["}, "invalid JMESPath"),
        ({"on_change": "!!"}, "invalid JMESPath"),
        ({"partition": "a ||"}, "invalid JMESPath"),
        ({"partition": None}, "partition or partition_fn is required"),
        ({"check": "a", "check_fn": anything}, "check and check_fn exclude each other"),
        ({"partition_fn": anything}, "partition and partition_fn exclude each other"),
        ({"on_change": "etag", "repeat": True}, "on_change and repeat exclude each other"),
        ({"username": "me"}, "username and password go together"),
        ({"password": "hunter2"}, "username and password go together"),
        ({"username": "m:e", "password": "hunter2"}, "username must not contain ':'"),
        (
            {"username": "me", "password": "hunter2", "bearer_token": "hunter2"},
            "username and bearer_token exclude each other",
        ),
        (
            {"headers": ["Authorization: hunter2"], "bearer_token": "t"},
            "Authorization in headers excludes",
        ),
        ({"headers": ["hunter2"]}, "invalid header in line 1 of headers: use 'Name: value'"),
        (
            {"headers": ["A: b", "hun ter: 2"]},
            "invalid header in line 2 of headers: use 'Name: value'",
        ),
        ({"headers": ["A: hunter2\x07"]}, "invalid header in line 1 of headers: use 'Name: value'"),
        ({"headers": ["A: hunter2 €"]}, "invalid character in line 1 of headers"),
        ({"headers": ["Host: hunter2"]}, "line 1 of headers cannot set host"),
        ({"headers": ["A: 1", "a: 2"]}, "duplicate header a in line 2 of headers"),
        ({"body": "hunter2"}, "body requires method = POST"),
        ({"method": "HEAD", "check": "a"}, "require a body; method = HEAD has none"),
        ({"method": "HEAD", "partition": "day"}, "partition must be a fixed text"),
        ({"method": "HEAD", "on_change": "body"}, "on_change must be etag or last_modified"),
        ({"allow_private": False, "trust_env": True}, "allow_private = false excludes trust_env"),
        ({"verify": False, "ca_file": __file__}, "ca_file and verify = false exclude each other"),
        ({"ca_file": "missing.pem"}, "file not found"),
        ({"not_ready_status": ["302"]}, "invalid not_ready_status = 302"),
    ],
)
def test_config_invalid_setting_hides_its_value(options: dict[str, Any], said: str) -> None:
    with pytest.raises(pydantic.ValidationError) as caught:
        config(**options)
    messages = " ".join(str(error["msg"]) for error in caught.value.errors())
    assert said in messages
    assert "hunter" not in messages
    assert "hunter" not in str(caught.value)


@pytest.mark.parametrize(
    "options",
    [
        {"url": "HTTP://Example.ORG:8080/a?b=c#d"},
        {"url": "http://[::1]:8080/"},
        {"method": "HEAD", "on_change": "etag"},
        {"headers": ["X-Tab: a\tb"]},
        {"on_change": "body"},
        {"partition": "`[\"a\"]`"},
    ],
)  # fmt: skip
def test_config_valid_settings_are_accepted(options: dict[str, Any]) -> None:
    config(**options)


def test_url_shows_only_the_server() -> None:
    target = config(url="https://Example.org:8443/a/b?token=hunter2#x").parsed_url()
    assert target.authority == "example.org:8443"
    assert repr(target) == "<ParsedUrl example.org:8443>"
    assert config(url="http://[::1]/a").parsed_url().authority == "[::1]"

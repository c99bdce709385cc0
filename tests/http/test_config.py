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
        ({"url": "example.org"}, "missing scheme of the URL"),
        ({"url": "localhost:80/x"}, "missing scheme of the URL"),
        ({"url": "ftp://example.org/"}, "unsupported scheme of the URL: use http or https"),
        ({"url": "file:///etc/passwd"}, "unsupported scheme of the URL: use http or https"),
        ({"url": "https://"}, "missing host in the URL"),
        ({"url": "https:///x"}, "missing host in the URL"),
        ({"url": "https://:80/x"}, "missing host in the URL"),
        ({"url": "http://[::1/x"}, "invalid host in the URL"),
        ({"url": "http://a\\b/x"}, "invalid character in the URL"),
        ({"url": "https://example.org:0/"}, "invalid port in the URL"),
        ({"url": "https://example.org:99999/"}, "invalid port in the URL"),
        ({"url": "https://exa mple.org/"}, "blank or control character in the URL"),
        ({"url": "https://example.org/" + "x" * 8000}, "URL too long"),
        ({"url": "https://me:hunter2@example.org/"}, "credentials do not belong in a URL"),
        ({"headers": {"A b": "hunter2"}}, "invalid header name in item 1"),
        ({"headers": {"A: b": "hunter2"}}, "invalid header name in item 1"),
        ({"headers": {"A": "b\nhunter: 2"}}, "invalid header in line 1"),
        ({"headers": [("A", None)]}, "invalid header value in item 1: it must be a text"),
        ({"headers": {"A": True}}, "invalid header value in item 1: it must be a text"),
        ({"headers": {1: "hunter2"}}, "invalid header name in item 1"),
        ({"headers": "A: hunter2"}, "valid tuple"),
        ({"timezone": "Asia/Tokyo"}, "timezone requires a partition such as ${date}"),
        ({"timezone": "Asia/Tokio", "partition": "${date}"}, "unknown time zone"),
        ({"partition": None}, "partition or partition_fn is required"),
        ({"url": "https://*.example.org/"}, "invalid host in the URL"),
        ({"url": "https://.example.org/"}, "invalid host in the URL"),
        ({"url": "https://[::1]x/"}, "invalid host in the URL"),
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
        ({"headers": ["hunter2"]}, "invalid header in line 1: use 'Name: value'"),
        (
            {"headers": ["A: b", "hun ter: 2"]},
            "invalid header in line 2: use 'Name: value'",
        ),
        ({"headers": ["A: hunter2\x07"]}, "invalid header in line 1: use 'Name: value'"),
        ({"headers": ["A: hunter2 €"]}, "invalid character in line 1"),
        ({"headers": ["Host: hunter2"]}, "line 1 cannot set host"),
        ({"headers": ["A: 1", "a: 2"]}, "duplicate header a in line 2"),
        ({"body": "hunter2"}, "body requires method = POST"),
        ({"method": "HEAD", "check": "a"}, "require a body; method = HEAD has none"),
        ({"method": "HEAD", "partition": "day"}, "partition must be 'all', ${date} or the like"),
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
        {"partition": "${date}", "method": "HEAD"},
        {"partition": "${year}-${month}", "timezone": "Asia/Tokyo"},
        {"partition": "contains(a, '${x}')"},
    ],
)  # fmt: skip
def test_config_valid_settings_are_accepted(options: dict[str, Any]) -> None:
    config(**options)


def test_url_shows_only_the_server() -> None:
    target = config(url="https://Example.org:8443/a/b?token=hunter2#x").parsed_url()
    assert target.authority == "example.org:8443"
    assert repr(target) == "<ParsedUrl example.org:8443>"
    assert config(url="http://[::1]/a").parsed_url().authority == "[::1]"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a[", r"invalid JMESPath 'a\[' at its end; a bracket or a quote may be missing"),
        ("a ||", r"invalid JMESPath 'a \|\|' at its end"),
        ("'abc", r"""invalid JMESPath "'abc" at "'abc\""""),
        ("a.b)", r"invalid JMESPath 'a\.b\)' at '\)'"),
        ("a  # why", r"; a comment belongs on a separate line"),
        ("a ; why", r"; a comment belongs on a separate line"),
        ("", "empty JMESPath"),
        ("nosuch(a)", "unknown function 'nosuch'"),
        ("a[?length(b, c)]", "function 'length' does not take 2 arguments"),
        ("merge()", "function 'merge' does not take 0 arguments"),
    ],
)
@pytest.mark.parametrize("setting", ["check", "partition"])
def test_W6_invalid_expression_is_said_in_own_words(setting: str, text: str, said: str) -> None:
    with pytest.raises(pydantic.ValidationError, match=said) as caught:
        config(**{setting: text})
    for words in ("Unexpected token", "Bad jmespath", "Parse error", "Incomplete", "Expecting"):
        assert words not in str(caught.value)


@pytest.mark.parametrize(
    "text", ["merge(a, b, c)", "a[0:2]", "sort_by(a, &b)", "not_null(a, b)", "a.{b: c}"]
)
def test_valid_function_calls_are_accepted(text: str) -> None:
    config(check=text)


def test_U3_unknown_token_of_a_template_is_refused() -> None:
    with pytest.raises(pydantic.ValidationError, match=r"unknown token \$\{dat\}"):
        config(partition="${dat}")
    with pytest.raises(pydantic.ValidationError, match="has no quotes around it"):
        config(partition="'${date}'")


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Key": "a b", "X-Version": 2},
        [("X-Key", "a b"), ("X-Version", "2")],
        (["X-Key", "a b"], "X-Version: 2"),
        {"X-Key": pydantic.SecretStr("a b"), "X-Version": "2"},
        ["X-Key: a b", "X-Version: 2"],
    ],
)
def test_U4_headers_are_lines_pairs_or_a_dict(headers: Any) -> None:
    sent = config(headers=headers).request().headers
    assert (sent["x-key"], sent["x-version"]) == ("a b", "2")

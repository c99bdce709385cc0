"""Settings of `webhook`."""

from __future__ import annotations

import base64
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    ImportString,
    SecretStr,
    field_validator,
    model_validator,
)

from flowstone_core import Duration, SensorConfig
from flowstone_core.plugin_api import PartitionTemplate, Verbatim, fit_function, load_zone
from flowstone_http.expression import Expression, read_partition
from flowstone_http.headers import as_lines, read_headers
from flowstone_http.request import REDIRECTS, Request, request_headers
from flowstone_http.url import ParsedUrl, parse_url

_VALIDATOR_HEADERS = frozenset({"etag", "last_modified"})

ARGUMENTS = ("the body", "the facts of the response")
"""The arguments of ``check_fn`` and ``partition_fn``; they may take the first alone."""


def _check_function(function: Callable[..., object]) -> Callable[..., object]:
    fit_function(function, *ARGUMENTS)
    return function


def _check_zone(name: str) -> str:
    return load_zone(name).key


Headers = Annotated[tuple[SecretStr, ...], BeforeValidator(as_lines), Verbatim()]
Text = Annotated[str | None, Verbatim()]
Secret = Annotated[SecretStr, Field(min_length=1)]
ResponseFunction = Annotated[ImportString[Callable[..., object]], AfterValidator(_check_function)]


class WebhookConfig(SensorConfig):
    """Settings of `webhook`: the request, the readiness check and the partitions."""

    model_config = ConfigDict(hide_input_in_errors=True)

    url: Secret = Field(description="the URL, http:// or https://; a query may hold secrets")
    method: Literal["GET", "HEAD", "POST"] = Field("GET", description="GET, HEAD or POST")
    headers: Headers = Field(
        (), description="one 'Name: value' a line; in Python also a dict, or pairs"
    )
    body: Annotated[Secret | None, Verbatim()] = Field(
        None, description="body of POST, sent as application/json unless headers differ"
    )
    username: Secret | None = Field(None, description="goes with password")
    password: SecretStr | None = Field(None, description="goes with username")
    bearer_token: Secret | None = Field(None, description="sent as Authorization: Bearer ...")
    check: Text = Field(
        None, description="JMESPath over the JSON of the response; ready if its value is true"
    )
    check_fn: ResponseFunction | None = Field(
        None,
        description="module:name of a function that takes the JSON, or the JSON and the facts of "
        "the response, and returns True if it is ready",
    )
    on_change: Text = Field(
        None,
        min_length=1,
        description="etag, last_modified, body, or JMESPath over the JSON: fire when this changes, "
        "not when the URL becomes ready",
    )
    repeat: bool = Field(default=False, description="fire at each poll while it is ready")
    not_ready_status: tuple[Annotated[int, Field(ge=200, le=599)], ...] = Field(
        (), description="statuses that mean not ready yet, such as 404; no redirects; one a line"
    )
    partition: Text = Field(
        None,
        description="JMESPath of the partition: a date or another text, or a list of them; or a "
        "template of the poll's time: ${date}, ${year}-${month} and so on",
    )
    partition_fn: ResponseFunction | None = Field(
        None,
        description="module:name of a function that takes the JSON, or the JSON and the facts of "
        "the response, and returns the partition, a list of them, or None to fire nothing",
    )
    timezone: Annotated[str, AfterValidator(_check_zone)] = Field(
        "UTC", description="the IANA time zone of a partition such as ${date}"
    )
    timeout: Annotated[Duration, Field(gt=timedelta(0), le=timedelta(minutes=10))] = Field(
        timedelta(seconds=30),
        description="time limit of the whole exchange, including redirects and body",
    )
    max_bytes: Annotated[int, Field(ge=1, le=64 * 1024 * 1024)] = Field(
        1024 * 1024, description="most bytes of a response, decompressed"
    )
    max_redirects: Annotated[int, Field(ge=0, le=20)] = Field(
        5, description="most redirects in a row; 0 refuses them"
    )
    allow_downgrade: bool = Field(default=False, description="allow redirects from https to http")
    allow_private: bool = Field(
        default=True,
        description="allow connections to private addresses, such as loopback or a local network",
    )
    trust_env: bool = Field(
        default=False,
        description="use the proxies of the environment (HTTPS_PROXY, ...)",
    )
    verify: bool = Field(
        default=True,
        description="require trusted certificates; false lets an attacker read and change "
        "everything, and logs a warning at each start",
    )
    ca_file: Path | None = Field(
        None, description="a PEM file of certificates to trust instead of the system's"
    )

    @field_validator("check", "on_change")
    @classmethod
    def _check_expression(cls, text: str | None) -> str | None:
        if text is not None and text not in _VALIDATOR_HEADERS | {"body"}:
            Expression(text)
        return text

    @field_validator("partition")
    @classmethod
    def _check_way(cls, text: str | None) -> str | None:
        if text is not None:
            read_partition(text)
        return text

    @field_validator("ca_file")
    @classmethod
    def _check_file(cls, path: Path | None) -> Path | None:
        if path is not None and not path.is_file():
            raise ValueError("file not found")
        return path

    @field_validator("headers")
    @classmethod
    def _check_headers(cls, lines: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        read_headers(lines)
        return lines

    @field_validator("url")
    @classmethod
    def _check_url(cls, url: SecretStr) -> SecretStr:
        parse_url(url.get_secret_value())
        return url

    @model_validator(mode="after")
    def _check_together(self) -> WebhookConfig:
        own = read_headers(self.headers)
        way = None if self.partition is None else read_partition(self.partition)
        wrong = [
            f"{one} and {other} exclude each other"
            for one, other in (
                ("check", "check_fn"), ("partition", "partition_fn"), ("on_change", "repeat"),
                ("username", "bearer_token"),
            )
            if getattr(self, one) and getattr(self, other)
        ]  # fmt: skip
        if self.partition is None and self.partition_fn is None:
            wrong.append(
                "partition or partition_fn is required; partition = 'all' is a fixed one, "
                "partition = ${date} the date of the poll"
            )
        if "timezone" in self.model_fields_set and not isinstance(way, PartitionTemplate):
            wrong.append("timezone requires a partition such as ${date}")
        if (self.username is None) != (self.password is None):
            wrong.append("username and password go together: set both, or neither")
        if self.username is not None and ":" in self.username.get_secret_value():
            wrong.append("username must not contain ':'")
        if "authorization" in own and (self.username or self.bearer_token):
            wrong.append("Authorization in headers excludes username and bearer_token")
        wrong += self._wrong_ways()
        if wrong:
            raise ValueError("; ".join(wrong))
        return self

    def _wrong_ways(self) -> list[str]:
        wrong = [
            f"invalid not_ready_status = {status}: redirects are followed"
            for status in sorted(REDIRECTS.intersection(self.not_ready_status))
        ]
        if self.body is not None and self.method != "POST":
            wrong.append("body requires method = POST")
        if self.method == "HEAD" and (self.check or self.check_fn):
            wrong.append("check and check_fn require a body; method = HEAD has none")
        way = None if self.partition is None else read_partition(self.partition)
        if self.method == "HEAD" and isinstance(way, Expression) and not way.is_fixed:
            wrong.append("partition must be 'all', ${date} or the like with method = HEAD")
        if self.method == "HEAD" and self.on_change not in {None, *_VALIDATOR_HEADERS}:
            wrong.append("on_change must be etag or last_modified with method = HEAD")
        if self.trust_env and not self.allow_private:
            wrong.append(
                "allow_private = false excludes trust_env: a proxy may connect to any address"
            )
        if not self.verify and self.ca_file is not None:
            wrong.append("ca_file and verify = false exclude each other")
        return wrong

    def request(self) -> Request:
        """Return the request of each poll."""
        own = read_headers(self.headers)
        body = None if self.body is None else self.body.get_secret_value().encode()
        if body is not None:
            own.setdefault("content-type", "application/json")
        if self.bearer_token is not None:
            own["authorization"] = f"Bearer {self.bearer_token.get_secret_value()}"
        if self.username is not None and self.password is not None:
            pair = f"{self.username.get_secret_value()}:{self.password.get_secret_value()}"
            own["authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
        return Request(self.method, self.parsed_url(), request_headers(own), body)

    def parsed_url(self) -> ParsedUrl:
        """Return the parsed URL."""
        return parse_url(self.url.get_secret_value())

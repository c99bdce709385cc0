"""Webhooks of the wild: byte order marks, rate limits, mirrors, empty answers, endless ones."""

from __future__ import annotations

import json
import logging
import socket
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from flowstone_http import Webhook
from flowstone_http.errors import ContentError, HttpTimeoutError, StatusError

from flowstone_core import NotTriggered, RetryLater, Skipped, Triggered
from flowstone_core.errors import PollTimeoutError
from tests.http.faults_support import failure, fires

Make = Callable[..., Webhook]


def poll(sensor: Webhook, state: Any = None) -> Any:
    return sensor.poll(json.loads(json.dumps(sensor.init() if state is None else state)))


# -- S2: a poll ends at its deadline ---------------------------------------------------------------


@pytest.mark.parametrize("begins", [b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 200 OK\r\n"])
def test_S2_stream_without_end_stops_at_the_deadline(
    make_sensor: Make, server: Any, begins: bytes
) -> None:
    def drip(request: object, connection: socket.socket) -> None:
        connection.sendall(begins)
        while not server.going.wait(0.02):
            connection.sendall(b"X: y\r\n")

    server.say = drip
    sensor = make_sensor(timeout="10m", max_bytes=10_000_000)
    with (
        sensor.context.limited(0.3),
        pytest.raises(HttpTimeoutError, match=r"^response incomplete after 0\.[0-9]+ s"),
    ):
        sensor.poll(sensor.init())


def test_S2_redirects_without_end_stop_at_the_deadline(make_sensor: Make, server: Any) -> None:
    def slowly(request: Any, connection: socket.socket) -> bytes:
        server.going.wait(0.1)
        return bytes(server.reply(b"", 302, Location=f"/{len(server.seen)}"))

    server.say = slowly
    sensor = make_sensor(timeout="10m", max_redirects=20)
    with sensor.context.limited(0.25), pytest.raises(HttpTimeoutError):
        sensor.poll(sensor.init())
    assert len(server.seen) < 20


def test_S2_request_is_not_sent_after_the_deadline(make_sensor: Make, server: Any) -> None:
    sensor = make_sensor()
    with sensor.context.limited(0), pytest.raises(PollTimeoutError):
        sensor.poll(sensor.init())
    assert server.seen == []


# -- X5: mirrors -----------------------------------------------------------------------------------


def test_X5_etag_that_comes_back_is_warned_of_once(
    make_sensor: Make, server: Any, caplog: pytest.LogCaptureFixture
) -> None:
    mirrors = [server.reply({}, ETag=f'"{name}"') for name in "abab"]
    server.answers(*mirrors)
    sensor, state = make_sensor(on_change="etag"), None
    with caplog.at_level(logging.WARNING, "flowstone.sensor"):
        for _ in mirrors:
            outcome = poll(sensor, state)
            assert isinstance(outcome, Triggered)
            state = outcome.state
    (warning,) = [record.getMessage() for record in caplog.records]
    assert "servers behind one name with different ETags fire at each poll" in warning
    assert "(set on_change = body, or last_modified)" in warning


def test_X5_body_of_mirrors_fires_once(make_sensor: Make, server: Any) -> None:
    server.answers(*(server.reply({"v": 1}, ETag=f'"{name}"') for name in "ab"))
    sensor = make_sensor(on_change="body")
    first = poll(sensor)
    assert isinstance(first, Triggered)
    assert isinstance(poll(sensor, first.state), NotTriggered)


# -- X6: byte order marks, rate limits, no content -------------------------------------------------


@pytest.mark.parametrize(
    "encoding", ["utf-8-sig", "utf-16", "utf-32", "utf-16-le", "utf-16-be", "utf-32-be"]
)
def test_X6_json_with_a_byte_order_mark_is_read(
    make_sensor: Make, server: Any, encoding: str
) -> None:
    mark = "\ufeff" if encoding.endswith(("le", "be")) else ""
    body = (mark + '{"a": "Käse"}').encode(encoding)
    for charset in ("", "; charset=iso-8859-1"):
        server.answers(server.reply(body, Content_Type=f"application/json{charset}"))
        assert fires(make_sensor(check="a == 'Käse'"))


@pytest.mark.parametrize("status", [403, 413, 429, 500, 502, 503])
def test_X6_retry_after_is_honoured_with_every_error(
    make_sensor: Make, server: Any, status: int
) -> None:
    server.answers(server.reply({}, status, Retry_After="60"))
    with pytest.raises(RetryLater, match=f"status {status} and Retry-After") as caught:
        poll(make_sensor())
    assert caught.value.delay == timedelta(seconds=60)


@pytest.mark.parametrize(
    ("reset", "delay"),
    # 1736942430 is the time of the test's clock.
    [("1736942490", 60), ("90", 90), ("1736999999", 3600), ("99999999999999999", 3600)],
)
def test_X6_used_up_rate_limit_waits_for_its_reset(
    make_sensor: Make, server: Any, reset: str, delay: int
) -> None:
    limit = {"X_RateLimit_Remaining": "0", "X_RateLimit_Reset": reset}
    server.answers(server.reply({}, 403, **limit))
    with pytest.raises(RetryLater, match="status 403: rate limit used up") as caught:
        poll(make_sensor())
    assert caught.value.delay == timedelta(seconds=delay)


@pytest.mark.parametrize(
    ("status", "remaining", "reset"),
    [(403, "5", "60"), (403, "0", "soon"), (403, "0", "1736942430"), (404, "0", "60")],
)
def test_X6_other_refusals_fail_the_poll(
    make_sensor: Make, server: Any, status: int, remaining: str, reset: str
) -> None:
    limit = {"X_RateLimit_Remaining": remaining, "X_RateLimit_Reset": reset}
    server.answers(server.reply({}, status, **limit))
    failure(make_sensor(), StatusError)


def test_X6_no_content_names_the_setting_for_it(make_sensor: Make, server: Any) -> None:
    server.answers(server.reply(b"", 204))
    said = failure(make_sensor(check="a"), ContentError)
    assert "no JSON in the response: empty body; status 204" in said
    assert "if the status means not ready yet, set not_ready_status = 204" in said
    assert "sign-in" not in said
    outcome = poll(make_sensor(check="a", not_ready_status=["204"]))
    assert outcome.reason == "status 204 means not ready yet"
    server.answers(server.reply(b"", 200))
    assert "not_ready_status" not in failure(make_sensor(check="a"), ContentError)


def test_X6_sign_in_page_is_named_for_markup_only(make_sensor: Make, server: Any) -> None:
    server.answers(server.reply(b"<html>"))
    assert "sign-in page" in failure(make_sensor(check="a"), ContentError)
    server.answers(server.reply(b"{"))
    assert "sign-in page" not in failure(make_sensor(check="a"), ContentError)


# -- told: why nothing fires, and what is left out -------------------------------------------------


def nothing(body: Any) -> None:
    return None


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"check": "done"}, "check is not true"),
        ({"check_fn": nothing}, "check_fn did not return True"),
        ({"on_change": "version"}, "on_change finds nothing in the response"),
        ({"partition": "day"}, "partition finds nothing in the response"),
        ({"partition_fn": nothing}, "partition_fn returned no partition"),
    ],
)
def test_reason_of_a_quiet_poll_is_told(
    make_sensor: Make, server: Any, options: dict[str, Any], reason: str
) -> None:
    server.answers(server.reply({"done": False}))
    assert poll(make_sensor(**options)).reason == reason


def test_reason_of_an_unchanged_response_is_told(make_sensor: Make, server: Any) -> None:
    server.answers(server.reply({"v": 1}, ETag='"a"'), server.reply(b"", 304))
    sensor = make_sensor(on_change="etag")
    assert poll(sensor, poll(sensor).state).reason == "not modified since it last fired"
    server.answers(server.reply({"v": 1}))
    sensor = make_sensor(on_change="v")
    assert poll(sensor, poll(sensor).state).reason == "no change"


def test_value_that_does_not_fit_is_told_as_skipped(make_sensor: Make, server: Any) -> None:
    server.answers(server.reply({"days": ["a", "b"], "rows": "x" * 40_000}))
    outcome = poll(make_sensor(on_change="rows", partition="days"))
    (skipped,) = outcome.skipped
    assert skipped == Skipped(
        "the value of the response does not fit into the payload",
        2,
        "it has 40,002 bytes; 32,768 are kept",
    )
    assert outcome.events[0].payload["value"] is None

"""Sensor `webhook`: each readiness and each change fires once."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Any

import pytest
from flowstone_http import Facts, Webhook
from flowstone_http.errors import ContentError, HttpError, PartitionError, StatusError

from flowstone_core import NotTriggered, Outcome, RetryLater, SensorBroken, Triggered

Make = Callable[..., Webhook]


def partitions(outcome: Outcome[Any]) -> list[object]:
    return [each.partition for each in outcome.events] if isinstance(outcome, Triggered) else []


def polls(sensor: Webhook, count: int) -> list[list[object]]:
    """Poll again and again, from the state that the poll before left; return what each found."""
    state, found = sensor.init(), []
    for _ in range(count):
        outcome = sensor.poll(json.loads(json.dumps(state)))
        state = outcome.state
        found.append(partitions(outcome))
    return found


def test_ready_fires_once_and_again_after_not_ready(make_sensor: Make, server: Any) -> None:
    no, yes = server.reply({"done": False}), server.reply({"done": True})
    server.answers(no, yes, yes, no, yes, yes)
    assert polls(make_sensor(check="done"), 6) == [[], ["all"], [], [], ["all"], []]


def test_repeat_fires_at_each_ready_poll(make_sensor: Make, server: Any) -> None:
    server.answers(server.reply({"done": True}))
    assert polls(make_sensor(check="done", repeat=True), 3) == [["all"]] * 3


def test_ready_partition_fires_once(make_sensor: Make, server: Any) -> None:
    server.answers(
        server.reply({"days": ["2025-01-13"]}),
        server.reply({"days": ["2025-01-13", "2025-01-14"]}),
        server.reply({"days": []}),
        server.reply({"days": ["2025-01-14", 7, ["eu", "2025-01-15"], "2025-01-15T10:00Z"]}),
    )
    assert polls(make_sensor(partition="days"), 4) == [
        [date(2025, 1, 13)],
        [date(2025, 1, 14)],
        [],
        [
            date(2025, 1, 14),
            "7",
            ("eu", date(2025, 1, 15)),
            datetime(2025, 1, 15, 10, tzinfo=UTC),
        ],
    ]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2025-01-15T10:00:00.0000000Z", datetime(2025, 1, 15, 10, tzinfo=UTC)),
        ("2025-01-15T10:00:00+0000", datetime(2025, 1, 15, 10, tzinfo=UTC)),
        ("2025-01-15T10:00:00", datetime(2025, 1, 15, 10)),  # noqa: DTZ001
    ],
)
def test_F7_partition_of_date_text_is_a_datetime(
    make_sensor: Make, server: Any, text: str, value: datetime
) -> None:
    server.answers(server.reply({"at": text}))
    assert polls(make_sensor(partition="at"), 1) == [[value]]


def test_payload_describes_the_response(make_sensor: Make, server: Any) -> None:
    server.answers(server.reply({"state": {"rows": 3}}, ETag='"abc"'))
    sensor = make_sensor(url=f"{server.url}/ready?token=hunter2", check="state")
    outcome = sensor.poll(sensor.init())
    assert isinstance(outcome, Triggered)
    assert outcome.events[0].payload == {
        "server": f"localhost:{server.port}",
        "status": 200,
        "etag": '"abc"',
        "value": {"rows": 3},
    }
    assert outcome.events[0].key is None


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("x" * 40_000, "it has 40,002 bytes; 32,768 are kept"),
        ({"a": [2**70]}, "it holds an integer past 64 bits"),
        ("\ud800", "it holds a lone surrogate"),
    ],
)
def test_payload_unstorable_value_is_left_out(
    make_sensor: Make, server: Any, value: object, reason: str
) -> None:
    server.answers(server.reply({"a": value}))
    sensor = make_sensor(on_change="a")
    outcome = sensor.poll(sensor.init())
    assert isinstance(outcome, Triggered)
    payload = outcome.events[0].payload
    assert payload is not None
    assert (payload["value"], payload["left_out"]) == (None, reason)


# -- functions -------------------------------------------------------------------------------------


def ready(body: Any, facts: Facts) -> bool:
    return bool(body["n"] > 1 and facts.status == 200 and facts.headers["x-kind"] == "full")


def name(body: Any, facts: Facts) -> object:
    return None if body["n"] == 2 else [f"n{body['n']}", ("a", date(2025, 1, 1))]


def test_functions_decide_readiness_and_partition(make_sensor: Make, server: Any) -> None:
    server.answers(*(server.reply({"n": n}, X_Kind="full") for n in (1, 2, 3)))
    sensor = make_sensor(check_fn=ready, partition_fn=name)
    assert polls(sensor, 3) == [[], [], ["n3", ("a", date(2025, 1, 1))]]


def raises(body: object, facts: Facts) -> object:
    raise KeyError("hunter2")


def later(body: object, facts: Facts) -> object:
    raise RetryLater(60, "not yet")


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"check_fn": raises}, ContentError, "check_fn raised KeyError at "),
        ({"check_fn": later}, RetryLater, "not yet"),
        ({"partition_fn": raises}, ContentError, "partition_fn raised KeyError at "),
        ({"check_fn": lambda body, facts: "yes"}, ContentError, "not a value of type str"),
        ({"partition_fn": lambda body, facts: 7}, PartitionError, "a value of type int"),
        ({"partition_fn": lambda body, facts: {"a": 1}}, PartitionError, "a value of type dict"),
        ({"partition_fn": lambda body, facts: "\ud800"}, PartitionError, "invalid text or tuple"),
        ({"partition_fn": lambda body, facts: map(str, range(10_001))}, PartitionError, "10,000"),
    ],
)
def test_function_error_hides_its_text(
    make_sensor: Make, server: Any, options: dict[str, Any], error: type[Exception], said: str
) -> None:
    server.answers(server.reply({"n": 1}))
    sensor = make_sensor(**options)
    with pytest.raises(error) as caught:
        sensor.poll(sensor.init())
    assert said in str(caught.value)
    assert "hunter2" not in str(caught.value)


# -- expressions -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "body", "said"),
    [
        ({"check": "state"}, {"state": "pending"}, "check returned a text"),
        ({"check": "length(n) > `1`"}, {"n": 1}, "cannot be applied to the response"),
        ({"partition": "day"}, {"day": "2025-02-30"}, "invalid date"),
        ({"partition": "day"}, {"day": 1.5}, "a value of type float"),
        ({"check": "ok", "partition": "day"}, {"ok": True}, "partition finds nothing in it"),
    ],
)
def test_response_of_another_form_fails_poll(
    make_sensor: Make, server: Any, options: dict[str, str], body: object, said: str
) -> None:
    server.answers(server.reply(body))
    sensor = make_sensor(**options)
    with pytest.raises(HttpError, match=said):
        sensor.poll(sensor.init())


def test_no_partition_without_check_means_not_ready(make_sensor: Make, server: Any) -> None:
    server.answers(server.reply({"day": None}), server.reply({"day": "2025-01-13"}))
    assert polls(make_sensor(partition="day"), 2) == [[], [date(2025, 1, 13)]]


# -- change ----------------------------------------------------------------------------------------


def test_H8_changed_etag_fires_once_and_is_sent_back(make_sensor: Make, server: Any) -> None:
    server.answers(
        server.reply({}, ETag='"a"'),
        server.reply(b"", 304),
        server.reply({}, ETag='W/"a"'),
        server.reply({}, ETag='"b"'),
    )
    assert polls(make_sensor(on_change="etag"), 4) == [["all"], [], [], ["all"]]
    conditions = [request.headers.get("if-none-match") for request in server.seen]
    assert conditions == [None, '"a"', '"a"', '"a"']


def test_H8_earlier_last_modified_is_not_a_change(make_sensor: Make, server: Any) -> None:
    first, second = "Wed, 15 Jan 2025 12:00:00 GMT", "Wed, 15 Jan 2025 12:00:01 GMT"
    server.answers(
        server.reply({}, Last_Modified=first),
        server.reply(b"", 304),
        server.reply({}, Last_Modified="Wed, 15 Jan 2025 11:00:00 GMT"),
        server.reply({}, Last_Modified=second),
        server.reply({}, Last_Modified=second),
    )
    assert polls(make_sensor(on_change="last_modified"), 5) == [["all"], [], [], ["all"], []]
    assert [each.headers.get("if-modified-since") for each in server.seen] == [
        None, first, first, first, second
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("on_change", "bodies", "fired"),
    [
        ("body", [{"a": 1}, {"a": 1}, {"a": 2}], [True, False, True]),
        ("a", [{"a": 1, "b": 1}, {"a": 1, "b": 2}, {"a": 2}, {}, {"a": 2}], [1, 0, 1, 0, 0]),
        ("a.b", [{"a": {"b": {"x": 1, "y": 2}}}, {"a": {"b": {"y": 2, "x": 1}}}], [1, 0]),
    ],
)
def test_on_change_fires_when_validator_changes(
    make_sensor: Make, server: Any, on_change: str, bodies: list[object], fired: list[object]
) -> None:
    server.answers(*map(server.reply, bodies))
    found = polls(make_sensor(on_change=on_change), len(bodies))
    assert list(map(bool, found)) == list(map(bool, fired))


def test_on_change_while_not_ready_fires_when_ready(make_sensor: Make, server: Any) -> None:
    server.answers(
        server.reply({"ok": True}, ETag='"a"'),
        server.reply({"ok": False}, ETag='"b"'),
        server.reply({"ok": True}, ETag='"b"'),
        server.reply({"ok": True}, ETag='"b"'),
    )
    assert polls(make_sensor(on_change="etag", check="ok"), 4) == [["all"], [], ["all"], []]


def test_on_change_setting_may_be_changed(make_sensor: Make, server: Any) -> None:
    server.answers(server.reply({}, ETag='"a"', Last_Modified="Wed, 15 Jan 2025 12:00:00 GMT"))
    by_etag = make_sensor(on_change="etag")
    state = by_etag.poll(by_etag.init()).state
    by_time = make_sensor(on_change="last_modified")
    assert partitions(by_time.poll(state)) == ["all"]
    assert "if-none-match" not in server.seen[1].headers


@pytest.mark.parametrize(
    ("on_change", "headers"),
    [
        ("etag", {}),
        ("last_modified", {}),
        ("last_modified", {"Last_Modified": "yesterday"}),
    ],
)
def test_on_change_missing_validator_fails_poll(
    make_sensor: Make, server: Any, on_change: str, headers: dict[str, str]
) -> None:
    server.answers(server.reply({}, **headers))
    sensor = make_sensor(on_change=on_change)
    with pytest.raises(ContentError, match=f"and on_change = {on_change}"):
        sensor.poll(sensor.init())


def test_etag_malformed_is_compared_but_not_sent(make_sensor: Make, server: Any) -> None:
    server.answers(
        server.reply({}, ETag="odd"), server.reply({}, ETag="odd"), server.reply({}, ETag="other")
    )
    assert polls(make_sensor(on_change="etag"), 3) == [["all"], [], ["all"]]
    assert "if-none-match" not in server.seen[1].headers


# -- statuses --------------------------------------------------------------------------------------


def test_status_not_ready_is_not_a_failure(make_sensor: Make, server: Any) -> None:
    gone, there = server.reply({}, 404), server.reply({})
    server.answers(gone, there, gone, there)
    sensor = make_sensor(not_ready_status=["404"])
    assert polls(sensor, 4) == [[], ["all"], [], ["all"]]


@pytest.mark.parametrize(
    ("status", "hint"),
    [
        (304, "a cache in between is broken"),
        (400, "check url, method, headers and body"),
        (401, "check username and password"),
        (404, "set not_ready_status"),
        (500, "polls go on with longer pauses"),
        (503, "polls go on with longer pauses"),
    ],
)
def test_status_other_fails_poll(make_sensor: Make, server: Any, status: int, hint: str) -> None:
    server.answers(server.reply({"secret": "hunter2"}, status))
    sensor = make_sensor()
    with pytest.raises(StatusError, match=f"responded with status {status}") as caught:
        sensor.poll(sensor.init())
    assert hint in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_empty_response_suffices_without_body_settings(make_sensor: Make, server: Any) -> None:
    server.answers(server.reply(b"", 204))
    assert polls(make_sensor(), 2) == [["all"], []]


# -- what is asked ---------------------------------------------------------------------------------


def test_request_has_configured_headers_and_body(make_sensor: Make, server: Any) -> None:
    server.answers(server.reply({"ok": True}))
    sensor = make_sensor(
        url=f"{server.url}/ready?day=15",
        method="POST",
        headers=["X-Team: data", "Accept: text/plain"],
        body='{"a": 1}',
        username="me",
        password="p:w",
        check="ok",
    )
    sensor.poll(sensor.init())
    (request,) = server.seen
    assert request.line == "POST /ready?day=15 HTTP/1.1"
    assert request.body == b'{"a": 1}'
    assert request.headers["authorization"] == "Basic bWU6cDp3"
    assert request.headers["content-type"] == "application/json"
    assert request.headers["x-team"] == "data"
    assert request.headers["accept"] == "text/plain"
    assert request.headers["user-agent"] == "flowstone-http"


def test_request_head_with_bearer_token(make_sensor: Make, server: Any) -> None:
    server.say = lambda request, connection: (
        b'HTTP/1.1 200 OK\r\nETag: "a"\r\nContent-Length: 5\r\n\r\n'
    )
    sensor = make_sensor(method="HEAD", bearer_token="t0ken", on_change="etag")
    assert partitions(sensor.poll(sensor.init())) == ["all"]
    (request,) = server.seen
    assert request.line.startswith("HEAD ")
    assert request.headers["authorization"] == "Bearer t0ken"


# -- state -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", [{"version": 2}, {}, [], None])
def test_state_of_another_version_is_refused(make_sensor: Make, state: Any) -> None:
    with pytest.raises(SensorBroken, match="flowstone sensors reset"):
        make_sensor().poll(state)


def test_unchanged_response_keeps_state(make_sensor: Make, server: Any) -> None:
    server.answers(server.reply({"days": ["b", "a"]}), server.reply({"days": ["a", "b"]}))
    sensor = make_sensor(partition="days")
    first = sensor.poll(sensor.init())
    again = sensor.poll(first.state)
    assert again == NotTriggered(first.state, reason="each ready partition has fired")


# -- connecting ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "options", "error"),
    [
        ({"body": {"ok": True}}, {}, None),
        ({"body": {"ok": False}}, {"check": "ok"}, None),
        ({"status": 404}, {"not_ready_status": ["404"]}, None),
        ({"status": 404}, {}, StatusError),
        ({"body": b"<html>"}, {"check": "ok"}, ContentError),
        ({"status": 503, "Retry_After": "9"}, {}, RetryLater),
    ],
)
def test_connect_sends_one_request(
    make_sensor: Make,
    server: Any,
    answer: dict[str, Any],
    options: dict[str, Any],
    error: type[Exception] | None,
) -> None:
    server.answers(server.reply(**answer))
    sensor = make_sensor(**options)
    if error is None:
        sensor.connect()
    else:
        with pytest.raises(error):
            sensor.connect()
    assert len(server.seen) == 1


def test_U3_partition_is_the_date_of_the_poll(make_sensor: Make, server: Any, clock: Any) -> None:
    server.answers(server.reply(b"no JSON"))
    sensor = make_sensor(partition="${date}", timezone="Asia/Tokyo")
    first = sensor.poll(sensor.init())
    assert partitions(first) == [date(2025, 1, 15)]
    assert partitions(sensor.poll(first.state)) == []
    clock.time = datetime(2025, 1, 15, 15, 0, tzinfo=UTC)
    second = sensor.poll(first.state)
    assert partitions(second) == [date(2025, 1, 16)]
    assert partitions(sensor.poll(second.state)) == []


def test_U3_template_waits_for_check_and_change(make_sensor: Make, server: Any) -> None:
    server.answers(
        server.reply({"done": False, "v": 1}),
        server.reply({"done": True, "v": 1}),
        server.reply({"done": True, "v": 1}),
        server.reply({"done": True, "v": 2}),
    )
    sensor = make_sensor(check="done", on_change="v", partition="week-${date}")
    assert polls(sensor, 4) == [[], ["week-2025-01-15"], [], ["week-2025-01-15"]]

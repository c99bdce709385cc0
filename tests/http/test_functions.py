"""Functions of the settings of `webhook`: of the body alone, or of the body and the facts."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import Any

import pydantic
import pytest
from flowstone_http import Webhook
from flowstone_http.config import WebhookConfig
from flowstone_http.errors import ContentError

from flowstone_core import Triggered

Make = Callable[..., Webhook]


def is_done(body: Any) -> bool:
    return bool(body["done"])


def day(body: Any) -> date:
    return date.fromisoformat(body["day"])


def one_too_many(body: Any, facts: Any, more: Any) -> Any:
    return body, facts, more


def nothing() -> bool:
    return True


async def later(body: Any) -> Any:
    return body


def test_U2_functions_of_one_argument_get_the_body(make_sensor: Make, server: Any) -> None:
    server.answers(server.reply({"done": True, "day": "2025-01-15"}))
    sensor = make_sensor(check_fn=is_done, partition_fn=day)
    outcome = sensor.poll(sensor.init())
    assert isinstance(outcome, Triggered)
    assert [event.partition for event in outcome.events] == [date(2025, 1, 15)]


@pytest.mark.parametrize("setting", ["check_fn", "partition_fn"])
@pytest.mark.parametrize("function", [one_too_many, nothing, later, f"{__name__}:nothing"])
def test_U2_function_of_another_arity_fails_the_check(setting: str, function: Any) -> None:
    other = {} if setting == "partition_fn" else {"partition": "'all'"}
    with pytest.raises(pydantic.ValidationError, match=r"must (take|not be async)"):
        WebhookConfig.model_validate({"url": "https://example.org/", setting: function} | other)


def lazily(body: Any) -> Any:
    return (date.fromisoformat(each["day"]) for each in body)


def test_iterator_of_a_function_is_read_within_its_call(make_sensor: Make, server: Any) -> None:
    sensor = make_sensor(partition_fn=lazily)
    server.answers(server.reply([{"day": "2025-01-15"}]))
    outcome = sensor.poll(sensor.init())
    assert isinstance(outcome, Triggered)
    server.answers(server.reply([{"day": "hunter2"}]))
    with pytest.raises(ContentError, match="partition_fn raised ValueError at") as caught:
        sensor.poll(sensor.init())
    assert "hunter2" not in str(caught.value)

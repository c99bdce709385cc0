"""Helpers of the fault tests."""

from __future__ import annotations

import socket
from collections.abc import Callable

import pytest
from flowstone_http import Webhook

from flowstone_core import Triggered

Make = Callable[..., Webhook]


def failure(sensor: Webhook, kind: type[Exception]) -> str:
    """Poll once, expect a failure, and return its message."""
    with pytest.raises(kind) as caught:
        sensor.poll(sensor.init())
    assert type(caught.value) is kind
    return str(caught.value)


def fires(sensor: Webhook) -> bool:
    return isinstance(sensor.poll(sensor.init()), Triggered)


def of(*addresses: str) -> Callable[[str, int], list[tuple[int, tuple[str, int]]]]:
    """Return a resolver that answers with these addresses, the next at each lookup."""
    waiting = list(addresses)

    def look_up(host: str, port: int) -> list[tuple[int, tuple[str, int]]]:
        address = waiting.pop(0) if waiting[1:] else waiting[0]
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        return [(family, (address, port))]

    return look_up

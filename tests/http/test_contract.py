"""Sensor contract of `webhook`, for readiness and for changes."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any, ClassVar

import pytest
from flowstone_http import Webhook

from flowstone_core import PollContext
from flowstone_core.testing import SensorContract

TOKEN = "bearer-c4n4ry-Z9qX"
QUERY = "query-c4n4ry v7Kp"


class WebhookContract(SensorContract):
    """Common part of the contracts: a server and its responses."""

    secrets = (TOKEN, QUERY)
    invalid_settings = (
        ({"url": "ftp://host/file"}, "url"),
        ({"partition": ...}, "partition or partition_fn is required"),
        ({"partition": "days["}, "partition"),
        ({"timeout": timedelta(0)}, "timeout"),
        ({"username": "any"}, "username and password go together"),
    )

    not_applicable: ClassVar = {"change_to_skip": "each ready partition fires, or the poll fails"}

    @pytest.fixture
    def source(self, server: Any) -> None:
        self.server = server
        self.days: list[str] = []
        self.server.say = self.say

    def say(self, request: Any, connection: socket.socket) -> bytes:
        return bytes(self.server.reply({"days": self.days}, ETag=f'"{len(self.days)}"'))

    def webhook(self, context: PollContext, **options: object) -> Webhook:
        options |= {
            "url": f"{self.server.url}/days?key={QUERY.replace(' ', '+')}",
            "bearer_token": TOKEN,
            "timeout": "300ms",
        }
        return Webhook(Webhook.Config.model_validate(options), context)

    def change(self, number: int) -> str:
        self.days.append(f"day-{number:03}")
        return self.days[-1]

    @contextmanager
    def break_source(self) -> Iterator[None]:
        self.server.say = lambda request, connection: self.server.reply({"days": []}, status=500)
        yield
        self.server.say = self.say

    @contextmanager
    def endless_source(self) -> Iterator[None]:
        def endless(request: Any, connection: socket.socket) -> None:
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n[")
            with suppress(OSError):  # the client has closed it
                while True:
                    connection.sendall(b'"2025-01-15",' * 4096)

        self.server.say = endless
        yield
        self.server.say = self.say

    @contextmanager
    def hang_source(self) -> Iterator[None]:
        self.server.say = lambda request, connection: self.server.going.wait() and None
        yield
        self.server.say = self.say


class TestWebhookThatBecomesReady(WebhookContract):
    def make_sensor(self, context: PollContext) -> Webhook:
        return self.webhook(context, partition="days")


class TestWebhookThatChanges(WebhookContract):
    sees_only_the_last = True

    def make_sensor(self, context: PollContext) -> Webhook:
        return self.webhook(context, partition="'all'", on_change="etag", check="days")

"""Helpers of the queue tests: notifications, and a queue of moto."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from typing import Any

import boto3
from flowstone_s3 import S3EventQueue

from flowstone_core import (
    Outcome,
    Triggered,
)

SECRET = "sec/ret+key=40"
Make = Callable[..., S3EventQueue]


def notice(key: str, name: str = "ObjectCreated:Put", bucket: str = "shop") -> str:
    item = {
        "key": key,
        "size": 5,
        "eTag": "abc",
        "sequencer": uuid.uuid5(uuid.NAMESPACE_URL, key).hex,
    }
    about = {"bucket": {"name": bucket}, "object": item}
    found = {"eventName": name, "eventTime": "2025-01-15T08:30:00.000Z", "s3": about}
    return json.dumps({"Records": [found]})


class Live:
    """A queue of one test on moto."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self.client = boto3.session.Session("AKIATEST", SECRET, region_name="us-east-1").client(
            "sqs", endpoint_url=endpoint
        )
        self.url = self.create()
        self.options = {
            "queue_url": self.url,
            "endpoint_url": endpoint,
            "region": "us-east-1",
            "access_key": "AKIATEST",
            "secret_key": SECRET,
        }

    def create(self) -> str:
        return str(self.client.create_queue(QueueName=f"q-{uuid.uuid4().hex}")["QueueUrl"])

    def send(self, *bodies: str, url: str | None = None) -> None:
        for body in bodies:
            self.client.send_message(QueueUrl=url or self.url, MessageBody=body)

    def left(self, url: str | None = None) -> tuple[int, int]:
        """Return the number of visible and of hidden messages."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        found = self.client.get_queue_attributes(QueueUrl=url or self.url, AttributeNames=names)
        visible, hidden = (int(found["Attributes"][name]) for name in names)
        return visible, hidden

    def show_again(self, handles: list[str]) -> None:
        """Make messages visible, as SQS does after their visibility timeout."""
        for handle in handles:
            self.client.change_message_visibility(
                QueueUrl=self.url, ReceiptHandle=handle, VisibilityTimeout=0
            )


def keys(outcome: Outcome[Any]) -> list[str]:
    """The keys of the objects that an outcome is about."""
    events = outcome.events if isinstance(outcome, Triggered) else ()
    return sorted(event.payload["objects"][0]["key"] for event in events if event.payload)  # type: ignore[index, call-overload]  # JSON


def seen(context: Any) -> dict[str, Any]:
    return {"keys": [found["key"] for each in context.payloads for found in each["objects"]]}

"""Inbox of received notifications, kept until their events are committed."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import date


@dataclass(frozen=True, slots=True)
class Notification:
    """A notification.

    Attributes:
        number: Its number within one inbox, from 1.
        channel: The channel.
        payload: The payload; it may be empty.
        day: The day of receipt.
    """

    number: int
    channel: str
    payload: str
    day: date


class Inbox:
    """Inbox of notifications, which the server sends only once, while a commit may still fail.

    Attributes:
        name: A unique name, across processes.
        last: The number of the last received notification.
    """

    def __init__(self) -> None:
        self.name = uuid.uuid4().hex
        self.last = 0
        self._held: list[Notification] = []

    def put(self, channel: str, payload: str, day: date) -> None:
        """Keep a notification."""
        self.last += 1
        self._held.append(Notification(self.last, channel, payload, day))

    def held(self) -> tuple[Notification, ...]:
        """Return all kept notifications, in the order of receipt."""
        return tuple(self._held)

    def forget(self, number: int) -> None:
        """Drop committed notifications: those up to this number."""
        self._held = [notification for notification in self._held if notification.number > number]

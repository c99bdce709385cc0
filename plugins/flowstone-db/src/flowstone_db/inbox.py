"""Notifications that were received, kept until it is known that they were committed."""

from __future__ import annotations

import uuid
from collections.abc import Collection
from dataclasses import dataclass
from datetime import date


@dataclass(frozen=True, slots=True)
class Notice:
    """A notification.

    Attributes:
        number: Counts those of one mailbox, from 1.
        channel: What it was sent to.
        payload: What was sent; it may be empty.
        day: When it was received.
    """

    number: int
    channel: str
    payload: str
    day: date


class Mailbox:
    """Holds notifications, which the server sends once: what is handed out may yet be refused.

    Attributes:
        name: No other mailbox has it, in this process or in another.
        last: The number of the last notification that was received.
    """

    def __init__(self) -> None:
        self.name = uuid.uuid4().hex
        self.last = 0
        self._held: list[Notice] = []

    def put(self, channel: str, payload: str, day: date) -> None:
        """Keep a notification."""
        self.last += 1
        self._held.append(Notice(self.last, channel, payload, day))

    def held(self) -> tuple[Notice, ...]:
        """Return all that are kept, in the order in which they came."""
        return tuple(self._held)

    def forget(self, number: int) -> None:
        """Keep those no longer that have this number or a lower one: they are committed."""
        self._held = [notice for notice in self._held if notice.number > number]

    def set_aside(self, notices: Collection[Notice]) -> None:
        """Keep these no longer, as nothing can be made of them."""
        self._held = [notice for notice in self._held if notice not in notices]

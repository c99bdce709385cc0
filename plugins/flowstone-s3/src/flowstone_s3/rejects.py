"""Rejected messages: the last of them with their reasons, and which were told."""

from __future__ import annotations

import binascii
from collections.abc import Mapping
from typing import TypedDict

from flowstone_core import Skipped
from flowstone_s3.digests import digest, read_entries, write_entries
from flowstone_s3.notifications import NotificationError, RecordError

REJECTS_KEPT = 100
"""Most rejected messages listed in the state."""

TOLD_KEPT = 10_000
"""Most further messages of which the state knows that they were told."""

_SIZE = 8


class Reject(TypedDict):
    """A rejected message: its id, the time of receipt, and the reason."""

    id: str
    at: str
    reason: str


class Rejects:
    """Rejected messages.

    A message that stays in its queue is received again and again, and told once.

    Args:
        listed: The last ones, the latest last.
        told: The digests of the ids of those before, in base64; an invalid text counts as empty.
    """

    def __init__(self, listed: list[Reject], told: str) -> None:
        self.listed = listed
        self._ids = {reject["id"] for reject in listed}
        try:
            self._told = set(read_entries(told, _SIZE))
        except (ValueError, binascii.Error):
            self._told = set()

    @property
    def told(self) -> str:
        """The digests of the ids of those that are no longer listed, in base64."""
        return write_entries(sorted(self._told)[:TOLD_KEPT])

    def knows(self, message_id: str) -> bool:
        """Return True if a message was told."""
        return message_id in self._ids or digest(message_id, _SIZE) in self._told

    def skipped(self, rejected: Mapping[str, NotificationError]) -> list[Skipped]:
        """Return those of the messages that were not told, by their ids."""
        return [_skipped(each, why) for each, why in rejected.items() if not self.knows(each)]

    def added(self, rejected: Mapping[str, NotificationError], at: str) -> Rejects:
        """Return the rejected messages with those of a poll."""
        if not rejected:
            return self
        kept = [reject for reject in self.listed if reject["id"] not in rejected]
        new = [Reject(id=each, at=at, reason=str(why)) for each, why in rejected.items()]
        every = kept + new
        after = Rejects(every[-REJECTS_KEPT:], "")
        after._told = self._told | {digest(each["id"], _SIZE) for each in every[:-REJECTS_KEPT]}
        return after


def _skipped(message_id: str, error: NotificationError) -> Skipped:
    if isinstance(error, RecordError):
        return Skipped(error.reason, 1, error.example)
    return Skipped(f"message rejected: {error}", 1, f"message {message_id}")

"""Sensor `postgres_notify`: fires for NOTIFY; a query detects missed notifications."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date
from typing import TYPE_CHECKING, Any, TypedDict

from flowstone_core import (
    Event,
    NotTriggered,
    Outcome,
    Partition,
    PollContext,
    Sensor,
    Skipped,
    Triggered,
)
from flowstone_db.change import change_event
from flowstone_db.database import ReadOnlyDatabase
from flowstone_db.inbox import Inbox, Notification
from flowstone_db.listener import Listener
from flowstone_db.notify_config import PostgresNotifyConfig
from flowstone_db.partitioning import by_column, by_field, checked, from_text
from flowstone_db.query import NO_ROW, OneRowQuery, differs, value_of
from flowstone_db.state import decode_state

if TYPE_CHECKING:
    from pydantic import JsonValue

VERSION = 1
"""The version of the stored state."""

_NO_PARTITION = "notification without a partition"


class InboxPosition(TypedDict):
    """Position in an inbox. Its keys are persisted and must not change.

    Attributes:
        mailbox: The name of the inbox, unique to a sensor instance.
        number: The number of the last committed notification.
    """

    mailbox: str
    number: int


class NotifyState(TypedDict):
    """Stored state of the sensor. Its keys are persisted and must not change.

    Attributes:
        version: The version of the state.
        value: The last value of the query.
        taken: The position of the last committed notification; None before the first.
    """

    version: int
    value: JsonValue
    taken: InboxPosition | None


class PostgresNotify(Sensor[PostgresNotifyConfig, NotifyState]):
    """Sensor that fires for each notification that PostgreSQL sends to one of the channels.

    The asset function finds the notification in the payload: ``{"channel": ..., "payload": ...}``.
    PostgreSQL does not keep notifications without a listener. So a query can be set whose value
    changes with everything that notifications are sent for: a change without a notification fires
    as well, with the payload ``{"value": ..., "previous": ...}``.

    By default the partition is the date of the poll, in UTC.
    """

    Config = PostgresNotifyConfig
    asset_required = True

    def __init__(self, config: PostgresNotifyConfig, context: PollContext | None = None) -> None:
        super().__init__(config, context)
        self._inbox = Inbox()
        self._listener = Listener(config, config.channel, self.context, self._receive)
        self._database = ReadOnlyDatabase(config, self.context)
        self._query = None if config.query is None else OneRowQuery(self._database, config.query)
        self._partition_of = _partition_function(config)
        self._asked = 0.0
        # A change without notification; reset only after its event was committed.
        self._gap = False
        self._returned: NotifyState | None = None

    def init(self) -> NotifyState:
        """See `Sensor.init`."""
        return NotifyState(version=VERSION, value=NO_ROW, taken=None)

    def poll(self, state: NotifyState) -> Outcome[NotifyState]:
        """See `Sensor.poll`.

        Raises:
            DatabaseError: If no connection can listen, or the query fails.
            PartitionError: If the new value of the query has no partition.
            SensorBroken: If the state has another version, or is damaged.
        """
        previous, position = decode_state(state, VERSION, _parts, "the present value of the query")
        if position is not None and position["mailbox"] == self._inbox.name:
            self._inbox.forget(position["number"])
        if state == self._returned:
            self._gap = False
        if self._listener.receive(self._wait_seconds):
            self._gap = True
            self._warn()
        value, change = self._ask(previous)
        held = self._inbox.held()
        events, skipped = self._events(held)
        events = [*([] if change is None else [change]), *events]
        if held:
            position = InboxPosition(mailbox=self._inbox.name, number=held[-1].number)
        after = self._returned = NotifyState(version=VERSION, value=value, taken=position)
        if events:
            return Triggered(events, after, skipped=skipped)
        return NotTriggered(after, skipped=skipped)

    def connect(self) -> None:
        """See `Sensor.connect`: listens, and checks the query without running it.

        Raises:
            DatabaseError: If no connection can listen, or the query would fail.
        """
        self._listener.receive(lambda: 0.0)
        if self._query is not None:
            self._query.check()

    def cleanup(self) -> None:
        """See `Sensor.cleanup`."""
        self._listener.close()
        self._database.close()

    def _receive(self, channel: str, payload: str) -> None:
        self._inbox.put(channel, payload, self._today())

    def _wait_seconds(self) -> float:
        return 0.0 if self._inbox.held() else self.config.wait.total_seconds()

    def _today(self) -> date:
        return self.context.clock.now().astimezone(UTC).date()

    def _warn(self) -> None:
        if self._query is None:
            self.context.logger.warning(
                "listening started; notifications sent before are lost (set query to detect them)"
            )

    def _ask(self, previous: JsonValue) -> tuple[JsonValue, Event | None]:
        """Return the value of the query, and the event of a change without notification."""
        now = self.context.clock.monotonic()
        due = now - self._asked >= self.config.recheck.total_seconds()
        told = bool(self._inbox.held())
        if self._query is None or not (due or told or self._gap):
            return previous, None
        row = self._query.fetch()
        self._asked = now
        value = value_of(row)
        if not differs(value, previous):
            return previous, None
        if told and not self._gap:
            return value, None
        self._gap = True
        column = self.config.query_partition
        partition_of = None if column is None else by_column(column)
        return value, change_event(row, value, previous, partition_of, self._today())

    def _events(self, notifications: Sequence[Notification]) -> tuple[list[Event], list[Skipped]]:
        """Return the events of notifications, and the report of those without a partition."""
        events: list[Event] = []
        unassigned: list[str] = []
        for notification in notifications:
            try:
                partition = self._partition_of(notification)
            except ValueError as error:
                named = f"channel {notification.channel!r}, payload {notification.payload!r:.80}"
                unassigned.append(f"{named}: {error}")
                continue
            if partition is not None:
                key = f"{self._inbox.name}:{notification.number}"
                payload = {"channel": notification.channel, "payload": notification.payload}
                events.append(Event(partition, key, payload=payload))
        if not unassigned:
            return events, []
        return events, [Skipped(_NO_PARTITION, len(unassigned), unassigned[0])]


def _parts(state: Mapping[str, Any]) -> tuple[JsonValue, InboxPosition | None]:
    position = state["taken"]
    if position is not None:
        position = InboxPosition(mailbox=position["mailbox"], number=position["number"])
    return state["value"], position


def _partition_function(config: PostgresNotifyConfig) -> Callable[[Notification], Partition | None]:
    function: Callable[[str], object] | None = config.partition_fn
    if config.partition == "payload":
        function = from_text
    if config.partition_field is not None:
        function = by_field(config.partition_field)
    if function is None:
        return lambda notification: notification.day
    find = checked(function)
    return lambda notification: find(notification.payload)

"""`postgres_notify`: fires for what is sent by NOTIFY; a query finds out if anything was missed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date
from typing import TYPE_CHECKING, Any, TypedDict

from flowstone_core import Event, NotTriggered, Outcome, Partition, PollContext, Sensor, Triggered
from flowstone_db.change import change_event
from flowstone_db.config import PostgresNotifyConfig
from flowstone_db.database import Database
from flowstone_db.errors import PartitionError
from flowstone_db.inbox import Mailbox, Notice
from flowstone_db.listener import Listener
from flowstone_db.partitioning import by_column, by_field, checked, from_text
from flowstone_db.query import NO_ROW, Question, differ, value_of
from flowstone_db.state import read_stored

if TYPE_CHECKING:
    from pydantic import JsonValue

VERSION = 1
"""The version of the state's form."""

_SHOWN = 3


class Taken(TypedDict):
    """How far notifications have been committed.

    Attributes:
        mailbox: Whose they are; another process, or another instance, has another one.
        number: That of the last.
    """

    mailbox: str
    number: int


class NotifyState(TypedDict):
    """What is stored of a sensor.

    Attributes:
        version: The version of this form.
        value: What the query returned last.
        taken: Up to which notification they are committed; None if there was none.
    """

    version: int
    value: JsonValue
    taken: Taken | None


class PostgresNotify(Sensor[PostgresNotifyConfig, NotifyState]):
    """Fires for each notification that PostgreSQL sends to one of the channels.

    The asset function finds it in the payload: ``{"channel": ..., "payload": ...}``. PostgreSQL
    keeps no notification for those who do not listen. So a query can be given whose value is
    another one after whatever is notified of: if it has changed and no notification was received,
    that fires, with the payload ``{"value": ..., "previous": ...}``.

    By default the partition is the date of the poll, in UTC.
    """

    Config = PostgresNotifyConfig

    def __init__(self, config: PostgresNotifyConfig, context: PollContext | None = None) -> None:
        super().__init__(config, context)
        clock = self.context.clock
        self._mailbox = Mailbox()
        self._listener = Listener(config, config.channel, clock.monotonic, self._receive)
        self._database = Database(config, clock.monotonic)
        self._question = None if config.query is None else Question(self._database, config.query)
        self._partition_of = _partition_function(config)
        self._asked = 0.0
        # What no notification explains: not to be forgotten before it has been committed.
        self._gap = False
        self._returned: NotifyState | None = None

    def init(self) -> NotifyState:
        """See `Sensor.init`."""
        return NotifyState(version=VERSION, value=NO_ROW, taken=None)

    def poll(self, state: NotifyState) -> Outcome[NotifyState]:
        """See `Sensor.poll`.

        Raises:
            DatabaseError: If there is no connection that listens, or the query fails.
            PartitionError: If the new value of the query has no partition, or none of the
                notifications has one; these are reported so, and set aside.
            SensorBroken: If the state is not one that this version can read.
        """
        previous, taken = read_stored(state, VERSION, _parts, "the value that the query returns")
        if taken is not None and taken["mailbox"] == self._mailbox.name:
            self._mailbox.forget(taken["number"])
        if state == self._returned:
            self._gap = False
        if self._listener.hear(self._patience):
            self._gap = True
            self._warn()
        value, change = self._ask(previous)
        held = self._mailbox.held()
        events = self._events(held, [] if change is None else [change])
        if held:
            taken = Taken(mailbox=self._mailbox.name, number=held[-1].number)
        after = self._returned = NotifyState(version=VERSION, value=value, taken=taken)
        return Triggered(events, after) if events else NotTriggered(after)

    def connect(self) -> None:
        """See `Sensor.connect`: listens, and has the query looked at, not run.

        Raises:
            DatabaseError: If nobody can listen there, or the query would fail.
        """
        self._listener.hear(lambda: 0.0)
        if self._question is not None:
            self._question.explain()

    def cleanup(self) -> None:
        """See `Sensor.cleanup`."""
        self._listener.close()
        self._database.close()

    def _receive(self, channel: str, payload: str) -> None:
        self._mailbox.put(channel, payload, self._today())

    def _patience(self) -> float:
        return 0.0 if self._mailbox.held() else self.config.wait.total_seconds()

    def _today(self) -> date:
        return self.context.clock.now().astimezone(UTC).date()

    def _warn(self) -> None:
        if self._question is None:
            self.context.logger.warning(
                "listening from now on: what was notified before, while nobody listened, is lost; "
                "set query to find out"
            )

    def _ask(self, previous: JsonValue) -> tuple[JsonValue, Event | None]:
        """Return the value of the query, and the event of a change that nothing else explains."""
        now = self.context.clock.monotonic()
        due = now - self._asked >= self.config.recheck.total_seconds()
        told = bool(self._mailbox.held())
        if self._question is None or not (due or told or self._gap):
            return previous, None
        row = self._question.ask()
        self._asked = now
        value = value_of(row)
        if not differ(value, previous):
            return previous, None
        if told and not self._gap:
            return value, None
        self._gap = True
        column = self.config.query_partition
        partition_of = None if column is None else by_column(column)
        return value, change_event(row, value, previous, partition_of, self._today())

    def _events(self, notices: Sequence[Notice], others: Sequence[Event]) -> list[Event]:
        """Add the events of notifications to others; those without a partition are set aside.

        Raises:
            PartitionError: If that is why there are no events at all.
        """
        events: list[Event] = []
        homeless: dict[Notice, str] = {}
        for notice in notices:
            try:
                partition = self._partition_of(notice)
            except ValueError as error:
                homeless[notice] = str(error)
                continue
            if partition is not None:
                key = f"{self._mailbox.name}:{notice.number}"
                payload = {"channel": notice.channel, "payload": notice.payload}
                events.append(Event(partition, key, payload=payload))
        self._mailbox.set_aside(homeless.keys())
        if homeless and not others and not events:
            raise _no_partition(homeless)
        if homeless:
            self.context.logger.error("%s", _no_partition(homeless))
        return [*others, *events]


def _parts(state: Mapping[str, Any]) -> tuple[JsonValue, Taken | None]:
    taken = state["taken"]
    if taken is not None:
        taken = Taken(mailbox=taken["mailbox"], number=taken["number"])
    return state["value"], taken


def _partition_function(config: PostgresNotifyConfig) -> Callable[[Notice], Partition | None]:
    function: Callable[[str], object] | None = config.partition_fn
    if config.partition == "payload":
        function = from_text
    if config.partition_field is not None:
        function = by_field(config.partition_field)
    if function is None:
        return lambda notice: notice.day
    find = checked(function)
    return lambda notice: find(notice.payload)


def _no_partition(notices: Mapping[Notice, str]) -> PartitionError:
    shown = [
        f"channel {notice.channel!r}, payload {notice.payload!r:.80}: {reason:.200}"
        for notice, reason in list(notices.items())[:_SHOWN]
    ]
    more = f"; and {len(notices) - _SHOWN} more" if len(notices) > _SHOWN else ""
    return PartitionError(
        f"no partition for {len(notices)} notifications: {'; '.join(shown)}{more}",
        hint="they are left out for good; send payloads that have one, or say by partition, "
        "partition_field or partition_fn which it is",
    )

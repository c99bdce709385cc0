"""Sensor `s3_event_queue`: fires for S3 notifications in an SQS queue."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import NotRequired, TypedDict

from flowstone_core import (
    Event,
    NotTriggered,
    Outcome,
    PollContext,
    Sensor,
    Triggered,
)
from flowstone_s3.errors import S3Error, S3UnavailableError
from flowstone_s3.key_filter import bracket_hint, key_filter
from flowstone_s3.notifications import (
    NotificationError,
    ObjectNotification,
    RecordError,
    parse_notifications,
)
from flowstone_s3.partitioning import KeyPartitions
from flowstone_s3.queue import Message, Queue
from flowstone_s3.queue_config import S3EventQueueConfig
from flowstone_s3.rejects import Reject, Rejects
from flowstone_s3.state import unsupported_version
from flowstone_s3.unreadable import UnreadableKeyError, key_example

VERSION = 1
"""The version of the stored state."""


class QueueState(TypedDict):
    """Stored state of the sensor.

    Attributes:
        version: The version of the state.
        done: The receipt handles of the messages committed with this state; the next poll deletes
            them.
        rejects: The last rejected messages, the latest last.
        told: Digests of the ids of those before, in base64.
    """

    version: int
    done: list[str]
    rejects: list[Reject]
    told: NotRequired[str]


class S3EventQueue(Sensor[S3EventQueueConfig, QueueState]):
    """Sensor that fires for every S3 notification in an SQS queue, by the partition in the key.

    A message is deleted only after its events were committed: the next poll, which receives the
    state that was stored with them, deletes the message. Until then the message is hidden; if it
    becomes visible before, it is received again, and its event is a duplicate by its key. The
    asset function finds each object in the payload of an event:
    ``{"bucket": ..., "objects": [{"key", "etag", "size", "last_modified"}]}``.

    An unusable message is set aside and logged, and does not block the others.
    """

    Config = S3EventQueueConfig
    asset_required = True

    def __init__(self, config: S3EventQueueConfig, context: PollContext | None = None) -> None:
        super().__init__(config, context)
        self._queue = Queue(config, self.context)
        self._passes = key_filter(config.suffix, config.glob)
        self._partitions = KeyPartitions(config)
        self._left_out = 0

    def init(self) -> QueueState:
        """See `Sensor.init`."""
        return QueueState(version=VERSION, done=[], rejects=[])

    def poll(self, state: QueueState) -> Outcome[QueueState]:
        """See `Sensor.poll`.

        Raises:
            S3Error: If the queue cannot be used.
            PartitionError: If a ``partition_fn`` fails for another reason than the key.
            RetryLater: If a ``partition_fn`` raises it.
            SensorBroken: If a ``partition_fn`` raises it, or the state has another version.
        """
        _check(state)
        now = self.context.clock.now()
        self._left_out = 0
        self._delete(state["done"])
        # Of a message that is received twice in a poll, the later handle counts.
        messages = {message.id: message for message in self._queue.receive()}
        events: dict[str, Event] = {}
        rejected: dict[str, NotificationError] = {}
        for message in messages.values():
            try:
                for event in self._events(message, now):
                    events[str(event.key)] = event
            except NotificationError as error:
                rejected[message.id] = error
        self._partitions.log_choice(self.context)
        known = Rejects(state["rejects"], state.get("told", ""))
        moved = self._set_aside(
            [(messages[each], str(why)) for each, why in rejected.items()], known
        )
        rejects = known.added(rejected, now.isoformat())
        after = QueueState(
            version=VERSION,
            done=[
                each.handle
                for each in messages.values()
                if each.id not in rejected or each.id in moved
            ],
            rejects=rejects.listed,
        )
        if rejects.told:
            after["told"] = rejects.told
        skipped = known.skipped(rejected)
        if events:
            return Triggered(list(events.values()), after, skipped)
        return NotTriggered(after, skipped, self._nothing_wanted())

    def connect(self) -> None:
        """See `Sensor.connect`: requests the queue's ARN.

        Raises:
            S3Error: If the queue cannot be used.
        """
        self._queue.check_access()

    def cleanup(self) -> None:
        """See `Sensor.cleanup`."""
        self._queue.close()

    def _delete(self, handles: list[str]) -> None:
        failed = self._queue.delete(handles)
        if failed:
            self.context.logger.warning(
                "visibility timeout expired before deletion: %d of %d messages (they will be "
                "received again, without new events; raise visibility)",
                failed,
                len(handles),
            )

    def _events(self, message: Message, now: datetime) -> Iterable[Event]:
        wrong = None
        for notification in parse_notifications(message.body):
            if self.config.bucket not in {None, notification.bucket}:
                wrong = NotificationError("about another bucket")
                continue
            if not self._wanted(notification):
                self._left_out += not notification.key.endswith("/")
                continue
            try:
                yield from self._event(notification, now)
            except NotificationError as error:
                wrong = error
        # Raised at the end: the other records of the message fire all the same.
        if wrong is not None:
            raise wrong

    def _event(self, notification: ObjectNotification, now: datetime) -> Iterable[Event]:
        key = notification.key
        try:
            partition = self._partitions.partition(key, now)
        except UnreadableKeyError as error:
            text = f"no partition for {key!r:.300}: {error}"
            raise RecordError(text, error.reason, key_example(key, error)) from None
        if partition is None:
            return
        yield Event(
            partition,
            key=notification.event_key,
            payload={"bucket": notification.bucket, "objects": [notification.entry]},
        )

    def _wanted(self, notification: ObjectNotification) -> bool:
        key = notification.key
        # S3 sends notifications of folder markers too.
        marker = key.endswith("/") and notification.size == 0
        return key.startswith(self.config.prefix) and self._passes(key) and not marker

    def _nothing_wanted(self) -> str:
        if not self._left_out:
            return ""
        hint = bracket_hint(self.config.glob)
        return f"{self._left_out:,} keys left out by prefix, suffix or glob{hint}"

    def _set_aside(self, rejected: list[tuple[Message, str]], known: Rejects) -> set[str]:
        """Move or hide rejected messages; return the ids of those that may be deleted."""
        warn = self.context.logger.warning
        for message, reason in rejected:
            if not known.knows(message.id):
                text = "message rejected: %s (message %s)"
                warn(text, reason, message.id)
        moved = {message.id for message, reason in rejected if self._move(message, reason)}
        try:
            self._queue.hide([message for message, _ in rejected if message.id not in moved])
        except S3UnavailableError:
            raise
        except S3Error as error:
            warn("cannot hide rejected messages; they reappear after visibility: %s", error)
        return moved

    def _move(self, message: Message, reason: str) -> bool:
        url = self.config.rejects_queue_url
        if url is None:
            return False
        try:
            self._queue.reject(url, message, reason)
        except S3UnavailableError:
            raise
        except S3Error as error:
            # A failure of this message, or of the other queue, must not block other messages.
            text = "cannot move rejected message; it stays in the queue: %s (message %s)"
            self.context.logger.warning(text, error, message.id)
            return False
        return True


def _check(state: QueueState) -> None:
    version: object = state.get("version") if isinstance(state, dict) else None
    if version != VERSION:
        after_reset = "messages not yet deleted are then received again"
        raise unsupported_version(version, VERSION, after_reset)

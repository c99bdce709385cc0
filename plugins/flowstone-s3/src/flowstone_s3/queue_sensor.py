"""The sensor of a queue: what one poll of it amounts to."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable
from typing import TypedDict

from flowstone_core import (
    Event,
    NotTriggered,
    Outcome,
    PollContext,
    RetryLater,
    Sensor,
    SensorBroken,
    Triggered,
    encode_partition,
)
from flowstone_s3.errors import S3Error, S3UnavailableError
from flowstone_s3.notifications import Notice, NoticeError, read_notices
from flowstone_s3.partitioning import partition_function
from flowstone_s3.queue import Message, Queue
from flowstone_s3.queue_config import S3EventQueueConfig

VERSION = 1
"""The version of the state's form."""

REJECTS_KEPT = 100
"""How many of the messages that could not be used are told of in the state."""


class Reject(TypedDict):
    """A message that could not be used: its id, when it was read, and why."""

    id: str
    at: str
    reason: str


class QueueState(TypedDict):
    """What is stored of a sensor.

    Attributes:
        version: The version of this form.
        done: The handles of the messages that this state was stored for; the poll that is given
            it deletes them.
        rejects: The last messages that could not be used, the latest last.
    """

    version: int
    done: list[str]
    rejects: list[Reject]


class S3EventQueue(Sensor[S3EventQueueConfig, QueueState]):
    """Fires for every object that S3 tells a queue of SQS of, by the partition in its key.

    A message is deleted only when what came of it has been committed: the poll after it, which is
    given the state that was stored with its events, deletes it. Until then it is hidden, and if
    that does not happen in time it comes again, and what it tells of is known by its key. The
    asset function finds each object in the payload of an event:
    ``{"bucket": ..., "objects": [{"key", "etag", "size", "last_modified"}]}``.

    A message that cannot be used is set aside and told of, and holds up no other.
    """

    Config = S3EventQueueConfig

    def __init__(self, config: S3EventQueueConfig, context: PollContext | None = None) -> None:
        super().__init__(config, context)
        self._queue = Queue(config)
        self._matches = re.compile(fnmatch.translate(config.glob or "*")).match
        self._partition_of = partition_function(config)

    def init(self) -> QueueState:
        """See `Sensor.init`."""
        return QueueState(version=VERSION, done=[], rejects=[])

    def poll(self, state: QueueState) -> Outcome[QueueState]:
        """See `Sensor.poll`.

        Raises:
            S3Error: If the queue cannot be used.
            RetryLater: If a ``partition_fn`` raises it.
            SensorBroken: If a ``partition_fn`` raises it, or the state cannot be read.
        """
        _check(state)
        self._delete(state["done"])
        # A message that is received twice in a poll has the later handle.
        messages = {message.id: message for message in self._queue.receive()}
        events: dict[str, Event] = {}
        rejected: dict[str, str] = {}
        for message in messages.values():
            try:
                for event in self._events(message):
                    events[str(event.key)] = event
            except NoticeError as error:
                rejected[message.id] = str(error)
        known = {reject["id"] for reject in state["rejects"]}
        moved = self._set_aside([(messages[each], why) for each, why in rejected.items()], known)
        after = QueueState(
            version=VERSION,
            done=[
                each.handle
                for each in messages.values()
                if each.id not in rejected or each.id in moved
            ],
            rejects=self._rejects(state["rejects"], rejected),
        )
        return Triggered(list(events.values()), after) if events else NotTriggered(after)

    def connect(self) -> None:
        """See `Sensor.connect`: the queue is asked for its name.

        Raises:
            S3Error: If it cannot be used.
        """
        self._queue.reach()

    def cleanup(self) -> None:
        """See `Sensor.cleanup`."""
        self._queue.close()

    def _delete(self, handles: list[str]) -> None:
        failed = self._queue.delete(handles)
        if failed:
            self.context.logger.warning(
                "%d of %d messages were visible again before they were deleted, and come once "
                "more, which does no harm; raise visibility",
                failed,
                len(handles),
            )

    def _events(self, message: Message) -> Iterable[Event]:
        wrong = ""
        for notice in read_notices(message.body):
            if self.config.bucket not in {None, notice.bucket}:
                wrong = "it is about another bucket"
                continue
            if not self._wanted(notice):
                continue
            try:
                yield from self._event(notice)
            except NoticeError as error:
                wrong = str(error)
        # Said at the end: what else it tells of fires all the same.
        if wrong:
            raise NoticeError(wrong)

    def _event(self, notice: Notice) -> Iterable[Event]:
        try:
            partition = self._partition_of(notice.key)
            if partition is None:
                return
            encode_partition(partition)
        except (RetryLater, SensorBroken):
            raise
        except Exception as error:  # noqa: BLE001 - a partition_fn may raise anything
            # The text of a foreign error may hold anything, and the reason is kept and sent.
            why = str(error) if type(error) is ValueError else type(error).__name__
            why = "".join(each if each.isprintable() else " " for each in why[:300])
            raise NoticeError(f"no partition for {notice.key!r:.300}: {why}") from None
        yield Event(
            partition,
            key=notice.event_key,
            payload={"bucket": notice.bucket, "objects": [notice.entry]},
        )

    def _wanted(self, notice: Notice) -> bool:
        key = notice.key
        begins, ends = key.startswith(self.config.prefix), key.endswith(self.config.suffix)
        # S3 tells of the markers of folders too.
        marker = key.endswith("/") and notice.size == 0
        return begins and ends and self._matches(key) is not None and not marker

    def _set_aside(self, rejected: list[tuple[Message, str]], known: set[str]) -> set[str]:
        """Move what cannot be used, or hide it; return the ids of what may be deleted."""
        warn = self.context.logger.warning
        for message, reason in rejected:
            if message.id not in known:
                text = "a message cannot be used, and is set aside: %s (message %s)"
                warn(text, reason, message.id)
        moved = {message.id for message, reason in rejected if self._move(message, reason)}
        try:
            self._queue.hide([message for message, _ in rejected if message.id not in moved])
        except S3UnavailableError:
            raise
        except S3Error as error:
            warn("messages that cannot be used come again after visibility: %s", error)
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
            # What is wrong with this message, or with that queue, must not hold up the others.
            text = "a message that cannot be used stays where it is: %s (message %s)"
            self.context.logger.warning(text, error, message.id)
            return False
        return True

    def _rejects(self, before: list[Reject], rejected: dict[str, str]) -> list[Reject]:
        if not rejected:
            return before
        at = self.context.clock.now().isoformat()
        kept = [reject for reject in before if reject["id"] not in rejected]
        new = [Reject(id=each, at=at, reason=why) for each, why in rejected.items()]
        return (kept + new)[-REJECTS_KEPT:]


def _check(state: QueueState) -> None:
    version: object = state.get("version") if isinstance(state, dict) else None
    if version != VERSION:
        raise SensorBroken(
            f"the stored state has version {version!r:.40}, and this flowstone-s3 reads version "
            f"{VERSION}: install the flowstone-s3 that wrote it, or reset the sensor by "
            "'flowstone sensors reset'; messages that were not deleted yet come again"
        )

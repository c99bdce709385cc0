"""What one tick amounts to: the pure decision between a poll and its transaction.

`decide` takes what is known of a sensor and what its poll did, and returns what to commit and
when to poll again. It reads no clock and no database, draws no lots, and raises nothing.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Generic, TypeVar

from flowstone_core.errors import OutcomeError, PollTimeoutError, SensorBroken, ValidationError
from flowstone_core.model.backoff import honoured_delay
from flowstone_core.model.event import Event, NotTriggered, PollFailed, Triggered
from flowstone_core.model.json_document import (
    PAYLOAD_LIMIT,
    STATE_LIMIT,
    dump_document,
    same_document,
)
from flowstone_core.model.partition import encode_partition
from flowstone_core.model.safe_text import describe
from flowstone_core.model.tick import (
    NewEvent,
    ScheduleCommit,
    SensorCheckpoint,
    TickCommit,
    TickOutcome,
)

QUARANTINE_INTERVAL = timedelta(hours=1)
"""How often a quarantined sensor is tried."""

TRANSACTION_LIMIT = 8 * 1024 * 1024
"""Bytes of payload after which a tick's events go on in the next transaction."""


@dataclass(frozen=True)
class TickRules:
    """What `decide` must know of a sensor's settings.

    Attributes:
        sensor: Its name.
        asset: The asset its events are for unless they say otherwise; None when they must.
        assets: The names of all assets there are.
        max_events: Events in one transaction.
        baseline: Whether the first good poll fires nothing.
        quarantine_after: Failures in a row after which it is tried once an hour.
        backoff: From the number of failures in a row to the delay before the next poll.
        redact: Hides secrets in error texts.
    """

    sensor: str
    asset: str | None
    assets: Collection[str]
    max_events: int = 1_000
    baseline: bool = False
    quarantine_after: int = 10
    backoff: Callable[[int], timedelta] = lambda failures: timedelta(seconds=5 * failures)
    redact: Callable[[str], str] = str


@dataclass(frozen=True, slots=True)
class SensorObservation:
    """What one tick of a sensor did.

    Attributes:
        outcome: What ``poll`` returned, whatever it is, or what it, or ``init``, raised.
        raised: Whether ``outcome`` was raised.
        initial: The text of the state that ``init`` returned in this tick, or None.
    """

    outcome: object
    started_at: datetime
    finished_at: datetime
    raised: bool = False
    initial: str | None = None


C_co = TypeVar("C_co", bound="TickCommit | ScheduleCommit", covariant=True)


@dataclass(frozen=True)
class Decision(Generic[C_co]):
    """What a tick amounts to.

    Attributes:
        commits: The transactions to make, in order; none for a quiet tick. If one fails, those
            after it must not be made.
        delay: How long to wait, from the end of this tick, before the next one; None means a
            sensor's own interval.
        next_at: When to look at a schedule again; None means that nothing is to come.
    """

    outcome: TickOutcome
    commits: tuple[C_co, ...] = ()
    delay: timedelta | None = None
    error: str | None = None
    next_at: datetime | None = None


def decide(
    rules: TickRules, checkpoint: SensorCheckpoint, observation: SensorObservation
) -> Decision[TickCommit]:
    """Decide what a sensor's tick amounts to.

    No event of a good outcome is ever dropped, save for a baseline: each is in exactly one of
    the returned transactions. An outcome that breaks the contract is a failed tick, whole: its
    state is not kept either.

    Args:
        rules: The sensor's settings.
        memory: What was known when the tick began.
        observation: What the tick did.

    Returns:
        The transactions to make and the delay before the next poll.
    """
    try:
        return _decide(rules, checkpoint, observation)
    except BaseException as error:  # noqa: BLE001 - foreign values raise anything when looked at
        broken = OutcomeError(describe(error, rules.redact), sensor=rules.sensor)
        return _failure(
            rules, checkpoint, observation, broken, checkpoint.state or observation.initial
        )


def _decide(
    rules: TickRules, checkpoint: SensorCheckpoint, observation: SensorObservation
) -> Decision[TickCommit]:
    seen = observation.outcome
    if observation.raised and isinstance(seen, BaseException):
        return _failure(
            rules, checkpoint, observation, seen, checkpoint.state or observation.initial
        )
    if isinstance(seen, PollFailed):
        error = seen.error
        if not isinstance(error, BaseException):
            error = OutcomeError(str(error), sensor=rules.sensor)
        return _failure(rules, checkpoint, observation, error, _state_text(seen.state))
    if isinstance(seen, NotTriggered):
        return _quiet_or_commit(rules, checkpoint, observation, seen.state, ())
    if isinstance(seen, Triggered):
        events = tuple(_new_events(rules, checkpoint, seen.events))
        return _quiet_or_commit(rules, checkpoint, observation, seen.state, events)
    raise OutcomeError(
        f"poll returned {_kind(seen)}; it must return Triggered, NotTriggered or PollFailed",
        sensor=rules.sensor,
    )


def _quiet_or_commit(
    rules: TickRules,
    checkpoint: SensorCheckpoint,
    observation: SensorObservation,
    state: object,
    events: Sequence[NewEvent],
) -> Decision[TickCommit]:
    settled = checkpoint.polled and not checkpoint.failures and checkpoint.not_before is None
    if (
        not events
        and settled
        and checkpoint.state is not None
        and same_document(state, checkpoint.state)
    ):
        return Decision(TickOutcome.NOT_TRIGGERED)
    outcome = TickOutcome.TRIGGERED if events else TickOutcome.NOT_TRIGGERED
    if rules.baseline and not checkpoint.polled:
        outcome, events = TickOutcome.BASELINE, ()
    after = SensorCheckpoint(checkpoint.version + 1, _state_text(state), polled=True)
    batches = list(_batches(events, rules.max_events))
    commits = [
        TickCommit(
            rules.sensor,
            outcome,
            observation.started_at,
            observation.finished_at,
            checkpoint,
            after if number == len(batches) else checkpoint,
            tuple(batch),
        )
        for number, batch in enumerate(batches, 1)
    ]
    return Decision(outcome, tuple(commits))


def _failure(
    rules: TickRules,
    checkpoint: SensorCheckpoint,
    observation: SensorObservation,
    error: BaseException,
    state: str | None,
) -> Decision[TickCommit]:
    text = describe(error, rules.redact)
    after = replace(checkpoint, state=state, not_before=None)
    delay = honoured_delay(error)
    if isinstance(error, SensorBroken):
        outcome, after = TickOutcome.BROKEN, replace(after, broken=True)
    elif delay is not None:
        outcome = TickOutcome.RETRY_LATER
    else:
        timed_out = isinstance(error, PollTimeoutError)
        outcome = TickOutcome.TIMED_OUT if timed_out else TickOutcome.FAILED
        after = replace(after, failures=checkpoint.failures + 1)
        quarantined = after.failures >= rules.quarantine_after
        delay = QUARANTINE_INTERVAL if quarantined else rules.backoff(after.failures)
    if delay is not None:
        after = replace(after, not_before=observation.finished_at + delay)
    commit = TickCommit(
        rules.sensor,
        outcome,
        observation.started_at,
        observation.finished_at,
        checkpoint,
        after,
        error=text,
    )
    return Decision(outcome, (commit,), delay, text)


def _new_events(
    rules: TickRules, checkpoint: SensorCheckpoint, events: Sequence[Event]
) -> Iterator[NewEvent]:
    seen: Counter[str] = Counter()
    for event in events:
        asset = rules.asset if event.asset is None else event.asset
        if asset is None:
            raise OutcomeError(
                f"the event for {event.partition!r:.80} names no asset and the sensor has none",
                hint="give the sensor an asset, or the event",
                sensor=rules.sensor,
            )
        if asset not in rules.assets:
            raise OutcomeError(
                f"the event for {event.partition!r:.80} is for asset {asset!r:.80}, "
                "which no pipeline has",
                sensor=rules.sensor,
            )
        partition = encode_partition(event.partition)
        payload = _payload_text(event.payload)
        if event.key is None:
            # The content is part of the key, so that a replay that finds more is not taken for
            # the event that was committed before the crash.
            digest = hashlib.sha256(f"{asset}\0{partition}\0{payload}".encode()).hexdigest()[:32]
            seen[digest] += 1
            key = f"tick:{checkpoint.version}:{digest}:{seen[digest]}"
        else:
            key = _key_text(event.key)
        yield NewEvent(key, asset, partition, payload)


def _payload_text(payload: object) -> str | None:
    if payload is None:
        return None
    if not isinstance(payload, Mapping):
        raise OutcomeError(f"an event's payload must be a JSON mapping, not {_kind(payload)}")
    return dump_document(dict(payload), what="the payload", limit=PAYLOAD_LIMIT)


def _key_text(key: object) -> str:
    if not isinstance(key, str):
        raise OutcomeError(f"an event's key must be a string, not {_kind(key)}")
    try:
        return encode_partition(key)
    except ValidationError as error:
        raise OutcomeError(f"an event's key cannot be used: {error.message}") from None


def _batches(events: Sequence[NewEvent], max_events: int) -> Iterator[list[NewEvent]]:
    batch: list[NewEvent] = []
    size = 0
    for event in events:
        weight = len((event.payload or "").encode())
        if batch and (len(batch) == max_events or size + weight > TRANSACTION_LIMIT):
            yield batch
            batch, size = [], 0
        batch.append(event)
        size += weight
    yield batch


def _state_text(state: object) -> str:
    try:
        return dump_document(state, what="the state", limit=STATE_LIMIT)
    except ValidationError as error:
        raise OutcomeError(error.message) from None


def _kind(value: object) -> str:
    return "None" if value is None else f"a value of type {type(value).__qualname__}"

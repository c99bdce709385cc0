"""Decision of a sensor's tick: what the tick commits, from checkpoint and outcome.

Pure: no clock, no database, no randomness; never raises.
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
from flowstone_core.model.partition import encode_partition, encode_value
from flowstone_core.model.safe_text import describe
from flowstone_core.model.skipped_items import safe_reason, skipped_items
from flowstone_core.model.tick import (
    NewEvent,
    ScheduleCommit,
    SensorCheckpoint,
    TickCommit,
    TickOutcome,
)

QUARANTINE_INTERVAL = timedelta(hours=1)
"""Interval between the polls of a quarantined sensor."""

TRANSACTION_LIMIT = 8 * 1024 * 1024
"""Bytes of payload in one transaction; further events go into the next one."""


@dataclass(frozen=True, slots=True)
class TickRules:
    """Settings of a sensor that `decide` needs.

    Attributes:
        sensor: The sensor's name.
        asset: The default asset of its events; None if each event must name one.
        assets: The names of all assets.
        max_events: Maximum number of events in one transaction.
        baseline: True if the first good poll fires nothing.
        quarantine_after: Consecutive failures after which the sensor is polled once an hour.
        backoff: Returns the delay before the next poll, from the number of consecutive failures.
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
    """Observation of a sensor: the input of `decide`.

    Attributes:
        outcome: The return value of ``poll``, of any type, or the exception of either method.
        raised: True if ``outcome`` was raised.
        initial: JSON text of the state that ``init`` returned in this tick, or None.
    """

    outcome: object
    started_at: datetime
    finished_at: datetime
    raised: bool = False
    initial: str | None = None


C_co = TypeVar("C_co", bound="TickCommit | ScheduleCommit", covariant=True)


@dataclass(frozen=True, slots=True)
class Decision(Generic[C_co]):
    """Decision of a tick: its outcome and its transactions.

    Attributes:
        commits: The transactions, in order; none for a quiet tick. If one fails, the later ones
            must not be made.
        delay: Delay from the end of this tick to the next; None for the sensor's interval.
        next_at: When to evaluate a schedule next; None if no instant follows.
        reason: The reason why a sensor's poll found nothing, if the sensor gave one.
    """

    outcome: TickOutcome
    commits: tuple[C_co, ...] = ()
    delay: timedelta | None = None
    error: str | None = None
    next_at: datetime | None = None
    reason: str = ""


_QUIET: Decision[TickCommit] = Decision(TickOutcome.NOT_TRIGGERED)


def decide(
    rules: TickRules, checkpoint: SensorCheckpoint, observation: SensorObservation
) -> Decision[TickCommit]:
    """Decide what a sensor's tick commits.

    No event of a good outcome is ever dropped, except for a baseline: each is in exactly one of
    the returned transactions. An invalid outcome is a failed tick, and its state is not kept.

    Args:
        rules: The sensor's settings.
        checkpoint: The checkpoint when the tick began.
        observation: The outcome of the poll.

    Returns:
        The transactions and the delay before the next poll.
    """
    try:
        return _decide(rules, checkpoint, observation)
    except BaseException as error:  # noqa: BLE001 - foreign values raise anything when looked at
        broken = OutcomeError(describe(error, rules.redact), sensor=rules.sensor)
        return _failure(rules, checkpoint, observation, broken)


def _decide(
    rules: TickRules, checkpoint: SensorCheckpoint, observation: SensorObservation
) -> Decision[TickCommit]:
    seen = observation.outcome
    if observation.raised and isinstance(seen, BaseException):
        return _failure(rules, checkpoint, observation, seen)
    if isinstance(seen, PollFailed):
        error = seen.error
        if not isinstance(error, BaseException):
            error = OutcomeError(str(error), sensor=rules.sensor)
        return _failure(rules, checkpoint, observation, error, _state_text(seen.state))
    if isinstance(seen, NotTriggered):
        return _quiet_or_commit(rules, checkpoint, observation, seen, ())
    if isinstance(seen, Triggered):
        events = tuple(_new_events(rules, checkpoint, seen.events))
        return _quiet_or_commit(rules, checkpoint, observation, seen, events)
    raise OutcomeError(
        f"poll returned {_kind(seen)}; it must return Triggered, NotTriggered or PollFailed",
        sensor=rules.sensor,
    )


def _quiet_or_commit(
    rules: TickRules,
    checkpoint: SensorCheckpoint,
    observation: SensorObservation,
    seen: Triggered[object] | NotTriggered[object],
    events: Sequence[NewEvent],
) -> Decision[TickCommit]:
    state, skipped = seen.state, skipped_items(seen.skipped, rules.redact)
    reason = safe_reason(seen.reason, rules.redact) if isinstance(seen, NotTriggered) else ""
    settled = checkpoint.polled and not checkpoint.failures and checkpoint.not_before is None
    if (
        not events
        and not skipped
        and settled
        and checkpoint.state is not None
        and same_document(state, checkpoint.state)
    ):
        return Decision(TickOutcome.NOT_TRIGGERED, reason=reason) if reason else _QUIET
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
            # With the state that remembers them, so that they are told once.
            skipped=skipped if number == len(batches) else (),
            reason=reason,
        )
        for number, batch in enumerate(batches, 1)
    ]
    return Decision(outcome, tuple(commits), reason=reason)


def _failure(
    rules: TickRules,
    checkpoint: SensorCheckpoint,
    observation: SensorObservation,
    error: BaseException,
    state: str | None = None,
) -> Decision[TickCommit]:
    text = describe(error, rules.redact)
    state = state or checkpoint.state or observation.initial
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
        return encode_value(key)
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

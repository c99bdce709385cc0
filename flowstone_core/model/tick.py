"""Ticks and checkpoints: values that a tick of a sensor or schedule reads and commits."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from flowstone_core.errors import ValidationError
from flowstone_core.model.event import Skipped
from flowstone_core.model.json_document import STATE_LIMIT, dump_document, load_document


class TickOutcome(StrEnum):
    """Outcome of a tick."""

    TRIGGERED = "triggered"
    NOT_TRIGGERED = "not_triggered"
    BASELINE = "baseline"
    """The first poll with ``first_poll = baseline``: existing items are recorded, nothing fires."""
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    RETRY_LATER = "retry_later"
    BROKEN = "broken"
    """The sensor raised `SensorBroken`; it waits for a reset."""
    SKIPPED = "skipped"
    """A schedule's instants were due and did not fire; each has its reason."""

    @property
    def good(self) -> bool:
        """True if the poll succeeded."""
        return self in _GOOD


_GOOD = frozenset(
    {
        TickOutcome.TRIGGERED,
        TickOutcome.NOT_TRIGGERED,
        TickOutcome.BASELINE,
        TickOutcome.SKIPPED,
    }
)


class SkipReason(StrEnum):
    """Reason why a schedule did not fire for an instant."""

    CATCHUP = "catchup"
    """The instant was missed, and the schedule's ``catchup`` excludes it."""
    WINDOW = "window"
    """The instant was missed longer ago than the schedule's ``catchup_window``."""
    OVERLAP = "overlap"
    """The schedule's last materialization had not ended."""
    PAUSED = "paused"
    """The schedule was paused."""
    DISABLED = "disabled"
    """The schedule was disabled."""
    EDITED = "edited"
    """The instant was missed, and then the schedule's times were changed."""


@dataclass(frozen=True, slots=True)
class Skip:
    """Consecutive instants that a schedule skipped for one reason.

    Attributes:
        first: The first instant.
        last: The last instant; if ``complete`` is False, the end of the skipped period.
        count: Number of instants; a lower bound if ``complete`` is False.
        complete: True if all instants were counted.
    """

    reason: SkipReason
    first: datetime
    last: datetime
    count: int = 1
    complete: bool = True


@dataclass(frozen=True, slots=True)
class ScheduleCheckpoint:
    """Checkpoint of a schedule: the values that the store keeps between two ticks.

    Attributes:
        decided_until: Every instant up to this moment was fired or skipped.
        version: Counts the ticks that were not quiet, and the edits; never set back.
        failures: Consecutive failed ticks.
        not_before: When the schedule may be evaluated next; None for any time.
    """

    decided_until: datetime
    version: int = 0
    failures: int = 0
    not_before: datetime | None = None


@dataclass(frozen=True, slots=True)
class SensorCheckpoint:
    """Checkpoint of a sensor: the values that the store keeps between two ticks.

    Attributes:
        version: Counts the good ticks and the resets; never set back. Event keys contain the
            version, so a failed tick keeps it: events of a tick that a crash cut short are
            recognized when they are found again, even after any number of failed polls.
        state: JSON text of the state; None before `Sensor.init` and after a reset.
        polled: True if a poll has succeeded since the sensor was created or reset.
        failures: Consecutive failed ticks.
        not_before: When the sensor may be polled next; None for any time.
        broken: True if the sensor waits for a reset.
    """

    version: int = 0
    state: str | None = None
    polled: bool = False
    failures: int = 0
    not_before: datetime | None = None
    broken: bool = False

    def from_state(self, text: str) -> SensorCheckpoint:
        """Return the checkpoint as if a good poll had returned another state.

        Args:
            text: JSON text of the state, from any source.

        Raises:
            ValidationError: If the text is not JSON or too large.
        """
        try:
            state = load_document(text)
        except (ValueError, RecursionError) as error:
            raise ValidationError(f"the state is not JSON: {error}") from None
        canonical = dump_document(state, what="the state", limit=STATE_LIMIT)
        return SensorCheckpoint(self.version, canonical, polled=True)


@dataclass(frozen=True, slots=True)
class NewEvent:
    """An event ready to be committed: all its parts are text.

    Attributes:
        sequential: True if its materialization starts only after the earlier ones of the same
            source have ended.
    """

    key: str
    asset: str
    partition: str
    payload: str | None = None
    sequential: bool = False


@dataclass(frozen=True, slots=True)
class TickCommit:
    """Writes of one transaction of a sensor's tick.

    The store compares ``(sensor, before.version)`` and the owner; if they differ, nothing is
    written.

    Attributes:
        before: The checkpoint when the tick began.
        after: The new checkpoint; equal to ``before`` in all but the last of a tick's
            transactions, so that a tick repeated after a crash finds the same events.
        skipped: Items that the sensor left out for good; in the last transaction.
        reason: The reason why a poll found nothing, if the sensor gave one.
    """

    sensor: str
    outcome: TickOutcome
    started_at: datetime
    finished_at: datetime
    before: SensorCheckpoint
    after: SensorCheckpoint
    events: tuple[NewEvent, ...] = ()
    error: str | None = None
    skipped: tuple[Skipped, ...] = ()
    reason: str = ""

    @property
    def source(self) -> str:
        """The source of its events."""
        return f"sensor:{self.sensor}"


@dataclass(frozen=True, slots=True)
class ScheduleCommit:
    """Writes of one transaction of a schedule's tick; see `TickCommit`."""

    schedule: str
    outcome: TickOutcome
    started_at: datetime
    finished_at: datetime
    before: ScheduleCheckpoint
    after: ScheduleCheckpoint
    events: tuple[NewEvent, ...] = ()
    error: str | None = None
    skips: tuple[Skip, ...] = ()

    @property
    def source(self) -> str:
        """The source of its events."""
        return f"schedule:{self.schedule}"


@dataclass(frozen=True, slots=True)
class Tick:
    """A committed tick, for `flowstone_tick_finished` and the listings.

    Attributes:
        events: Number of new events.
        duplicates: Number of events suppressed because their key is known.
        skipped: Number of instants that a schedule skipped, as far as they were counted, or of
            items that a sensor left out for good.
        skipped_items: Items that a sensor left out for good, by reason.
    """

    id: int
    source: str
    outcome: TickOutcome
    started_at: datetime
    finished_at: datetime
    events: int = 0
    duplicates: int = 0
    error: str | None = None
    skipped: int = 0
    skipped_items: tuple[Skipped, ...] = ()

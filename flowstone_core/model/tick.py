"""Ticks as values: what a sensor or a schedule remembers between two, and what one writes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from flowstone_core.errors import ValidationError
from flowstone_core.model.json_document import STATE_LIMIT, dump_document, load_document


class TickOutcome(StrEnum):
    """What a tick came to."""

    TRIGGERED = "triggered"
    NOT_TRIGGERED = "not_triggered"
    BASELINE = "baseline"
    """The first poll of a sensor with ``first_poll = baseline``: recorded, nothing fired."""
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    RETRY_LATER = "retry_later"
    BROKEN = "broken"
    """The sensor said that no retry helps; it waits for a reset."""
    SKIPPED = "skipped"
    """A schedule's instants came, and nothing was fired for them; each has its reason."""

    @property
    def good(self) -> bool:
        """Whether the poll did what it should."""
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
    """Why a schedule fired nothing for an instant."""

    CATCHUP = "catchup"
    """It was missed, and the schedule's ``catchup`` does not want it."""
    WINDOW = "window"
    """It was missed longer ago than the schedule's ``catchup_window``."""
    OVERLAP = "overlap"
    """The schedule's last materialization had not ended."""
    PAUSED = "paused"
    """The schedule was paused."""
    DISABLED = "disabled"
    """The schedule was disabled."""
    EDITED = "edited"
    """It was missed, and then the schedule's times were changed."""


@dataclass(frozen=True, slots=True)
class Skip:
    """Instants, one after another, that a schedule fired nothing for, for one reason.

    Attributes:
        first: The first of them.
        last: The last of them; where not all were counted, the moment up to which there are more.
        count: How many; at least so many where not all were counted.
        complete: Whether all were counted.
    """

    reason: SkipReason
    first: datetime
    last: datetime
    count: int = 1
    complete: bool = True


@dataclass(frozen=True, slots=True)
class ScheduleCheckpoint:
    """What the store knows of a schedule between two ticks.

    Attributes:
        decided_until: What is due up to here has been decided on: it was fired or skipped.
        version: Counts the ticks that were not quiet, and the edits; it is never set back.
        failures: Failed ticks in a row.
        not_before: When it may be evaluated next; None for any time.
    """

    decided_until: datetime
    version: int = 0
    failures: int = 0
    not_before: datetime | None = None


@dataclass(frozen=True, slots=True)
class SensorCheckpoint:
    """What the store knows of a sensor between two ticks.

    Attributes:
        version: Counts the good ticks and the resets; it is never set back. Keys of events are
            made of it, so a failed tick leaves it: what was committed of a tick before a crash
            is the same events when it is found again, however many polls fail in between.
        state: The state's JSON text; None before `Sensor.init` and after a reset.
        polled: Whether a poll has succeeded since it was made or reset.
        failures: Failed ticks in a row.
        not_before: When it may be polled next; None for any time.
        broken: Whether it waits for a reset.
    """

    version: int = 0
    state: str | None = None
    polled: bool = False
    failures: int = 0
    not_before: datetime | None = None
    broken: bool = False

    def from_state(self, text: str) -> SensorCheckpoint:
        """Return what would be known if a good poll had ended with another state.

        Args:
            text: The state's JSON, written by anybody.

        Raises:
            ValidationError: If it is not JSON, or too large.
        """
        try:
            state = load_document(text)
        except (ValueError, RecursionError) as error:
            raise ValidationError(f"the state is not JSON: {error}") from None
        canonical = dump_document(state, what="the state", limit=STATE_LIMIT)
        return SensorCheckpoint(self.version, canonical, polled=True)


@dataclass(frozen=True, slots=True)
class NewEvent:
    """An event ready to be committed: all its parts are texts.

    Attributes:
        in_line: Whether its materialization starts only when those that its source asked for
            before have ended.
    """

    key: str
    asset: str
    partition: str
    payload: str | None = None
    in_line: bool = False


@dataclass(frozen=True, slots=True)
class TickCommit:
    """What one transaction of a tick writes.

    The store compares ``(sensor, before.version)`` and the owner; where they differ it writes
    nothing at all.

    Attributes:
        before: What was known when the tick began.
        after: What is known from here on; equal to ``before`` in all but the last of a tick's
            transactions, so that a crash in between finds the same events again.
    """

    sensor: str
    outcome: TickOutcome
    started_at: datetime
    finished_at: datetime
    before: SensorCheckpoint
    after: SensorCheckpoint
    events: tuple[NewEvent, ...] = ()
    error: str | None = None

    @property
    def source(self) -> str:
        """The source of its events."""
        return f"sensor:{self.sensor}"


@dataclass(frozen=True, slots=True)
class ScheduleCommit:
    """What one transaction of a schedule's tick writes; see `TickCommit`."""

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
    """A tick as it was committed, for `flowstone_tick_finished` and the listings.

    Attributes:
        events: How many events were new.
        duplicates: How many were suppressed because the source had their key already.
        skipped: How many instants a schedule skipped, as far as they were counted.
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

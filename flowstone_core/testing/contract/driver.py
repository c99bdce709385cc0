"""Driver that polls a sensor by hand, and decides and commits as a runner would."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from flowstone_core.errors import OutcomeError, ValidationError
from flowstone_core.model.clock import Clock
from flowstone_core.model.context_logger import ContextLogger
from flowstone_core.model.event import Skipped
from flowstone_core.model.json_document import STATE_LIMIT, Json, dump_document, load_document
from flowstone_core.model.sensor import AnySensor, PollContext
from flowstone_core.model.sensor_decision import Decision, SensorObservation, TickRules, decide
from flowstone_core.model.tick import NewEvent, SensorCheckpoint, TickCommit
from flowstone_core.testing.contract.violation import Violation, told

NAME = "contract"
"""The name of the sensor, and of the asset that its events are for."""

_MOST_POLLS = 200
_SHOWN = 400


@dataclass(frozen=True, slots=True)
class PollRecord:
    """Record of one poll and the decision it leads to.

    Attributes:
        seen: The outcome that the poll returned, or the error it raised.
        raised: True if ``seen`` was raised.
        given_state: The text of the state that it was given.
        left_state: The text of that state after the poll: another one if the sensor changed it.
    """

    seen: object
    raised: bool
    given_state: str
    left_state: str
    decision: Decision[TickCommit]

    @property
    def events(self) -> tuple[NewEvent, ...]:
        """The events found, with the keys that would be stored."""
        return tuple(event for commit in self.decision.commits for event in commit.events)

    @property
    def skipped(self) -> tuple[Skipped, ...]:
        """The items that the tick tells were left out for good."""
        return tuple(item for commit in self.decision.commits for item in commit.skipped)

    @property
    def state(self) -> str | None:
        """The text of the state that would be stored."""
        commits = self.decision.commits
        return commits[-1].after.state if commits else self.given_state

    @property
    def failed(self) -> bool:
        """True if the poll failed."""
        return not self.decision.outcome.good

    @property
    def quiet(self) -> bool:
        """True if nothing would be written."""
        return not self.decision.commits

    def __str__(self) -> str:
        if isinstance(self.seen, BaseException) and self.raised:
            return f"poll raised {told(self.seen)}"
        if self.failed:
            return f"poll returned {type(self.seen).__qualname__}: {self.decision.error}"
        return f"poll found {shown_events(self.events)}"


class Driver:
    """Polls a sensor's instances by hand.

    Args:
        make: Makes an instance.
        clock: Reads the time.
        assets: The assets, beside its own, that events may be for.

    Attributes:
        sensor: The instance that is polled.
        checkpoint: The stored checkpoint of the sensor.
        found: The events that are stored.
        skipped: The items that stored ticks tell were left out for good.
        deadline: Seconds of the sensor's clock after which a poll is past its deadline.
    """

    def __init__(
        self, make: Callable[[PollContext], AnySensor], clock: Clock, assets: Collection[str] = ()
    ) -> None:
        self._make = make
        self._clock = clock
        self._rules = TickRules(NAME, NAME, {NAME, *assets})
        self._made: list[tuple[AnySensor, PollContext]] = []
        self._keys: set[str] = set()
        self.found: list[NewEvent] = []
        self.skipped: list[Skipped] = []
        self.deadline = 60.0
        self.checkpoint = SensorCheckpoint()
        self.sensor = self.new_sensor()

    def new_sensor(self) -> AnySensor:
        """Make another instance; the driver cleans it up."""
        logger = ContextLogger(logging.getLogger("flowstone.sensor"), {"sensor": NAME})
        context = PollContext(NAME, logger, self._clock)
        sensor = self._make(context)
        if any(sensor is each for each, _ in self._made):
            raise Violation(
                "make_sensor returned the instance that it had returned before.",
                why="What an instance remembers would pass for its stored state.",
                remedy="Make a new one at each call.",
            )
        self._made.append((sensor, context))
        return sensor

    def restart(self) -> None:
        """Go on with a fresh instance, from what is stored."""
        self.stop()
        self.sensor = self.new_sensor()

    def stop(self) -> None:
        """Clean up the instance, as a runner does at its end: an error is logged."""
        quietly(self.sensor.cleanup)

    def close(self) -> None:
        """Clean up every instance made here."""
        for sensor, _ in self._made:
            quietly(sensor.cleanup)

    def poll(self, sensor: AnySensor | None = None) -> PollRecord:
        """Poll once, with this or another instance, and commit nothing."""
        sensor = self.sensor if sensor is None else sensor
        checkpoint, now = self.checkpoint, self._clock.now()
        initial: str | None = None
        given = left = ""
        raised = False
        seen: object
        try:
            if checkpoint.state is None:
                initial = self._initial(sensor)
            given = checkpoint.state or initial or "null"
            state = load_document(given)
            try:
                with self._context_of(sensor).limited(self.deadline):
                    seen = sensor.poll(state)
            finally:
                left = _text(state)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - a sensor may raise anything
            seen, raised = error, True
        observation = SensorObservation(seen, now, self._clock.now(), raised, initial)
        return PollRecord(seen, raised, given, left, decide(self._rules, checkpoint, observation))

    def commit(self, record: PollRecord) -> list[NewEvent]:
        """Remember a poll; returns those of its events whose keys there were not before."""
        new = []
        for event in record.events:
            if event.key not in self._keys:
                self._keys.add(event.key)
                new.append(event)
        self.found += new
        self.skipped += record.skipped
        for commit in record.decision.commits[-1:]:
            self.checkpoint = commit.after
        return new

    def tick(self, when: str = "") -> list[NewEvent]:
        """Poll and remember.

        Args:
            when: The circumstances, for the message.

        Raises:
            Violation: If the poll failed.
        """
        return self.commit(healthy(self.poll(), when))

    def drain(self, when: str = "") -> None:
        """Poll and commit until nothing more is found.

        Raises:
            Violation: If a poll failed, or if there is no end of it.
        """
        idle = 0
        for _ in range(_MOST_POLLS):
            record = healthy(self.poll(), when)
            new = self.commit(record)
            # One that reads on without finding anything has not come to the end yet.
            idle = 0 if new else idle + 1
            if record.quiet or idle == 2:
                return
        raise Violation(
            f"{_MOST_POLLS} polls on end found something, and nothing was changed outside; "
            f"the last: {shown_events(self.found[-3:])}.",
            why="Each event is a materialization: this one would be made for ever.",
            remedy="Keep in the state what was seen, and find only what is new since.",
        )

    def _context_of(self, sensor: AnySensor) -> PollContext:
        return next(context for each, context in self._made if each is sensor)

    @staticmethod
    def _initial(sensor: AnySensor) -> str:
        try:
            return dump_document(sensor.init(), what="the state from init", limit=STATE_LIMIT)
        except ValidationError as error:
            raise OutcomeError(error.message) from None


def healthy(record: PollRecord, when: str = "") -> PollRecord:
    """Return a record that did not fail.

    Raises:
        Violation: If it did.
    """
    if not record.failed:
        return record
    raise Violation(
        f"{when}{': ' if when else ''}{record}.",
        why="Nothing was wrong outside, so a poll has no reason to fail.",
        remedy="Correct the poll; if the external source was not ready, have change(), settle() or "
        "the fixture source see to it.",
    )


def quietly(cleanup: Callable[[], None]) -> None:
    """Call a cleanup and log its error."""
    try:
        cleanup()
    except Exception:
        logging.getLogger("flowstone.testing").debug("cleanup failed", exc_info=True)


def shown_events(events: Sequence[NewEvent]) -> str:
    """Write events for a message."""
    if not events:
        return "nothing"
    parts = [
        f"{event.partition!r} (key {event.key!r}"
        + (f", payload {shown(event.payload)})" if event.payload else ")")
        for event in events[:3]
    ]
    more = f" and {len(events) - 3} more" if len(events) > 3 else ""
    return f"{', '.join(parts)}{more}"


def shown(text: str | None) -> str:
    """Cut a text for a message."""
    text = str(text)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}... ({len(text)} characters)"


def _text(state: Json) -> str:
    try:
        return dump_document(state, what="the state", limit=STATE_LIMIT)
    except ValidationError:
        return repr(state)

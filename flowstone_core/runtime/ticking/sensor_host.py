"""Sensor host: calls a sensor's code and contains its errors, in a thread or a child process."""

from __future__ import annotations

import inspect
import logging
from typing import Protocol, cast

from flowstone_core.errors import OutcomeError, StoreError, ValidationError
from flowstone_core.model.clock import Clock, SystemClock
from flowstone_core.model.context_logger import ContextLogger
from flowstone_core.model.json_document import STATE_LIMIT, Json, dump_document, load_document
from flowstone_core.model.safe_text import describe
from flowstone_core.model.sensor import AnySensor, PollContext, Sensor, SensorDeclaration
from flowstone_core.model.sensor_decision import Decision, SensorObservation, TickRules, decide
from flowstone_core.model.tick import SensorCheckpoint, TickCommit
from flowstone_core.plugin.fork_guard import fork_guard

logger = logging.getLogger("flowstone.ticker")


class SensorHost(Protocol):
    """Host of one sensor: calls its code, one call at a time, in any thread; never raises."""

    def tick(self, checkpoint: SensorCheckpoint) -> Decision[TickCommit]:
        """Poll once from a checkpoint, and return the decision."""

    def connect(self) -> str | None:
        """Check that the sensor reaches its external source; return the error, or None."""

    def cleanup(self) -> None:
        """Close the sensor's resources."""

    def kill(self) -> bool:
        """End the running call; return True if that is possible. Any thread."""


class ThreadHost:
    """Host that calls the sensor's code in the calling thread.

    Args:
        declaration: The sensor.
        rules: Rules for the decisions of its ticks.
        clock: Time of the ticks, and the clock of the sensor.
    """

    __slots__ = ("_clock", "_context", "_declaration", "_rules", "_seconds", "_sensor")

    def __init__(
        self, declaration: SensorDeclaration, rules: TickRules, clock: Clock | None = None
    ) -> None:
        self._declaration = declaration
        self._rules = rules
        self._clock = clock or SystemClock()
        self._seconds = declaration.settings.deadline.total_seconds()
        log = ContextLogger(logging.getLogger("flowstone.sensor"), {"sensor": declaration.name})
        self._context = PollContext(declaration.name, log, self._clock)
        self._sensor: AnySensor | None = None

    def tick(self, checkpoint: SensorCheckpoint) -> Decision[TickCommit]:
        """See `SensorHost.tick`."""
        started_at = self._clock.now()
        initial: str | None = None
        raised = False
        outcome: object
        try:
            with fork_guard(), self._context.limited(self._seconds):
                sensor = self._instance()
                if checkpoint.state is None:
                    initial = _initial_state(sensor)
                outcome = sensor.poll(self._load(checkpoint.state or initial or "null"))
                if inspect.iscoroutine(outcome):
                    outcome.close()
        except BaseException as error:  # noqa: BLE001 - a sensor may raise anything, SystemExit too
            outcome, raised = error, True
        observation = SensorObservation(outcome, started_at, self._clock.now(), raised, initial)
        return decide(self._rules, checkpoint, observation)

    def _load(self, state: str) -> Json:
        try:
            return load_document(state)
        except (ValueError, RecursionError):
            name = self._declaration.name
            raise StoreError(
                "invalid state in the store: must be JSON",
                hint=f"to begin anew: flowstone sensors reset {name}",
                sensor=name,
            ) from None

    def connect(self) -> str | None:
        """See `SensorHost.connect`; a poll is judged as that of a tick."""
        try:
            with fork_guard(), self._context.limited(self._seconds):
                sensor = self._instance()
                if type(sensor).connect is not Sensor.connect:
                    sensor.connect()
                    return None
        except BaseException as error:  # noqa: BLE001 - a sensor may raise anything, SystemExit too
            return describe(error, self._rules.redact)
        decision = self.tick(SensorCheckpoint())
        return None if decision.outcome.good else decision.error

    def cleanup(self) -> None:
        """See `SensorHost.cleanup`."""
        sensor, self._sensor = self._sensor, None
        if sensor is None:
            return
        try:
            with fork_guard():
                sensor.cleanup()
        except BaseException as error:  # noqa: BLE001
            extra = {"sensor": self._rules.sensor, "error": describe(error, self._rules.redact)}
            logger.warning("cleanup failed", extra=extra)

    def kill(self) -> bool:
        """Return False: a thread cannot be killed."""
        return False

    def _instance(self) -> AnySensor:
        if self._sensor is None:
            declaration = self._declaration
            self._sensor = declaration.sensor_class(declaration.config, self._context)
        return self._sensor


class ProcessHost:
    """Host that calls the sensor's code in a child process, which reads the system clock.

    Args:
        declaration: The sensor; its class and settings can be pickled.
        rules: Rules for the decisions of its ticks.
        clock: Time of ticks whose process ended without an answer.
    """

    def __init__(self, declaration: SensorDeclaration, rules: TickRules, clock: Clock) -> None:
        from flowstone_core.runtime.isolation.child_process import ChildProcess

        self._rules = rules
        self._clock = clock
        self._child = ChildProcess(
            f"flowstone-sensor-{rules.sensor}", ThreadHost, declaration, rules
        )

    def tick(self, checkpoint: SensorCheckpoint) -> Decision[TickCommit]:
        """See `SensorHost.tick`; a tick whose process ends has failed."""
        started_at = self._clock.now()
        try:
            return cast("Decision[TickCommit]", self._child.call("tick", checkpoint))
        except Exception as error:  # noqa: BLE001 - however it fails, the tick has an end
            observation = SensorObservation(error, started_at, self._clock.now(), raised=True)
            return decide(self._rules, checkpoint, observation)

    def connect(self) -> str | None:
        """See `SensorHost.connect`."""
        try:
            return cast("str | None", self._child.call("connect"))
        except Exception as error:  # noqa: BLE001 - as for a tick
            return describe(error, self._rules.redact)

    def cleanup(self) -> None:
        """See `SensorHost.cleanup`; the process is ended."""
        if self._child.pid is not None:
            try:
                self._child.call("cleanup")
            except Exception as error:  # noqa: BLE001 - as for a tick
                extra = {"sensor": self._rules.sensor, "error": describe(error)}
                logger.warning("cleanup failed", extra=extra)
        self._child.close()

    def kill(self) -> bool:
        """See `SensorHost.kill`."""
        self._child.kill()
        return True


def _initial_state(sensor: AnySensor) -> str:
    try:
        return dump_document(sensor.init(), what="the state from init", limit=STATE_LIMIT)
    except ValidationError as error:
        raise OutcomeError(error.message) from None

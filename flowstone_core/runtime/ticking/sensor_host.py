"""Where a sensor's own code is called: its instance, contained, in whichever process it lives."""

from __future__ import annotations

import inspect
import logging
from typing import Protocol, cast

from flowstone_core.errors import OutcomeError, ValidationError
from flowstone_core.model.clock import Clock, SystemClock
from flowstone_core.model.context_logger import ContextLogger
from flowstone_core.model.json_document import STATE_LIMIT, dump_document, load_document
from flowstone_core.model.safe_text import describe
from flowstone_core.model.sensor import AnySensor, PollContext, SensorDeclaration
from flowstone_core.model.sensor_decision import Decision, SensorObservation, TickRules, decide
from flowstone_core.model.tick import SensorCheckpoint, TickCommit

logger = logging.getLogger("flowstone.ticker")


class SensorHost(Protocol):
    """Calls a sensor's code; none of its methods raises. One call at a time, in any thread."""

    def tick(self, checkpoint: SensorCheckpoint) -> Decision[TickCommit]:
        """Poll once from what is known, and decide what it amounts to."""

    def connect(self) -> str | None:
        """Ask the sensor to prove that it reaches its source; say why it does not."""

    def cleanup(self) -> None:
        """Have the sensor close what it holds."""

    def kill(self) -> bool:
        """End the call that runs, if that can be done; say whether it can. Any thread."""


class ThreadHost:
    """Calls a sensor's code in the thread that asks.

    Args:
        declaration: The sensor.
        rules: What its ticks are judged by.
        clock: Reads the time, for the sensor too.
    """

    def __init__(
        self, declaration: SensorDeclaration, rules: TickRules, clock: Clock | None = None
    ) -> None:
        self._declaration = declaration
        self._rules = rules
        self._clock = clock or SystemClock()
        self._sensor: AnySensor | None = None

    def tick(self, checkpoint: SensorCheckpoint) -> Decision[TickCommit]:
        """See `SensorHost.tick`."""
        started_at = self._clock.now()
        initial: str | None = None
        raised = False
        outcome: object
        try:
            sensor = self._instance()
            if checkpoint.state is None:
                initial = _initial_state(sensor)
            outcome = sensor.poll(load_document(checkpoint.state or initial or "null"))
            if inspect.iscoroutine(outcome):
                outcome.close()
        except BaseException as error:  # noqa: BLE001 - a sensor may raise anything, SystemExit too
            outcome, raised = error, True
        observation = SensorObservation(outcome, started_at, self._clock.now(), raised, initial)
        return decide(self._rules, checkpoint, observation)

    def connect(self) -> str | None:
        """See `SensorHost.connect`."""
        try:
            self._instance().connect()
        except BaseException as error:  # noqa: BLE001 - a sensor may raise anything, SystemExit too
            return describe(error, self._rules.redact)
        return None

    def cleanup(self) -> None:
        """See `SensorHost.cleanup`."""
        sensor, self._sensor = self._sensor, None
        if sensor is None:
            return
        try:
            sensor.cleanup()
        except BaseException as error:  # noqa: BLE001
            extra = {"sensor": self._rules.sensor, "error": describe(error, self._rules.redact)}
            logger.warning("cleanup failed", extra=extra)

    def kill(self) -> bool:
        """A thread cannot be killed."""
        return False

    def _instance(self) -> AnySensor:
        if self._sensor is None:
            declaration = self._declaration
            log = ContextLogger(logging.getLogger("flowstone.sensor"), {"sensor": declaration.name})
            context = PollContext(declaration.name, log, self._clock)
            self._sensor = declaration.sensor_class(declaration.config, context)
        return self._sensor


class ProcessHost:
    """Calls a sensor's code in a process of its own, which reads the machine's clock.

    Args:
        declaration: The sensor; its class and settings can be pickled.
        rules: What its ticks are judged by.
        clock: Reads the time of what the process could not tell.
    """

    def __init__(self, declaration: SensorDeclaration, rules: TickRules, clock: Clock) -> None:
        from flowstone_core.runtime.isolation.child_process import ChildProcess

        self._rules = rules
        self._clock = clock
        self._child = ChildProcess(
            f"flowstone-sensor-{rules.sensor}", ThreadHost, declaration, rules
        )

    def tick(self, checkpoint: SensorCheckpoint) -> Decision[TickCommit]:
        """See `SensorHost.tick`; that the process ends is a failed tick."""
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

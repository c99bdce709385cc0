"""One sensor's life in a runner: its instance, what is known of it, and whose turn it is."""

from __future__ import annotations

import inspect
import logging
import threading
from functools import partial

from flowstone_core.asset import AssetGraph
from flowstone_core.clock import Clock
from flowstone_core.decision import Decision, Observation, TickRules, decide
from flowstone_core.declaration import AnySensor, SensorDeclaration
from flowstone_core.document import STATE_LIMIT, dump_document, load_document
from flowstone_core.errors import OutcomeError, PollTimeoutError, ValidationError, describe
from flowstone_core.logger import IdsLogger
from flowstone_core.redaction import Redactor
from flowstone_core.retry import backoff_delay
from flowstone_core.sensor import PollContext
from flowstone_core.tick import SensorMemory

logger = logging.getLogger("flowstone.worker")


class SensorWorker:
    """Polls one sensor, contains whatever it does, and decides what that amounts to.

    A tick is a turn. It begins with `begin`, in the scheduler; `tick` runs it, in a thread of
    the pool; `expire` ends it early, in the scheduler, and what `tick` still returns is then
    nothing. A turn is over once its thread has come back *and* its verdict (quiet, committed or
    refused) is known: two holds, given up by `release`. Until then no other turn begins, so a
    sensor is never polled twice at once, not even when a thread hangs.

    Args:
        declaration: The sensor.
        assets: All assets; events must be for one of them.
        redact: Hides secrets in error texts.
    """

    def __init__(
        self,
        declaration: SensorDeclaration,
        assets: AssetGraph,
        clock: Clock,
        redact: Redactor,
    ) -> None:
        settings = declaration.settings
        self.name = declaration.name
        self.every = settings.every.total_seconds()
        self.deadline = settings.deadline.total_seconds()
        self.memory = SensorMemory()
        self.owned = False
        self.armed = 0
        """Which of its entries in the scheduler's heap counts; the scheduler's alone."""
        self._declaration = declaration
        self._clock = clock
        self._redact = redact
        self._rules = TickRules(
            declaration.name,
            declaration.asset,
            assets,
            settings.max_events,
            settings.first_poll == "baseline",
            settings.quarantine_after,
            partial(backoff_delay, first=settings.backoff, limit=settings.backoff_limit),
            redact,
        )
        self._sensor: AnySensor | None = None
        self._lock = threading.Lock()
        self._turn = 0
        self._holds = 0
        self._overdue = False

    @property
    def busy(self) -> bool:
        """Whether a turn is not over yet."""
        return self._holds > 0

    @property
    def pollable(self) -> bool:
        """Whether it is this runner's and not broken."""
        return self.owned and not self.memory.broken

    def backoff_left(self) -> float:
        """Return the seconds until it may be polled again; zero when it does not back off."""
        until = self.memory.not_before
        return 0.0 if until is None else max(0.0, (until - self._clock.now()).total_seconds())

    def begin(self) -> int | None:
        """Begin a turn.

        Returns:
            The turn's number, or None while the last one is not over: it is then overdue, and
            whoever gives up the last hold is told so.
        """
        with self._lock:
            if self._holds:
                self._overdue = True
                return None
            self._holds = 2
            self._turn += 1
            return self._turn

    def release(self, holds: int = 1) -> bool:
        """Give up holds of the current turn.

        Returns:
            Whether the turn is over by this and the next one is overdue.
        """
        with self._lock:
            self._holds -= holds
            if self._holds or not self._overdue:
                return False
            self._overdue = False
            return True

    def tick(self, turn: int) -> Decision | None:
        """Poll, and decide what it amounts to; in a thread of the pool, and never raises.

        Returns:
            The decision, or None if the turn was ended early: the result is discarded.
        """
        # Read once: an operator's reset may replace it while the poll runs, and what is decided
        # on the old one must then be refused by the store.
        memory = self.memory
        started_at = self._clock.now()
        initial: str | None = None
        raised = False
        outcome: object
        try:
            sensor = self._instance()
            if memory.state is None:
                initial = _initial_state(sensor)
            outcome = sensor.poll(load_document(memory.state or initial or "null"))
            if inspect.iscoroutine(outcome):
                outcome.close()
        except BaseException as error:  # noqa: BLE001 - a sensor may raise anything, SystemExit too
            outcome, raised = error, True
        if not self._end(turn):
            text = describe(outcome, self._redact) if isinstance(outcome, BaseException) else ""
            logger.warning(
                "late result discarded",
                extra={"sensor": self.name, "outcome": type(outcome).__name__, "error": text},
            )
            return None
        observation = Observation(outcome, started_at, self._clock.now(), raised, initial)
        return decide(self._rules, memory, observation)

    def expire(self, turn: int) -> Decision | None:
        """End a turn that is past its deadline; in the scheduler.

        Returns:
            The decision, or None if the poll has come back just now after all.
        """
        if not self._end(turn):
            return None
        seconds = f"{self.deadline:g} s"
        return self._failed(
            PollTimeoutError(
                f"the poll did not come back within its deadline of {seconds}",
                hint="its late result is discarded, and it is not polled again before it returns",
            )
        )

    def refuse(self, error: Exception) -> Decision:
        """Decide what it amounts to that the store refused what a good tick wanted to write."""
        return self._failed(error)

    def cleanup(self) -> None:
        """Have the sensor close what it holds; in a thread of the pool, and never raises."""
        sensor, self._sensor = self._sensor, None
        if sensor is None:
            return
        try:
            sensor.cleanup()
        except BaseException as error:  # noqa: BLE001
            logger.warning(
                "cleanup failed",
                extra={"sensor": self.name, "error": describe(error, self._redact)},
            )

    def _instance(self) -> AnySensor:
        if self._sensor is None:
            log = IdsLogger(logging.getLogger("flowstone.sensor"), {"sensor": self.name})
            context = PollContext(self.name, log, self._clock)
            self._sensor = self._declaration.sensor_class(self._declaration.config, context)
        return self._sensor

    def _end(self, turn: int) -> bool:
        with self._lock:
            if turn != self._turn:
                return False
            self._turn += 1
            return True

    def _failed(self, error: Exception) -> Decision:
        now = self._clock.now()
        return decide(self._rules, self.memory, Observation(error, now, now, raised=True))


def _initial_state(sensor: AnySensor) -> str:
    try:
        return dump_document(sensor.init(), what="the state from init", limit=STATE_LIMIT)
    except ValidationError as error:
        raise OutcomeError(error.message) from None

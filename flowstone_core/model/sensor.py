"""Sensor: the base class that plugin authors derive from.

A sensor polls an external source and returns an outcome. The runner owns everything else:
intervals, deadlines, back-off, the store.
"""

from __future__ import annotations

import inspect
import logging
import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, TypeAlias, TypeGuard, TypeVar, cast

from pydantic import BaseModel, ConfigDict

from flowstone_core.errors import FlowstoneError, PollTimeoutError, ValidationError
from flowstone_core.model.clock import Clock, SystemClock
from flowstone_core.model.event import Outcome, PollFailed
from flowstone_core.model.json_document import STATE_LIMIT, Json, dump_document, load_document
from flowstone_core.model.sensor_settings import SensorSettings


class SensorConfig(BaseModel):
    """Base class of sensor configs: unknown settings are refused, values are immutable.

    Give each field a type, a default if there is one, and a ``description``:
    ``flowstone plugins show`` prints them. Use `pydantic.SecretStr` for secrets.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, arbitrary_types_allowed=True, defer_build=True
    )


C = TypeVar("C", bound=SensorConfig)
S = TypeVar("S")


@dataclass(slots=True)
class _Deadline:
    """Deadline of the running poll, in seconds of the monotonic clock."""

    at: float = math.inf
    seconds: float = math.inf


class _Limit(AbstractContextManager[None]):
    """Deadline of one poll, for the length of a block."""

    __slots__ = ("_clock", "_deadline", "_seconds")

    def __init__(self, clock: Clock, deadline: _Deadline, seconds: float) -> None:
        self._clock = clock
        self._deadline = deadline
        self._seconds = seconds

    def __enter__(self) -> None:
        deadline = self._deadline
        deadline.at = self._clock.monotonic() + self._seconds
        deadline.seconds = self._seconds

    def __exit__(self, *_: object) -> None:
        self._deadline.at = self._deadline.seconds = math.inf


@dataclass(frozen=True, slots=True)
class PollContext:
    """Context of a sensor: its name, a logger, a clock, and the deadline of the running poll.

    Attributes:
        sensor: The sensor's configured name.
        logger: Log lines through it carry the sensor's name.
        clock: Reads the time; a sensor uses it instead of `datetime`, so tests can pass a fake.
    """

    sensor: str = "sensor"
    logger: logging.Logger | logging.LoggerAdapter[logging.Logger] = field(
        default_factory=lambda: logging.getLogger("flowstone.sensor")
    )
    clock: Clock = field(default_factory=SystemClock)
    _deadline: _Deadline = field(default_factory=_Deadline, init=False, repr=False, compare=False)

    def seconds_left(self) -> float:
        """Return the seconds until the deadline of the running poll; infinite outside a poll.

        A poll that can go on later returns what it has before they are used up.
        """
        return max(0.0, self._deadline.at - self.clock.monotonic())

    def check_deadline(self) -> None:
        """End a poll that is past its deadline.

        A thread cannot be killed: a poll that reads on after its deadline reads for nobody. Call
        this method for each page, batch or chunk of a long poll.

        Raises:
            PollTimeoutError: If the deadline of the running poll has passed.
        """
        if self.seconds_left() <= 0:
            raise PollTimeoutError(
                f"the poll did not end within its deadline of {self._deadline.seconds:g} s"
            )

    def limited(self, seconds: float) -> AbstractContextManager[None]:
        """Set the deadline of one poll; the runner does this, and a test may.

        Args:
            seconds: Seconds from now on.
        """
        return _Limit(self.clock, self._deadline, seconds)


class Sensor(ABC, Generic[C, S]):
    """Base class of sensors.

    One instance serves one configured sensor until the runner stops. `init`, `poll` and `cleanup`
    are never called at the same time; each call may come from another thread. Keep clients and
    connections on the instance, and values that must survive a restart in the state.

    The state is JSON (None, bool, int, float, str, lists, dicts) and is passed to `poll` as a
    copy. The state is stored together with the events of the same poll, or not at all.

    Attributes:
        Config: The model of the settings.
        asset_required: True if no event of the class names an asset; a sensor declared without an
            asset is then refused, instead of failing at its first event.

    Args:
        config: The validated settings.
        context: Passed by the runner; the default is for tests.

    Example:
        >>> from flowstone_core import NotTriggered, Triggered
        >>> class Countdown(Sensor[SensorConfig, int]):
        ...     '''Fires once, when its count has reached zero.'''
        ...     def init(self) -> int:
        ...         return 2
        ...     def poll(self, state: int) -> Outcome[int]:
        ...         if state == 1:
        ...             return Triggered("lift-off", state=0)
        ...         return NotTriggered(max(state - 1, 0))
        >>> sensor = Countdown(SensorConfig())
        >>> sensor.poll(sensor.init())
        NotTriggered(state=1)
    """

    Config: ClassVar[type[SensorConfig]] = SensorConfig
    asset_required: ClassVar[bool] = False

    def __init__(self, config: C, context: PollContext | None = None) -> None:
        self.config = config
        self.context = context or PollContext()

    @abstractmethod
    def init(self) -> S:
        """Return the first state; called once for a configured sensor.

        Called again only after ``flowstone sensors reset``. An exception is a failed tick, retried
        with back-off.
        """

    @abstractmethod
    def poll(self, state: S) -> Outcome[S]:
        """Poll the external source once and return the outcome.

        Called outside any transaction. A result after the sensor's deadline is discarded: a poll
        that may take long calls `PollContext.check_deadline` again and again.

        Args:
            state: A copy of the state that the last poll, or `init`, returned.

        Returns:
            `Triggered`, `NotTriggered` or `PollFailed`, each with the state to keep.

        Raises:
            RetryLater: To be polled again after a delay.
            SensorBroken: To stop polling until the sensor is reset.
            Exception: Any other exception is a failed tick, counted and backed off.
        """

    def connect(self) -> None:
        """Check that the external source can be reached, without changing anything there.

        Called by ``flowstone check --connect`` and never by a runner; `cleanup` follows. The
        default polls once from the first state and discards the outcome. Override this method if
        a poll is expensive or consumes something from its external source.

        Raises:
            Exception: If the external source cannot be reached: any exception of a poll.
        """
        outcome = self.poll(self.init())
        if isinstance(outcome, PollFailed):
            if isinstance(outcome.error, BaseException):
                raise outcome.error
            raise FlowstoneError(outcome.error)

    def cleanup(self) -> None:
        """Close clients and connections; called once, after the last poll."""


def function_sensor(
    *, initial: Json = None, name: str | None = None
) -> Callable[[Callable[[S], Outcome[S]]], type[Sensor[SensorConfig, S]]]:
    """Return a sensor class for a function that takes the state and returns an outcome.

    Args:
        initial: The first state.
        name: The name of the class; the function's name by default.

    Raises:
        ValidationError: If the decorated object is not a function, or ``initial`` is not JSON.

    Example:
        >>> from flowstone_core import NotTriggered, Triggered
        >>> @function_sensor(initial=0)
        ... def every_third_poll(state):
        ...     if state == 2:
        ...         return Triggered("third", state=0)
        ...     return NotTriggered(state + 1)
        >>> every_third_poll(SensorConfig()).poll(2).events[0].partition
        'third'
    """
    first_state = dump_document(initial, what="the initial state", limit=STATE_LIMIT)

    def make(function: Callable[[S], Outcome[S]]) -> type[Sensor[SensorConfig, S]]:
        if not callable(function) or isinstance(function, type):
            raise ValidationError(
                f"@function_sensor(...) decorates a function, not {function!r:.80}"
            )

        class FunctionSensor(Sensor[SensorConfig, S]):
            def init(self) -> S:
                return cast("S", load_document(first_state))

            def poll(self, state: S) -> Outcome[S]:
                return function(state)

        own_name: str = getattr(function, "__name__", type(function).__name__)
        FunctionSensor.__name__ = FunctionSensor.__qualname__ = name or own_name
        FunctionSensor.__doc__ = function.__doc__
        FunctionSensor.__module__ = function.__module__
        return FunctionSensor

    return make


AnySensor: TypeAlias = Sensor[Any, Any]


@dataclass(frozen=True)
class SensorDeclaration:
    """Declaration of a sensor: class, config and settings.

    Attributes:
        name: Unique among all sensors; also the key of the stored state.
        config: An instance of the class's ``Config``.
        settings: The settings that every sensor has.
        asset: The default asset of its events.
        where: ``file:line`` of the declaration.
        secrets: The secret values among its settings, redacted in every text.
        type: The type in the configuration; the name of the class in a pipeline.
    """

    name: str
    sensor_class: type[AnySensor]
    config: SensorConfig = field(repr=False)
    settings: SensorSettings
    asset: str | None
    where: str = ""
    secrets: tuple[str, ...] = field(default=(), repr=False)
    type: str = ""


def is_sensor_class(value: object) -> TypeGuard[type[AnySensor]]:
    """Return True if ``value`` is a concrete sensor class with a config model."""
    return (
        isinstance(value, type)
        and issubclass(value, Sensor)
        and not inspect.isabstract(value)
        and isinstance(value.Config, type)
        and issubclass(value.Config, SensorConfig)
    )

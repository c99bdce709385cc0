"""The sensor contract: what a plugin author writes.

A sensor looks at the outside world on an interval and says what it saw. The runner owns
everything else: when to poll, deadlines, back-off, the store.
"""

from __future__ import annotations

import inspect
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, TypeAlias, TypeGuard, TypeVar, cast

from pydantic import BaseModel, ConfigDict

from flowstone_core.errors import FlowstoneError, ValidationError
from flowstone_core.model.clock import Clock, SystemClock
from flowstone_core.model.event import Outcome, PollFailed
from flowstone_core.model.json_document import STATE_LIMIT, Json, dump_document, load_document
from flowstone_core.model.sensor_settings import SensorSettings


class SensorConfig(BaseModel):
    """The base of a sensor's config model: unknown settings are refused, values do not change.

    Give each field a type, a default where there is one, and a ``description``: they are what
    ``flowstone plugins show`` prints. Use `pydantic.SecretStr` for secrets.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)


C = TypeVar("C", bound=SensorConfig)
S = TypeVar("S")


@dataclass(frozen=True)
class PollContext:
    """What the runner tells a sensor about itself.

    Attributes:
        sensor: The sensor's configured name.
        logger: Log lines through it carry the sensor's name.
        clock: Reads the time; tests hand in a fake one, so a sensor never asks `datetime`.
    """

    sensor: str = "sensor"
    logger: logging.Logger | logging.LoggerAdapter[logging.Logger] = field(
        default_factory=lambda: logging.getLogger("flowstone.sensor")
    )
    clock: Clock = field(default_factory=SystemClock)


class Sensor(ABC, Generic[C, S]):
    """The base class of every sensor.

    One instance serves one configured sensor for as long as the runner lives. `init`, `poll` and
    `cleanup` are never called at once; each call may come in another thread. Clients and
    connections live on the instance; what must survive a restart is the state.

    The state is JSON (None, bool, int, float, str, lists, dicts) and is handed to `poll` as a
    copy. It is stored together with the events of the same poll, or not at all.

    Args:
        config: The validated settings.
        context: Given by the runner; the default serves tests.

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

    def __init__(self, config: C, context: PollContext | None = None) -> None:
        self.config = config
        self.context = context or PollContext()

    @abstractmethod
    def init(self) -> S:
        """Return the first state ever; called once in the life of a configured sensor.

        It is called again only after ``flowstone sensors reset``. Whatever it raises is a failed
        tick, retried with back-off.
        """

    @abstractmethod
    def poll(self, state: S) -> Outcome[S]:
        """Look once, and say what was seen.

        Called outside any transaction. Past the sensor's deadline its result is discarded.

        Args:
            state: A copy of what the last poll, or `init`, returned.

        Returns:
            `Triggered`, `NotTriggered` or `PollFailed`, each with the state to keep.

        Raises:
            RetryLater: Not now; not before its delay.
            SensorBroken: No retry helps; the sensor is not polled again until it is reset.
            Exception: Anything else is a failed tick, counted and backed off.
        """

    def connect(self) -> None:
        """Prove that the source can be reached, and change nothing there.

        Called by ``flowstone check --connect`` and never by a runner; `cleanup` follows it. By
        itself it polls once from the first state, and throws away what was seen. Override it
        where a poll costs much, or takes something from its source.

        Raises:
            Exception: Whatever a poll would raise: the source cannot be reached.
        """
        outcome = self.poll(self.init())
        if isinstance(outcome, PollFailed):
            if isinstance(outcome.error, BaseException):
                raise outcome.error
            raise FlowstoneError(outcome.error)

    def cleanup(self) -> None:
        """Close what the instance holds; called once, after the last poll."""


def function_sensor(
    *, initial: Json = None, name: str | None = None
) -> Callable[[Callable[[S], Outcome[S]]], type[Sensor[SensorConfig, S]]]:
    """Make a sensor class of a function that takes the state and returns an outcome.

    Args:
        initial: The first state.
        name: The name of the class; the function's own by default.

    Raises:
        ValidationError: If what is decorated is no function, or ``initial`` is not JSON.

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
    """A sensor, ready to be made.

    Attributes:
        name: Unique among all sensors; also the key of its stored state.
        config: An instance of the class's ``Config``.
        settings: The settings every sensor has.
        asset: The asset its events are for unless they name their own.
        where: ``file:line`` of the declaration.
        secrets: The secret values among its settings, to be kept out of every text.
        type: What configuration calls the class; the class's own name in a pipeline.
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
    """Say whether ``value`` is a concrete sensor class with a config model."""
    return (
        isinstance(value, type)
        and issubclass(value, Sensor)
        and not inspect.isabstract(value)
        and isinstance(value.Config, type)
        and issubclass(value.Config, SensorConfig)
    )

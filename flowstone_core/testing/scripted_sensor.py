"""A sensor that does what a test's script says."""

from __future__ import annotations

import copy
import threading
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, cast

from pydantic import BeforeValidator, Field

from flowstone_core.model.event import NotTriggered, Outcome
from flowstone_core.model.json_document import Json
from flowstone_core.model.sensor import Sensor, SensorConfig


class Script:
    """Script of a sensor's polls, one step after the other, and the record of the polls made.

    Args:
        steps: One for each poll. An exception, or a class of them, is raised; a callable is
            called with the state, and what it returns is the outcome; anything else is the
            outcome itself, even an invalid one. After the last step every poll is quiet:
            ``NotTriggered(state)``.

    Attributes:
        states: The states that the polls were given, as they were then.
        inits: How often ``init`` was called.
        cleanups: How often ``cleanup`` was called.
    """

    def __init__(self, steps: Iterable[object] = ()) -> None:
        self._lock = threading.Lock()
        self._steps = list(steps)
        self.states: list[Json] = []
        self.inits = 0
        self.cleanups = 0

    def __repr__(self) -> str:
        return f"<Script: {len(self.states)} polls, {len(self._steps)} steps left>"

    @property
    def polls(self) -> int:
        """How often ``poll`` was called."""
        return len(self.states)

    @property
    def finished(self) -> bool:
        """True if every step has been played."""
        return not self._steps

    def play(self, state: Json) -> Outcome[Json]:
        """Do the next step.

        Raises:
            BaseException: If the step is an exception, or its callable raises.
        """
        with self._lock:
            self.states.append(copy.deepcopy(state))
            step = self._steps.pop(0) if self._steps else NotTriggered(state)
        if isinstance(step, BaseException) or (
            isinstance(step, type) and issubclass(step, BaseException)
        ):
            raise step
        # An invalid outcome is returned unchanged: a test may check that it is refused.
        return cast("Outcome[Json]", step(state) if callable(step) else step)


def _read_script(value: object) -> object:
    return Script(value) if isinstance(value, Sequence) and not isinstance(value, str) else value


class ScriptedSensorConfig(SensorConfig):
    """The settings of a `ScriptedSensor`."""

    script: Annotated[Script, BeforeValidator(_read_script)] = Field(
        default_factory=Script, description="the steps of the polls, a list or a Script"
    )
    # Any, because pydantic would read a recursive type by copying what it is given.
    initial: Any = Field(None, description="the first state")


class ScriptedSensor(Sensor[ScriptedSensorConfig, Json]):
    """A sensor whose polls follow a script.

    Example:
        In a pipeline, with the record kept in the test's hands:

        >>> from flowstone_core import NotTriggered, Pipeline, Triggered
        >>> from flowstone_core.testing import Script, ScriptedSensor
        >>> pipeline = Pipeline("shop")
        >>> @pipeline.asset
        ... def orders(context): ...
        >>> script = Script([Triggered("eu", 1), ConnectionError("down"), NotTriggered])
        >>> pipeline.sensor("feed", ScriptedSensor, asset="orders", script=script)

        By itself:

        >>> sensor = ScriptedSensor(ScriptedSensor.Config(script=[Triggered("eu", 1)], initial=0))
        >>> sensor.poll(sensor.init()).events[0].partition
        'eu'
        >>> sensor.poll(1)
        NotTriggered(state=1)
        >>> sensor.script.states
        [0, 1]
    """

    Config = ScriptedSensorConfig

    @property
    def script(self) -> Script:
        """The script, with its record."""
        return self.config.script

    def init(self) -> Json:
        """Return the ``initial`` state."""
        self.script.inits += 1
        return cast("Json", copy.deepcopy(self.config.initial))

    def poll(self, state: Json) -> Outcome[Json]:
        """Play the next step of the script."""
        return self.script.play(state)

    def cleanup(self) -> None:
        """Count it."""
        self.script.cleanups += 1

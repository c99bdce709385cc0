"""The pytest plugin: pytest finds it by itself wherever FlowStone is installed.

It is loaded in every run of pytest, so nothing is imported here before a fixture is used.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from flowstone_core.model.json_document import Json
    from flowstone_core.testing.fake_clock import FakeClock
    from flowstone_core.testing.scripted_sensor import ScriptedSensor


@pytest.fixture
def fake_clock() -> FakeClock:
    """A clock that stands at 2025-01-15 12:00 UTC until the test moves it.

    ::

        def test_old_rows_are_left_out(fake_clock):
            sensor = NewRows(NewRows.Config(), PollContext(clock=fake_clock))
            fake_clock.advance(timedelta(days=1))
            assert isinstance(sensor.poll(sensor.init()), NotTriggered)
    """
    from flowstone_core.testing.fake_clock import FakeClock

    return FakeClock()


@pytest.fixture
def scripted_sensor() -> Callable[..., ScriptedSensor]:
    """A function that makes a `ScriptedSensor` of the steps it is given.

    ::

        def test_a_failure_keeps_the_state(scripted_sensor):
            sensor = scripted_sensor(Triggered("eu", 1), OSError("down"), initial=0)
            assert sensor.poll(sensor.init()).state == 1
            with pytest.raises(OSError):
                sensor.poll(1)
            assert sensor.script.states == [0, 1]
    """
    from flowstone_core.testing.scripted_sensor import ScriptedSensor

    def make(*steps: object, initial: Json = None) -> ScriptedSensor:
        return ScriptedSensor(ScriptedSensor.Config(script=steps, initial=initial))

    return make

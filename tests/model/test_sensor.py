import functools
import logging
from datetime import UTC

import pydantic
import pytest

from flowstone_core.errors import FlowstoneError, ValidationError
from flowstone_core.model.clock import SystemClock
from flowstone_core.model.event import NotTriggered, PollFailed, Triggered
from flowstone_core.model.sensor import PollContext, Sensor, SensorConfig, function_sensor


class Config(SensorConfig):
    bucket: str


class Feed(Sensor[Config, int]):
    Config = Config

    def init(self):
        return 0

    def poll(self, state):
        return NotTriggered(state)


def test_sensor_has_config_and_default_context():
    sensor = Feed(Config(bucket="shop"))
    assert sensor.config.bucket == "shop"
    assert sensor.context.sensor == "sensor"
    assert sensor.context.logger is logging.getLogger("flowstone.sensor")
    assert sensor.context.clock.now().tzinfo is UTC
    assert sensor.cleanup() is None


def test_sensor_receives_its_context():
    context = PollContext("new_orders", logging.getLogger("mine"), SystemClock())
    assert Feed(Config(bucket="shop"), context).context is context


def test_config_is_strict_and_immutable():
    with pytest.raises(pydantic.ValidationError, match="Extra inputs are not permitted"):
        Config(bucket="shop", buckt="shop")
    with pytest.raises(pydantic.ValidationError, match="frozen"):
        Config(bucket="shop").bucket = "other"


def test_sensor_without_init_and_poll_is_abstract():
    class Half(Sensor):
        def init(self):
            return None

    with pytest.raises(TypeError, match="poll"):
        Half(SensorConfig())


def test_function_sensor_returns_a_sensor_class():
    @function_sensor(initial={"seen": []})
    def arrivals(state):
        """Fires always."""
        state["seen"].append(1)
        return Triggered("a", state)

    assert issubclass(arrivals, Sensor)
    assert (arrivals.__name__, arrivals.__qualname__) == ("arrivals", "arrivals")
    assert (arrivals.__doc__, arrivals.__module__) == ("Fires always.", __name__)
    sensor = arrivals(SensorConfig())
    assert sensor.poll(sensor.init()) == Triggered("a", {"seen": [1]})


def test_p7_function_sensor_returns_new_first_state():
    @function_sensor(initial={"seen": []})
    def arrivals(state):
        state["seen"].append(1)
        raise OSError("gone")

    sensor = arrivals(SensorConfig())
    with pytest.raises(OSError, match="gone"):
        sensor.poll(sensor.init())
    assert sensor.init() == {"seen": []}


def test_function_sensor_with_name():
    def poll(state):
        return NotTriggered(state)

    assert function_sensor(name="Quiet")(poll).__name__ == "Quiet"
    assert function_sensor()(functools.partial(poll)).__name__ == "partial"
    assert function_sensor()(poll)(SensorConfig()).init() is None


@pytest.mark.parametrize("thing", [None, 5, "poll", Feed])
def test_function_sensor_of_non_function_is_refused(thing):
    with pytest.raises(ValidationError, match=r"@function_sensor\(...\) decorates a function, not"):
        function_sensor(initial=None)(thing)


def test_p5_function_sensor_with_invalid_state_is_refused():
    with pytest.raises(ValidationError, match=r"the initial state\['a'\] is not JSON: it is a set"):
        function_sensor(initial={"a": {1}})


@function_sensor(initial=1)
def looks(state):
    """Tells what it was given."""
    if state == 1:
        return Triggered("a", 2)
    raise OSError("gone")


def test_connect_polls_from_first_state():
    assert looks(SensorConfig()).connect() is None


@pytest.mark.parametrize(
    ("outcome", "raised"),
    [
        (PollFailed(OSError("gone"), None), OSError),
        (PollFailed("gone", None), FlowstoneError),
    ],
)
def test_connect_with_failed_poll_raises(outcome, raised):
    @function_sensor()
    def fails(state):
        return outcome

    with pytest.raises(raised, match="gone"):
        fails(SensorConfig()).connect()

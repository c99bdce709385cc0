"""Sensors tried by hand: within their deadline, whatever they do, and cleaned up after."""

import threading
from datetime import timedelta

import pytest

from flowstone_core.app.flowstone import Flowstone
from flowstone_core.config.pipeline import Pipeline
from flowstone_core.model.event import Event, NotTriggered, PollFailed, Triggered
from flowstone_core.model.sensor import Sensor, SensorConfig
from flowstone_core.model.tick import TickOutcome
from flowstone_core.testing import FakeClock

PATIENCE = 300


class Source:
    """What the sensors of a test do, and what they did."""

    def __init__(self):
        self.asked = threading.Semaphore(0)
        self.answer = threading.Event()
        self.cleaned = []

    def sensor(self, call, cleanup=lambda: None):
        source = self

        class Reads(Sensor[SensorConfig, None]):
            def init(self):
                return None

            def poll(self, state):
                call()
                return NotTriggered(state)

            def cleanup(self):
                source.cleaned.append(self.context.sensor)
                cleanup()

        return Reads

    def hang(self):
        self.asked.release()
        self.answer.wait(PATIENCE)


@pytest.fixture
def source():
    source = Source()
    yield source
    source.answer.set()


OPENED: list[Flowstone] = []


@pytest.fixture(autouse=True)
def _closed():
    """A store in memory is closed, as a user's is by the end of a with block."""
    yield
    while OPENED:
        OPENED.pop().close()


def flow_of(clock, **sensors):
    pipeline = Pipeline("shop")
    pipeline.asset(name="orders")(lambda context: None)
    for name, sensor in sensors.items():
        pipeline.sensor(name, sensor, asset="orders", deadline="10s")
    OPENED.append(Flowstone(pipeline, store="sqlite://", clock=clock))
    return OPENED[-1]


def fails(error):
    def call():
        raise error

    return call


def in_background(call):
    answers = []
    thread = threading.Thread(target=lambda: answers.append(call()), daemon=True)
    thread.start()
    return thread, answers


def test_connect_calls_each_sensor_and_reports_failures(source):
    flow = flow_of(
        FakeClock(),
        good=source.sensor(lambda: None),
        down=source.sensor(fails(OSError("no route"))),
        leaves=source.sensor(fails(SystemExit(3))),
    )
    answers = {each.sensor: each.error for each in flow.sensors.connect()}
    assert answers == {"good": None, "down": "OSError: no route", "leaves": "SystemExit: 3"}
    assert sorted(source.cleaned) == ["down", "good", "leaves"]
    assert flow.events() == []


@pytest.mark.parametrize(
    ("outcome", "said"),
    [
        (None, "poll returned None; it must return"),
        ([], "poll returned"),
        (NotTriggered({1, 2}), "not JSON"),
        (Triggered([Event("x", asset="ordres")], 1), "asset 'ordres', which no pipeline has"),
        (Triggered([Event(object())], 1), "partition"),
        (PollFailed("the door is shut", 1), "the door is shut"),
    ],
)
def test_N15_connect_judges_a_poll_as_a_tick_does(outcome, said):
    class Reads(Sensor[SensorConfig, object]):
        def init(self):
            return None

        def poll(self, state):
            return outcome

    (check,) = flow_of(FakeClock(), reads=Reads).sensors.connect()
    assert said in (check.error or "connected")
    assert flow_of(FakeClock(), reads=Reads).sensors.poll("reads").decision.error == check.error


def test_N15_connect_of_a_class_with_its_own_check_does_not_poll():
    class Reads(Sensor[SensorConfig, None]):
        def init(self):
            return None

        def poll(self, state):
            raise AssertionError

        def connect(self):
            pass

    assert [each.error for each in flow_of(FakeClock(), reads=Reads).sensors.connect()] == [None]


def test_connect_ignores_a_failing_cleanup(source):
    flow = flow_of(FakeClock(), good=source.sensor(lambda: None, fails(OSError("no"))))
    assert [each.error for each in flow.sensors.connect()] == [None]


def test_connect_skips_disabled_sensors(source):
    pipeline = Pipeline("shop")
    pipeline.sensor("off", source.sensor(lambda: None), enabled=False)
    with Flowstone(pipeline, store="sqlite://") as flow:
        assert flow.sensors.connect() == []


def test_connect_waits_for_a_silent_source_until_the_deadline(source):
    clock = FakeClock()
    flow = flow_of(clock, hangs=source.sensor(source.hang), good=source.sensor(lambda: None))
    thread, answers = in_background(flow.sensors.connect)
    assert source.asked.acquire(timeout=PATIENCE)
    while thread.is_alive():
        clock.advance(1)
        thread.join(0.01)
    (connections,) = answers
    assert [each.error for each in connections] == [
        "connect did not return within the sensor's deadline of 10 s",
        None,
    ]
    assert connections[0].duration >= timedelta(seconds=10)
    assert "hangs" not in source.cleaned, "its code still runs"


def test_connect_reports_a_cleanup_past_its_deadline(source):
    clock = FakeClock()
    flow = flow_of(clock, stuck=source.sensor(lambda: None, source.hang))
    thread, answers = in_background(flow.sensors.connect)
    assert source.asked.acquire(timeout=PATIENCE)
    while thread.is_alive():
        clock.advance(1)
        thread.join(0.01)
    assert answers[0][0].error == "cleanup did not return within the sensor's deadline of 10 s"


def test_poll_past_its_deadline_is_timed_out(source):
    clock = FakeClock()
    flow = flow_of(clock, hangs=source.sensor(source.hang))
    thread, answers = in_background(lambda: flow.sensors.poll("hangs"))
    assert source.asked.acquire(timeout=PATIENCE)
    while thread.is_alive():
        clock.advance(1)
        thread.join(0.01)
    (trial,) = answers
    assert trial.decision.outcome is TickOutcome.TIMED_OUT
    assert "within its deadline of 10 s" in trial.decision.error
    assert trial.duration >= timedelta(seconds=10)
    assert flow.sensors.state("hangs") is None


def test_connect_discards_a_late_answer(source):
    clock = FakeClock()
    flow = flow_of(clock, hangs=source.sensor(source.hang))
    thread, answers = in_background(flow.sensors.connect)
    assert source.asked.acquire(timeout=PATIENCE)
    while thread.is_alive():
        clock.advance(1)
        thread.join(0.01)
    others = [each for each in threading.enumerate() if "flowstone-dry-run" in each.name]
    source.answer.set()
    for other in others:
        other.join(PATIENCE)
    assert source.cleaned == ["hangs"]
    assert answers[0][0].error == "connect did not return within the sensor's deadline of 10 s"

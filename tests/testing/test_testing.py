"""The tools for tests: the clock, the scripted sensor, and the pytest plugin that offers them."""

import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta

import pytest

from flowstone_core import testing
from flowstone_core.config.pipeline import Pipeline
from flowstone_core.model.event import NotTriggered, Triggered
from flowstone_core.testing import FakeClock, Script, ScriptedSensor
from tests import forked

PATIENCE = 300


class Sleeper(threading.Thread):
    """Waits on a waker, again and again, and keeps what each wait returned."""

    def __init__(self, waker, *timeouts):
        super().__init__(daemon=True)
        self.waker = waker
        self.timeouts = timeouts
        self.results = []
        self.start()

    def run(self):
        for timeout in self.timeouts:
            self.results.append(self.waker.wait(timeout))

    def ended(self):
        self.join(PATIENCE)
        return not self.is_alive()


# -- FakeClock -----------------------------------------------------------------------------------


def test_time_stands_still_until_it_is_advanced_on_both_clocks(fake_clock):
    assert fake_clock.now() == fake_clock.now() == datetime(2025, 1, 15, 12, tzinfo=UTC)
    assert fake_clock.monotonic() == fake_clock.monotonic() == 1000
    fake_clock.advance(1.5)
    fake_clock.advance(timedelta(minutes=1))
    assert fake_clock.now() == datetime(2025, 1, 15, 12, 1, 1, 500_000, tzinfo=UTC)
    assert fake_clock.monotonic() == 1061.5


def test_tenths_of_a_second_add_up(fake_clock):
    sleeper = Sleeper(fake_clock.waker(), 1)
    fake_clock.wait_for_sleepers()
    for _ in range(10):
        fake_clock.advance(0.1)
    assert sleeper.ended()
    assert fake_clock.monotonic() == 1001


def test_a_step_of_the_wall_clock_lets_no_time_pass(fake_clock):
    sleeper = Sleeper(fake_clock.waker(), 10)
    fake_clock.wait_for_sleepers()
    fake_clock.set_now(datetime(2035, 1, 1, tzinfo=UTC))
    assert fake_clock.now() == datetime(2035, 1, 1, tzinfo=UTC)
    assert fake_clock.monotonic() == 1000
    assert fake_clock.sleepers == 1
    fake_clock.advance(10)
    assert sleeper.ended()
    assert fake_clock.now() == datetime(2035, 1, 1, 0, 0, 10, tzinfo=UTC)


def test_the_wall_clock_is_in_utc_wherever_it_was_set():
    east = datetime.fromisoformat("2025-06-01T02:00:00+02:00")
    clock = FakeClock(east)
    assert clock.now().isoformat() == "2025-06-01T00:00:00+00:00"
    clock.set_now(east + timedelta(hours=1))
    assert clock.now().isoformat() == "2025-06-01T01:00:00+00:00"


def test_wrong_times_are_refused(fake_clock):
    with pytest.raises(ValueError, match="has no time zone"):
        FakeClock(datetime(2025, 1, 1))  # noqa: DTZ001 - a naive one is what is refused
    with pytest.raises(ValueError, match="has no time zone"):
        fake_clock.set_now(datetime(2025, 1, 1))  # noqa: DTZ001
    with pytest.raises(ValueError, match=r"backwards.*use set_now"):
        fake_clock.advance(-1)
    assert fake_clock.monotonic() == 1000


def test_a_wait_ends_at_its_time_out_and_not_before(fake_clock):
    sleeper = Sleeper(fake_clock.waker(), 10)
    fake_clock.wait_for_sleepers()
    fake_clock.advance(9.999999)
    assert fake_clock.sleepers == 1
    fake_clock.advance(0.000001)
    assert sleeper.ended()
    assert sleeper.results == [False]


@pytest.mark.parametrize("timeout", [None, 10, 1e-12, float("inf"), 1e300])
def test_setting_it_ends_a_wait_and_the_next_one_waits_again(fake_clock, timeout):
    waker = fake_clock.waker()
    sleeper = Sleeper(waker, timeout, None)
    fake_clock.wait_for_sleepers()
    waker.set()
    fake_clock.wait_for_sleepers()
    assert sleeper.results == [True]
    waker.set()
    assert sleeper.ended()


def test_an_alarm_set_before_the_wait_counts_once(fake_clock):
    waker = fake_clock.waker()
    waker.set()
    waker.set()
    assert waker.wait(None)
    assert not waker.wait(0)
    assert not waker.wait(-1)


def test_wakers_do_not_wake_each_other(fake_clock):
    wakers = [fake_clock.waker(), fake_clock.waker()]
    sleepers = [Sleeper(waker, None) for waker in wakers]
    fake_clock.wait_for_sleepers(2)
    wakers[0].set()
    assert sleepers[0].ended()
    assert fake_clock.sleepers == 1
    wakers[1].set()
    assert sleepers[1].ended()


def test_a_thread_that_was_woken_is_no_sleeper_before_it_waits_again(fake_clock):
    sleepers = [Sleeper(fake_clock.waker(), *[1] * 50) for _ in range(4)]
    for waits in range(50):
        fake_clock.wait_for_sleepers(4)
        assert {len(sleeper.results) for sleeper in sleepers} == {waits}
        fake_clock.advance(1)
    assert all(sleeper.ended() for sleeper in sleepers)


def test_too_few_sleepers_are_an_error_and_not_a_hang(fake_clock):
    with pytest.raises(TimeoutError, match=r"0 threads wait .*, not 2, after 0\.01 s"):
        fake_clock.wait_for_sleepers(2, patience=0.01)


# -- ScriptedSensor ------------------------------------------------------------------------------


def test_polls_follow_the_script_and_see_nothing_after_it(scripted_sensor):
    failure = OSError("down")
    sensor = scripted_sensor(Triggered("eu", 1), failure, KeyError, NotTriggered, initial=0)
    assert sensor.init() == 0
    assert sensor.poll(0) == Triggered("eu", 1)
    with pytest.raises(OSError, match="down") as caught:
        sensor.poll(1)
    assert caught.value is failure
    with pytest.raises(KeyError):
        sensor.poll(1)
    assert not sensor.script.finished
    assert sensor.poll(2) == NotTriggered(2)
    assert sensor.script.finished
    assert sensor.poll(3) == NotTriggered(3)
    sensor.cleanup()
    script = sensor.script
    assert (script.inits, script.polls, script.cleanups) == (1, 5, 1)
    assert script.states == [0, 1, 1, 2, 3]
    assert repr(script) == "<Script: 5 polls, 0 steps left>"


def test_states_are_recorded_as_they_were_and_the_first_one_is_fresh(scripted_sensor):
    initial = {"seen": []}
    sensor = scripted_sensor(lambda state: NotTriggered(state["seen"].append(1)), initial=initial)
    state = sensor.init()
    sensor.poll(state)
    assert state == {"seen": [1]}
    assert sensor.script.states == [{"seen": []}]
    assert sensor.init() == initial == {"seen": []}


def test_a_step_that_is_no_outcome_is_returned_as_it_is(scripted_sensor):
    assert scripted_sensor("rubbish").poll(None) == "rubbish"


def test_a_pipeline_takes_a_list_or_a_script():
    pipeline = Pipeline("test")
    pipeline.asset(name="orders")(lambda context: None)
    script = Script([Triggered("eu", 1)])
    pipeline.sensor("kept", ScriptedSensor, asset="orders", script=script, initial=[1])
    pipeline.sensor("listed", ScriptedSensor, asset="orders", script=[Triggered("us", 1)])
    kept, listed = pipeline.sensors["kept"].config, pipeline.sensors["listed"].config
    assert kept.script is script
    assert kept.initial == [1]
    assert listed.script.play(None) == Triggered("us", 1)


@pytest.mark.parametrize("script", ["text", 7, None])
def test_scripted_sensor_without_a_script_is_refused(script):
    with pytest.raises(ValueError, match="script"):
        ScriptedSensor.Config(script=script)


# -- the package and the plugin ------------------------------------------------------------------


def test_the_public_names_are_there_and_others_are_not():
    assert sorted(testing.__all__) == sorted(dir(testing))
    assert {"FakeClock", "Script", "ScriptedSensor", "settings_table"} <= set(testing.__all__)
    assert testing.__getattr__("ScriptedSensor") is ScriptedSensor
    with pytest.raises(AttributeError, match="has no attribute 'Missing'"):
        testing.Missing  # noqa: B018 - asking is the test


def test_the_plugin_costs_other_peoples_tests_nothing():
    code = "import flowstone_core.testing.plugin, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "pytest" in loaded
    ours = {name for name in loaded if name.startswith("flowstone_core")}
    assert ours == {
        "flowstone_core",
        "flowstone_core.testing",
        "flowstone_core.testing.plugin",
    }
    assert not {"pydantic", "sqlalchemy", "alembic", "boto3", "structlog", "stevedore"} & loaded


def test_a_users_test_gets_the_fixtures_without_an_import(tmp_path):
    (tmp_path / "test_mine.py").write_text(
        "def test_mine(fake_clock, scripted_sensor):\n"
        "    fake_clock.advance(1)\n"
        "    assert scripted_sensor(initial=1).init() == 1\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)]
    done = forked.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout

"""Sensor ticker: one tick call at a time, errors contained, late results discarded."""

import logging
import math
import threading
from datetime import UTC, datetime, timedelta

import pytest

from flowstone_core.config.declarations.sensor_declaration import declare_sensor
from flowstone_core.errors import RetryLater, SensorBroken
from flowstone_core.model.asset import Asset, AssetGraph
from flowstone_core.model.event import NotTriggered, Triggered
from flowstone_core.model.redaction import Redactor
from flowstone_core.model.sensor import Sensor, SensorConfig
from flowstone_core.model.tick import SensorCheckpoint, TickOutcome
from flowstone_core.runtime.ticking.sensor_ticker import SensorTicker
from flowstone_core.testing import FakeClock

ASSETS = AssetGraph([Asset("orders", lambda context: None)])


class Probe(Sensor[SensorConfig, object]):
    """Does in each hook whatever the test puts there."""

    on_init = staticmethod(lambda: 0)
    on_poll = staticmethod(NotTriggered)
    on_cleanup = staticmethod(lambda: None)
    made = 0

    def __init__(self, config, context=None):
        super().__init__(config, context)
        type(self).made += 1

    def init(self):
        return self.on_init()

    def poll(self, state):
        return self.on_poll(state)

    def cleanup(self):
        self.on_cleanup()


def ticker_of(clock, *, redact=None, init=None, poll=None, cleanup=None, **options):
    hooks = {"on_init": init, "on_poll": poll, "on_cleanup": cleanup}
    given = {name: staticmethod(hook) for name, hook in hooks.items() if hook is not None}
    sensor_class = type("Probe", (Probe,), {**given, "made": 0})
    declaration, problems = declare_sensor(
        "probe", sensor_class, options, assets=ASSETS, asset="orders"
    )
    assert not problems
    return SensorTicker(declaration, ASSETS, clock, redact or Redactor()), sensor_class


def tick(ticker):
    decision = ticker.tick(ticker.begin())
    ticker.release(2)
    return decision


def test_sensor_ticker_first_tick_commits_the_initial_state(fake_clock):
    ticker, _ = ticker_of(fake_clock, init=lambda: {"seen": 1}, poll=NotTriggered)
    decision = tick(ticker)
    (commit,) = decision.commits
    assert commit.before == SensorCheckpoint()
    assert commit.after == SensorCheckpoint(version=1, state='{"seen":1}', polled=True)


def test_sensor_ticker_unchanged_state_is_a_quiet_tick(fake_clock):
    def never():
        raise AssertionError("init was called though there is a state")

    ticker, sensor_class = ticker_of(fake_clock, init=never)
    ticker.checkpoint = SensorCheckpoint(version=4, state="7", polled=True)
    assert [tick(ticker).commits for _ in range(3)] == [(), (), ()]
    assert sensor_class.made == 1


def test_sensor_ticker_accepts_null_as_state(fake_clock):
    ticker, _ = ticker_of(fake_clock, init=lambda: None)
    assert tick(ticker).commits[0].after.state == "null"


def test_S13_stored_state_that_is_not_json_fails_the_tick(fake_clock):
    ticker, _ = ticker_of(fake_clock)
    ticker.checkpoint = SensorCheckpoint(version=1, state="{", polled=True)
    decision = tick(ticker)
    assert decision.error == (
        "invalid state in the store: must be JSON (to begin anew: flowstone sensors reset probe)"
    )
    assert decision.commits[0].after.state == "{"


def test_P7_each_poll_gets_a_copy_of_the_state(fake_clock):
    def mutate(state):
        assert state == {"rows": [1]}, "what another poll did to it is not seen"
        state["rows"].append(99)
        raise OSError("after the damage")

    ticker, _ = ticker_of(fake_clock, poll=mutate)
    ticker.checkpoint = SensorCheckpoint(version=1, state='{"rows":[1]}', polled=True)
    for _ in range(2):
        decision = tick(ticker)
        assert decision.error == "OSError: after the damage"
        assert decision.commits[0].after.state == '{"rows":[1]}'


@pytest.mark.parametrize(
    "error",
    [
        OSError("no route"),
        SystemExit(3),
        KeyboardInterrupt(),
        GeneratorExit(),
        type("Own", (BaseException,), {})("own"),
    ],
)
@pytest.mark.parametrize("hook", ["init", "poll"])
def test_P9_any_exception_of_a_sensor_is_a_failed_tick(fake_clock, hook, error):
    def fail(*_):
        raise error

    ticker, _ = ticker_of(fake_clock, **{hook: fail})
    decision = tick(ticker)
    assert decision.outcome is TickOutcome.FAILED
    assert type(error).__name__ in decision.error
    assert decision.commits[0].after.failures == 1


def test_sensor_ticker_failing_constructor_is_called_again(fake_clock):
    ticker, sensor_class = ticker_of(fake_clock)
    broken = sensor_class.__init__

    def fail(self, config, context=None):
        raise ConnectionError("not yet")

    sensor_class.__init__ = fail
    assert tick(ticker).outcome is TickOutcome.FAILED
    sensor_class.__init__ = broken
    assert tick(ticker).outcome is TickOutcome.NOT_TRIGGERED


@pytest.mark.parametrize("state", [{1, 2}, float("nan"), {"when": object()}])
def test_P5_init_state_that_is_not_json_is_a_failed_tick(fake_clock, state):
    ticker, _ = ticker_of(fake_clock, init=lambda: state)
    decision = tick(ticker)
    assert decision.outcome is TickOutcome.FAILED
    assert "the state from init" in decision.error
    assert decision.commits[0].after.state is None


def test_P4_sensor_returning_a_coroutine_has_failed(fake_clock):
    async def poll(state):
        return NotTriggered(state)

    ticker, _ = ticker_of(fake_clock, poll=poll)
    decision = tick(ticker)
    assert decision.outcome is TickOutcome.FAILED
    assert "coroutine" in decision.error


def test_intents_reach_the_decision(fake_clock):
    def later(state):
        raise RetryLater(timedelta(minutes=3))

    def broken(state):
        raise SensorBroken("the queue is gone")

    ticker, _ = ticker_of(fake_clock, poll=later)
    assert tick(ticker).delay == timedelta(minutes=3)
    ticker, _ = ticker_of(fake_clock, poll=broken)
    assert tick(ticker).commits[0].after.broken


def test_sensor_ticker_errors_are_redacted(fake_clock):
    def fail(state):
        raise PermissionError("key hunter2secret refused")

    ticker, _ = ticker_of(fake_clock, poll=fail, redact=Redactor(["hunter2secret"]))
    assert tick(ticker).error == "PermissionError: key *** refused"


def test_sensor_context_has_name_and_clock(fake_clock, caplog):
    def poll(self, state):
        self.context.logger.info("hello", extra={"rows": 3})
        assert self.context.sensor == "probe"
        return Triggered(self.context.clock.now().date(), state)

    ticker, sensor_class = ticker_of(fake_clock)
    sensor_class.poll = poll
    with caplog.at_level(logging.INFO, "flowstone.sensor"):
        decision = tick(ticker)
    assert decision.commits[0].events[0].partition == f"d:{fake_clock.now().date()}"
    assert (caplog.records[0].sensor, caplog.records[0].rows) == ("probe", 3)


def test_P1_P2_poll_past_deadline_times_out_and_late_result_is_void(fake_clock, caplog):
    started, let_go = threading.Event(), threading.Event()

    def hang(state):
        started.set()
        assert let_go.wait(30)
        return Triggered("late", 1)

    ticker, _ = ticker_of(fake_clock, poll=hang, deadline="10s")
    number = ticker.begin()
    late = []
    thread = threading.Thread(target=lambda: late.append(ticker.tick(number)))
    thread.start()
    assert started.wait(30)
    decision = ticker.expire(number)
    assert decision.outcome is TickOutcome.TIMED_OUT
    assert "deadline of 10 s" in decision.error
    assert ticker.expire(number) is None
    let_go.set()
    thread.join()
    assert late == [None]
    assert [record.message for record in caplog.records] == ["late result discarded"]


def test_schedule_ticker_late_error_is_discarded(fake_clock, caplog):
    def fail(state):
        ticker.expire(number)
        raise OSError("after the deadline")

    ticker, _ = ticker_of(fake_clock, poll=fail)
    number = ticker.begin()
    assert ticker.tick(number) is None
    assert caplog.records[0].error == "OSError: after the deadline"


def test_sensor_ticker_poll_just_in_time_does_not_time_out(fake_clock):
    ticker, _ = ticker_of(fake_clock)
    number = ticker.begin()
    assert ticker.tick(number) is not None
    assert ticker.expire(number) is None


def test_sensor_ticker_reset_during_poll_keeps_the_old_version(
    fake_clock,
):
    def poll(state):
        ticker.checkpoint = SensorCheckpoint(version=6)
        return NotTriggered("from the old state")

    ticker, _ = ticker_of(fake_clock, poll=poll)
    ticker.checkpoint = SensorCheckpoint(version=5, state='"old"', polled=True)
    assert tick(ticker).commits[0].before.version == 5


def test_ticker_allows_one_tick_call_and_reports_an_overdue_one(fake_clock):
    ticker, _ = ticker_of(fake_clock)
    assert ticker.begin() is not None
    assert ticker.busy
    assert ticker.begin() is None
    assert ticker.release() is False
    assert ticker.begin() is None
    assert ticker.release() is True
    assert not ticker.busy
    assert ticker.begin() is not None
    assert ticker.release(2) is False


def test_sensor_ticker_refused_commit_is_a_failed_tick(fake_clock):
    ticker, _ = ticker_of(fake_clock)
    decision = ticker.refuse(ValueError("value too long for type"))
    assert decision.outcome is TickOutcome.FAILED
    assert not decision.commits[0].events


def test_sensor_ticker_backoff_left_follows_the_wall_clock(fake_clock):
    ticker, _ = ticker_of(fake_clock)
    assert ticker.backoff_left() == 0.0
    ticker.checkpoint = SensorCheckpoint(not_before=fake_clock.now() + timedelta(seconds=9))
    assert ticker.backoff_left() == 9.0
    fake_clock.advance(20)
    assert ticker.backoff_left() == 0.0


def test_sensor_ticker_is_tickable_if_owned_and_not_broken(fake_clock):
    ticker, _ = ticker_of(fake_clock)
    assert not ticker.tickable
    ticker.owned = True
    assert ticker.tickable
    ticker.checkpoint = SensorCheckpoint(broken=True)
    assert not ticker.tickable


def test_sensor_ticker_cleanup_is_called_once_and_contained(fake_clock, caplog):
    calls = []

    def fail():
        calls.append(1)
        raise SystemExit("in cleanup")

    ticker, _ = ticker_of(fake_clock, cleanup=fail)
    ticker.cleanup()
    assert calls == []
    tick(ticker)
    ticker.cleanup()
    ticker.cleanup()
    assert calls == [1]
    assert caplog.records[0].error == "SystemExit: in cleanup"


def test_engine_works_without_the_default_clock():
    clock = FakeClock()
    ticker, _ = ticker_of(clock)
    assert tick(ticker).commits[0].started_at == clock.now()


def test_S2_sensor_sees_the_deadline_of_its_own_poll_and_of_no_other(fake_clock):
    seen = []

    class Reader(Sensor[SensorConfig, object]):
        """Reads its deadline."""

        def init(self):
            seen.append(self.context.seconds_left())

        def poll(self, state):
            fake_clock.advance(4)
            seen.append(self.context.seconds_left())
            return NotTriggered(state)

        def cleanup(self):
            seen.append(self.context.seconds_left())

    declaration, _ = declare_sensor(
        "probe", Reader, {"deadline": "10s"}, assets=ASSETS, asset="orders"
    )
    ticker = SensorTicker(declaration, ASSETS, fake_clock, Redactor())
    tick(ticker)
    tick(ticker)
    assert ticker.connect() is None
    ticker.cleanup()
    assert seen == [10, 6, 10, 6, 10, 6, math.inf]


def test_S2_endless_poll_that_checks_its_deadline_times_out_by_itself(fake_clock):
    class Endless(Sensor[SensorConfig, object]):
        """Reads pages without end."""

        def init(self):
            return None

        def poll(self, state):
            while True:
                fake_clock.advance(1)
                self.context.check_deadline()

    declaration, _ = declare_sensor(
        "probe", Endless, {"deadline": "10s"}, assets=ASSETS, asset="orders"
    )
    decision = tick(SensorTicker(declaration, ASSETS, fake_clock, Redactor()))
    assert decision.outcome is TickOutcome.TIMED_OUT
    assert "deadline of 10 s" in decision.error


@pytest.mark.parametrize(
    ("partition", "text", "date"),
    [
        ("2025-1-5", "2025-1-5", "2025-01-05"),
        ("20250115", "20250115", "2025-01-15"),
        (" 2025-01-15", " 2025-01-15", "2025-01-15"),
        (("eu", ("2025/01/15",)), "2025/01/15", "2025-01-15"),
        (
            "2025-01-15 02:00:00 +0000 UTC",
            "2025-01-15 02:00:00 +0000 UTC",
            "2025-01-15T02:00+00:00",
        ),
    ],
)
def test_N11_near_date_of_a_sensor_is_logged_once(fake_clock, caplog, partition, text, date):
    found = ["north", datetime(2025, 1, 5, tzinfo=UTC), partition, partition]
    ticker, _ = ticker_of(fake_clock, poll=lambda state: Triggered(found, state + 1))
    for _ in range(2):
        ticker.remember(tick(ticker))
    (told,) = [each for each in caplog.records if "not a date" in each.message]
    assert told.message == "partition is a text, not a date"
    assert (told.sensor, told.partition, told.date) == ("probe", text, date)
    assert "partition_fn" in told.hint


def test_N11_other_partitions_of_a_sensor_log_nothing(fake_clock, caplog):
    found = ["north", "2025-01", datetime(2025, 1, 5, tzinfo=UTC), ("eu", "7"), "12345678"]
    ticker, _ = ticker_of(fake_clock, poll=lambda state: Triggered(found, state + 1))
    tick(ticker)
    assert not caplog.records

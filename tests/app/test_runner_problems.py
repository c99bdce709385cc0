"""A runner that can do nothing: shown by the status, logged once, and ended where that helps."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from flowstone_core import Flowstone, NotTriggered, Pipeline, Sensor, SensorConfig
from flowstone_core.app.status import SensorHealth
from flowstone_core.errors import FlowstoneError
from flowstone_core.store import EngineQueue
from flowstone_core.testing import FakeClock
from flowstone_core.testing.concurrency.harness import passing
from tests.processes import until

PATIENCE = 300
HANGING = 90
"""More than the 64 threads that may be left behind and the 16 that poll."""


class Gates:
    """Lets all hanging calls go at the end of a test."""

    def __init__(self) -> None:
        self.open = threading.Event()


@pytest.fixture
def gates() -> Iterator[Gates]:
    gates = Gates()
    yield gates
    gates.open.set()


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as pool:
        yield pool


def health_of(flow: Flowstone, name: str) -> SensorHealth:
    return flow.sensors.get(name).health


def test_S6_runner_whose_threads_all_hang_is_blocked_and_ends(
    store_url: str,
    gates: Gates,
    pool: ThreadPoolExecutor,
    fake_clock: FakeClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Hanging(Sensor[SensorConfig, object]):
        def init(self) -> object:
            return None

        def poll(self, state: object) -> NotTriggered[object]:
            gates.open.wait()
            return NotTriggered(state)

    class Healthy(Hanging):
        def poll(self, state: object) -> NotTriggered[object]:
            return NotTriggered(state)

    pipeline = Pipeline("shop")
    pipeline.asset(name="orders")(lambda context: None)
    for number in range(HANGING):
        pipeline.sensor(f"hangs{number}", Hanging, asset="orders", every="1h", deadline="1s")
    pipeline.sensor("healthy", Healthy, asset="orders", every="1s")
    settings = {"lease": "3s", "poll_threads": 16, "grace": "0s"}
    with Flowstone(pipeline, store=store_url, clock=fake_clock, **settings) as flow:
        running = pool.submit(flow.run)
        with passing(fake_clock):
            until(lambda: health_of(flow, "healthy") is SensorHealth.BLOCKED or running.done())
        # Time stands still: the runner ends when its lease has passed once more.
        assert "hangs in a call" in " ".join(flow.explain("healthy")[0].facts)
        (runner,) = flow.status().runners
        assert (runner.problem, runner.blocked) == (
            "every poll thread hangs in a call that does not return",
            True,
        )
        with passing(fake_clock), pytest.raises(FlowstoneError, match="every poll thread hangs"):
            running.result(PATIENCE)
        assert flow.status().runners == ()
        assert flow.sensors.get("healthy").owner is None
    assert "every thread hangs in a call that does not return" in caplog.text


def test_U1_claim_that_never_succeeds_is_a_problem_of_the_runner(
    store_url: str,
    monkeypatch: pytest.MonkeyPatch,
    pool: ThreadPoolExecutor,
    fake_clock: FakeClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def claim(*arguments: object) -> None:
        raise AttributeError("'Values' object has no attribute 'cte'")

    monkeypatch.setattr(EngineQueue, "claim", claim)
    pipeline = Pipeline("shop")
    pipeline.asset(name="orders")(lambda context: None)
    with (
        Flowstone(pipeline, store=store_url, clock=fake_clock, lease="1s", grace="0s") as flow,
        passing(fake_clock),
    ):
        flow.materialize("orders", "eu")
        running = pool.submit(flow.run)
        until(lambda: running.done() or any(each.problem for each in flow.status().runners))
        (runner,) = flow.status().runners
        assert runner.problem == (
            "cannot claim materializations: AttributeError: 'Values' object has no attribute 'cte'"
        )
        flow.stop()
        assert running.result(PATIENCE)
    errors = [each for each in caplog.records if each.levelno == logging.ERROR]
    assert [each.getMessage() for each in errors] == ["cannot claim materializations"]
    assert errors[0].exc_info is not None

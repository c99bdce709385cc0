"""One claimed attempt run by an engine of a plugin, against a queue that records results."""

import threading
from datetime import UTC, datetime, timedelta

import pytest

from flowstone_core.errors import StoreUnavailableError
from flowstone_core.model.clock import SystemClock
from flowstone_core.plugin_api import (
    Asset,
    AssetGraph,
    AttemptOutcome,
    Claim,
    EndRound,
    EngineSetup,
    Materialization,
    MaterializationState,
    run_attempt,
)
from flowstone_core.testing import FakeClock


class Queue:
    """Records the results that are committed; fails as often as told."""

    def __init__(self, failures=0):
        self.failures = failures
        self.results = []

    def finish(self, ends, assets, now):
        if self.failures:
            self.failures -= 1
            raise StoreUnavailableError("the database is locked")
        self.results += [end.result for end in ends]
        return EndRound(tuple(end.claim.materialization for end in ends))


def made(context):
    return {"asset": context.asset, "partition": context.partition}


def broken(context):
    raise ValueError("no such file")


def attempt(function, queue, clock=None, **options):
    """Run one attempt; return the materializations that were published."""
    published = []
    materialization = Materialization(
        1, "run", "a", "p", MaterializationState.RUNNING, 1, 5, datetime(2026, 1, 1, tzinfo=UTC)
    )
    setup = EngineSetup(
        queue=queue,
        assets=AssetGraph([Asset("a", function, **options)]),
        clock=clock or SystemClock(),
        runner_id="r",
        publish=published.append,
    )
    run_attempt(Claim(materialization, "token", (), {}), setup)
    return published


@pytest.mark.parametrize("run_in", ["thread", "process"])
def test_run_attempt_commits_the_returned_metadata(run_in):
    queue = Queue()
    (published,) = attempt(made, queue, run_in=run_in)
    assert published.asset == "a"
    (result,) = queue.results
    assert result.outcome is AttemptOutcome.COMPLETED
    assert result.metadata == '{"asset":"a","partition":"p"}'


def test_run_attempt_of_a_failing_function_commits_the_failure():
    queue = Queue()
    attempt(broken, queue)
    (result,) = queue.results
    assert (result.state, result.error) == (
        MaterializationState.RETRYING,
        "ValueError: no such file",
    )


def test_run_attempt_past_its_timeout_returns_without_the_function():
    queue, release = Queue(), threading.Event()
    attempt(lambda _: release.wait(), queue, timeout=timedelta(milliseconds=50))
    release.set()
    (result,) = queue.results
    assert "timeout of 0.05 s" in result.error


def test_run_attempt_waits_for_an_unavailable_store():
    queue = Queue(failures=1)
    clock = FakeClock(datetime(2026, 1, 1, tzinfo=UTC))
    done = threading.Thread(target=attempt, args=(made, queue, clock))
    done.start()
    while done.is_alive():
        if clock.sleepers:
            clock.advance(1)
        done.join(0.01)
    assert len(queue.results) == 1

"""The harness finds what threads break, each kind by itself; and what is sound passes."""

from __future__ import annotations

import doctest
import itertools
import logging
import re
import threading
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest

from flowstone_core import NotTriggered, Pipeline, Sensor, SensorConfig, Triggered
from flowstone_core.store import (
    EngineQueue,
    EventRepository,
    MaterializationRepository,
    schedule_edits,
    sensors,
)
from flowstone_core.testing import ConcurrencyHarness, ConcurrencyReport, assert_no_leaks
from flowstone_core.testing.concurrency import harness as module
from flowstone_core.testing.concurrency.recorder import Recorder

ALONE = {"threads": 1, "runners": 1}
"""Without others, so that what happens is always the same."""

SEED = 20261126
"""Chooses an edit among the operations of a schedule."""


@pytest.fixture(autouse=True)
def _nothing_is_formatted(caplog):
    """Python 3.11 may raise SystemError where two threads format tracebacks at once.

    Its traceback module parses the source line ("AST constructor recursion depth mismatch",
    gh-106905), and pytest's log capture raises what its formatting raised.
    """
    caplog.set_level(logging.CRITICAL + 1, logger="flowstone")


class Folder(SensorConfig):
    folder: Path


class NewFiles(Sensor[Folder, list[str]]):
    """Fires for each new file, by its name; keeps what it saw in the state."""

    Config = Folder

    def init(self):
        return []

    def names(self):
        return sorted(path.name for path in self.config.folder.iterdir())

    def poll(self, state):
        names = self.names()
        new = [name for name in names if name not in state]
        return Triggered(new, names) if new else NotTriggered(names)


class Inbox:
    """A folder, and a harness around a sensor of it."""

    def __init__(self, folder):
        self.folder = folder

    def put(self, number):
        (self.folder / f"file-{number}").touch()
        return f"file-{number}"

    def run(self, sensor=NewFiles, *, seed=7, change=None, **options):
        def declare(pipeline):
            pipeline.sensor(
                "files", sensor, asset="made", folder=self.folder, every="1s", backoff="1s"
            )

        harness = ConcurrencyHarness(
            declare, change=change or self.put, **{"operations": 15, **options}
        )
        return harness.run(seed)


@pytest.fixture
def inbox(tmp_path):
    return Inbox(tmp_path)


def minutely(pipeline, **options):
    given = {"cron": "* * * * *", "partition": "${instant}", **options}
    pipeline.schedule("made", **given)


# -- what is sound passes --------------------------------------------------------------------------


def test_a_sound_sensor_passes(inbox):
    report = inbox.run(operations=25)
    report.assert_sound()
    assert report.changes >= 10
    assert report.events >= report.changes
    assert set(report.operations) == set(_SENSOR_OPERATIONS)
    assert sum(report.operations.values()) == 100


_SENSOR_OPERATIONS = (
    "tick", "change", "wait", "pause", "resume", "reset", "materialize", "cancel", "retry"
)  # fmt: skip


@pytest.mark.parametrize("overlap", ["skip", "buffer_all", "allow"])
@pytest.mark.parametrize("catchup", ["latest", "all"])
def test_a_schedule_passes(overlap, catchup):
    harness = ConcurrencyHarness(
        lambda pipeline: minutely(pipeline, overlap=overlap, catchup=catchup, jitter="20s"),
        operations=20,
        step=timedelta(seconds=40),
    )
    report = harness.run(SEED)
    report.assert_sound()
    assert report.events
    assert "edit" in report.operations


def test_runner_in_four_threads_loses_and_doubles_nothing(inbox):
    def declare(pipeline):
        pipeline.asset(name="report", depends_on=["made"], follow=True)(lambda context: None)
        pipeline.sensor("files", NewFiles, asset="made", folder=inbox.folder, max_events=2)
        minutely(pipeline, name="minutely")

    harness = ConcurrencyHarness(
        declare,
        change=inbox.put,
        runners=3,
        operations=25,
        step=timedelta(seconds=40),
    )
    report = harness.run(seed=7)  # in a hundred operations, few choose the rare ones
    report.assert_sound()
    assert {"reset", "edit"} <= set(report.operations)


def test_it_leaves_nothing_behind(inbox):
    inbox.run(operations=5)
    with assert_no_leaks():
        inbox.run(operations=5)


# -- what is broken is found -----------------------------------------------------------------------


class Forgetful(NewFiles):
    """Keeps what it saw on the instance: each runner finds it all again."""

    known = ()

    def poll(self, state):
        new = [name for name in self.names() if name not in self.known]
        self.known = self.names()
        return Triggered(new, []) if new else NotTriggered([])


class Hasty(NewFiles):
    """Takes what it finds away before it is committed, and fails now and then."""

    polls = 0

    def poll(self, state):
        names = self.names()
        for name in names:
            (self.config.folder / name).unlink()
        Hasty.polls += 1
        if Hasty.polls % 2:
            raise OSError("down")
        return Triggered(names, []) if names else NotTriggered([])


class Broken(NewFiles):
    """Never polls well."""

    def poll(self, state):
        raise OSError("down")


def test_event_found_by_each_runner_is_reported(inbox):
    report = inbox.run(Forgetful, without=["reset"], operations=8)
    with pytest.raises(AssertionError, match=r"'file-1' is in \d+ events, after 0 resets"):
        report.assert_sound()


def test_lost_event_is_reported_with_the_seed(inbox):
    report = inbox.run(Hasty, seed=11)
    with pytest.raises(AssertionError, match="is in no event: it is lost") as caught:
        report.assert_sound()
    assert "to repeat it: run(seed=11)" in str(caught.value)


def test_expected_event_that_is_missing_is_reported(inbox):
    report = inbox.run(expected=lambda: ["file-1", "elsewhere"], operations=8)
    assert report.problems == ("the change 'elsewhere' is in no event: it is lost",)


def test_sensor_that_does_not_come_to_rest_is_reported(inbox):
    report = inbox.run(Broken, operations=2, change=lambda number: None)
    assert report.problems == ("it did not come to rest: sensor 'files' fails: OSError: down",)
    assert report.ticks["failed"] > 2


def test_two_attempts_at_once_are_said(inbox, monkeypatch):
    claim, held, met = EngineQueue.claim, [], threading.Event()
    both = threading.Barrier(2, met.set)

    def meeting(self):
        def make(context):
            with self._call(context):
                doubled_run = held and held[0].materialization.run_id
                if context.run_id == doubled_run and not met.is_set():
                    both.wait(60)

        return make

    monkeypatch.setattr(Recorder, "watched_asset_function", meeting)

    def doubled(self, *arguments):
        found = claim(self, *arguments)
        if found.claims and not held:
            held.append(found.claims[0])
            return replace(found, claims=(*found.claims, replace(held[0], token="other")))
        return found

    monkeypatch.setattr(EngineQueue, "claim", doubled)
    # Such a store would not notice the second token either: it would be cancelled unstarted.
    monkeypatch.setattr(EngineQueue, "stale_tokens", lambda self, tokens: set())
    report = inbox.run(failing=0.0, **ALONE)
    (problem,) = report.problems
    assert problem.startswith("2 attempts of run ")
    assert problem.endswith(" were made at once")


def test_a_run_id_that_changes_is_said(inbox, monkeypatch):
    read, number = MaterializationRepository.latest, itertools.count(1)

    def unstable(self, **options):
        rows = read(self, **options)
        return [replace(row, run_id=f"r{next(number)}") if row.id == 1 else row for row in rows]

    monkeypatch.setattr(MaterializationRepository, "latest", unstable)
    report = inbox.run(**ALONE)
    assert any(
        re.match(r"materialization 1 \(made .*\) had the run id r\d+, and then r\d+", problem)
        for problem in report.problems
    )


def test_a_version_that_goes_back_is_said(inbox, monkeypatch):
    change = sensors._change

    def begin_at_0(connection, name, values):
        return change(connection, name, values | {"version": 0} if "state" in values else values)

    monkeypatch.setattr(sensors, "_change", begin_at_0)
    report = inbox.run(operations=40, **ALONE)
    assert report.operations["reset"]
    assert re.match("the version of sensor 'files' went back, from [1-9] to 0", report.problems[0])


def test_an_event_that_nothing_is_made_of_is_said(inbox, monkeypatch):
    read = EventRepository.latest
    monkeypatch.setattr(
        EventRepository,
        "latest",
        lambda self, **options: [
            replace(event, materialization_id=None) if event.id == 1 else event
            for event in read(self, **options)
        ],
    )
    report = inbox.run(**ALONE)
    (problem,) = report.problems
    assert problem.startswith("event 1 of ")
    assert problem.endswith("has no materialization")


def test_a_key_with_two_events_is_said(inbox, monkeypatch):
    read = EventRepository.latest
    monkeypatch.setattr(
        EventRepository,
        "latest",
        lambda self, **options: [replace(event, key="same") for event in read(self, **options)],
    )
    report = inbox.run(change=lambda number: inbox.put(number) and None, **ALONE)
    assert any(
        problem.endswith("events of the key 'same'") and problem.startswith("sensor:files has ")
        for problem in report.problems
    )


def test_an_instant_that_was_passed_over_is_said(monkeypatch):
    monkeypatch.setattr(schedule_edits, "record_with_tick", lambda *arguments: None)
    harness = ConcurrencyHarness(
        minutely, step=timedelta(minutes=3), without=["tick", "edit"], operations=40, **ALONE
    )
    report = harness.run(seed=1)
    assert report.operations["pause"]
    with pytest.raises(AssertionError, match=r"schedule 'made' passed over 2025-01-15 12:"):
        report.assert_sound()


def test_an_error_that_is_no_refusal_is_said(inbox, monkeypatch):
    def broken(self, *arguments):
        raise RuntimeError("out of order")

    monkeypatch.setattr(MaterializationRepository, "retry", broken)
    report = inbox.run(operations=40, **ALONE)
    assert report.problems == ("retry raised RuntimeError: out of order",)
    assert report.errors["retry: RuntimeError"] == report.operations["retry"] > 1


def test_a_refusal_is_counted_and_no_problem(inbox):
    report = inbox.run(operations=40, **ALONE)
    report.assert_sound()
    assert report.errors["retry: ConflictError"] > 1


def test_threads_that_hang_are_said(inbox):
    let_go = threading.Event()

    def hang(number):
        let_go.wait()

    report = inbox.run(change=hang, patience=0.2)
    let_go.set()
    assert any("had not come to an end" in problem for problem in report.problems)


def test_a_runner_stalls_before_it_writes_until_others_have_done_something():
    recorder, written = Recorder(0.0, seed=1), []
    store = SimpleNamespace(write=lambda: written.append(recorder.operations.total()))
    recorder.stall(store, "write")
    writer = threading.Thread(target=lambda: [store.write() for _ in range(30)])
    recorder.stalling = False
    store.write()
    assert written == [0]
    recorder.stalling = True
    writer.start()
    while writer.is_alive():
        recorder.count("tick")
        writer.join(0.001)
    assert len(written) == 31
    # Each stall lasted some operations, of which a write itself takes none.
    assert written[-1] > 5


# -- the rest --------------------------------------------------------------------------------------


def test_the_same_seed_makes_the_same_choices(inbox):
    one, same, other = (inbox.run(seed=seed, operations=6) for seed in (5, 5, 6))
    assert one.operations == same.operations
    assert one.operations != other.operations


def test_a_report_is_readable():
    problems = tuple(f"problem {number}" for number in range(1, 23))
    counts = {"tick": 3, "change": 2}
    report = ConcurrencyReport(5, counts, {}, {"triggered": 2}, 2, 3, {"completed": 3}, 4, problems)
    head, *rest = str(report).split("  problem", 1)
    assert head.splitlines() == [
        "operations  2 change, 3 tick",
        "refused     none",
        "ticks       2 triggered",
        "world       2 changes",
        "events      3",
        "made        3 completed by 4 calls",
        "problems    22",
        "seed        5",
    ]
    assert rest[0].splitlines()[-2:] == ["  problem 20", "  and 2 more"]


def test_an_operation_that_there_is_not_is_refused():
    with pytest.raises(ValueError, match="no operations: puase"):
        ConcurrencyHarness(minutely, without=["puase", "resume"])


def test_problem_of_the_declaration_is_raised():
    def declare(pipeline: Pipeline) -> None:
        pipeline.schedule("made", cron="never")

    with pytest.raises(ValueError, match="cron"):
        ConcurrencyHarness(declare).run()


def test_the_example_runs():
    result = doctest.testmod(module)
    assert result.attempted > 0
    assert result.failed == 0

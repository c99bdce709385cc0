"""The embedded engine on a real store: made, retried, contained, given back, never lost."""

import logging
import threading
import uuid
from collections import Counter
from datetime import date, timedelta

import pytest

from flowstone_core.config.pipeline import Pipeline
from flowstone_core.errors import Discard, RetryLater, StoreError, StoreUnavailableError
from flowstone_core.model.engine import EngineSetup, RunnerInfo
from flowstone_core.model.materialization import AttemptOutcome, MaterializationState
from flowstone_core.model.partition import encode_partition
from flowstone_core.model.redaction import Redactor
from flowstone_core.runtime.engine.local_engine import CLAIM_SECONDS, RECOVER_SECONDS, LocalEngine

PATIENCE = 300
LONG = timedelta(hours=1)
PENDING, RUNNING, RETRYING, COMPLETED, DISCARDED, CANCELLED = MaterializationState


class Workshop:
    """A pipeline and engines on one store and one clock."""

    def __init__(self, store, clock):
        self.store = store
        self.clock = clock
        self.pipeline = Pipeline("test")
        self.asset = self.pipeline.asset
        self.announced = []
        self.engines = []

    def engine(self, queue=None, **options):
        """An engine with a registered runner whose lease is good for a day."""
        now = self.clock.now()
        runner = RunnerInfo(
            uuid.uuid4().hex, "host", 1, "machine", "0", now, now + timedelta(days=1)
        )
        self.store.runners.register(runner)
        setup = EngineSetup(
            queue=queue or self.store.queue,
            assets=self.pipeline.assets,
            clock=self.clock,
            runner_id=runner.id,
            **{"announce": self.announced.append, **options},
        )
        self.engines.append(LocalEngine(setup))
        return self.engines[-1]

    def run(self):
        """Make all that is due, tick by tick."""
        return self.engine().run_once()

    def pass_time_until(self, condition):
        """Let time pass, a second whenever a thread waits for that."""
        while not condition():
            if self.clock.sleepers:
                self.clock.advance(1)

    def ask(self, asset, partition="eu", payload=None):
        """Ask for a partition by hand; return the materialization's number."""
        assets = self.pipeline.assets
        text = encode_partition(partition)
        _, materialization = self.store.materializations.materialize(
            assets[asset], text, assets, self.clock.now(), payload
        )
        return materialization.id

    def get(self, number):
        return self.store.materializations.get(number)

    def outcomes(self, number):
        return [attempt.outcome for attempt in self.store.materializations.attempts(number)]

    def states(self, number):
        """The states that were announced, in order."""
        return [item.state for item in self.announced if item.id == number]


@pytest.fixture
def workshop(store, fake_clock):
    workshop = Workshop(store, fake_clock)
    yield workshop
    for engine in workshop.engines:
        assert engine.stop(timedelta(0)), "a test must leave nothing running"


class Gate:
    """An asset function that says that it runs and waits to be let go."""

    def __init__(self, result=None):
        self.__name__ = "gate"
        self.running = threading.Event()
        self.go = threading.Event()
        self.calls = 0
        self.context = None
        self.result = result

    def __call__(self, context):
        self.calls += 1
        self.context = context
        self.running.set()
        assert self.go.wait(PATIENCE)
        return self.result


class Queue:
    """The store's queue, with some of its methods failing as often as a test says."""

    def __init__(self, queue, **failures):
        self.queue = queue
        self.failures = {name: list(errors) for name, errors in failures.items()}
        self.failed = threading.Event()

    def __getattr__(self, name):
        def call(*args):
            errors = self.failures.get(name)
            if errors:
                self.failed.set()
                raise errors.pop(0)
            return getattr(self.queue, name)(*args)

        return call


def locked():
    return StoreUnavailableError("database is locked")


def messages(caplog):
    return [record.getMessage() for record in caplog.records if record.name == "flowstone.engine"]


# -- what an asset function is told, and what it returns


def test_a_partition_is_made_and_its_metadata_kept(workshop):
    told = []
    workshop.asset(name="orders")(lambda context: told.append(context) or {"rows": 3})
    number = workshop.ask("orders", date(2025, 1, 15), {"file": "a.csv"})
    assert workshop.ask("orders", date(2025, 1, 15), {"file": "b.csv"}) == number
    assert workshop.run() == 1
    made = workshop.get(number)
    assert (made.state, made.attempt, made.error) == (COMPLETED, 1, None)
    assert made.metadata == {"rows": 3}
    assert workshop.states(number) == [RUNNING, COMPLETED]
    (context,) = told
    assert (context.asset, context.partition) == ("orders", date(2025, 1, 15))
    assert (context.run_id, context.attempt) == (made.run_id, 1)
    assert context.payloads == ({"file": "a.csv"}, {"file": "b.csv"})
    assert context.upstream == {}
    assert not context.cancelled


def test_its_log_lines_carry_the_ids_and_the_authors_own_fields(workshop, caplog):
    caplog.set_level(logging.INFO)

    @workshop.asset
    def orders(context):
        context.logger.info("copied", extra={"rows": 3})
        context.logger.info("done")

    number = workshop.ask("orders", date(2025, 1, 15))
    workshop.run()
    lines = [record for record in caplog.records if record.name == "flowstone.asset"]
    assert [line.getMessage() for line in lines] == ["copied", "done"]
    assert lines[0].rows == 3
    for line in lines:
        assert (line.asset, line.partition, line.attempt) == ("orders", "2025-01-15", 1)
        assert (line.materialization, line.run_id) == (number, workshop.get(number).run_id)


@pytest.mark.parametrize(
    ("result", "error"),
    [
        ("text", "a value of type str"),
        ([1], "a value of type list"),
        ({"made": date(2025, 1, 1)}, "the returned metadata['made'] is not JSON: it is a date"),
        ({1: "one"}, "its key 1 is not a plain string"),
        ({"big": "x" * 300_000}, "at most 262,144 are allowed"),
        ((n for n in ()), "a value of type generator"),
    ],
    ids=["text", "list", "date", "key", "size", "generator"],
)
def test_what_cannot_be_kept_is_a_failed_attempt(workshop, result, error):
    workshop.asset(name="orders", max_attempts=1)(lambda context: result)
    number = workshop.ask("orders")
    workshop.run()
    assert workshop.get(number).state is DISCARDED
    assert error in workshop.get(number).error


def test_a_coroutine_is_closed_and_fails_the_attempt(workshop):
    async def work():
        """Never awaited, which would be a warning, and so an error here."""

    workshop.asset(name="orders", max_attempts=1)(lambda context: work())
    number = workshop.ask("orders")
    workshop.run()
    assert "a value of type coroutine" in workshop.get(number).error


# -- failures


def test_failures_are_retried_with_backoff_then_discarded_and_every_error_is_kept(workshop):
    @workshop.asset(max_attempts=3, backoff="10s", backoff_limit="15s")
    def orders(context):
        raise OSError(f"no {context.attempt}")

    number = workshop.ask("orders")
    for attempt, limit in ((1, 10), (2, 15)):
        assert workshop.run() == 1
        waiting = workshop.get(number)
        assert (waiting.state, waiting.attempt) == (RETRYING, attempt)
        assert waiting.error == f"OSError: no {attempt}"
        delay = waiting.available_at - workshop.clock.now()
        assert timedelta(0) <= delay <= timedelta(seconds=limit)
        if delay:
            workshop.clock.advance(delay - timedelta.resolution)
            assert workshop.run() == 0
            workshop.clock.advance(timedelta.resolution)
    assert workshop.run() == 1
    ended = workshop.get(number)
    assert (ended.state, ended.attempt, ended.error) == (DISCARDED, 3, "OSError: no 3")
    attempts = workshop.store.materializations.attempts(number)
    assert [attempt.error for attempt in attempts] == [f"OSError: no {n}" for n in (1, 2, 3)]
    assert {attempt.outcome for attempt in attempts} == {AttemptOutcome.FAILED}
    workshop.clock.advance(LONG)
    assert workshop.run() == 0


def test_the_backoff_doubles_up_to_its_limit_with_jitter(workshop):
    @workshop.asset(backoff="10s", backoff_limit="15s")
    def orders(context):
        raise OSError

    numbers = [workshop.ask("orders", f"tenant-{n}") for n in range(60)]
    longest = []
    for _ in range(3):
        assert workshop.run() == 60
        now = workshop.clock.now()
        delays = [workshop.get(number).available_at - now for number in numbers]
        longest.append(max(delays).total_seconds())
        assert len(set(delays)) > 50
        workshop.clock.advance(15)
    assert 5 < longest[0] <= 10
    assert 10 < longest[1] <= 15
    assert 10 < longest[2] <= 15


def test_every_attempt_has_the_same_run_id_and_the_same_events(workshop):
    told = []

    @workshop.asset(backoff="1s")
    def orders(context):
        told.append((context.run_id, context.payloads))
        if context.attempt < 3:
            raise OSError

    workshop.ask("orders", payload={"file": "a.csv"})
    for _ in range(3):
        workshop.run()
        workshop.clock.advance(5)
    assert len(told) == 3
    assert set(map(repr, told)) == {repr(told[0])}
    assert told[0][1] == ({"file": "a.csv"},)


def test_retry_later_uses_up_no_attempt(workshop):
    @workshop.asset(max_attempts=1)
    def orders(context):
        if context.attempt < 4:
            raise RetryLater(60, "the warehouse is asleep")

    number = workshop.ask("orders")
    for _ in range(3):
        assert workshop.run() == 1
        waiting = workshop.get(number)
        assert waiting.state is RETRYING
        assert waiting.error == "the warehouse is asleep"
        assert waiting.available_at == workshop.clock.now() + timedelta(seconds=60)
        assert workshop.run() == 0
        workshop.clock.advance(60)
    workshop.run()
    assert workshop.get(number).state is COMPLETED
    assert workshop.outcomes(number) == [AttemptOutcome.RETRY_LATER] * 3 + [
        AttemptOutcome.COMPLETED
    ]


def test_discard_ends_it_at_once(workshop):
    @workshop.asset
    def orders(context):
        raise Discard("no such tenant")

    number = workshop.ask("orders")
    workshop.run()
    ended = workshop.get(number)
    assert (ended.state, ended.attempt, ended.error) == (DISCARDED, 1, "no such tenant")
    assert workshop.outcomes(number) == [AttemptOutcome.DISCARDED]


class Rude(BaseException):
    def __str__(self):
        raise RuntimeError("I have no text")


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (SystemExit(3), "SystemExit: 3"),
        (KeyboardInterrupt(), "KeyboardInterrupt"),
        (GeneratorExit(), "GeneratorExit"),
        (Rude(), "Rude: <its str() raised RuntimeError>"),
        (MemoryError(), "MemoryError"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_P9_whatever_is_raised_fails_its_own_attempt_only(workshop, error, text):
    def fail(context):
        raise error

    workshop.asset(name="bad", max_attempts=1)(fail)
    workshop.asset(name="good")(lambda context: None)
    engine = workshop.engine(threads=1)
    engine.start()
    bad, good = workshop.ask("bad"), workshop.ask("good")
    assert engine.drain(LONG)
    assert (workshop.get(bad).state, workshop.get(bad).error) == (DISCARDED, text)
    assert workshop.get(good).state is COMPLETED


def test_endless_recursion_is_a_failed_attempt(workshop):
    def orders(context):
        return orders(context)

    workshop.asset(name="orders", max_attempts=1)(orders)
    number = workshop.ask("orders")
    workshop.run()
    assert workshop.get(number).error.startswith("RecursionError")


def test_the_failure_is_logged_with_its_place_and_without_secrets(workshop, caplog):
    @workshop.asset(name="orders")
    def hunter2secret(context):
        raise OSError("cannot log in with hunter2secret")

    number = workshop.ask("orders")
    workshop.engine(redact=Redactor(["hunter2secret"])).run_once()
    assert workshop.get(number).error == "OSError: cannot log in with ***"
    (record,) = [record for record in caplog.records if record.getMessage() == "attempt failed"]
    assert record.error == "OSError: cannot log in with ***"
    assert record.materialization == number
    assert f"{__file__}:" in record.stack
    assert "in ***" in record.stack
    assert "hunter2secret" not in str(vars(record).values())


def test_a_partition_that_cannot_be_read_fails_the_attempt(workshop, caplog):
    workshop.asset(name="orders", max_attempts=1)(lambda context: None)
    assets = workshop.pipeline.assets
    now = workshop.clock.now()
    _, made = workshop.store.materializations.materialize(
        assets["orders"], "d:2025-1-1", assets, now
    )
    workshop.run()
    assert "'d:2025-1-1' is not the text of a partition" in workshop.get(made.id).error
    (record,) = [record for record in caplog.records if record.getMessage() == "attempt failed"]
    assert record.partition == "d:2025-1-1"


def test_an_announcement_that_fails_loses_nothing(workshop, caplog):
    def fail(materialization):
        raise RuntimeError("nobody listens")

    workshop.asset(name="orders")(lambda context: None)
    number = workshop.ask("orders")
    assert workshop.engine(announce=fail).run_once() == 1
    assert workshop.get(number).state is COMPLETED
    assert set(messages(caplog)) == {"cannot announce a materialization"}


# -- what depends on what


@pytest.fixture
def diamond(workshop):
    """Four assets, each of which says what it was told about those it depends on."""
    order = []

    def make(context):
        order.append(context.asset)
        return {"of": context.asset, "from": sorted(context.upstream)}

    workshop.asset(name="raw")(make)
    workshop.asset(name="left", depends_on=["raw"])(make)
    workshop.asset(name="right", depends_on=["raw"])(make)
    workshop.asset(name="report", depends_on=["left", "right"])(make)
    return order


@pytest.mark.parametrize("threads", [1, 4])
def test_what_it_depends_on_is_made_first_and_once(workshop, diamond, threads):
    report = workshop.ask("report")
    engine = workshop.engine(threads=threads)
    assert engine.drain(LONG)
    assert Counter(diamond) == Counter(["raw", "left", "right", "report"])
    assert (diamond[0], diamond[3]) == ("raw", "report")
    assert workshop.get(report).metadata == {"of": "report", "from": ["left", "right"]}
    assert PENDING in {item.state for item in workshop.announced if item.asset == "raw"}


def test_what_was_made_before_is_not_made_again(workshop, diamond):
    workshop.ask("raw")
    workshop.run()
    workshop.ask("left")
    workshop.run()
    assert diamond == ["raw", "left"]


def test_followers_become_due_with_the_completion(workshop):
    made = []
    workshop.asset(name="raw")(lambda context: {"rows": 3})

    @workshop.asset(depends_on=["raw"], follow=True)
    def report(context):
        made.append((context.partition, context.upstream, context.events[0].source))

    for partition in ("eu", "us"):
        workshop.ask("raw", partition)
    assert workshop.engine().drain(LONG)
    assert sorted(made) == [
        ("eu", {"raw": {"rows": 3}}, "asset:raw"),
        ("us", {"raw": {"rows": 3}}, "asset:raw"),
    ]
    workshop.ask("raw", "eu")
    workshop.run()
    assert len(made) == 3


def test_what_depends_on_a_discarded_one_is_discarded_with_the_reason(workshop):
    @workshop.asset(max_attempts=1)
    def raw(context):
        raise OSError("gone")

    workshop.asset(name="report", depends_on=["raw"])(lambda context: None)
    number = workshop.ask("report")
    assert workshop.engine().drain(LONG)
    ended = workshop.get(number)
    assert (ended.state, ended.attempt) == (DISCARDED, 0)
    assert "which it depends on, ended discarded" in ended.error
    assert workshop.states(number) == [DISCARDED]


def test_what_was_held_back_for_what_is_no_dependency_any_more_is_made_after_a_restart(workshop):
    workshop.asset(name="raw", max_attempts=2, backoff="1h")(lambda context: 1 / 0)
    workshop.asset(name="report", depends_on=["raw"])(lambda context: None)
    number = workshop.ask("report")
    workshop.run()
    assert workshop.get(number).waiting_for
    workshop.pipeline = Pipeline("later")
    workshop.pipeline.asset(name="report")(lambda context: None)
    workshop.run()
    assert workshop.get(number).state is COMPLETED


# -- threads


def test_as_many_at_once_as_there_are_threads(workshop):
    together = threading.Barrier(3)
    at_once = []
    lock = threading.Lock()

    def orders(context):
        with lock:
            at_once.append(1)
            most = max(len(at_once), workshop.store.materializations.counts()[RUNNING])
        together.wait(PATIENCE)
        with lock:
            at_once.pop()
        return {"most": most}

    workshop.asset(name="orders")(orders)
    numbers = [workshop.ask("orders", f"tenant-{n}") for n in range(9)]
    engine = workshop.engine(threads=3)
    engine.start()
    assert engine.drain(LONG)
    made = [workshop.get(number) for number in numbers]
    assert {item.state for item in made} == {COMPLETED}
    assert max(item.metadata["most"] for item in made) == 3


def test_P1_one_that_hangs_does_not_hold_up_the_others(workshop):
    hanging = Gate()
    workshop.asset(name="hanging")(hanging)
    workshop.asset(name="orders")(lambda context: None)
    engine = workshop.engine(threads=2)
    engine.start()
    workshop.ask("hanging")
    engine.wake()
    assert hanging.running.wait(PATIENCE)
    numbers = [workshop.ask("orders", f"tenant-{n}") for n in range(5)]
    engine.wake()
    assert not drained_in(engine, workshop.clock, seconds=1)
    while any(workshop.get(number).state is not COMPLETED for number in numbers):
        assert engine.alive
    hanging.go.set()
    assert engine.drain(LONG)


def drained_in(engine, clock, seconds):
    """Drain in a thread of its own while so many seconds pass."""
    results = []
    thread = threading.Thread(
        target=lambda: results.append(engine.drain(timedelta(seconds=seconds))), daemon=True
    )
    sleepers = clock.sleepers
    thread.start()
    clock.wait_for_sleepers(sleepers + 1)
    clock.advance(seconds)
    thread.join(PATIENCE)
    (result,) = results
    return result


def test_the_same_partition_is_never_made_twice_at_once(workshop):
    gate = Gate()
    workshop.asset(name="orders")(gate)
    engine = workshop.engine()
    engine.start()
    first = workshop.ask("orders")
    engine.wake()
    assert gate.running.wait(PATIENCE)
    second = workshop.ask("orders")
    assert first != second
    workshop.clock.wait_for_sleepers()
    engine.wake()
    workshop.clock.wait_for_sleepers()
    assert workshop.get(second).waiting_for == f"the run before it, #{first}"
    assert gate.calls == 1
    gate.go.set()
    assert engine.drain(LONG)
    assert gate.calls == 2


def test_what_others_commit_is_found_unasked(workshop):
    gate = Gate()
    workshop.asset(name="orders")(gate)
    engine = workshop.engine()
    engine.start()
    workshop.clock.wait_for_sleepers()
    workshop.ask("orders")
    workshop.clock.advance(CLAIM_SECONDS)
    assert gate.running.wait(PATIENCE)
    gate.go.set()
    assert engine.drain(LONG)


def test_a_retry_starts_when_it_is_due_and_not_at_the_next_look(workshop):
    gate = Gate()
    gate.go.set()

    @workshop.asset
    def orders(context):
        if context.attempt == 1:
            raise RetryLater(0.25)
        return gate(context)

    number = workshop.ask("orders")
    engine = workshop.engine()
    engine.start()
    while workshop.get(number).state is not RETRYING:
        assert engine.alive
    workshop.clock.wait_for_sleepers()
    workshop.clock.advance(0.25)
    assert gate.running.wait(PATIENCE)
    assert engine.drain(LONG)


# -- drain


def test_drain_waits_for_followers_and_leaves_what_is_due_later(workshop):
    workshop.asset(name="raw")(lambda context: None)

    @workshop.asset(depends_on=["raw"], follow=True)
    def report(context):
        raise RetryLater(60)

    workshop.asset(name="mail", depends_on=["report"])(lambda context: None)
    workshop.ask("mail")
    raw = [workshop.ask("raw", f"tenant-{n}") for n in range(5)]
    engine = workshop.engine()
    engine.start()
    assert engine.drain(LONG)
    assert {workshop.get(number).state for number in raw} == {COMPLETED}
    reports = workshop.store.materializations.all(asset="report")
    assert {report.state for report in reports} == {RETRYING}
    assert len(reports) == 6
    (mail,) = workshop.store.materializations.all(asset="mail")
    assert (mail.state, mail.available_at) == (PENDING, None)


@pytest.mark.parametrize("drain", [True, False])
def test_nothing_is_left_when_more_is_held_back_than_one_look_takes(workshop, drain, monkeypatch):
    monkeypatch.setattr("flowstone_core.store.claims.LOOK_LIMIT", 1)
    workshop.asset(name="raw")(lambda context: None)
    workshop.asset(name="report", depends_on=["raw"])(lambda context: None)
    for n in range(5):
        workshop.ask("report", f"tenant-{n}")
    engine = workshop.engine()
    assert engine.drain() if drain else engine.run_once() == 10
    assert workshop.store.materializations.counts()[COMPLETED] == 10


def test_drain_of_nothing_returns_at_once(workshop):
    assert workshop.engine().drain()


def test_everything_is_announced_before_drain_returns(workshop):
    workshop.asset(name="orders")(lambda context: None)
    engine = workshop.engine()
    engine.start()
    for round_ in range(20):
        number = workshop.ask("orders", f"tenant-{round_}")
        assert engine.drain(LONG)
        assert workshop.states(number) == [RUNNING, COMPLETED]


def test_drain_goes_on_when_the_store_is_back(workshop, caplog):
    workshop.asset(name="orders")(lambda context: None)
    number = workshop.ask("orders")
    queue = Queue(workshop.store.queue, claim=[locked()])
    engine = workshop.engine(queue)
    results = []
    thread = threading.Thread(target=lambda: results.append(engine.drain()), daemon=True)
    thread.start()
    assert queue.failed.wait(PATIENCE)
    workshop.pass_time_until(lambda: results)
    assert results == [True]
    assert workshop.get(number).state is COMPLETED
    assert messages(caplog) == [
        "cannot claim materializations",
        "claiming of materializations resumed",
    ]


def test_drain_of_a_store_that_refuses_is_an_error_and_not_a_hang(workshop):
    engine = workshop.engine(Queue(workshop.store.queue, claim=[StoreError("it is read-only")]))
    with pytest.raises(StoreError, match="read-only"):
        engine.drain()


# -- what is lost, late or given back


def test_a_cancelled_function_is_told_and_its_result_is_discarded(workshop, caplog):
    gate = Gate({"rows": 3})
    workshop.asset(name="orders")(gate)
    number = workshop.ask("orders")
    engine = workshop.engine()
    engine.start()
    assert gate.running.wait(PATIENCE)
    assert not gate.context.cancelled
    workshop.store.materializations.cancel(number, workshop.pipeline.assets, workshop.clock.now())
    for _ in range(2):
        workshop.clock.wait_for_sleepers()
        workshop.clock.advance(CLAIM_SECONDS)
    workshop.clock.wait_for_sleepers()
    assert gate.context.cancelled
    gate.go.set()
    assert engine.drain(LONG)
    assert workshop.get(number).state is CANCELLED
    assert workshop.get(number).metadata is None
    assert workshop.outcomes(number) == [AttemptOutcome.CANCELLED]
    assert messages(caplog) == [
        "running attempt cancelled or taken over",
        "result discarded: attempt no longer current",
    ]


def test_an_attempt_that_has_just_ended_is_not_taken_for_a_lost_one(workshop, caplog):
    workshop.asset(name="orders")(lambda context: None)
    workshop.ask("orders")

    class Nosy(Queue):
        def finish(self, *args):
            changed = self.queue.finish(*args)
            workshop.clock.advance(CLAIM_SECONDS)
            assert not engine.drain(timedelta(0))
            return changed

    engine = workshop.engine(Nosy(workshop.store.queue))
    assert engine.run_once() == 1
    assert messages(caplog) == []


def test_what_a_dead_runner_held_is_made_again_and_its_late_result_is_discarded(workshop, caplog):
    gate = Gate()
    workshop.asset(name="orders")(gate)
    number = workshop.ask("orders")
    lost = workshop.engine()
    lost.start()
    assert gate.running.wait(PATIENCE)
    gate.running.clear()
    workshop.store.runners.stop(lost.setup.runner_id, workshop.clock.now())
    other = workshop.engine()
    other.start()
    assert gate.running.wait(PATIENCE)
    assert workshop.outcomes(number) == [AttemptOutcome.LOST, None]
    assert "was lost: its runner on host" in workshop.get(number).error
    gate.go.set()
    assert lost.drain(LONG)
    assert other.drain(LONG)
    assert workshop.get(number).state is COMPLETED
    assert workshop.outcomes(number) == [AttemptOutcome.LOST, AttemptOutcome.COMPLETED]
    assert "result discarded: attempt no longer current" in messages(caplog)
    assert gate.calls == 2


def test_a_lease_that_ends_is_noticed_by_a_running_engine(workshop):
    workshop.asset(name="orders")(lambda context: None)
    number = workshop.ask("orders")
    dead = workshop.engine()
    claims = workshop.store.queue.claim(
        dead.setup.runner_id, 1, workshop.pipeline.assets, workshop.clock.now()
    ).claims
    workshop.clock.advance(timedelta(days=1))
    other = workshop.engine()
    workshop.store.runners.renew(dead.setup.runner_id, workshop.clock.now() + timedelta(seconds=15))
    assert other.run_once() == 0
    workshop.clock.advance(RECOVER_SECONDS)
    assert other.run_once() == 0
    workshop.clock.advance(RECOVER_SECONDS)
    assert other.run_once() == 1
    assert workshop.get(number).state is COMPLETED
    assert workshop.states(number) == [RETRYING, RUNNING, COMPLETED]
    assert workshop.store.queue.stale_tokens({claims[0].token}) == {claims[0].token}


def test_stop_waits_for_what_runs(workshop):
    gate = Gate()
    workshop.asset(name="orders")(gate)
    number = workshop.ask("orders")
    engine = workshop.engine()
    engine.start()
    assert gate.running.wait(PATIENCE)
    later = workshop.ask("orders", "later")
    results = []
    thread = threading.Thread(target=lambda: results.append(engine.stop(LONG)), daemon=True)
    thread.start()
    while engine.alive or workshop.clock.sleepers < 1:
        assert thread.is_alive()
    gate.go.set()
    thread.join(PATIENCE)
    assert results == [True]
    assert workshop.get(number).state is COMPLETED
    assert workshop.get(later).state is PENDING


def test_what_does_not_end_within_the_grace_time_is_given_back_and_counts_as_no_attempt(workshop):
    gate = Gate()
    workshop.asset(name="orders", max_attempts=1)(gate)
    number = workshop.ask("orders")
    engine = workshop.engine()
    engine.start()
    assert gate.running.wait(PATIENCE)
    assert not engine.stop(timedelta(0))
    assert gate.context.cancelled
    given_back = workshop.get(number)
    assert (given_back.state, given_back.max_attempts) == (RETRYING, 2)
    gate.go.set()
    assert engine.drain(LONG)
    workshop.run()
    assert workshop.get(number).state is COMPLETED
    assert workshop.outcomes(number) == [AttemptOutcome.RELEASED, AttemptOutcome.COMPLETED]


def test_the_grace_time_ends(workshop):
    gate = Gate()
    workshop.asset(name="orders")(gate)
    workshop.ask("orders")
    engine = workshop.engine()
    engine.start()
    assert gate.running.wait(PATIENCE)
    results = []
    thread = threading.Thread(
        target=lambda: results.append(engine.stop(timedelta(seconds=30))), daemon=True
    )
    thread.start()
    while engine.alive or workshop.clock.sleepers < 1:
        assert thread.is_alive()
    workshop.clock.advance(29)
    assert thread.is_alive()
    workshop.clock.advance(1)
    thread.join(PATIENCE)
    assert results == [False]
    gate.go.set()
    assert engine.drain(LONG)


def test_what_cannot_be_given_back_is_left_to_the_lease(workshop, caplog):
    gate = Gate()
    workshop.asset(name="orders")(gate)
    number = workshop.ask("orders")
    engine = workshop.engine(Queue(workshop.store.queue, release=[locked()]))
    engine.start()
    assert gate.running.wait(PATIENCE)
    assert not engine.stop(timedelta(0))
    assert "cannot release attempts" in caplog.text
    assert workshop.get(number).state is RUNNING
    workshop.store.runners.stop(engine.setup.runner_id, workshop.clock.now())
    gate.go.set()
    assert engine.drain(LONG)


def test_what_is_claimed_while_it_stops_is_given_back(workshop):
    called = []
    workshop.asset(name="orders")(called.append)
    number = workshop.ask("orders")

    class Stopping(Queue):
        def claim(self, *args):
            engine.stop(timedelta(0))
            return self.queue.claim(*args)

    engine = workshop.engine(Stopping(workshop.store.queue))
    assert engine.run_once() == 0
    assert called == []
    assert workshop.outcomes(number) == [AttemptOutcome.RELEASED]


# -- a store that is not there


def test_an_outage_while_claiming_is_logged_once_and_survived(workshop, caplog):
    gate = Gate()
    gate.go.set()
    workshop.asset(name="orders")(gate)
    workshop.ask("orders")
    engine = workshop.engine(Queue(workshop.store.queue, claim=[locked(), locked(), locked()]))
    engine.start()
    workshop.pass_time_until(gate.running.is_set)
    assert engine.drain(LONG)
    assert messages(caplog) == [
        "cannot claim materializations",
        "claiming of materializations resumed",
    ]
    assert not any(record.exc_info for record in caplog.records)


def test_a_claim_whose_answer_got_lost_is_made_all_the_same(workshop):
    told, claimed_at = [], []

    class Lossy(Queue):
        def claim(self, *args):
            found = self.queue.claim(*args)
            if "orders" in {claim.materialization.asset for claim in found.claims}:
                claimed_at.append(workshop.clock.monotonic())
            if len(claimed_at) == 1 and not self.failed.is_set():
                self.failed.set()
                raise StoreUnavailableError("connection lost during commit")
            return found

    gate = Gate()
    workshop.asset(name="slow")(gate)
    workshop.asset(name="orders", max_attempts=1)(lambda context: told.append(context.attempt))
    engine = workshop.engine(Lossy(workshop.store.queue))
    workshop.ask("slow")
    engine.start()
    assert gate.running.wait(PATIENCE)
    number = workshop.ask("orders")
    workshop.pass_time_until(lambda: workshop.get(number).state is COMPLETED)
    gate.go.set()
    assert engine.drain(LONG)
    assert workshop.outcomes(number) == [AttemptOutcome.RELEASED, AttemptOutcome.COMPLETED]
    assert told == [2]
    assert claimed_at[1] - claimed_at[0] <= 2, "not only at the next regular look"
    assert gate.calls == 1


def test_an_error_nobody_foresaw_is_logged_with_its_trace_and_survived(workshop, caplog):
    gate = Gate()
    gate.go.set()
    workshop.asset(name="orders")(gate)
    workshop.ask("orders")
    engine = workshop.engine(
        Queue(workshop.store.queue, stale_tokens=[], recover=[KeyError("bug")])
    )
    engine.start()
    workshop.pass_time_until(gate.running.is_set)
    assert engine.drain(LONG)
    assert "KeyError: 'bug'" in caplog.text


def test_an_end_that_cannot_be_stored_is_stored_when_it_can(workshop, caplog):
    gate = Gate({"rows": 3})
    gate.go.set()
    workshop.asset(name="orders")(gate)
    number = workshop.ask("orders")
    engine = workshop.engine(Queue(workshop.store.queue, finish=[locked(), locked()]))
    engine.start()
    workshop.pass_time_until(lambda: workshop.get(number).state is COMPLETED)
    assert engine.drain(LONG)
    assert gate.calls == 1
    assert workshop.get(number).metadata == {"rows": 3}
    assert messages(caplog) == [
        "cannot store the result of an attempt; trying again until it is stored",
        "result of an attempt stored after a delay",
    ]


def test_an_end_that_was_stored_though_the_answer_got_lost_is_not_stored_twice(workshop):
    workshop.asset(name="raw")(lambda context: {"rows": 3})
    workshop.asset(name="report", depends_on=["raw"], follow=True)(lambda context: None)
    number = workshop.ask("raw")

    class Lossy(Queue):
        def finish(self, *args):
            changed = self.queue.finish(*args)
            if not self.failed.is_set():
                self.failed.set()
                raise StoreUnavailableError("connection lost during commit")
            return changed

    engine = workshop.engine(Lossy(workshop.store.queue))
    engine.start()
    workshop.pass_time_until(lambda: workshop.store.materializations.counts()[COMPLETED] == 2)
    assert engine.drain(LONG)
    assert workshop.outcomes(number) == [AttemptOutcome.COMPLETED]
    assert len(workshop.store.materializations.all(asset="report")) == 1


def test_stopping_ends_the_wait_for_the_store_and_the_attempt_is_made_again(workshop):
    gate = Gate()
    gate.go.set()
    workshop.asset(name="orders")(gate)
    number = workshop.ask("orders")
    queue = Queue(workshop.store.queue, finish=[locked()] * 1000)
    engine = workshop.engine(queue)
    engine.start()
    assert queue.failed.wait(PATIENCE)
    assert not engine.stop(timedelta(0))
    assert engine.drain(LONG)
    workshop.run()
    assert workshop.get(number).state is COMPLETED
    assert gate.calls == 2


def test_a_result_that_the_store_refuses_is_a_failed_attempt(workshop, caplog):
    workshop.asset(name="orders", max_attempts=1)(lambda context: {"rows": 3})
    number = workshop.ask("orders")
    queue = Queue(workshop.store.queue, finish=[ValueError("no such column")])
    assert workshop.engine(queue).run_once() == 1
    ended = workshop.get(number)
    assert (ended.state, ended.error) == (DISCARDED, "ValueError: no such column")
    assert "cannot store a result" in messages(caplog)


def test_a_failure_that_the_store_refuses_is_tried_again(workshop):
    @workshop.asset(max_attempts=1)
    def orders(context):
        raise OSError("down")

    number = workshop.ask("orders")
    engine = workshop.engine(Queue(workshop.store.queue, finish=[ValueError("bug")]))
    engine.start()
    workshop.pass_time_until(lambda: workshop.get(number).state is DISCARDED)
    assert engine.drain(LONG)
    assert workshop.get(number).error == "OSError: down"


# -- timeouts --------------------------------------------------------------------------------------


def test_an_attempt_past_its_timeout_has_failed_and_the_next_one_is_made(workshop, caplog):
    gate = Gate({"late": True})
    workshop.asset(name="slow", timeout="10s", backoff="1s", max_attempts=2)(gate)
    number = workshop.ask("slow")
    engine = workshop.engine()
    engine.start()
    assert gate.running.wait(PATIENCE)
    gate.running.clear()
    first = gate.context
    workshop.pass_time_until(gate.running.is_set)
    assert first.cancelled
    assert workshop.outcomes(number) == [AttemptOutcome.FAILED, None]
    said = workshop.store.materializations.attempts(number)[0].error
    assert "the attempt did not end within its timeout of 10 s" in said
    assert "a thread cannot be killed" in said
    workshop.pass_time_until(lambda: workshop.get(number).state is DISCARDED)
    gate.go.set()
    workshop.pass_time_until(lambda: caplog.text.count("late result discarded") == 2)
    assert workshop.get(number).metadata is None
    assert workshop.outcomes(number) == [AttemptOutcome.FAILED] * 2


def test_an_attempt_within_its_timeout_is_not_hurried(workshop):
    gate = Gate({"made": 1})
    workshop.asset(name="slow", timeout="1h")(gate)
    number = workshop.ask("slow")
    engine = workshop.engine()
    engine.start()
    assert gate.running.wait(PATIENCE)
    for _ in range(30):
        workshop.clock.advance(60)
    gate.go.set()
    assert engine.drain()
    assert workshop.get(number).metadata == {"made": 1}


def test_others_are_made_while_more_hang_than_there_are_threads(workshop):
    gate = Gate()
    workshop.asset(name="slow", timeout="10s", max_attempts=1)(gate)
    workshop.asset(name="quick")(lambda context: {"made": 1})
    hanging = [workshop.ask("slow", f"p{number}") for number in range(4)]
    quick = workshop.ask("quick")
    engine = workshop.engine(threads=2)
    engine.start()
    workshop.pass_time_until(lambda: workshop.get(quick).state is COMPLETED)
    assert gate.calls >= 2
    workshop.pass_time_until(lambda: all(workshop.get(n).state is DISCARDED for n in hanging))
    gate.go.set()

"""Local engine: lost, late and released attempts, store outages, timeouts."""

import threading
from datetime import timedelta

from flowstone_core.errors import StoreUnavailableError
from flowstone_core.model.materialization import AttemptOutcome
from flowstone_core.runtime.engine.held_attempts import RECOVER_SECONDS
from flowstone_core.runtime.engine.local_engine import CLAIM_SECONDS
from tests.runtime.engine.workshop import (
    CANCELLED,
    COMPLETED,
    DISCARDED,
    LONG,
    PATIENCE,
    PENDING,
    RETRYING,
    RUNNING,
    Gate,
    Queue,
    locked,
    messages,
)

# -- what is lost, late or given back


def test_cancelled_attempt_is_signalled_and_discarded(workshop, caplog):
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


def test_attempt_that_just_ended_is_not_cancelled(workshop, caplog):
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


def test_attempt_of_a_dead_runner_is_repeated_and_late_result_void(workshop, caplog):
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


def test_engine_recovers_attempts_of_an_expired_lease(workshop):
    workshop.asset(name="orders")(lambda context: None)
    number = workshop.ask("orders")
    dead = workshop.engine()
    claims = workshop.store.queue.claim(
        dead.setup.runner_id, 1, workshop.pipeline.assets, workshop.clock.now()
    ).claims
    workshop.clock.advance(timedelta(days=1))
    other = workshop.engine()
    workshop.store.runners.beat(dead.setup.runner_id, workshop.clock.now(), timedelta(seconds=15))
    assert other.run_once() == 0
    workshop.clock.advance(RECOVER_SECONDS)
    assert other.run_once() == 0
    workshop.clock.advance(RECOVER_SECONDS)
    assert other.run_once() == 1
    assert workshop.get(number).state is COMPLETED
    assert workshop.states(number) == [RETRYING, RUNNING, COMPLETED]
    assert workshop.store.queue.stale_tokens({claims[0].token}) == {claims[0].token}


def test_engine_stop_waits_for_running_attempts(workshop):
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


def test_attempt_beyond_the_grace_time_is_released_uncounted(workshop):
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


def test_engine_stop_returns_after_the_grace_time(workshop):
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


def test_attempts_that_cannot_be_released_wait_for_the_lease(workshop, caplog):
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


def test_claims_during_stop_are_released(workshop):
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
    assert workshop.outcomes(number) == []


# -- a store that is not there


def test_engine_claim_outage_is_logged_once(workshop, caplog):
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


def test_claim_with_a_lost_answer_is_run(workshop):
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


def test_engine_unforeseen_error_is_logged_with_traceback(workshop, caplog):
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


def test_result_is_stored_when_the_store_is_available_again(workshop, caplog):
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


def test_result_with_a_lost_answer_is_stored_once(workshop):
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
    assert len(workshop.store.materializations.latest(asset="report")) == 1


def test_engine_stop_ends_the_wait_for_the_store(workshop):
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


def test_result_refused_by_the_store_is_a_failed_attempt(workshop, caplog):
    workshop.asset(name="orders", max_attempts=1)(lambda context: {"rows": 3})
    number = workshop.ask("orders")
    queue = Queue(workshop.store.queue, finish=[ValueError("no such column")])
    assert workshop.engine(queue).run_once() == 1
    ended = workshop.get(number)
    assert (ended.state, ended.error) == (DISCARDED, "ValueError: no such column")
    assert "cannot store a result" in messages(caplog)


def test_failure_refused_by_the_store_is_written_again(workshop):
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


def test_attempt_past_its_timeout_fails_and_is_retried(workshop, caplog):
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


def test_attempt_within_its_timeout_completes(workshop):
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


def test_engine_with_all_threads_hanging_runs_others(workshop):
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

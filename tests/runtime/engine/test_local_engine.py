"""Local engine: calls of asset functions, their results, failures and retries."""

import logging
from datetime import date, timedelta

import pytest
import sqlalchemy as sa

from flowstone_core.errors import Discard, RetryLater
from flowstone_core.model.materialization import AttemptOutcome
from flowstone_core.model.redaction import Redactor
from flowstone_core.store import schema
from tests.runtime.engine.workshop import (
    COMPLETED,
    DISCARDED,
    LONG,
    PENDING,
    RETRYING,
    RUNNING,
    messages,
)

# -- what an asset function is told, and what it returns


def test_attempt_completes_and_stores_its_metadata(workshop):
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


def test_asset_log_lines_have_ids_and_the_authors_fields(workshop, caplog):
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
def test_attempt_with_an_unstorable_result_fails(workshop, result, error):
    workshop.asset(name="orders", max_attempts=1)(lambda context: result)
    number = workshop.ask("orders")
    workshop.run()
    assert workshop.get(number).state is DISCARDED
    assert error in workshop.get(number).error


def test_attempt_returning_a_coroutine_fails_and_closes_it(workshop):
    async def work():
        """Never awaited, which would be a warning, and so an error here."""

    workshop.asset(name="orders", max_attempts=1)(lambda context: work())
    number = workshop.ask("orders")
    workshop.run()
    assert "a value of type coroutine" in workshop.get(number).error


# -- failures


def test_attempt_failures_are_retried_then_discarded_with_all_errors(workshop):
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


def test_attempt_backoff_doubles_to_its_limit_with_jitter(workshop):
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


def test_attempts_share_one_run_id_and_the_same_events(workshop):
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


def test_discard_ends_the_materialization_at_once(workshop):
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
def test_P9_any_exception_fails_its_own_attempt_only(workshop, error, text):
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


def test_attempt_with_endless_recursion_fails(workshop):
    def orders(context):
        return orders(context)

    workshop.asset(name="orders", max_attempts=1)(orders)
    number = workshop.ask("orders")
    workshop.run()
    assert workshop.get(number).error.startswith("RecursionError")


def test_attempt_failure_is_logged_with_place_and_without_secrets(workshop, caplog):
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


def test_attempt_with_an_unreadable_partition_fails(workshop, caplog):
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


def test_failing_publication_loses_nothing(workshop, caplog):
    def fail(materialization):
        raise RuntimeError("nobody listens")

    workshop.asset(name="orders")(lambda context: None)
    number = workshop.ask("orders")
    assert workshop.engine(publish=fail).run_once() == 1
    assert workshop.get(number).state is COMPLETED
    assert set(messages(caplog)) == {"cannot publish a materialization"}


def test_engine_claims_nothing_while_its_runner_must_not(workshop):
    workshop.asset(name="orders")(lambda context: None)
    number = workshop.ask("orders")
    allowed = []
    engine = workshop.engine(may_claim=lambda: bool(allowed))
    assert engine.drain(timedelta(0)) is False
    assert workshop.get(number).state is PENDING
    allowed.append(True)
    assert engine.drain() is True
    assert workshop.get(number).state is COMPLETED


@pytest.mark.parametrize("due", ["soon", "9999-01-01T00:00:00"])
def test_materialization_with_an_unreadable_time_stops_no_claim(workshop, due):
    workshop.asset(name="orders")(lambda context: None)
    damaged = workshop.ask("orders", "damaged")
    database = workshop.store._database
    if database.is_sqlite:  # PostgreSQL takes nothing but a time
        with database.transaction() as connection:
            change = sa.update(schema.materializations).values(available_at=sa.text(f"'{due}'"))
            connection.execute(change.where(schema.materializations.c.id == damaged))
    number = workshop.ask("orders")
    engine = workshop.engine()
    engine.start()
    assert engine.drain(LONG)
    assert engine.problem is None
    assert workshop.get(number).state is COMPLETED


def test_run_once_without_a_lease_claims_nothing_and_ends(workshop):
    workshop.asset(name="made")(lambda context: None)
    number = workshop.ask("made")
    allowed = []
    engine = workshop.engine(may_claim=lambda: bool(allowed))
    assert engine.run_once() == 0
    assert workshop.outcomes(number) == []
    allowed.append(True)
    assert engine.run_once() == 1

"""Triggers of plugins that return rubbish or raise anything: their schedules fail, no other."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TypeAlias, cast

import pytest

from flowstone_core import Flowstone, Pipeline, Trigger, ValidationError
from flowstone_core.config.file.reader import Config
from flowstone_core.config.validation import validate
from flowstone_core.model.tick import TickOutcome
from flowstone_core.plugin.contributions import Contribution
from flowstone_core.plugin.discovery import discover
from flowstone_core.plugin.time_limit import TimeLimit
from flowstone_core.testing import FakeClock

PATIENCE = 300

Answer: TypeAlias = Callable[[datetime], object]


class Odd(Trigger):
    """Answers what a test says."""

    answer: Answer

    def next_fire(self, after: datetime) -> datetime | None:
        return type(self).answer(after)  # type: ignore[return-value]


def odd(answer: Answer) -> Trigger:
    kind: type[Odd] = type("Odd", (Odd,), {"answer": staticmethod(answer)})
    return kind("whatever")


def raises(error: BaseException) -> Answer:
    def answer(after: datetime) -> object:
        raise error

    return answer


class Own(BaseException):
    """Not even an Exception."""


class NoTextError(Exception):
    def __str__(self) -> str:
        raise SystemExit("I have no text")


async def coroutine(after: datetime) -> object:
    return after


def generator(after: datetime) -> Iterator[object]:
    yield after


class Timeless(datetime):
    """Raises when it is looked at."""

    def utcoffset(self) -> timedelta | None:
        raise SystemExit("no offset today")


WHO = "the trigger Odd for 'whatever' returned "
ANSWERS: dict[str, tuple[Answer, str]] = {
    "same": (lambda after: after, "which is not later than"),
    "past": (lambda after: after - timedelta(days=1), "which is not later than"),
    "naive": (lambda after: datetime(2030, 1, 1), WHO + "the naive 2030-01-01"),  # noqa: DTZ001
    "date": (lambda after: date(2030, 1, 1), WHO + "a value of type date; it must return a dat"),
    "text": (lambda after: "soon", WHO + "a value of type str"),
    "flag": (lambda after: True, WHO + "a value of type bool"),
    "coroutine": (coroutine, WHO + "a value of type coroutine"),
    "generator": (generator, WHO + "a value of type generator"),
    "timeless": (lambda after: Timeless(2030, 1, 1, tzinfo=UTC), "SystemExit: no offset today"),
    "arity": (cast("Answer", list[int]().clear), "TypeError: "),
    "exits": (raises(SystemExit(3)), "SystemExit: 3"),
    "interrupts": (raises(KeyboardInterrupt()), "KeyboardInterrupt"),
    "is_cancelled": (raises(CancelledError()), "CancelledError"),
    "closes": (raises(GeneratorExit()), "GeneratorExit"),
    "has_its_own": (raises(Own("of its own")), "Own: of its own"),
    "no_text": (raises(NoTextError()), "NoTextError: <its str() raised SystemExit>"),
    "ansi": (raises(OSError("\x1b[2Jred\x9b1m")), "OSError: red\\x9b1m"),
    "long": (raises(OSError("x" * 10_000_000)), "x [9998000 more characters]"),
}


@pytest.fixture
def store(migrated_file: Path, tmp_path: Path) -> str:
    path = tmp_path / "schedules.db"
    shutil.copyfile(migrated_file, path)
    return f"sqlite:///{path}"


def test_P4_P9_P19_faulty_trigger_affects_only_its_schedule(
    store: str, fake_clock: FakeClock
) -> None:
    pipeline = Pipeline("ward")
    pipeline.asset(name="report")(lambda context: None)
    for name, (answer, _) in ANSWERS.items():
        pipeline.schedule("report", name=name, trigger=odd(answer))
    pipeline.schedule("report", name="well", cron="* * * * *", partition="${instant}")
    with Flowstone(pipeline, store=store, clock=fake_clock) as flow:
        for _ in range(3):
            assert flow.run(once=True)
            fake_clock.advance(60)
        for name, (_, said) in ANSWERS.items():
            ticks = flow.ticks(source=f"schedule:{name}")
            assert ticks, name
            assert {tick.outcome for tick in ticks} == {TickOutcome.FAILED}, name
            assert all(said in (tick.error or "") for tick in ticks), (name, ticks[0].error)
        assert len(flow.events(source="schedule:well")) == 2
        shown = {status.name: status for status in flow.list_schedules()}
        assert {name for name, status in shown.items() if status.health == "broken"} == set(ANSWERS)
        assert all(said in (shown[name].error or "") for name, (_, said) in ANSWERS.items())
        for name in ANSWERS:
            flow.schedules.pause(name)
            flow.schedules.resume(name)


def test_P1_hanging_trigger_blocks_neither_a_listing_nor_a_start(
    store: str,
    fake_clock: FakeClock,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    let_go, threads = threading.Event(), []

    def hang(after: datetime) -> None:
        threads.append(threading.current_thread())
        fake_clock.wait_for_sleepers()
        fake_clock.advance(30)
        assert let_go.wait(PATIENCE)

    def flow(answer: Answer, **options: str) -> Flowstone:
        pipeline = Pipeline("ward")
        pipeline.asset(name="report")(lambda context: None)
        pipeline.schedule("report", name="odd", trigger=odd(answer), **options)
        pipeline.schedule("report", name="well", cron="* * * * *")
        return Flowstone(pipeline, store=store, clock=fake_clock)

    for module in ("app.status", "runtime.coordination.registration"):
        deadline = partial(TimeLimit, clock=fake_clock)
        monkeypatch.setattr(f"flowstone_core.{module}.TimeLimit", deadline)
    with flow(lambda after: None) as before:
        assert before.run(once=True)
    with flow(hang, start="2025-01-01") as hanging:
        shown = {status.name: status for status in hanging.list_schedules()}
        assert shown["odd"].error == "timed out after 30 s"
        assert (shown["odd"].health, shown["well"].health) == ("broken", "ok")
        assert len(threads) == 1
        hanging.schedules.pause("odd")
        assert len(threads) == 1, "pausing computes nothing"
        hanging.schedules.update("odd", jitter="1s")
        assert len(threads) == 3, "what the new start skips could not be counted, nor shown"
        assert "cannot count skipped instants" in caplog.messages
    let_go.set()
    for thread in threads:
        thread.join(PATIENCE)


def test_trigger_without_further_instants_has_ended(store: str, fake_clock: FakeClock) -> None:
    pipeline = Pipeline("ward")
    pipeline.asset(name="report")(lambda context: None)
    pipeline.schedule("report", trigger=odd(lambda after: None))
    with Flowstone(pipeline, store=store, clock=fake_clock) as flow:
        assert flow.run(once=True)
        assert flow.ticks() == []


@pytest.mark.parametrize("error", [SystemExit(3), CancelledError(), Own("no"), NoTextError()])
def test_P9_trigger_failing_at_construction_is_a_problem_with_place(
    error: BaseException,
) -> None:
    pipeline = Pipeline("ward")
    pipeline.asset(name="report")(lambda context: None)
    with pytest.raises(ValidationError, match=type(error).__name__):
        declare(pipeline, error)


def declare(pipeline: Pipeline, error: BaseException) -> None:
    def fail(self: object, *arguments: object) -> None:
        raise error

    unmade = type("Unmade", (Odd,), {"__init__": fail})
    found = discover(allow=[])
    given = {
        **found.triggers,
        "business_days": Contribution("business_days", unmade, "p", "d", "1"),
    }
    pipeline.schedule("report", business_days="08:00")
    validate(Config(), pipelines=[pipeline], plugins=replace(found, triggers=given))

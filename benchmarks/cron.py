"""Cron: the next instants of five expressions, beside croniter, cronsim and APScheduler."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from functools import partial
from itertools import islice
from zoneinfo import ZoneInfo

from benchmarks.framework.benchmark import Arm, Benchmark, Case, Metric, Sample, Target
from benchmarks.framework.metrics import RATE
from benchmarks.framework.span import Span

EXPRESSIONS = ("*/5 * * * *", "0 9 * * 1-5", "30 2 * * *", "0 0 1 * *", "0 0 29 2 *")
ZONE = "America/New_York"
START = datetime(2025, 1, 15, 12, tzinfo=ZoneInfo(ZONE))


def flowstone(expression: str) -> Iterator[datetime]:
    """Yield the instants of FlowStone's trigger."""
    from flowstone_core import CronTrigger

    trigger, at = CronTrigger(expression, timezone=ZONE), START
    while True:
        following = trigger.next_fire(at)
        assert following is not None  # noqa: S101 - these expressions never end
        yield following
        at = following


def croniter_package(expression: str) -> Iterator[datetime]:
    """Yield the instants of croniter."""
    from croniter import croniter

    found = croniter(expression, START, ret_type=datetime)
    while True:
        yield found.get_next()


def cronsim_package(expression: str) -> Iterator[datetime]:
    """Yield the instants of cronsim."""
    from cronsim import CronSim

    yield from CronSim(expression, START)


def apscheduler(expression: str) -> Iterator[datetime]:
    """Yield the instants of APScheduler's trigger, for which Monday is 0."""
    from apscheduler.triggers.cron import CronTrigger

    days = expression.replace("1-5", "0-4")
    trigger, at = CronTrigger.from_crontab(days, timezone=ZoneInfo(ZONE)), START
    while True:
        following = trigger.get_next_fire_time(at, at + timedelta(microseconds=1))
        yield following
        at = following


def utc_round_trip(_: str) -> Iterator[datetime]:
    """Yield what no instant in a zone is found without: one addition, and one conversion."""
    at, step, utc = START, timedelta(days=1), ZoneInfo("UTC")
    zone = ZoneInfo(ZONE)
    while True:
        at = (at.astimezone(utc) + step).astimezone(zone)
        yield at


def measure(instants: Callable[[str], Iterator[datetime]], case: Case) -> Sample:
    """Parse an expression once, and find a number of instants."""
    count = case["instants"]
    found = instants(case.text("expression"))
    next(found)
    with Span() as span:
        for _ in islice(found, count):
            pass
    sample = span.sample(count)
    parses = max(1, count // 20)
    with Span() as span:
        for _ in range(parses):
            next(instants(case.text("expression")))
    return {"rate": sample["rate"], "cpu": sample["cpu"], "parse": 1e6 * span.cpu / parses}


def _case(number: int, expression: str, instants: int) -> Case:
    return Case(expression, number, {"expression": expression, "instants": instants})


def _arm(name: str, title: str, instants: Callable[[str], Iterator[datetime]], *needs: str) -> Arm:
    return Arm(name, title, partial(measure, instants), "peer", needs)


BENCHMARK = Benchmark(
    name="cron",
    title="Cron",
    about="""
The next instants of five expressions in America/New_York, one after the other, as a schedule that
catches up asks for them; and the time to parse an expression and find its first instant, over and
over: FlowStone keeps what it has parsed, and takes about as long as croniter for a new one.
FlowStone and cronsim follow Debian's rules where the clocks change; croniter and APScheduler fire
twice in the repeated hour. The limit converts an instant to UTC and back and adds a day: it looks
for nothing. The targets compare CPU, not the clock.""",
    metrics=(
        Metric("cpu", "CPU each", "µs"),
        RATE,
        Metric("parse", "CPU to parse, and the first", "µs"),
    ),
    cases=tuple(
        _case(number, expression, 400 if " 29 2 " in expression else 4_000)
        for number, expression in enumerate(EXPRESSIONS, 1)
    ),
    arms=(
        Arm("flowstone", "FlowStone", partial(measure, flowstone)),
        _arm("croniter", "croniter", croniter_package, "croniter"),
        _arm("cronsim", "cronsim", cronsim_package, "cronsim"),
        _arm("apscheduler", "APScheduler 3", apscheduler, "apscheduler"),
        Arm("bare", "one addition in UTC", partial(measure, utc_round_trip), "limit"),
    ),
    targets=(
        Target(
            "at least 3 times croniter's instants for the CPU (geometric mean)",
            "cpu",
            EXPRESSIONS,
            against="croniter",
            at_most=1 / 3,
        ),
        Target(
            "at least 1.2 times cronsim's (geometric mean)",
            "cpu",
            EXPRESSIONS,
            against="cronsim",
            at_most=1 / 1.2,
        ),
    ),
    smoke=(_case(0, "0 12 * * *", 5),),
)

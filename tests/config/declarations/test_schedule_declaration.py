"""Declarations of schedules: options validated into a spec."""

from __future__ import annotations

import functools
import operator
from datetime import UTC, date, datetime, timedelta

import pytest

from flowstone_core.config.declarations.schedule_declaration import (
    ScheduleOptions,
    declare_schedule,
    unknown_kind,
)
from flowstone_core.model.partition import encode_partition
from flowstone_core.scheduling.builtin_triggers import BUILT_IN, RESERVED
from flowstone_core.scheduling.cron import CronTrigger
from flowstone_core.scheduling.trigger import Trigger

NOON = datetime(2026, 1, 15, 12, tzinfo=UTC)


class Odd(Trigger):
    """A trigger of a plugin."""

    def next_fire(self, after):
        return after + timedelta(days=1)


class Raising(Odd):
    def __init__(self, text, timezone="UTC"):
        raise LookupError(text)


TRIGGERS = {**BUILT_IN, "odd": Odd, "raising": Raising}


def declare(name="report", **options):
    return declare_schedule(
        ScheduleOptions(name, options, "shop.py:7"), TRIGGERS, ["report", "orders"]
    )


def sound(name="report", **options):
    declaration, problems = declare(name, **options)
    assert problems == []
    return declaration


def problems_of(name="report", **options):
    declaration, problems = declare(name, **options)
    assert declaration is None
    return [str(problem) for problem in problems]


def test_spec_holds_the_given_settings_without_defaults():
    declaration = sound(
        cron="0 2 * * *", timezone="Europe/Warsaw", jitter="90s", start=date(2026, 1, 1)
    )
    assert declaration.spec == {
        "asset": "report",
        "trigger": "cron",
        "text": "0 2 * * *",
        "timezone": "Europe/Warsaw",
        "jitter": "1m30s",
        "start": "2026-01-01T00:00:00",
    }
    assert declaration.schedule.settings.jitter == timedelta(seconds=90)
    assert declaration.where == "shop.py:7"


def test_asset_is_the_name_by_default():
    assert sound(every="5m").schedule.asset == "report"
    assert sound("nightly", asset="orders", every="5m").schedule.asset == "orders"


def test_interval_may_be_a_timedelta():
    assert sound(every=timedelta(minutes=90)).spec["text"] == "1h30m"


def test_start_date_is_midnight_in_the_schedules_zone():
    schedule = sound(cron="* * * * *", timezone="Asia/Tokyo", start=date(2026, 1, 16)).schedule
    assert schedule.next_instant(NOON) == datetime(2026, 1, 15, 15, tzinfo=UTC)


def test_start_with_an_offset_is_that_moment():
    schedule = sound(cron="* * * * *", start="2026-01-16T00:00+01:00").schedule
    assert schedule.next_instant(NOON) == datetime(2026, 1, 15, 23, tzinfo=UTC)


def test_all_problems_are_reported_at_once():
    problems = problems_of(
        "re port", asset="repotr", cron="99 2 * * *", timezone="Europe/Warsow", catchup="al",
        jitter="5 m", partition="${yera}", metadata={"password": "x"}, crn="1",
    )  # fmt: skip
    text = "\n".join(problems)
    for part in (
        "invalid schedule name 're port'",
        "asset: unknown asset 'repotr' (did you mean 'report'?)",
        "cron: invalid cron expression: minute '99' is out of range",
        "did you mean 'Europe/Warsaw'?",
        "catchup",
        "is not a duration",
        "did you mean 'year'?",
        "'password' looks like a secret",
        "crn: unknown setting (did you mean 'cron'?)",
    ):
        assert part in text, part
    assert all(problem.startswith("shop.py:7: ") for problem in problems)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({}, "missing trigger (give exactly one of cron or every"),
        ({"cron": "* * * * *", "every": "5m"}, "several triggers: cron and every"),
        ({"cron": 5}, "cron: must be a text, not a value of type int"),
        ({"trigger": "cron"}, "trigger: 'cron' is not a Trigger (make an object of its class)"),
        (
            {"trigger": CronTrigger("* * * * *"), "timezone": "UTC"},
            "timezone: must be left out: the trigger has its own time zone",
        ),
        ({"raising": "x"}, "raising: trigger raised LookupError: x"),
        ({"every": "5m", "start": "2026-02-01", "end": "2026-01-01"}, "end: end 2026-01-01"),
        ({"every": "5m", "start": "soon"}, "start"),
        ({"every": "5m", "partition_fn": "a:b"}, "partition_fn: 'a:b' is not a function"),
        (
            {"every": "5m", "partition": "x", "partition_fn": lambda: "x"},
            "partition_fn: partition and partition_fn exclude each other",
        ),
        ({"every": "5m", "partition_fn": lambda a, b: a}, "partition_fn: must take the instant"),
        ({"every": "5m", "metadata": "no pair"}, "'no pair' is not 'key = value'"),
        ({"every": "5m", "catchup_window": "30s"}, "30s is out of bounds: use 1m to"),
    ],
)
def test_each_invalid_option_is_a_problem(options, says):
    (problem,) = problems_of(**options)
    assert says in problem


async def asynchronous(instant):
    return "x"


def generator(instant):
    yield "x"


async def both(instant):
    yield "x"


@pytest.mark.parametrize("function", [asynchronous, generator, both])
def test_async_or_generator_function_is_refused(function):
    (problem,) = problems_of(every="5m", partition_fn=function)
    assert "must not be async or a generator" in problem


def with_default(instant=None):
    return instant.date()


@pytest.mark.parametrize(
    ("function", "partition"),
    [
        (lambda: "x", "x"),
        (lambda instant: instant.date(), date(2026, 1, 15)),
        (with_default, date(2026, 1, 15)),
        (lambda *instants: f"{len(instants)}", "1"),
        (functools.partial(str.join, "-", ["a", "b"]), "a-b"),
        (operator.attrgetter("tzinfo.key"), "Asia/Tokyo"),
    ],
)
def test_function_takes_the_instant_or_nothing(function, partition):
    declaration = sound(every="5m", timezone="Asia/Tokyo", partition_fn=function)
    named = declaration.schedule.partition(NOON)
    assert encode_partition(named) == encode_partition(partition)


def test_function_without_a_signature_takes_the_instant():
    class Unsigned:
        __signature__ = "none"

        def __call__(self, instant):
            return f"{instant:%H}"

    declaration = sound(every="5m", partition_fn=Unsigned())
    assert declaration.schedule.partition(NOON) == "12"
    assert declaration.spec["partition_fn"].endswith(".Unsigned")


def test_trigger_object_of_a_known_class_is_stored_as_text():
    declaration = sound(trigger=CronTrigger("0 2 * * *", "Europe/Warsaw"))
    assert declaration.own_trigger is None
    assert declaration.spec == {
        "asset": "report", "trigger": "cron", "text": "0 2 * * *", "timezone": "Europe/Warsaw",
    }  # fmt: skip


def test_trigger_object_of_an_unknown_class_is_kept():
    own = type("Unknown", (Odd,), {})("text", "Asia/Tokyo")
    declaration = sound(trigger=own)
    assert declaration.schedule.trigger is own
    assert declaration.spec["trigger"] == "Unknown"


def test_override_replaces_trigger_and_partition():
    base = ScheduleOptions("report", {"cron": "* * * * *", "partition": "x", "jitter": "1m"}, "a:1")
    over = base.overlaid(
        ScheduleOptions("report", {"every": "5m", "partition_fn": str}, "b:2"), TRIGGERS
    )
    assert over.options == {"jitter": "1m", "every": "5m", "partition_fn": str}
    assert over.where == "b:2"
    same = base.overlaid(ScheduleOptions("report", {"jitter": "2m"}), TRIGGERS)
    assert same.options == {**base.options, "jitter": "2m"}
    assert same.where == "a:1"


def test_unknown_option_may_be_a_plugins_trigger():
    assert unknown_kind({"business_days": "08:00", "timezone": "UTC"}) == "business_days"
    assert unknown_kind({"business_days": "08:00", "x": 1}) is None
    assert unknown_kind({"timezon": "UTC"}) is None
    assert unknown_kind({}) is None
    assert {"asset", "partition_fn", "timezone"} <= RESERVED

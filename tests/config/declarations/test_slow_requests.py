"""Warnings of time limits that are not shorter than the deadline."""

from __future__ import annotations

from datetime import timedelta

import pytest

from flowstone_core import NotTriggered, Sensor, SensorConfig
from flowstone_core.config.declarations.problems import suggestion
from flowstone_core.config.declarations.slow_requests import slow_requests
from flowstone_core.model.sensor import SensorDeclaration
from flowstone_core.model.sensor_settings import SensorSettings


class Limited(SensorConfig):
    timeout: timedelta = timedelta(seconds=10)
    poll_timeout: timedelta | None = None
    wait: str | timedelta = "long"
    visibility: timedelta | None = None


class Feed(Sensor[Limited, int]):
    Config = Limited

    def init(self):
        return 0

    def poll(self, state):
        return NotTriggered(state)


def warned(deadline=60, every=30, **seconds):
    limits = {name: timedelta(seconds=each) for name, each in seconds.items()}
    settings = SensorSettings(deadline=timedelta(seconds=deadline), every=timedelta(seconds=every))
    sensor = SensorDeclaration("feed", Feed, Limited(**limits), settings, "a", "f.cfg:1", (), "x")
    return [str(each) for each in slow_requests([sensor])]


@pytest.mark.parametrize(
    "seconds",
    [
        {},
        {"timeout": 59},
        {"poll_timeout": 40},
        {"wait": 59},
        {"poll_timeout": 120, "deadline": 141},
    ],
)
def test_time_limits_below_the_deadline_are_not_warned_of(seconds):
    assert warned(**seconds) == []


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (
            {"timeout": 60},
            "timeout = 1m (raise deadline, or lower timeout)",
        ),
        ({"wait": 90}, "wait = 1m30s (raise deadline, or lower wait)"),
        (
            {"poll_timeout": 120},
            "poll_timeout = 2m by twice timeout = 10s (raise deadline, or lower poll_timeout)",
        ),
        (
            {"poll_timeout": 41},
            "poll_timeout = 41s by twice timeout = 10s (raise deadline, or lower poll_timeout)",
        ),
    ],
)
def test_time_limit_that_reaches_the_deadline_is_warned_of(seconds, text):
    assert warned(**seconds) == [f"f.cfg:1: sensor 'feed': deadline = 1m must exceed {text}"]


@pytest.mark.parametrize(
    ("every", "deadline", "longest", "shown"),
    [(30, 60, 90, "1m30s"), (40, 60, 80, "1m20s"), (300, 60, 300, "5m"), (60, 60, 120, "2m")],
)
def test_messages_visible_before_the_next_poll_are_warned_of(every, deadline, longest, shown):
    given = {"every": every, "deadline": deadline}
    assert warned(visibility=longest + 1, **given) == []
    (text,) = warned(visibility=longest, **given)
    assert text.startswith(
        f"f.cfg:1: sensor 'feed': visibility = {shown} must exceed {shown}, the longest time from "
        "poll to poll with every = "
    )
    assert text.endswith("deletes them: raise visibility, or lower every or deadline)")


SETTINGS = ["asset", "backoff", "cron", "deadline", "enabled", "every", "first_poll", "lease",
            "max_events", "partition", "profile", "stale_after", "store", "timezone"]  # fmt: skip


@pytest.mark.parametrize("key", ["retry", "log_level", "filename"])
def test_N20_suggestion_for_a_far_name_lists_none(key):
    assert suggestion(key, SETTINGS) == (
        "flowstone plugins show TYPE lists the settings of a sensor type"
    )


@pytest.mark.parametrize(
    ("key", "meant"), [("evry", "every"), ("dead_line", "deadline"), ("interval", "every")]
)
def test_N20_suggestion_for_a_near_name_is_meant(key, meant):
    assert suggestion(key, SETTINGS) == f"did you mean {meant!r}?"

"""Backlog: prefixes that left the lookback while no poll was good, listed however many they are."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flowstone_s3 import S3FileArrival, listing_plan
from flowstone_s3.bucket import ListedPage
from flowstone_s3.config import S3FileArrivalConfig
from flowstone_s3.errors import S3UnavailableError
from flowstone_s3.listing import S3Object

from flowstone_core import NotTriggered, PollContext, SensorBroken, Triggered
from tests.s3.conftest import SetClock

Make = Callable[..., S3FileArrival]
DAILY = "in/${year}/${month}/${day}/"
HOURLY = "in/${year}/${month}/${day}/${hour}/"


class Watch:
    """A sensor that is polled; its states pass through JSON."""

    def __init__(self, make: Make, **options: Any) -> None:
        self.sensor = make(**options)
        self.state: Any = self.sensor.init()

    def poll(self) -> list[str]:
        outcome = self.sensor.poll(json.loads(json.dumps(self.state)))
        assert isinstance(outcome, Triggered | NotTriggered)
        self.state = outcome.state
        events = outcome.events if isinstance(outcome, Triggered) else ()
        return [entry["key"] for event in events for entry in event.payload["objects"]]  # type: ignore[index, union-attr, call-overload]


def listed(scripted: Any) -> list[str]:
    """Return the prefixes of the requests since the last call."""
    paths = [request["path"] for request in scripted.requests]
    scripted.requests.clear()
    return [path.partition("prefix=")[2].partition("&")[0].replace("%2F", "/") for path in paths]


def test_F1a_paused_sensor_finds_every_day(bucket: Any, make_sensor: Make, clock: Any) -> None:
    watch = Watch(make_sensor, **bucket.options, prefix=DAILY)
    bucket.put("in/2025/01/15/a")
    assert watch.poll() == ["in/2025/01/15/a"]
    days = [f"in/2025/01/{day}/a" for day in range(16, 26)]
    for key in days:
        bucket.put(key)
    bucket.put("in/2025/01/13/late")
    clock.time += timedelta(days=10)
    assert watch.poll() == ["in/2025/01/13/late", *days]
    assert watch.poll() == []


def test_F1a_quiet_poll_of_the_same_day_stores_nothing(
    scripted: Any, make_sensor: Make, clock: Any
) -> None:
    watch = Watch(make_sensor, **scripted.options, prefix=DAILY)
    watch.poll()
    for _ in range(10):
        clock.time += timedelta(hours=1)
        outcome = watch.sensor.poll(watch.state)
        assert outcome.state is watch.state


def test_F1a_left_day_is_listed_once_more(scripted: Any, make_sensor: Make, clock: Any) -> None:
    watch = Watch(make_sensor, **scripted.options, prefix=DAILY, lookback="1d")
    watch.poll()
    assert listed(scripted) == ["in/2025/01/14/", "in/2025/01/15/"]
    clock.time += timedelta(days=1)
    watch.poll()
    assert listed(scripted) == ["in/2025/01/14/", "in/2025/01/15/", "in/2025/01/16/"]
    watch.poll()
    assert listed(scripted) == ["in/2025/01/15/", "in/2025/01/16/"]


def test_F1a_long_backlog_is_listed_over_several_polls(
    scripted: Any, make_sensor: Make, clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing_plan, "PREFIX_LIMIT", 24)
    watch = Watch(make_sensor, **scripted.options, prefix=HOURLY, lookback="3h")
    watch.poll()
    listed(scripted)
    keys = [f"in/{clock.time + timedelta(hours=hour):%Y/%m/%d/%H}/a" for hour in range(1, 50, 7)]
    for key in keys:
        scripted.put(key)
    clock.time += timedelta(hours=50)
    found: list[str] = []
    requests = []
    for _ in range(6):
        found += watch.poll()
        requests.append(len(listed(scripted)))
    assert sorted(found) == keys
    # The window is listed between the parts of the backlog.
    assert requests == [20, 4, 20, 4, 10, 4]
    watch.poll()
    assert len(listed(scripted)) == 4


def test_F1a_backlog_ends_at_half_of_poll_timeout(
    scripted: Any, make_sensor: Make, clock: Any
) -> None:
    watch = Watch(make_sensor, **scripted.options, prefix=DAILY, lookback="0s", poll_timeout="40s")
    watch.poll()
    clock.time += timedelta(days=5)
    for day in range(15, 21):
        scripted.put(f"in/2025/01/{day}/a")

    def take() -> None:
        clock.uptime += 11

    scripted.before_answer = take
    assert watch.poll() == ["in/2025/01/15/a", "in/2025/01/16/a"]
    assert watch.poll() == ["in/2025/01/20/a"]
    assert watch.poll() == ["in/2025/01/17/a", "in/2025/01/18/a"]
    assert watch.poll() == []
    assert watch.poll() == ["in/2025/01/19/a"]
    listed(scripted)
    assert watch.poll() == []
    assert listed(scripted) == ["in/2025/01/20/"]


def test_F1a_backlog_is_listed_alone_after_a_failure(
    scripted: Any, make_sensor: Make, clock: Any
) -> None:
    watch = Watch(make_sensor, **scripted.options, prefix=DAILY, lookback="1d", poll_timeout="40s")
    watch.poll()
    clock.time += timedelta(days=2)
    for day in range(14, 18):
        scripted.put(f"in/2025/01/{day}/a")

    scripted.before_answer = lambda: setattr(clock, "uptime", clock.uptime + 9)
    assert watch.poll() == [f"in/2025/01/{day}/a" for day in range(14, 18)]
    clock.time += timedelta(days=2)
    for day in range(18, 20):
        scripted.put(f"in/2025/01/{day}/a")
    times = iter([1, 1, 30, 30, 1, 1, 30, 1])
    scripted.before_answer = lambda: setattr(clock, "uptime", clock.uptime + next(times))
    with pytest.raises(S3UnavailableError, match="incomplete after poll_timeout"):
        watch.poll()
    listed(scripted)
    assert watch.poll() == []
    assert listed(scripted) == ["in/2025/01/16/", "in/2025/01/17/"]
    assert watch.poll() == ["in/2025/01/18/a", "in/2025/01/19/a"]


def test_F1a_settling_object_holds_its_day(scripted: Any, make_sensor: Make, clock: Any) -> None:
    watch = Watch(make_sensor, **scripted.options, prefix=DAILY, lookback="0s", settle="1h")
    scripted.put("in/2025/01/15/first")
    watch.poll()
    clock.time = datetime(2025, 1, 15, 23, 50, tzinfo=UTC)
    scripted.put("in/2025/01/15/a")
    watch.poll()
    clock.time += timedelta(minutes=20)
    assert watch.poll() == []
    clock.time += timedelta(hours=1)
    assert watch.poll() == ["in/2025/01/15/a"]
    watch.poll()
    listed(scripted)
    watch.poll()
    assert listed(scripted) == ["in/2025/01/16/"]


@pytest.mark.parametrize("seconds", [5, 11, 21])
def test_F1a_settling_backlog_fires_once(
    scripted: Any, make_sensor: Make, clock: Any, seconds: int
) -> None:
    options = {"prefix": DAILY, "lookback": "0s", "settle": "5m", "poll_timeout": "40s"}
    watch = Watch(make_sensor, **scripted.options, **options)
    scripted.put("in/2025/01/15/a")
    watch.poll()
    clock.time += timedelta(days=6)
    keys = [f"in/2025/01/{day}/a" for day in range(15, 22)]
    for key in keys[1:]:
        scripted.put(key)
    scripted.before_answer = lambda: setattr(clock, "uptime", clock.uptime + seconds)
    found = []
    for _ in range(30):
        clock.time += timedelta(minutes=3)
        found += watch.poll()
    assert sorted(found) == keys


def test_F1a_window_does_not_pass_over_a_backlog(
    scripted: Any, make_sensor: Make, clock: Any, later: Any
) -> None:
    watch = Watch(
        make_sensor,
        **scripted.options,
        prefix=DAILY,
        lookback="0s",
        window="1d",
        poll_timeout="40s",
    )
    scripted.put("in/2025/01/15/a")
    watch.poll()
    # Written late into the first day: its time is later than those of the days that follow.
    scripted.put("in/2025/01/15/late", at=later(days=5))
    for day in range(1, 6):
        scripted.put(f"in/2025/01/{15 + day}/a", at=later(days=day))
    clock.time += timedelta(days=5)
    scripted.date = None
    scripted.before_answer = lambda: setattr(clock, "uptime", clock.uptime + 21)
    found = [key for _ in range(12) for key in watch.poll()]
    keys = ["in/2025/01/15/late", *(f"in/2025/01/{day}/a" for day in range(16, 21))]
    assert sorted(found) == keys


def test_F1a_held_backlog_does_not_hold_up_the_window(
    scripted: Any, make_sensor: Make, clock: Any
) -> None:
    options = {"prefix": DAILY, "lookback": "0s", "settle": "1h", "poll_timeout": "40s"}
    watch = Watch(make_sensor, **scripted.options, **options)
    watch.poll()
    clock.time += timedelta(days=3)
    scripted.put("in/2025/01/18/a")
    scripted.before_answer = lambda: setattr(clock, "uptime", clock.uptime + 21)
    found, prefixes = [], []
    for minute in range(20):
        clock.time += timedelta(minutes=4)
        # Somebody writes into a day of the backlog all the time: it never settles.
        scripted.put("in/2025/01/16/busy", f"{minute}")
        found += watch.poll()
        prefixes += listed(scripted)
    assert found == ["in/2025/01/18/a"]
    assert {"in/2025/01/16/", "in/2025/01/18/"} <= set(prefixes[-2:])


def test_F1a_clock_set_back_lists_both_times(scripted: Any, make_sensor: Make, clock: Any) -> None:
    watch = Watch(make_sensor, **scripted.options, prefix=DAILY, lookback="1d")
    watch.poll()
    clock.time += timedelta(days=30)
    watch.poll()
    clock.time -= timedelta(days=30)
    scripted.put("in/2025/01/15/a")
    listed(scripted)
    assert watch.poll() == ["in/2025/01/15/a"]
    assert listed(scripted) == ["in/2025/01/14/", "in/2025/01/15/"]


def test_F1a_damaged_time_of_the_state_breaks(scripted: Any, make_sensor: Make) -> None:
    sensor = make_sensor(**scripted.options, prefix=DAILY)
    for text in ("yesterday", "2025-01-15", 7):
        with pytest.raises(SensorBroken, match="cannot read the stored state"):
            sensor.poll({**sensor.init(), "since": text})  # type: ignore[typeddict-item]


class Shelf:
    """Objects in memory; listing a prefix takes seconds, and may fail."""

    def __init__(self, clock: Any) -> None:
        self.clock, self.objects, self.seconds, self.fails = clock, [], 0.0, False

    def list_pages(self, prefixes: Any) -> Any:
        for number, prefix in enumerate(prefixes):
            self.clock.uptime += self.seconds
            if self.fails and number == 1:
                raise S3UnavailableError("no longer there")
            yield ListedPage([each for each in self.objects if each.key.startswith(prefix)], None)

    def close(self) -> None:
        pass


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("settle", ["0s", "7m"])
@pytest.mark.parametrize("window", [None, "3h"])
def test_F1a_random_pauses_and_failures_lose_nothing(
    seed: int, settle: str, window: str | None
) -> None:
    source = random.Random(seed)  # noqa: S311 - pauses, not secrets
    clock = SetClock()
    options = {"bucket": "shop", "prefix": HOURLY, "lookback": "2h"}
    config = S3FileArrivalConfig.model_validate(
        options | {"settle": settle, "partition_pattern": "/(?P<name>[^/]+)$", "window": window}
    )
    sensor = S3FileArrival(config, PollContext(clock=clock))
    shelf = Shelf(clock)
    sensor._bucket = shelf  # type: ignore[assignment]
    state, found = sensor.poll(sensor.init()).state, []
    for number in range(25):
        # Written within an hour of the hour that its prefix names, and listed at once.
        written = clock.time - timedelta(minutes=source.randrange(60))
        key = f"in/{written:%Y/%m/%d/%H}/{number}"
        shelf.objects.append(S3Object(key, "e", 1, clock.time))
        clock.time += timedelta(minutes=source.choice([1, 10, 60, 600, 3_000]))
        shelf.seconds = source.choice([0, 0, 2, 9])
        shelf.fails = source.random() < 0.3
        for _ in range(source.randrange(4)):
            with suppress(S3UnavailableError):
                outcome = sensor.poll(json.loads(json.dumps(state)))
                state = outcome.state
                found += [event.partition for event in getattr(outcome, "events", ())]
            clock.time += timedelta(minutes=5)
    shelf.fails, shelf.seconds = False, 0
    for _ in range(200):
        clock.time += timedelta(minutes=1)
        outcome = sensor.poll(state)
        state = outcome.state
        found += [event.partition for event in getattr(outcome, "events", ())]
    assert sorted(found, key=int) == [str(number) for number in range(25)]  # type: ignore[arg-type]

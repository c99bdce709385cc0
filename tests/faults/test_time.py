"""What clocks, zones and calendars do; other tests of it are beside what they test."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from flowstone_core import (
    Flowstone,
    Pipeline,
    Sensor,
    SensorConfig,
    Trigger,
    Triggered,
    ValidationError,
    decode_partition,
)
from flowstone_core.model.event import StoredEvent
from flowstone_core.store import ScheduleRepository
from flowstone_core.testing import FakeClock
from tests import forked

PATIENCE = 300
START = datetime(2026, 1, 15, 12, 30, tzinfo=UTC)


class Counting(Sensor[SensorConfig, int]):
    """Finds its next number at each poll; another thread may be let in before."""

    before: Callable[[], None] = staticmethod(lambda: None)

    def init(self) -> int:
        return 0

    def poll(self, state: int) -> Triggered[int]:
        type(self).before()
        return Triggered(f"n{state}", state + 1)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(START)


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'flowstone.db'}"


def pipeline_of(**schedules: dict[str, object]) -> Pipeline:
    pipeline = Pipeline("shop")
    pipeline.asset(name="report")(lambda context: None)
    for name, options in schedules.items():
        given = {"cron": "0 * * * *", "partition": "${instant}", "overlap": "allow", **options}
        pipeline.schedule("report", name=name, **given)
    return pipeline


@contextmanager
def started(url: str, clock: FakeClock, **schedules: dict[str, object]) -> Iterator[Flowstone]:
    """A Flowstone whose schedules have been looked at once, so that they have begun."""
    with Flowstone(pipeline_of(**schedules), store=url, clock=clock) as flow:
        flow.run(once=True)
        yield flow


def fired(flow: Flowstone, schedule: str) -> list[str]:
    events = flow.events(source=f"schedule:{schedule}", limit=1_000)
    return [event.key[11:16] for event in reversed(events)]


def skipped(flow: Flowstone, schedule: str) -> list[tuple[str, str, str]]:
    skips = [each.skip for each in reversed(flow.schedules.skips(schedule))]
    return [(str(skip.reason), f"{skip.first:%H:%M}", f"{skip.last:%H:%M}") for skip in skips]


# -- T8: clocks of several machines, and steps within a tick ---------------------------------------


@pytest.mark.parametrize("apart", [timedelta(minutes=5), timedelta(days=1)])
def test_T8_runners_with_different_clocks_fire_each_instant_once(
    url: str, clock: FakeClock, apart: timedelta
) -> None:
    """The one that is ahead takes over too early; what both do is one event all the same."""
    ahead = FakeClock(START + apart)
    pipeline = pipeline_of(hourly={"catchup": "all", "catchup_window": "3d"})
    with (
        Flowstone(pipeline, store=url, clock=clock) as one,
        Flowstone(pipeline, store=url, clock=ahead) as two,
    ):
        for _ in range(5):
            for flow, time in ((one, clock), (two, ahead)):
                flow.run(once=True)
                time.advance(timedelta(minutes=30))
        end = START + apart + timedelta(hours=2)
        events = one.events(source="schedule:hourly", limit=1_000)
        keys = sorted(event.key for event in events)
        assert len(set(keys)) == len(keys)
        assert len(keys) == (end - START) // timedelta(hours=1)
        made = one.materializations.latest(limit=1_000)
        assert {row.state for row in made} == {"completed"}


@pytest.mark.parametrize("step", [timedelta(days=-1), timedelta(seconds=-5), timedelta(days=3650)])
def test_T8_clock_step_during_a_poll_leaves_it_unchanged(
    url: str, clock: FakeClock, step: timedelta
) -> None:
    stepping = type("Stepping", (Counting,), {"before": lambda: clock.set_now(clock.now() + step)})
    pipeline = pipeline_of()
    pipeline.sensor("feed", stepping, asset="report", every="10s", deadline="30s")
    with Flowstone(pipeline, store=url, clock=clock) as flow:
        for _ in range(3):
            flow.run(once=True)
        assert [event.partition for event in reversed(flow.events())] == ["n0", "n1", "n2"]
        assert {tick.outcome for tick in flow.ticks()} == {"triggered"}
        assert {row.state for row in flow.materializations.latest()} == {"completed"}


# -- T7: zone data ---------------------------------------------------------------------------------


def flowstone(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return forked.run(
        [sys.executable, "-m", "flowstone_core", *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def write(folder: Path, zone: str) -> None:
    (folder / "shop.py").write_text(
        "from flowstone_core import Pipeline\n"
        "pipeline = Pipeline('shop')\n"
        "pipeline.asset(name='report')(lambda context: None)\n"
    )
    (folder / "setup.cfg").write_text(
        "[flowstone]\npipelines = shop:pipeline\n[flowstone:schedule:daily]\nasset = report\n"
        f"cron = 0 2 * * *\ntimezone = {zone}\n"
    )


def test_T7_version_of_the_zone_data_is_logged_at_the_start(tmp_path: Path) -> None:
    write(tmp_path, "Europe/Warsaw")
    ended = flowstone(tmp_path, "--log-format", "json", "run", "--once")
    lines = [json.loads(line) for line in ended.stderr.splitlines()]
    (told,) = (line for line in lines if line["logger"] == "flowstone.zone")
    assert told["event"] == "time zones"
    assert any(character.isdigit() for character in told["data"])


@pytest.mark.parametrize("zone", ["Europe/Warsow", "Europe", "posixrules", "x" * 300, "../UTC"])
def test_T7_unknown_zone_is_an_error_at_the_start(tmp_path: Path, zone: str) -> None:
    write(tmp_path, zone)
    ended = flowstone(tmp_path, "run", "--once")
    assert ended.returncode == 2
    (line,) = ended.stderr.splitlines()
    assert line.startswith("error: setup.cfg:6: [flowstone:schedule:daily] timezone: ")
    assert "unknown time zone" in line


# -- T9: changed, switched off, renamed ------------------------------------------------------------


def test_T9_renamed_schedule_starts_anew_and_keeps_its_history(url: str, clock: FakeClock) -> None:
    with started(url, clock, old={"catchup": "all"}) as flow:
        clock.advance(timedelta(hours=1))
        flow.run(once=True)
        assert fired(flow, "old") == ["13:00"]
    clock.advance(timedelta(hours=3))
    with started(url, clock, new={"catchup": "all"}) as flow:
        assert (fired(flow, "new"), fired(flow, "old")) == ([], ["13:00"])
        assert flow.schedules.get("old").health == "undeclared"
        clock.advance(timedelta(hours=1))
        flow.run(once=True)
        assert (fired(flow, "new"), fired(flow, "old")) == (["17:00"], ["13:00"])


@pytest.mark.parametrize(
    ("change", "back", "reason"),
    [
        ({"enabled": False}, {"enabled": True}, "disabled"),
        ({"cron": "5 * * * *"}, {"cron": "0 * * * *"}, "edited"),
        ({"timezone": "Asia/Tokyo"}, {"timezone": "UTC"}, "edited"),
    ],
)
def test_T9_instants_missed_before_a_change_do_not_fire(
    url: str, clock: FakeClock, change: dict[str, object], back: dict[str, object], reason: str
) -> None:
    with started(url, clock, hourly={"catchup": "all"}) as flow:
        flow.schedules.update("hourly", **change)
        clock.advance(timedelta(hours=3))
        flow.schedules.update("hourly", **back)
        flow.run(once=True)
        assert fired(flow, "hourly") == []
        assert [each for each, *_ in skipped(flow, "hourly")] == [reason]
        clock.advance(timedelta(hours=1))
        flow.run(once=True)
        assert fired(flow, "hourly") == ["16:00"]


def resumed_in_between(flow: Flowstone, monkeypatch: pytest.MonkeyPatch) -> None:
    """Resume a schedule that somebody pauses in the moment after it was looked at."""
    read, paused = ScheduleRepository.get, []

    def read_and_pause(self: ScheduleRepository, name: str) -> object:
        record = read(self, name)
        if not paused:
            paused.append(self.pause(name))
        return record

    monkeypatch.setattr(ScheduleRepository, "get", read_and_pause)
    flow.schedules.resume("hourly")


def test_T9_instants_skipped_by_a_resume_are_recorded(
    url: str, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    with started(url, clock, hourly={"catchup": "all"}) as flow:
        clock.advance(timedelta(hours=2))
        resumed_in_between(flow, monkeypatch)
        flow.schedules.resume("hourly")
        flow.run(once=True)
        seen = fired(flow, "hourly") or skipped(flow, "hourly")
        assert seen in (["13:00", "14:00"], [("paused", "13:00", "14:00")])


# -- T10 to T12 ------------------------------------------------------------------------------------


def test_T10_instants_faster_than_the_asset_function_wait_in_order(
    url: str, clock: FakeClock
) -> None:
    """A schedule every second, of an asset that takes longer: never two at once, none is lost."""
    under_way, at_once = [], []
    lock = threading.Lock()

    def slow(context: object) -> None:
        with lock:
            under_way.append(context)
            at_once.append(len(under_way))
        clock.advance(timedelta(seconds=3))
        with lock:
            under_way.remove(context)

    pipeline = Pipeline("shop")
    pipeline.asset(name="report")(slow)
    pipeline.schedule("report", every="1s", partition="${instant}", catchup="all", overlap="skip")
    with Flowstone(pipeline, store=url, clock=clock) as flow:
        flow.run(once=True)
        clock.advance(timedelta(seconds=3))
        flow.run(once=True)
        keys = [event.key for event in flow.events()]
        assert len(set(keys)) == len(keys) >= 3
        assert max(at_once) == 1


class Naive(Trigger):
    """A plugin's trigger that forgets the zone."""

    def next_fire(self, after: datetime) -> datetime:
        return after.replace(tzinfo=None) + timedelta(hours=1)


def test_T11_naive_instant_of_a_trigger_is_a_failed_tick(url: str, clock: FakeClock) -> None:
    pipeline = pipeline_of(hourly={})
    pipeline.schedule("report", name="naive", trigger=Naive("any"))
    with Flowstone(pipeline, store=url, clock=clock) as flow:
        flow.run(once=True)
        clock.advance(timedelta(hours=1))
        flow.run(once=True)
        status = flow.schedules.get("naive")
        assert "returned the naive 2026-01-15 14:30:00" in str(status.error)
        assert fired(flow, "naive") == []
        assert fired(flow, "hourly") == ["13:00"]


def test_T11_naive_datetime_as_a_partition_stays_naive(url: str, clock: FakeClock) -> None:
    """It is no instant: what has no zone stays without one, and is another partition."""
    naive = datetime(2026, 1, 15, 13)  # noqa: DTZ001 - the point of it
    with started(url, clock) as flow:
        for value in (naive, naive.replace(tzinfo=UTC)):
            flow.materialize("report", value)
        texts = {row.partition for row in flow.materializations.latest()}
        assert texts == {"ndt:2026-01-15T13:00:00", "dt:2026-01-15T13:00:00Z"}
        flow.schedule("report", name="hourly", cron="0 * * * *")
        with pytest.raises(ValidationError, match="must be aware"):
            flow.schedules.upcoming("hourly", after=naive)


@pytest.mark.parametrize("cron", ["30 * * * *", "*/30 1 * * *"])
def test_T12_repeated_local_time_makes_two_events_and_partitions(
    url: str, clock: FakeClock, cron: str
) -> None:
    """Clocks in New York go back at 2 on 1 November: 01:30 comes at 05:30 and at 06:30 UTC."""
    clock.set_now(datetime(2026, 11, 1, 5, tzinfo=UTC))
    options = {"cron": cron, "timezone": "America/New_York", "catchup": "all"}
    with started(url, clock, nightly=options) as flow:
        for _ in range(4):
            clock.advance(timedelta(minutes=30))
            flow.run(once=True)
        found = [each for each in flow.events() if of_instant(each).minute == 30]
        instants = {of_instant(event) for event in found}
        assert instants == {datetime(2026, 11, 1, hour, 30, tzinfo=UTC) for hour in (5, 6)}
        assert {decode_partition(event.partition) for event in found} == instants
        assert {str((event.payload or {})["timezone"]) for event in found} == {"America/New_York"}


def of_instant(event: StoredEvent) -> datetime:
    return datetime.fromisoformat(str((event.payload or {})["instant"]))

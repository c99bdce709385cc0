"""Each local day exactly once, at every change of clocks of every zone from 2006 to 2046."""

from datetime import UTC, date, datetime, timedelta
from functools import cache

import pytest

from flowstone_core.errors import OutcomeError
from flowstone_core.scheduling.cron import CronTrigger
from flowstone_core.scheduling.every import EveryTrigger
from flowstone_core.scheduling.partition_template import PartitionTemplate
from flowstone_core.scheduling.schedule import Schedule
from flowstone_core.scheduling.time_zone import load_zone
from flowstone_core.scheduling.trigger import Trigger
from tests.scheduling.clock_changes import all_changes, different_changes

MINUTE = timedelta(minutes=1)
MOMENT = "${date}T${hour}:${minute}:${second}${offset}"


def times_of(change):
    """Times of the day that a change concerns, to the minute, and the ends of the day."""
    low, high = sorted([change.shown_before, change.shown_after])
    near = (low, low + (high - low) / 2, high - MINUTE, high)
    return sorted({"00:00", "23:30", *(f"{wall:%H:%M}" for wall in near)})


@cache
def every_day(time, zone):
    return EveryTrigger(f"day at {time}", zone)


@cache
def cron_each_day(time, zone):
    hour, minute = time.split(":")
    return CronTrigger(f"{minute} {hour} * * *", zone)


def fired(trigger, change):
    """The instants of the days around a change."""
    days = change.days
    first = datetime(days[0].year, days[0].month, days[0].day, tzinfo=load_zone(change.zone))
    after, found = first - timedelta.resolution, []
    for _ in days:
        after = trigger.next_fire(after)
        found.append(after)
    return found


def partitions(trigger, change, template=None):
    name = PartitionTemplate(template).partition if template else datetime.date
    schedule = Schedule("daily", "report", "cron", trigger, name)
    return [schedule.partition(instant.astimezone(UTC)) for instant in fired(trigger, change)]


def test_all_changes_of_clocks_are_enumerated():
    changes = all_changes()
    assert len({change.zone for change in changes}) > 100
    assert len(changes) > 2_500
    assert {change.at.year for change in changes} == set(range(2006, 2047))
    gaps = {change.zone for change in changes if change.shown_before < change.shown_after}
    assert {"Pacific/Apia", "Asia/Pyongyang", "America/Nuuk"} <= gaps


def test_F5_F5b_every_day_fires_once_for_each_local_day():
    for change in different_changes():
        for time in times_of(change):
            trigger = every_day(time, change.zone)
            assert partitions(trigger, change) == change.days, (change, time)


def test_F5_F5b_cron_fires_once_for_each_local_day():
    for change in different_changes():
        middle = change.shown_before + (change.shown_after - change.shown_before) / 2
        for time in {"23:30", f"{middle:%H:%M}"}:
            trigger = cron_each_day(time, change.zone)
            assert partitions(trigger, change) == change.days, (change, time)


def test_F5_template_of_the_moment_is_the_instant_in_all_zones():
    for change in different_changes():
        for time in {"23:30", f"{change.shown_before:%H:%M}"}:
            trigger = every_day(time, change.zone)
            instants = [one.astimezone(UTC) for one in fired(trigger, change)]
            assert instants == sorted(set(instants))
            assert partitions(trigger, change, MOMENT) == instants, (change, time)


@pytest.mark.parametrize("zone", ["America/Nuuk", "America/Scoresbysund"])
@pytest.mark.parametrize("trigger", [CronTrigger, EveryTrigger])
def test_F5_skipped_last_hour_belongs_to_its_day(trigger, zone):
    text = "30 23 * * *" if trigger is CronTrigger else "day at 23:30"
    schedule = Schedule("nightly", "report", "", trigger(text, zone), datetime.date)
    instant = schedule.next_instant(datetime(2026, 3, 28, 12, tzinfo=UTC))
    assert instant == datetime(2026, 3, 29, 1, tzinfo=UTC)
    assert schedule.partition(instant) == date(2026, 3, 28)
    local = schedule.trigger.local_time(instant)
    assert local.isoformat() == "2026-03-28T23:00:00-02:00"
    assert local.astimezone(UTC) == instant


@pytest.mark.parametrize(
    ("text", "days"),
    [
        # Midnight is a time of the new day: the day before has had the same one.
        ("0 0,23 * * *", ["2026-03-29", "2026-03-29", "2026-03-30"]),
        ("0 0 * * *", ["2026-03-29", "2026-03-30", "2026-03-31"]),
        ("15,45 23 * * *", ["2026-03-28", "2026-03-29", "2026-03-29"]),
        ("30 22,23 * * *", ["2026-03-28", "2026-03-28", "2026-03-29"]),
        ("30 23 28 * *", ["2026-03-28", "2026-04-28", "2026-05-28"]),
        ("30 23 L * *", ["2026-03-31", "2026-04-30", "2026-05-31"]),
        ("*/30 * * * *", ["2026-03-28"] * 3),
    ],
)
def test_F5_times_around_a_skipped_last_hour(text, days):
    schedule = Schedule("s", "report", "", CronTrigger(text, "America/Nuuk"), datetime.date)
    after, found = datetime(2026, 3, 28, 12, tzinfo=UTC), []
    for _ in days:
        after = schedule.next_instant(after)
        found.append(schedule.partition(after).isoformat())
    assert found == days


def test_F5_gap_over_midnight_belongs_to_both_days():
    # Toronto, 30 March 1919: from 23:30 to 00:30.
    begin = datetime(1919, 3, 30, 18, tzinfo=UTC)
    for text, day in (("45 23 * * *", 30), ("15 0 * * *", 31), ("30 0 * * *", 31)):
        trigger = CronTrigger(text, "America/Toronto")
        instant = trigger.next_fire(begin)
        assert instant.isoformat() == "1919-03-31T00:30:00-04:00"
        assert trigger.local_time(instant).day == day


@pytest.mark.parametrize(
    ("text", "zone", "after", "expected"),
    [
        # Debian's cron runs the first twice, and the second not at all: docs/schedules.md.
        ("15,45 2 * * *", "America/New_York", "2026-03-08T05:00Z",
         ["2026-03-08T03:00:00-04:00", "2026-03-09T02:15:00-04:00"]),
        ("0 3 * * *", "Antarctica/Mawson", "1954-02-12T12:00Z",
         ["1954-02-13T06:00:00+06:00", "1954-02-14T03:00:00+06:00"]),
    ],
)  # fmt: skip
def test_X2_gap_where_debian_differs_has_one_instant(text, zone, after, expected):
    trigger, found = CronTrigger(text, zone), datetime.fromisoformat(after)
    for instant in expected:
        found = trigger.next_fire(found)
        assert found.isoformat() == instant


class Stubborn(Trigger):
    """A trigger that returns what it is told."""

    def next_fire(self, after):
        return after + MINUTE

    def local_time(self, instant):
        return eval(self.text)  # noqa: S307


@pytest.mark.parametrize("text", ["None", "instant.replace(tzinfo=None)", "instant + MINUTE"])
def test_trigger_with_another_local_time_is_refused(text):
    schedule = Schedule("s", "report", "", Stubborn(text), datetime.date)
    with pytest.raises(OutcomeError, match="local_time must return the same instant"):
        schedule.partition(datetime(2026, 1, 1, tzinfo=UTC))


def test_local_time_is_by_default_as_clocks_show_it():
    instant = datetime(2026, 3, 29, 1, tzinfo=UTC)
    local = EveryTrigger("hour at :30", "America/Nuuk").local_time(instant)
    assert local.isoformat() == "2026-03-29T00:00:00-01:00"

"""The table of clock changes against the time zone data, and the memory that it takes."""

import tracemalloc
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from flowstone_core.scheduling import zone_table as module
from flowstone_core.scheduling.clock_rules import next_elapsed, next_fixed
from flowstone_core.scheduling.cron import CronTrigger
from flowstone_core.scheduling.every import EveryTrigger
from flowstone_core.scheduling.zone_table import DAY, ZoneTable, zone_table
from tests.scheduling.clock_changes import _changes, all_changes

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)
ZONE = "America/New_York"


def seconds(instant):
    return (instant - EPOCH) // SECOND


def test_zone_table_has_each_change_of_each_zone():
    for change in all_changes():
        at, before, after = seconds(change.at), change.before // SECOND, change.after // SECOND
        table = zone_table(ZoneInfo(change.zone))
        assert (table.at(at - 1).end, table.at(at - 1).offset) == (at, before), change
        period = table.at(at)
        assert (period.begin, period.offset, period.before) == (at, after, before), change
        assert period.repeated == at + before
        assert table.showing(at + max(before, after)) == period


@pytest.mark.parametrize("name", ["UTC", "America/New_York", "Pacific/Apia", "Africa/Freetown"])
def test_zone_table_agrees_with_zone_at_all_instants(name):
    zone = ZoneInfo(name)
    table = ZoneTable(zone)
    for instant in range(seconds(datetime(1850, 1, 1, tzinfo=UTC)), 3 * 10**9, 997 * 3607):
        period = table.at(instant)
        assert period.begin <= instant < period.end
        local = (EPOCH + instant * SECOND).astimezone(zone)
        assert period.offset * SECOND == local.utcoffset()
        wall = instant + period.offset
        assert table.local(wall, period).isoformat() == local.isoformat()


def instants_around(change, zone):
    """The fires of both kinds of jobs, asked for at many instants around a change."""
    table = ZoneTable(zone)
    starts = [change.at + minutes * MINUTE for minutes in range(-2_900, 2_900, 100)]
    starts += [change.at + shift for shift in (-SECOND, 0 * SECOND, SECOND)]
    return [
        ask(following, table, start).isoformat()
        for ask, step in ((next_elapsed, 600), (next_fixed, 600), (next_elapsed, 2 * DAY))
        for following in [lambda wall, step=step: (wall // step + 1) * step]
        for start in starts
    ]


@pytest.mark.parametrize(
    ("name", "year"),
    [("America/New_York", 2026), ("Australia/Lord_Howe", 2026), ("Pacific/Apia", 2011)],
)
def test_zone_table_is_right_wherever_its_spans_end(name, year, monkeypatch):
    zone = ZoneInfo(name)
    changes = [each for each in _changes(name) if each.at.year == year]
    assert len(changes) > 1
    for change in changes:
        monkeypatch.setattr(module, "_SPAN", 64 * DAY)
        expected = instants_around(change, zone)
        for shift in (-2 * DAY, -DAY, -1, 0, 1, 900, 1800, DAY, 2 * DAY):
            monkeypatch.setattr(module, "_SPAN", seconds(change.at) + shift)
            assert instants_around(change, zone) == expected, (change, shift)


def test_zone_table_is_shared_by_triggers_of_a_zone():
    after = datetime(2026, 1, 1, tzinfo=UTC)
    CronTrigger("0 0 * * *", ZONE).next_fire(after)  # loads what is loaded once
    tracemalloc.start()
    triggers = [CronTrigger(f"{n % 60} {n // 60} * * *", ZONE) for n in range(200)]
    triggers += [EveryTrigger(f"day at {n // 60:02}:{n % 60:02}", ZONE) for n in range(200)]
    assert len({trigger.next_fire(after) for trigger in triggers}) == 200
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len({id(trigger._table) for trigger in triggers}) == 1
    assert used < 3_000 * len(triggers)


def test_zone_table_forgets_spans_that_are_too_many():
    table, zone = ZoneTable(ZoneInfo(ZONE)), ZoneInfo(ZONE)
    for year in range(1, 9999, 9):
        at = datetime(year, 6, 1, tzinfo=UTC)
        assert table.at(seconds(at)).offset * SECOND == at.astimezone(zone).utcoffset()
        assert len(table._spans) <= module._KEPT

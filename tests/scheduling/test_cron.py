import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import islice
from zoneinfo import ZoneInfo

import pytest

from flowstone_core.errors import ValidationError
from flowstone_core.scheduling.cron import CronTrigger

START = datetime(2026, 1, 1, tzinfo=UTC)


def instants(trigger, after):
    while (after := trigger.next_fire(after)) is not None:
        yield after


def run(text, zone, after, count):
    found = instants(CronTrigger(text, zone), datetime.fromisoformat(after))
    return [one.isoformat() for one in islice(found, count)]


@pytest.mark.parametrize(
    ("text", "zone", "after", "expected"),
    [
        # Spring in New York: 02:00 to 03:00 is skipped on 8 March.
        ("30 2 * * *", "America/New_York", "2026-03-07T12:00Z",
         ["2026-03-08T03:00:00-04:00", "2026-03-09T02:30:00-04:00"]),
        ("0,15,30 2 * * *", "America/New_York", "2026-03-08T05:00Z",
         ["2026-03-08T03:00:00-04:00", "2026-03-09T02:00:00-04:00"]),
        ("0 2,3 * * *", "America/New_York", "2026-03-08T05:00Z",
         ["2026-03-08T03:00:00-04:00", "2026-03-09T02:00:00-04:00"]),
        ("*/30 * * * *", "America/New_York", "2026-03-08T06:20Z",
         ["2026-03-08T01:30:00-05:00", "2026-03-08T03:00:00-04:00", "2026-03-08T03:30:00-04:00"]),
        ("*/30 2 * * *", "America/New_York", "2026-03-08T05:00Z", ["2026-03-09T02:00:00-04:00"]),
        ("30 * * * *", "America/New_York", "2026-03-08T06:00Z",
         ["2026-03-08T01:30:00-05:00", "2026-03-08T03:30:00-04:00"]),
        # Autumn: 01:00 to 02:00 comes twice on 1 November.
        ("30 1 * * *", "America/New_York", "2026-10-31T12:00Z",
         ["2026-11-01T01:30:00-04:00", "2026-11-02T01:30:00-05:00"]),
        ("30 1 * * *", "America/New_York", "2026-11-01T06:10Z", ["2026-11-02T01:30:00-05:00"]),
        ("30 1-1 * * *", "America/New_York", "2026-10-31T12:00Z",
         ["2026-11-01T01:30:00-04:00", "2026-11-02T01:30:00-05:00"]),
        ("0 * * * *", "America/New_York", "2026-11-01T04:30Z",
         ["2026-11-01T01:00:00-04:00", "2026-11-01T01:00:00-05:00", "2026-11-01T02:00:00-05:00"]),
        ("*/30 1 * * *", "America/New_York", "2026-11-01T04:30Z",
         ["2026-11-01T01:00:00-04:00", "2026-11-01T01:30:00-04:00", "2026-11-01T01:00:00-05:00",
          "2026-11-01T01:30:00-05:00", "2026-11-02T01:00:00-05:00"]),
        # Warsaw, where it is an hour later.
        ("30 2 * * *", "Europe/Warsaw", "2026-03-28T12:00Z",
         ["2026-03-29T03:00:00+02:00", "2026-03-30T02:30:00+02:00"]),
        ("30 2 * * *", "Europe/Warsaw", "2026-10-24T12:00Z",
         ["2026-10-25T02:30:00+02:00", "2026-10-26T02:30:00+01:00"]),
        # Half an hour on Lord Howe Island: 01:30 to 02:00 twice on 5 April, 02:00 to 02:30 skipped
        # on 4 October.
        ("45 1 * * *", "Australia/Lord_Howe", "2026-04-04T12:00Z",
         ["2026-04-05T01:45:00+11:00", "2026-04-06T01:45:00+10:30"]),
        ("*/15 * * * *", "Australia/Lord_Howe", "2026-04-04T14:15Z",
         ["2026-04-05T01:30:00+11:00", "2026-04-05T01:45:00+11:00", "2026-04-05T01:30:00+10:30",
          "2026-04-05T01:45:00+10:30", "2026-04-05T02:00:00+10:30"]),
        ("15 2 * * *", "Australia/Lord_Howe", "2026-10-03T12:00Z",
         ["2026-10-04T02:30:00+11:00", "2026-10-05T02:15:00+11:00"]),
        ("*/15 * * * *", "Australia/Lord_Howe", "2026-10-03T15:15Z",
         ["2026-10-04T02:30:00+11:00", "2026-10-04T02:45:00+11:00"]),
        # Cairo, at midnight: 24 April begins at 01:00, and 29 October ends an hour late.
        ("0 0 * * *", "Africa/Cairo", "2026-04-22T22:00Z",
         ["2026-04-24T01:00:00+03:00", "2026-04-25T00:00:00+03:00"]),
        ("0 * * * *", "Africa/Cairo", "2026-04-23T20:30Z",
         ["2026-04-23T23:00:00+02:00", "2026-04-24T01:00:00+03:00"]),
        ("30 23 * * *", "Africa/Cairo", "2026-10-29T12:00Z",
         ["2026-10-29T23:30:00+03:00", "2026-10-30T23:30:00+02:00"]),
        ("0 * 29 10 *", "Africa/Cairo", "2026-10-29T19:30Z",
         ["2026-10-29T23:00:00+03:00", "2026-10-29T23:00:00+02:00", "2027-10-29T00:00:00+02:00"]),
        # The day that Samoa skipped.
        ("0 12 * * *", "Pacific/Apia", "2011-12-29T00:00Z",
         ["2011-12-29T12:00:00-10:00", "2011-12-31T12:00:00+14:00"]),
        ("0 0 30 12 *", "Pacific/Apia", "2011-12-01T00:00Z", ["2012-12-30T00:00:00+14:00"]),
        ("0 */12 * * *", "Pacific/Apia", "2011-12-29T23:00Z",
         ["2011-12-31T00:00:00+14:00", "2011-12-31T12:00:00+14:00"]),
    ],
)  # fmt: skip
def test_T3_cron_across_clock_changes(text, zone, after, expected):
    assert run(text, zone, after, len(expected)) == expected


def test_cron_with_seconds_keeps_rule_of_five_fields():
    fixed = run("0 30 2 * * *", "America/New_York", "2026-03-07T12:00Z", 3)
    assert fixed == run("30 2 * * *", "America/New_York", "2026-03-07T12:00Z", 3)
    gap = run("*/30 30 2 * * *", "America/New_York", "2026-03-07T12:00Z", 3)
    assert gap == [
        "2026-03-08T03:00:00-04:00", "2026-03-09T02:30:00-04:00", "2026-03-09T02:30:30-04:00",
    ]  # fmt: skip
    overlap = run("*/30 59 1 * * *", "America/New_York", "2026-11-01T04:00Z", 3)
    assert [one[8:] for one in overlap] == [
        "01T01:59:00-04:00", "01T01:59:30-04:00", "02T01:59:00-05:00",
    ]  # fmt: skip


@pytest.mark.parametrize("text", ["0 0 29 2 *", "*/5 * * * *", "30 2 * * *"])
def test_cron_instant_is_in_zone_of_trigger(text):
    trigger = CronTrigger(text, "Europe/Warsaw")
    assert trigger.next_fire(START).tzinfo is trigger.zone
    assert trigger.next_fire(START.astimezone(ZoneInfo("Asia/Tokyo"))) == trigger.next_fire(START)


def test_cron_second_pass_has_fold():
    trigger = CronTrigger("0 * * * *", "America/New_York")
    found = islice(instants(trigger, datetime(2026, 11, 1, 4, 30, tzinfo=UTC)), 3)
    assert [(one.hour, one.fold) for one in found] == [(1, 0), (1, 1), (2, 0)]


@pytest.mark.parametrize("microsecond", [0, 1, 500_000, 999_999])
def test_cron_after_fraction_of_a_second(microsecond):
    after = START.replace(second=59, microsecond=microsecond)
    assert CronTrigger("* * * * *").next_fire(after).isoformat() == "2026-01-01T00:01:00+00:00"
    later = START.replace(minute=1, microsecond=microsecond)
    assert CronTrigger("* * * * *").next_fire(later).isoformat() == "2026-01-01T00:02:00+00:00"
    end = datetime(9998, 12, 31, 23, 59, 58, microsecond, tzinfo=UTC)
    assert CronTrigger("* * * * * *").next_fire(end).second == 59


def test_cron_of_a_skipped_hour_only_has_no_next():
    second_sunday_of_march = CronTrigger("*/30 2 * 3 0#2", "America/New_York")
    assert second_sunday_of_march.next_fire(START) is None


def test_cron_after_last_year_has_no_next():
    trigger = CronTrigger("0 0 1 1 *")
    assert trigger.next_fire(datetime(9998, 6, 1, tzinfo=UTC)).year == 9999
    assert trigger.next_fire(datetime(9999, 6, 1, tzinfo=UTC)) is None
    assert CronTrigger("0 0 31 2-12 *").next_fire(datetime.max.replace(tzinfo=UTC)) is None


def test_T11_naive_datetime_is_refused():
    with pytest.raises(ValidationError, match="must be aware"):
        CronTrigger("* * * * *").next_fire(START.replace(tzinfo=None))


@pytest.mark.parametrize("text", ["*/7 * * * *", "30 1 * * *", "0 0 13 * 5#2", "*/10 * * * * *"])
def test_cron_trigger_is_shared_by_threads(text):
    trigger = CronTrigger(text, "America/New_York")
    starts = [START + timedelta(hours=7 * n) for n in range(200)]
    expected = {start: trigger.next_fire(start) for start in starts}

    def ask(seed):
        mine = starts[seed * 25 :] + starts[: seed * 25]
        return all(trigger.next_fire(start) == expected[start] for start in mine)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as pool:
            assert all(pool.map(ask, range(8)))
    finally:
        sys.setswitchinterval(interval)


FIRES = """
from datetime import UTC, datetime
from flowstone_core.scheduling.cron import CronTrigger
for text in ("30 2 * * *", "30 1 * * *", "*/30 * * * *"):
    trigger, after = CronTrigger(text, "America/New_York"), datetime(2026, 3, 8, 4, tzinfo=UTC)
    for _ in range(5):
        after = trigger.next_fire(after)
        print(after.isoformat())
"""


def test_cron_ignores_time_zone_of_the_host():
    answers = {
        subprocess.run(
            [sys.executable, "-c", FIRES],
            env={"TZ": zone}, capture_output=True, text=True, check=True,
        ).stdout
        for zone in ("UTC", "America/New_York", "Pacific/Apia")
    }  # fmt: skip
    assert len(answers) == 1
    assert "2026-03-08T03:00:00-04:00" in answers.pop()


def test_croniter_is_imported_lazily_and_reads_no_clock():
    script = """
import sys
import flowstone_core.scheduling.cron
assert not {"croniter", "cron_descriptor", "schedule"} & set(sys.modules)
import croniter.croniter
def no_clock():
    raise AssertionError("a clock was read")
croniter.croniter.time = no_clock
"""
    result = subprocess.run(
        [sys.executable, "-c", script + FIRES], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr

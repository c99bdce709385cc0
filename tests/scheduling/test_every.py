import subprocess
import sys
from datetime import UTC, datetime, timedelta
from itertools import islice

import pytest

from flowstone_core.errors import ValidationError
from flowstone_core.scheduling.every import EveryTrigger

ANCHOR = datetime(2001, 1, 1)  # noqa: DTZ001


def instants(trigger, after):
    while (after := trigger.next_fire(after)) is not None:
        yield after


def run(text, zone, after, count):
    found = instants(EveryTrigger(text, zone), datetime.fromisoformat(after))
    return [one.isoformat() for one in islice(found, count)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("30 seconds", ["01T12:07:30", "01T12:08:00"]),
        ("10 minutes", ["01T12:10:00", "01T12:20:00", "01T12:30:00"]),
        ("7 minutes", ["01T12:14:00", "01T12:21:00"]),
        ("2 hours", ["01T14:00:00", "01T16:00:00"]),
        ("second", ["01T12:07:11", "01T12:07:12"]),
        ("minute", ["01T12:08:00", "01T12:09:00"]),
        ("hour", ["01T13:00:00", "01T14:00:00"]),
        ("30s", ["01T12:07:30", "01T12:08:00"]),
        ("5m", ["01T12:10:00", "01T12:15:00"]),
        ("1h30m", ["01T13:30:00", "01T15:00:00"]),
        ("PT15M", ["01T12:15:00", "01T12:30:00"]),
        ("1000ms", ["01T12:07:11"]),
        ("1d", ["02T00:00:00", "03T00:00:00"]),
        ("minute at :30", ["01T12:07:30", "01T12:08:30"]),
        ("5 minutes at :05", ["01T12:10:05", "01T12:15:05"]),
        ("hour at :05", ["01T13:05:00", "01T14:05:00"]),
        ("hour at :15", ["01T12:15:00", "01T13:15:00"]),
        ("hour at 15:30", ["01T12:15:30", "01T13:15:30"]),
        ("2 hours at :15", ["01T12:15:00", "01T14:15:00"]),
        ("day", ["02T00:00:00", "03T00:00:00"]),
        ("1 day", ["02T00:00:00", "03T00:00:00"]),
        ("day at 10:30", ["02T10:30:00", "03T10:30:00"]),
        ("day at 12:07:11", ["01T12:07:11", "02T12:07:11"]),
        ("3 days at 06:00", ["02T06:00:00", "05T06:00:00", "08T06:00:00"]),
        ("week", ["05T00:00:00", "12T00:00:00"]),
        ("monday", ["05T00:00:00", "12T00:00:00"]),
        ("thursday", ["08T00:00:00", "15T00:00:00"]),
        ("thursday at 13:00", ["01T13:00:00", "08T13:00:00"]),
        ("monday at 08:00", ["05T08:00:00", "12T08:00:00"]),
        ("1 sunday at 08:00:09", ["04T08:00:09", "11T08:00:09"]),
        ("2 weeks", ["12T00:00:00", "26T00:00:00"]),
        ("  2   WEEKS ", ["12T00:00:00", "26T00:00:00"]),
        ("Day AT\t10:30", ["02T10:30:00", "03T10:30:00"]),
    ],
)
def test_interval_instants(text, expected):
    found = run(text, "UTC", "2026-01-01T12:07:10Z", len(expected))
    assert found == [f"2026-01-{one}+00:00" for one in expected]


@pytest.mark.parametrize(
    ("text", "zone", "after", "expected"),
    [
        # Spring in New York: 02:00 to 03:00 is skipped on 8 March.
        ("day at 02:30", "America/New_York", "2026-03-07T12:00Z",
         ["2026-03-08T03:00:00-04:00", "2026-03-09T02:30:00-04:00"]),
        ("sunday at 02:30", "America/New_York", "2026-03-07T12:00Z",
         ["2026-03-08T03:00:00-04:00", "2026-03-15T02:30:00-04:00"]),
        ("hour at :30", "America/New_York", "2026-03-08T06:00Z",
         ["2026-03-08T01:30:00-05:00", "2026-03-08T03:30:00-04:00"]),
        ("2 hours at :30", "America/New_York", "2026-03-08T05:00Z",
         ["2026-03-08T00:30:00-05:00", "2026-03-08T04:30:00-04:00"]),
        ("2 hours", "America/New_York", "2026-03-08T05:00Z",
         ["2026-03-08T03:00:00-04:00", "2026-03-08T05:00:00-04:00"]),
        ("day", "America/New_York", "2026-03-07T12:00Z",
         ["2026-03-08T00:00:00-05:00", "2026-03-09T00:00:00-04:00"]),
        ("24 hours", "America/New_York", "2026-03-07T12:00Z",
         ["2026-03-08T00:00:00-05:00", "2026-03-09T01:00:00-04:00"]),
        ("1d", "America/New_York", "2026-03-07T12:00Z",
         ["2026-03-08T00:00:00-05:00", "2026-03-09T01:00:00-04:00"]),
        # Autumn: 01:00 to 02:00 comes twice on 1 November.
        ("day at 01:30", "America/New_York", "2026-10-31T12:00Z",
         ["2026-11-01T01:30:00-04:00", "2026-11-02T01:30:00-05:00"]),
        ("hour at :15", "America/New_York", "2026-11-01T05:00Z",
         ["2026-11-01T01:15:00-04:00", "2026-11-01T01:15:00-05:00", "2026-11-01T02:15:00-05:00"]),
        ("hour", "America/New_York", "2026-11-01T04:30Z",
         ["2026-11-01T01:00:00-04:00", "2026-11-01T01:00:00-05:00", "2026-11-01T02:00:00-05:00"]),
        # Midnight does not come in Cairo on 24 April.
        ("day", "Africa/Cairo", "2026-04-22T22:00Z",
         ["2026-04-24T01:00:00+03:00", "2026-04-25T00:00:00+03:00"]),
        ("friday", "Africa/Cairo", "2026-04-22T22:00Z",
         ["2026-04-24T01:00:00+03:00", "2026-05-01T00:00:00+03:00"]),
        # The day that Samoa skipped has no instant.
        ("day at 12:00", "Pacific/Apia", "2011-12-29T00:00Z",
         ["2011-12-29T12:00:00-10:00", "2011-12-31T12:00:00+14:00"]),
        ("friday", "Pacific/Apia", "2011-12-29T00:00Z", ["2012-01-06T00:00:00+14:00"]),
        ("hour at :30", "Pacific/Apia", "2011-12-30T09:00Z",
         ["2011-12-29T23:30:00-10:00", "2011-12-31T00:30:00+14:00"]),
        # Elapsed time is counted from midnight in the zone.
        ("1h", "Asia/Kathmandu", "2026-01-01T00:00Z", ["2026-01-01T06:00:00+05:45"]),
        ("2 weeks", "Europe/Warsaw", "2026-03-28T00:00Z",
         ["2026-04-06T00:00:00+02:00", "2026-04-20T00:00:00+02:00"]),
    ],
)  # fmt: skip
def test_T3_interval_across_clock_changes(text, zone, after, expected):
    assert run(text, zone, after, len(expected)) == expected


SHOWN = (
    "; write an interval such as 30 seconds, 10 minutes, 2 hours, hour at :15, day at 10:30, "
    "monday at 08:00, 2 weeks, or a duration such as 1h30m or PT15M"
)
OF_HOUR = ":15 (minute) or 15:30 (minute and second)"
RANGE = "must be from one second to ten years"


@pytest.mark.parametrize(
    ("text", "why", "hint"),
    [
        ("", "unknown form", ""),
        ("10", "unknown form", ""),
        ("-5 minutes", "unknown form", ""),
        ("+5 minutes", "unknown form", ""),
        ("1.5 hours", "unknown form", ""),
        ("1,5 hours", "unknown form", ""),
        ("every 5 minutes", "unknown form", ""),
        ("10 minutes 5 seconds", "unknown form", ""),
        ("day at", "unknown form", ""),
        ("day at noon", "unknown form", ""),
        ("day at 10:30 UTC", "unknown form", ""),
        ("day at \u0661\u0660:30", "unknown form", ""),
        ("\u0665 minutes", "unknown form", ""),
        ("1h 30m", "unknown form", ""),
        ("5M", "unknown form", ""),
        ("-5s", "unknown form", ""),
        ("* * * * *", "unknown form", ""),
        ("5 to 10 minutes", "unknown form",
         "an interval is not random; spread schedules by jitter"),
        ("0 minutes", RANGE, ""),
        ("0 hours at :15", RANGE, ""),
        ("0s", RANGE, ""),
        ("3654 days", RANGE, ""),
        ("522 weeks", RANGE, ""),
        ("87700 hours at :15", RANGE, ""),
        ("9999999999999999999999999 hours", RANGE, ""),
        ("3653d1s", RANGE, ""),
        ("315619201 seconds", RANGE, ""),
        ("500ms", "must be whole seconds", ""),
        ("1500ms", "must be whole seconds", ""),
        ("PT0.5S", "must be whole seconds", ""),
        ("5 minuts", "unknown unit 'minuts'", "did you mean 'minutes'?"),
        ("mondey at 10:00", "unknown unit 'mondey'", "did you mean 'monday'?"),
        ("mondays", "unknown unit 'mondays'", "did you mean 'monday'?"),
        ("2 fortnights", "unknown unit 'fortnights'", ""),
        ("2 months", "unknown unit 'months'", "did you mean 'minutes'?"),
        ("do", "unknown unit 'do'", ""),
        ("to", "unknown unit 'to'", ""),
        ("interval", "unknown unit 'interval'", ""),
        ("2 mondays", "weekday counted 2 times",
         "a weekday comes every week; '2 weeks' counts Mondays"),
        ("3 friday at 10:00", "weekday counted 3 times",
         "a weekday comes every week; '3 weeks' counts Mondays"),
        ("2 hour", "unit 'hour' after 2", "did you mean '2 hours'?"),
        ("2 week", "unit 'week' after 2", "did you mean '2 weeks'?"),
        ("day at 24:00", "time '24:00', where 10:30 or 10:30:15 is allowed", ""),
        ("day at 9:30", "time '9:30', where 10:30 or 10:30:15 is allowed", ""),
        ("day at :30", "time ':30', where 10:30 or 10:30:15 is allowed", ""),
        ("monday at 10:60", "time '10:60', where 10:30 or 10:30:15 is allowed", ""),
        ("hour at 10:30:15", f"time '10:30:15', where {OF_HOUR} is allowed", ""),
        ("hour at :60", f"time ':60', where {OF_HOUR} is allowed", ""),
        ("minute at 10:30", "time '10:30', where :30 (second) is allowed", ""),
        ("week at 10:00", "time '10:00', where weeks take none", ""),
        ("2 seconds at :10", "time ':10', where seconds take none", ""),
    ],
)  # fmt: skip
def test_invalid_interval_is_refused(text, why, hint):
    with pytest.raises(ValidationError) as caught:
        EveryTrigger(text)
    (problem,) = caught.value.problems
    assert problem.message == f"invalid interval {text!r}: {why}{SHOWN}"
    assert problem.hint == hint


@pytest.mark.parametrize(
    "text", ["3653 days", "521 weeks", "3653d", "1 second", "315619200 seconds", "1s"]
)
def test_interval_from_a_second_to_ten_years_is_allowed(text):
    assert EveryTrigger(text).next_fire(datetime(2026, 1, 1, tzinfo=UTC)).year < 2037


def test_long_text_is_refused():
    with pytest.raises(ValidationError) as caught:
        EveryTrigger("9" * 1_000_000 + " minutes")
    assert "more than 100 characters" in str(caught.value)
    assert len(str(caught.value)) < 400
    assert EveryTrigger("0" * 90 + "7 minutes")
    with pytest.raises(ValidationError, match="more than 100 characters"):
        EveryTrigger("0" * 92 + "7 minutes")


@pytest.mark.parametrize("text", [None, 10, 10.5, timedelta(minutes=5)])
def test_value_that_is_not_text_is_refused(text):
    with pytest.raises(ValidationError, match="a trigger must be text"):
        EveryTrigger(text)


def test_unknown_time_zone_is_refused():
    with pytest.raises(ValidationError, match="did you mean 'Europe/Warsaw'"):
        EveryTrigger("day", "Europe/Warsow")


@pytest.mark.parametrize("text", ["1h", "hour", "hour at :15", "day at 10:30"])
def test_T11_naive_datetime_is_refused(text):
    with pytest.raises(ValidationError, match="must be aware"):
        EveryTrigger(text).next_fire(ANCHOR)


@pytest.mark.parametrize("zone", ["UTC", "America/New_York", "Pacific/Apia"])
@pytest.mark.parametrize("text", ["1h", "hour", "hour at :15", "day at 10:30", "521 weeks"])
def test_interval_at_ends_of_time_returns_none(text, zone):
    trigger = EveryTrigger(text, zone)
    assert trigger.next_fire(datetime.max.replace(tzinfo=UTC)) is None
    assert trigger.next_fire(datetime.min.replace(tzinfo=UTC)) is not None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("10 minutes", "every 10 minutes"),
        ("  Day  AT 10:30", "every day at 10:30"),
        ("monday at 08:00", "every monday at 08:00"),
        ("PT90M", "every 1h30m"),
        ("5m", "every 5m"),
    ],
)
def test_interval_describe_in_words(text, words):
    assert EveryTrigger(text).describe() == words


def test_schedule_is_imported_lazily_and_reads_no_clock():
    script = """
import sys, types
from datetime import UTC, datetime
from flowstone_core.scheduling.every import EveryTrigger
assert not {"croniter", "schedule"} & set(sys.modules)
EveryTrigger("1h")
assert "schedule" not in sys.modules
import schedule
schedule.datetime = types.SimpleNamespace(time=schedule.datetime.time)
schedule.time = schedule.random = None
for text in ("10 minutes", "day at 10:30", "monday", "2 hours at :15"):
    trigger = EveryTrigger(text, "America/New_York")
    print(trigger.next_fire(datetime(2026, 1, 1, tzinfo=UTC)).isoformat())
"""
    outputs = [
        subprocess.run(
            [sys.executable, "-c", script],
            env={"TZ": zone}, capture_output=True, text=True, check=False,
        )
        for zone in ("UTC", "Pacific/Apia")
    ]  # fmt: skip
    for output in outputs:
        assert output.returncode == 0, output.stderr
    assert outputs[0].stdout == outputs[1].stdout
    assert outputs[0].stdout.splitlines()[1] == "2026-01-01T10:30:00-05:00"

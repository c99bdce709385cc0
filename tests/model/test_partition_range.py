"""Spans: the partitions between two, by days, months and hours."""

from datetime import UTC, date, datetime, timedelta
from itertools import islice, pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowstone_core.errors import ValidationError
from flowstone_core.model.partition_range import LIMIT, partition_range

NEW_YORK = ZoneInfo("America/New_York")


def day(text):
    return date.fromisoformat(text)


def at(text):
    return datetime.fromisoformat(text)


def shown(span):
    return [moment.isoformat() for moment in span]


@pytest.mark.parametrize(
    ("first", "last", "every", "expected"),
    [
        ("2025-02-27", "2025-03-01", None, ["2025-02-27", "2025-02-28", "2025-03-01"]),
        ("2025-01-01", "2025-01-01", "day", ["2025-01-01"]),
        ("2025-01-01", "2025-01-16", "week", ["2025-01-01", "2025-01-08", "2025-01-15"]),
        ("2025-01-01", "2025-01-05", "2d", ["2025-01-01", "2025-01-03", "2025-01-05"]),
        ("2024-11-28", "2025-02-27", "month", ["2024-11-28", "2024-12-28", "2025-01-28"]),
        ("2025-01-28", "2025-02-28", "month", ["2025-01-28", "2025-02-28"]),
        ("2025-01-31", "2025-02-01", "year", ["2025-01-31"]),
        ("2024-01-31", "2026-01-30", "year", ["2024-01-31", "2025-01-31"]),
        ("2024-02-28", "2026-02-28", "year", ["2024-02-28", "2025-02-28", "2026-02-28"]),
        ("9999-12-30", "9999-12-31", " Day ", ["9999-12-30", "9999-12-31"]),
        ("9999-11-01", "9999-12-31", "month", ["9999-11-01", "9999-12-01"]),
        ("0001-01-01", "0001-02-01", "month", ["0001-01-01", "0001-02-01"]),
    ],
)
def test_range_of_dates_uses_calendar_steps(first, last, every, expected):
    span = partition_range(day(first), day(last), every)
    assert shown(span) == expected
    assert len(span) == len(expected)
    assert {type(moment) for moment in span} == {date}


@pytest.mark.parametrize(
    ("every", "expected"),
    [
        (None, ["10:00", "11:00", "12:00"]),
        ("hour", ["10:00", "11:00", "12:00"]),
        ("PT45M", ["10:00", "10:45", "11:30"]),
        (timedelta(minutes=70), ["10:00", "11:10"]),
        ("day", ["10:00"]),
        ("week", ["10:00"]),
    ],
)
def test_range_of_datetimes_uses_elapsed_time(every, expected):
    for zone in ("+00:00", ""):
        first, last = at(f"2025-01-15T10:00{zone}"), at(f"2025-01-15T12:10{zone}")
        span = partition_range(first, last, every)
        assert shown(span) == [f"2025-01-15T{time}:00{zone}" for time in expected]
        assert len(span) == len(expected)


@pytest.mark.parametrize("zone", ["", "+00:00"])
def test_range_of_datetimes_by_months_ends_with_its_time(zone):
    first, early, late = (
        at(f"2025-{text}{zone}") for text in ("01-28T10:00", "03-28T09:59", "03-28T10:00")
    )
    assert [each.month for each in partition_range(first, early, "month")] == [1, 2]
    assert len(partition_range(first, early, "month")) == 2
    assert partition_range(first, late, "month").end == late
    assert len(partition_range(first, late, "year")) == 1


def test_range_by_minutes():
    span = partition_range(at("2025-01-15T10:00Z"), at("2025-01-16T10:00Z"), "minute")
    assert len(span) == 1441
    assert shown(islice(span, 1, 2)) == ["2025-01-15T10:01:00+00:00"]


def test_range_by_hours_is_in_utc_across_clock_changes():
    first = datetime(2025, 11, 2, 0, tzinfo=NEW_YORK)
    last = datetime(2025, 11, 2, 3, tzinfo=NEW_YORK)
    # From midnight to three there are four hours on that day.
    assert shown(partition_range(first, last)) == [
        f"2025-11-02T0{hour}:00:00+00:00" for hour in range(4, 9)
    ]


@pytest.mark.parametrize(
    ("every", "text"),
    [
        ("day", "day"), ("24h", "day"), ("P1D", "day"), (timedelta(days=7), "week"),
        ("60m", "hour"), ("60s", "minute"), ("90m", "1h30m"), ("1ms", "1ms"), ("10d", "10d"),
    ],
)  # fmt: skip
def test_range_step_has_canonical_text(every, text):
    assert partition_range(at("2025-01-01T00:00"), at("2025-01-01T00:00:01"), every).every == text


def test_range_step_of_months_is_a_word():
    for every in ("month", "YEAR"):
        assert partition_range(day("2025-01-01"), day("2025-01-01"), every).every == every.lower()


@pytest.mark.parametrize(
    ("first", "last", "every", "said"),
    [
        (day("2025-01-02"), day("2025-01-01"), None, "2025-01-02, is after the last, 2025-01-01"),
        (day("2025-01-02"), at("2025-01-03T00:00Z"), None, "is a date, and the last"),
        (at("2025-01-02T00:00"), at("2025-01-03T00:00Z"), None, "is a naive datetime, and the"),
        (at("2025-01-02T00:00Z"), day("2025-01-03"), None, "is an aware datetime, and the"),
        ("north", day("2025-01-03"), None, "north is a string, which nothing comes after"),
        (day("2025-01-03"), ("eu", "x"), None, r"\(eu, x\) is a tuple, which nothing comes after"),
        (7, day("2025-01-03"), None, "cannot encode a value of type int as a partition"),
        (day("2025-01-01"), day("2025-01-03"), "dya", "invalid step 'dya'.*did you mean 'day'"),
        (day("2025-01-01"), day("2025-01-03"), "5", "invalid step '5': dates go by day, week"),
        (day("2025-01-01"), day("2025-01-03"), "hour", "dates cannot go by hour: dates go by"),
        (day("2025-01-01"), day("2025-01-03"), "36h", "dates cannot go by 1d12h"),
        (at("2025-01-29T00:00"), at("2025-01-30T00:00"), "month", "not every month has the day of"),
        (at("2025-01-01T00:00Z"), at("2025-01-03T00:00Z"), "0s", "invalid step 0:00:00: must be"),
        (at("2025-01-01T00:00"), at("2025-01-03T00:00"), "PT0.0015S", "a whole number of milli"),
        (day("2025-01-01"), day("2025-01-03"), timedelta(days=-1), "invalid step -1 day"),
        (day("2025-01-29"), day("2025-03-29"), "month", "not every month has the day of 2025-01-2"),
        (day("2024-02-29"), day("2025-03-29"), "year", "not every year has the day of 2024-02-29"),
        (
            at("2025-01-01T00:00"),
            at("2026-01-01T00:00"),
            "minute",
            "every minute from 2025-01-01 00:00:00 to 2026-01-01 00:00:00 there are 525,601 part",
        ),
    ],
)
def test_invalid_range_is_refused_with_allowed_forms(first, last, every, said):
    with pytest.raises(ValidationError, match=said):
        partition_range(first, last, every)


def test_range_has_at_most_100000_partitions():
    first = datetime(2025, 1, 1, tzinfo=UTC)
    assert len(partition_range(first, first + timedelta(minutes=LIMIT - 1), "minute")) == LIMIT
    with pytest.raises(ValidationError, match="100,001 partitions; at most 100,000"):
        partition_range(first, first + timedelta(minutes=LIMIT), "minute")


STEPS = ["day", "week", "month", "year", "3d"]


@given(st.dates(), st.integers(0, 3_000), st.sampled_from(STEPS))
def test_range_ends_with_last_step_within_it(first, length, every):
    first = first.replace(day=min(first.day, 28))
    last = first + timedelta(days=min(length, (date.max - first).days))
    days = list(partition_range(first, last, every))
    assert days[0] == first
    assert partition_range(first, last, every).end == days[-1]
    assert days == sorted(set(days))
    assert days[-1] <= last
    longest = {"day": 1, "week": 7, "month": 31, "year": 366, "3d": 3}[every]
    assert (last - days[-1]).days < longest
    for before, after in pairwise(days):
        assert (after - before).days <= longest

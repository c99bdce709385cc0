"""Ranges of local days, and of texts of a template: a backfill has the schedule's partitions."""

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowstone_core.errors import ValidationError
from flowstone_core.model.partition_range import LIMIT
from flowstone_core.scheduling.every import EveryTrigger
from flowstone_core.scheduling.local_range import Naming, local_range, naming_of
from flowstone_core.scheduling.partition_template import PartitionTemplate
from flowstone_core.scheduling.schedule import Schedule
from flowstone_core.scheduling.time_zone import load_zone, zone_names
from tests.scheduling.clock_changes import different_changes

NEW_YORK = load_zone("America/New_York")


def at(text):
    return datetime.fromisoformat(text)


def local(first, last, every=None, zone="America/New_York", template=None):
    """The partitions of a range, as text in the zone."""
    where = load_zone(zone)
    namings = [Naming("s", PartitionTemplate(template), where)] if template else ()
    found = local_range(first, last, every, zone=where, namings=namings)
    assert len(found) == len(list(found))
    return [
        (each.astimezone(where) if each.tzinfo else each).isoformat()
        if isinstance(each, datetime)
        else str(each)
        for each in found
    ]


def fired(schedule, first, last):
    """The partitions that a schedule makes from one instant to another."""
    instant = schedule.next_instant(first - timedelta.resolution)
    while instant is not None and instant <= last:
        yield schedule.partition(instant)
        instant = schedule.next_instant(instant)


def daily(time, zone, template):
    trigger = EveryTrigger(f"day at {time}", zone)
    return Schedule("daily", "report", "every", trigger, PartitionTemplate(template).partition)


def test_W7_local_days_are_those_of_a_schedule_at_every_change():
    for change in different_changes():
        zone, days = load_zone(change.zone), change.days
        middle = change.shown_before + (change.shown_after - change.shown_before) / 2
        for time in {"23:30", f"{middle:%H:%M}"}:
            schedule = daily(time, change.zone, "${instant}")
            midnight = datetime(days[0].year, days[0].month, days[0].day, tzinfo=zone)
            first = schedule.next_instant(midnight.astimezone(UTC) - timedelta.resolution)
            last = first + timedelta(days=4)
            if (first.astimezone(zone).strftime("%H:%M")) != time:
                continue  # a change on the day before, too: the range would begin in a gap
            found = local_range(first, last, "day", zone=zone)
            assert list(found) == list(fired(schedule, first, last)), (change, time)


def test_F5b_dates_and_texts_leave_out_days_that_clocks_skip():
    for change in different_changes():
        zone, days = load_zone(change.zone), change.days
        assert list(local_range(days[0], days[-1], zone=zone)) == days
        naming = Naming("s", PartitionTemplate("day ${date}"), zone)
        texts = local_range(f"day {days[0]}", f"day {days[-1]}", namings=[naming])
        assert list(texts) == [f"day {day}" for day in days]
    with pytest.raises(ValidationError, match="2011-12-30 does not exist in Pacific/Apia"):
        local_range(date(2011, 12, 30), date(2011, 12, 30), zone=load_zone("Pacific/Apia"))


@pytest.mark.parametrize(
    ("first", "last", "every", "expected"),
    [
        ("2026-03-07T02:30-05:00", "2026-03-10T02:30-04:00", "day",
         ["07T02:30:00-05:00", "08T03:00:00-04:00", "09T02:30:00-04:00", "10T02:30:00-04:00"]),
        ("2026-03-07T07:30Z", "2026-03-10T06:30Z", " DAY",
         ["07T02:30:00-05:00", "08T03:00:00-04:00", "09T02:30:00-04:00", "10T02:30:00-04:00"]),
        # A duration is elapsed time.
        ("2026-03-07T02:30-05:00", "2026-03-09T03:30-04:00", "24h",
         ["07T02:30:00-05:00", "08T03:30:00-04:00", "09T03:30:00-04:00"]),
        ("2026-03-08T01:00-05:00", "2026-03-08T04:00-04:00", None,
         ["08T01:00:00-05:00", "08T03:00:00-04:00", "08T04:00:00-04:00"]),
        ("2026-03-01T02:30-05:00", "2026-03-15T02:30-04:00", "week",
         ["01T02:30:00-05:00", "08T03:00:00-04:00", "15T02:30:00-04:00"]),
        ("2026-11-01T01:30-04:00", "2026-11-02T01:30-05:00", "day",
         ["01T01:30:00-04:00", "02T01:30:00-05:00"]),
        # From the second pass, and to it: the ends are what was given.
        ("2026-11-01T01:30-05:00", "2026-11-02T01:30-05:00", "day",
         ["01T01:30:00-05:00", "02T01:30:00-05:00"]),
        ("2026-10-31T01:30-04:00", "2026-11-01T01:10-05:00", "day",
         ["31T01:30:00-04:00", "01T01:30:00-04:00"]),
    ],
)  # fmt: skip
def test_W7_range_of_local_days_over_a_change(first, last, every, expected):
    assert [text[8:] for text in local(at(first), at(last), every)] == expected


def test_W7_range_of_local_months_has_local_days():
    found = local(at("2026-01-01T00:00+09:00"), at("2026-03-01T00:00+09:00"), "month", "Asia/Tokyo")
    assert [text[:10] for text in found] == ["2026-01-01", "2026-02-01", "2026-03-01"]
    with pytest.raises(ValidationError, match="not every month has the day of 2026-01-31"):
        local(at("2026-01-31T00:00+09:00"), at("2026-03-01T00:00+09:00"), "month", "Asia/Tokyo")


def test_W7_step_names_the_zone_of_local_days():
    ends = at("2026-03-07T02:30-05:00"), at("2026-03-10T02:30-04:00")
    assert local_range(*ends, "day", zone=NEW_YORK).every == "day in America/New_York"
    assert local_range(*ends, "day", zone=load_zone("UTC")).every == "day"
    assert local_range(*ends, "1d", zone=NEW_YORK).every == "day"
    assert local_range(*ends, "hour", zone=NEW_YORK).every == "hour"
    naive = [each.replace(tzinfo=None) for each in ends]
    assert local_range(*naive, "day", zone=NEW_YORK).every == "day in America/New_York"
    assert local_range(*naive, "day").every == "day"


@pytest.mark.parametrize(
    ("first", "last", "every", "expected"),
    [
        ("2026-03-07T02:30", "2026-03-09T02:30", "day", ["07T02:30", "08T03:00", "09T02:30"]),
        ("2026-03-08T00:00", "2026-03-08T04:00", None,
         ["08T00:00", "08T01:00", "08T03:00", "08T04:00"]),
        ("2026-11-01T00:00", "2026-11-01T03:00", "hour",
         ["01T00:00", "01T01:00", "01T02:00", "01T03:00"]),
        ("2026-03-07T02:30", "2026-03-08T03:30", "24h", ["07T02:30", "08T03:30"]),
    ],
)  # fmt: skip
def test_W7_naive_datetimes_are_those_that_clocks_show(first, last, every, expected):
    assert [text[8:16] for text in local(at(first), at(last), every)] == expected


def test_W7_naive_days_are_those_of_a_schedule_at_every_change():
    template = "${date}T${hour}:${minute}"
    for change in different_changes():
        time = f"{change.shown_before:%H:%M}"
        schedule = daily(time, change.zone, template)
        first = datetime.combine(change.days[0], datetime.strptime(time, "%H:%M").time())  # noqa: DTZ007
        last = first + (change.days[-1] - change.days[0])
        begin = first.replace(tzinfo=load_zone(change.zone)).astimezone(UTC)
        found = list(local_range(first, last, "day", zone=load_zone(change.zone)))
        made = fired(schedule, begin, begin + timedelta(days=6))
        assert found == [next(made) for _ in found], change
        assert len(found) == len(change.days)


def test_range_of_fractions_of_seconds_has_no_local_times():
    first = at("2026-03-08T00:00:00.5")
    assert len(local_range(first, first + timedelta(hours=4), zone=NEW_YORK)) == 5


@pytest.mark.parametrize(
    ("template", "first", "last", "every", "expected"),
    [
        (None, "2025-11", "2026-02", None, ["2025-11", "2025-12", "2026-01", "2026-02"]),
        (None, "2025-11", "2026-11", "year", ["2025-11", "2026-11"]),
        ("${year}${month}", "202511", "202601", None, ["202511", "202512", "202601"]),
        ("${year}", "2025", "2027", None, ["2025", "2026", "2027"]),
        ("$year.$$", "2025.$", "2026.$", None, ["2025.$", "2026.$"]),
        ("n-${date}", "n-2025-02-27", "n-2025-03-01", None,
         ["n-2025-02-27", "n-2025-02-28", "n-2025-03-01"]),
        ("n-${date}", "n-2025-02-01", "n-2025-02-16", "week",
         ["n-2025-02-01", "n-2025-02-08", "n-2025-02-15"]),
        ("n-${date}", "n-2025-02-01", "n-2025-02-04", "2d", ["n-2025-02-01", "n-2025-02-03"]),
        ("n-${date}", "n-2025-02-01", "n-2025-04-01", "month",
         ["n-2025-02-01", "n-2025-03-01", "n-2025-04-01"]),
        ("${year}/${date}", "2025/2025-01-01", "2025/2025-01-02", None,
         ["2025/2025-01-01", "2025/2025-01-02"]),
        ("${year} ${year}", "2025 2025", "2026 2026", None, ["2025 2025", "2026 2026"]),
        # An hour that is skipped, and one that comes twice.
        ("${date}/${hour}", "2026-03-08/01", "2026-03-08/04", None,
         ["2026-03-08/01", "2026-03-08/03", "2026-03-08/04"]),
        ("${date}/${hour}", "2026-11-01/00", "2026-11-01/02", None,
         ["2026-11-01/00", "2026-11-01/01", "2026-11-01/02"]),
        ("${date}/${hour}", "2026-11-01/00", "2026-11-01/04", "2h",
         ["2026-11-01/00", "2026-11-01/01", "2026-11-01/03"]),
        ("${date}/${hour}", "2026-03-07/02", "2026-03-09/02", "day",
         ["2026-03-07/02", "2026-03-08/03", "2026-03-09/02"]),
        ("${date}/${hour}/${minute}/${second}", "2026-01-01/00/00/59", "2026-01-01/00/01/00", None,
         ["2026-01-01/00/00/59", "2026-01-01/00/01/00"]),
        # A template that writes dates, given as texts.
        ("${date}", "2025-01-01", "2025-01-02", None, ["2025-01-01", "2025-01-02"]),
    ],
)  # fmt: skip
def test_W8_texts_of_a_template_have_a_range(template, first, last, every, expected):
    assert local(first, last, every, template=template) == expected


def test_W8_text_of_a_skipped_end_of_day_is_the_schedules():
    template, zone = "${date}/${hour}", "America/Nuuk"
    schedule = daily("23:00", zone, template)
    found = local("2026-03-27/23", "2026-03-29/23", "day", zone, template)
    begin = datetime(2026, 3, 27, 12, tzinfo=UTC)
    assert found == list(fired(schedule, begin, begin + timedelta(days=3)))
    assert found == ["2026-03-27/23", "2026-03-28/23", "2026-03-29/23"]


@pytest.mark.parametrize(
    ("template", "first", "last", "every", "said"),
    [
        (None, "north", "south", None, "no range from 'north' to 'south': must be from a date"),
        (None, "2025-13", "2025-14", None, "no range from '2025-13'"),
        (None, "2025-1-5", "20250106", None, "(for the dates write 2025-01-05 and 2025-01-06)"),
        (None, "2025-03", "2025-02", None, "2025-03, is after the last, 2025-02"),
        (None, "2025-03", "2025-04", "day", "cannot go by day: its shortest unit is the month"),
        ("${year}", "2025", "2026", "month", "cannot go by month: its shortest unit is the year"),
        ("n-${date}", "n-2025-01-01", "n-2025-01-02", "hour", "cannot go by hour"),
        ("n-${date}", "n-2025-01-31", "n-2025-03-01", "month", "not every month has the day"),
        ("n-${date}", "n-2025-02-30", "n-2025-03-01", None, "n-${date} in America/New_York"),
        ("${year}-${day}", "2025-01", "2025-99", None, "no range from"),
        ("${year}${offset}", "2025", "2026", None, "no range from"),
        ("all", "all", "all", None, "no range from 'all'"),
        ("${date} ${day}", "2025-01-01 02", "2025-01-02 02", None, "no range from"),
        ("n-${date}", date(2025, 1, 1), "n-2025-01-02", None, "is a string, which nothing comes"),
    ],
)  # fmt: skip
def test_W8_text_without_a_range_is_refused(template, first, last, every, said):
    with pytest.raises(ValidationError) as caught:
        local(first, last, every, template=template)
    assert said in str(caught.value)


def test_range_of_local_days_has_a_limit():
    first = datetime(1700, 1, 1, tzinfo=UTC)
    with pytest.raises(ValidationError, match=f"at most {LIMIT:,}"):
        local_range(first, first + timedelta(days=LIMIT), "day", zone=NEW_YORK)
    with pytest.raises(ValidationError, match=f"at most {LIMIT:,}"):
        local("0001/01", "9999/12", template="${year}/${month}")


def test_range_at_ends_of_time_is_refused_or_ends():
    latest = datetime.max.replace(microsecond=0, tzinfo=UTC)
    found = local_range(latest - timedelta(days=1), latest, "day", zone=NEW_YORK)
    assert found.end == latest
    with pytest.raises(ValidationError, match="is outside the years 1 to 9999"):
        local_range(latest, latest, "day", zone=load_zone("Asia/Tokyo"))


def test_naming_of_a_schedule_has_its_zone_and_template():
    found = naming_of("s", {"timezone": "Asia/Tokyo", "partition": "${year}"})
    assert (found.template.text, found.zone.key, found.known) == ("${year}", "Asia/Tokyo", True)
    plain = naming_of("s", {"partition_fn": "shop:day"})
    assert (plain.template, plain.zone.key, plain.known) == (None, "UTC", False)


@settings(max_examples=100)
@given(
    st.sampled_from(["${date}!", "${year}w${month}", "${year}${month}${day}T${hour}", "x${year}"]),
    st.datetimes(datetime(1000, 1, 1), datetime(2099, 1, 1)),  # noqa: DTZ001
    st.sampled_from(sorted(zone_names())),
)
def test_template_reads_what_it_writes(template, local_time, zone):
    form = PartitionTemplate(template)
    written = str(form.partition(local_time))
    begin = form.read(written)
    assert begin <= local_time
    assert form.partition(begin) == written
    found = local_range(written, written, namings=[Naming("s", form, load_zone(zone))])
    assert len(found) == 1

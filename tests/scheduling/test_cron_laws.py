"""The laws of CronTrigger, against a look at every minute of the clocks around their changes."""

from datetime import UTC, timedelta
from zoneinfo import ZoneInfo

from hypothesis import given, settings
from hypothesis import strategies as st

from flowstone_core.scheduling.cron import CronTrigger
from tests.scheduling.clock_changes import different_changes

DAY, MINUTE = timedelta(days=1), timedelta(minutes=1)
WEEKDAYS = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"]


def listed(low, high):
    """A list of numbers, and these numbers."""
    numbers = st.sets(st.integers(low, high), min_size=1, max_size=6)
    return numbers.map(lambda found: (",".join(map(str, sorted(found))), found))


def field(low, high):
    """A field and its numbers: all of them, each of a step, or a list."""
    steps = st.integers(2, 6)
    return st.one_of(
        st.just(("*", set(range(low, high + 1)))),
        steps.map(lambda step: (f"*/{step}", set(range(low, high + 1, step)))),
        listed(low, high),
    )


def fields_around(change):
    """Fields of an expression; the hours of every other one are those that the change concerns."""
    walls = {change.shown_before - MINUTE, change.shown_after - MINUTE, change.shown_after}
    hours = {wall.hour for wall in walls}
    near = (",".join(map(str, sorted(hours))), hours)
    any_day, any_weekday = (st.just(("*", set(range(low, low + 31)))) for low in (1, 0))
    return st.tuples(
        st.one_of(listed(0, 59), field(0, 59)),
        st.one_of(st.just(near), field(0, 23)),
        st.one_of(any_day, field(1, 31)),
        st.one_of(any_weekday, field(0, 6)),
    )


def is_due(fields, wall):
    """Return True if a local time satisfies the fields; of two days without a star, one will do."""
    (_, minutes), (_, hours), (day_text, days), (weekday_text, weekdays) = fields
    found = [wall.day in days, wall.isoweekday() % 7 in weekdays]
    both = "*" in day_text + weekday_text
    return wall.minute in minutes and wall.hour in hours and (all(found) if both else any(found))


def shown(begin, end, zone):
    """Each minute of elapsed time, with what clocks show then."""
    for number in range((end - begin) // MINUTE):
        instant = begin + number * MINUTE
        yield instant, instant.astimezone(zone).replace(tzinfo=None)


def expected(fields, change, begin, end):
    """The instants between two by the rules of docs/schedules.md, minute by minute."""
    minutes = list(shown(begin - DAY, end, ZoneInfo(change.zone)))
    if "*" in fields[0][0] or "*" in fields[1][0]:
        found = [instant for instant, wall in minutes if is_due(fields, wall)]
    else:
        first = {}
        for instant, wall in minutes:
            first.setdefault(wall, instant)
        wall = change.shown_before
        while wall < change.shown_after:
            if wall.date() in change.days:
                first[wall] = change.at
            wall += MINUTE
        found = sorted({instant for wall, instant in first.items() if is_due(fields, wall)})
    return [instant for instant in found if begin < instant < end]


CHANGES = sorted(different_changes(), key=lambda each: (each.at, each.zone))


# Minutes from the change to the begin: in the second pass of an overlap, near it, a day before.
SHIFTS = st.one_of(st.integers(0, 59), st.integers(-90, 90), st.integers(-1_500, -90))


@settings(max_examples=100)
@given(st.data(), st.sampled_from(CHANGES), SHIFTS)
def test_T3_cron_fires_at_each_due_minute_and_no_other(data, change, shift):
    fields = data.draw(fields_around(change))
    (minute, _), (hour, _), (day, _), (weekday, _) = fields
    trigger = CronTrigger(f"{minute} {hour} {day} * {weekday}", change.zone)
    begin, end = change.at + shift * MINUTE, change.at + DAY
    found, after = [], begin
    while (fire := trigger.next_fire(after)) is not None and fire < end:
        assert fire.astimezone(UTC) > after
        after = fire.astimezone(UTC)
        found.append(after)
    assert found == expected(fields, change, begin, end)

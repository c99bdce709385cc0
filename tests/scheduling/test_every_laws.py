"""The laws of EveryTrigger, whatever the interval, the zone and the instant."""

from datetime import UTC, datetime, timedelta
from itertools import islice
from zoneinfo import ZoneInfo

from hypothesis import given, settings
from hypothesis import strategies as st

from flowstone_core.scheduling.every import EveryTrigger

ANCHOR = datetime(2001, 1, 1)  # noqa: DTZ001
SECOND = timedelta(seconds=1)
ZONES = [
    "UTC", "America/New_York", "Europe/Warsaw", "Australia/Lord_Howe", "Africa/Cairo",
    "Pacific/Apia", "Antarctica/Troll", "Europe/Dublin", "Asia/Kathmandu",
]  # fmt: skip
WEEKDAYS = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]


def instants(trigger, after):
    while (after := trigger.next_fire(after)) is not None:
        yield after


def clock(seconds):
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"


DATED = st.one_of(
    st.tuples(st.integers(1, 40), st.integers(0, 86_399)).map(
        lambda pair: (f"{pair[0]} days at {clock(pair[1])}", timedelta(days=pair[0]), pair[1])
    ),
    st.tuples(st.integers(0, 6), st.integers(0, 86_399)).map(
        lambda pair: (
            f"{WEEKDAYS[pair[0]]} at {clock(pair[1])}",
            timedelta(weeks=1),
            pair[0] * 86_400 + pair[1],
        )
    ),
    st.integers(1, 8).map(lambda count: (f"{count} weeks", timedelta(weeks=count), 0)),
)
SHOWN_BY_CLOCKS = st.one_of(
    st.tuples(st.integers(1, 50), st.integers(0, 3_599)).map(
        lambda pair: (f"{pair[0]} hours at {clock(pair[1])[3:]}", timedelta(hours=pair[0]), pair[1])
    ),
    st.tuples(st.integers(1, 90), st.integers(0, 59)).map(
        lambda pair: (f"{pair[0]} minutes at :{pair[1]:02}", timedelta(minutes=pair[0]), pair[1])
    ),
)
ELAPSED = st.one_of(
    st.integers(1, 200_000).map(lambda n: (f"{n} seconds", timedelta(seconds=n), 0)),
    st.integers(1, 5_000).map(lambda n: (f"{n}m", timedelta(minutes=n), 0)),
    st.integers(1, 100).map(lambda n: (f"{n} hours", timedelta(hours=n), 0)),
)
STARTS = st.datetimes(
    datetime(1990, 1, 1), datetime(2099, 12, 31), timezones=st.just(UTC)  # noqa: DTZ001
)  # fmt: skip


def wall(instant):
    return instant.replace(tzinfo=None)


def changed_before(instant):
    """Whether the offset changed in the second before an instant."""
    before = (instant.astimezone(UTC) - SECOND).astimezone(instant.tzinfo)
    return before.utcoffset() != instant.utcoffset()


@settings(max_examples=150)
@given(ELAPSED, st.sampled_from(ZONES), STARTS)
def test_elapsed_interval_counts_from_anchor(interval, name, after):
    text, step, _ = interval
    first, second = islice(instants(EveryTrigger(text, name), after), 2)
    anchor = ANCHOR.replace(tzinfo=ZoneInfo(name)).astimezone(UTC)
    assert (first.astimezone(UTC) - anchor) % step == timedelta(0)
    assert second.astimezone(UTC) - first.astimezone(UTC) == step
    assert timedelta(0) < first.astimezone(UTC) - after <= step


@settings(max_examples=150)
@given(DATED, st.sampled_from(ZONES), STARTS)
def test_interval_of_days_counts_from_anchor(interval, name, after):
    text, step, offset = interval
    for found in islice(instants(EveryTrigger(text, name), after), 3):
        begin = ANCHOR + offset * SECOND
        assert found.fold == 0
        late = (wall(found) - begin) % step
        assert late <= timedelta(days=1 if changed_before(found) else 0)


@settings(max_examples=150)
@given(SHOWN_BY_CLOCKS, st.sampled_from(ZONES), STARTS)
def test_interval_at_a_time_counts_from_anchor(interval, name, after):
    text, step, offset = interval
    for found in islice(instants(EveryTrigger(text, name), after), 3):
        assert (wall(found) - ANCHOR - offset * SECOND) % step == timedelta(0)


@settings(max_examples=150)
@given(st.one_of(ELAPSED, DATED, SHOWN_BY_CLOCKS), st.sampled_from(ZONES), STARTS)
def test_next_instant_is_the_first_later_one(interval, name, after):
    trigger = EveryTrigger(interval[0], name)
    found = [one.astimezone(UTC) for one in islice(instants(trigger, after), 3)]
    assert trigger.next_fire(after).tzinfo is trigger.zone
    for earlier, later in zip([after, *found], found, strict=False):
        assert earlier < later
        for asked in (
            later - SECOND,
            later - timedelta.resolution,
            earlier + (later - earlier) / 2,
        ):
            if asked >= earlier:
                assert trigger.next_fire(asked).astimezone(UTC) == later

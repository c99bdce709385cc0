"""Holds CronTrigger against cronsim, which shares no code with croniter, and against its laws."""

from datetime import UTC, datetime, timedelta
from itertools import islice
from zoneinfo import ZoneInfo

from cronsim import CronSim
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from flowstone_core.errors import ValidationError
from flowstone_core.scheduling.cron import CronTrigger

MONTHS = ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"]
WEEKDAYS = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"]
SECOND = timedelta(seconds=1)

ANY_ZONES = [
    "UTC", "America/New_York", "Europe/Warsaw", "Europe/Dublin", "Antarctica/Troll", "Asia/Kolkata",
]  # fmt: skip
# Where clocks change at midnight or by half an hour, cronsim gives times of a job with a star that
# no clock shows, or never returns; the other jobs it gets right.
FIXED_ZONES = [
    *ANY_ZONES, "Africa/Cairo", "Asia/Beirut", "America/Havana", "America/St_Johns",
    "Australia/Lord_Howe", "Pacific/Apia", "America/Sao_Paulo", "Africa/Casablanca",
]  # fmt: skip


def numbers(low, high, names=()):
    """One item of a list: a number, a range, a step; written by name where there is one."""

    def written(number):
        names_of_it = [names[number - low]] if number - low < len(names) else []
        return st.sampled_from([str(number), *names_of_it, *map(str.lower, names_of_it)])

    def ranged(bounds):
        first, last = sorted(bounds)
        return st.tuples(written(first), written(last) if last < 7 else st.just(str(last))).map(
            "-".join
        )

    number = st.integers(low, high)
    # cronsim reads 5-5/2 as 5-59/2, and sun as nothing but 0: such ranges are in tables.
    wide = st.tuples(number, number).filter(lambda pair: pair[0] != pair[1]).flatmap(ranged)
    step = st.integers(1, len(names) or high - low + 1).map(str)
    begin = st.one_of(st.just("*"), wide, number.map(str))
    return st.one_of(number.flatmap(written), wide, st.tuples(begin, step).map("/".join))


def field(item, *more):
    """A field: a star, or a list of one to three items."""
    items = st.lists(st.one_of(item, st.just("*"), *more), min_size=1, max_size=3)
    return st.one_of(st.just("*"), items.map(",".join))


weekday = st.integers(0, 7).map(str)
FIELDS = (
    field(numbers(0, 59)),
    field(numbers(0, 23)),
    field(numbers(1, 31), st.just("L"), st.just("l")),
    field(numbers(1, 12, MONTHS)),
    field(
        numbers(0, 7, WEEKDAYS),
        weekday.map(lambda day: f"{day}L"),
        st.tuples(st.one_of(weekday, st.sampled_from(WEEKDAYS)), st.integers(1, 5)).map(
            lambda pair: f"{pair[0]}#{pair[1]}"
        ),
    ),
)
EXPRESSIONS = st.tuples(*FIELDS).map(" ".join)
STARTS = st.datetimes(
    datetime(1990, 1, 1), datetime(2099, 12, 31), timezones=st.just(UTC)  # noqa: DTZ001
)  # fmt: skip


@st.composite
def triggers(draw, expressions=EXPRESSIONS, zones=None):
    text = draw(expressions)
    minute, hour, *_ = text.split()
    starred = minute.startswith("*") or hour.startswith("*")
    zone = draw(st.sampled_from(zones or (ANY_ZONES if starred else FIXED_ZONES)))
    try:
        return CronTrigger(text, zone)
    except ValidationError as error:
        assert "never fires" in str(error)  # noqa: PT017
        assume(False)


def instants(trigger, after):
    while (after := trigger.next_fire(after)) is not None:
        yield after


def oracle(trigger, after):
    """The instants of cronsim, without those it repeats at a change of the clock.

    And without those that it makes up for after the day that Samoa skipped: Debian does not.
    """
    last = after
    for found in CronSim(trigger.text, after.astimezone(ZoneInfo(trigger.timezone))):
        if found.astimezone(UTC) > last.astimezone(UTC):
            if found.isoformat() != AFTER_SKIPPED_DAY or midnight_is_due(trigger.text):
                yield found
            last = found


AFTER_SKIPPED_DAY = "2011-12-31T00:00:00+14:00"


def midnight_is_due(text):
    midnight = datetime(2011, 12, 31, tzinfo=UTC)
    return next(CronSim(text, midnight - SECOND), None) == midnight


@settings(max_examples=400)
@given(triggers(), STARTS)
def test_cron_agrees_with_cronsim(trigger, after):
    mine = [one.isoformat() for one in islice(instants(trigger, after), 20)]
    other = [one.isoformat() for one in islice(oracle(trigger, after), len(mine))]
    assert mine == other
    assert mine or next(oracle(trigger, after), None) is None


@settings(max_examples=200)
@given(triggers(), st.integers(1990, 2037), st.sampled_from([3, 4, 10, 11]))
def test_cron_agrees_with_cronsim_at_clock_changes(trigger, year, month):
    after = datetime(year, month, 1, tzinfo=UTC)
    mine = [one.isoformat() for one in islice(instants(trigger, after), 60)]
    other = [one.isoformat() for one in islice(oracle(trigger, after), len(mine))]
    assert mine == other


SECONDS = st.tuples(field(numbers(0, 59)), EXPRESSIONS).map(" ".join)


@settings(max_examples=200)
@given(
    triggers(st.one_of(EXPRESSIONS, SECONDS), FIXED_ZONES),
    STARTS,
    st.sampled_from([0, 1, 500_000, 999_999]),
)
def test_next_instant_is_the_first_later_one(trigger, after, microsecond):
    after = after.replace(microsecond=microsecond)
    found = [one.astimezone(UTC) for one in islice(instants(trigger, after), 3)]
    assert all(one.microsecond == 0 for one in found)
    for earlier, later in zip([after, *found], found, strict=False):
        assert earlier < later
        between = earlier + (later - earlier) / 2
        for asked in (later - SECOND, later - timedelta.resolution, between):
            if asked >= earlier:
                assert trigger.next_fire(asked).astimezone(UTC) == later

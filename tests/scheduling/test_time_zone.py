import zoneinfo
from datetime import UTC, datetime, timedelta
from functools import partial
from importlib.metadata import version
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowstone_core.errors import ValidationError
from flowstone_core.scheduling import clock_rules
from flowstone_core.scheduling.time_zone import load_zone, zone_data, zone_names
from flowstone_core.scheduling.zone_table import zone_table

SECOND = timedelta(seconds=1)

# (zone, year): every kind of change there is, and the offsets that other code gets wrong.
CHANGES = [
    ("America/New_York", 2026),
    ("Europe/Warsaw", 2026),
    ("Australia/Lord_Howe", 2026),  # half an hour
    ("Africa/Cairo", 2026),  # at midnight
    ("Asia/Beirut", 2026),  # at midnight, and into the day before
    ("America/Havana", 2026),
    ("America/St_Johns", 1990),  # at one minute past midnight
    ("America/St_Johns", 1988),  # by two hours
    ("Antarctica/Troll", 2026),  # by two hours
    ("Europe/Dublin", 2026),  # winter is what is saved
    ("Africa/Casablanca", 2026),
    ("Pacific/Apia", 2011),  # a day that was not
    ("Pacific/Kwajalein", 1993),
    ("America/Caracas", 2007),
    ("Asia/Pyongyang", 2015),
    ("Antarctica/Casey", 2018),  # by three hours
    ("America/Sao_Paulo", 2018),
]


def local(*parts):
    return datetime(*parts)  # noqa: DTZ001


ANCHOR = local(1990, 1, 1)
EPOCH = local(1970, 1, 1)


def in_seconds(matches):
    """The same local times as whole seconds, which the rules compute with."""

    def following(wall):
        found = matches(EPOCH + wall * SECOND) if wall <= LAST_WALL else None
        return None if found is None else (found - EPOCH) // SECOND

    return following


LAST_WALL = (datetime.max - EPOCH) // SECOND  # noqa: DTZ901 - local


def next_fixed(matches, zone, after):
    return clock_rules.next_fixed(in_seconds(matches), zone_table(zone), after)


def next_elapsed(matches, zone, after):
    return clock_rules.next_elapsed(in_seconds(matches), zone_table(zone), after)


def fixed_local(matches, zone, instant):
    return clock_rules.fixed_local(in_seconds(matches), zone_table(zone), instant)


def every(step, begin=ANCHOR):
    """The local times that are a number of steps after a beginning."""
    return lambda wall: begin + ((wall - begin) // step + 1) * step


def only(*walls):
    return lambda wall: min((one for one in walls if one > wall), default=None)


def changes_of(zone, year):
    """The instants of a year at which the offset changes, found by looking at each hour."""
    hours = [datetime(year, 1, 1, tzinfo=UTC) + timedelta(hours=n) for n in range(366 * 24)]
    for before, after in pairwise(hours):
        offset = before.astimezone(zone).utcoffset()
        if after.astimezone(zone).utcoffset() != offset:
            seconds = (before + n * SECOND for n in range(3601))
            yield next(one for one in seconds if one.astimezone(zone).utcoffset() != offset)


@pytest.mark.parametrize("name", ["UTC", "Europe/Warsaw", "America/Argentina/Buenos_Aires"])
def test_zone_is_loaded_by_iana_name(name):
    assert load_zone(name).key == name


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("Europe/Warsow", "unknown time zone 'Europe/Warsow': did you mean 'Europe/Warsaw'?"),
        ("europe/warsaw", "did you mean 'Europe/Warsaw'?"),
        ("CEST-1", "unknown time zone 'CEST-1'"),
        ("", "unknown time zone '': use an IANA name such as Europe/Warsaw"),
        ("../UTC", "unknown time zone '../UTC'"),
        ("Europe", "unknown time zone 'Europe'"),
        ("posixrules", "unknown time zone"),
        ("Factory", "unknown time zone"),
        ("Europe/Warsaw\0", r"unknown time zone 'Europe/Warsaw\x00'"),
        (None, "unknown time zone None: use an IANA name such as Europe/Warsaw"),
        (["UTC"], "unknown time zone ['UTC']: use an IANA name"),
    ],
)
def test_T7_unknown_zone_is_refused(name, said):
    with pytest.raises(ValidationError) as caught:
        load_zone(name)
    assert said in str(caught.value)


def test_long_zone_name_is_truncated():
    with pytest.raises(ValidationError) as caught:
        load_zone("x" * 100_000)
    assert len(str(caught.value)) < 300


def test_every_listed_zone_can_be_loaded():
    assert len(zone_names()) > 400
    for name in zone_names():
        assert load_zone(name).key == name


def test_T7_unreadable_zone_data_is_reported(tmp_path):
    (tmp_path / "Indian").mkdir()
    (tmp_path / "Indian" / "Cocos").write_bytes(b"not a zone")
    zoneinfo.ZoneInfo.clear_cache(only_keys=["Indian/Cocos"])
    zoneinfo.reset_tzpath([tmp_path])
    try:
        with pytest.raises(ValidationError, match="cannot read the data of time zone Indian/Cocos"):
            load_zone("Indian/Cocos")
    finally:
        zoneinfo.reset_tzpath()


@pytest.mark.parametrize(("name", "year"), CHANGES)
@pytest.mark.parametrize(
    ("phase", "steps"), [(timedelta(0), 4), (timedelta(minutes=1, seconds=7), 3.75)]
)
def test_T3_instants_around_every_clock_change(name, year, phase, steps):
    zone = load_zone(name)
    changes = list(changes_of(zone, year))
    assert changes
    for change in changes:
        before = (change - SECOND).astimezone(zone).utcoffset()
        after = change.astimezone(zone).utcoffset()
        size = abs(after - before)
        step = size / steps
        matches = every(step, ANCHOR + phase)
        # What each pass of the clock shows; a time that it skips is made up for by the change.
        begin, end = change - 3 * size, change + 3 * size
        shown, fixed, wall = set(), set(), (begin + min(before, after)).replace(tzinfo=None)
        while (wall := matches(wall)).replace(tzinfo=UTC) < end + max(before, after):
            first, second = ((wall - one).replace(tzinfo=UTC) for one in (before, after))
            passes = [
                one for one, when in ((first, first < change), (second, second >= change)) if when
            ]
            shown.update(passes)
            if passes or size < timedelta(days=1):  # a day that was not has no instant
                fixed.add(min(passes, default=change))
        asked = [
            one + delta for one in shown | fixed for delta in (-SECOND, SECOND / 10, 0 * SECOND)
        ]
        for start in asked:
            if begin < start < end - 2 * step:
                for ask, instants in ((next_elapsed, shown), (next_fixed, fixed)):
                    found = ask(matches, zone, start)
                    assert found.tzinfo is zone
                    expected = min(one for one in instants if one > start)
                    assert found.astimezone(UTC) == expected, (ask, start)
                    assert found.fold == expected.astimezone(zone).fold


@pytest.mark.parametrize("ask", [next_fixed, next_elapsed])
def test_next_instant_is_independent_of_zone_of_argument(ask):
    zone = load_zone("America/New_York")
    start = datetime(2026, 11, 1, 4, tzinfo=UTC)
    for minutes in range(0, 240, 10):
        after = start + timedelta(minutes=minutes)
        answers = {
            ask(every(timedelta(minutes=30)), zone, after.astimezone(load_zone(other))).isoformat()
            for other in ("UTC", "America/New_York", "Europe/Warsaw", "Pacific/Apia")
        }
        assert len(answers) == 1


def test_F5b_day_that_clocks_skip_has_no_instant():
    zone = load_zone("Pacific/Apia")
    hourly = [local(2011, 12, 30, hour) for hour in range(24)]
    matches = only(*hourly, local(2011, 12, 31, 5))
    first = next_fixed(matches, zone, datetime(2011, 12, 29, tzinfo=zone))
    assert first.isoformat() == "2011-12-31T05:00:00+14:00"
    assert next_fixed(only(*hourly), zone, datetime(2011, 12, 29, tzinfo=zone)) is None
    # An instant of other times, as a schedule may keep it that was changed.
    begin = datetime(2011, 12, 31, tzinfo=zone)
    assert fixed_local(only(*hourly), zone, begin).isoformat() == "2011-12-31T00:00:00+14:00"
    shown = next_elapsed(matches, zone, datetime(2011, 12, 29, tzinfo=zone))
    assert shown.isoformat() == "2011-12-31T05:00:00+14:00"


def test_repeated_time_waits_for_its_turn():
    zone = load_zone("America/New_York")
    matches = only(local(2026, 11, 1, 1, 10), local(2026, 11, 1, 1, 50))
    after, seen = datetime(2026, 11, 1, 4, tzinfo=UTC), []
    while after := next_elapsed(matches, zone, after):
        seen.append(after.isoformat()[11:])
    assert seen == ["01:10:00-04:00", "01:50:00-04:00", "01:10:00-05:00", "01:50:00-05:00"]


@pytest.mark.parametrize("ask", [next_fixed, next_elapsed])
def test_zone_without_match_has_no_instant(ask):
    new_york = load_zone("America/New_York")
    for after in (
        datetime(2026, 7, 1, tzinfo=UTC),
        datetime(2026, 11, 1, 5, 30, tzinfo=UTC),  # in the first pass
        datetime(2026, 11, 1, 6, 30, tzinfo=UTC),  # in the second
    ):
        assert ask(only(), new_york, after) is None


def test_search_for_shown_time_ends_after_fifty_years():
    zone, asked = load_zone("America/New_York"), []
    sundays = [14 - (local(year, 3, 14).weekday() + 1) % 7 for year in range(2026, 2100)]
    in_gaps = [
        local(year, 3, day, 2, 30) for year, day in zip(range(2026, 2100), sundays, strict=True)
    ]

    def matches(wall):
        asked.append(wall)
        return only(*in_gaps)(wall)

    after = datetime(2026, 1, 2, tzinfo=UTC)
    assert next_elapsed(matches, zone, after) is None
    assert asked[-1].year == 2076
    assert next_fixed(matches, zone, after).isoformat() == "2026-03-08T03:00:00-04:00"


@pytest.mark.parametrize("ask", [next_fixed, next_elapsed])
@pytest.mark.parametrize("name", ["UTC", "America/New_York", "Pacific/Apia"])
@pytest.mark.parametrize("asker", ["UTC", "Pacific/Pago_Pago"])
def test_no_instant_after_end_of_time(ask, name, asker):
    zone, latest = load_zone(name), datetime.max.replace(tzinfo=load_zone(asker))
    hours = every(timedelta(hours=1))
    found = [ask(hours, zone, latest - timedelta(hours=hour)) for hour in range(72)]
    assert found[0] is None
    assert found[-1].year == 9999


@pytest.mark.parametrize("ask", [next_fixed, next_elapsed])
@pytest.mark.parametrize("name", ["UTC", "America/New_York", "Pacific/Apia"])
@pytest.mark.parametrize("asker", ["UTC", "Pacific/Pago_Pago", "Pacific/Kiritimati"])
def test_time_begins_where_every_zone_can_show_it(ask, name, asker):
    earliest = datetime.min.replace(tzinfo=load_zone(asker))
    found = ask(every(timedelta(hours=1)), load_zone(name), earliest)
    assert datetime(1, 1, 3, tzinfo=UTC) < found < datetime(1, 1, 3, 2, tzinfo=UTC)


@settings(max_examples=100)
@given(
    st.sampled_from(sorted(zone_names())),
    st.datetimes(datetime(1970, 1, 1), datetime(2099, 1, 1)),  # noqa: DTZ001
    st.sampled_from([next_fixed, next_elapsed]),
    st.integers(1, 200_000),
)
def test_next_instant_in_any_zone_is_first_later_one(name, start, ask, seconds):
    zone, after = load_zone(name), start.replace(tzinfo=UTC)
    ask = partial(ask, every(seconds * SECOND), zone)
    first = ask(after)
    second = ask(first)
    assert after < first.astimezone(UTC) < second.astimezone(UTC)
    just_before = first.astimezone(UTC) - timedelta.resolution
    assert ask(just_before).isoformat() == first.isoformat()
    between = after + (first.astimezone(UTC) - after) / 2
    assert ask(between).isoformat() == first.isoformat()


def test_T7_zone_data_names_its_source(tmp_path):
    (tmp_path / "UTC").touch()
    zoneinfo.reset_tzpath([tmp_path / "missing", tmp_path])
    try:
        assert zone_data() == f"an unknown version in {tmp_path}"
        (tmp_path / "tzdata.zi").write_text("no version here\n")
        assert zone_data() == f"an unknown version in {tmp_path}"
        (tmp_path / "+VERSION").write_text("2031c\n")
        assert zone_data() == f"2031c in {tmp_path}"
        (tmp_path / "tzdata.zi").write_text("# version 2032a\n# more\n")
        assert zone_data() == f"2032a in {tmp_path}"
        zoneinfo.reset_tzpath([])
        assert zone_data() == f"{version('tzdata')} of the package tzdata"
    finally:
        zoneinfo.reset_tzpath()


def test_T7_loaded_zone_ignores_updated_data(tmp_path):
    zone = load_zone("Indian/Chagos")
    (tmp_path / "Indian").mkdir()
    (tmp_path / "Indian" / "Chagos").write_bytes(b"not a zone")
    zoneinfo.reset_tzpath([tmp_path])
    try:
        assert load_zone("Indian/Chagos") is zone
    finally:
        zoneinfo.reset_tzpath()

"""Which instants are due, held against a plain enumeration of all of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowstone_core.model.tick import Skip, SkipReason
from flowstone_core.scheduling.builtin_triggers import BUILT_IN
from flowstone_core.scheduling.catchup import CHUNK, COUNT_LIMIT, GRACE, due, skip_instants
from flowstone_core.scheduling.schedule import build
from flowstone_core.scheduling.trigger import Trigger

START = datetime(2026, 1, 15, 12, 30, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def schedule(text="* * * * *", **settings):
    given_settings = {"asset": "report", "trigger": "cron", "text": text, **settings}
    return build("report", given_settings, BUILT_IN)


def all_due(of, since, now):
    """Every instant that is due, the slow way."""
    found = []
    instant = of.next_instant(since)
    while instant is not None and instant <= now:
        if of.due_at(instant) <= now:
            found.append(instant)
        instant = of.next_instant(instant)
    return found


gaps = st.integers(0, 5 * 3_600).map(lambda seconds: timedelta(seconds=seconds))
texts = st.sampled_from(
    ["* * * * *", "*/7 * * * *", "0 * * * *", "59 23 * * *", "0,1,2 13 * * *", "30 14-16 * * *"]
)
windows = st.sampled_from(["1m", "30m", "2h", "1d"])
jitters = st.sampled_from(["0s", "20s", "10m"])


@given(texts, gaps, windows, jitters, st.sampled_from(["none", "latest", "all"]))
def test_each_instant_is_fired_or_skipped_once(text, gap, window, jitter, catchup):
    of = schedule(text, catchup=catchup, catchup_window=window, jitter=jitter)
    now = START + gap
    found = due(of, START, now)
    every = all_due(of, START, now)
    oldest = now - of.settings.catchup_window - of.settings.jitter
    old = [instant for instant in every if instant < oldest]
    recent = [instant for instant in every if instant >= oldest]
    late = bool(recent) and now - of.due_at(recent[-1]) > GRACE
    wanted = {"all": recent, "latest": recent[-1:], "none": [] if late else recent[-1:]}[catchup]
    assert list(found.instants) == wanted
    reasons = {
        SkipReason.WINDOW: old,
        SkipReason.CATCHUP: [instant for instant in recent if instant not in wanted],
    }
    expected = [
        Skip(reason, instants[0], instants[-1], len(instants))
        for reason, instants in reasons.items()
        if instants
    ]
    assert [skip for skip in found.skips if skip.count] == expected
    # From where it ends, nothing is due, and nothing was passed over.
    assert all_due(of, found.decided_until, now) == []
    assert found.decided_until == (every[-1] if every else START)
    following = of.next_instant(found.decided_until)
    assert found.next_at == (None if following is None else of.due_at(following))


@given(gaps)
def test_second_evaluation_finds_nothing(gap):
    of = schedule("*/7 * * * *", catchup="all")
    first = due(of, START, START + gap)
    again = due(of, first.decided_until, START + gap)
    assert (again.instants, again.skips) == ((), ())
    assert again.decided_until == first.decided_until


def test_T2_bursts_of_instants_are_searched_not_walked():
    asked = []

    class Counting(BUILT_IN["cron"]):
        def next_fire(self, after):
            asked.append(after)
            return super().next_fire(after)

    # Each second of Mondays, looked at on a Sunday: 86,400 instants, six days ago.
    given_settings = {
        "asset": "report", "trigger": "cron", "text": "* * * * * mon", "catchup_window": "7d",
    }  # fmt: skip
    of = build("report", given_settings, {"cron": Counting})
    since = datetime(2026, 1, 12, tzinfo=UTC)
    found = due(of, since - MINUTE, datetime(2026, 1, 18, 12, tzinfo=UTC))
    assert found.instants == (datetime(2026, 1, 12, 23, 59, 59, tzinfo=UTC),)
    assert found.caught_up
    assert len(asked) < COUNT_LIMIT + 200
    (skip,) = found.skips
    assert (skip.count, skip.complete, skip.first) == (COUNT_LIMIT, False, since)


class Quick(Trigger):
    """Four times a second."""

    def next_fire(self, after):
        step = timedelta(milliseconds=250)
        return START + ((after - START) // step + 1) * step


def test_instants_within_one_second_are_found():
    given_settings = {"asset": "report", "trigger": "quick", "text": ""}
    of = build("report", given_settings, {"quick": Quick})
    now = START + timedelta(seconds=10, milliseconds=600)
    found = due(of, START, now)
    assert found.instants == (START + timedelta(seconds=10, milliseconds=500),)
    assert [skip.count for skip in found.skips] == [41]


def test_next_chunk_is_due_at_once():
    of = schedule(catchup="all")
    now = START + (CHUNK + 10) * MINUTE
    first = due(of, START, now)
    assert len(first.instants) == CHUNK
    assert first.next_at is not None
    assert first.next_at <= now
    rest = due(of, first.decided_until, now)
    assert len(rest.instants) == 10
    assert rest.caught_up


def test_T1_clock_set_back_makes_nothing_due():
    of = schedule()
    assert due(of, START, START - MINUTE).decided_until == START
    back = due(of, START, START - 2 * MINUTE)
    assert (back.instants, back.skips, back.decided_until) == ((), (), START - 2 * MINUTE)


def test_jitter_delays_the_newest_instant_only():
    of = schedule("0 * * * *", jitter="1h", catchup="all")
    one = START.replace(minute=0) + timedelta(hours=1)
    before = of.due_at(one) - timedelta(microseconds=1)
    assert one < before
    assert due(of, START, before).instants == ()
    assert due(of, START, before).next_at == of.due_at(one)
    assert due(of, START, of.due_at(one)).instants == (one,)


def test_delayed_instant_is_not_out_of_a_shorter_window():
    of = schedule("0 * * * *", jitter="10m", catchup_window="1m")
    one = START.replace(minute=0) + timedelta(hours=1)
    assert of.due_at(one) > one + 2 * MINUTE
    assert due(of, START, one + 2 * MINUTE).skips == ()
    assert due(of, START, of.due_at(one)).instants == (one,)


def test_last_instant_has_full_jitter():
    class Last(Quick):
        def next_fire(self, after):
            return START if after < START else None

    given_settings = {"asset": "report", "trigger": "last", "text": "", "jitter": "1h"}
    of = build("report", given_settings, {"last": Last})
    assert START < of.due_at(START) < START + timedelta(hours=1)


def test_T6_count_of_skips_is_limited():
    of = schedule()
    until = START + COUNT_LIMIT * MINUTE
    (whole,) = skip_instants(of, START, until, SkipReason.PAUSED)
    assert (whole.count, whole.complete, whole.last) == (COUNT_LIMIT, True, until)
    (cut,) = skip_instants(of, START, until + 5 * MINUTE, SkipReason.PAUSED)
    assert (cut.count, cut.complete, cut.last) == (COUNT_LIMIT, False, until + 5 * MINUTE)
    assert skip_instants(of, START, START + MINUTE / 2, SkipReason.PAUSED) == ()


def test_ended_schedule_has_no_next_instant():
    of = schedule(end="2026-01-15T12:31")
    found = due(of, START, START + timedelta(hours=1))
    assert (found.next_at, len(found.instants)) == (None, 1)
    assert due(of, found.decided_until, START + timedelta(hours=2)).instants == ()


@pytest.mark.parametrize("catchup", ["none", "latest", "all"])
def test_nothing_is_missed_before_start(catchup):
    of = schedule(start="2026-01-15T14:00", catchup=catchup)
    assert due(of, START, START + timedelta(hours=1)).skips == ()
    assert due(of, START, datetime(2026, 1, 15, 14, tzinfo=UTC)).instants == (
        datetime(2026, 1, 15, 14, tzinfo=UTC),
    )

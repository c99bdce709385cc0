"""Witnessed time: ages without the gaps in which no runner ran."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from flowstone_core.model.witnessed_time import FAR, IDLE, Period, WitnessedTime

START = datetime(2025, 1, 1, tzinfo=UTC)


def day(number):
    return START + timedelta(days=number)


def days(begin, end):
    return Period(day(begin), day(end))


def ages(periods, now, *numbers):
    """Return the days as old as some ages, by the day of the year."""
    witnessed = WitnessedTime([days(*period) for period in periods], day(now))
    return [(witnessed.ago(timedelta(days=n)) - START).days for n in numbers]


def test_age_without_a_runner_goes_by_the_clock():
    assert ages([], 100, 1, 90) == [99, 10]


def test_age_while_a_runner_ran_goes_by_the_clock():
    assert ages([(0, 100)], 100, 1, 90) == [99, 10]
    assert ages([(0, 40), (38, 60), (66, 100)], 100, 1, 50, 90) == [99, 50, 10]


@pytest.mark.parametrize("ahead", [8, 31, 100, 800])
def test_S8_time_that_no_runner_witnessed_is_not_counted(ahead):
    # The runner has run for a day by this clock, and before for a hundred.
    now = 101 + ahead
    assert ages([(0, 100), (100 + ahead, now)], now, 1, 2, 90) == [now - 1, 99, 11]


def test_S8_runners_restarted_on_a_wrong_clock_confirm_nothing():
    again = [(200 + number, 200 + number + 1) for number in range(5)]
    assert ages([(0, 100), *again], 205, 5, 6, 90) == [200, 99, 15]


def test_S8_two_wrong_clocks_confirm_nothing():
    assert ages([(0, 100), (200, 201), (900, 901)], 901, 1, 2, 3) == [900, 200, 99]


def test_S8_rows_of_a_clock_that_was_ahead_are_left_out():
    assert ages([(0, 100), (800, 801), (100, 102)], 102, 1, 90) == [101, 12]
    assert ages([(0, 100), (800, 801)], 101, 1, 90) == [100, 11]


def test_S8_a_lease_that_has_not_expired_ends_now():
    assert ages([(0, 110)], 100, 1, 90) == [99, 10]


def test_short_breaks_are_counted():
    assert ages([(0, 50), (57, 100)], 100, 50) == [50]


def test_breaks_between_are_counted_but_for_the_newest():
    fortnights = [(14 * number, 14 * number + 1) for number in range(20)]
    witnessed = WitnessedTime([days(*each) for each in fortnights], day(267))
    assert witnessed.gaps == (days(253, 266),)
    assert witnessed.ago(timedelta(days=91)) == day(163)


def test_shortened_are_the_gaps_within_an_age():
    witnessed = WitnessedTime([days(0, 100), days(200, 210)], day(210))
    assert witnessed.shortened(timedelta(days=10)) == ()
    assert witnessed.shortened(timedelta(days=11)) == (days(100, 200),)


def test_idle_time_is_shorter_than_a_far_one():
    assert timedelta(0) < IDLE < FAR

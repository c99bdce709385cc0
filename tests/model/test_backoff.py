from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from flowstone_core.model.backoff import backoff_delay, store_retry_seconds

FIRST, LIMIT = timedelta(seconds=5), timedelta(minutes=30)


@given(st.integers(1, 1_000_000))
def test_delay_of_any_number_of_failures_is_within_bounds(failures):
    bound = min(FIRST * 2 ** min(failures - 1, 20), LIMIT)
    assert timedelta(0) <= backoff_delay(failures, FIRST, LIMIT) <= bound


def test_delay_bound_doubles_and_whole_range_is_used():
    for failures, bound in [(1, 5), (2, 10), (3, 20), (9, 1_280), (10, 1_800), (50, 1_800)]:
        delays = [backoff_delay(failures, FIRST, LIMIT).total_seconds() for _ in range(300)]
        assert max(delays) > bound * 0.9
        assert min(delays) < bound * 0.1


def test_delay_with_limit_below_first_keeps_limit():
    delays = [backoff_delay(1, FIRST, timedelta(seconds=1)) for _ in range(100)]
    assert max(delays) <= timedelta(seconds=1)


def test_delay_after_thousands_of_failures_does_not_overflow():
    longest = timedelta.max
    assert backoff_delay(100_000, timedelta(days=1), longest) <= longest
    assert backoff_delay(100_000, timedelta(0), LIMIT) == timedelta(0)


def test_retry_of_a_store_is_spaced_from_one_second_to_thirty():
    for failures, bound in [(1, 1), (2, 2), (5, 16), (6, 30), (50, 30)]:
        delays = [store_retry_seconds(failures) for _ in range(300)]
        assert bound * 0.9 < max(delays) <= bound

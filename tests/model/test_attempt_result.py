import math
from datetime import UTC, datetime, timedelta
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowstone_core.errors import Discard, PluginError, RetryLater, SensorBroken
from flowstone_core.model.attempt_result import AttemptResult, fail, succeed
from flowstone_core.model.json_document import PAYLOAD_LIMIT
from flowstone_core.model.materialization import (
    LEGAL_MOVES,
    AttemptOutcome,
    Materialization,
    MaterializationState,
)

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


def running(attempt=1, max_attempts=5):
    return Materialization(
        1, "run-1", "raw", "p", MaterializationState.RUNNING, attempt, max_attempts, NOON
    )


def backoff(failures):
    return timedelta(minutes=failures)


class TestSucceed:
    @pytest.mark.parametrize(
        ("result", "metadata"),
        [
            (None, None),
            ({}, "{}"),
            ({"rows": 3, "a": [1]}, '{"a":[1],"rows":3}'),
            (MappingProxyType({"rows": 3}), '{"rows":3}'),
        ],
    )
    def test_none_or_small_mapping_completes_attempt(self, result, metadata):
        assert succeed(result) == AttemptResult(
            AttemptOutcome.COMPLETED, MaterializationState.COMPLETED, metadata=metadata
        )

    @pytest.mark.parametrize("result", [5, "text", [("a", 1)], True, (x for x in ()), object()])
    def test_p4_other_return_values_are_refused_by_type(self, result):
        with pytest.raises(PluginError) as caught:
            succeed(result)
        assert str(caught.value) == (
            f"the asset function returned a value of type {type(result).__qualname__}; "
            "it must return None or a small JSON mapping"
        )

    @pytest.mark.parametrize(
        ("result", "reason"),
        [
            ({"a": {1}}, "the returned metadata['a'] is not JSON: it is a set"),
            ({"a": math.nan}, "the returned metadata['a'] is not JSON: it is NaN or infinite"),
            ({1: 2}, "the returned metadata is not JSON: its key 1 is not a plain string"),
            ({"a": "x" * PAYLOAD_LIMIT}, "the returned metadata has 262,152 bytes of JSON"),
        ],
    )
    def test_p5_metadata_that_is_not_json_is_refused_with_path(self, result, reason):
        with pytest.raises(PluginError) as caught:
            succeed(result)
        assert str(caught.value).startswith(reason)


class TestFail:
    def test_failed_attempt_is_retried_after_backoff(self):
        assert fail(running(2), OSError("gone"), NOON, backoff) == AttemptResult(
            AttemptOutcome.FAILED,
            MaterializationState.RETRYING,
            "OSError: gone",
            retry_at=NOON + timedelta(minutes=2),
        )

    def test_last_failed_attempt_discards(self):
        assert fail(running(5, 5), OSError("gone"), NOON, backoff) == AttemptResult(
            AttemptOutcome.FAILED, MaterializationState.DISCARDED, "OSError: gone"
        )

    def test_discard_ends_the_materialization_at_once(self):
        assert fail(running(), Discard("no such tenant"), NOON, backoff) == AttemptResult(
            AttemptOutcome.DISCARDED, MaterializationState.DISCARDED, "no such tenant"
        )

    @pytest.mark.parametrize("attempt", [1, 5])
    def test_retry_later_uses_up_no_attempt(self, attempt):
        error = RetryLater(90, "rate limit")
        assert fail(running(attempt, 5), error, NOON, backoff) == AttemptResult(
            AttemptOutcome.RETRY_LATER,
            MaterializationState.RETRYING,
            "rate limit",
            retry_at=NOON + timedelta(seconds=90),
            spared=True,
        )

    def test_retry_later_is_limited_to_seven_days(self):
        end = fail(running(), RetryLater(timedelta(days=365)), NOON, backoff)
        assert end.retry_at == NOON + timedelta(days=7)

    def test_retry_later_without_delay_is_a_failure(self):
        error = RetryLater(5)
        del error.delay
        assert fail(running(), error, NOON, backoff).outcome is AttemptOutcome.FAILED

    @pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), GeneratorExit()])
    def test_p9_any_exception_is_a_failure(self, error):
        assert fail(running(), error, NOON, backoff).outcome is AttemptOutcome.FAILED

    def test_p19_error_is_redacted(self):
        end = fail(running(), OSError("pw hunter2"), NOON, backoff, lambda t: t.replace("hunt", ""))
        assert end.error == "OSError: pw er2"

    errors = st.sampled_from(
        [OSError("x"), RetryLater(5), Discard("no"), SensorBroken("x"), SystemExit()]
    )

    @given(errors, st.integers(1, 1_000), st.integers(1, 1_000))
    def test_counted_attempts_never_exceed_max_attempts(self, error, attempt, most):
        end = fail(running(attempt, most), error, NOON, backoff)
        assert end.state in LEGAL_MOVES[MaterializationState.RUNNING]
        assert (end.retry_at is not None) == (end.state is MaterializationState.RETRYING)
        assert end.spared == isinstance(error, RetryLater)
        if end.state is MaterializationState.RETRYING and not end.spared:
            assert attempt < most

    @given(st.lists(errors, max_size=50), st.integers(1, 5))
    def test_repeated_failures_end_after_max_attempts(self, life, most):
        attempt, counted = 0, 0
        for error in life:
            attempt += 1
            end = fail(running(attempt, most), error, NOON, backoff)
            if end.spared:
                attempt -= 1
                continue
            counted += 1
            if end.state.ended:
                break
        assert counted <= most


def test_metadata_with_a_secret_is_stored_masked():
    result = succeed({"url": "x?token=abc", "rows": 1}, lambda text: text.replace("abc", "***"))
    assert result.metadata == '{"rows":1,"url":"x?token=***"}'

from datetime import UTC, date, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest

from flowstone_core.errors import OutcomeError, ValidationError
from flowstone_core.scheduling.trigger import Trigger, next_fire, require_aware

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


class Answering(Trigger):
    answer: object = None

    def next_fire(self, after):
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def answering(answer):
    trigger = Answering("x y")
    trigger.answer = answer
    return trigger


def test_trigger_keeps_text_and_zone():
    trigger = Answering("  first monday \n", "Europe/Warsaw")
    assert trigger.text == "first monday"
    assert trigger.zone == ZoneInfo("Europe/Warsaw")
    assert trigger.timezone == "Europe/Warsaw"
    assert trigger.describe() == "first monday"
    assert repr(trigger) == "Answering('first monday', 'Europe/Warsaw')"


def test_trigger_zone_is_utc_by_default():
    assert Answering("x").timezone == "UTC"


def test_trigger_without_next_fire_is_abstract():
    with pytest.raises(TypeError, match="next_fire"):
        Trigger("x")


@pytest.mark.parametrize("text", [None, 5, b"0 2 * * *", ["0 2 * * *"]])
def test_trigger_requires_text(text):
    with pytest.raises(ValidationError, match="a trigger must be text"):
        Answering(text)


def test_unknown_time_zone_is_refused():
    with pytest.raises(ValidationError, match="did you mean 'Europe/Warsaw'"):
        Answering("x", "Europe/Warsow")


def test_next_fire_is_in_utc():
    later = datetime(2026, 1, 31, 14, tzinfo=ZoneInfo("Europe/Warsaw"))
    found = next_fire(answering(later), NOON)
    assert found.isoformat() == "2026-01-31T13:00:00+00:00"


def test_next_fire_may_be_none():
    assert next_fire(answering(None), NOON) is None


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (5, "the trigger Answering for 'x y' returned a value of type int; it must return a date"),
        (date(2026, 2, 1), "returned a value of type date"),
        (datetime(2026, 2, 1), "returned the naive 2026-02-01 00:00:00"),  # noqa: DTZ001
        (NOON, "returned 2026-01-31 12:00:00+00:00, which is not later than 2026-01-31 12:00"),
        (NOON - timedelta(days=1), "which is not later than"),
        (NOON.astimezone(timezone(timedelta(hours=5))), "which is not later than"),
    ],
)
def test_trigger_that_violates_contract_is_reported(answer, said):
    with pytest.raises(OutcomeError) as caught:
        next_fire(answering(answer), NOON)
    assert said in str(caught.value)


def test_trigger_that_returns_a_coroutine_has_it_closed():
    async def later():
        return NOON

    coroutine = later()
    with pytest.raises(OutcomeError, match="returned a value of type coroutine"):
        next_fire(answering(coroutine), NOON)
    assert coroutine.cr_frame is None


def test_T12_passes_of_a_repeated_hour_are_distinct():
    zone = ZoneInfo("America/New_York")
    first = datetime(2026, 11, 1, 1, 30, tzinfo=zone)
    assert next_fire(answering(first.replace(fold=1)), first) == first.replace(fold=1).astimezone(
        UTC
    )
    with pytest.raises(OutcomeError, match="not later"):
        next_fire(answering(first), first.replace(fold=1))


def test_exception_of_a_trigger_propagates():
    with pytest.raises(ZeroDivisionError):
        next_fire(answering(ZeroDivisionError()), NOON)


def test_T11_naive_datetime_is_refused():
    require_aware(NOON)
    with pytest.raises(ValidationError, match="must be aware"):
        require_aware(NOON.replace(tzinfo=None))

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


def test_a_trigger_keeps_its_text_and_zone():
    trigger = Answering("  first monday \n", "Europe/Warsaw")
    assert trigger.text == "first monday"
    assert trigger.zone == ZoneInfo("Europe/Warsaw")
    assert trigger.timezone == "Europe/Warsaw"
    assert trigger.describe() == "first monday"
    assert repr(trigger) == "Answering('first monday', 'Europe/Warsaw')"


def test_the_zone_is_utc_unless_another_is_given():
    assert Answering("x").timezone == "UTC"


def test_a_trigger_without_an_answer_cannot_be_made():
    with pytest.raises(TypeError, match="next_fire"):
        Trigger("x")


@pytest.mark.parametrize("text", [None, 5, b"0 2 * * *", ["0 2 * * *"]])
def test_a_text_is_required(text):
    with pytest.raises(ValidationError, match="a trigger must be text"):
        Answering(text)


def test_an_unknown_zone_is_refused():
    with pytest.raises(ValidationError, match="did you mean 'Europe/Warsaw'"):
        Answering("x", "Europe/Warsow")


def test_an_answer_is_given_in_utc():
    later = datetime(2026, 1, 31, 14, tzinfo=ZoneInfo("Europe/Warsaw"))
    found = next_fire(answering(later), NOON)
    assert found.isoformat() == "2026-01-31T13:00:00+00:00"


def test_no_answer_is_one():
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
def test_a_trigger_that_breaks_its_contract_is_told(answer, said):
    with pytest.raises(OutcomeError) as caught:
        next_fire(answering(answer), NOON)
    assert said in str(caught.value)


def test_T12_the_passes_of_a_repeated_hour_are_told_apart():
    zone = ZoneInfo("America/New_York")
    first = datetime(2026, 11, 1, 1, 30, tzinfo=zone)
    assert next_fire(answering(first.replace(fold=1)), first) == first.replace(fold=1).astimezone(
        UTC
    )
    with pytest.raises(OutcomeError, match="not later"):
        next_fire(answering(first), first.replace(fold=1))


def test_what_a_trigger_raises_passes_through():
    with pytest.raises(ZeroDivisionError):
        next_fire(answering(ZeroDivisionError()), NOON)


def test_T11_a_naive_datetime_is_refused():
    require_aware(NOON)
    with pytest.raises(ValidationError, match="must be aware"):
        require_aware(NOON.replace(tzinfo=None))

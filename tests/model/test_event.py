import copy
import dataclasses
import pickle
from datetime import date

import pytest

from flowstone_core.model.event import Event, NotTriggered, PollFailed, Skipped, Triggered


@pytest.mark.parametrize(
    ("events", "partitions"),
    [
        ("tenant-7", ["tenant-7"]),
        (date(2026, 1, 31), [date(2026, 1, 31)]),
        (("eu", date(2026, 1, 31)), [("eu", date(2026, 1, 31))]),
        (("eu",), [("eu",)]),
        (Event("a"), ["a"]),
        (["a", "b"], ["a", "b"]),
        (["a", Event("b")], ["a", "b"]),
        ((Event("a"), "b"), ["a", "b"]),
        ([("eu", "a"), ("us", "b")], [("eu", "a"), ("us", "b")]),
        ((text for text in "ab"), ["a", "b"]),
        ({"a": 1}.keys(), ["a"]),
        ([], []),
        ((), []),
    ],
)
def test_triggered_accepts_partitions_and_events(events, partitions):
    triggered = Triggered(events, state=1)
    assert [event.partition for event in triggered.events] == partitions
    assert all(type(event) is Event for event in triggered.events)
    assert triggered.state == 1


@pytest.mark.parametrize("rubbish", [None, 5, b"ab", {"a": 1}, 1.5, object()])
def test_p4_invalid_partition_is_kept_for_the_decision(rubbish):
    assert Triggered(rubbish, state=None).events == (Event(rubbish),)


def test_failing_iterator_raises_in_the_poll():
    def fails():
        yield "a"
        raise OSError("the bucket is gone")

    with pytest.raises(OSError, match="the bucket is gone"):
        Triggered(fails(), state=None)


OUTCOMES = [Triggered("a", state=1), NotTriggered(1), PollFailed("no", 1)]


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_outcomes_compare_as_values(outcome):
    assert outcome == copy.copy(outcome) == pickle.loads(pickle.dumps(outcome))  # noqa: S301
    assert all(outcome != other for other in OUTCOMES if other is not outcome)
    assert repr(outcome).startswith(f"{type(outcome).__name__}(")
    with pytest.raises(dataclasses.FrozenInstanceError):
        outcome.state = 2


def test_outcome_repr_shows_its_fields():
    assert repr(Triggered([], state={"seen": 1})) == "Triggered(events=(), state={'seen': 1})"


TMP = Skipped("no date in the key", 2, "in/upload.tmp")


@pytest.mark.parametrize("given", [TMP, [TMP], (TMP,), iter([TMP])])
def test_outcomes_take_one_skipped_or_an_iterable_of_them(given):
    assert NotTriggered(1, skipped=given).skipped == (TMP,)


def test_outcome_repr_shows_optional_fields_only_if_they_are_set():
    assert repr(NotTriggered(1)) == "NotTriggered(state=1)"
    assert repr(NotTriggered(1, reason="still written")) == (
        "NotTriggered(state=1, reason='still written')"
    )
    assert repr(Triggered([], 1, skipped=TMP)) == (
        "Triggered(events=(), state=1, skipped=(Skipped(reason='no date in the key', count=2, "
        "example='in/upload.tmp'),))"
    )


def test_skipped_as_text_has_reason_count_and_example():
    assert str(TMP) == "no date in the key (2, such as in/upload.tmp)"
    assert str(Skipped("the window has passed", 1_500)) == "the window has passed (1,500)"

from __future__ import annotations

import copy
import json
import tracemalloc
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flowstone_s3.errors import S3Error
from flowstone_s3.listing import S3Object
from flowstone_s3.memory import OBJECT_LIMIT, Memory, Rules
from flowstone_s3.record import SeenState, empty_state
from hypothesis import given
from hypothesis import strategies as st

from flowstone_core import SensorBroken

NOW = datetime(2025, 1, 15, 12, 59, tzinfo=UTC)
OLD = datetime(2024, 12, 1, tzinfo=UTC)


def item(key: str, etag: str, second: float, size: int = 1) -> S3Object:
    return S3Object(key, etag, size, OLD + timedelta(seconds=second))


def look(
    state: SeenState, *objects: tuple[str, str, int], now: datetime = NOW, **rules: Any
) -> tuple[list[str], SeenState]:
    """Poll a listing of (key, ETag, written at second); return the new keys and the state."""
    memory = Memory(json.loads(json.dumps(state)), now, Rules(**rules))
    new = [each[0] for each in objects if memory.observe(item(*each))]
    return new, memory.state()


def polls(*listings: Iterable[tuple[str, str, int]]) -> list[list[str]]:
    state, found = empty_state(), []
    for listing in listings:
        new, state = look(state, *listing)
        found.append(new)
    return found


A1, A2, B = ("a", "one", 1), ("a", "two", 2), ("b", "one", 1)


def test_every_object_is_new_once() -> None:
    assert polls([A1], [A1, B], [A1, B]) == [["a"], ["b"], []]


def test_an_overwritten_object_is_new() -> None:
    assert polls([A1], [A2]) == [["a"], ["a"]]


def test_the_same_content_uploaded_again_is_not_new_and_leaves_the_state() -> None:
    _, state = look(empty_state(), A1)
    memory = Memory(state, NOW)
    assert not memory.observe(item("a", "one", 99))
    assert memory.state() is state


def test_the_same_content_uploaded_again_flickers_without_being_new() -> None:
    again = ("a", "one", 9)
    assert polls([A1], [again, B], [B], [again, B]) == [["a"], ["b"], [], []]


def test_a_key_and_etag_are_never_mixed_up() -> None:
    assert polls([("a", "bc", 1)], [("ab", "c", 1)]) == [["a"], ["ab"]]


def test_an_object_in_two_pages_is_seen_once() -> None:
    assert polls([A1, A1]) == [["a"]]


def test_S6_an_object_that_flickers_is_not_new() -> None:
    assert polls([A1, B], [B], [A1, B], [B], [A1, B]) == [["a", "b"], [], [], [], []]


def test_an_old_listing_that_comes_once_more_is_not_new() -> None:
    assert polls([A1], [A2], [A1], [A2]) == [["a"], ["a"], [], []]


def test_content_that_is_written_back_is_new() -> None:
    assert polls([A1], [A2], [("a", "one", 3)]) == [["a"], ["a"], ["a"]]


def test_S4_an_object_deleted_and_made_again_is_new() -> None:
    assert polls([A1], [], [("a", "one", 2)], [("a", "one", 2)]) == [["a"], [], ["a"], []]


@pytest.mark.parametrize(("hours", "new"), [(24, []), (26, ["a"])])
def test_what_is_gone_is_remembered_for_a_day(hours: int, new: list[str]) -> None:
    _, state = look(empty_state(), A1)
    _, state = look(state, B)
    assert look(state, A1, B, now=NOW + timedelta(hours=hours))[0] == new


def test_what_is_gone_is_forgotten_with_the_next_change_after_a_day() -> None:
    _, state = look(empty_state(), A1)
    _, state = look(state, B)
    assert list(state["gone"]) == ["2025-01-15T12:00:00+00:00"]
    _, state = look(state, now=NOW + timedelta(days=2))
    assert list(state["gone"]) == ["2025-01-17T12:00:00+00:00"]


def test_what_goes_within_one_hour_is_kept_together_and_what_comes_back_is_taken_out() -> None:
    _, state = look(empty_state(), A1, B)
    _, state = look(state, B)
    _, state = look(state)
    assert [len(text) for text in state["gone"].values()] == [44]
    _, state = look(state, A1, B)
    assert state == look(empty_state(), A1, B)[1]


def test_the_order_of_a_listing_does_not_matter() -> None:
    assert look(empty_state(), A1, B)[1] == look(empty_state(), B, A1)[1]


def test_an_unchanged_listing_gives_the_very_state_it_was_given() -> None:
    _, state = look(empty_state(), A1, B)
    before = copy.deepcopy(state)
    memory = Memory(state, NOW + timedelta(days=9))
    for key, etag, second in (B, A1):
        memory.observe(item(key, etag, second))
    assert memory.state() is state
    assert state == before


def test_S10_more_objects_than_can_be_remembered_are_refused_with_advice() -> None:
    _, state = look(empty_state(), A1, B, limit=2)
    assert look(state, A1, B, limit=2)[0] == []
    with pytest.raises(S3Error, match=r"more than 2 objects.*narrower prefixes"):
        look(state, A1, B, ("c", "one", 1), limit=2)


def test_past_the_limit_what_was_missed_first_is_forgotten_first() -> None:
    hour = timedelta(hours=1)
    c = ("c", "one", 1)
    _, state = look(empty_state(), A1, B, c, limit=3)
    _, state = look(state, B, c, limit=3)
    _, state = look(state, c, now=NOW + hour, limit=3)
    assert len(state["gone"]) == 2
    _, state = look(state, c, ("d", "one", 1), now=NOW + 2 * hour, limit=3)
    assert list(state["gone"]) == ["2025-01-15T13:00:00+00:00"]
    assert look(state, c, B, A1, now=NOW + 2 * hour, limit=4)[0] == ["a"]


def test_the_limit_fits_into_what_is_stored_of_a_sensor() -> None:
    assert OBJECT_LIMIT * 16 * 4 / 3 + 26 * 40 + 100 < 8 * 1024 * 1024


def test_a_hundred_thousand_objects_stay_small() -> None:
    memory = Memory(empty_state(), NOW)
    for number in range(100_000):
        assert memory.observe(item(f"orders/2025-01-15/{number}.csv", "0" * 32, 0))
    state = memory.state()
    assert len(json.dumps(state)) < 2_135_000
    tracemalloc.start()
    memory = Memory(state, NOW)
    assert not any(
        memory.observe(item(f"orders/2025-01-15/{number}.csv", "0" * 32, 0))
        for number in range(100_000)
    )
    assert memory.state() is state
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40 * 1024 * 1024


@pytest.mark.parametrize("version", [0, 3, "1", None])
def test_a_state_of_another_version_is_refused_with_what_to_do(version: object) -> None:
    with pytest.raises(
        SensorBroken, match=r"has version .* reads version 2.*flowstone sensors reset"
    ):
        Memory(empty_state() | {"version": version}, NOW)


@pytest.mark.parametrize(
    "state",
    [
        None,
        [],
        {},
        {"version": 1},
        {"version": 1, "seen": "AAAA", "gone": {}},
        {"version": 2},
        empty_state() | {"seen": "AAAA"},
        empty_state() | {"seen": "ä"},
        empty_state() | {"seen": 7},
        empty_state() | {"gone": []},
        empty_state() | {"gone": {"yesterday": ""}},
        empty_state() | {"gone": {"2025-01-15T12:00:00": ""}},
        empty_state() | {"pending": "AAAA"},
        empty_state() | {"horizon": 7},
        empty_state() | {"horizon": "2025-01-15"},
        empty_state() | {"former": {"2025-01-15T12:00:00+00:00": "AAAA"}},
    ],
)
def test_a_state_that_is_none_is_refused_with_what_to_do(state: object) -> None:
    with pytest.raises(SensorBroken, match=r"cannot be read.*flowstone sensors reset"):
        Memory(state, NOW)


_key = st.sampled_from("abc")
_history = st.lists(st.dictionaries(_key, st.integers(0, 5), max_size=3), max_size=12)


@given(_history)
def test_whatever_is_listed_each_write_is_new_exactly_once(history: list[dict[str, int]]) -> None:
    # Each number is a write with content of its own; listings show any write, or none.
    state, listed = empty_state(), set()
    for listing in history:
        new, state = look(state, *((key, f"e{write}", write) for key, write in listing.items()))
        assert {(key, listing[key]) for key in new} == set(listing.items()) - listed
        listed |= set(listing.items())

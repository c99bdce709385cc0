"""Seen objects with settle and with a window."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

import pytest
from flowstone_s3.errors import S3Error
from flowstone_s3.seen_objects import DetectionRules, SeenObjects
from flowstone_s3.state import SeenState, empty_state
from hypothesis import given
from hypothesis import strategies as st

from tests.s3.seen_support import A1, A2, NOW, OLD, B, item, look

# --- settle ---------------------------------------------------------------------------------------

MINUTE = timedelta(minutes=1)


def settling(*listings: Iterable[tuple[str, str, int]], **rules: Any) -> list[list[str]]:
    """Poll each minute, and wait for two, after a first poll that sees another object."""
    other = ("other", "one", 1)
    state, found = look(empty_state(), other)[1], []
    for number, listing in enumerate(listings):
        new, state = look(
            state, other, *listing, now=NOW + number * MINUTE, settle=2 * MINUTE, **rules
        )
        found.append(new)
    return found


def test_settling_object_fires_after_duration() -> None:
    assert settling([A1], [A1], [A1], [A1]) == [[], [], ["a"], []]


def test_settling_changed_object_restarts() -> None:
    assert settling([A1], [A2], [A2], [A2], [A2]) == [[], [], [], ["a"], []]
    assert settling([A1], [("a", "one", 2)], [("a", "one", 2)], [("a", "one", 2)]) == [
        [],
        [],
        [],
        ["a"],
    ]


def test_settling_missing_object_restarts() -> None:
    assert settling([A1], [], [A1], [A1], [A1]) == [[], [], [], [], ["a"]]


def test_settling_growing_object_restarts() -> None:
    state, found = look(empty_state(), B)[1], []
    for minute, size in enumerate((1, 2, 2, 2)):
        memory = SeenObjects(state, NOW + minute * MINUTE, DetectionRules(settle=2 * MINUTE))
        memory.observe(item(*B))
        found.append(memory.observe(item("a", "one", 1, size)))
        state = memory.state()
    assert found == [False, False, False, True]


def test_settling_changed_object_is_not_missing() -> None:
    _, state = look(empty_state(), A1)
    _, state = look(state, A2, settle=2 * MINUTE, on="changed")
    assert state["gone"] == {}
    again, state = look(state, A2, settle=2 * MINUTE, on="changed", now=NOW + 2 * MINUTE)
    assert again == ["a"]
    assert state["pending"] == ""
    assert look(state, A2)[0] == []


def test_settling_object_changed_back_does_not_fire() -> None:
    _, state = look(empty_state(), A1)
    _, waiting = look(state, A2, settle=2 * MINUTE)
    assert look(waiting, A1, settle=2 * MINUTE, now=NOW + 9 * MINUTE) == ([], state)


def test_settling_alone_keeps_state() -> None:
    _, state = look(look(empty_state(), B)[1], A1, B, settle=2 * MINUTE)
    memory = SeenObjects(state, NOW + MINUTE, DetectionRules(settle=2 * MINUTE))
    assert not memory.observe(item(*A1))
    assert not memory.observe(item(*B))
    assert memory.state() is state


def test_settling_clock_set_back_restarts_once() -> None:
    _, state = look(look(empty_state(), B)[1], A1, B, settle=2 * MINUTE)
    hour = timedelta(hours=1)
    for minutes, new in ((0, []), (1, []), (2, ["a"])):
        now = NOW - hour + minutes * MINUTE
        fired, state = look(state, A1, B, settle=2 * MINUTE, now=now)
        assert fired == new


def test_settling_object_fires_without_settle() -> None:
    _, state = look(look(empty_state(), B)[1], A1, B, settle=2 * MINUTE)
    assert look(state, A1, B)[0] == ["a"]


def test_settling_first_poll_uses_server_time() -> None:
    memory = SeenObjects(empty_state(), NOW, DetectionRules(settle=2 * MINUTE))
    answered = OLD + 3 * MINUTE
    assert memory.observe(item("a", "one", 60), answered)
    assert not memory.observe(item("b", "one", 61), answered)
    # From then on only polls do.
    memory = SeenObjects(memory.state(), NOW + MINUTE, DetectionRules(settle=2 * MINUTE))
    assert not memory.observe(item("c", "one", 1), answered)


# --- window ---------------------------------------------------------------------------------------

HOUR = timedelta(hours=1)


def windowed(
    state: SeenState, *objects: tuple[str, int], answered: datetime | None = None, **rules: Any
) -> tuple[list[str], SeenState]:
    """Poll a listing of (key, written at minute), with a window of an hour."""
    memory = SeenObjects(
        json.loads(json.dumps(state)), NOW, DetectionRules(**{"window": HOUR} | rules)
    )
    new = [key for key, minute in objects if memory.observe(item(key, "e", 60 * minute), answered)]
    return new, memory.state()


def test_window_keeps_only_its_objects() -> None:
    new, state = windowed(empty_state(), ("a", 0), ("b", 60), ("c", 119), ("d", 120))
    assert new == ["a", "b", "c", "d"]
    assert state["horizon"] == "2024-12-01T01:00:00+00:00"
    assert len(state["seen"]) == 64
    memory = SeenObjects(state, NOW, DetectionRules(window=HOUR))
    assert not any(
        memory.observe(item(k, "e", 60 * m))
        for k, m in (("a", 0), ("b", 60), ("d", 120), ("c", 119))
    )
    assert memory.state() is state


def test_window_finds_objects_between_distant_polls() -> None:
    _, state = windowed(empty_state(), ("a", 0), ("b", 120))
    new, state = windowed(state, ("a", 0), ("b", 120), ("c", 61), ("d", 121), ("z", 99_999))
    assert new == ["c", "d", "z"]
    assert windowed(state, ("a", 0), ("b", 120), ("c", 61), ("d", 121), ("z", 99_999))[0] == []


def test_window_object_later_than_window_is_seen() -> None:
    _, state = windowed(empty_state(), ("b", 120))
    new, after = windowed(state, ("late", 59), ("b", 120))
    assert new == []
    assert after["older"]["count"] == 1
    assert after | {"older": state["older"]} == state
    assert windowed(state, ("just", 60), ("b", 120))[0] == ["just"]


def test_window_horizon_never_goes_back() -> None:
    _, state = windowed(empty_state(), ("a", 0), ("b", 300))
    _, fewer = windowed(state, ("a", 0))
    assert fewer["horizon"] == state["horizon"]
    # Neither with a longer window, nor with none: what was forgotten does not fire again.
    assert windowed(fewer, ("a", 0), ("b", 300), window=99 * HOUR)[0] == []
    assert windowed(fewer, ("a", 0), ("b", 300), window=None)[0] == []


def test_window_set_later_fires_nothing() -> None:
    _, state = windowed(empty_state(), ("a", 0), ("b", 300), window=None)
    assert windowed(state, ("a", 0), ("b", 300)) == ([], state)
    new, state = windowed(state, ("a", 0), ("b", 300), ("c", 301))
    assert new == ["c"]
    assert len(state["seen"]) == 44


def test_window_future_time_does_not_move_horizon() -> None:
    now = OLD + 100 * MINUTE
    _, state = windowed(empty_state(), ("a", 99_999), answered=now)
    assert state["horizon"] == (now - HOUR).isoformat()
    assert windowed(state, ("a", 99_999), ("b", 101), answered=now + MINUTE)[0] == ["b"]


def test_window_keeps_old_settling_objects() -> None:
    _, state = windowed(empty_state(), ("b", 120))
    _, state = windowed(state, ("b", 120), ("slow", 60), settle=MINUTE)
    _, state = windowed(state, ("b", 120), ("slow", 60), ("c", 300), settle=2 * MINUTE)
    memory = SeenObjects(state, NOW + 2 * MINUTE, DetectionRules(window=HOUR, settle=2 * MINUTE))
    listed = [("b", 120), ("slow", 60), ("c", 300), ("old", 1)]
    assert [key for key, at in listed if memory.observe(item(key, "e", 60 * at))] == ["slow", "c"]
    assert windowed(memory.state(), *listed)[0] == []


def test_S10_window_first_listing_may_exceed_limit() -> None:
    listing = [(f"{number:05}", number) for number in range(1_000)]
    new, state = windowed(empty_state(), *listing, limit=70)
    assert len(new) == 1_000
    assert len(state["seen"]) == 61 * 16 * 4 // 3 + 4 - 61 * 16 * 4 // 3 % 4
    # In any order: what the newest object makes old is forgotten as soon as it has come by.
    assert windowed(empty_state(), *reversed(listing), limit=70)[1] == state


def test_S10_window_objects_over_limit_are_refused() -> None:
    listing = [(f"{number:05}", number) for number in range(1_000)]
    with pytest.raises(
        S3Error, match=r"too many objects within the window.*at most 60.*shorter window"
    ):
        windowed(empty_state(), *listing, limit=60)


def test_S10_settling_objects_count_to_limit() -> None:
    _, state = look(empty_state(), B)
    memory = SeenObjects(state, NOW, DetectionRules(settle=MINUTE, limit=2))
    assert not memory.observe(item(*B))
    assert not memory.observe(item(*A1))
    with pytest.raises(S3Error, match=r"too many objects.*at most 2"):
        memory.observe(item("c", "one", 1))
    with pytest.raises(S3Error, match=r"too many objects.*at most 2"):
        look(state, ("b", "two", 2), A1, settle=MINUTE, limit=2)


_uploads = st.lists(
    st.tuples(st.integers(0, 600), st.integers(0, 59), st.integers(1, 90)), max_size=30
)


@given(_uploads, st.sampled_from([0, 1, 7]))
def test_window_random_arrivals_fire_once(uploads: list[tuple[int, int, int]], settle: int) -> None:
    # Each is visible at a minute, so much later than its time of modification; polls come after
    # pauses of any length, and go on until everything has settled.
    state, fired, minute = look(empty_state(), ("first", "e", 0))[1], [], 0
    state = windowed(state, ("first", 0))[1]
    for pause in [*(pause for _, _, pause in uploads), 600, 10, 10]:
        minute += pause
        listing = [
            (f"{number}", 60 + visible - late)
            for number, (visible, late, _) in enumerate(uploads)
            if visible <= minute
        ]
        memory = SeenObjects(
            state, NOW + minute * MINUTE, DetectionRules(settle=settle * MINUTE, window=HOUR)
        )
        fired += [
            key for key, at in [("first", 0), *listing] if memory.observe(item(key, "e", 60 * at))
        ]
        state = memory.state()
    assert sorted(fired) == sorted(str(number) for number in range(len(uploads)))

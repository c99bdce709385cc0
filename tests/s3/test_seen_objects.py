from __future__ import annotations

import base64
import copy
import hashlib
import json
import os
import tracemalloc
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flowstone_s3.errors import S3Error
from flowstone_s3.listing import S3Object
from flowstone_s3.seen_objects import OBJECT_LIMIT, DetectionRules, SeenObjects
from flowstone_s3.state import SeenState, empty_state
from hypothesis import given
from hypothesis import strategies as st

from flowstone_core import SensorBroken

NOW = datetime(2025, 1, 15, 12, 59, tzinfo=UTC)
EVERY = bool(os.environ.get("FLOWSTONE_CHAOS"))
OLD = datetime(2024, 12, 1, tzinfo=UTC)


def item(key: str, etag: str, second: float, size: int = 1) -> S3Object:
    return S3Object(key, etag, size, OLD + timedelta(seconds=second))


def look(
    state: SeenState, *objects: tuple[str, str, int], now: datetime = NOW, **rules: Any
) -> tuple[list[str], SeenState]:
    """Poll a listing of (key, ETag, written at second); return the new keys and the state."""
    memory = SeenObjects(json.loads(json.dumps(state)), now, DetectionRules(**rules))
    new = [each[0] for each in objects if memory.observe(item(*each))]
    return new, memory.state()


def polls(*listings: Iterable[tuple[str, str, int]]) -> list[list[str]]:
    state, found = empty_state(), []
    for listing in listings:
        new, state = look(state, *listing)
        found.append(new)
    return found


A1, A2, B = ("a", "one", 1), ("a", "two", 2), ("b", "one", 1)


def test_seen_new_object_fires_once() -> None:
    assert polls([A1], [A1, B], [A1, B]) == [["a"], ["b"], []]


def test_seen_overwritten_object_fires() -> None:
    assert polls([A1], [A2]) == [["a"], ["a"]]


def test_seen_same_content_reuploaded_keeps_state() -> None:
    _, state = look(empty_state(), A1)
    memory = SeenObjects(state, NOW)
    assert not memory.observe(item("a", "one", 99))
    assert memory.state() is state


def test_seen_same_content_flickering_does_not_fire() -> None:
    again = ("a", "one", 9)
    assert polls([A1], [again, B], [B], [again, B]) == [["a"], ["b"], [], []]


def test_seen_key_and_etag_are_kept_apart() -> None:
    assert polls([("a", "bc", 1)], [("ab", "c", 1)]) == [["a"], ["ab"]]


def test_seen_object_on_two_pages_fires_once() -> None:
    assert polls([A1, A1]) == [["a"]]


def test_S6_seen_flickering_object_does_not_fire() -> None:
    assert polls([A1, B], [B], [A1, B], [B], [A1, B]) == [["a", "b"], [], [], [], []]


def test_seen_stale_listing_does_not_fire() -> None:
    assert polls([A1], [A2], [A1], [A2]) == [["a"], ["a"], [], []]


def test_seen_content_written_back_fires() -> None:
    assert polls([A1], [A2], [("a", "one", 3)]) == [["a"], ["a"], ["a"]]


def test_S4_seen_object_deleted_and_recreated_fires() -> None:
    assert polls([A1], [], [("a", "one", 2)], [("a", "one", 2)]) == [["a"], [], ["a"], []]


@pytest.mark.parametrize(("hours", "new"), [(24, []), (26, ["a"])])
def test_seen_missing_object_is_kept_for_a_day(hours: int, new: list[str]) -> None:
    _, state = look(empty_state(), A1)
    _, state = look(state, B)
    assert look(state, A1, B, now=NOW + timedelta(hours=hours))[0] == new


def test_seen_missing_object_is_dropped_after_a_day() -> None:
    _, state = look(empty_state(), A1)
    _, state = look(state, B)
    assert list(state["gone"]) == ["2025-01-15T12:00:00+00:00"]
    _, state = look(state, now=NOW + timedelta(days=2))
    assert list(state["gone"]) == ["2025-01-17T12:00:00+00:00"]


def test_seen_missing_objects_are_grouped_by_hour() -> None:
    _, state = look(empty_state(), A1, B)
    _, state = look(state, B)
    _, state = look(state)
    assert [len(text) for text in state["gone"].values()] == [44]
    _, state = look(state, A1, B)
    assert state == look(empty_state(), A1, B)[1]


def test_seen_listing_order_does_not_matter() -> None:
    assert look(empty_state(), A1, B)[1] == look(empty_state(), B, A1)[1]


def test_seen_unchanged_listing_returns_same_state() -> None:
    _, state = look(empty_state(), A1, B)
    before = copy.deepcopy(state)
    memory = SeenObjects(state, NOW + timedelta(days=9))
    for key, etag, second in (B, A1):
        memory.observe(item(key, etag, second))
    assert memory.state() is state
    assert state == before


def test_S10_seen_objects_over_limit_are_refused() -> None:
    _, state = look(empty_state(), A1, B, limit=2)
    assert look(state, A1, B, limit=2)[0] == []
    with pytest.raises(S3Error, match=r"at most 2.*narrower prefixes"):
        look(state, A1, B, ("c", "one", 1), limit=2)


def test_seen_over_limit_drops_earliest_missing() -> None:
    hour = timedelta(hours=1)
    c = ("c", "one", 1)
    _, state = look(empty_state(), A1, B, c, limit=3)
    _, state = look(state, B, c, limit=3)
    _, state = look(state, c, now=NOW + hour, limit=3)
    assert len(state["gone"]) == 2
    _, state = look(state, c, ("d", "one", 1), now=NOW + 2 * hour, limit=3)
    assert list(state["gone"]) == ["2025-01-15T13:00:00+00:00"]
    assert look(state, c, B, A1, now=NOW + 2 * hour, limit=4)[0] == ["a"]


def test_seen_limit_fits_into_stored_state() -> None:
    assert OBJECT_LIMIT * 16 * 4 / 3 + 26 * 40 + 100 < 8 * 1024 * 1024


@pytest.mark.parametrize("count", [100_000 if EVERY else 20_000])
def test_seen_many_objects_stay_small(count: int) -> None:
    memory = SeenObjects(empty_state(), NOW)
    for number in range(count):
        assert memory.observe(item(f"orders/2025-01-15/{number}.csv", "0" * 32, 0))
    state = memory.state()
    assert len(json.dumps(state)) < 21.35 * count
    tracemalloc.start()
    memory = SeenObjects(state, NOW)
    assert not any(
        memory.observe(item(f"orders/2025-01-15/{number}.csv", "0" * 32, 0))
        for number in range(count)
    )
    assert memory.state() is state
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 420 * count


@pytest.mark.parametrize("version", [0, 3, "1", None])
def test_state_of_another_version_is_refused(version: object) -> None:
    with pytest.raises(
        SensorBroken, match=r"unsupported state version .* reads version 2.*flowstone sensors reset"
    ):
        SeenObjects(empty_state() | {"version": version}, NOW)


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
def test_state_damaged_is_refused(state: object) -> None:
    with pytest.raises(SensorBroken, match=r"cannot read.*flowstone sensors reset"):
        SeenObjects(state, NOW)


def test_seen_missing_object_back_changed_is_created() -> None:
    _, state = look(empty_state(), A1)
    _, state = look(state)
    assert look(state, A2, on="created")[0] == ["a"]
    assert look(state, A2, on="changed")[0] == []


@pytest.mark.parametrize(
    ("on", "new"),
    [
        ("created", [["a"], ["b"], []]),
        ("changed", [[], ["a"], ["b"]]),
        ("both", [["a"], ["a", "b"], ["b"]]),
    ],
)
def test_seen_created_and_changed_are_distinguished(on: str, new: list[list[str]]) -> None:
    state, found = empty_state(), []
    for listing in ([A1], [A2, B], [A2, ("b", "two", 5)]):
        fired, state = look(state, *listing, on=on)
        found.append(fired)
    assert found == new
    assert look(state, A2, ("b", "two", 5), on="both")[0] == []


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
    assert windowed(state, ("late", 59), ("b", 120)) == ([], state)
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


# --- a state of version 1 -------------------------------------------------------------------------


def first_form(*objects: tuple[str, str, int]) -> str:
    """Write entries as version 1 did."""
    entries = []
    for key, etag, second in objects:
        milliseconds = round((OLD + timedelta(seconds=second)).timestamp() * 1000)
        identity = hashlib.sha256(f"{key}\0{etag}".encode()).digest()[:8]
        entries.append(identity + milliseconds.to_bytes(8, "big")[-4:])
    return base64.b64encode(b"".join(sorted(entries))).decode()


def version_1(seen: Iterable[tuple[str, str, int]], **gone: Iterable[tuple[str, str, int]]) -> Any:
    groups = {
        f"2025-01-15T{hour[1:]}:00:00+00:00": first_form(*group) for hour, group in gone.items()
    }
    return {"version": 1, "seen": first_form(*seen), "gone": groups}


def test_state_version_1_is_migrated_without_firing() -> None:
    new, state = look(version_1([A1, B]), A1, ("b", "one", 99))
    assert new == []
    assert state == look(empty_state(), A1, ("b", "one", 99))[1]
    assert look(state, A2, B, on="changed")[0] == ["a"]


@pytest.mark.parametrize("on", ["created", "changed", "both"])
def test_state_version_1_later_changes_fire(on: str) -> None:
    # Whether its key was there cannot be told.
    assert look(version_1([A1]), A2, B, on=on)[0] == ["a", "b"]


def test_state_version_1_missing_object_is_known_for_a_day() -> None:
    gone = ("gone", "one", 1)
    new, state = look(version_1([A1, B], h11=[gone]), B)
    assert new == []
    assert set(state["former"]) == {"2025-01-15T11:00:00+00:00", "2025-01-15T12:00:00+00:00"}
    assert look(state, A1, B, gone)[0] == []
    assert look(state, ("a", "one", 2), B, ("gone", "one", 2))[0] == ["a", "gone"]
    assert look(state, A1, B, gone, now=NOW + timedelta(days=2))[0] == ["a", "gone"]
    _, state = look(state, B, ("c", "one", 1), now=NOW + timedelta(days=2))
    assert "former" not in state


def test_state_version_1_missing_objects_yield_to_limit() -> None:
    _, state = look(version_1([A1, B]), B, ("c", "one", 1), limit=2)
    assert "former" not in state


_key = st.sampled_from("abc")
_history = st.lists(st.dictionaries(_key, st.integers(0, 5), max_size=3), max_size=12)


@given(_history)
def test_seen_random_listings_fire_each_write_once(history: list[dict[str, int]]) -> None:
    # Each number is a write with content of its own; listings show any write, or none.
    state, listed = empty_state(), set()
    for listing in history:
        new, state = look(state, *((key, f"e{write}", write) for key, write in listing.items()))
        assert {(key, listing[key]) for key in new} == set(listing.items()) - listed
        listed |= set(listing.items())


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

from __future__ import annotations

import base64
import copy
import hashlib
import json
import os
import tracemalloc
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

import pytest
from flowstone_s3.errors import S3Error
from flowstone_s3.seen_objects import OBJECT_LIMIT, SeenObjects
from flowstone_s3.state import empty_state
from hypothesis import given
from hypothesis import strategies as st

from flowstone_core import SensorBroken
from tests.s3.seen_support import A1, A2, NOW, OLD, B, item, look

EVERY = bool(os.environ.get("FLOWSTONE_CHAOS"))


def polls(*listings: Iterable[tuple[str, str, int]]) -> list[list[str]]:
    state, found = empty_state(), []
    for listing in listings:
        new, state = look(state, *listing)
        found.append(new)
    return found


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

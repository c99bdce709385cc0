"""Events in the store: listings, and whom they asked for."""

from __future__ import annotations


def test_events_are_listed_newest_first_in_pages(bench):
    for number in range(4):
        bench.fire(bench.event(f"k{number}", "orders"))
        bench.fire(bench.event(f"k{number}", "items"), sensor="drop")
    page = bench.store.events.latest(source="sensor:feed", limit=2)
    assert [event.key for event in page] == ["k3", "k2"]
    rest = bench.store.events.latest(source="sensor:feed", before_id=page[-1].id)
    assert [event.key for event in rest] == ["k1", "k0"]
    assert {event.source for event in bench.store.events.latest(asset="items")} == {"sensor:drop"}
    assert bench.store.events.latest(source="sensor:feed", asset="items") == []
    assert len(bench.store.events.latest()) == 8


def test_events_of_unknown_materialization_are_empty(bench):
    assert bench.store.materializations.events(404) == []


def test_the_longest_names_keys_and_partitions_fit(bench):
    long = "ä" * 1_000
    event = bench.fire(bench.event(long, partition=long)).events[0]
    assert (event.key, event.partition) == (long, long)
    assert bench.fire(bench.event(long, partition=long)).tick.duplicates == 1


def test_payloads_come_back_as_they_were_written(bench):
    text = '{"big":9223372036854775807,"deep":[{"x":[null,true,1.5]}],"text":"\\u0000 𝄞 \'; --"}'
    (event,) = bench.fire(bench.event("k", payload=text)).events
    assert event.payload == {
        "big": 9223372036854775807,
        "deep": [{"x": [None, True, 1.5]}],
        "text": "\0 𝄞 '; --",
    }
    assert bench.store.events.latest() == [event]

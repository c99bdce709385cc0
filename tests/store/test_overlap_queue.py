"""Overlap queue: predecessors and successors of a schedule's materializations."""

from __future__ import annotations

from datetime import timedelta

import pytest

from flowstone_core.store import overlap_queue
from tests.store.overlap_line import ENDS


def waits_for(number):
    return f"the schedule's previous run, #{number}"


# -- lining up -------------------------------------------------------------------------------------


def test_the_first_one_starts_and_the_next_one_waits_for_it(line):
    (first,) = line.fire("p1")
    (second,) = line.fire("p2")
    assert (line.bench.get(first).available_at, line.bench.get(first).waiting_for) == (
        line.bench.now,
        None,
    )
    waiting = line.bench.get(second)
    assert (waiting.state, waiting.available_at) == ("pending", None)
    assert waiting.waiting_for == waits_for(first)
    assert line.start() == [first]
    assert line.start() == []


@pytest.mark.parametrize("at_once", [True, False])
def test_queue_keeps_the_order_of_requests(line, at_once):
    partitions = ["z", "b", "y", "a", "x"]
    numbers = line.fire(*partitions) if at_once else [line.fire(name)[0] for name in partitions]
    assert line.standing() == dict(zip(numbers[1:], numbers, strict=False))
    assert line.drain() == numbers
    assert line.standing() == {}


def test_queued_materialization_keeps_its_place(line):
    first, second, third = line.fire("p1", "p2", "p3")
    joined, fourth = line.fire("p2", "p4")
    assert joined == second
    assert line.drain() == [first, second, third, fourth]


def test_running_or_retrying_one_is_a_predecessor(line):
    (first,) = line.fire("p1")
    line.start()
    (second,) = line.fire("p2")
    line.bench.fail(line.claims[first])
    (third,) = line.fire("p3")
    assert line.standing() == {second: first, third: second}


def test_ended_one_is_not_a_predecessor(line):
    line.fire("p1")
    line.drain()
    (second,) = line.fire("p2")
    assert line.standing() == {}
    assert line.start() == [second]


def test_same_partition_queues_behind_the_running_one(line):
    (first,) = line.fire("p")
    line.start()
    (second,) = line.fire("p")
    assert line.standing() == {second: first}
    line.complete(first)
    assert line.start() == [second]


def test_join_leaves_the_pending_one_unchanged(line):
    (running,) = line.fire("p1")
    line.start()
    by_hand = line.bench.ask("alone", "p2")
    (sensed,) = line.bench.fire(line.bench.event("k", "alone", "p3")).materializations
    (others,) = line.fire("p4", name="b")
    before = [line.bench.get(number) for number in (by_hand.id, sensed.id, others)]
    assert line.fire("p2", "p3", "p4") == [by_hand.id, sensed.id, others]
    assert [line.bench.get(item.id) for item in before] == before
    assert line.start() == [by_hand.id, sensed.id, others]
    assert running in line.claims


def test_successor_of_a_joined_one_queues_behind_it(line):
    by_hand = line.bench.ask("alone", "p1").id
    joined, second = line.fire("p1", "p2")
    assert joined == by_hand
    assert line.standing() == {second: by_hand}
    assert line.drain() == [by_hand, second]


def test_successor_of_a_joined_one_waits_for_the_running_one(line):
    by_hand = line.bench.ask("alone", "p1").id
    (running,) = line.fire("p2")
    _, third = line.fire("p1", "p3")
    line.start()
    line.complete(by_hand)
    assert line.start() == []
    line.complete(running)
    assert line.start() == [third]


def test_join_in_the_middle_keeps_the_queue(line):
    (running,) = line.fire("p")
    line.start()
    by_hand = line.bench.ask("alone", "p2").id
    first, joined, third = line.fire("p1", "p2", "p3")
    assert joined == by_hand
    assert line.start() == [by_hand]
    line.complete(running)
    assert line.start() == []
    line.complete(by_hand)
    assert line.drain() == [first, third]


def test_other_sources_do_not_matter(line):
    line.bench.ask("alone", "p1")
    line.bench.fire(line.bench.event("k", "alone", "p2"))
    line.fire("p3", name="b")
    (own,) = line.fire("p4")
    assert line.standing() == {}
    assert own in line.start()


def test_a_schedule_whose_name_begins_as_anothers_is_another(line):
    line.schedule("ab", "schedule:a")
    for number, name in enumerate(("ab", "schedule:a", "a")):
        line.fire(f"p{number}", name=name)
    assert line.standing() == {}


def test_overlap_allow_never_waits(line):
    numbers = line.fire("p1", "p2", sequential=False)
    numbers += line.fire("p3", sequential=False)
    assert line.standing() == {}
    assert line.start() == numbers


def test_changed_overlap_waits_for_all_active_ones(line):
    overlapping = line.fire("p1", "p2", "p3", sequential=False)
    (next_one,) = line.fire("p4")
    assert line.start() == overlapping
    for number in reversed(overlapping):
        assert line.start() == []
        line.complete(number)
    assert line.start() == [next_one]


def test_shared_by_two_schedules_waits_for_both_queues(line):
    for slow in ("a", "b"):
        first = {name: line.fire(f"{slow} {name}", name=name)[0] for name in ("a", "b")}
        line.start()
        one, two = line.commit(
            line.tick(f"{slow} both", name="a"), line.tick(f"{slow} both", name="b")
        )
        assert one == two
        line.complete(first["b" if slow == "a" else "a"])
        assert line.start() == []
        line.complete(first[slow])
        assert line.start() == [one]
        line.complete(one)


def test_sensors_and_schedules_in_one_transaction_do_not_mix(line):
    (first,) = line.fire("p1")
    sensed = line.bench.tick("feed", line.bench.event("k", "alone", "p2"))
    _, sequential, free = line.commit(sensed, line.tick("p3"), line.tick("p4", name="b"))
    assert line.standing() == {sequential: first}
    assert free in line.start()


def test_large_tick_queues_its_first_behind_the_previous_last(line):
    (first,) = line.fire("p")
    numbers = line.fire(*(f"p{number}" for number in range(overlap_queue.HISTORY_LIMIT + 50)))
    assert line.standing()[numbers[0]] == first
    assert line.start() == [first]
    (last,) = line.fire("q")
    assert line.standing()[last] == numbers[-1]


def test_repeated_partition_in_one_tick_queues_behind_the_previous_last(line):
    (first,) = line.fire("p")
    line.start()
    numbers = line.fire(*["q"] * (overlap_queue.HISTORY_LIMIT + 50))
    assert line.standing() == {numbers[0]: first}


@pytest.mark.parametrize("state", ENDS)
def test_when_one_has_ended_the_next_one_starts(line, state):
    first, second, third = line.fire("p1", "p2", "p3")
    line.start()
    line.bench.later(minutes=1)
    ENDS[state](line, line.claims[first])
    assert line.bench.get(first).state == ("discarded" if state == "lost" else state)
    assert (line.bench.get(second).available_at, line.bench.get(second).waiting_for) == (
        line.bench.now,
        None,
    )
    assert line.standing() == {third: second}
    assert line.start() == [second]


def test_cancelled_before_it_started_it_lets_the_next_one_start(line):
    first, second = line.fire("p1", "p2")
    line.cancel(first)
    assert line.start() == [second]


def test_discard_for_a_dependency_starts_the_successor(line):
    first, second = line.fire("p1", "p2", asset="clean")
    (orders,) = line.start()
    assert line.bench.get(orders).asset == "orders"
    line.bench.discard(line.claims[orders])
    # What the second one depends on was asked for when it was let go.
    (more,) = line.start()
    assert line.bench.get(first).state == "discarded"
    assert line.standing() == {}
    assert line.bench.get(second).waiting_for == f"orders #{more}"
    line.complete(more)
    assert line.start() == [second]


@pytest.mark.parametrize("end", ["retried", "given back", "lost once"])
def test_retried_one_is_a_predecessor_again(line, end):
    first, second = line.fire("p1", "p2")
    line.start()
    if end == "retried":
        line.bench.fail(line.claims[first], retry_in=timedelta(0))
    elif end == "given back":
        line.store.queue.release([line.claims[first]], line.bench.now)
    else:
        line.bench.later(days=2)
        line.store.queue.recover(line.bench.now)
    assert line.bench.get(first).state == "retrying"
    assert line.standing() == {second: first}
    assert line.start() == [first]


def test_cancel_in_the_middle_moves_the_successor_up(line):
    first, *middle, last = line.fire("p1", "p2", "p3", "p4", "p5")
    line.start()
    for number in (middle[1], middle[0], middle[2]):
        line.cancel(number)
        assert line.start() == []
    assert line.standing() == {last: first}
    assert line.bench.get(last).waiting_for == waits_for(first)
    line.complete(first)
    assert line.start() == [last]


def test_cancel_of_the_last_one_moves_nothing(line):
    first, second, third = line.fire("p1", "p2", "p3")
    line.cancel(third)
    assert line.standing() == {second: first}
    (fourth,) = line.fire("p4")
    assert line.drain() == [first, second, fourth]


def test_retried_after_cancel_leaves_the_queue(line):
    first, second, third = line.fire("p1", "p2", "p3")
    line.start()
    line.cancel(second)
    line.store.materializations.retry(second, line.bench.assets, line.bench.now)
    assert line.standing() == {third: first}
    assert line.start() == [second]
    line.complete(first)
    # It asked for the second one before the third.
    assert line.start() == []
    line.complete(second)
    assert line.start() == [third]


def test_retried_materialization_is_waited_for_by_the_queue(line):
    first, _, third = line.fire("p1", "p2", "p3")
    line.cancel(first)
    line.store.materializations.retry(first, line.bench.assets, line.bench.now)
    first, second = line.start()
    line.complete(second)
    assert line.start() == []
    assert line.bench.get(third).waiting_for == waits_for(first)
    line.complete(first)
    assert line.start() == [third]


def test_end_advances_all_successors(line):
    by_hand = line.bench.ask("alone", "p").id
    behind = [line.fire("p", f"{name}1", name=name)[1] for name in ("a", "b")]
    assert line.standing() == dict.fromkeys(behind, by_hand)
    assert line.start() == [by_hand]
    line.complete(by_hand)
    assert line.start() == behind


def test_shared_with_a_sensor_waits_for_nothing_of_the_sensor(line):
    (sensed,) = line.bench.fire(line.bench.event("k1", "alone", "p0")).materializations
    first, second = line.fire("p1", "p2")
    line.bench.fire(line.bench.event("k2", "alone", "p2"))
    assert line.start() == [sensed.id, first]
    line.complete(first)
    assert line.start() == [second]


def test_shared_materialization_waits_for_nothing_newer(line):
    first, second = line.fire("p1", "p2")
    (newer,) = line.fire("q", name="b")
    line.fire("p2", name="b")
    assert line.start() == [first, newer]
    line.complete(first)
    assert line.start() == [second]


def test_however_often_it_was_asked_for_it_waits_for_those_before_it(line):
    first, second = line.fire("p1", "p2", sequential=False)
    (third,) = line.fire("p3")
    line.fire(*["p3"] * (overlap_queue.HISTORY_LIMIT + 50))
    assert line.start() == [first, second]
    line.complete(second)
    assert line.start() == []
    line.complete(first)
    assert line.start() == [third]


def test_queued_materialization_starts_only_in_its_turn(line):
    first, second = line.fire("p1", "p2", asset="clean")
    by_hand = line.bench.ask("orders", "p2").id
    line.start()
    # What it depends on is made; everything is looked at again; its partition has seen an end.
    line.complete(by_hand)
    line.store.queue.requeue_waiting(line.bench.assets, line.bench.now)
    line.cancel(line.bench.ask("clean", "p3").id)
    line.bench.ask("alone", "p2")
    lost = line.bench.claim(runner_id="ghost").claims[0]
    while line.bench.get(lost.materialization.id).state != "discarded":
        line.store.queue.recover(line.bench.now)
        line.bench.claim(limit=1, runner_id="ghost")
    assert line.standing() == {second: first}
    assert line.bench.get(second).available_at is None
    assert line.bench.get(second).waiting_for == waits_for(first)


def test_requeued_materialization_waits_for_dependencies(line):
    first, second = line.fire("p1", "p2", asset="clean")
    line.complete(*line.start())
    assert line.start() == [first]
    line.complete(first)
    (orders,) = line.start()
    assert line.bench.get(orders).partition == "p2"
    assert line.bench.get(second).waiting_for == f"orders #{orders}"
    line.complete(orders)
    assert line.start() == [second]


def test_requeued_materialization_waits_for_previous_run(line):
    (first,) = line.fire("p1")
    by_hand = line.bench.ask("alone", "p2").id
    line.start()
    (second,) = line.fire("p2")
    line.complete(first)
    assert line.start() == []
    assert line.bench.get(second).waiting_for == f"the previous run, #{by_hand}"
    line.complete(by_hand)
    assert line.start() == [second]


def test_a_schedule_that_got_another_asset_does_not_wait_for_itself(line):
    line.fire("p1", asset="clean")
    line.fire("p2", asset="clean")
    # What the second one depends on would stand behind it.
    line.fire("p2", asset="orders")
    for _ in range(3):
        for number in line.start():
            line.complete(number)
    assert {str(item.state) for item in line.store.materializations.latest()} == {"completed"}

"""Items that a sensor leaves out for good: checked, merged, safe, committed."""

from __future__ import annotations

import math
import pickle
from datetime import UTC, datetime, timedelta

import pytest

from flowstone_core.errors import PollTimeoutError
from flowstone_core.model.event import Event, NotTriggered, Skipped, Triggered
from flowstone_core.model.sensor import PollContext
from flowstone_core.model.sensor_decision import SensorObservation, TickRules, decide
from flowstone_core.model.skipped_items import (
    MOST_ITEMS,
    MOST_REASONS,
    count_skipped,
    dump_skipped,
    load_skipped,
    skipped_items,
)
from flowstone_core.model.tick import SensorCheckpoint, TickOutcome

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
SETTLED = SensorCheckpoint(version=7, state="1", polled=True)
TMP = Skipped("no date in the key", 2, "in/upload.tmp")


def decided(outcome, checkpoint=SETTLED, **changes):
    rules = TickRules(**{"sensor": "feed", "asset": "raw", "assets": ("raw",)} | changes)
    return decide(rules, checkpoint, SensorObservation(outcome, NOON, NOON + timedelta(seconds=1)))


def test_tick_with_skipped_items_is_committed_though_nothing_else_changed():
    assert decided(NotTriggered(1)).commits == ()
    decision = decided(NotTriggered(1, skipped=[TMP]))
    assert decision.outcome is TickOutcome.NOT_TRIGGERED
    (commit,) = decision.commits
    assert commit.skipped == (TMP,)
    assert (commit.after.version, commit.after.state, commit.error) == (8, "1", None)


def test_skipped_items_are_in_the_transaction_that_keeps_the_state():
    decision = decided(Triggered(["a", "b", "c"], 2, skipped=TMP), max_events=2)
    assert [(len(commit.events), commit.skipped) for commit in decision.commits] == [
        (2, ()),
        (1, (TMP,)),
    ]


def test_baseline_tells_skipped_items_too():
    new = SensorCheckpoint()
    decision = decided(Triggered(["a"], 2, skipped=[TMP]), new, baseline=True)
    (commit,) = decision.commits
    assert (commit.outcome, commit.events, commit.skipped) == (TickOutcome.BASELINE, (), (TMP,))


class Odd(str):
    """A text with methods of its own."""

    __slots__ = ()

    def __str__(self):
        raise RuntimeError("no text")


RUBBISH = [
    None,
    "orders/readme.txt",
    5,
    [None],
    [("reason", 1, "x")],
    {"reason": "r"},
    Skipped("", 1, "x"),
    Skipped(" ", 1, "x"),
    Skipped(None, 1, "x"),
    Skipped("r", 0),
    Skipped("r", -1),
    Skipped("r", True),
    Skipped("r", 1.0),
    Skipped("r", "1"),
    Skipped("r", 1, None),
    Skipped("r", 1, b"x"),
    [TMP, Skipped("r", math.nan)],
]


@pytest.mark.parametrize("rubbish", RUBBISH, ids=repr)
@pytest.mark.parametrize("outcome", [NotTriggered, lambda *given: Triggered(["a"], *given)])
def test_P4_rubbish_in_skipped_is_a_failed_tick_that_keeps_the_state(outcome, rubbish):
    decision = decided(outcome(2, rubbish))
    (commit,) = decision.commits
    assert decision.outcome is TickOutcome.FAILED
    assert "skipped" in commit.error.lower()
    assert (commit.events, commit.skipped, commit.after.state) == ((), (), "1")


@pytest.mark.parametrize("rubbish", [None, 5, b"text", ["text"]])
def test_P4_rubbish_as_reason_is_a_failed_tick(rubbish):
    decision = decided(NotTriggered(1, reason=rubbish))
    assert decision.outcome is TickOutcome.FAILED
    assert "reason of NotTriggered must be a text" in decision.error


def test_N6_reason_of_a_quiet_poll_is_told_and_nothing_is_written():
    decision = decided(NotTriggered(1, reason="the newest file is still written"))
    assert (decision.commits, decision.reason) == ((), "the newest file is still written")


def test_skipped_items_are_merged_by_reason_and_keep_the_first_example():
    items = [Skipped("late", 3), Skipped("no date", 1, "a"), Skipped("late", 4, "b")]
    assert skipped_items(items, str) == (Skipped("late", 7, "b"), Skipped("no date", 1, "a"))


def test_skipped_items_with_too_many_reasons_lose_no_count():
    items = [Skipped(f"cannot read in/{number}.tmp", 2, f"in/{number}") for number in range(1_000)]
    kept = skipped_items(items, str)
    assert len(kept) == MOST_REASONS + 1
    assert kept[-1].reason == "other reasons"
    assert kept[-1].example == f"in/{MOST_REASONS}"
    assert count_skipped(kept) == 2_000


def test_skipped_items_beyond_a_column_are_counted_up_to_its_limit():
    items = [Skipped("late", 2**80), Skipped("late", 2**80), Skipped("no date", MOST_ITEMS)]
    kept = skipped_items(items, str)
    assert [item.count for item in kept] == [MOST_ITEMS, MOST_ITEMS]
    assert count_skipped(kept) == MOST_ITEMS


def test_skipped_items_are_redacted_and_safe_to_show():
    item = Skipped("denied for hunter2", 1, "in/hunter2\x1b[31m\nred\ud800" + "x" * 5_000)
    (kept,) = skipped_items([item], lambda text: text.replace("hunter2", "***"))
    assert kept.reason == "denied for ***"
    assert kept.example.startswith("in/***\\nred\\ud800xxx")
    assert len(kept.example) < 400
    dump_skipped([kept]).encode()


def test_skipped_items_of_a_strange_text_are_plain_text():
    (kept,) = skipped_items([Skipped(Odd("late"), 1, Odd("a"))], str)
    assert (type(kept.reason), kept) == (str, Skipped("late", 1, "a"))


def test_skipped_items_come_back_from_the_store_as_they_were():
    assert load_skipped(dump_skipped([TMP])) == (TMP,)
    assert dump_skipped([]) is None
    assert load_skipped(None) == ()
    assert pickle.loads(pickle.dumps(TMP)) == TMP  # noqa: S301 - as a child process sends it


def test_S2_poll_context_outside_a_poll_has_no_deadline(fake_clock):
    context = PollContext(clock=fake_clock)
    assert context.seconds_left() == math.inf
    context.check_deadline()


def test_S2_poll_context_counts_down_to_the_deadline_of_its_poll(fake_clock):
    context = PollContext(clock=fake_clock)
    with context.limited(30):
        fake_clock.advance(29)
        assert context.seconds_left() == 1
        context.check_deadline()
        fake_clock.advance(2)
        assert context.seconds_left() == 0
        with pytest.raises(PollTimeoutError, match="within its deadline of 30 s"):
            context.check_deadline()
    assert context.seconds_left() == math.inf


def test_triggered_with_skipped_only_is_recorded_as_not_triggered():
    decision = decided(Triggered([], 1, skipped=[TMP]))
    assert decision.outcome is TickOutcome.NOT_TRIGGERED
    assert decision.commits[0].skipped == (TMP,)
    assert Triggered(Event("a"), 1).skipped == ()

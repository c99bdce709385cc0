import asyncio
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowstone_core.errors import OutcomeError, PollTimeoutError, RetryLater, SensorBroken
from flowstone_core.model.event import Event, NotTriggered, PollFailed, Triggered
from flowstone_core.model.json_document import (
    PAYLOAD_LIMIT,
    dump_document,
)
from flowstone_core.model.partition import encode_partition, encode_value
from flowstone_core.model.sensor_decision import (
    QUARANTINE_INTERVAL,
    TRANSACTION_LIMIT,
    Decision,
)
from flowstone_core.model.tick import NewEvent, SensorCheckpoint, TickCommit, TickOutcome
from tests.model.decisions import (
    FAILING,
    LATER,
    NEW,
    NOON,
    RULES,
    SETTLED,
    assert_failed,
    found,
    keys,
    raised,
    returned,
    rules,
)


class TestGood:
    def test_quiet_tick_writes_nothing(self):
        decision = returned(NotTriggered({"seen": 1}))
        assert decision == Decision(TickOutcome.NOT_TRIGGERED)
        assert returned(Triggered([], {"seen": 1})) == decision

    def test_new_state_is_committed(self):
        decision = returned(NotTriggered({"seen": 2}))
        assert decision == Decision(
            TickOutcome.NOT_TRIGGERED,
            (
                TickCommit(
                    "feed",
                    TickOutcome.NOT_TRIGGERED,
                    NOON,
                    LATER,
                    SETTLED,
                    SensorCheckpoint(version=8, state='{"seen":2}', polled=True),
                ),
            ),
        )

    def test_state_and_events_are_one_commit(self):
        event = Event("p", key="k", asset="report", payload={"b": 1, "a": 2})
        decision = returned(Triggered(event, {"seen": 2}))
        (commit,) = decision.commits
        assert decision.outcome is commit.outcome is TickOutcome.TRIGGERED
        assert commit.events == (NewEvent("k", "report", "p", '{"a":2,"b":1}'),)
        assert commit.after == SensorCheckpoint(version=8, state='{"seen":2}', polled=True)
        assert commit.source == "sensor:feed"

    def test_event_with_unchanged_state_is_committed(self):
        assert len(returned(Triggered("p", {"seen": 1})).commits) == 1

    @pytest.mark.parametrize(
        "checkpoint",
        [
            NEW,
            FAILING,
            SensorCheckpoint(3, "1", polled=True, not_before=NOON),
            SensorCheckpoint(3, "1"),
        ],
    )
    def test_good_poll_resets_failures(self, checkpoint):
        decision = returned(NotTriggered(1), checkpoint)
        (commit,) = decision.commits
        assert commit.after == SensorCheckpoint(checkpoint.version + 1, "1", polled=True)
        assert decision.delay is None

    def test_baseline_first_poll_fires_nothing(self):
        using = rules(baseline=True)
        first = returned(Triggered(["a", "b"], 1), NEW, using)
        (commit,) = first.commits
        assert first.outcome is commit.outcome is TickOutcome.BASELINE
        assert (commit.events, commit.after) == ((), SensorCheckpoint(1, "1", polled=True))
        assert returned(Triggered(["c"], 2), commit.after, using).outcome is TickOutcome.TRIGGERED

    def test_baseline_survives_a_failed_poll(self):
        using = rules(baseline=True)
        (failed,) = raised(OSError(), NEW, using, "0").commits
        assert returned(Triggered("a", 1), failed.after, using).outcome is TickOutcome.BASELINE

    @pytest.mark.parametrize("outcome", TickOutcome)
    def test_good_outcomes(self, outcome):
        bad = {"failed", "timed_out", "retry_later", "broken"}
        assert outcome.good == (outcome not in bad)


texts = st.text(st.characters(codec="utf-8"), max_size=3)
partitions = texts.filter(bool) | st.dates() | st.tuples(texts, st.dates())
payloads = st.none() | st.dictionaries(texts, st.integers(0, 3) | texts, max_size=2)
assets = st.sampled_from([None, "raw", "report"])
keyless = st.builds(Event, partitions, asset=assets, payload=payloads)
keyed = st.builds(Event, partitions, st.none() | texts, assets, payloads)


class TestEvents:
    @given(st.lists(keyed, max_size=30), st.integers(1, 10), st.booleans())
    def test_each_event_is_in_one_commit_in_order(self, events, most, polled):
        checkpoint = SensorCheckpoint(7, '"old"', polled=polled)
        decision = returned(Triggered(events, "new"), checkpoint, rules(max_events=most))
        assert [(e.asset, e.partition, e.payload) for e in found(decision)] == [
            (
                event.asset or "raw",
                encode_partition(event.partition),
                None if event.payload is None else dump_document(event.payload, what="", limit=999),
            )
            for event in events
        ]
        assert all(len(commit.events) <= most for commit in decision.commits)

    @given(st.lists(keyed, min_size=1, max_size=30), st.integers(1, 10))
    def test_state_changes_with_last_commit_only(self, events, most):
        decision = returned(Triggered(events, "new"), using=rules(max_events=most))
        *partial, last = decision.commits
        assert last.after == SensorCheckpoint(8, '"new"', polled=True)
        assert last.events
        for commit in partial:
            assert len(commit.events) == most
            assert commit.after == commit.before
        for commit in decision.commits:
            assert (commit.before, commit.started_at, commit.finished_at) == (SETTLED, NOON, LATER)
            assert commit.outcome is decision.outcome is TickOutcome.TRIGGERED

    @given(st.lists(keyless, max_size=30))
    def test_keys_of_a_tick_are_unique(self, events):
        assert len(set(keys(returned(Triggered(events, 1))))) == len(events)

    @given(st.lists(keyless, max_size=20), st.integers(1, 10), st.integers(1, 10))
    def test_repeated_tick_has_same_keys(self, events, one, other):
        first = returned(Triggered(events, 1), using=rules(max_events=one))
        again = returned(Triggered(iter(events), 2), using=rules(max_events=other))
        assert keys(first) == keys(again)

    @given(st.lists(keyless, min_size=1, max_size=10), st.lists(keyless, max_size=10), st.data())
    def test_repeated_tick_gives_new_keys_to_new_events(self, before, more, data):
        order = data.draw(st.permutations([*before, *more]))
        first, again = keys(returned(Triggered(before, 1))), keys(returned(Triggered(order, 1)))
        assert set(first) <= set(again)
        assert len(set(again)) == len(before) + len(more)

    @given(st.lists(keyless, min_size=1, max_size=10), st.integers(0, 3))
    def test_failed_polls_before_repeated_tick_keep_keys(self, events, failures):
        first = returned(Triggered(events, 2), using=rules(max_events=1))
        checkpoint = first.commits[0].after if len(first.commits) > 1 else SETTLED
        for error in [OSError(), RetryLater(5), PollTimeoutError("late")][:failures]:
            checkpoint = raised(error, checkpoint).commits[-1].after
        assert keys(returned(Triggered(events, 2), checkpoint)) == keys(first)

    @given(keyless)
    def test_later_tick_has_other_keys(self, event):
        first = returned(Triggered(event, 1))
        second = returned(Triggered(event, 1), first.commits[-1].after)
        assert keys(first) != keys(second)

    def test_P8_explicit_key_is_kept(self):
        once = returned(Triggered([Event("a", key="k"), Event("b", key="k")], 1))
        again = returned(Triggered(Event("a", key="k"), 2), once.commits[-1].after)
        assert keys(once) == ["k", "k"]
        assert keys(again) == ["k"]

    @pytest.mark.parametrize("key", ["", " ", "s:x", "a\x00b", "d:2026-01-31"])
    def test_any_text_is_a_valid_key(self, key):
        assert keys(returned(Triggered(Event("a", key=key), 1))) == [encode_value(key)]

    def test_P6_many_events_are_split_into_transactions(self):
        decision = returned(Triggered([str(n) for n in range(2_500)], 1))
        assert [len(commit.events) for commit in decision.commits] == [1_000, 1_000, 500]

    def test_P6_large_payloads_are_split_into_transactions(self):
        payload = {"x": "é" * (PAYLOAD_LIMIT // 2 - 10)}
        events = [Event(str(n), payload=payload) for n in range(100)]
        decision = returned(Triggered(events, 1))
        assert len(found(decision)) == 100
        for commit in decision.commits:
            assert sum(len(e.payload.encode()) for e in commit.events) <= TRANSACTION_LIMIT
        assert len(decision.commits) == 4

    def test_P6_transaction_is_filled_to_its_limit(self):
        payload = {"x": "y" * (PAYLOAD_LIMIT - len('{"x":""}'))}
        events = [Event(str(n), payload=payload) for n in range(67)]
        decision = returned(Triggered(events, 1))
        assert TRANSACTION_LIMIT == 32 * PAYLOAD_LIMIT == 8 * 1024 * 1024
        assert [len(commit.events) for commit in decision.commits] == [32, 32, 3]

    @pytest.mark.parametrize(
        ("event", "using", "reason"),
        [
            (
                Event("p"),
                rules(asset=None),
                "the event for 'good' names no asset and the sensor has",
            ),
            (Event("p", asset="rw"), RULES, "is for asset 'rw', which no pipeline has"),
            (Event("p", asset=""), RULES, "is for asset '', which no pipeline has"),
            (Event(5), RULES, "cannot encode a value of type int as a partition"),
            (Event("x" * 2_001), RULES, "has 2,001 bytes as a text"),
            (Event("p", key=5), RULES, "an event's key must be a string, not a value of type int"),
            (Event("p", key="x" * 2_001), RULES, "an event's key cannot be used: 'xxx"),
            (Event("p", key="\ud800"), RULES, "an event's key cannot be used: "),
            (Event("p", payload=[("a", 1)]), RULES, "payload must be a JSON mapping, not a value"),
            (Event("p", payload={"a": {1}}), RULES, "the payload['a'] is not JSON: it is a set"),
            (Event("p", payload={"a": "x" * PAYLOAD_LIMIT}), RULES, "the payload has 262,152 byte"),
            (Event("p", asset=["raw"]), rules(assets={"raw"}), "unhashable type: 'list'"),
        ],
    )
    def test_one_invalid_event_fails_the_tick(self, event, using, reason):
        decision = returned(Triggered(["good", event], {"seen": 2}), using=using)
        assert reason in assert_failed(decision)


class TestFailure:
    def test_exception_is_counted_and_backed_off(self):
        decision = raised(OSError("gone"), FAILING)
        assert decision.delay == timedelta(seconds=20)
        assert assert_failed(decision, FAILING) == "OSError: gone"

    @pytest.mark.parametrize(
        "error",
        [
            SystemExit(3),
            KeyboardInterrupt(),
            asyncio.CancelledError(),
            GeneratorExit(),
            type("OwnError", (BaseException,), {})("own"),
            StopIteration(),
            MemoryError(),
            RecursionError(),
        ],
    )
    def test_P9_any_exception_is_a_failed_tick(self, error):
        assert assert_failed(raised(error)).startswith(type(error).__qualname__)

    def test_timeout_is_counted_as_timed_out(self):
        decision = raised(PollTimeoutError("past its deadline of 60 s"), FAILING)
        assert decision.outcome is TickOutcome.TIMED_OUT
        assert decision.commits[0].after.failures == 4
        assert decision.error == "past its deadline of 60 s"

    def test_quarantine_retries_once_an_hour(self):
        using = rules(quarantine_after=4)
        decision = raised(OSError(), FAILING, using)
        assert decision.delay == QUARANTINE_INTERVAL == timedelta(hours=1)
        assert decision.commits[0].after.not_before == LATER + timedelta(hours=1)
        assert raised(OSError(), SETTLED, using).delay == timedelta(seconds=5)

    def test_broken_sensor_waits_for_a_reset(self):
        decision = raised(SensorBroken("the queue was deleted"), FAILING)
        (commit,) = decision.commits
        assert decision.outcome is commit.outcome is TickOutcome.BROKEN
        assert decision.delay is None
        assert commit.after == SensorCheckpoint(7, "1", polled=True, failures=3, broken=True)
        assert commit.error == decision.error == "the queue was deleted"

    @pytest.mark.parametrize(
        ("asked", "delay"),
        [
            (timedelta(minutes=5), timedelta(minutes=5)),
            (0, timedelta(0)),
            (1e12, timedelta(days=7)),
        ],
    )
    def test_retry_later_is_not_a_failure(self, asked, delay):
        decision = raised(RetryLater(asked, "rate limit"), FAILING)
        (commit,) = decision.commits
        assert decision.outcome is commit.outcome is TickOutcome.RETRY_LATER
        assert decision.delay == delay
        assert commit.after == SensorCheckpoint(
            7, "1", polled=True, failures=3, not_before=LATER + delay
        )
        assert commit.error == "rate limit"

    def test_retry_later_without_delay_counts_as_failure(self):
        error = RetryLater(5)
        del error.delay
        assert_failed(raised(error))

    def test_first_state_is_kept_after_failed_first_poll(self):
        assert_failed(raised(OSError(), NEW, initial='"first"'), NEW, '"first"')
        assert_failed(returned(None, NEW, initial='"first"'), NEW, '"first"')
        assert raised(OSError(), NEW).commits[0].after.state is None

    def test_P19_error_is_redacted_and_safe(self):
        def redact(text):
            return text.replace("hunter2", "***")

        using = rules(redact=redact)
        assert raised(OSError("pw=hunter2\x1b[31m"), using=using).error == "OSError: pw=***"
        decision = returned(PollFailed("pw=hunter2", 1), using=using)
        assert decision.error == decision.commits[0].error == "pw=***"
        decision = returned(Triggered(Event("p", asset="hunter2"), 1), using=using)
        assert "hunter2" not in decision.error

    class TestReported:
        def test_poll_failed_keeps_its_state(self):
            decision = returned(PollFailed(OSError("gone"), {"seen": 2}), FAILING)
            assert assert_failed(decision, FAILING, '{"seen":2}') == "OSError: gone"

        @pytest.mark.parametrize("error", ["the feed is gone", OutcomeError("the feed is gone")])
        def test_poll_failed_with_text(self, error):
            assert assert_failed(returned(PollFailed(error, {"seen": 1}))) == "the feed is gone"

        def test_poll_failed_with_retry_later_or_broken(self):
            decision = returned(PollFailed(RetryLater(90), 1))
            assert (decision.outcome, decision.delay.seconds) == (TickOutcome.RETRY_LATER, 90)
            decision = returned(PollFailed(SensorBroken("gone"), 1))
            assert decision.outcome is TickOutcome.BROKEN

        def test_poll_failed_with_invalid_state(self):
            assert "the state is not JSON" in assert_failed(returned(PollFailed("x", {1, 2})))

"""Invalid outcomes of a poll: each is a failed tick, and `decide` never raises."""

import math
import types

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from flowstone_core.errors import OutcomeError, RetryLater, SensorBroken
from flowstone_core.model.event import Event, NotTriggered, PollFailed, Triggered
from flowstone_core.model.json_document import (
    STATE_LIMIT,
    dump_document,
    load_document,
)
from flowstone_core.model.safe_text import describe
from flowstone_core.model.sensor_decision import (
    SensorObservation,
    decide,
)
from flowstone_core.model.tick import SensorCheckpoint, TickOutcome
from tests.model.decisions import (
    FAILING,
    LATER,
    NEW,
    NOON,
    SETTLED,
    assert_failed,
    raised,
    returned,
    rules,
)


class Raises:
    """Raises something else at each look."""

    def __getattribute__(self, name):
        raise SystemExit(name)

    def __repr__(self):
        raise RuntimeError


class Pretends:
    """Says that it is what it is not."""

    def __init__(self, kind, **attributes):
        self.kind = kind
        self.__dict__ |= attributes

    @property
    def __class__(self):
        return self.kind


class NoTextError(Exception):
    def __str__(self):
        raise RuntimeError


class BrokenRetry(RetryLater):
    delay = property(lambda self: 1 / 0, lambda self, value: None)


class RaisingMapping(dict):
    def keys(self):
        raise GeneratorExit

    __iter__ = items = __len__ = keys


def without_attributes(kind):
    return kind.__new__(kind)


def coroutine():
    async def poll():
        return NotTriggered(1)

    return poll()


def generator():
    yield NotTriggered(1)


def mutated():
    outcome = Triggered("a", {"seen": 1})
    object.__setattr__(outcome, "events", 5)
    return outcome


def recursive():
    state = {}
    state["me"] = [state]
    return state


RUBBISH = {
    "None": lambda: None,
    "a tuple": lambda: (True, 1),
    "a text": lambda: "tenant-7",
    "a class": lambda: NotTriggered,
    "a coroutine": coroutine,
    "a generator": generator,
    "an exception returned": lambda: OSError("gone"),
    "an object that raises": Raises,
    "a state that raises": lambda: NotTriggered(Raises()),
    "a payload that raises": lambda: Triggered(Event("a", payload=RaisingMapping()), 1),
    "a partition that raises": lambda: Triggered(Event(Raises()), 1),
    "a key that raises": lambda: Triggered(Event("p", key=Raises()), 1),
    "an asset that raises": lambda: Triggered(Event("p", asset=Raises()), 1),
    "a mutated outcome": mutated,
    "no attributes": lambda: without_attributes(Triggered),
    "no state": lambda: without_attributes(NotTriggered),
    "no error": lambda: without_attributes(PollFailed),
    "a pretender": lambda: Pretends(NotTriggered),
    "a pretender with a state": lambda: Pretends(Triggered, state=1, events=[Raises()]),
    "an error that raises": lambda: PollFailed(Raises(), 1),
    "NaN": lambda: NotTriggered(math.nan),
    "infinity": lambda: NotTriggered([math.inf]),
    "a set": lambda: NotTriggered({"seen": {1}}),
    "a lone surrogate": lambda: NotTriggered("\ud800"),
    "integer keys": lambda: NotTriggered({1: "a"}),
    "a tuple in the state": lambda: NotTriggered((1, 2)),
    "bytes": lambda: NotTriggered(b"x"),
    "a datetime": lambda: NotTriggered(NOON),
    "a large integer": lambda: NotTriggered(2**63),
    "a recursive state": lambda: NotTriggered(recursive()),
    "a large state": lambda: NotTriggered("x" * STATE_LIMIT),
    "a mapping of events": lambda: Triggered({"a": 1}, 1),
    "bytes for events": lambda: Triggered(b"ab", 1),
    "a number for events": lambda: Triggered(5, 1),
}


@pytest.mark.parametrize("checkpoint", [NEW, SETTLED, FAILING])
@pytest.mark.parametrize("make", RUBBISH.values(), ids=RUBBISH)
def test_P4_P5_invalid_outcome_fails_and_keeps_state(make, checkpoint):
    outcome = make()
    decision = returned(outcome, checkpoint, initial="0")
    assert_failed(decision, checkpoint, checkpoint.state or "0")
    assert decision.error
    decision.error.encode()
    if type(outcome) is types.CoroutineType:
        outcome.close()


@pytest.mark.parametrize("error", [NoTextError(), BrokenRetry(5), Pretends(RetryLater), None, 5])
def test_P19_failure_with_invalid_error_is_a_failure(error):
    assert assert_failed(returned(PollFailed(error, 1)), state="1")


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (lambda: None, "None"),
        (lambda: 5, "a value of type int"),
        (coroutine, "a value of type coroutine"),
        (generator, "a value of type generator"),
        (lambda: Triggered, "a value of type type"),
    ],
)
def test_P4_invalid_return_names_expected_and_actual_type(make, kind):
    outcome = make()
    assert returned(outcome).error == (
        f"poll returned {kind}; it must return Triggered, NotTriggered or PollFailed"
    )
    if type(outcome) is types.CoroutineType:
        outcome.close()


def test_P5_error_names_path_in_state():
    decision = returned(NotTriggered({"feeds": [{"last": NOON}]}))
    assert decision.error == "the state['feeds'][0]['last'] is not JSON: it is a datetime"


def test_P7_mutated_state_of_failed_poll_is_discarded():
    state = load_document(SETTLED.state)
    state["seen"] = 99
    assert_failed(raised(OSError("gone")))


# What a sensor may return, from sound to senseless.
scalars = (
    st.none()
    | st.integers()
    | st.floats()
    | st.text(st.characters(exclude_categories=()))
    | st.datetimes()
    | st.sampled_from([math.nan, math.inf, 2**63, -0.0, "\ud800", "\x00", b"x", (), {1}, [[]]])
)
keys_of_any_kind = st.text(max_size=3) | st.integers() | st.sampled_from([None, 1.5, (1,), b"x"])
states = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner)
        | st.dictionaries(keys_of_any_kind, inner, max_size=2)
    ),
    max_leaves=6,
)
anything = st.deferred(lambda: states | st.builds(Event, states, states, states, states))
errors = anything | st.sampled_from([
    OSError(), SystemExit(), NoTextError(), BrokenRetry(5), RetryLater(5), SensorBroken("x"),
])  # fmt: skip
outcomes = (
    anything
    | st.sampled_from([make for make in RUBBISH.values() if make not in (coroutine, Raises)]).map(
        lambda make: make()
    )
    | st.builds(Triggered, anything | st.lists(anything, max_size=4), states)
    | st.builds(NotTriggered, states)
    | st.builds(PollFailed, errors, states)
)
memories = st.builds(
    SensorCheckpoint,
    st.integers(0, 100),
    st.sampled_from([None, "0", '{"seen":1}', "not even json"]),
    st.booleans(),
    st.integers(0, 20),
    st.sampled_from([None, NOON]),
    st.booleans(),
)


@given(outcomes, memories, st.booleans(), st.booleans())
@example(BrokenRetry(5), NEW, True, False)
def test_decide_never_raises_and_commits_are_storable(outcome, checkpoint, was_raised, base):
    observation = SensorObservation(outcome, NOON, LATER, was_raised, "0")
    decision = decide(rules(baseline=base), checkpoint, observation)
    assert type(decision.outcome) is TickOutcome
    for commit in decision.commits:
        assert commit.before is checkpoint
        assert commit.after.version in (checkpoint.version, checkpoint.version + 1)
        if commit.after.state != checkpoint.state:
            load_document(commit.after.state)
        texts = [commit.after.state, commit.error]
        for event in commit.events:
            texts += [event.key, event.asset, event.partition, event.payload]
        for text in texts:
            assert text is None or "\x00" not in text
            (text or "").encode()
    assert decision.outcome.good or len(decision.commits) == 1
    assert bool(decision.error) <= (not decision.outcome.good)


@given(outcomes)
def test_state_is_kept_unless_outcome_is_valid(outcome):
    decision = returned(outcome)
    assume(not decision.outcome.good)
    state = decision.commits[0].after.state
    if state != SETTLED.state:
        assert isinstance(outcome, PollFailed)
        assert state == dump_document(outcome.state, what="", limit=STATE_LIMIT)


def test_raised_outcome_error_is_shown_unchanged():
    assert returned(Triggered(5, 1)).error == describe(
        OutcomeError(
            "cannot encode a value of type int as a partition: use a date, a datetime, a string, "
            "or a tuple of these"
        )
    )

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowstone_core.model.materialization import (
    LEGAL_MOVES,
    Materialization,
    MaterializationState,
    predecessors,
)

PENDING, RUNNING, RETRYING, COMPLETED, DISCARDED, CANCELLED = MaterializationState
ENDED = {COMPLETED, DISCARDED, CANCELLED}
NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)

states = st.sampled_from(MaterializationState)


@st.composite
def walks(draw):
    """Moves as the store makes them: a wish is granted if its target may be reached."""
    path = [PENDING]
    for wish in draw(st.lists(states, max_size=20)):
        if path[-1] in predecessors(wish):
            path.append(wish)
    return path


@given(walks())
def test_random_walk_makes_legal_moves_only(path):
    for origin, target in pairwise(path):
        assert target in LEGAL_MOVES[origin]
        if target is COMPLETED:
            assert origin is RUNNING, "what completes has run"
        if target is RETRYING:
            assert origin is RUNNING, "what is retried has run"
        if origin.ended:
            assert target is PENDING, "only by hand, from the start"
    assert all(state is not COMPLETED for state in path[:-1]), "completed is the end"


@given(states, states)
def test_predecessors_are_the_inverse_of_moves(origin, target):
    assert (origin in predecessors(target)) == (target in LEGAL_MOVES[origin])


@given(states)
def test_each_state_can_be_left_or_has_ended(state):
    assert state not in LEGAL_MOVES[state]
    assert state.ended == (state in ENDED)
    assert LEGAL_MOVES[state] or state is COMPLETED


@given(states)
def test_each_unfinished_state_reaches_all_ends(state):
    reached = {state}
    while more := {target for origin in reached for target in LEGAL_MOVES[origin]} - reached:
        reached |= more
    assert state is COMPLETED or reached >= ENDED


def test_legal_moves_are_these():
    moves = {
        PENDING: {RUNNING, DISCARDED, CANCELLED},
        RUNNING: {COMPLETED, RETRYING, DISCARDED, CANCELLED},
        RETRYING: {RUNNING, DISCARDED, CANCELLED},
        COMPLETED: set(),
        DISCARDED: {PENDING},
        CANCELLED: {PENDING},
    }
    assert moves == LEGAL_MOVES


@pytest.mark.parametrize(
    ("started", "finished", "seconds"),
    [(None, None, None), (NOON, None, None), (None, NOON, None), (NOON, NOON, 0.0)],
)
def test_duration_is_none_before_the_end(started, finished, seconds):
    assert materialization(started, finished).duration == seconds
    assert materialization(started, finished).total_duration == seconds


def test_N14_duration_is_of_the_last_attempt_and_total_of_all():
    once = materialization(NOON, NOON + timedelta(minutes=1.5))
    assert (once.duration, once.total_duration) == (90.0, 90.0)
    again = replace(once, attempt=2, attempt_started_at=NOON + timedelta(minutes=1))
    assert (again.duration, again.total_duration) == (30.0, 90.0)


def materialization(started, finished):
    return Materialization(
        1, "run-1", "raw", "p", RUNNING, 1, 5, NOON, started_at=started, finished_at=finished
    )

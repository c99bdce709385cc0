"""Decisions of the tests: polls that return or raise, and the checkpoints before them."""

from datetime import UTC, datetime, timedelta

from flowstone_core.model.sensor_decision import SensorObservation, TickRules, decide
from flowstone_core.model.tick import SensorCheckpoint, TickOutcome

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
LATER = NOON + timedelta(seconds=2)
ASSETS = ("raw", "report")
RULES = TickRules("feed", "raw", ASSETS)
NEW = SensorCheckpoint()
SETTLED = SensorCheckpoint(version=7, state='{"seen":1}', polled=True)
FAILING = SensorCheckpoint(version=7, state="1", polled=True, failures=3, not_before=LATER)


def rules(**changes):
    return TickRules(**{"sensor": "feed", "asset": "raw", "assets": ASSETS} | changes)


def returned(outcome, checkpoint=SETTLED, using=RULES, initial=None):
    return decide(using, checkpoint, SensorObservation(outcome, NOON, LATER, initial=initial))


def raised(error, checkpoint=SETTLED, using=RULES, initial=None):
    return decide(
        using, checkpoint, SensorObservation(error, NOON, LATER, raised=True, initial=initial)
    )


def keys(decision):
    return [event.key for commit in decision.commits for event in commit.events]


def found(decision):
    return [event for commit in decision.commits for event in commit.events]


def assert_failed(decision, checkpoint=SETTLED, state=None):
    """A failed tick, whole: one commit that counts it and keeps the state."""
    assert decision.outcome is TickOutcome.FAILED
    (commit,) = decision.commits
    assert commit.outcome is TickOutcome.FAILED
    assert commit.before == checkpoint
    assert commit.after == SensorCheckpoint(
        version=checkpoint.version,
        state=checkpoint.state if state is None else state,
        polled=checkpoint.polled,
        failures=checkpoint.failures + 1,
        not_before=LATER + decision.delay,
    )
    assert commit.events == ()
    assert commit.error == decision.error
    return decision.error

"""A driver of schedules: acts as runners and operators, at a time that a test sets."""

from __future__ import annotations

from datetime import timedelta

from flowstone_core.model.tick import (
    NewEvent,
    ScheduleCheckpoint,
    ScheduleCommit,
    Skip,
    SkipReason,
    TickOutcome,
)
from flowstone_core.store import DeclaredSchedule

GIVEN = {"asset": "orders", "trigger": "cron", "text": "0 2 * * *"}


def given(**settings):
    return {**GIVEN, **settings}


def everything(store):
    """All that a tick or an edit could have changed."""
    return (
        store.schedules.all(),
        store.ticks.latest(),
        store.skips.latest(),
        store.events.latest(),
        store.materializations.latest(),
    )


class Desk:
    """Does to schedules what runners and operators do, at a time that is set."""

    def __init__(self, bench):
        self.bench, self.store, self.began = bench, bench.store, bench.now
        bench.runner("two")
        self.at = lambda hours: self.began + timedelta(hours=hours)

    @property
    def now(self):
        return self.bench.now

    def declare(self, settings=GIVEN, name="nightly", where="flow.ini:3", skips=()):
        return self.store.schedules.declare(
            [DeclaredSchedule(name, settings, where, skips)], self.now
        )

    def create(self, name="nightly", **settings):
        return self.store.schedules.create(name, given(**settings), self.now)

    def edit(self, edits, name="nightly", skips=(), version=None):
        if version is None:
            version = self.get(name).checkpoint.version
        return self.store.schedules.edit(name, version, edits, skips, self.now)

    def claim(self, *names, runner="one"):
        return self.store.schedules.claim(runner, names or ["nightly"], self.now)

    def get(self, name="nightly"):
        return self.store.schedules.get(name)

    def resume(self, skips=(), name="nightly"):
        return self.store.schedules.resume(name, self.get(name).checkpoint.version, skips, self.now)

    def missed(self, reason=SkipReason.EDITED):
        """What was skipped of three hours."""
        return (Skip(reason, self.at(1), self.at(2), 2), Skip(reason, self.at(3), self.at(3)))

    def tick(self, *events, name="nightly", skips=(), before=None, error=None, **after):
        """Make what a tick commits: a good one, unless it has an error."""
        before = before or self.get(name).checkpoint
        outcome = TickOutcome.TRIGGERED if events else TickOutcome.SKIPPED
        if error is not None:
            outcome = TickOutcome.FAILED
        after = {"decided_until": self.now, "version": before.version + 1, **after}
        started = self.now - timedelta(seconds=1)
        checkpoint = ScheduleCheckpoint(**after)
        return ScheduleCommit(
            name, outcome, started, self.now, before, checkpoint, events, error, skips
        )

    def commit(self, *commits, owner="one"):
        return self.store.ticks.commit(owner, commits, self.bench.assets, self.now)


def event(key, partition=None, asset="orders"):
    return NewEvent(key, asset, partition or key)

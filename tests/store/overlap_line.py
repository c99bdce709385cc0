"""A driver of overlap queues: ticks of schedules, and the order of their materializations."""

from __future__ import annotations

import sqlalchemy as sa

from flowstone_core.model.asset import Asset, AssetGraph
from flowstone_core.model.materialization import MaterializationState
from flowstone_core.model.tick import NewEvent, ScheduleCheckpoint, ScheduleCommit, TickOutcome
from flowstone_core.store import schema

ASSETS = AssetGraph(
    [Asset("orders", print), Asset("clean", print, ("orders",)), Asset("alone", print)]
)


class Line:
    """Fires schedules, and starts and ends what they asked for."""

    def __init__(self, bench):
        self.bench, self.store = bench, bench.store
        bench.assets = ASSETS
        self.claims = {}
        self.keys = iter(range(10_000))

    def schedule(self, *names, **settings):
        for name in names:
            given = {"asset": "alone", "trigger": "cron", "text": "0 * * * *", **settings}
            self.store.schedules.create(name, given, self.bench.now)
        self.store.schedules.claim("one", names, self.bench.now)

    def tick(self, *partitions, name="a", asset="alone", sequential=True):
        """Make what a tick commits that fires for these partitions."""
        before = self.store.schedules.get(name).checkpoint
        now = self.bench.now
        events = tuple(
            NewEvent(f"k{next(self.keys)}", asset, partition, None, sequential)
            for partition in partitions
        )
        after = ScheduleCheckpoint(now, before.version + 1)
        return ScheduleCommit(name, TickOutcome.TRIGGERED, now, now, before, after, events)

    def commit(self, *commits):
        """Commit ticks; return the numbers that their events asked for."""
        results = self.store.ticks.commit("one", commits, self.bench.assets, self.bench.now)
        assert all(result.committed for result in results)
        for result in results:
            for made in result.materializations:
                assert made == self.bench.get(made.id)
        return [event.materialization_id for result in results for event in result.events]

    def fire(self, *partitions, **options):
        return self.commit(self.tick(*partitions, **options))

    def start(self):
        """Claim all that may start; return the numbers."""
        found = {claim.materialization.id: claim for claim in self.bench.claim(1_000).claims}
        self.claims |= found
        return sorted(found)

    def complete(self, number):
        self.bench.complete(self.claims.pop(number))

    def cancel(self, number):
        self.store.materializations.cancel(number, self.bench.assets, self.bench.now)

    def standing(self):
        """Who stands behind whom."""
        rows = schema.materializations
        query = sa.select(rows.c.id, rows.c.after_id).where(rows.c.after_id.is_not(None))
        return self.store._database.read(
            lambda connection: dict(tuple(row) for row in connection.execute(query))
        )

    def drain(self):
        """Start and complete until nothing starts any more; return the numbers as they started."""
        order = []
        while numbers := self.start():
            assert len(numbers) == 1
            order += numbers
            self.complete(numbers[0])
        return order


def lose(line, claim):
    """Have an attempt lost, and then all those that are left."""
    line.bench.later(days=2)
    line.store.queue.recover(line.bench.now)
    while line.bench.get(claim.materialization.id).state is MaterializationState.RETRYING:
        line.bench.claim(runner_id="ghost")
        line.store.queue.recover(line.bench.now)


ENDS = {
    "completed": lambda line, claim: line.bench.complete(claim),
    "discarded": lambda line, claim: line.bench.discard(claim),
    "cancelled": lambda line, claim: line.cancel(claim.materialization.id),
    "lost": lose,
}

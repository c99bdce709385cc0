"""Calls of the pruning, and rows to prune."""

from __future__ import annotations

from dataclasses import asdict
from datetime import timedelta

import sqlalchemy as sa

from flowstone_core.store import KeyRetention, Pruned, schema

DAY = timedelta(days=1)
MONTH = timedelta(days=30)


def steps(bench, *, older_than=MONTH, dry_run=False, sensors=MONTH, schedules=DAY, **own):
    """Prune step by step; ``own`` says how long the keys of each sensor are remembered."""
    moments = {f"sensor:{name}": bench.now - kept for name, kept in own.items()}
    keys = KeyRetention(moments, bench.now - sensors, bench.now - schedules)
    return bench.store.pruning(dry_run=dry_run).prune(bench.now - older_than, keys)


def prune(bench, **options):
    """Prune to the end, once without and once with deleting: both say the same."""
    would, done = (
        sum(steps(bench, dry_run=dry_run, **options), Pruned()) for dry_run in (True, False)
    )
    assert would == done
    return {what: number for what, number in asdict(done).items() if number}


def counts(store):
    def count(connection):
        return {
            name.removeprefix("flowstone_"): connection.scalar(
                sa.select(sa.func.count()).select_from(table)
            )
            for name, table in schema.metadata.tables.items()
        }

    return {name: number for name, number in store._database.read(count).items() if number}


def finish_all(bench):
    while claims := bench.claim().claims:
        for claim in claims:
            bench.complete(claim)


def fire_and_finish(bench, *keys, asset="alone", partition=None):
    """Have a sensor fire, each key for a partition of its own, and all of it made."""
    bench.fire(*(bench.event(key, asset, partition or key) for key in keys))
    finish_all(bench)

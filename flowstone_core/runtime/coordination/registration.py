"""Registration: declares schedules to the store, and counts the instants that a change skips."""

from __future__ import annotations

import logging
from collections.abc import Collection
from datetime import datetime

from flowstone_core.model.clock import Clock
from flowstone_core.model.safe_text import describe
from flowstone_core.model.tick import Skip, SkipReason
from flowstone_core.plugin.time_limit import TimeLimit
from flowstone_core.runtime.coordination.workload import BuildSchedule
from flowstone_core.scheduling.catchup import skip_instants
from flowstone_core.scheduling.schedule import merged, timing
from flowstone_core.store import DeclaredSchedule, ScheduleRecord, Store

logger = logging.getLogger("flowstone.registration")


def declare_schedules(
    store: Store, declared: Collection[DeclaredSchedule], build: BuildSchedule, clock: Clock
) -> None:
    """Declare the schedules of files and pipelines to the store.

    The missed instants of a schedule whose timing has changed are not caught up; they are
    recorded as skipped.

    Args:
        build: Builds a schedule from its record before the change; may raise.

    Raises:
        StoreError: If the store cannot be used.
    """
    now = clock.now()
    known = {
        record.name: record for record in store.schedules.all([item.name for item in declared])
    }
    told = []
    for item in declared:
        before = known.get(item.name)
        skips: tuple[Skip, ...] = ()
        if before is not None and timing(before.spec) != timing(merged(item.spec, before.edits)):
            skips = missed(before, build, now)
        told.append(DeclaredSchedule(item.name, item.spec, item.where, skips))
    store.schedules.declare(told, now)


def missed(record: ScheduleRecord, build: BuildSchedule, now: datetime) -> tuple[Skip, ...]:
    """Return the instants that a schedule skips because it begins anew at ``now``.

    Args:
        build: Builds a schedule from its record; if it raises or hangs, nothing is counted.
    """
    if record.paused:
        reason = SkipReason.PAUSED
    elif not record.spec.get("enabled", True):
        reason = SkipReason.DISABLED
    else:
        reason = SkipReason.EDITED

    def count() -> tuple[Skip, ...] | str:
        try:
            return skip_instants(build(record), record.checkpoint.decided_until, now, reason)
        except BaseException as error:  # noqa: BLE001 - a trigger that no longer works
            return describe(error)

    limit = TimeLimit()
    found = limit.call(count)
    if isinstance(found, tuple):
        return found
    logger.warning(
        "cannot count skipped instants",
        extra={"schedule": record.name, "error": found or limit.passed},
    )
    return ()

"""..."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from datetime import datetime

from flowstone_core.model.clock import Clock
from flowstone_core.model.safe_text import describe
from flowstone_core.model.tick import Skip, SkipReason
from flowstone_core.plugin.time_limit import TimeLimit
from flowstone_core.scheduling.catchup import skipped
from flowstone_core.scheduling.schedule import Schedule, merged, timing
from flowstone_core.store import DeclaredSchedule, ScheduleRecord, Store

logger = logging.getLogger("flowstone.roster")


def declare_schedules(
    store: Store,
    declared: Collection[DeclaredSchedule],
    make: Callable[[ScheduleRecord], Schedule],
    clock: Clock,
) -> None:
    """Make what files and pipelines say of schedules known to the store.

    What was missed of a schedule whose times are other ones now is not caught up; it is recorded
    as skipped.

    Args:
        make: Makes a schedule of its record as it was; may raise.

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
            skips = missed(before, make, now)
        told.append(DeclaredSchedule(item.name, item.spec, item.where, skips))
    store.schedules.declare(told, now)


def missed(
    record: ScheduleRecord, make: Callable[[ScheduleRecord], Schedule], now: datetime
) -> tuple[Skip, ...]:
    """Say what a schedule skips because it begins anew at ``now``.

    Args:
        make: Makes a schedule of its record; if it raises or hangs, nothing can be said.
    """
    if record.paused:
        reason = SkipReason.PAUSED
    elif not record.spec.get("enabled", True):
        reason = SkipReason.DISABLED
    else:
        reason = SkipReason.EDITED

    def count() -> tuple[Skip, ...] | str:
        try:
            return skipped(make(record), record.checkpoint.decided_until, now, reason)
        except BaseException as error:  # noqa: BLE001 - a trigger that does not work any more
            return describe(error)

    deadline = TimeLimit()
    found = deadline.call(count)
    if isinstance(found, tuple):
        return found
    logger.warning(
        "what was skipped cannot be counted",
        extra={"schedule": record.name, "error": found or deadline.passed},
    )
    return ()

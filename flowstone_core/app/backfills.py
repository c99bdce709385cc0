"""Backfills of a project: plan, run, list and cancel ranges of an asset's partitions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from flowstone_core.app.backfill_status import BackfillStatus, backfill_statuses
from flowstone_core.app.lookup import unknown
from flowstone_core.app.range_notes import range_notes
from flowstone_core.config.project import Project
from flowstone_core.errors import ConflictError, Problem, ValidationError
from flowstone_core.model.clock import Clock
from flowstone_core.model.partition import Partition
from flowstone_core.model.partition_range import PartitionRange, read_step
from flowstone_core.scheduling.local_range import Naming, local_range
from flowstone_core.scheduling.time_zone import load_zone

if TYPE_CHECKING:
    from flowstone_core.app.schedules import Schedules
    from flowstone_core.runtime.backfill.backfill import Progress
    from flowstone_core.runtime.backfill.backfill_runner import BackfillRunner
    from flowstone_core.runtime.backfill.plan import Plan
    from flowstone_core.runtime.coordination.store_wait import StartWait
    from flowstone_core.store import Store


class Backfills:
    """Backfills; `Flowstone.backfills`. `run` once at a time, the rest in any thread.

    Args:
        open_store: Returns the open store.
        project: Has the assets, and the engine that runs them here.
        clock: Reads the time.
        schedules: Have the time zone and the partition template of an asset.
    """

    def __init__(
        self,
        open_store: Callable[[], Store],
        project: Project,
        clock: Clock,
        schedules: Schedules,
    ) -> None:
        self._open_store = open_store
        self._project = project
        self._clock = clock
        self._schedules = schedules
        self._start: StartWait | None = None
        self._runner: BackfillRunner | None = None

    def run(
        self,
        asset: str,
        first: Partition,
        last: Partition,
        *,
        every: str | timedelta | None = None,
        timezone: str | None = None,
        force: bool = False,
        limit: int = 4,
        watch: Callable[[Progress], None] = lambda _: None,
    ) -> Progress:
        """Materialize the partitions of an asset from one date or datetime to another.

        Completed partitions are skipped, and unfinished materializations are waited for. Live
        runners run the rest; while no runner is alive, this process does. The same call continues
        an interrupted backfill; each partition is requested once.

        Args:
            last: Included.
            every: The step: ``day`` by default for dates, ``hour`` for datetimes; ``minute``,
                ``week``, ``month``, ``year`` or a duration. For texts the shortest unit of the
                schedule's template, and ``month`` for ``2025-01``.
            timezone: An IANA name: days, weeks, months and years of datetimes are local. By
                default that of ``first``, if it is in a zone, or else of the asset's schedules.
            force: Materialize completed partitions again.
            limit: Unfinished materializations of this backfill at once, at most.
            watch: Called with each new progress.

        Returns:
            The last progress; not finished if a signal or `stop` came first.

        Raises:
            NotFoundError: If the asset is unknown.
            ValidationError: If the range, the step or the limit is invalid.
        """
        from flowstone_core.app.wiring import Wiring
        from flowstone_core.runtime.backfill.backfill import Backfill, BackfillRequest
        from flowstone_core.runtime.backfill.backfill_runner import BackfillLimits, BackfillRunner

        project, clock = self._project, self._clock
        store, start = self._await_store()
        span = self.range(asset, first, last, every=every, timezone=timezone)
        request = BackfillRequest(asset, span, force, limit)
        backfill = Backfill(request, store.backfills, clock, project.assets)
        build_engine = Wiring(store, project, clock).engine_parts
        limits = BackfillLimits(project.run.grace, project.run.store_wait, start.since)
        self._runner = runner = BackfillRunner(backfill, store, clock, build_engine, limits)
        if start.stopped:
            runner.stop()
        return runner.run(watch)

    def plan(
        self,
        asset: str,
        first: Partition,
        last: Partition,
        *,
        every: str | timedelta | None = None,
        timezone: str | None = None,
        force: bool = False,
    ) -> Plan:
        """Return the action that `run` would take now for each partition; nothing is written.

        Raises:
            NotFoundError: If the asset is unknown.
            ValidationError: If the range or the step is invalid.
        """
        from flowstone_core.runtime.backfill.backfill import BackfillRequest
        from flowstone_core.runtime.backfill.plan import plan

        store, _ = self._await_store()
        span = self.range(asset, first, last, every=every, timezone=timezone)
        return plan(BackfillRequest(asset, span, force), store.backfills)

    def range(
        self,
        asset: str,
        first: Partition,
        last: Partition,
        *,
        every: str | timedelta | None = None,
        timezone: str | None = None,
    ) -> PartitionRange:
        """Return the partitions that `run` would materialize; nothing is read of their states.

        Raises:
            NotFoundError: If the asset is unknown.
            ValidationError: If the range, the step or the time zone is invalid.
        """
        if asset not in self._project.assets:
            raise unknown("asset", asset, self._project.assets)
        namings = self._schedules.namings(asset)
        templates = [each for each in namings if each.template is not None]
        zone = self._zone(asset, first, every, timezone, namings)
        return local_range(first, last, every, zone=zone, namings=templates)

    def notes(self, asset: str, span: PartitionRange) -> list[str]:
        """Return what to know about a range before it is materialized.

        An end that no step leads to, or partitions that the asset's schedules name otherwise.
        """
        sensors = self._project.sensors.values()
        fed = any(each.asset in (None, asset) for each in sensors)
        fed = fed or bool(self._project.assets[asset].depends_on)
        return list(range_notes(span, self._schedules.namings(asset), fed=fed))

    def latest(
        self,
        *,
        asset: str | None = None,
        unfinished: bool = False,
        limit: int = 50,
        before_id: int | None = None,
    ) -> list[BackfillStatus]:
        """List backfills, newest first.

        Args:
            asset: Only those of this asset.
            unfinished: Only those that run or are interrupted.
            limit: At most this number of them.
            before_id: Only those with a smaller number: the next page.
        """
        store = self._open_store()
        records = store.backfills.latest(
            asset=asset, unfinished=unfinished, limit=limit, before_id=before_id
        )
        return list(backfill_statuses(store, records, self._clock.now()))

    def get(self, number: int) -> BackfillStatus:
        """Return one backfill.

        Raises:
            NotFoundError: If no backfill has this number.
        """
        store = self._open_store()
        return backfill_statuses(store, [store.backfills.get(number)], self._clock.now())[0]

    def cancel(self, number: int) -> BackfillStatus:
        """Cancel a backfill: it requests nothing more, and what only it waits for is cancelled.

        Running materializations go on to their end. The process that runs the backfill ends within
        seconds; the same range begins a new backfill afterwards.

        Raises:
            NotFoundError: If no backfill has this number.
            ConflictError: If it has ended.
        """
        store, now = self._open_store(), self._clock.now()
        record = store.backfills.cancel(number, now)
        for pending in store.backfills.only_pending(record):
            with suppress(ConflictError):  # ended in this moment
                store.materializations.cancel(pending, self._project.assets, now)
        return self.get(number)

    def _await_store(self) -> tuple[Store, StartWait]:
        from flowstone_core.runtime.coordination.store_wait import StartWait, StopRequestedError

        self._start = start = StartWait(self._clock, self._project.run.store_wait)
        try:
            return start.wait_for(self._open_store), start
        except StopRequestedError as stopped:
            raise stopped.error from None

    def stop(self) -> None:
        """Stop a running backfill gracefully, its wait for the store too."""
        for running in (self._start, self._runner):
            if running is not None:
                running.stop()

    def _zone(
        self,
        asset: str,
        first: Partition,
        every: str | timedelta | None,
        timezone: str | None,
        namings: Sequence[Naming],
    ) -> ZoneInfo | None:
        """Return the zone of the local days: the one given, of the first end, or of the schedules.

        Raises:
            ValidationError: If it is unknown, or if the schedules are in several zones and the
                range depends on it.
        """
        if timezone is not None:
            return load_zone(timezone)
        if isinstance(first, datetime) and isinstance(first.tzinfo, ZoneInfo):
            return first.tzinfo
        zones = {naming.zone.key: naming.zone for naming in namings}
        aware = isinstance(first, datetime) and first.tzinfo is not None
        if len(zones) > 1 and aware and every is not None and read_step(every).calendar:
            raise ValidationError(
                Problem(
                    f"the schedules of asset {asset!r} are in several time zones: "
                    f"{', '.join(sorted(zones))}",
                    hint="give the time zone of the days, such as --timezone UTC",
                )
            )
        return next(iter(zones.values())) if len(zones) == 1 else None

"""Backfills of a project: plan and run a range of an asset's partitions."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING

from flowstone_core.app.lookup import unknown
from flowstone_core.config.project import Project
from flowstone_core.model.clock import Clock
from flowstone_core.model.partition import Partition
from flowstone_core.model.partition_range import partition_range

if TYPE_CHECKING:
    from flowstone_core.runtime.backfill.backfill import BackfillRequest, Plan, Progress
    from flowstone_core.runtime.backfill.backfill_runner import BackfillRunner
    from flowstone_core.store import Store


class Backfills:
    """Backfills; `Flowstone.backfills`. `run` once at a time, the rest in any thread.

    Args:
        open_store: Returns the open store.
        project: Has the assets, and the engine that runs them here.
        clock: Reads the time.
    """

    def __init__(self, open_store: Callable[[], Store], project: Project, clock: Clock) -> None:
        self._open_store = open_store
        self._project = project
        self._clock = clock
        self._runner: BackfillRunner | None = None

    def run(
        self,
        asset: str,
        first: Partition,
        last: Partition,
        *,
        every: str | timedelta | None = None,
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
                ``week``, ``month``, ``year`` or a duration.
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
        from flowstone_core.runtime.backfill.backfill import Backfill
        from flowstone_core.runtime.backfill.backfill_runner import BackfillRunner

        request = self._request(asset, first, last, every, force=force, limit=limit)
        store, project, clock = self._open_store(), self._project, self._clock
        backfill = Backfill(request, store.backfills, clock, project.assets)
        build_engine = Wiring(store, project, clock).engine_parts
        self._runner = BackfillRunner(backfill, store, clock, build_engine, project.run.grace)
        return self._runner.run(watch)

    def plan(
        self,
        asset: str,
        first: Partition,
        last: Partition,
        *,
        every: str | timedelta | None = None,
        force: bool = False,
    ) -> Plan:
        """Return the action that `run` would take now for each partition; nothing is written.

        Raises:
            NotFoundError: If the asset is unknown.
            ValidationError: If the range or the step is invalid.
        """
        from flowstone_core.runtime.backfill.backfill import plan

        request = self._request(asset, first, last, every, force=force)
        return plan(request, self._open_store().backfills)

    def stop(self) -> None:
        """Stop a running backfill gracefully."""
        if self._runner is not None:
            self._runner.stop()

    def _request(
        self,
        asset: str,
        first: Partition,
        last: Partition,
        every: str | timedelta | None,
        *,
        force: bool,
        limit: int = 4,
    ) -> BackfillRequest:
        from flowstone_core.runtime.backfill.backfill import BackfillRequest

        partitions = partition_range(first, last, every)
        if asset not in self._project.assets:
            raise unknown("asset", asset, self._project.assets)
        return BackfillRequest(asset, partitions, force, limit)

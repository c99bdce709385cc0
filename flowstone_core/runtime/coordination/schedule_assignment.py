"""Assignment of schedules: the declared ones, and those that were added for a runner's assets."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from flowstone_core.runtime.coordination.assignment import Assignment, Listeners
from flowstone_core.runtime.coordination.registration import declare_schedules
from flowstone_core.runtime.coordination.session import RunnerSession
from flowstone_core.runtime.coordination.workload import BuildSchedule, Workload
from flowstone_core.store import Ownership, ScheduleRecord, Survey


class ScheduleAssignment(Assignment[ScheduleRecord]):
    """Assignment of the schedules that a runner declares, and of those of its assets.

    Args:
        session: The runner's session.
        workload: The declared schedules, and the assets that the runner is able to materialize.
        build: Builds a schedule from its record.
        listeners: Called for each that is claimed or lost.
    """

    def __init__(
        self,
        session: RunnerSession,
        workload: Workload,
        build: BuildSchedule,
        listeners: Listeners[ScheduleRecord],
    ) -> None:
        super().__init__("schedule", session, listeners)
        self._declared = workload.schedules
        self._assets = workload.assets
        self._build = build
        self._known: dict[str, str | None] = {}

    def declare(self) -> None:
        """See `Assignment.declare`."""
        declare_schedules(self._store, self._declared.values(), self._build, self._clock)

    def _of(self, survey: Survey) -> Ownership:
        return survey.schedules

    def _tickable(self, found: Ownership, *, refresh: bool) -> dict[str, str | None]:
        if refresh:
            self._known = self._runnable(self._store.schedules.assets())
        # One that was just added has no owner yet.
        self._known |= self._runnable(found.free)
        return dict(self._known)

    def _read_owned(self) -> set[str]:
        return self._store.schedules.owned(self._runner_id)

    def _claim(self, names: Sequence[str]) -> Mapping[str, ScheduleRecord]:
        return self._store.schedules.claim(self._runner_id, names, self._clock.now())

    def _release(self, names: Collection[str]) -> None:
        self._store.schedules.release(self._runner_id, names)

    def _runnable(self, found: Mapping[str, str | None]) -> dict[str, str | None]:
        return {
            name: asset
            for name, asset in found.items()
            if name in self._declared or (asset is not None and asset in self._assets)
        }

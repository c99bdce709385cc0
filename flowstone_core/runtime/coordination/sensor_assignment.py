"""Assignment of sensors: those that the files and pipelines of a runner declare."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from flowstone_core.model.tick import SensorCheckpoint
from flowstone_core.runtime.coordination.assignment import Assignment, Listeners
from flowstone_core.runtime.coordination.session import RunnerSession
from flowstone_core.store import Ownership, Survey


class SensorAssignment(Assignment[SensorCheckpoint]):
    """Assignment of the sensors that a runner declares.

    Args:
        session: The runner's session.
        names: Names of the sensors that the runner is able to poll.
        listeners: Called for each that is claimed or lost.
    """

    def __init__(
        self,
        session: RunnerSession,
        names: Collection[str],
        listeners: Listeners[SensorCheckpoint],
    ) -> None:
        super().__init__("sensor", session, listeners)
        self._names = frozenset(names)

    def declare(self) -> None:
        """See `Assignment.declare`."""
        self._store.sensors.declare(sorted(self._names), self._clock.now())

    def _of(self, survey: Survey) -> Ownership:
        return survey.sensors

    def _tickable(
        self,
        found: Ownership,  # noqa: ARG002 - the files name all of them
        *,
        refresh: bool,  # noqa: ARG002
    ) -> dict[str, str | None]:
        return dict.fromkeys(self._names)

    def _read_owned(self) -> set[str]:
        return self._store.sensors.owned(self._runner_id)

    def _claim(self, names: Sequence[str]) -> Mapping[str, SensorCheckpoint]:
        return self._store.sensors.claim(self._runner_id, names, self._clock.now())

    def _release(self, names: Collection[str]) -> None:
        self._store.sensors.release(self._runner_id, names)

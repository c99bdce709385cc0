"""Explainer: looks up what the store knows of one name and explains it."""

from __future__ import annotations

from collections.abc import Iterator

from flowstone_core.app.explanation_sentences import explain_materialization, explain_schedule
from flowstone_core.app.lookup import unknown
from flowstone_core.app.phrases import Explanation
from flowstone_core.app.runner_view import RunnerView
from flowstone_core.app.schedules import Schedules
from flowstone_core.app.sensor_sentences import explain_sensor
from flowstone_core.config.project import Project
from flowstone_core.errors import FlowstoneError
from flowstone_core.model.clock import Clock
from flowstone_core.scheduling.upcoming import UpcomingFire
from flowstone_core.store import Store

_LAST = 20


class Explainer:
    """Explains a sensor, a schedule or a materialization.

    Args:
        store: The store.
        project: What files and pipelines declare.
        schedules: The schedules of the store and the project.
        clock: Reads the time.
    """

    def __init__(self, store: Store, project: Project, schedules: Schedules, clock: Clock) -> None:
        self._store = store
        self._project = project
        self._schedules = schedules
        self._clock = clock

    def explain(self, name: str) -> list[Explanation]:
        """Explain everything that has a name; see `Flowstone.explain`."""
        if name.isdecimal() and name.isascii():
            return [self._materialization(int(name))]
        found = list(self._all(name))
        if not found:
            sensors = {*self._project.sensors, *(each.name for each in self._store.sensors.all())}
            known = {*sensors, *(each.name for each in self._schedules.all())}
            raise unknown("sensor, schedule or materialization", name, known)
        return found

    def _all(self, name: str) -> Iterator[Explanation]:
        now = self._clock.now()
        view = RunnerView(self._store, self._project, now)
        runners = view.runners
        declaration = self._project.sensors.get(name)
        record = next(iter(self._store.sensors.all([name])), None)
        if declaration is not None or record is not None:
            source = f"sensor:{name}"
            yield explain_sensor(
                view.status(name, record),
                declaration,
                self._store.ticks.latest(source=source, limit=_LAST),
                self._store.ticks.latest(source=source, limit=3, skipping=True),
                self._store.events.latest(source=source, limit=1),
                runners,
                now,
            )
        if any(each.name == name for each in self._schedules.all()):
            status = self._schedules.get(name)
            yield explain_schedule(
                status,
                self._store.ticks.latest(source=f"schedule:{name}", limit=_LAST),
                self._store.events.latest(source=f"schedule:{name}", limit=1),
                self._store.skips.latest(name, 3, None),
                self._fires(name) if status.next_at is not None else [],
                runners,
            )

    def _fires(self, name: str) -> list[UpcomingFire]:
        try:
            return self._schedules.upcoming(name, 3)
        except FlowstoneError:  # its status has the reason
            return []

    def _materialization(self, number: int) -> Explanation:
        now = self._clock.now()
        return explain_materialization(
            self._store.materializations.get(number),
            self._store.materializations.attempts(number),
            self._store.materializations.events(number),
            [each for each in self._store.runners.all(alive_at=now) if each.materializes],
            now,
        )

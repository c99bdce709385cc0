"""Assembly: settings and a store, made into what runs."""

from __future__ import annotations

from flowstone_core.app.schedule_factory import ScheduleFactory
from flowstone_core.config.project import Project
from flowstone_core.model.clock import Clock
from flowstone_core.model.engine import EngineSetup
from flowstone_core.plugin.hook_dispatcher import HookDispatcher
from flowstone_core.runtime.backfill.backfill_runner import EngineParts
from flowstone_core.runtime.coordination.heartbeat import Heartbeat
from flowstone_core.runtime.pruner import Pruner
from flowstone_core.runtime.publisher import Publisher, Watch
from flowstone_core.runtime.runner import Runner
from flowstone_core.runtime.supervisor import Supervisor
from flowstone_core.store import Store


class Wiring:
    """Makes what runs; nothing of it has begun when it is handed out.

    Args:
        project: What it is all made from.
    """

    def __init__(self, store: Store, project: Project, clock: Clock) -> None:
        self._store = store
        self._project = project
        self._clock = clock

    def supervisor(self, schedules: ScheduleFactory, watch: Watch) -> Supervisor:
        """Make a runner, an engine and what they need, as `Flowstone.run` runs them."""
        project = self._project
        equipment = self.equipment(watch)
        runner = Runner(
            store=self._store,
            runner_id=equipment.heartbeat.runner.id,
            sensors=project.sensors,
            assets=project.assets,
            clock=self._clock,
            publisher=equipment.publisher,
            redact=project.redactor,
            wake_engine=equipment.engine.wake,
            poll_threads=project.run.poll_threads,
            outage=equipment.heartbeat.outage,
            schedules=schedules.declared,
            make_schedule=schedules.make,
        )
        supervisor = Supervisor(
            runner,
            equipment.engine,
            equipment.heartbeat,
            equipment.dispatcher,
            self.pruner(),
            self._clock,
            project.run.grace,
        )
        self._store.when_lost(supervisor.lose)
        return supervisor

    def equipment(self, watch: Watch) -> EngineParts:
        """Make what carries materializations, and says that it lives."""
        project = self._project
        dispatcher = HookDispatcher(project.plugins, project.redactor)
        publisher = Publisher(dispatcher, watch)
        heartbeat = Heartbeat(self._store, self._clock, project.run.lease)
        engine = project.engine(
            EngineSetup(
                queue=self._store.queue,
                assets=project.assets,
                clock=self._clock,
                runner_id=heartbeat.runner.id,
                threads=project.run.asset_threads,
                announce=publisher.materialization,
                redact=project.redactor,
            )
        )
        return EngineParts(engine, heartbeat, dispatcher, publisher)

    def pruner(self) -> Pruner:
        """Make what forgets old keys, and deletes old history."""
        sensors = self._project.sensors.items()
        dedupe_for = {name: sensor.settings.dedupe_for for name, sensor in sensors}
        return Pruner(self._store, self._clock, dedupe_for, self._project.run.retention)

"""Wiring: builds the parts of a running process from a project and a store."""

from __future__ import annotations

from flowstone_core.app.runner_view import dump_loaded, tickable_of
from flowstone_core.app.schedule_factory import ScheduleFactory
from flowstone_core.config.project import Project
from flowstone_core.model.clock import Clock
from flowstone_core.model.engine import EngineSetup
from flowstone_core.model.role import Role
from flowstone_core.plugin.hook_dispatcher import HookDispatcher
from flowstone_core.runtime.backfill.backfill_runner import EngineParts
from flowstone_core.runtime.coordination.heartbeat import Heartbeat
from flowstone_core.runtime.coordination.wake_up import WakeUp
from flowstone_core.runtime.coordination.workload import Workload
from flowstone_core.runtime.pruner import Pruner
from flowstone_core.runtime.publisher import Publisher, Watch
from flowstone_core.runtime.runner import Runner
from flowstone_core.runtime.supervisor import RunTerms, Supervisor
from flowstone_core.store import Store


class Wiring:
    """Composition root: builds the parts of a running process from a project; starts nothing.

    Args:
        project: The validated project.
    """

    def __init__(self, store: Store, project: Project, clock: Clock) -> None:
        self._store = store
        self._project = project
        self._clock = clock

    def supervisor(self, schedules: ScheduleFactory, watch: Watch) -> Supervisor:
        """Build the supervisor of a runner and an engine, for `Flowstone.run`."""
        project = self._project
        role = project.run.role
        parts = self.engine_parts(watch, role)
        wake_engine = parts.engine.wake if role.materializes else _nothing
        runner = Runner(
            parts.heartbeat.session,
            self._workload(schedules) if role.ticks else Workload(project.assets),
            publisher=parts.publisher,
            redact=project.redactor,
            wake_engine=wake_engine,
            poll_threads=project.run.poll_threads,
        )
        supervisor = Supervisor(
            runner,
            parts.engine,
            parts.heartbeat,
            parts.dispatcher,
            self.pruner(parts.heartbeat.runner.id),
            WakeUp(self._store, project.assets, self._clock, wake_engine, runner.wake),
            self._clock,
            RunTerms(
                project.run.grace,
                project.run.store_wait,
                project.run.lease,
                {
                    "config": None if project.file is None else str(project.file),
                    "pipelines": ", ".join(project.run.pipelines) or None,
                    "store": self._store.url,
                    "role": role.value,
                    "engine": parts.heartbeat.runner.engine,
                    "sensors": len(project.sensors),
                    "schedules": len(schedules.declared),
                    "assets": len(project.assets),
                },
                role,
            ),
        )
        self._store.when_lost(supervisor.fail)
        return supervisor

    def _workload(self, schedules: ScheduleFactory) -> Workload:
        project = self._project
        return Workload(
            project.assets, project.sensors, schedules.declared, build_schedule=schedules.make
        )

    def engine_parts(self, watch: Watch, role: Role = Role.WORKERS) -> EngineParts:
        """Build an engine with its heartbeat, dispatcher and publisher.

        Args:
            watch: Called at each change of a materialization.
            role: The role of the process; one that runs a backfill ticks nothing.
        """
        project = self._project
        dispatcher = HookDispatcher(project.plugins, project.redactor)
        publisher = Publisher(dispatcher, watch)
        engine_name = project.run.engine if role.materializes else None
        heartbeat = Heartbeat(self._store, self._clock, project.run.lease, role, engine_name)
        heartbeat.loaded = dump_loaded(project)
        heartbeat.workload = tickable_of(project).digest if role.ticks else None
        engine = project.engine(
            EngineSetup(
                queue=self._store.queue,
                assets=project.assets,
                clock=self._clock,
                runner_id=heartbeat.runner.id,
                threads=project.run.asset_threads,
                publish=publisher.materialization,
                redact=project.redactor,
                may_claim=lambda: heartbeat.lease.settled,
            )
        )
        return EngineParts(engine, heartbeat, dispatcher, publisher)

    def pruner(self, runner_id: str | None = None) -> Pruner:
        """Build the pruner, of a runner or of a command."""
        sensors = self._project.sensors.items()
        dedupe_for = {name: sensor.settings.dedupe_for for name, sensor in sensors}
        retention = self._project.run.retention
        return Pruner(self._store, self._clock, dedupe_for, retention, runner_id)


def _nothing() -> None:
    """Do nothing: the engine of a runner that only ticks is not started."""

"""Flowstone: everything wired together once; what the command line and your own code call."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from flowstone_core.config.file.reader import Config, load
from flowstone_core.config.pipeline import Pipeline
from flowstone_core.config.project import Project
from flowstone_core.config.validation import validate
from flowstone_core.errors import NotFoundError, did_you_mean
from flowstone_core.model.clock import Clock, SystemClock
from flowstone_core.model.json_document import JsonObject
from flowstone_core.model.partition import Partition, encode_partition

if TYPE_CHECKING:
    from flowstone_core.app.dry_run import Connection, PollTrial
    from flowstone_core.app.explanations import Explanation
    from flowstone_core.app.schedules import Schedules
    from flowstone_core.app.status import ScheduleStatus, SensorStatus, Status
    from flowstone_core.app.wiring import Wiring
    from flowstone_core.model.asset import Asset
    from flowstone_core.model.event import StoredEvent
    from flowstone_core.model.materialization import Attempt, Materialization, MaterializationState
    from flowstone_core.model.tick import Tick
    from flowstone_core.runtime.backfill.backfill import Plan, Progress
    from flowstone_core.runtime.backfill.backfill_runner import BackfillRunner
    from flowstone_core.runtime.publisher import Watch
    from flowstone_core.runtime.supervisor import Supervisor
    from flowstone_core.runtime.ticking.sensor_ticker import SensorTicker
    from flowstone_core.scheduling.upcoming import Fire
    from flowstone_core.store import Pruned, Store, StoredSkip


class Flowstone:
    """A configured FlowStone: its settings, its store, and all that can be done with them.

    The store is opened when it is first needed and closed by `close`, or at the end of a
    ``with`` block. Methods may be called from any thread; `run` once at a time.

    Args:
        *pipelines: Pipelines declared in Python.
        config: A configuration file in addition; none is looked for by default.
        clock: Reads the time; tests hand in a fake one.
        **settings: Settings of the ``[flowstone]`` section, such as ``store="sqlite:///f.db"``;
            they win over the file's.

    Raises:
        ValidationError: If anything is wrong with the settings; lists everything that is.

    Example:
        >>> from flowstone_core import Flowstone, Pipeline
        >>> pipeline = Pipeline("shop")
        >>> @pipeline.asset
        ... def daily_report(context):
        ...     return {"made": context.partition}
        >>> with Flowstone(pipeline, store="sqlite://") as flow:
        ...     asked = flow.materialize("daily_report", "north")
        ...     finished = flow.run(once=True)
        ...     flow.materialization(asked.id).metadata
        {'made': 'north'}
    """

    def __init__(
        self,
        *pipelines: Pipeline,
        config: str | Path | Config | None = None,
        clock: Clock | None = None,
        **settings: object,
    ) -> None:
        if not isinstance(config, Config):
            config = Config() if config is None else load(Path(config), os.environ)
        self.project: Project = validate(config, pipelines=pipelines, overrides=settings)
        self._clock = clock or SystemClock()
        self._opening = threading.Lock()
        self._opened: Store | None = None
        self._supervisor: Supervisor | None = None
        self._carrier: BackfillRunner | None = None
        self._schedules: Schedules | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def _store(self) -> Store:
        # By one thread: a second store would stay open, and in memory be another one.
        with self._opening:
            if self._opened is None:
                from flowstone_core.store import Store

                self._opened = Store.open(self.project.run.store)
            return self._opened

    @property
    def _timetable(self) -> Schedules:
        store = self._store
        with self._opening:
            if self._schedules is None:
                from flowstone_core.app.schedules import Schedules

                self._schedules = Schedules(store, self.project, self._clock)
            return self._schedules

    def close(self) -> None:
        """Close the store, if it was opened. It may be used again afterwards."""
        opened, self._opened, self._schedules = self._opened, None, None
        if opened is not None:
            opened.close()

    # -- running ------------------------------------------------------------------------------

    def run(
        self,
        *,
        once: bool = False,
        duration: timedelta | None = None,
        watch: Watch = lambda _: None,
    ) -> bool:
        """Tick the sensors and carry the materializations, until a signal or `stop`.

        Args:
            once: Poll each sensor once, carry what is due to its end, and return.
            duration: Return after so long.
            watch: Called with each tick that was not quiet and each change of a materialization,
                after its commit; in any thread, and it must not block or raise.

        Returns:
            Whether everything that ran had ended within the grace time.

        Raises:
            StoreError: If the store cannot be used.
            ConflictError: If the script that calls it is being imported by one of its children.
        """
        from flowstone_core.runtime.isolation.child_process import refuse_in_child

        refuse_in_child()
        self._supervisor = self._assembly().supervisor(self._timetable, watch)
        return self._supervisor.run_once() if once else self._supervisor.run(duration)

    def stop(self) -> None:
        """Have `run` and `backfill` stop gracefully; any thread."""
        for running in (self._supervisor, self._carrier):
            if running is not None:
                running.stop()

    def status(self) -> Status:
        """Say how everything stands."""
        from flowstone_core.app.status import Status

        return Status(
            self._store.url,
            tuple(self._store.runners(alive_at=self._clock.now())),
            tuple(self.sensors()),
            tuple(self.list_schedules()),
            self._store.counts(),
        )

    # -- assets and materializations ------------------------------------------------------------

    def materialize(
        self, asset: str, partition: Partition, *, payload: JsonObject | None = None
    ) -> Materialization:
        """Ask for one partition of an asset to be made; a runner does it.

        Returns:
            The materialization: a new one, or one that is pending for the same partition.

        Raises:
            NotFoundError: If there is no such asset.
            ValidationError: If the partition cannot be encoded.
        """
        _, materialization = self._store.materialize(
            self._asset(asset),
            encode_partition(partition),
            self.project.assets,
            self._clock.now(),
            payload,
        )
        return materialization

    def materializations(
        self,
        *,
        asset: str | None = None,
        partition: Partition | None = None,
        state: MaterializationState | None = None,
        limit: int = 50,
        before_id: int | None = None,
    ) -> list[Materialization]:
        """List materializations, newest first."""
        text = None if partition is None else encode_partition(partition)
        return self._store.materializations(
            asset=asset, partition=text, state=state, limit=limit, before_id=before_id
        )

    def materialization(self, number: int) -> Materialization:
        """Return one materialization.

        Raises:
            NotFoundError: If there is none of this number.
        """
        return self._store.materialization(number)

    def attempts(self, number: int) -> list[Attempt]:
        """List the attempts of a materialization, first one first."""
        return self._store.attempts(number)

    def events_of(self, number: int) -> list[StoredEvent]:
        """List the events that asked for a materialization, oldest first."""
        return self._store.events_of(number)

    def retry(self, number: int) -> Materialization:
        """Have a materialization that ended without success made after all.

        Raises:
            NotFoundError: If there is none of this number.
            ConflictError: If its state does not allow it.
        """
        return self._store.retry(number, self.project.assets, self._clock.now())

    def cancel(self, number: int) -> Materialization:
        """Cancel a materialization that has not ended.

        A running asset function cannot be stopped; it sees ``context.cancelled``, and what it
        returns is discarded.

        Raises:
            NotFoundError: If there is none of this number.
            ConflictError: If it has ended.
        """
        return self._store.cancel(number, self.project.assets, self._clock.now())[0]

    def backfill(
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
        """Make the partitions of an asset from one date or datetime to another.

        What is completed is skipped, and what is on its way is waited for. The runners that are
        alive make the rest; while there is none this process does. If it is interrupted, the same
        call goes on where it was; each partition is asked for once.

        Args:
            asset: The asset.
            first: The first partition.
            last: The last one, included.
            every: The step between two: ``day`` by default for dates, ``hour`` for datetimes;
                ``minute``, ``week``, ``month``, ``year`` or a duration.
            force: Whether to make again what is completed.
            limit: Most of its materializations that are unfinished at once.
            watch: Called with each new progress.

        Returns:
            The last progress; not finished if a signal or `stop` came first.

        Raises:
            NotFoundError: If there is no such asset.
            ValidationError: If there is no such range, step or limit.
            StoreError: If the store cannot be used.
        """
        from flowstone_core.model.partition_range import partitions
        from flowstone_core.runtime.backfill.backfill import Backfill, BackfillRequest
        from flowstone_core.runtime.backfill.backfill_runner import BackfillRunner

        span = partitions(first, last, every)
        order = BackfillRequest(self._asset(asset).name, span, force, limit)
        backfill = Backfill(order, self._store.backfills, self._clock, self.project.assets)
        grace = self.project.run.grace
        equip = self._assembly().equipment
        self._carrier = BackfillRunner(backfill, self._store, self._clock, equip, grace)
        return self._carrier.run(watch)

    def plan_backfill(
        self,
        asset: str,
        first: Partition,
        last: Partition,
        *,
        every: str | timedelta | None = None,
        force: bool = False,
    ) -> Plan:
        """Say what `backfill` would do now with each partition; nothing is written.

        Raises:
            NotFoundError: If there is no such asset.
            ValidationError: If there is no such range or step.
        """
        from flowstone_core.model.partition_range import partitions
        from flowstone_core.runtime.backfill.backfill import BackfillRequest, plan

        order = BackfillRequest(self._asset(asset).name, partitions(first, last, every), force)
        return plan(order, self._store.backfills)

    # -- sensors ----------------------------------------------------------------------------------

    def sensors(self) -> list[SensorStatus]:
        """List the sensors that are declared or stored, by name."""
        from flowstone_core.app.status import sensor_statuses

        records = {record.name: record for record in self._store.sensors()}
        return list(sensor_statuses(self.project.sensors, records))

    def sensor(self, name: str) -> SensorStatus:
        """Return one sensor.

        Raises:
            NotFoundError: If none of this name is declared or stored.
        """
        for status in self.sensors():
            if status.name == name:
                return status
        raise self._no_sensor(name)

    def sensor_state(self, name: str) -> str | None:
        """Return a sensor's stored state as JSON text; None before its first poll."""
        self._declare(name)
        return self._store.sensor(name).checkpoint.state

    def pause_sensor(self, name: str) -> None:
        """Poll a sensor no more until it is resumed; a runner notices within two seconds.

        Raises:
            NotFoundError: If none of this name is declared or stored.
        """
        self._declare(name)
        self._store.pause_sensor(name, self._clock.now())

    def resume_sensor(self, name: str) -> None:
        """Poll a paused sensor again, from the state it has."""
        self._declare(name)
        self._store.resume_sensor(name, self._clock.now())

    def reset_sensor(self, name: str, *, forget_keys: bool = False) -> None:
        """Forget a sensor's state, failures and back-off: it begins with ``init`` again.

        Args:
            name: The sensor.
            forget_keys: Let events with keys it has had before fire again.
        """
        self._declare(name)
        self._store.reset_sensor(name, self._clock.now(), forget_keys=forget_keys)

    def try_sensor(self, name: str, *, state: str | None = None) -> PollTrial:
        """Poll a sensor now, within its deadline, and commit nothing.

        Args:
            state: The JSON text of the state to begin from, instead of the one that is stored.

        Returns:
            What the tick would amount to.

        Raises:
            NotFoundError: If there is no such sensor.
            ValidationError: If the state is not JSON, or too large.
        """
        from flowstone_core.app.dry_run import try_poll

        ticker = self._ticker(name)
        for record in self._store.sensors([name]):
            ticker.checkpoint = record.checkpoint
        if state is not None:
            ticker.checkpoint = ticker.checkpoint.from_state(state)
        return try_poll(ticker, self._clock)

    def connect_sensors(self) -> list[Connection]:
        """Ask each enabled sensor to prove, within its deadline, that it reaches its source.

        Nothing is committed, and the store is not needed.
        """
        from flowstone_core.app.dry_run import try_connections

        sensors = self.project.sensors.values()
        enabled = [sensor.name for sensor in sensors if sensor.settings.enabled]
        return try_connections(map(self._ticker, enabled), self._clock)

    def _ticker(self, name: str) -> SensorTicker:
        from flowstone_core.runtime.ticking.sensor_ticker import SensorTicker

        declaration = self.project.sensors.get(name)
        if declaration is None:
            raise self._no_sensor(name)
        project = self.project
        return SensorTicker(declaration, project.assets, self._clock, project.redactor)

    # -- schedules ------------------------------------------------------------------------------

    def schedule(self, asset: str, *, name: str | None = None, **options: object) -> ScheduleStatus:
        """Add a schedule; it stays in the store, and a runner notices within two seconds.

        Args:
            asset: The asset whose partitions it asks for.
            name: Unique among all schedules; the asset's name by default.
            **options: As for `Pipeline.schedule`. A ``partition_fn`` is known to this object
                alone: another process cannot fire for the schedule.

        Raises:
            ValidationError: If anything is wrong with it; lists everything that is.
            ConflictError: If there is a schedule of this name.
        """
        return self._timetable.add(asset, name, options)

    def update_schedule(self, name: str, **options: object) -> ScheduleStatus:
        """Change some settings of a schedule; the others stay. Nothing of the past is replayed.

        Args:
            name: The schedule.
            **options: As for `Pipeline.schedule`; None for ``partition``, ``start`` or ``end``
                takes it away.

        Raises:
            NotFoundError: If there is none of this name.
            ValidationError: If anything is wrong with it then; nothing was changed.
        """
        return self._timetable.update(name, options)

    def revert_schedule(self, name: str) -> ScheduleStatus:
        """Take back what was changed at run time of a schedule that a file or pipeline declares.

        Raises:
            NotFoundError: If there is none of this name.
            ConflictError: If it is declared nowhere.
        """
        return self._timetable.revert(name)

    def unschedule(self, name: str) -> None:
        """Remove a schedule that was added; its history stays.

        Args:
            name: The schedule's name: the asset's, unless it has one of its own.

        Raises:
            NotFoundError: If there is none of this name.
            ConflictError: If a file or a pipeline declares it.
        """
        self._timetable.remove(name)

    def list_schedules(self) -> list[ScheduleStatus]:
        """List the schedules that are declared or stored, by name."""
        return self._timetable.all()

    def get_schedule(self, name: str) -> ScheduleStatus:
        """Return one schedule.

        Raises:
            NotFoundError: If none of this name is declared or stored.
        """
        return self._timetable.get(name)

    def pause_schedule(self, name: str) -> None:
        """Have a schedule fire no more until it is resumed.

        Raises:
            NotFoundError: If there is none of this name.
        """
        self._timetable.pause(name)

    def resume_schedule(self, name: str) -> None:
        """Have a paused schedule fire again, for what is to come.

        Raises:
            NotFoundError: If there is none of this name.
        """
        self._timetable.resume(name)

    def next_fires(self, name: str, count: int = 10, after: datetime | None = None) -> list[Fire]:
        """Return the next instants of a schedule, with the partition that each makes.

        Args:
            name: The schedule.
            count: At most so many.
            after: Aware; now by default.

        Raises:
            NotFoundError: If there is none of this name.
        """
        return self._timetable.fires(name, count, after)

    def skips(
        self, *, schedule: str | None = None, limit: int = 50, before_id: int | None = None
    ) -> list[StoredSkip]:
        """List what schedules skipped, with the reasons, the latest first."""
        return self._store.skips(schedule, limit, before_id)

    # -- events and ticks ------------------------------------------------------------------------

    def events(
        self,
        *,
        source: str | None = None,
        asset: str | None = None,
        limit: int = 50,
        before_id: int | None = None,
    ) -> list[StoredEvent]:
        """List events, newest first."""
        return self._store.events(source=source, asset=asset, limit=limit, before_id=before_id)

    def ticks(
        self, *, source: str | None = None, limit: int = 50, before_id: int | None = None
    ) -> list[Tick]:
        """List the ticks that were not quiet, newest first."""
        return self._store.ticks(source=source, limit=limit, before_id=before_id)

    def explain(self, name: str) -> list[Explanation]:
        """Say why something is as it is.

        Args:
            name: Of a sensor or a schedule, or the number of a materialization.

        Returns:
            One explanation; two if a sensor and a schedule have the name.

        Raises:
            NotFoundError: If there is nothing of the name.
        """
        from flowstone_core.app.explain import Explainer

        return Explainer(self._store, self.project, self._timetable, self._clock).explain(name)

    def prune(self, older_than: timedelta | str | None = None, *, dry_run: bool = False) -> Pruned:
        """Delete history that ended long ago, and forget the keys of old events.

        What is not finished stays, and of each partition of each asset the latest completed
        materialization. It is done in many small transactions: runners go on meanwhile. If it is
        interrupted, the next time goes on.

        Args:
            older_than: The age, such as ``90d``; the setting ``retention`` by default.
            dry_run: Whether to say what would be deleted, and delete nothing.

        Raises:
            ValidationError: If there is no age, or it is none, or out of bounds.
        """
        from flowstone_core.model.duration import parse_duration

        if isinstance(older_than, str):
            older_than = parse_duration(older_than)
        return self._assembly().pruner().prune(older_than, dry_run=dry_run)

    # -- inside -----------------------------------------------------------------------------------

    def _asset(self, name: str) -> Asset:
        found = self.project.assets.get(name)
        if found is None:
            raise _not_found("asset", name, self.project.assets)
        return found

    def _declare(self, name: str) -> None:
        """Make a declared sensor known to a store that has not seen it yet."""
        if name in self.project.sensors:
            self._store.declare_sensors([name], self._clock.now())
        elif not self._store.sensors([name]):
            raise self._no_sensor(name)

    def _no_sensor(self, name: str) -> NotFoundError:
        known = {*self.project.sensors, *(record.name for record in self._store.sensors())}
        return _not_found("sensor", name, known)

    def _assembly(self) -> Wiring:
        from flowstone_core.app.wiring import Wiring

        return Wiring(self._store, self.project, self._clock)


def _not_found(what: str, name: str, known: Iterable[str]) -> NotFoundError:
    names: Mapping[str, None] = dict.fromkeys(sorted(known))
    hint = did_you_mean(name, names) or f"there are: {', '.join(names) or 'none'}"
    return NotFoundError(f"there is no {what} {name!r}", hint=hint)

"""Flowstone: the facade that the command line and Python code call."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Self

from flowstone_core.config.file.reader import Config, load
from flowstone_core.config.pipeline import Pipeline
from flowstone_core.config.project import Project
from flowstone_core.config.validation import validate
from flowstone_core.model.clock import Clock, StoreClock
from flowstone_core.model.json_document import JsonObject
from flowstone_core.model.partition import Partition

if TYPE_CHECKING:
    from flowstone_core.app.backfills import Backfills
    from flowstone_core.app.materializations import Materializations
    from flowstone_core.app.overview import Status
    from flowstone_core.app.phrases import Explanation
    from flowstone_core.app.schedules import Schedules
    from flowstone_core.app.sensors import Sensors
    from flowstone_core.app.status import ScheduleStatus
    from flowstone_core.app.wiring import Wiring
    from flowstone_core.model.event import StoredEvent
    from flowstone_core.model.materialization import Materialization
    from flowstone_core.model.tick import Tick
    from flowstone_core.runtime.backfill.backfill import Progress
    from flowstone_core.runtime.coordination.store_wait import StartWait
    from flowstone_core.runtime.publisher import Watch
    from flowstone_core.runtime.supervisor import Supervisor
    from flowstone_core.store import Pruned, Store


class Flowstone:
    """A configured FlowStone: its project, its store, and everything that can be done with them.

    The store is opened on first use and closed by `close` or at the end of a ``with`` block.
    Methods may be called from any thread; `run` once at a time.

    Args:
        *pipelines: Pipelines declared in Python.
        config: A configuration file in addition; none is read by default.
        clock: Reads the time; tests pass a fake one.
        **settings: Settings of the ``[flowstone]`` section, such as ``store="sqlite:///f.db"``;
            they override the file's.

    Attributes:
        project: Everything that the file and the pipelines declare.

    Raises:
        ValidationError: If any setting is invalid; lists every problem.

    Example:
        >>> from flowstone_core import Flowstone, Pipeline
        >>> pipeline = Pipeline("shop")
        >>> @pipeline.asset
        ... def daily_report(context):
        ...     return {"region": context.partition}
        >>> with Flowstone(pipeline, store="sqlite://") as flow:
        ...     requested = flow.materialize("daily_report", "north")
        ...     finished = flow.run(once=True)
        ...     flow.materializations.get(requested.id).metadata
        {'region': 'north'}
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
        self._clock = clock or StoreClock()
        self._lock = threading.Lock()
        self._store: Store | None = None
        self._schedules: Schedules | None = None
        self._backfills: Backfills | None = None
        self._start: StartWait | None = None
        self._supervisor: Supervisor | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the store, if it was opened; the next use opens it again."""
        opened, self._store = self._store, None
        if opened is not None:
            opened.close()

    @property
    def sensors(self) -> Sensors:
        """The sensors: list, pause, resume, reset, and poll them without a commit."""
        from flowstone_core.app.sensors import Sensors

        return Sensors(self._open_store, self.project, self._clock)

    @property
    def schedules(self) -> Schedules:
        """The schedules: add, update, pause, resume, remove and list them."""
        from flowstone_core.app.schedules import Schedules

        # One object: it knows each ``partition_fn`` that was given at run time.
        with self._lock:
            if self._schedules is None:
                self._schedules = Schedules(self._open_store, self.project, self._clock)
            return self._schedules

    @property
    def materializations(self) -> Materializations:
        """The materializations: list, retry and cancel them."""
        from flowstone_core.app.materializations import Materializations

        return Materializations(self._open_store, self.project, self._clock)

    @property
    def backfills(self) -> Backfills:
        """The backfills: plan and run them."""
        from flowstone_core.app.backfills import Backfills

        schedules = self.schedules
        # One object: `stop` ends the one that runs.
        with self._lock:
            if self._backfills is None:
                self._backfills = Backfills(self._open_store, self.project, self._clock, schedules)
            return self._backfills

    def events(
        self,
        *,
        source: str | None = None,
        asset: str | None = None,
        limit: int = 50,
        before_id: int | None = None,
    ) -> list[StoredEvent]:
        """List events, newest first; ``before_id`` is the last id of the page before."""
        return self._open_store().events.latest(
            source=source, asset=asset, limit=limit, before_id=before_id
        )

    def ticks(
        self, *, source: str | None = None, limit: int = 50, before_id: int | None = None
    ) -> list[Tick]:
        """List the ticks that were not quiet, newest first."""
        return self._open_store().ticks.latest(source=source, limit=limit, before_id=before_id)

    def run(
        self,
        *,
        once: bool = False,
        duration: timedelta | None = None,
        watch: Watch = lambda _: None,
    ) -> bool:
        """Tick sensors and schedules and run materializations, until a signal or `stop`.

        Args:
            once: Tick each sensor and schedule once, run what is due to its end, and return.
            duration: Return after this time, the wait for the store included.
            watch: Called after the commit of each tick that was not quiet and of each change of a
                materialization; in any thread. It must not block or raise.

        Returns:
            True if everything ended within the grace time.

        Raises:
            StoreError: If the store cannot be used, or is unavailable for ``store_wait``.
            ConflictError: If a child process that imports the calling script reaches this call.
        """
        from flowstone_core.runtime.coordination.store_wait import StartWait, StopRequestedError
        from flowstone_core.runtime.isolation.child_process import refuse_in_child

        refuse_in_child()
        self._start = start = StartWait(self._clock, self.project.run.store_wait, duration)
        try:
            start.wait_for(self._open_store)
        except StopRequestedError:
            return True
        self._supervisor = running = self._wiring().supervisor(self.schedules.factory, watch)
        if start.stopped:
            running.stop()
        return running.run_once(start.since) if once else running.run(duration, start.since)

    def stop(self) -> None:
        """Stop `run` and `backfill` gracefully, the wait for a store too; in any thread."""
        for running in (self._start, self._supervisor, self._backfills):
            if running is not None:
                running.stop()

    def status(self) -> Status:
        """Return runners, sensors, schedules and counts of materializations."""
        from flowstone_core.app.overview import overview

        return overview(self._open_store(), self.sensors.all(), self.schedules.all(), self._clock)

    def explain(self, name: str) -> list[Explanation]:
        """Explain the state of a sensor, a schedule or a materialization.

        Args:
            name: The name of a sensor or a schedule, or the number of a materialization.

        Returns:
            One explanation; two if a sensor and a schedule share the name.

        Raises:
            NotFoundError: If the name is unknown.
        """
        from flowstone_core.app.explainer import Explainer

        explainer = Explainer(self._open_store(), self.project, self.schedules, self._clock)
        return explainer.explain(name)

    def prune(
        self,
        older_than: timedelta | str | None = None,
        *,
        dry_run: bool = False,
        trust_clock: bool = False,
    ) -> Pruned:
        """Delete history that ended long ago, and forget the keys of old events.

        Unfinished materializations stay, and the latest completed one of each partition.

        Args:
            older_than: The age, such as ``90d``; the setting ``retention`` by default.
            dry_run: Count the rows, and delete nothing.
            trust_clock: Count weeks in which no runner ran: the clock is right.

        Raises:
            ValidationError: If the age is missing, invalid or out of bounds.
        """
        from flowstone_core.model.duration import parse_duration

        age = parse_duration(older_than) if isinstance(older_than, str) else older_than
        return self._wiring().pruner().prune(age, dry_run=dry_run, trust_clock=trust_clock)

    def materialize(
        self, asset: str, partition: Partition, *, payload: JsonObject | None = None
    ) -> Materialization:
        """Request one partition of an asset; short for `Materializations.request`."""
        return self.materializations.request(asset, partition, payload=payload)

    def backfill(
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
        """Materialize a range of partitions; short for `Backfills.run`."""
        return self.backfills.run(
            asset,
            first,
            last,
            every=every,
            timezone=timezone,
            force=force,
            limit=limit,
            watch=watch,
        )

    def schedule(self, asset: str, *, name: str | None = None, **options: object) -> ScheduleStatus:
        """Add a schedule for an asset; short for `Schedules.add`."""
        return self.schedules.add(asset, name=name, **options)

    def unschedule(self, name: str) -> None:
        """Remove a schedule that was added at run time; short for `Schedules.remove`."""
        self.schedules.remove(name)

    def list_schedules(self) -> list[ScheduleStatus]:
        """List the schedules that are declared or stored, by name; short for `Schedules.all`."""
        return self.schedules.all()

    def _open_store(self) -> Store:
        # Under a lock: a second store would stay open, and one in memory would be another one.
        with self._lock:
            if self._store is None:
                from flowstone_core.runtime.coordination.clock_watch import open_store

                self._store = open_store(self.project.run.store, self._clock)
            return self._store

    def _wiring(self) -> Wiring:
        from flowstone_core.app.wiring import Wiring

        return Wiring(self._open_store(), self.project, self._clock)

"""Schedules of a project: add, update, pause, resume, remove and list them.

A file or a pipeline declares a schedule; a command or a call adds or changes one. The store keeps
both: run-time changes lie over the declaration, setting by setting, until they are reverted.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime

from flowstone_core.app.lookup import unknown
from flowstone_core.app.schedule_factory import ScheduleFactory
from flowstone_core.app.status import ScheduleStatus, schedule_status
from flowstone_core.config.declarations.schedule_declaration import ScheduleOptions
from flowstone_core.config.project import Project
from flowstone_core.errors import ConflictError, NotFoundError, ValidationError
from flowstone_core.model.clock import Clock
from flowstone_core.model.tick import Skip
from flowstone_core.runtime.coordination.registration import declare_schedules, missed
from flowstone_core.scheduling.local_range import Naming, naming_of
from flowstone_core.scheduling.schedule import ScheduleSpec, merged, timing
from flowstone_core.scheduling.upcoming import UpcomingFire, upcoming_fires
from flowstone_core.store import ScheduleRecord, Store, StoredSkip

EDIT_ATTEMPTS = 10
"""Attempts to apply a change that a concurrent tick or change invalidates."""


class Schedules:
    """Schedules that are declared or stored; `Flowstone.schedules`. Any thread may call it.

    Args:
        open_store: Returns the open store.
        project: What files and pipelines declare.
        clock: Reads the time.

    Attributes:
        factory: Builds the schedules.
    """

    def __init__(self, open_store: Callable[[], Store], project: Project, clock: Clock) -> None:
        self._open_store = open_store
        self._project = project
        self._clock = clock
        self.factory = ScheduleFactory(project)

    def all(self) -> list[ScheduleStatus]:
        """List the schedules that are declared or stored, by name."""
        stored = {record.name: record for record in self._open_store().schedules.all()}
        names = sorted({*self._project.schedules, *stored})
        is_run = self._is_run()
        return [self._status(name, stored.get(name), is_run=is_run) for name in names]

    def get(self, name: str) -> ScheduleStatus:
        """Return one schedule.

        Raises:
            NotFoundError: If no schedule of this name is declared or stored.
        """
        self._record(name)
        stored = next(iter(self._open_store().schedules.all([name])), None)
        return self._status(name, stored, is_run=self._is_run())

    def add(self, asset: str, *, name: str | None = None, **options: object) -> ScheduleStatus:
        """Add a schedule to the store; a runner starts ticking it within two seconds.

        Args:
            asset: The asset whose partitions it requests.
            name: Unique among all schedules; the asset's name by default.
            **options: As for `Pipeline.schedule`. Only this object knows a ``partition_fn``:
                another process cannot fire the schedule.

        Raises:
            ValidationError: If any option is invalid; lists every problem.
            ConflictError: If a schedule of this name exists.
        """
        name = asset if name is None else name
        checked = self.factory.check(ScheduleOptions(name, {"asset": asset, **options}))
        if name in self._project.schedules:
            self._declare(name)
        for left in self._open_store().schedules.all([name]):
            if left.declared is not None and name not in self._project.schedules:
                raise ConflictError(
                    f"there is still a schedule {name!r}, which was declared at {left.origin}",
                    hint=f"to remove it: flowstone schedules remove {name}",
                    schedule=name,
                )
        record = self._open_store().schedules.create(name, checked.spec, self._clock.now())
        self.factory.remember(checked)
        return self._status(record.name, record, is_run=self._is_run())

    def update(self, name: str, **options: object) -> ScheduleStatus:
        """Change some settings of a schedule and keep the others; past instants are not replayed.

        Args:
            name: The schedule.
            **options: As for `add`; None removes ``partition``, ``start`` or ``end``.

        Raises:
            NotFoundError: If no schedule of this name is declared or stored.
            ValidationError: If the result would be invalid; nothing was changed.
        """

        def edits(record: ScheduleRecord) -> ScheduleSpec:
            # Its own kind too: the plugin that provided it may be gone.
            kinds = {*self._project.triggers, str(record.spec["trigger"])}
            given = self.factory.options(record).overlaid(ScheduleOptions(name, options), kinds)
            checked = self.factory.check(given)
            self.factory.remember(checked)
            keys = {*options}
            if keys & {*self._project.triggers, "trigger"}:
                keys |= {"trigger", "text"}
            changed = {key: checked.spec[key] for key in keys if key in checked.spec}
            return merged(record.edits, changed)

        return self._edit(name, edits)

    def revert(self, name: str) -> ScheduleStatus:
        """Discard all run-time changes to a declared schedule.

        Raises:
            NotFoundError: If no schedule of this name is declared or stored.
            ConflictError: If no file and no pipeline declares it.
        """

        def nothing(record: ScheduleRecord) -> None:
            if record.declared is None:
                raise ConflictError(
                    f"cannot revert schedule {name!r}: it was added at run time",
                    hint=f"to remove it: flowstone schedules remove {name}",
                )

        return self._edit(name, nothing)

    def remove(self, name: str) -> None:
        """Remove a schedule that was added at run time; its history stays.

        Raises:
            NotFoundError: If no schedule of this name is declared or stored.
            ConflictError: If a file or a pipeline declares it.
        """
        declaration = self._project.schedules.get(name)
        if declaration is not None:
            raise ConflictError(
                f"cannot remove schedule {name!r}: it is declared at {declaration.where}",
                hint=f"remove it there, or: flowstone schedules pause {name}",
            )
        self._open_store().schedules.remove(self._record(name).name)
        self.factory.forget(name)

    def namings(self, asset: str) -> list[Naming]:
        """Return how the schedules of an asset name its partitions; broken ones are left out."""
        stored = {record.name: record for record in self._open_store().schedules.all()}
        found = []
        for name in sorted({*self._project.schedules, *stored}):
            record = self._in_use(name, stored.get(name), is_run=False)
            if record.asset == asset:
                with suppress(ValidationError):
                    found.append(naming_of(record.name, record.spec))
        return found

    def pause(self, name: str) -> None:
        """Pause a schedule; its runner stops firing it within two seconds.

        Raises:
            NotFoundError: If no schedule of this name is declared or stored.
        """
        self._register(name)
        self._open_store().schedules.pause(name)

    def resume(self, name: str) -> None:
        """Resume a paused schedule; the instants that passed meanwhile are skipped.

        Raises:
            NotFoundError: If no schedule of this name is declared or stored.
            ConflictError: If the schedule changes too often to be resumed.
        """
        self._register(name)
        store = self._open_store()
        for _ in range(EDIT_ATTEMPTS):
            record = store.schedules.get(name)
            if not record.paused:
                return
            now = self._clock.now()
            skips = missed(record, self.factory.make, now)
            if store.schedules.resume(name, record.checkpoint.version, skips, now) is not None:
                return
        raise _unsettled(name)

    def upcoming(
        self, name: str, count: int = 10, after: datetime | None = None
    ) -> list[UpcomingFire]:
        """Return the next instants of a schedule with their partitions, even if it is paused.

        Args:
            name: The schedule.
            count: At most this number of instants.
            after: Aware; now by default.

        Raises:
            NotFoundError: If no schedule of this name is declared or stored.
            ValidationError: If this process cannot build it.
        """
        after = self._clock.now() if after is None else after
        return upcoming_fires(self.factory.make(self._record(name)), after, count)

    def skips(
        self, name: str | None = None, *, limit: int = 50, before_id: int | None = None
    ) -> list[StoredSkip]:
        """List skipped instants with their reasons, latest first; of all schedules by default."""
        return self._open_store().skips.latest(name, limit, before_id)

    def _status(self, name: str, stored: ScheduleRecord | None, *, is_run: bool) -> ScheduleStatus:
        from flowstone_core.app.runner_view import ADDED, schedule_changes

        declaration = self._project.schedules.get(name)
        record = self._in_use(name, stored, is_run=is_run)
        status = schedule_status(
            record,
            self.factory.make,
            declared=declaration is not None or record.declared is None,
            now=self._clock.now(),
        )
        if not is_run:
            return status
        changes: tuple[str, ...] = (ADDED,)
        if stored is not None:
            spec = None if declaration is None else declaration.spec
            changes = schedule_changes(stored, spec, self._project)
        return replace(status, not_loaded=changes)

    def _is_run(self) -> bool:
        runners = self._open_store().runners.all(alive_at=self._clock.now())
        return any(runner.ticks for runner in runners)

    def _record(self, name: str) -> ScheduleRecord:
        stored = next(iter(self._open_store().schedules.all([name])), None)
        if stored is None and name not in self._project.schedules:
            raise self._unknown(name)
        return self._in_use(name, stored, is_run=self._is_run())

    def _unknown(self, name: str) -> NotFoundError:
        stored = (record.name for record in self._open_store().schedules.all())
        return unknown("schedule", name, {*self._project.schedules, *stored})

    def _in_use(self, name: str, stored: ScheduleRecord | None, *, is_run: bool) -> ScheduleRecord:
        """Return a record as the runner has loaded it, or as the next runner will read it."""
        declaration = self._project.schedules.get(name)
        if stored is not None and (declaration is None or is_run):
            return stored
        declaration = self._project.schedules[name]
        if stored is not None:
            return replace(stored, declared=declaration.spec, origin=declaration.where)
        return ScheduleRecord.new(name, declaration.spec, declaration.where, self._clock.now())

    def _register(self, name: str) -> None:
        """Insert a declared schedule into a store that no runner has registered it in yet."""
        store = self._open_store()
        if not store.schedules.all([name]):
            if name not in self._project.schedules:
                raise self._unknown(name)
            store.schedules.declare([self.factory.declared[name]], self._clock.now())

    def _declare(self, name: str) -> None:
        """Store the current declaration of a schedule before a change is laid over it."""
        self._record(name)
        if name in self._project.schedules:
            declare_schedules(
                self._open_store(), [self.factory.declared[name]], self.factory.make, self._clock
            )

    def _edit(
        self, name: str, edits: Callable[[ScheduleRecord], ScheduleSpec | None]
    ) -> ScheduleStatus:
        """Replace the run-time changes by what ``edits`` makes of the current record."""
        self._declare(name)
        store = self._open_store()
        for _ in range(EDIT_ATTEMPTS):
            record = store.schedules.get(name)
            wanted = edits(record)
            now = self._clock.now()
            skips: tuple[Skip, ...] = ()
            if timing(merged(record.declared, wanted)) != timing(record.spec):
                skips = missed(record, self.factory.make, now)
            edited = store.schedules.edit(name, record.checkpoint.version, wanted, skips, now)
            if edited is not None:
                return self._status(name, edited, is_run=self._is_run())
        raise _unsettled(name)


def _unsettled(name: str) -> ConflictError:
    return ConflictError(
        f"cannot change schedule {name!r}: other changes came first", hint="try again"
    )

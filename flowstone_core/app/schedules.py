"""All schedules of an installation: those declared and those added, and what is done to them.

A file or a pipeline declares a schedule, a command adds one or edits one. Of both the store keeps
what was said; what was said at run time lies over what was declared, setting by setting, until it
is taken back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime

from flowstone_core.app.status import ScheduleStatus, schedule_status
from flowstone_core.config.declarations.schedule import (
    ScheduleDeclaration,
    ScheduleOptions,
    declare_schedule,
)
from flowstone_core.config.project import Project
from flowstone_core.errors import (
    ConflictError,
    NotFoundError,
    Problem,
    ValidationError,
    did_you_mean,
)
from flowstone_core.model.clock import Clock
from flowstone_core.model.tick import Skip
from flowstone_core.runtime.coordination.registration import declare_schedules, missed
from flowstone_core.scheduling.schedule import (
    PartitionOf,
    Schedule,
    ScheduleSpec,
    build,
    merged,
    timing,
)
from flowstone_core.scheduling.upcoming import Fire, fires
from flowstone_core.store import DeclaredSchedule, ScheduleRecord, Store

EDIT_ATTEMPTS = 10
"""How often an edit is worked out anew because a tick came in between."""


class Schedules:
    """The schedules of one store, seen from one process; any thread may call it.

    Args:
        project: What files and pipelines declare.
    """

    def __init__(self, store: Store, project: Project, clock: Clock) -> None:
        self._store = store
        self._project = project
        self._clock = clock
        self._functions: dict[str, PartitionOf] = {
            name: declaration.partition_of
            for name, declaration in project.schedules.items()
            if declaration.partition_of is not None
        }

    @property
    def declared(self) -> Mapping[str, DeclaredSchedule]:
        """What files and pipelines say, by name."""
        return {
            name: DeclaredSchedule(name, declaration.spec, declaration.where)
            for name, declaration in self._project.schedules.items()
        }

    def make(self, record: ScheduleRecord) -> Schedule:
        """Make a schedule of what the store knows of it.

        Raises:
            ValidationError: If it cannot be made here: its trigger is not installed, say, or no
                pipeline has its asset.
        """
        if record.asset not in self._project.assets:
            hint = did_you_mean(record.asset, self._project.assets)
            message = f"no pipeline has its asset {record.asset!r}"
            raise ValidationError(Problem(message, hint=hint))
        declaration = self._project.schedules.get(record.name)
        return build(
            record.name,
            record.spec,
            self._project.triggers,
            self._functions.get(record.name),
            declaration.own_trigger if declaration is not None else None,
        )

    def all(self) -> list[ScheduleStatus]:
        """List the schedules that are declared or stored, by name."""
        records = {record.name: self._as_declared(record) for record in self._store.schedules()}
        for name in self._project.schedules.keys() - records.keys():
            records[name] = self._unborn(name)
        return [self._status(records[name]) for name in sorted(records)]

    def get(self, name: str) -> ScheduleStatus:
        """Return one schedule.

        Raises:
            NotFoundError: If none of this name is declared or stored.
        """
        return self._status(self._record(name))

    def add(self, asset: str, name: str | None, options: Mapping[str, object]) -> ScheduleStatus:
        """Add a schedule that no file and no pipeline declares.

        Raises:
            ValidationError: If anything is wrong with it; lists everything that is.
            ConflictError: If there is one of this name.
        """
        name = asset if name is None else name
        checked = self._checked(ScheduleOptions(name, {"asset": asset, **options}))
        if name in self._project.schedules:
            self._declare(name)
        for left in self._store.schedules([name]):
            if left.declared is not None and name not in self._project.schedules:
                raise ConflictError(
                    f"there is still a schedule {name!r}, which was declared at {left.origin}",
                    hint=f"to remove it: flowstone schedules remove {name}",
                    schedule=name,
                )
        record = self._store.create_schedule(name, checked.spec, self._clock.now())
        self._keep(checked)
        return self._status(record)

    def update(self, name: str, options: Mapping[str, object]) -> ScheduleStatus:
        """Change some settings of a schedule; the others stay. Nothing of the past is replayed.

        Args:
            options: As for `add`; None for ``partition``, ``start`` or ``end`` takes it away.

        Raises:
            NotFoundError: If there is none of this name.
            ValidationError: If anything is wrong with it then; nothing was changed.
        """

        def edits(record: ScheduleRecord) -> ScheduleSpec:
            stored = ScheduleOptions(name, self._options(record))
            # Its own kind too: the plugin that provided it may be gone.
            kinds = {*self._project.triggers, str(record.spec["trigger"])}
            checked = self._checked(stored.overlaid(ScheduleOptions(name, options), kinds))
            self._keep(checked)
            keys = {*options}
            if keys & {*self._project.triggers, "trigger"}:
                keys |= {"trigger", "text"}
            changed = {key: checked.spec[key] for key in keys if key in checked.spec}
            return merged(record.edits, changed)

        return self._edit(name, edits)

    def revert(self, name: str) -> ScheduleStatus:
        """Take back all that was said of a declared schedule at run time.

        Raises:
            NotFoundError: If there is none of this name.
            ConflictError: If no file and no pipeline declares it.
        """

        def nothing(record: ScheduleRecord) -> None:
            if record.declared is None:
                raise ConflictError(
                    f"schedule {name!r} was added by command: there is nothing to go back to",
                    hint=f"to remove it: flowstone schedules remove {name}",
                )

        return self._edit(name, nothing)

    def remove(self, name: str) -> None:
        """Remove a schedule; its history stays.

        Raises:
            NotFoundError: If there is none of this name.
            ConflictError: If a file or a pipeline declares it.
        """
        declaration = self._project.schedules.get(name)
        if declaration is not None:
            raise ConflictError(
                f"schedule {name!r} is declared at {declaration.where}",
                hint=f"remove it there, or: flowstone schedules pause {name}",
            )
        self._store.remove_schedule(self._record(name).name)
        self._functions.pop(name, None)

    def pause(self, name: str) -> ScheduleStatus:
        """Have a schedule fire no more until it is resumed.

        Raises:
            NotFoundError: If there is none of this name.
        """
        self._declare(name)
        return self._status(self._store.pause_schedule(name))

    def resume(self, name: str) -> ScheduleStatus:
        """Have a paused schedule fire again, for what is to come.

        Raises:
            NotFoundError: If there is none of this name.
            ConflictError: If others change it all the time.
        """
        self._declare(name)
        for _ in range(EDIT_ATTEMPTS):
            record = self._store.schedule(name)
            if not record.paused:
                return self._status(record)
            now = self._clock.now()
            skips = missed(record, self.make, now)
            resumed = self._store.resume_schedule(name, record.checkpoint.version, skips, now)
            if resumed is not None:
                return self._status(resumed)
        raise _unsettled(name)

    def fires(self, name: str, count: int, after: datetime | None = None) -> list[Fire]:
        """Return the next instants of a schedule, whether or not it is paused.

        Raises:
            NotFoundError: If there is none of this name.
            ValidationError: If it cannot be made here.
        """
        after = self._clock.now() if after is None else after
        return fires(self.make(self._record(name)), after, count)

    def _status(self, record: ScheduleRecord) -> ScheduleStatus:
        declaration = self._project.schedules.get(record.name)
        declared = declaration is not None or record.declared is None
        return schedule_status(record, self.make, declared=declared, now=self._clock.now())

    def _record(self, name: str) -> ScheduleRecord:
        for record in self._store.schedules([name]):
            return self._as_declared(record)
        if name in self._project.schedules:
            return self._unborn(name)
        known = {*self._project.schedules, *(each.name for each in self._store.schedules())}
        hint = did_you_mean(name, known) or f"there are: {', '.join(sorted(known)) or 'none'}"
        raise NotFoundError(f"there is no schedule {name!r}", hint=hint, schedule=name)

    def _as_declared(self, record: ScheduleRecord) -> ScheduleRecord:
        """Return a schedule by what the file or the pipeline says now, as the next runner will."""
        declaration = self._project.schedules.get(record.name)
        if declaration is None:
            return record
        return replace(record, declared=declaration.spec, origin=declaration.where)

    def _unborn(self, name: str) -> ScheduleRecord:
        declaration = self._project.schedules[name]
        return ScheduleRecord.unborn(name, declaration.spec, declaration.where, self._clock.now())

    def _declare(self, name: str) -> None:
        """Make known what a file or a pipeline says of a schedule, before more is said of it."""
        self._record(name)
        if name in self._project.schedules:
            declare_schedules(self._store, [self.declared[name]], self.make, self._clock)

    def _edit(
        self, name: str, edits: Callable[[ScheduleRecord], ScheduleSpec | None]
    ) -> ScheduleStatus:
        """Replace what was said at run time by what is worked out from how it stands."""
        self._declare(name)
        for _ in range(EDIT_ATTEMPTS):
            record = self._store.schedule(name)
            wanted = edits(record)
            now = self._clock.now()
            skips: tuple[Skip, ...] = ()
            if timing(merged(record.declared, wanted)) != timing(record.spec):
                skips = missed(record, self.make, now)
            edited = self._store.edit_schedule(name, record.checkpoint.version, wanted, skips, now)
            if edited is not None:
                return self._status(edited)
        raise _unsettled(name)

    def _checked(self, options: ScheduleOptions) -> ScheduleDeclaration:
        project = self._project
        declaration, problems = declare_schedule(options, project.triggers, project.assets)
        if problems or declaration is None:
            raise ValidationError(problems)
        declared = project.schedules.get(options.name)
        kept = declared is not None and declared.own_trigger is declaration.own_trigger
        if declaration.own_trigger is not None and not kept:
            known = ", ".join(sorted(project.triggers))
            raise ValidationError(
                f"schedule {options.name!r}: its trigger must be one that a plugin provides "
                f"({known}): the store keeps the text that makes it; or change it where it is "
                "declared"
            )
        return declaration

    def _keep(self, checked: ScheduleDeclaration) -> None:
        if checked.partition_of is not None:
            self._functions[checked.name] = checked.partition_of

    def _options(self, record: ScheduleRecord) -> dict[str, object]:
        """Return the options of a schedule as they were declared."""
        options: dict[str, object] = {**record.spec}
        kind, text = str(options.pop("trigger")), options.pop("text")
        declaration = self._project.schedules.get(record.name)
        own = declaration.own_trigger if declaration is not None else None
        if own is not None and kind == type(own).__qualname__:
            del options["timezone"]
            kind, text = "trigger", own
        options[kind] = text
        if "partition_fn" in options:
            options["partition_fn"] = self._functions.get(record.name, options["partition_fn"])
        return options


def _unsettled(name: str) -> ConflictError:
    return ConflictError(f"schedule {name!r} changes all the time", hint="try it again")

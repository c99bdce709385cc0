"""Schedule factory: builds schedules from stored records and checks the options of new ones."""

from __future__ import annotations

from collections.abc import Mapping

from flowstone_core.config.declarations.schedule_declaration import (
    ScheduleDeclaration,
    ScheduleOptions,
    declare_schedule,
)
from flowstone_core.config.project import Project
from flowstone_core.errors import Problem, ValidationError, did_you_mean
from flowstone_core.scheduling.schedule import PartitionOf, Schedule, build
from flowstone_core.store import DeclaredSchedule, ScheduleRecord


class ScheduleFactory:
    """Factory of schedules; also keeps each ``partition_fn`` that this process was given.

    Args:
        project: Has the declarations, the assets and the triggers.
    """

    def __init__(self, project: Project) -> None:
        self._project = project
        self._functions: dict[str, PartitionOf] = {
            name: declaration.partition_of
            for name, declaration in project.schedules.items()
            if declaration.partition_of is not None
        }

    @property
    def declared(self) -> Mapping[str, DeclaredSchedule]:
        """The declarations of files and pipelines, by name."""
        return {
            name: DeclaredSchedule(name, declaration.spec, declaration.where)
            for name, declaration in self._project.schedules.items()
        }

    def make(self, record: ScheduleRecord) -> Schedule:
        """Build a schedule from its stored record.

        Raises:
            ValidationError: If this process cannot build it, for example because its trigger is not
                installed or no pipeline declares its asset.
        """
        if record.asset not in self._project.assets:
            hint = did_you_mean(record.asset, self._project.assets)
            raise ValidationError(Problem(f"no pipeline has its asset {record.asset!r}", hint=hint))
        declaration = self._project.schedules.get(record.name)
        return build(
            record.name,
            record.spec,
            self._project.triggers,
            self._functions.get(record.name),
            declaration.own_trigger if declaration is not None else None,
        )

    def check(self, options: ScheduleOptions) -> ScheduleDeclaration:
        """Check the options of a schedule that is added or changed at run time.

        Raises:
            ValidationError: If any option is invalid; lists every problem.
        """
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
                f"({known}), because the store keeps only its text; or change the declaration"
            )
        return declaration

    def remember(self, declaration: ScheduleDeclaration) -> None:
        """Keep the ``partition_fn`` of a schedule, if it has one."""
        if declaration.partition_of is not None:
            self._functions[declaration.name] = declaration.partition_of

    def forget(self, name: str) -> None:
        """Drop the ``partition_fn`` of a removed schedule."""
        self._functions.pop(name, None)

    def options(self, record: ScheduleRecord) -> ScheduleOptions:
        """Return the options of a stored schedule in the form that they were given in."""
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
        return ScheduleOptions(record.name, options)

"""A ``[flowstone:schedule:NAME]`` section, made into a schedule's declaration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from flowstone_core.config.declarations.schedule import (
    ScheduleDeclaration,
    ScheduleOptions,
    declare_schedule,
)
from flowstone_core.config.file.section import Section
from flowstone_core.config.import_string import load_reference
from flowstone_core.config.sections.values import conceal, field_values, places, strays, swallowed
from flowstone_core.errors import Problem, ValidationError
from flowstone_core.model.asset import AssetGraph
from flowstone_core.scheduling.schedule import Triggers
from flowstone_core.scheduling.settings import ScheduleSettings

_FUNCTION = "partition_fn"


@dataclass(frozen=True)
class ScheduleSections:
    """Reads schedule sections beside what there is.

    Attributes:
        triggers: The trigger classes there are.
        assets: All assets.
        declared: What pipelines say of schedules, by name.
        folder: Where ``partition_fn`` is imported from first.
    """

    triggers: Triggers
    assets: AssetGraph
    declared: Mapping[str, ScheduleOptions]
    folder: Path

    def declare(
        self, name: str, section: Section
    ) -> tuple[ScheduleDeclaration | None, list[Problem]]:
        """Make the declaration that a section asks for.

        A section of a schedule that a pipeline declares overrides the settings that it names.

        Returns:
            The declaration, and everything that is wrong; one of the two is empty.
        """
        known = {*ScheduleSettings.model_fields, *self.triggers, "asset", _FUNCTION}
        stray = dict(strays(section, known))
        problems = [*stray.values(), *swallowed(section, ScheduleSettings, known)]
        options = field_values(section, ScheduleSettings, leave={_FUNCTION, *stray})
        if _FUNCTION in section.settings:
            where, subject = section.where(_FUNCTION), f"{section.title} {_FUNCTION}"
            text = section.settings[_FUNCTION].value
            try:
                options[_FUNCTION] = load_reference(text, self.folder, where, subject)
            except ValidationError as error:
                problems += error.problems
        spoken = ScheduleOptions(name, options, section.where(), places(section))
        base = self.declared.get(name)
        if base is not None:
            spoken = base.overlaid(spoken, self.triggers)
        declaration, wrong = declare_schedule(spoken, self.triggers, self.assets, section.title)
        problems += wrong
        if problems:
            return None, [conceal(problem, section) for problem in problems]
        return declaration, []

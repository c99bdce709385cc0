"""Schedule sections: ``[flowstone:schedule:NAME]`` read into a schedule's declaration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from flowstone_core.config.declarations.schedule_declaration import (
    ScheduleDeclaration,
    ScheduleOptions,
    declare_schedule,
)
from flowstone_core.config.file.section import Section
from flowstone_core.config.import_string import load_reference
from flowstone_core.config.sections.section_reader import SectionReader, refine
from flowstone_core.errors import Problem, ValidationError
from flowstone_core.model.asset import AssetGraph
from flowstone_core.scheduling.schedule import Triggers
from flowstone_core.scheduling.settings import ScheduleSettings

_FUNCTION = "partition_fn"


@dataclass(frozen=True)
class ScheduleSections:
    """Reads the schedule sections of a project.

    Attributes:
        triggers: The installed trigger classes, by name.
        assets: All assets.
        declared: The options of the schedules that pipelines declare, by name.
        folder: The folder put first on ``sys.path`` to import ``partition_fn``.
    """

    triggers: Triggers
    assets: AssetGraph
    declared: Mapping[str, ScheduleOptions]
    folder: Path

    def declare(
        self, name: str, section: Section
    ) -> tuple[ScheduleDeclaration | None, list[Problem]]:
        """Build the declaration of one section.

        The settings of the section override those of a pipeline's schedule with the same name.

        Returns:
            The declaration, and all problems; one of the two is empty.
        """
        known = {*ScheduleSettings.model_fields, *self.triggers, "asset", _FUNCTION}
        reader = SectionReader(section, ScheduleSettings, known, exclude={_FUNCTION})
        problems, values = reader.problems, reader.values
        if _FUNCTION in section.settings:
            where, subject = section.where(_FUNCTION), f"{section.title} {_FUNCTION}"
            text = section.settings[_FUNCTION].value
            try:
                values[_FUNCTION] = load_reference(text, self.folder, where, subject)
            except ValidationError as error:
                problems += error.problems
        options = ScheduleOptions(name, values, section.where(), reader.places)
        base = self.declared.get(name)
        if base is not None:
            options = base.overlaid(options, self.triggers)
        declaration, wrong = declare_schedule(options, self.triggers, self.assets, section.title)
        problems += wrong
        if problems:
            return None, refine(problems, section)
        return declaration, []

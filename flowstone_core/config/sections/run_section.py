"""Run section: ``[flowstone]`` read into `RunSettings`, and the problems with its settings."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pydantic

from flowstone_core.config.declarations.problems import pydantic_problems
from flowstone_core.config.file.section import Section
from flowstone_core.config.run_settings import RunSettings
from flowstone_core.config.sections.section_reader import SectionReader, refine
from flowstone_core.errors import Problem

_SQLITE = "sqlite:///"


@dataclass(frozen=True)
class RunSection:
    """Reads the ``[flowstone]`` section, with the settings given in Python or on the command line.

    Attributes:
        section: The section; an empty one if the file has none.
        given: The settings that win over the file's.
        folder: The folder of the file, to which its SQLite path is relative; None without a file.
    """

    section: Section
    given: Mapping[str, object]
    folder: Path | None

    def settings(self) -> tuple[RunSettings, list[Problem]]:
        """Return the settings, with defaults in place of the invalid ones, and the problems."""
        section, given = self.section, self.given
        reader = SectionReader(section, RunSettings, RunSettings.model_fields, exclude=given)
        problems = reader.problems
        values = {**reader.values, **given}
        try:
            run = RunSettings.model_validate(values)
        except pydantic.ValidationError as error:
            places = {key: reader.places[key] for key in reader.values}
            found = pydantic_problems(error, RunSettings, "", "", places)
            in_file = [
                replace(problem, subject=f"{section.title} {problem.subject}")
                for problem in found
                if problem.where
            ]
            problems += refine(in_file, section)
            problems += (problem for problem in found if not problem.where)
            wrong = {item["loc"][0] for item in error.errors() if item["loc"]}
            sound = {key: value for key, value in values.items() if key not in wrong}
            run = RunSettings.model_validate(sound)
        return self._with_absolute_paths(run), problems

    def problem(self, key: str, message: str, hint: str = "") -> Problem:
        """Return a problem with a setting, whether the file or an argument gave its value."""
        return Problem(message, self.where(key), self.subject(key), hint)

    def where(self, key: str) -> str:
        """Return ``file:line`` of a setting; empty if the file does not give it."""
        return self.section.where(key) if key in self.section.settings else ""

    def subject(self, key: str) -> str:
        """Return the subject of a problem with a setting."""
        return f"{self.section.title} {key}" if key in self.section.settings else key

    def _with_absolute_paths(self, run: RunSettings) -> RunSettings:
        """Resolve a relative SQLite path of the file against the file's own folder."""
        path = run.store.removeprefix(_SQLITE)
        relative = path != run.store and path and not path.startswith((":memory:", "file:"))
        if not relative or self.folder is None or "store" in self.given:
            return run
        return run.model_copy(update={"store": _SQLITE + os.path.normpath(self.folder / path)})

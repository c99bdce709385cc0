"""Sensor sections: ``[flowstone:sensor:NAME]`` read into a sensor's declaration."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pydantic

from flowstone_core.config.declarations.problems import (
    missing_asset,
    name_problem,
    pydantic_problems,
)
from flowstone_core.config.declarations.sensor_declaration import declare_sensor
from flowstone_core.config.file.section import Section, Setting
from flowstone_core.config.import_string import load_reference
from flowstone_core.config.model_fields import takes_import
from flowstone_core.config.sections.section_reader import SectionReader, refine
from flowstone_core.errors import Problem, ValidationError, did_you_mean
from flowstone_core.model.asset import AssetGraph
from flowstone_core.model.sensor import SensorDeclaration, is_sensor_class
from flowstone_core.model.sensor_settings import SensorSettings
from flowstone_core.plugin.entry_points import PluginReport
from flowstone_core.plugin.registry import Plugins

USUAL_DISTRIBUTIONS = {
    "database_change": "flowstone-db",
    "database_rows": "flowstone-db",
    "postgres_notify": "flowstone-db",
    "s3_event_queue": "flowstone-s3",
    "s3_file_arrival": "flowstone-s3",
    "webhook": "flowstone-http",
}
"""The distribution that provides each well-known sensor type, for hints."""

_COMMON = frozenset(SensorSettings.model_fields)
_ELSEWHERE = frozenset({"type", "asset", "on_trigger"})


@dataclass(frozen=True)
class SensorSections:
    """Reads the sensor sections of a project.

    Attributes:
        plugins: The installed plugins, which provide the sensor classes.
        assets: All assets.
        declared: The sensors that pipelines declare, by name.
        folder: The folder put first on ``sys.path`` to import the functions of settings.
    """

    plugins: Plugins
    assets: AssetGraph
    declared: Mapping[str, SensorDeclaration]
    folder: Path = Path()

    def declare(
        self, name: str, section: Section
    ) -> tuple[SensorDeclaration | None, list[Problem]]:
        """Build the declaration of one section.

        A section without ``type`` overrides the common settings of a sensor that a pipeline
        declares.

        Args:
            name: The sensor's name.

        Returns:
            The declaration, and all problems; one of the two is empty.
        """
        kind, other = section.settings.get("type"), self.declared.get(name)
        if other is not None and kind is None:
            declaration, problems = _override(other, section)
        elif other is not None:
            hint = f"first declared at {other.where}; without 'type' this section overrides it"
            message = f"duplicate sensor {name!r}"
            declaration = None
            problems = [Problem(message, section.where("type"), section.title, hint)]
        else:
            declaration, problems = self._declare(name, section, kind)
        return declaration, refine(problems, section)

    def _declare(
        self, name: str, section: Section, kind: Setting | None
    ) -> tuple[SensorDeclaration | None, list[Problem]]:
        problems = list(self._asset_problems(section))
        provided = self.plugins.sensors.get(kind.value) if kind is not None else None
        sensor_class = provided.value if provided is not None else None
        if not is_sensor_class(sensor_class):
            wrong_name = name_problem(name, "sensor", section.where())
            problems += [wrong_name] if wrong_name is not None else []
            problems.append(
                self._no_type(name, section) if kind is None else self._unknown(kind, section)
            )
            return None, problems + _common_problems(section)
        model = sensor_class.Config
        known = {*_COMMON, *_ELSEWHERE, *model.model_fields}
        reader = SectionReader(section, model, known, exclude=_ELSEWHERE)
        problems += [*reader.swallowed, *reader.strays.values()]
        problems += self._load_functions(section, model, reader)
        asset = section.settings.get("asset")
        named = asset.value if asset is not None else None
        if "on_trigger" in section.settings:
            named = name
        declaration, wrong = declare_sensor(
            name,
            sensor_class,
            reader.values,
            # An unknown asset is reported already, at the line of its setting.
            assets=[*self.assets, *([named] if named is not None else [])],
            asset=named,
            where=section.where(),
            places=reader.places,
        )
        prefix = f"sensor {name!r:.210}"
        problems += (
            replace(problem, subject=problem.subject.replace(prefix, section.title, 1))
            for problem in wrong
        )
        if problems or declaration is None or kind is None:
            return None, problems
        return replace(declaration, type=kind.value), problems

    def _load_functions(
        self, section: Section, model: type[pydantic.BaseModel], reader: SectionReader
    ) -> list[Problem]:
        """Import the functions that settings name as ``module:name``; return what is wrong."""
        problems: list[Problem] = []
        for key, value in reader.values.items():
            if isinstance(value, str) and ":" in value and takes_import(model, key):
                where, subject = section.where(key), f"{section.title} {key}"
                try:
                    reader.values[key] = load_reference(value, self.folder, where, subject)
                except ValidationError as error:
                    problems += error.problems
                    reader.values[key] = _unloaded  # the other settings are checked all the same
        return problems

    def _asset_problems(self, section: Section) -> Iterator[Problem]:
        asset = section.settings.get("asset")
        if asset is not None and asset.value not in self.assets:
            subject = f"{section.title} asset"
            yield missing_asset(subject, asset.value, self.assets, section.where("asset"))

    def _no_type(self, name: str, section: Section) -> Problem:
        near = did_you_mean(name, self.declared)
        if near:
            near = f"to override a sensor of a pipeline: {near}"
        hint = near or f"write type = ...; known types: {self._known_types()}"
        return Problem("missing setting 'type'", section.where(), section.title, hint)

    def _unknown(self, kind: Setting, section: Section) -> Problem:
        where, subject = section.where("type"), f"{section.title} type"
        usual = USUAL_DISTRIBUTIONS.get(kind.value)
        for report in self.plugins.reports:
            if report.status != "ok" and (
                kind.value in report.sensors or report.distribution == usual
            ):
                message = f"sensor type {kind.shown!r} is unavailable: {_not_loaded(report)}"
                return Problem(message, where, subject, report.hint or "")
        hint = did_you_mean(kind.value, {*self.plugins.sensors, *USUAL_DISTRIBUTIONS})
        if usual is not None:
            hint = f"{usual} provides it: pip install {usual}"
        broken = next(
            (report for report in self.plugins.reports if report.status == "broken"), None
        )
        if not hint and broken is not None:
            hint = f"but {_not_loaded(broken)}"
        message = f"unknown sensor type {kind.shown!r:.120}"
        return Problem(message, where, subject, hint or f"known types: {self._known_types()}")

    def _known_types(self) -> str:
        return ", ".join(sorted(self.plugins.sensors)) or "none, no plugin provides any"


def _unloaded(*_: object) -> None:
    """Stand for a function that cannot be imported."""


def _not_loaded(report: PluginReport) -> str:
    return f"{report.owner} is {report.status}: {report.error or 'unknown reason'}"


def _override(
    declaration: SensorDeclaration, section: Section
) -> tuple[SensorDeclaration | None, list[Problem]]:
    reader = SectionReader(section, SensorSettings, _COMMON)
    problems = [*reader.swallowed, *reader.strays.values()]
    message = f"cannot be set here: the sensor is declared at {declaration.where}"
    allowed = f"a section without 'type' sets only {', '.join(sorted(_COMMON))}"
    for key in reader.values.keys() - _COMMON:
        hint = did_you_mean(key, _COMMON) or allowed
        problems.append(Problem(message, section.where(key), f"{section.title} {key}", hint))
    declared = declaration.settings.model_dump(exclude_unset=True)
    settings, wrong = _common(section, reader, declared)
    problems += wrong
    if problems or settings is None:
        return None, problems
    return replace(declaration, settings=settings), []


def _common_problems(section: Section) -> list[Problem]:
    """Return the problems with the common settings of a sensor whose type is unknown."""
    reader = SectionReader(section, SensorSettings, _COMMON | _ELSEWHERE)
    return [*_common(section, reader, {})[1], *reader.swallowed]


def _common(
    section: Section, reader: SectionReader, declared: Mapping[str, object]
) -> tuple[SensorSettings | None, list[Problem]]:
    values = {key: value for key, value in reader.values.items() if key in _COMMON}
    try:
        return SensorSettings.model_validate({**declared, **values}), []
    except pydantic.ValidationError as error:
        where, title = section.where(), section.title
        return None, pydantic_problems(error, SensorSettings, where, title, reader.places)

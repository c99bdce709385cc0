"""A ``[flowstone:sensor:NAME]`` section, made into a sensor's declaration."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import pydantic

from flowstone_core.config.declarations.problems import (
    missing_asset,
    name_problem,
    pydantic_problems,
)
from flowstone_core.config.declarations.sensor import declare_sensor
from flowstone_core.config.file.section import Section, Setting
from flowstone_core.config.sections.values import conceal, field_values, places, strays, swallowed
from flowstone_core.errors import Problem, did_you_mean
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
"""The distributions that provide the sensor types people will ask for."""

_COMMON = frozenset(SensorSettings.model_fields)
_OWN = frozenset({"type", "asset", "on_trigger"})


@dataclass(frozen=True)
class SensorSections:
    """Reads sensor sections beside what there is.

    Attributes:
        plugins: What provides sensor classes.
        assets: All assets.
        declared: The sensors that pipelines declare, by name.
    """

    plugins: Plugins
    assets: AssetGraph
    declared: Mapping[str, SensorDeclaration]

    def declare(
        self, name: str, section: Section
    ) -> tuple[SensorDeclaration | None, list[Problem]]:
        """Make the declaration that a section asks for.

        A section without ``type`` overrides, of a sensor that a pipeline declares, the settings
        every sensor has.

        Args:
            name: The sensor's name.

        Returns:
            The declaration, and everything that is wrong; one of the two is empty.
        """
        kind, other = section.settings.get("type"), self.declared.get(name)
        if other is not None and kind is None:
            declaration, problems = _override(other, section)
        elif other is not None:
            hint = f"the other is at {other.where}; without 'type' this section overrides it"
            message = f"there is already a sensor {name!r}"
            declaration = None
            problems = [Problem(message, section.where("type"), section.title, hint)]
        else:
            declaration, problems = self._declare(name, section, kind)
        return declaration, [conceal(problem, section) for problem in problems]

    def _declare(
        self, name: str, section: Section, kind: Setting | None
    ) -> tuple[SensorDeclaration | None, list[Problem]]:
        problems = list(self._asset_problems(section))
        provided = self.plugins.sensors.get(kind.value) if kind is not None else None
        sensor_class = provided.value if provided is not None else None
        if not is_sensor_class(sensor_class):
            wrong_name = name_problem(name, "a sensor", section.where())
            problems += [wrong_name] if wrong_name is not None else []
            problems.append(
                self._no_type(name, section) if kind is None else self._unknown(kind, section)
            )
            return None, problems + _common_problems(section)
        model = sensor_class.Config
        known = {*_COMMON, *_OWN, *model.model_fields}
        problems += swallowed(section, model, known)
        stray = dict(strays(section, known))
        problems += stray.values()
        asset = section.settings.get("asset")
        named = asset.value if asset is not None else None
        if "on_trigger" in section.settings:
            named = name
        declaration, wrong = declare_sensor(
            name,
            sensor_class,
            field_values(section, model, leave={*_OWN, *stray}),
            assets=self.assets,
            asset=named if named in self.assets else None,
            where=section.where(),
            places=places(section),
        )
        prefix = f"sensor {name!r:.210}"
        problems += (
            replace(problem, subject=problem.subject.replace(prefix, section.title, 1))
            for problem in wrong
        )
        if problems or declaration is None or kind is None:
            return None, problems
        return replace(declaration, type=kind.value), problems

    def _asset_problems(self, section: Section) -> Iterator[Problem]:
        asset = section.settings.get("asset")
        if asset is not None and asset.value not in self.assets:
            problem = missing_asset("it is for", asset.value, self.assets, section.where("asset"))
            yield replace(problem, subject=f"{section.title} asset")

    def _no_type(self, name: str, section: Section) -> Problem:
        near = did_you_mean(name, self.declared)
        if near:
            near = f"it overrides a sensor of a pipeline: {near}"
        hint = near or f"write type = ...; known types: {self._known_types()}"
        return Problem("the setting 'type' is missing", section.where(), section.title, hint)

    def _unknown(self, kind: Setting, section: Section) -> Problem:
        where, subject = section.where("type"), f"{section.title} type"
        usual = USUAL_DISTRIBUTIONS.get(kind.value)
        for report in self.plugins.reports:
            if report.status != "ok" and (
                kind.value in report.sensors or report.distribution == usual
            ):
                message = f"the type {kind.shown!r} is not available: {_not_loaded(report)}"
                return Problem(message, where, subject, report.hint or "")
        hint = did_you_mean(kind.value, {*self.plugins.sensors, *USUAL_DISTRIBUTIONS})
        if usual is not None:
            hint = f"it comes with {usual}: pip install {usual}"
        broken = next(
            (report for report in self.plugins.reports if report.status == "broken"), None
        )
        if not hint and broken is not None:
            hint = f"but {_not_loaded(broken)}"
        message = f"no installed plugin provides a sensor type {kind.shown!r:.120}"
        return Problem(message, where, subject, hint or f"known types: {self._known_types()}")

    def _known_types(self) -> str:
        return ", ".join(sorted(self.plugins.sensors)) or "none, no plugin provides any"


def _not_loaded(report: PluginReport) -> str:
    whose = f"plugin {report.name!r} of {report.distribution} {report.version}"
    return f"{whose} is {report.status}: {report.error or 'no reason is known'}"


def _override(
    declaration: SensorDeclaration, section: Section
) -> tuple[SensorDeclaration | None, list[Problem]]:
    problems = list(swallowed(section, SensorSettings, _COMMON))
    stray = dict(strays(section, _COMMON))
    problems += stray.values()
    message = f"it cannot be set here: the sensor is declared at {declaration.where}"
    allowed = f"a section without 'type' sets only {', '.join(sorted(_COMMON))}"
    for key in section.settings.keys() - _COMMON - stray.keys():
        hint = did_you_mean(key, _COMMON) or allowed
        problems.append(Problem(message, section.where(key), f"{section.title} {key}", hint))
    settings, wrong = _common(section, declaration.settings.model_dump(exclude_unset=True))
    problems += wrong
    if problems or settings is None:
        return None, problems
    return replace(declaration, settings=settings), []


def _common_problems(section: Section) -> list[Problem]:
    """Say what can be said of a sensor whose type is not known."""
    problems = _common(section, {})[1]
    return [*problems, *swallowed(section, SensorSettings, _COMMON | _OWN)]


def _common(
    section: Section, declared: Mapping[str, object]
) -> tuple[SensorSettings | None, list[Problem]]:
    texts = field_values(section, SensorSettings, leave=section.settings.keys() - _COMMON)
    try:
        return SensorSettings.model_validate({**declared, **texts}), []
    except pydantic.ValidationError as error:
        where, title = section.where(), section.title
        return None, pydantic_problems(error, SensorSettings, where, title, places(section))

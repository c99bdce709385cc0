"""Validation: a configuration, pipelines and plugins joined into a project, or all problems.

`validate` goes on after each problem with what is sound, so that one run reports everything.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from flowstone_core.config.declarations.asset_declaration import declare_handler
from flowstone_core.config.declarations.problems import duplicate
from flowstone_core.config.declarations.schedule_declaration import (
    ScheduleDeclaration,
    ScheduleOptions,
    declare_schedule,
)
from flowstone_core.config.declarations.slow_requests import slow_requests
from flowstone_core.config.file.reader import Config, hidden_in_urls
from flowstone_core.config.file.section import Section
from flowstone_core.config.file.text_file import shown_path
from flowstone_core.config.import_string import load_reference
from flowstone_core.config.pickling import asset_pickling_problems, sensor_pickling_problems
from flowstone_core.config.pipeline import Pipeline
from flowstone_core.config.project import Project
from flowstone_core.config.run_settings import RunSettings
from flowstone_core.config.sections.oddities import oddities
from flowstone_core.config.sections.run_section import RunSection
from flowstone_core.config.sections.schedule_section import ScheduleSections
from flowstone_core.config.sections.section_reader import refine
from flowstone_core.config.sections.sensor_section import SensorSections
from flowstone_core.errors import Problem, ValidationError, did_you_mean
from flowstone_core.model.asset import Asset, AssetGraph
from flowstone_core.model.engine import Engine
from flowstone_core.model.redaction import Redactor, secrets_of
from flowstone_core.model.sensor import SensorDeclaration
from flowstone_core.plugin.discovery import discover
from flowstone_core.plugin.labels import normalized_name
from flowstone_core.plugin.pipeline_hooks import with_pipeline_hooks
from flowstone_core.plugin.registry import Plugins
from flowstone_core.scheduling.schedule import Triggers

_LINE = re.compile(r":(\d+)$")
_Declared = TypeVar("_Declared", SensorDeclaration, ScheduleOptions)


def validate(
    config: Config,
    *,
    pipelines: Sequence[Pipeline] = (),
    overrides: Mapping[str, object] | None = None,
    plugins: Plugins | None = None,
) -> Project:
    """Check everything at once.

    Imports the pipelines that the configuration names, with the folder of its file first on
    ``sys.path``. Called in the main thread.

    Args:
        config: The configuration file as read.
        pipelines: The pipelines declared in Python.
        overrides: Settings of the ``[flowstone]`` section that win over the file's, from Python
            or the command line; a value of None counts as not given.
        plugins: The installed plugins; discovered if None.

    Raises:
        ValidationError: If anything is wrong; lists every problem, without any secret.
    """
    given = {key: value for key, value in (overrides or {}).items() if value is not None}
    return _Checks(config, given).project(pipelines, plugins)


def _redacted(problem: Problem, redactor: Redactor) -> Problem:
    return replace(
        problem,
        message=redactor(problem.message),
        subject=redactor(problem.subject),
        hint=redactor(problem.hint),
    )


class _Checks:
    """The checks of one validation, and the problems and warnings they found."""

    def __init__(self, config: Config, given: Mapping[str, object]) -> None:
        self.config = config
        folder = config.file and config.file.parent
        self.run = RunSection(config.run or Section("flowstone", 0), given, folder)
        self.problems = list(config.problems)
        self.warnings = list(config.warnings)
        # A setting that could not be read is not validated too: one problem is enough.
        self._misread = {problem.where for problem in config.problems}

    def project(self, given: Sequence[Pipeline], plugins: Plugins | None) -> Project:
        """Make all checks; return the project, or raise every problem in order."""
        run = self.run_settings()
        if plugins is None:
            plugins = discover(allow=run.plugins)
        self.plugins(run, plugins)
        self.warnings += oddities(self.config, plugins)
        engine = self.engine(run, plugins)
        pipelines = self.pipelines(run, given)
        hooks = with_pipeline_hooks(plugins, [each.module for each in pipelines])
        self._add(hooks.problems)
        self.warnings += hooks.warnings
        assets = self.assets(pipelines)
        declared = self.declared(pipelines)
        sensors = self.sensors(SensorSections(plugins, assets, declared, self.folder))
        self.warnings += slow_requests(sensors.values())
        triggers = plugins.trigger_classes
        schedules = self.schedules(pipelines, triggers, assets)
        redactor = self.redactor(run, sensors.values())
        if self.problems or engine is None:
            raise ValidationError([_redacted(problem, redactor) for problem in self.in_order()])
        warnings = tuple(_redacted(problem, redactor) for problem in self.warnings)
        return Project(
            self.config.file,
            run,
            assets,
            sensors,
            schedules,
            triggers,
            hooks.plugins,
            redactor,
            warnings,
            engine,
        )

    def _add(self, problems: Iterable[Problem]) -> None:
        self.problems += (problem for problem in problems if problem.where not in self._misread)

    @property
    def folder(self) -> Path:
        """The folder put first on ``sys.path`` to import the user's modules."""
        return (self.config.file or Path("setup.cfg")).absolute().parent

    def run_settings(self) -> RunSettings:
        """Return the settings of the ``[flowstone]`` section, defaults for the invalid ones."""
        settings, problems = self.run.settings()
        self._add(problems)
        return settings

    def plugins(self, run: RunSettings, plugins: Plugins) -> None:
        """Check the list of allowed distributions; a broken plugin is only a warning."""
        installed = {normalized_name(report.distribution) for report in plugins.reports}
        for name in run.plugins or ():
            if normalized_name(name) not in installed:
                hint = "write one distribution a line, without commas"
                if re.fullmatch(r"[\w.-]+", name):
                    near = did_you_mean(normalized_name(name), installed)
                    hint = near or f"pip install {name}"
                message = f"unknown distribution {name!r:.120}: it has no installed plugin"
                self._add([self.run.problem("plugins", message, hint)])
        for report in plugins.reports:
            if report.status == "broken":
                message = f"broken: {report.error}"
                self.warnings.append(Problem(message, "", report.owner, report.hint or ""))

    def engine(self, run: RunSettings, plugins: Plugins) -> type[Engine] | None:
        """Return the engine's class, or None if no plugin provides it."""
        provided = plugins.engines.get(run.engine)
        if provided is not None and issubclass(provided.value, Engine):
            return provided.value
        known = ", ".join(sorted(plugins.engines)) or "none"
        hint = did_you_mean(run.engine, plugins.engines) or f"known: {known}"
        message = f"unknown engine {run.engine!r:.120}"
        self._add([self.run.problem("engine", message, hint)])
        return None

    def pipelines(self, run: RunSettings, given: Sequence[Pipeline]) -> list[Pipeline]:
        """Import the pipelines of the configuration; those given in Python come first."""
        found: list[Pipeline] = []
        folder = self.folder
        where, subject = self.run.where("pipelines"), self.run.subject("pipelines")
        named: list[tuple[str, object]] = [("an argument", pipeline) for pipeline in given]
        for text in run.pipelines:
            try:
                named.append((text, load_reference(text, folder, where, subject)))
            except ValidationError as error:
                self._add(refine(error.problems, self.run.section))
        for text, value in named:
            if not isinstance(value, Pipeline):
                message = f"{text} is not a Pipeline, but of type {type(value).__qualname__}"
                self._add([self.run.problem("pipelines", message)])
            elif value not in found:
                found.append(value)
        return found

    def assets(self, pipelines: Iterable[Pipeline]) -> AssetGraph:
        """Join the assets and the ``on_trigger`` functions; the first of each name counts."""
        joined = [asset for pipeline in pipelines for asset in pipeline.assets.values()]
        joined += self._handlers({asset.name: asset for asset in joined})
        self._add(problem for asset in joined for problem in asset_pickling_problems(asset))
        try:
            return AssetGraph(joined)
        except ValidationError as error:
            self._add(error.problems)
        first: dict[str, Asset] = {}
        for asset in joined:
            first.setdefault(asset.name, asset)
        return AssetGraph(first.values())

    def _handlers(self, known: Mapping[str, Asset]) -> Iterator[Asset]:
        """Import the functions that sensor sections name as ``on_trigger``."""
        for name, section in self.config.sensors:
            setting = section.settings.get("on_trigger")
            if setting is None or "type" not in section.settings:
                continue
            where, subject = section.where("on_trigger"), f"{section.title} on_trigger"
            try:
                function = load_reference(setting.value, self.folder, where, subject)
            except ValidationError as error:
                self._add(refine(error.problems, section))
                continue
            asset = section.settings.get("asset")
            named = None if asset is None else asset.value
            handler, problems = declare_handler(function, name, named, known, where)
            self._add(replace(problem, subject=subject) for problem in problems)
            if handler is not None:
                yield handler

    def declared(self, pipelines: Iterable[Pipeline]) -> dict[str, SensorDeclaration]:
        """Join the sensors that pipelines declare; the first of each name counts."""
        return self._first("sensor", (pipeline.sensors for pipeline in pipelines))

    def sensors(self, sections: SensorSections) -> dict[str, SensorDeclaration]:
        """Return all sensors: those of pipelines, then those of the file in its order."""
        found = dict(sections.declared)
        for name, section in self.config.sensors:
            declaration, problems = sections.declare(name, section)
            self._add(problems)
            if declaration is not None:
                found[name] = declaration
        self._add(problem for each in found.values() for problem in sensor_pickling_problems(each))
        return found

    def schedules(
        self, pipelines: Iterable[Pipeline], triggers: Triggers, assets: AssetGraph
    ) -> dict[str, ScheduleDeclaration]:
        """Return all schedules: those of pipelines, then those of the file in its order."""
        declared = self._first("schedule", (pipeline.schedules for pipeline in pipelines))
        sections = ScheduleSections(triggers, assets, declared, self.folder)
        in_file = dict(self.config.schedules)
        results = [
            declare_schedule(options, triggers, assets)
            for name, options in declared.items()
            if name not in in_file
        ]
        results += [sections.declare(name, section) for name, section in in_file.items()]
        found: dict[str, ScheduleDeclaration] = {}
        for declaration, problems in results:
            self._add(problems)
            if declaration is not None:
                found[declaration.name] = declaration
        return found

    def _first(
        self, kind: str, declared: Iterable[Mapping[str, _Declared]]
    ) -> dict[str, _Declared]:
        """Return the first declaration of each name; the others are problems."""
        found: dict[str, _Declared] = {}
        for items in declared:
            for name, item in items.items():
                first = found.setdefault(name, item)
                if first is not item:
                    self._add([duplicate(f"{kind} {name!r}", item.where, first.where)])
        return found

    def redactor(self, run: RunSettings, sensors: Iterable[SensorDeclaration]) -> Redactor:
        """Return the redactor of every secret of the configuration and the environment."""
        return Redactor(
            [
                *hidden_in_urls(run.store),
                *(secret for sensor in sensors for secret in sensor.secrets),
                *self._secrets(),
                *secrets_of(os.environ),
            ]
        )

    def _secrets(self) -> Iterator[str]:
        named = (*self.config.sensors, *self.config.schedules)
        for section in (self.run.section, *(section for _, section in named)):
            for setting in section.settings.values():
                yield from setting.secrets

    def in_order(self) -> list[Problem]:
        """Return each problem once, sorted by line for those of the file."""
        file = self.config.file and shown_path(self.config.file)

        def position(problem: Problem) -> tuple[bool, int]:
            match = _LINE.search(problem.where)
            own = match is not None and problem.where[: match.start()] == file
            return not own, int(match[1]) if own and match is not None else 0

        return sorted(dict.fromkeys(self.problems), key=position)

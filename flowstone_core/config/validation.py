"""A configuration, pipelines and plugins put together: settings to run with, or all problems."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pydantic

from flowstone_core.config.declarations.asset import declare_handler
from flowstone_core.config.declarations.problems import pydantic_problems
from flowstone_core.config.declarations.schedule import (
    ScheduleDeclaration,
    ScheduleOptions,
    declare_schedule,
)
from flowstone_core.config.file.reader import Config, hidden_in_urls
from flowstone_core.config.file.section import Section
from flowstone_core.config.file.text_file import shown_path
from flowstone_core.config.import_string import load_reference
from flowstone_core.config.pipeline import Pipeline
from flowstone_core.config.project import Project
from flowstone_core.config.run_settings import RunSettings
from flowstone_core.config.sections.run import _anchored
from flowstone_core.config.sections.schedule import ScheduleSections
from flowstone_core.config.sections.sensor import SensorSections
from flowstone_core.config.sections.values import conceal, field_values, places, strays, swallowed
from flowstone_core.errors import Problem, ValidationError, did_you_mean
from flowstone_core.model.asset import Asset, AssetGraph
from flowstone_core.model.engine import Engine
from flowstone_core.model.redaction import Redactor
from flowstone_core.model.sensor import SensorDeclaration
from flowstone_core.plugin.contributions import is_trigger_class
from flowstone_core.plugin.discovery import discover
from flowstone_core.plugin.registry import Plugins
from flowstone_core.scheduling.schedule import Triggers

_LINE = re.compile(r":(\d+)$")


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
        pipelines: Those declared in Python.
        overrides: Settings of the ``[flowstone]`` section that win over the file's, from Python
            or the command line; None stands for one that is not given.
        plugins: What is installed; looked for if it is not given.

    Raises:
        ValidationError: If anything is wrong; lists everything that is, without any secret.
    """
    given = {key: value for key, value in (overrides or {}).items() if value is not None}
    checks = _Checks(config)
    run = checks.run_settings(given)
    if config.file is not None and "store" not in given:
        run = run.model_copy(update={"store": _anchored(run.store, config.file.parent)})
    if plugins is None:
        plugins = discover(allow=run.plugins)
    checks.plugins(run, plugins)
    engine = checks.engine(run, plugins)
    found = checks.pipelines(run, pipelines)
    assets = checks.assets(found)
    sensors = checks.sensors(SensorSections(plugins, assets, checks.declared(found)))
    triggers = installed_triggers(plugins)
    schedules = checks.schedules(found, triggers, assets)
    redactor = checks.redactor(run, sensors.values())
    if checks.problems or engine is None:
        raise ValidationError([_redacted(problem, redactor) for problem in checks.in_order()])
    warnings = tuple(_redacted(problem, redactor) for problem in checks.warnings)
    return Project(
        config.file,
        run,
        assets,
        sensors,
        schedules,
        triggers,
        plugins,
        redactor,
        warnings,
        engine,
    )


def installed_triggers(plugins: Plugins) -> Triggers:
    """Return the trigger classes that plugins provide, by name."""
    return {
        name: provided.value
        for name, provided in plugins.triggers.items()
        if is_trigger_class(provided.value)
    }


def _redacted(problem: Problem, redactor: Redactor) -> Problem:
    return replace(
        problem,
        message=redactor(problem.message),
        subject=redactor(problem.subject),
        hint=redactor(problem.hint),
    )


class _Checks:
    """Goes on after a problem with what is sound, so that every problem is found."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.section = config.run or Section("flowstone", 0)
        self.problems = list(config.problems)
        self.warnings = list(config.warnings)
        # A setting that could not be read is not judged as well.
        self._misread = {problem.where for problem in config.problems}

    def _add(self, problems: Iterable[Problem]) -> None:
        self.problems += (problem for problem in problems if problem.where not in self._misread)

    def _problem(self, key: str, message: str, hint: str = "") -> None:
        """Add a problem with a setting of the section, wherever its value came from."""
        self._add([Problem(message, self._where(key), self._subject(key), hint)])

    def _where(self, key: str) -> str:
        return self.section.where(key) if key in self.section.settings else ""

    def _subject(self, key: str) -> str:
        return f"{self.section.title} {key}" if key in self.section.settings else key

    @property
    def folder(self) -> Path:
        """Where the user's own modules are imported from first."""
        return (self.config.file or Path("setup.cfg")).absolute().parent

    def run_settings(self, given: Mapping[str, object]) -> RunSettings:
        """Return the settings that are sound, the defaults for the others."""
        section, known = self.section, RunSettings.model_fields
        stray = dict(strays(section, known))
        self._add([*stray.values(), *swallowed(section, RunSettings, known)])
        own = field_values(section, RunSettings, leave={*given, *stray})
        try:
            return RunSettings.model_validate({**own, **given})
        except pydantic.ValidationError as error:
            found = places(section)
            in_file = {key: found[key] for key in own}
            problems = pydantic_problems(error, RunSettings, "", "", in_file)
            wrong = {item["loc"][0] for item in error.errors() if item["loc"]}
        self._add(
            conceal(replace(problem, subject=f"{section.title} {problem.subject}"), section)
            if problem.where
            else problem
            for problem in problems
        )
        sound = {key: value for key, value in {**own, **given}.items() if key not in wrong}
        return RunSettings.model_validate(sound)

    def plugins(self, run: RunSettings, plugins: Plugins) -> None:
        """Check the list of allowed distributions; a broken plugin is only a warning."""
        installed = {_normal(report.distribution): report for report in plugins.reports}
        for name in run.plugins or ():
            if _normal(name) not in installed:
                one = re.fullmatch(r"[\w.-]+", name)
                otherwise = f"pip install {name}" if one else "write one distribution a line"
                hint = did_you_mean(_normal(name), installed) or otherwise
                message = f"no plugin of a distribution {name!r:.120} is installed"
                self._problem("plugins", message, hint)
        for report in plugins.reports:
            if report.status == "broken":
                whose = f"plugin {report.name!r} of {report.distribution} {report.version}"
                message = f"it is broken: {report.error}"
                self.warnings.append(Problem(message, "", whose, report.hint or ""))

    def engine(self, run: RunSettings, plugins: Plugins) -> type[Engine] | None:
        """Find the engine's class."""
        provided = plugins.engines.get(run.engine)
        if provided is not None and issubclass(provided.value, Engine):
            return provided.value
        known = ", ".join(sorted(plugins.engines)) or "none"
        hint = did_you_mean(run.engine, plugins.engines) or f"known: {known}"
        message = f"no installed plugin provides an engine {run.engine!r:.120}"
        self._problem("engine", message, hint)
        return None

    def pipelines(self, run: RunSettings, given: Sequence[Pipeline]) -> list[Pipeline]:
        """Import the pipelines of the configuration; those given come first."""
        found: list[Pipeline] = []
        folder = self.folder
        where, subject = self._where("pipelines"), self._subject("pipelines")
        named: list[tuple[str, object]] = [("an argument", pipeline) for pipeline in given]
        for text in run.pipelines:
            try:
                named.append((text, load_reference(text, folder, where, subject)))
            except ValidationError as error:
                self._add(error.problems)
        for text, value in named:
            if not isinstance(value, Pipeline):
                kind = type(value).__qualname__
                self._problem("pipelines", f"{text} is no Pipeline, but of type {kind}")
            elif value not in found:
                found.append(value)
        return found

    def assets(self, pipelines: Iterable[Pipeline]) -> AssetGraph:
        """Join the assets, the functions that sensors name included; the first of a name counts."""
        joined = [asset for pipeline in pipelines for asset in pipeline.assets.values()]
        joined += self._handlers({asset.name: asset for asset in joined})
        self._add(problem for asset in joined for problem in _process_problems(asset))
        try:
            return AssetGraph(joined)
        except ValidationError as error:
            self._add(error.problems)
        first: dict[str, Asset] = {}
        for asset in joined:
            first.setdefault(asset.name, asset)
        return AssetGraph(first.values())

    def _handlers(self, known: Mapping[str, Asset]) -> Iterator[Asset]:
        """Import what sensors of the file name as ``on_trigger``."""
        for name, section in self.config.sensors:
            setting = section.settings.get("on_trigger")
            if setting is None or "type" not in section.settings:
                continue
            where, subject = section.where("on_trigger"), f"{section.title} on_trigger"
            try:
                function = load_reference(setting.value, self.folder, where, subject)
            except ValidationError as error:
                self._add(error.problems)
                continue
            asset = section.settings.get("asset")
            named = None if asset is None else asset.value
            handler, problems = declare_handler(function, name, named, known, where)
            self._add(replace(problem, subject=subject) for problem in problems)
            if handler is not None:
                yield handler

    def declared(self, pipelines: Iterable[Pipeline]) -> dict[str, SensorDeclaration]:
        """Join the sensors that pipelines declare; the first of a name counts."""
        found: dict[str, SensorDeclaration] = {}
        for pipeline in pipelines:
            for name, sensor in pipeline.sensors.items():
                first = found.setdefault(name, sensor)
                if first is not sensor:
                    message = f"there is already a sensor {name!r}"
                    hint = f"the other one is at {first.where}"
                    self._add([Problem(message, sensor.where, hint=hint)])
        return found

    def sensors(self, sections: SensorSections) -> dict[str, SensorDeclaration]:
        """Return all sensors, those of the file in its order after those of pipelines."""
        found = dict(sections.declared)
        for name, section in self.config.sensors:
            declaration, problems = sections.declare(name, section)
            self._add(problems)
            if declaration is not None:
                found[name] = declaration
        self._add(problem for each in found.values() for problem in _isolation_problems(each))
        return found

    def schedules(
        self, pipelines: Iterable[Pipeline], triggers: Triggers, assets: AssetGraph
    ) -> dict[str, ScheduleDeclaration]:
        """Return all schedules, those of the file in its order after those of pipelines."""
        spoken: dict[str, ScheduleOptions] = {}
        for pipeline in pipelines:
            for name, other in pipeline.schedules.items():
                first = spoken.setdefault(name, other)
                if first is not other:
                    message = f"there is already a schedule {name!r}"
                    hint = f"the other one is at {first.where}"
                    self._add([Problem(message, other.where, hint=hint)])
        sections = ScheduleSections(triggers, assets, spoken, self.folder)
        in_file = dict(self.config.schedules)
        results = [
            declare_schedule(each, triggers, assets)
            for name, each in spoken.items()
            if name not in in_file
        ]
        results += [sections.declare(name, section) for name, section in in_file.items()]
        found: dict[str, ScheduleDeclaration] = {}
        for declaration, problems in results:
            self._add(problems)
            if declaration is not None:
                found[declaration.name] = declaration
        return found

    def redactor(self, run: RunSettings, sensors: Iterable[SensorDeclaration]) -> Redactor:
        """Return what hides every secret that the configuration holds."""
        return Redactor(
            [
                *hidden_in_urls(run.store),
                *(secret for sensor in sensors for secret in sensor.secrets),
                *self._secrets(),
            ]
        )

    def _secrets(self) -> Iterator[str]:
        named = (*self.config.sensors, *self.config.schedules)
        for section in (self.section, *(section for _, section in named)):
            for setting in section.settings.values():
                yield from setting.secrets

    def in_order(self) -> list[Problem]:
        """Return the problems without repetition, those of the file in the order of its lines."""
        file = self.config.file and shown_path(self.config.file)

        def position(problem: Problem) -> tuple[bool, int]:
            match = _LINE.search(problem.where)
            own = match is not None and problem.where[: match.start()] == file
            return not own, int(match[1]) if own and match is not None else 0

        return sorted(dict.fromkeys(self.problems), key=position)


def _process_problems(asset: Asset) -> Iterator[Problem]:
    if asset.run_in == "thread":
        return
    from flowstone_core.config.pickling import send_problem

    wrong = send_problem(asset.function)
    if wrong is not None:
        subject = f"asset {asset.name!r} run_in"
        hint = "its function must be found, under its own name, at the top level of a module"
        yield Problem(f"it cannot be sent to a process: {wrong}", asset.where, subject, hint)


def _isolation_problems(sensor: SensorDeclaration) -> Iterator[Problem]:
    if sensor.settings.isolation == "thread":
        return
    from flowstone_core.config.pickling import send_problem

    wrong = send_problem(sensor.sensor_class, sensor.config)
    if wrong is not None:
        subject = f"sensor {sensor.name!r} isolation"
        hint = "its class, and all in its settings, must be found at the top level of a module"
        yield Problem(f"it cannot be sent to a process: {wrong}", sensor.where, subject, hint)


def _normal(distribution: str) -> str:
    return re.sub(r"[-_.]+", "-", distribution).lower()

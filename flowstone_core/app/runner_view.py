"""Runner view: which runners are blocked, and which settings they have loaded.

A runner reads its configuration when it starts. The files may change meanwhile: then it polls
with the old settings, and a listing must not show the new ones as if they were in use.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from typing import cast

from flowstone_core.app.status import SensorHealth, SensorStatus, sensor_status
from flowstone_core.config.project import Project
from flowstone_core.config.settings_reference import given_settings, schedule_settings
from flowstone_core.errors import ValidationError
from flowstone_core.model.duration import parse_duration
from flowstone_core.model.sensor import SensorDeclaration
from flowstone_core.runtime.coordination.tickable import Tickable
from flowstone_core.scheduling.schedule import ScheduleSpec
from flowstone_core.store import ScheduleRecord, SensorRecord, Store

ADDED = "added on disk"
REMOVED = "removed on disk"

_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
"""In the text of an object: another one in each process."""

LoadedSensors = Mapping[str, Mapping[str, str]]
"""The settings of each sensor, as texts without secrets, by name."""


def dump_loaded(project: Project) -> str:
    """Return the settings that a runner of the project has loaded, as JSON."""
    sensors = {name: _settings(each, project) for name, each in project.sensors.items()}
    return json.dumps({"sensors": sensors, "tickable": tickable_of(project).dump()})


def tickable_of(project: Project) -> Tickable:
    """Return the names of all that a runner of the project is able to tick."""
    enabled = (name for name, each in project.sensors.items() if each.settings.enabled)
    return Tickable.of(enabled, project.schedules, project.assets)


class RunnerView:
    """The living runners that tick, as the statuses of sensors show them.

    Args:
        store: The store.
        project: What the files and pipelines declare now.
        now: The current time.
    """

    def __init__(self, store: Store, project: Project, now: datetime) -> None:
        self.runners = [each for each in store.runners.all(alive_at=now) if each.ticks]
        self._project = project
        self._blocked = {each.id for each in self.runners if each.blocked}
        found = store.runners.loaded(now)
        self._loaded = {runner: _parse(text) for runner, text in found.items()}

    def status(self, name: str, record: SensorRecord | None) -> SensorStatus:
        """Return the status of a sensor, with the settings that its runner has loaded."""
        declaration = self._project.sensors.get(name)
        sensors = self._sensors_of(record)
        if sensors is None:
            return sensor_status(name, declaration, record)
        loaded = sensors.get(name)
        if declaration is None or loaded is None:
            status = sensor_status(name, declaration, record)
            changed = () if loaded is None and declaration is None else (ADDED,)
            return replace(status, not_loaded=(REMOVED,) if loaded is not None else changed)
        in_use = _as_loaded(declaration, loaded)
        status = sensor_status(name, in_use, record)
        if status.health in {SensorHealth.OK, SensorHealth.NEW} and status.owner in self._blocked:
            status = replace(status, health=SensorHealth.BLOCKED)
        changes = _changes(_settings(declaration, self._project), loaded)
        return replace(status, not_loaded=tuple(changes))

    def _sensors_of(self, record: SensorRecord | None) -> LoadedSensors | None:
        """Return what the owner of a sensor has loaded, or else the runner that started last."""
        owner = None if record is None else record.owner
        if owner in self._loaded:
            return self._loaded[owner]
        loaded = [self._loaded[each.id] for each in self.runners if each.id in self._loaded]
        return loaded[-1] if loaded else None


def schedule_changes(
    record: ScheduleRecord, spec: ScheduleSpec | None, project: Project
) -> tuple[str, ...]:
    """Return the changes on disk of a schedule that no runner has loaded.

    Args:
        record: The schedule as stored: a runner that starts stores what it has loaded.
        spec: What the files and pipelines declare now; None if they do not declare it.
        project: The project; hides secrets.
    """
    if record.declared is None:  # it was added at run time
        return ()
    if spec is None:
        return (REMOVED,)
    loaded = schedule_settings(record.declared, project.redactor)
    return tuple(_changes(schedule_settings(spec, project.redactor), loaded))


def _settings(declaration: SensorDeclaration, project: Project) -> dict[str, str]:
    given = given_settings(declaration, project.redactor, defaults=True)
    texts = {"type": declaration.type, "asset": declaration.asset or "", **given}
    return {key: _ADDRESS.sub("", text) for key, text in texts.items()}


def _changes(now: Mapping[str, str], loaded: Mapping[str, str]) -> list[str]:
    return [
        f"{key} = {now.get(key, '')} (loaded: {loaded.get(key, '')})"
        for key in sorted({*now, *loaded})
        if now.get(key, "") != loaded.get(key, "")
    ]


def _as_loaded(declaration: SensorDeclaration, loaded: Mapping[str, str]) -> SensorDeclaration:
    """Return the declaration with the interval and the switch that the runner has loaded."""
    update: dict[str, object] = {"enabled": loaded.get("enabled") != "false"}
    with suppress(ValidationError):  # written by another version
        update["every"] = parse_duration(loaded.get("every", ""))
    return replace(declaration, settings=declaration.settings.model_copy(update=update))


def _parse(text: str) -> LoadedSensors:
    """Return the sensors of a runner; none if another version wrote them."""
    try:
        return cast("LoadedSensors", json.loads(text)["sensors"])
    except (ValueError, KeyError, TypeError):
        return {}

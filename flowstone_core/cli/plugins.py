"""``flowstone plugins``."""

from __future__ import annotations

import inspect
from dataclasses import asdict
from datetime import timedelta
from typing import TYPE_CHECKING, Literal, get_args, get_origin

import click

from flowstone_core.cli.listing import json_option, print_facts, print_json, print_rows
from flowstone_core.cli.session import Session, pass_session

if TYPE_CHECKING:
    from pydantic import BaseModel
    from pydantic.fields import FieldInfo

    from flowstone_core.entry_point import PluginReport
    from flowstone_core.plugins import Plugins
    from flowstone_core.provision import Provided


@click.group()
def plugins() -> None:
    """What is installed, and what it provides."""


@plugins.command("list")
@json_option
@pass_session
def list_plugins(session: Session, *, as_json: bool) -> None:
    """List plugins, broken ones too, each with its cause.

    With --json a list of objects: name, distribution, version, status (ok, broken, blocked),
    error, hint, sensors, engines, watches.
    """
    found = _discover(session)
    rows = [
        {**asdict(report), "provides": [*report.sensors, *report.engines]}
        for report in found.reports
    ]
    if as_json:
        print_json([asdict(report) for report in found.reports])
        return
    columns = {
        "name": "PLUGIN",
        "distribution": "DISTRIBUTION",
        "version": "VERSION",
        "status": "STATUS",
        "provides": "PROVIDES",
        "error": "ERROR",
    }
    print_rows(rows, columns, as_json=False, empty="no plugins")


@plugins.command()
@click.argument("name")
@json_option
@pass_session
def show(session: Session, *, name: str, as_json: bool) -> None:
    """Show a sensor type, with its documentation and settings, or a plugin."""
    found = _discover(session)
    provided = found.sensors.get(name)
    if provided is not None:
        _show_type(provided, as_json=as_json)
        return
    for report in found.reports:
        if report.name == name:
            _show_report(report, as_json=as_json)
            return
    from flowstone_core.errors import NotFoundError, did_you_mean

    known = [*found.sensors, *(report.name for report in found.reports)]
    hint = did_you_mean(name, known) or f"there are: {', '.join(sorted(known))}"
    raise NotFoundError(
        f"no plugin is called {name!r}, and none provides a sensor {name!r}", hint=hint
    )


def _discover(session: Session) -> Plugins:
    """Find plugins, also where the configuration is wrong: then all that are installed."""
    from flowstone_core.errors import ValidationError
    from flowstone_core.plugins import discover

    allow = None
    try:
        run = session.config().run
    except ValidationError:
        run = None
    if run is not None and "plugins" in run.settings:
        allow = run.settings["plugins"].value.split()
    return discover(allow=allow)


def _show_type(provided: Provided, *, as_json: bool) -> None:
    from flowstone_core.declaration import is_sensor_class
    from flowstone_core.settings import SensorSettings

    sensor_class = provided.value
    assert is_sensor_class(sensor_class)  # noqa: S101 - discovery has checked it
    own, common = _settings(sensor_class.Config), _settings(SensorSettings)
    if as_json:
        print_json(
            {
                "type": provided.name,
                "plugin": provided.plugin,
                "distribution": provided.distribution,
                "version": provided.version,
                "doc": inspect.getdoc(sensor_class),
                "settings": own,
                "common_settings": common,
            }
        )
        return
    click.echo(f"{provided.name}, of {provided.distribution} {provided.version}\n")
    click.echo(inspect.getdoc(sensor_class) or "It has no documentation.")
    columns = {
        "name": "SETTING",
        "type": "TYPE",
        "default": "DEFAULT",
        "description": "DESCRIPTION",
    }
    click.echo("\nIts settings:\n")
    print_rows(own, columns, as_json=False, empty="it has none", cell_limit=500)
    click.echo("\nSettings that every sensor has:\n")
    print_rows(common, columns, as_json=False, empty="", cell_limit=500)


def _show_report(report: PluginReport, *, as_json: bool) -> None:
    if as_json:
        print_json(asdict(report))
    else:
        print_facts({key: value or None for key, value in asdict(report).items()})


def _settings(model: type[BaseModel]) -> list[dict[str, object]]:
    return [
        {
            "name": name,
            "type": _type_name(field),
            "required": field.is_required(),
            "default": _default(field),
            "description": field.description or "",
        }
        for name, field in model.model_fields.items()
    ]


def _default(field: FieldInfo) -> object:
    if field.is_required():
        return "(required)"
    if isinstance(field.default, timedelta):
        from flowstone_core.duration import format_duration

        return format_duration(field.default)
    return field.default


def _type_name(field: FieldInfo) -> str:
    kinds = [kind for kind in get_args(field.annotation) if kind is not type(None)]
    optional = len(kinds) == 1 and type(None) in get_args(field.annotation)
    annotation = kinds[0] if optional else field.annotation
    if annotation is timedelta:
        return "duration"
    if get_origin(annotation) is Literal:
        return " or ".join(map(str, get_args(annotation)))
    name = annotation.__name__ if isinstance(annotation, type) else str(annotation)
    if "Secret" in str(annotation):
        return "secret"
    return "module:name" if "ImportString" in str(annotation) else name

"""``flowstone plugins``."""

from __future__ import annotations

import inspect
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from flowstone_core.cli.listing import (
    json_option,
    print_facts,
    print_json,
    print_listing,
    print_table,
)
from flowstone_core.cli.session import Session, pass_session

if TYPE_CHECKING:
    from flowstone_core.plugin.contributions import Contribution
    from flowstone_core.plugin.entry_points import PluginReport
    from flowstone_core.plugin.registry import Plugins

COLUMNS = {
    "name": "PLUGIN",
    "distribution": "DISTRIBUTION",
    "version": "VERSION",
    "status": "STATUS",
    "provides": "PROVIDES",
    "error": "ERROR",
}
SETTING_COLUMNS = {
    "name": "SETTING",
    "type": "TYPE",
    "default": "DEFAULT",
    "description": "DESCRIPTION",
}
SETTING_LIMIT = 1_000
"""Most characters of a cell in a table of settings: descriptions are not cut."""

DOC_LIMIT = 100_000
"""Most characters of the documentation of a sensor or a trigger."""


@click.group()
def plugins() -> None:
    """Inspect installed plugins."""


@plugins.command("list")
@json_option
@pass_session
def list_plugins(session: Session, *, as_json: bool) -> None:
    """List plugins; broken ones with the cause.

    Needs no configuration, and works with an invalid one.

    With --json a list of objects: name, distribution, version, status (ok, broken, blocked),
    error, hint, sensors, triggers, engines, watches, commands.
    """
    rows = _rows(session.plugins(), session)
    print_listing(
        ({**row, "provides": _provides(row)} if not as_json else row for row in rows),
        COLUMNS,
        as_json=as_json,
        empty="no plugins",
    )


@plugins.command()
@click.argument("name")
@json_option
@click.option("--markdown", is_flag=True, help="Print the settings of a sensor type as Markdown.")
@pass_session
def show(session: Session, *, name: str, as_json: bool, markdown: bool) -> None:
    """Show a sensor type with its documentation and settings, a trigger, or a plugin.

    NAME is the 'type' of a sensor in the configuration, the name of a trigger such as 'cron', or
    the name of a plugin.

    With --json an object; for a sensor type: type, plugin, distribution, version, doc, settings
    and common_settings, each of these a list of objects: name, type, required, default,
    description. For a trigger: trigger, plugin, distribution, version, doc. For a plugin: as
    'plugins list' shows it.
    """
    found = session.plugins()
    if markdown:
        _print_table(name, found)
        return
    if name in found.sensors:
        _show_type(found.sensors[name], as_json=as_json)
        return
    if name in found.triggers:
        _show_trigger(found.triggers[name], as_json=as_json)
        return
    if name not in {report.name for report in found.reports}:
        raise _unknown(name, found)
    rows = [row for row in _rows(found, session) if row["name"] == name]
    # Of several plugins with one name, the loaded one is meant.
    row = min(rows, key=lambda row: row["status"] == "blocked")
    if as_json:
        print_json(row)
    else:
        print_facts({key: value or None for key, value in row.items()})


def _print_table(name: str, found: Plugins) -> None:
    from flowstone_core.config.settings_reference import settings_table
    from flowstone_core.model.sensor import is_sensor_class

    provided = found.sensors.get(name)
    if provided is None:
        raise click.UsageError(f"--markdown needs a sensor type; {name!r} is not one")
    sensor_class: object = provided.value
    assert is_sensor_class(sensor_class)  # noqa: S101 - discovery has checked it
    click.echo(settings_table(sensor_class.Config))


def _rows(found: Plugins, session: Session) -> list[dict[str, object]]:
    commands = _commands(found, session)
    return [
        {
            **asdict(report),
            "commands": commands.get(report.name, ()) if report.status != "blocked" else (),
        }
        for report in found.reports
    ]


def _commands(found: Plugins, session: Session) -> dict[str, tuple[str, ...]]:
    """Return the commands of each plugin; mark plugins whose commands are invalid as faulty."""
    from flowstone_core.plugin.contributions import provide_commands

    own = click.get_current_context().find_root().command
    taken = own.commands if isinstance(own, click.Group) else {}
    reports: dict[str, PluginReport] = {
        # At most one of a name is loaded; another of the same name may be blocked.
        report.name: report
        for report in found.reports
        if report.status != "blocked"
    }
    names = {}
    for plugin, call in found.watchers("flowstone_commands"):
        contributions = provide_commands(call, click.Command)
        for problem in contributions.problems:
            reports[plugin].fault(problem)
        for name in sorted(taken.keys() & contributions.commands.keys()):
            session.warn(f"plugin {plugin!r}: FlowStone's own command hides its command {name!r}")
        names[plugin] = tuple(sorted(contributions.commands.keys() - taken.keys()))
    return names


def _provides(row: dict[str, object]) -> str:
    """Return everything that a plugin provides as one cell."""
    parts = []
    for key in ("sensors", "triggers", "engines", "commands", "watches"):
        names = row[key]
        if isinstance(names, tuple) and names:
            parts.append(f"{key}: {', '.join(names)}")
    return "; ".join(parts)


def _unknown(name: str, found: Plugins) -> Exception:
    from flowstone_core.errors import NotFoundError, did_you_mean

    known = sorted({*found.sensors, *found.triggers, *(report.name for report in found.reports)})
    hint = did_you_mean(name, known) or f"known: {', '.join(known)}"
    return NotFoundError(
        f"unknown plugin, sensor type or trigger {name!r}",
        hint=hint,
    )


def _show_trigger(provided: Contribution, *, as_json: bool) -> None:
    from flowstone_core.model.safe_text import printable

    doc = printable(inspect.cleandoc(provided.value.__doc__ or ""), DOC_LIMIT)
    if as_json:
        print_json(
            {
                "trigger": provided.name,
                "plugin": provided.plugin,
                "distribution": provided.distribution,
                "version": provided.version,
                "doc": doc,
            }
        )
        return
    click.echo(f"{provided.name}, {provided.owner}\n")
    click.echo(doc or "(no documentation)")


def _show_type(provided: Contribution, *, as_json: bool) -> None:
    from flowstone_core.config.settings_reference import describe_settings
    from flowstone_core.model.safe_text import printable
    from flowstone_core.model.sensor import is_sensor_class
    from flowstone_core.model.sensor_settings import SensorSettings

    sensor_class: object = provided.value
    assert is_sensor_class(sensor_class)  # noqa: S101 - discovery has checked it
    own, common = describe_settings(sensor_class.Config), describe_settings(SensorSettings)
    # Not getdoc(): it would return the documentation of a base class.
    doc = printable(inspect.cleandoc(sensor_class.__doc__ or ""), DOC_LIMIT)
    if as_json:
        print_json(
            {
                "type": provided.name,
                "plugin": provided.plugin,
                "distribution": provided.distribution,
                "version": provided.version,
                "doc": doc,
                "settings": own,
                "common_settings": common,
            }
        )
        return
    click.echo(f"{provided.name}, {provided.owner}\n")
    click.echo(doc or "(no documentation)")
    for title, settings in (("Its settings", own), ("Settings that every sensor has", common)):
        click.echo(f"\n{title}:\n")
        rows = [
            {**row, "default": "(required)" if row["required"] else row["default"]}
            for row in settings
        ]
        print_table(rows, SETTING_COLUMNS, empty="none", cell_limit=SETTING_LIMIT)

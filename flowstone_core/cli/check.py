"""``flowstone check``."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import click
from click.exceptions import Exit

from flowstone_core.cli.listing import print_facts, print_table
from flowstone_core.cli.session import FAILED, WRONG, Session, pass_session

if TYPE_CHECKING:
    from flowstone_core.app.flowstone import Flowstone
    from flowstone_core.config.project import Project

F = TypeVar("F", bound=Callable[..., object])

ASSET_COLUMNS = {"asset": "ASSET", "depends_on": "DEPENDS ON", "description": "DESCRIPTION"}
SENSOR_COLUMNS = {
    "sensor": "SENSOR",
    "type": "TYPE",
    "asset": "ASSET",
    "every": "EVERY",
    "enabled": "ENABLED",
    "settings": "SETTINGS",
}
SCHEDULE_COLUMNS = {
    "schedule": "SCHEDULE",
    "asset": "ASSET",
    "fires": "FIRES",
    "words": "IN WORDS",
    "timezone": "TIME ZONE",
    "enabled": "ENABLED",
    "settings": "SETTINGS",
}
CONNECTION_COLUMNS = {
    "sensor": "SENSOR",
    "source": "SOURCE",
    "duration": "TOOK",
    "error": "ERROR",
}
SHOWN_BESIDE = {"asset", "trigger", "text", "timezone", "enabled"}
"""Settings of a schedule that have their own column."""

SETTINGS_LIMIT = 1_000
"""Most characters of the settings of a sensor or a schedule."""


def allow_empty(function: F) -> F:
    """Add ``--allow-empty`` to a command."""
    return click.option(
        "--allow-empty", "empty", is_flag=True, help="Exit 0 if nothing is configured."
    )(function)


@click.command(short_help="Check the configuration and show what would run.")
@allow_empty
@click.option("--connect", is_flag=True, help="Open the store, and connect each sensor.")
@pass_session
def check(session: Session, *, connect: bool, empty: bool) -> None:
    """Check the configuration and show what would run; every problem is reported at once.

    Pipelines are imported and plugins loaded. With --connect the store is opened and each enabled
    sensor connects to its external source; nothing is committed.

    Exit code 1: the store or an external source cannot be reached. Exit code 2: the
    configuration is invalid, or there is none; each problem is a line on standard error.
    """
    flow = session.flow(warn_if_empty=False)
    project = flow.project
    session.warn(*map(str, project.warnings))
    if project.sensors or project.schedules or project.assets:
        _print_project(project)
    else:
        report_empty(session, project, allowed=empty)
    if connect:
        _connect(flow)


def report_empty(session: Session, project: Project, *, allowed: bool) -> None:
    """Report a configuration without sensors, schedules and assets; exit unless allowed."""
    if project.file is None:
        text = "no setup.cfg or flowstone.cfg with a section [flowstone] in this folder"
        hint = "change to the project's folder, or name the file with --config"
    elif project.run.pipelines:
        text = f"no asset in {' and '.join(project.run.pipelines)}, named by {project.file}"
        hint = "declare a function with @pipeline.asset, in a module that the pipeline's imports"
    else:
        text = f"{project.file} names no sensor, no schedule and no pipeline"
        hint = (
            "write a section [flowstone:sensor:NAME] or [flowstone:schedule:NAME], or 'pipelines' "
            "in [flowstone]"
        )
    if allowed:
        click.echo(f"nothing to run: {text}")
        return
    session.fail(f"nothing to run: {text} ({hint}; --allow-empty accepts that)")
    raise Exit(WRONG)


def _print_project(project: Project) -> None:
    loaded = [report for report in project.plugins.reports if report.status == "ok"]
    print_facts(
        {
            "file": project.file,
            "store": project.redactor(project.run.store),
            "engine": project.run.engine,
            "plugins": ", ".join(f"{each.distribution} {each.version}" for each in loaded),
        }
    )
    click.echo()
    print_table(_assets(project), ASSET_COLUMNS, empty="no assets")
    click.echo()
    print_table(_sensors(project), SENSOR_COLUMNS, empty="no sensors", cell_limit=SETTINGS_LIMIT)
    click.echo()
    print_table(
        _schedules(project), SCHEDULE_COLUMNS, empty="no schedules", cell_limit=SETTINGS_LIMIT
    )


def _assets(project: Project) -> list[dict[str, object]]:
    return [
        {
            "asset": asset.name,
            "depends_on": ", ".join(asset.depends_on) + (" (follows)" if asset.follow else ""),
            "description": asset.description,
        }
        for asset in project.assets.values()
    ]


def _sensors(project: Project) -> list[dict[str, object]]:
    from flowstone_core.config.settings_reference import given_settings

    rows = []
    for sensor in project.sensors.values():
        given = given_settings(sensor, project.redactor)
        shown = {key: given[key] for key in given if key not in {"every", "enabled"}}
        rows.append(
            {
                "sensor": sensor.name,
                "type": sensor.type,
                "asset": sensor.asset or "(each event's)",
                "every": sensor.settings.every,
                "enabled": sensor.settings.enabled,
                "settings": " ".join(f"{key}={value}" for key, value in shown.items()),
            }
        )
    return rows


def _schedules(project: Project) -> list[dict[str, object]]:
    from flowstone_core.config.settings_reference import schedule_settings

    redact = project.redactor
    rows = []
    for declaration in project.schedules.values():
        schedule = declaration.schedule
        shown = schedule_settings(declaration.spec, redact)
        rows.append(
            {
                "schedule": schedule.name,
                "asset": schedule.asset,
                "fires": f"{schedule.kind} {shown['text']}",
                "words": redact(schedule.trigger.describe()),
                "timezone": schedule.trigger.timezone,
                "enabled": schedule.settings.enabled,
                "settings": " ".join(
                    f"{key}={value}" for key, value in shown.items() if key not in SHOWN_BESIDE
                ),
            }
        )
    return rows


def _connect(flow: Flowstone) -> None:
    from flowstone_core.app.maintenance import check_writable

    rows = [
        {
            "sensor": each.sensor,
            "source": "unavailable" if each.error else "connected",
            "duration": f"{each.duration.total_seconds():.3f} s",
            "error": each.error,
        }
        for each in flow.sensors.connect()
    ]
    click.echo()
    print_table(rows, CONNECTION_COLUMNS, empty="no enabled sensors", cell_limit=SETTINGS_LIMIT)
    status = flow.status()
    check_writable(flow.project.run.store)
    click.echo(f"\nstore {status.store} available; live runners: {len(status.runners)}")
    for warning in status.warnings():
        click.echo(f"warning: {warning}")
    if any(row["error"] for row in rows):
        raise Exit(FAILED)

"""``flowstone check``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from flowstone_core.cli.listing import print_rows
from flowstone_core.cli.run import nothing_to_run
from flowstone_core.cli.session import Session, pass_session

if TYPE_CHECKING:
    from flowstone_core.app import Flowstone


@click.command()
@click.option("--connect", is_flag=True, help="Open the store too.")
@pass_session
def check(session: Session, *, connect: bool) -> None:
    """Check the configuration, every problem at once, and print what would run."""
    flow = session.flow()
    settings = flow.settings
    for warning in settings.warnings:
        click.echo(f"warning: {warning}", err=True)
    if not settings.sensors and not settings.assets:
        nothing_to_run(settings.file)
        return
    if settings.file is not None:
        click.echo(f"file    {settings.file}")
    click.echo(f"store   {settings.redactor(settings.run.store)}")
    click.echo(f"engine  {settings.run.engine}")
    _assets(flow)
    _sensors(flow)
    if connect:
        status = flow.status()
        click.echo(f"\nthe store {status.store} can be used; runners alive: {len(status.runners)}")


def _assets(flow: Flowstone) -> None:
    rows = [
        {
            "asset": asset.name,
            "depends_on": asset.depends_on,
            "follow": "follows" if asset.follow else "",
            "description": asset.description,
        }
        for asset in flow.settings.assets.values()
    ]
    columns = {
        "asset": "ASSET",
        "depends_on": "DEPENDS ON",
        "follow": "",
        "description": "DESCRIPTION",
    }
    click.echo()
    print_rows(rows, columns, as_json=False, empty="no assets")


def _sensors(flow: Flowstone) -> None:
    from flowstone_core.cli.sensors import settings_of

    rows = [
        {
            "sensor": sensor.name,
            "type": sensor.sensor_class.__name__,
            "asset": sensor.asset or "(named by each event)",
            "every": sensor.settings.every,
            "enabled": "yes" if sensor.settings.enabled else "no",
            "settings": " ".join(f"{key}={value}" for key, value in settings_of(sensor).items()),
        }
        for sensor in flow.settings.sensors.values()
    ]
    columns = {
        "sensor": "SENSOR",
        "type": "TYPE",
        "asset": "ASSET",
        "every": "EVERY",
        "enabled": "ENABLED",
        "settings": "SETTINGS",
    }
    click.echo()
    print_rows(rows, columns, as_json=False, empty="no sensors")

"""``flowstone status``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict

import click

from flowstone_core.cli.listing import json_option, print_json, print_table
from flowstone_core.cli.sensors import COLUMNS as SENSOR_COLUMNS
from flowstone_core.cli.session import Session, pass_session

RUNNER_COLUMNS = {
    "host": "RUNNER ON",
    "pid": "PID",
    "version": "VERSION",
    "started_at": "SINCE",
    "lease_until": "LEASE UNTIL",
}

UNWELL = {"failing", "broken", "quarantined"}


@click.command()
@json_option
@pass_session
def status(session: Session, *, as_json: bool) -> None:
    """Show runners, sensors and materializations at a glance.

    Of the sensors those are listed that need a look; 'sensors list' has all.

    With --json an object: store, runners (id, host, pid, machine, version, started_at,
    lease_until, stopped_at), sensors (as 'sensors list' has them) and materializations (how many
    there are in each state).
    """
    found = session.flow().status()
    if as_json:
        print_json(asdict(found))
        return
    click.echo(f"store: {found.store}\n")
    print_table(map(asdict, found.runners), RUNNER_COLUMNS, empty="no runner is alive")
    health = Counter(sensor.health.value for sensor in found.sensors)
    click.echo(f"\nsensors: {_counted(health)}")
    unwell = [asdict(sensor) for sensor in found.sensors if sensor.health in UNWELL]
    if unwell:
        print_table(unwell, SENSOR_COLUMNS, empty="")
    made = {state.value: count for state, count in found.materializations.items()}
    click.echo(f"\nmaterializations: {_counted(made)}")


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {what}" for what, count in counts.items() if count) or "none"

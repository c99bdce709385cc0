"""``flowstone status``."""

from __future__ import annotations

from dataclasses import asdict

import click

from flowstone_core.cli.listing import json_option, print_json, print_rows
from flowstone_core.cli.sensors import SENSOR_COLUMNS
from flowstone_core.cli.session import Session, pass_session


@click.command()
@json_option
@pass_session
def status(session: Session, *, as_json: bool) -> None:
    """Show runners, sensors and materializations at a glance.

    With --json an object with "store", "runners", "sensors" and "materializations" (a count for
    each state).
    """
    found = session.flow().status()
    if as_json:
        print_json(asdict(found))
        return
    click.echo(f"store: {found.store}\n")
    print_rows(
        [asdict(runner) for runner in found.runners],
        {"host": "RUNNER ON", "pid": "PID", "started_at": "SINCE", "lease_until": "LEASE UNTIL"},
        as_json=False,
        empty="no runner is alive",
    )
    click.echo()
    print_rows(
        [asdict(sensor) for sensor in found.sensors],
        SENSOR_COLUMNS,
        as_json=False,
        empty="no sensors",
    )
    click.echo()
    counts = [f"{count} {state}" for state, count in found.materializations.items() if count]
    click.echo(f"materializations: {', '.join(counts) or 'none'}")

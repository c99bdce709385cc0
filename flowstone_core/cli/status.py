"""``flowstone status``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from flowstone_core.cli.backfills import COLUMNS as BACKFILL_COLUMNS
from flowstone_core.cli.backfills import backfill_row
from flowstone_core.cli.listing import json_option, print_json, print_table, shown
from flowstone_core.cli.not_loaded import print_not_loaded
from flowstone_core.cli.schedule_rows import COLUMNS as SCHEDULE_COLUMNS
from flowstone_core.cli.schedule_rows import schedule_fields, schedule_row
from flowstone_core.cli.sensors import COLUMNS as SENSOR_COLUMNS
from flowstone_core.cli.session import Session, pass_session

if TYPE_CHECKING:
    from flowstone_core.app.overview import Status
    from flowstone_core.app.status import ScheduleStatus
    from flowstone_core.model.redaction import Redactor

RUNNER_COLUMNS = {
    "host": "RUNNER ON",
    "pid": "PID",
    "role": "ROLE",
    "engine": "ENGINE",
    "version": "VERSION",
    "sensors": "SENSORS",
    "schedules": "SCHEDULES",
    "running": "RUNNING",
    "started_at": "SINCE",
    "beat_at": "LAST BEAT",
    "clock_offset": "CLOCK AHEAD",
    "stuck_threads": "STUCK",
}

UNHEALTHY = {"failing", "stale", "broken", "quarantined", "blocked"}


@click.command(short_help="Show runners, sensors, schedules and materializations.")
@json_option
@pass_session
def status(session: Session, *, as_json: bool) -> None:
    """Show runners, sensors, schedules and materializations at a glance.

    Only unhealthy sensors and schedules are listed; 'sensors list' and 'schedules list' show all.

    With --json an object: store, runners (id, host, pid, machine, version, started_at,
    lease_until, stopped_at, stuck_threads: the number of threads in calls that do not return,
    problem: what the runner fails to do, again and again, blocked: true if every thread hangs,
    role, engine, beat_at: its last heartbeat, clock_offset: the seconds by which its clock is ahead
    of the store's, lock_key: null if it holds no session lock, sensors, schedules and running: how
    many it owns, and how many materializations it runs), oldest_due: since when the oldest
    materialization that may start is due, clock_offset: of this machine,
    backfills (the unfinished ones, with the fields of 'backfills list'),
    sensors (with the fields of 'sensors list'), schedules (with the fields of 'schedules list')
    and materializations (their number in each state).
    """
    flow = session.listing()
    redact = flow.project.redactor
    found = flow.status()
    if as_json:
        schedules = [schedule_fields(each, redact) for each in found.schedules]
        backfills = [backfill_row(each) for each in found.backfills]
        store = session.missing_store or found.store
        redacted = {"store": store, "schedules": schedules, "backfills": backfills}
        print_json({**asdict(found), **redacted})
        return
    missing = f"{session.missing_store} (does not exist yet: 'flowstone run' creates it)"
    click.echo(f"store: {missing if session.missing_store else found.store}\n")
    _print_runners(found, redact)
    _print_sensors(found)
    _print_schedules(found, redact)
    _print_materializations(found)


def _print_runners(found: Status, redact: Redactor) -> None:
    print_table(map(asdict, found.runners), RUNNER_COLUMNS, empty="no runner is alive")
    for runner in found.runners:
        if runner.problem is not None:
            click.echo(f"problem on {runner.host} (pid {runner.pid}): {redact(runner.problem)}")
    for warning in found.warnings():
        click.echo(f"warning: {warning}")


def _print_sensors(found: Status) -> None:
    health = Counter(sensor.health.value for sensor in found.sensors)
    click.echo(f"\nsensors: {_counted(health)}")
    unhealthy = [asdict(sensor) for sensor in found.sensors if sensor.health in UNHEALTHY]
    if unhealthy:
        print_table(unhealthy, SENSOR_COLUMNS, empty="")
    print_not_loaded(map(asdict, found.sensors))


def _print_schedules(found: Status, redact: Redactor) -> None:
    health = Counter(schedule.health.value for schedule in found.schedules)
    click.echo(f"\nschedules: {_counted(health)}")
    rows = [schedule_row(each, redact) for each in found.schedules if _is_unhealthy(each)]
    if rows:
        print_table(rows, SCHEDULE_COLUMNS, empty="")
    print_not_loaded(map(asdict, found.schedules))


def _print_materializations(found: Status) -> None:
    counts = {state.value: count for state, count in found.materializations.items()}
    click.echo(f"\nmaterializations: {_counted(counts)}")
    if found.oldest_due is not None:
        click.echo(f"oldest due: {shown(found.oldest_due)}")
    if found.backfills:
        states = Counter(each.state.value for each in found.backfills)
        click.echo(f"\nbackfills: {_counted(states)}")
        print_table(map(backfill_row, found.backfills), BACKFILL_COLUMNS, empty="")


def _is_unhealthy(schedule: ScheduleStatus) -> bool:
    return schedule.health.value in UNHEALTHY or schedule.paused_because is not None


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {what}" for what, count in counts.items() if count) or "none"

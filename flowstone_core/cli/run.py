"""``flowstone run``."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from flowstone_core.cli.session import Session, pass_session

if TYPE_CHECKING:
    from flowstone_core.app import Flowstone


class DurationType(click.ParamType[timedelta]):
    """A duration such as ``90s``."""

    name = "duration"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> timedelta:
        """Read it."""
        from flowstone_core.duration import parse_duration
        from flowstone_core.errors import ValidationError

        if isinstance(value, timedelta):
            return value
        try:
            return parse_duration(str(value))
        except ValidationError as error:
            self.fail(error.message, param, ctx)


@click.command()
@click.option(
    "--once", is_flag=True, help="Poll each sensor once, carry what is due to its end, and exit."
)
@click.option("--for", "duration", type=DurationType(), help="Stop after so long, such as 10m.")
@pass_session
def run(session: Session, *, once: bool, duration: timedelta | None) -> int:
    """Tick the sensors and carry the materializations until a signal comes.

    Ctrl-C, or SIGTERM, lets what runs finish within the grace time; a second one ends it at
    once. Nothing is lost either way: the next run takes it up.

    Exit code 1: something did not end within the grace time or, with --once, a tick failed or a
    materialization was discarded.
    """
    if once and duration is not None:
        raise click.UsageError("--once and --for exclude each other")
    flow = session.flow(log_level="info")
    for warning in flow.settings.warnings:
        click.echo(f"warning: {warning}", err=True)
    if not flow.settings.sensors and not flow.settings.assets:
        nothing_to_run(flow.settings.file)
        return 0
    before = _failures(flow) if once else set()
    ended = flow.run(once=once, duration=duration)
    if not ended:
        click.echo("not everything ended within the grace time; the next run takes it up", err=True)
    failed = sorted(_failures(flow) - before) if once else []
    for failure in failed:
        click.echo(f"failed: {failure}", err=True)
    return 0 if ended and not failed else 1


def nothing_to_run(file: Path | None) -> None:
    """Say that the configuration names nothing that could run."""
    where = f"{file} has no section for FlowStone" if file else "no setup.cfg or flowstone.cfg here"
    click.echo(f"nothing to run: {where} names a sensor or a pipeline")


def _failures(flow: Flowstone) -> set[str]:
    """Return what went wrong lately, one text for each."""
    from flowstone_core.materialization import MaterializationState
    from flowstone_core.tick import TickOutcome

    fine = TickOutcome.RETRY_LATER
    found = {
        f"{tick.source}, tick {tick.id}: {tick.error}"
        for tick in flow.ticks(limit=1_000)
        if not tick.outcome.good and tick.outcome is not fine
    }
    for item in flow.materializations(state=MaterializationState.DISCARDED, limit=1_000):
        found.add(f"{item.asset}, materialization {item.id}, attempt {item.attempt}: {item.error}")
    return found

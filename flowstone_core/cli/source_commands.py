"""Source commands: ``pause``, ``resume`` and the columns of ticks, for sensors and schedules."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, TypeAlias

import click

from flowstone_core.cli.session import Session, pass_session

if TYPE_CHECKING:
    from flowstone_core.app.flowstone import Flowstone
    from flowstone_core.app.schedules import Schedules
    from flowstone_core.app.sensors import Sensors

Kind: TypeAlias = Literal["sensor", "schedule"]

TICK_COLUMNS = {
    "id": "TICK",
    "started_at": "AT",
    "outcome": "OUTCOME",
    "events": "EVENTS",
    "duplicates": "DUPLICATES",
    "skipped": "SKIPPED",
    "error": "ERROR",
}


def add_pause_and_resume(
    group: click.Group,
    kind: Kind,
    resumed: str,
    describe: Callable[[Flowstone, str], str] = lambda _flow, _name: "",
) -> None:
    """Add the commands ``pause`` and ``resume`` to a group.

    Args:
        group: The commands of sensors or of schedules.
        kind: What they are for.
        resumed: What resuming does, after "Resume a paused sensor": the end of the help text.
        describe: Returns what follows the message of ``resume``.
    """

    @group.command("pause", help=f"Pause a {kind}; its runner stops within two seconds.")
    @click.argument("name")
    @pass_session
    def pause(session: Session, *, name: str) -> None:
        flow = session.changing(lambda flow: _sources(flow, kind).pause(name))
        _sources(flow, kind).pause(name)
        click.echo(f"{kind} {name} is paused")

    @group.command("resume", help=f"Resume a paused {kind}{resumed}.")
    @click.argument("name")
    @pass_session
    def resume(session: Session, *, name: str) -> None:
        flow = session.changing(lambda flow: _sources(flow, kind).resume(name))
        _sources(flow, kind).resume(name)
        click.echo(f"{kind} {name} is resumed{describe(flow, name)}")


def _sources(flow: Flowstone, kind: Kind) -> Sensors | Schedules:
    return flow.sensors if kind == "sensor" else flow.schedules

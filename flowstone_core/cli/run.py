"""``flowstone run``."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import click
from click.exceptions import Exit

from flowstone_core.cli.check import nothing_to_run
from flowstone_core.cli.session import FAILED, Session, pass_session
from flowstone_core.runtime.isolation.watchdog import Watchdog

if TYPE_CHECKING:
    from flowstone_core.app.flowstone import Flowstone
    from flowstone_core.model.materialization import Materialization
    from flowstone_core.model.tick import Tick

WATCHED_LEASES = 10
"""After so many leases a process that stands still is ended. Others have taken over long before;
so many, because a machine or a container that was only paused for a while shall go on."""


class Failures:
    """What failed while it ran, and stayed so; told in any thread."""

    def __init__(self) -> None:
        self._ticks: list[Tick] = []
        self._unmade: dict[int, Materialization] = {}

    def __call__(self, news: Tick | Materialization) -> None:
        """Hear of a tick that was committed, or of a materialization that changed."""
        from flowstone_core.model.materialization import MaterializationState
        from flowstone_core.model.tick import Tick, TickOutcome

        if isinstance(news, Tick):
            if not news.outcome.good and news.outcome is not TickOutcome.RETRY_LATER:
                self._ticks.append(news)
        elif news.state in {MaterializationState.DISCARDED, MaterializationState.RETRYING}:
            self._unmade[news.id] = news
        else:
            self._unmade.pop(news.id, None)

    def messages(self, flow: Flowstone) -> list[str]:
        """Say what failed, one text for each."""
        from flowstone_core.model.materialization import AttemptOutcome, MaterializationState

        found = [f"{tick.source}, tick {tick.id}: {tick.error}" for tick in self._ticks]
        for item in self._unmade.values():
            if item.state is MaterializationState.RETRYING:
                last = flow.materializations.attempts(item.id)[-1].outcome
                if last in {AttemptOutcome.RETRY_LATER, AttemptOutcome.RELEASED}:
                    continue
            found.append(f"materialization {item.id} of {item.asset}, {item.state}: {item.error}")
        return found


def _duration(_: click.Context, __: click.Parameter, text: str | None) -> timedelta | None:
    from flowstone_core.errors import ValidationError
    from flowstone_core.model.duration import parse_duration

    try:
        return None if text is None else parse_duration(text)
    except ValidationError as error:
        raise click.BadParameter(error.message) from None


@click.command(short_help="Tick sensors and schedules, and carry the materializations.")
@click.option(
    "--once",
    is_flag=True,
    help="Poll each sensor once, fire what is due, carry it to its end, and exit.",
)
@click.option(
    "--for",
    "duration",
    metavar="DURATION",
    callback=_duration,
    help="Stop after so long, such as 10m.",
)
@pass_session
def run(session: Session, *, once: bool, duration: timedelta | None) -> None:
    """Tick sensors and schedules, and carry the materializations, until a signal comes.

    Ctrl-C, or SIGTERM, lets what runs finish within the grace time; a second one ends it at
    once. Nothing is lost either way: the next run takes it up.

    Exit code 1: something did not end within the grace time or, with --once, a tick failed, or a
    materialization was discarded or is to be retried after a failed attempt. So it is when the
    process stood still for ten leases, because code in one of its threads never let go of Python's
    interpreter; standard error names the line.
    """
    if once and duration is not None:
        raise click.UsageError("--once and --for exclude each other")
    flow = session.flow(log_level="info")
    session.warn(*map(str, flow.project.warnings))
    if not flow.project.sensors and not flow.project.assets:
        click.echo(nothing_to_run(flow.project))
        return
    failures = Failures()
    with Watchdog(WATCHED_LEASES * flow.project.run.lease):
        ended = flow.run(once=True, watch=failures) if once else flow.run(duration=duration)
    failed = failures.messages(flow)
    if not ended:
        session.warn("not everything ended within the grace time; the next run takes it up")
    session.fail(*failed)
    if failed or not ended:
        raise Exit(FAILED)

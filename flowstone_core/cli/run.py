"""``flowstone run``."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import click
from click.exceptions import Exit

from flowstone_core.cli.check import allow_empty, report_empty
from flowstone_core.cli.session import FAILED, Session, pass_session
from flowstone_core.model.role import Role
from flowstone_core.runtime.isolation.watchdog import Watchdog

if TYPE_CHECKING:
    from flowstone_core.app.flowstone import Flowstone
    from flowstone_core.model.materialization import Materialization
    from flowstone_core.model.tick import Tick

WATCHED_LEASES = 10
"""Leases after which a process that stands still is ended. Other runners take over after one;
the rest is for a machine or a container that was only paused."""


class Failures:
    """Failures of a run that no later success made good; any thread may report."""

    def __init__(self) -> None:
        self._ticks: list[Tick] = []
        self._unfinished: dict[int, Materialization] = {}

    def __call__(self, news: Tick | Materialization) -> None:
        """Record a committed tick or a changed materialization."""
        from flowstone_core.model.materialization import MaterializationState
        from flowstone_core.model.tick import Tick, TickOutcome

        if isinstance(news, Tick):
            if not news.outcome.good and news.outcome is not TickOutcome.RETRY_LATER:
                self._ticks.append(news)
        elif news.state in {MaterializationState.DISCARDED, MaterializationState.RETRYING}:
            self._unfinished[news.id] = news
        else:
            self._unfinished.pop(news.id, None)

    def messages(self, flow: Flowstone) -> list[str]:
        """Return one message for each failure."""
        from flowstone_core.model.materialization import AttemptOutcome, MaterializationState

        found = [f"{tick.source}, tick {tick.id}: {tick.error}" for tick in self._ticks]
        for item in self._unfinished.values():
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


@click.command(short_help="Tick sensors and schedules, and run materializations.")
@click.option(
    "--once",
    is_flag=True,
    help="Tick each sensor and schedule once, run what is due to its end, and exit.",
)
@click.option(
    "--for",
    "duration",
    metavar="DURATION",
    callback=_duration,
    help="Stop after this time, such as 10m.",
)
@click.option(
    "--role",
    type=click.Choice(list(Role), case_sensitive=False),
    help="sensors ticks sensors and schedules only, `workers` runs materializations only, "
    "all does both; the setting 'role' by default.",
)
@allow_empty
@pass_session
def run(
    session: Session, *, once: bool, duration: timedelta | None, role: Role | None, empty: bool
) -> None:
    """Tick sensors and schedules, and run materializations, until a signal arrives.

    Ctrl-C, SIGTERM or a closed terminal (SIGHUP) stops gracefully: running attempts may finish
    within the grace time. A second Ctrl-C or SIGTERM ends the process at once. Nothing is lost
    either way: the next run continues. A store that is unavailable at the start is waited for, at
    most for the setting 'store_wait'.

    Exit code 1: an attempt did not end within the grace time; or, with --once, a tick failed, or a
    materialization was discarded or will be retried after a failed attempt; or every thread hung
    for one lease; or the process stood still for ten leases because a thread never released
    Python's interpreter (standard error names the line). Exit code 2: nothing is configured.
    """
    if once and duration is not None:
        raise click.UsageError("--once and --for exclude each other")
    flow = session.flow(log_level="info", preload_log=True, warn_if_empty=False)
    if role is not None:
        settings = flow.project.run.model_copy(update={"role": role})
        flow.project = replace(flow.project, run=settings)
    session.warn(*map(str, flow.project.warnings))
    if not flow.project.sensors and not flow.project.assets:
        report_empty(session, flow.project, allowed=empty)
        return
    failures = Failures()
    with Watchdog(WATCHED_LEASES * flow.project.run.lease):
        ended = flow.run(once=True, watch=failures) if once else flow.run(duration=duration)
    failed = failures.messages(flow)
    if not ended:
        session.warn("grace time expired: attempts are still running; the next run continues them")
    session.fail(*failed)
    if failed or not ended:
        raise Exit(FAILED)

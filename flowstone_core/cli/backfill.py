"""``flowstone backfill``."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from itertools import islice
from typing import TYPE_CHECKING

import click
from click.exceptions import Exit

from flowstone_core.cli.listing import json_option, partition_fields, print_json, print_table
from flowstone_core.cli.session import FAILED, Session, pass_session

if TYPE_CHECKING:
    from flowstone_core.model.materialization import Materialization
    from flowstone_core.model.partition import Partition
    from flowstone_core.model.partition_range import PartitionRange
    from flowstone_core.runtime.backfill.backfill import Progress
    from flowstone_core.runtime.backfill.plan import Plan

LISTED = 50
"""Most partitions of a plan in output for people."""

PLAN_COLUMNS = {"partition_shown": "PARTITION", "action": "ACTION"}


def _partition(_: click.Context, __: click.Parameter, text: str) -> Partition:
    from flowstone_core.errors import ValidationError
    from flowstone_core.model.partition import parse_partition

    try:
        return parse_partition(text)
    except ValidationError as error:
        raise click.BadParameter(error.message) from None


@click.command(short_help="Materialize a range of an asset's partitions.")
@click.argument("asset")
@click.option(
    "--from",
    "first",
    metavar="PARTITION",
    required=True,
    callback=_partition,
    help="First partition.",
)
@click.option(
    "--to",
    "last",
    metavar="PARTITION",
    required=True,
    callback=_partition,
    help="Last one, included.",
)
@click.option(
    "--every",
    metavar="STEP",
    help="Step: day, week, month or year for dates; also minute, hour or a duration for "
    "datetimes. By default day for dates, hour for datetimes, month for months.",
)
@click.option(
    "--timezone",
    metavar="NAME",
    help="Time zone of the days, weeks, months and years of datetimes. By default that of the "
    "asset's schedules, or UTC.",
)
@click.option("--force", is_flag=True, help="Materialize completed partitions again.")
@click.option("--dry-run", is_flag=True, help="Show the actions; request nothing.")
@click.option(
    "--limit",
    type=click.IntRange(1, 1_000),
    default=4,
    show_default=True,
    help="Most unfinished materializations at once.",
)
@json_option
@pass_session
def backfill(
    session: Session,
    *,
    asset: str,
    first: Partition,
    last: Partition,
    every: str | None,
    timezone: str | None,
    force: bool,
    dry_run: bool,
    limit: int,
    as_json: bool,
) -> None:
    """Materialize the partitions of an ASSET from one date or datetime to another.

    Also from one month to another, such as 2025-01, and from one text to another that a schedule
    of the asset writes by its template.

    Completed partitions are skipped, and unfinished materializations are waited for. Runners run
    the rest; while no runner is alive, this command does. If the command is interrupted, the same
    command continues the backfill; no partition is requested twice, even with --force.
    'backfills list' shows it, and 'backfills cancel' ends it.

    With --json an object: first, last, every, backfill (its number), resumed,
    total, completed, skipped, failed, unfinished, left, finished, cancelled, here (true if this
    command ran them), failures (the first 20: materialization, partition, partition_shown, state,
    error). With --dry-run: first, last, every, resumes (a number, or null), total, materialize,
    wait, skip, partitions (partition, partition_shown, action).

    Exit code 1: a materialization failed, or the backfill is not finished.
    """
    flow = session.listing() if dry_run else session.flow(preload_log=True)
    span = flow.backfills.range(asset, first, last, every=every, timezone=timezone)
    session.warn(*flow.backfills.notes(asset, span))
    if dry_run:
        plan = flow.backfills.plan(asset, first, last, every=every, timezone=timezone, force=force)
        _print_plan(plan, span, as_json=as_json)
        return
    with _watch(asset, span, as_json=as_json) as watch:
        progress = flow.backfill(
            asset,
            first,
            last,
            every=every,
            timezone=timezone,
            force=force,
            limit=limit,
            watch=watch,
        )
    failures = [_failure(flow.materializations.get(number)) for number in progress.failures]
    if as_json:
        print_json({**_range_fields(span), **asdict(progress), "failures": failures})
    else:
        _print_end(session, progress, failures)
    if progress.failed or progress.cancelled or not progress.finished:
        raise Exit(FAILED)


class Lines:
    """Progress lines of a backfill.

    Args:
        asset: The asset.
        say: Prints a permanent line.
        show: Prints a line that the next one replaces, on a terminal.
        sparing: Show a line only when the share of done partitions changes by a hundredth.
        every: The step between two partitions.
    """

    def __init__(
        self,
        asset: str,
        say: Callable[[str], object],
        show: Callable[[str], object],
        *,
        sparing: bool,
        every: str = "",
    ) -> None:
        self._asset = asset
        # For the zone of local days; otherwise the step is as it was given, or the default.
        self._step = f", every {every}" if " in " in every else ""
        self._say = say
        self._show = show
        self._sparing = sparing
        self._begun = self._here = False
        self._shown: int | None = None

    def __call__(self, progress: Progress) -> None:
        """Print a progress."""
        if not self._begun:
            self._begun = True
            verb = "resuming backfill" if progress.resumed else "backfill"
            what = f"{verb} {progress.backfill} of {self._asset}"
            self._say(f"{what}: {_counted(progress.total, 'partition')}{self._step}")
        if progress.here and not self._here:
            self._here = True
            self._say("no runner is alive: this command runs the materializations")
        hundredth = progress.done * 100 // progress.total
        if not self._sparing or hundredth != self._shown:
            self._shown = hundredth
            self._show(_line(progress))


@contextmanager
def _watch(
    asset: str, span: PartitionRange, *, as_json: bool
) -> Iterator[Callable[[Progress], None]]:
    if as_json:
        yield lambda _: None
    elif sys.stdout.isatty():
        from rich.console import Console

        console = Console(highlight=False, markup=False)
        with console.status("") as status:
            yield Lines(asset, console.print, status.update, sparing=False, every=span.every)
    else:
        yield Lines(asset, click.echo, click.echo, sparing=True, every=span.every)


def _line(progress: Progress) -> str:
    parts = [f"{progress.done:,} of {progress.total:,} done"]
    for number, what in (
        (progress.skipped, "skipped"),
        (progress.failed, "failed"),
        (progress.unfinished, "unfinished"),
    ):
        if number:
            parts.append(f"{number:,} {what}")
    return ", ".join(parts)


def _print_end(
    session: Session, progress: Progress, failures: Sequence[Mapping[str, object]]
) -> None:
    for failure in failures:
        number = failure["materialization"]
        session.fail(
            f"materialization {number}, {failure['partition_shown']}, ended {failure['state']}: "
            f"{failure['error'] or 'without an error'} (flowstone materializations show {number})"
        )
    if progress.failed > len(failures):
        session.fail(f"{progress.failed - len(failures):,} more failed")
    if progress.cancelled:
        session.warn(f"backfill {progress.backfill} is cancelled: {_line(progress)}")
    elif progress.finished:
        click.echo(
            f"backfill {progress.backfill} is finished: {progress.completed:,} completed, "
            f"{progress.skipped:,} skipped, {progress.failed:,} failed"
        )
    else:
        session.warn(
            f"backfill {progress.backfill} is not finished: {_line(progress)}; "
            "repeat the command to continue"
        )


def _range_fields(span: PartitionRange) -> dict[str, str]:
    from flowstone_core.model.partition import encode_partition

    ends = {"first": encode_partition(span.first), "last": encode_partition(span.end)}
    return {**ends, "every": span.every}


def _print_plan(plan: Plan, span: PartitionRange, *, as_json: bool) -> None:
    from flowstone_core.runtime.backfill.plan import PartitionAction

    rows = ({**partition_fields(text), "action": action} for text, action in plan.actions.items())
    counts: dict[str, int] = {str(action): plan.count(action) for action in PartitionAction}
    if as_json:
        total = len(plan.actions)
        head = {**_range_fields(span), "resumes": plan.resumes, "total": total, **counts}
        print_json({**head, "partitions": list(rows)})
        return
    if plan.resumes is not None:
        click.echo(f"would resume backfill {plan.resumes}")
    print_table(islice(rows, LISTED), PLAN_COLUMNS, empty="")
    if len(plan.actions) > LISTED:
        click.echo(f"... and {len(plan.actions) - LISTED:,} more")
    words = {
        PartitionAction.MATERIALIZE: "to materialize",
        PartitionAction.WAIT: "to wait for",
        PartitionAction.SKIP: "to skip",
    }
    step = f", every {span.every}" if " in " in span.every else ""
    said = ", ".join(f"{plan.count(action):,} {what}" for action, what in words.items())
    click.echo(f"\n{_counted(len(plan.actions), 'partition')}{step}: {said}")


def _failure(item: Materialization) -> dict[str, object]:
    return {
        "materialization": item.id,
        **partition_fields(item.partition),
        "state": item.state,
        "error": item.error,
    }


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"

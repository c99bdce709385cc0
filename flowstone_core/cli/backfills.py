"""``flowstone backfills``."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from flowstone_core.cli.listing import (
    json_option,
    listing_options,
    partition_fields,
    print_facts,
    print_json,
    print_listing,
)
from flowstone_core.cli.session import Session, pass_session

if TYPE_CHECKING:
    from flowstone_core.app.backfill_status import BackfillStatus

COLUMNS = {
    "id": "ID",
    "asset": "ASSET",
    "first_shown": "FROM",
    "last_shown": "TO",
    "every": "EVERY",
    "state": "STATE",
    "total": "PARTITIONS",
    "requested": "REQUESTED",
    "completed": "COMPLETED",
    "failed": "FAILED",
    "created_at": "STARTED",
}


@click.group()
def backfills() -> None:
    """List and cancel backfills."""


@backfills.command("list")
@click.option("--asset", help="Show only this asset.")
@click.option("--unfinished", is_flag=True, help="Show only running and interrupted ones.")
@listing_options
@pass_session
def list_backfills(
    session: Session,
    *,
    asset: str | None,
    unfinished: bool,
    limit: int,
    before_id: int | None,
    as_json: bool,
) -> None:
    """List backfills, newest first.

    An interrupted backfill is not finished, and no process has worked on it for two minutes;
    'backfills show' has the command that continues it.

    With --json a list of objects: id, asset, first, first_shown, last, last_shown, every, force,
    state (running, interrupted, finished, cancelled), total, requested (of these completed, failed
    and unfinished), created_at, seen_at, finished_at, command.
    """
    found = session.listing().backfills.latest(
        asset=asset, unfinished=unfinished, limit=limit, before_id=before_id
    )
    print_listing(map(backfill_row, found), COLUMNS, as_json=as_json, empty="no backfills")


@backfills.command()
@click.argument("number", type=int, metavar="ID")
@json_option
@pass_session
def show(session: Session, *, number: int, as_json: bool) -> None:
    """Show one backfill, and the command that continues it.

    'events list --source backfill:ID' lists what it has requested.

    With --json an object with the fields of 'backfills list'.
    """
    found = backfill_row(session.listing().backfills.get(number))
    if as_json:
        print_json(found)
        return
    shown = {**found, "first": found["first_shown"], "last": found["last_shown"]}
    names = {"first": "from", "last": "to", "total": "partitions", "created_at": "started at"}
    print_facts(
        {
            names.get(key, key.replace("_", " ")): value
            for key, value in shown.items()
            if not key.endswith("_shown")
        }
    )


@backfills.command()
@click.argument("number", type=int, metavar="ID")
@json_option
@pass_session
def cancel(session: Session, *, number: int, as_json: bool) -> None:
    """Cancel a running or interrupted backfill.

    It requests nothing more, and its materializations that wait to run are cancelled, unless
    something else has requested them, too; running ones go on to their end.

    With --json an object with the fields of 'backfills list'.
    """
    flow = session.changing(lambda flow: flow.backfills.cancel(number))
    found = flow.backfills.cancel(number)
    if as_json:
        print_json(backfill_row(found))
        return
    running = f", {found.unfinished:,} still running" if found.unfinished else ""
    click.echo(
        f"backfill {found.id} of {found.asset} is cancelled: "
        f"{found.requested:,} requested, {found.completed:,} completed{running}"
    )


def backfill_row(item: BackfillStatus) -> dict[str, object]:
    """Return all fields of a backfill."""
    shown = {
        f"{key}_shown": partition_fields(text)["partition_shown"]
        for key, text in (("first", item.first), ("last", item.last))
    }
    return {**asdict(item), **shown}

"""``flowstone materialize`` and ``flowstone materializations``."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, cast

import click

from flowstone_core.cli.events import event_row
from flowstone_core.cli.listing import (
    json_option,
    listing_options,
    partition_fields,
    print_facts,
    print_json,
    print_listing,
    print_table,
    shown,
)
from flowstone_core.cli.session import Session, pass_session
from flowstone_core.cli.typed_partition import typed_partition

if TYPE_CHECKING:
    from flowstone_core.model.json_document import JsonObject
    from flowstone_core.model.materialization import Materialization

STATES = ["pending", "running", "retrying", "completed", "discarded", "cancelled"]

COLUMNS = {
    "id": "ID",
    "asset": "ASSET",
    "partition_shown": "PARTITION",
    "state": "STATE",
    "attempt": "ATTEMPTS",
    "duration": "DURATION",
    "waiting_for": "WAITING FOR",
    "error": "ERROR",
}
ATTEMPT_COLUMNS = {
    "number": "ATTEMPT",
    "started_at": "STARTED",
    "finished_at": "ENDED",
    "outcome": "OUTCOME",
    "runner_id": "RUNNER",
    "error": "ERROR",
}
EVENT_COLUMNS = {
    "id": "EVENT",
    "created_at": "AT",
    "source": "SOURCE",
    "key": "KEY",
    "payload": "PAYLOAD",
}


@click.command(short_help="Request one partition of an asset.")
@click.argument("asset")
@click.argument("partition", required=False)
@click.option("--partition", "-p", "named", help="The partition, instead of the argument.")
@click.option("--payload", metavar="JSON", help="JSON object passed to the asset function.")
@json_option
@pass_session
def materialize(
    session: Session,
    *,
    asset: str,
    partition: str | None,
    named: str | None,
    payload: str | None,
    as_json: bool,
) -> None:
    """Request one PARTITION of an ASSET; a runner materializes it.

    2025-01-15 is a date, 2025-01-15T02:00Z a datetime, a tagged text such as s:... or d:... the
    value that the tag stands for, and any other text a string.

    With --json an object with the fields of 'materializations list'.
    """
    from flowstone_core.model.partition import parse_partition

    given = [text for text in (partition, named) if text is not None]
    if len(given) != 1:
        raise click.UsageError("give one partition, such as: materialize daily_report 2025-01-15")
    parsed, data = parse_partition(given[0]), _payload(payload)
    flow = session.changing(lambda flow: flow.materialize(asset, parsed, payload=data))
    value = typed_partition(session, given[0], asset)
    requested = flow.materialize(asset, value, payload=data)
    if as_json:
        print_json(_row(requested))
    else:
        click.echo(_sentence(requested))


@click.group()
def materializations() -> None:
    """Inspect, retry and cancel materializations."""


@materializations.command("list")
@click.option("--asset", help="Show only this asset.")
@click.option(
    "--partition",
    "-p",
    help="Show only this partition, written as for 'materialize'.",
)
@click.option("--state", type=click.Choice(STATES), help="Show only this state.")
@listing_options
@pass_session
def list_materializations(
    session: Session,
    *,
    asset: str | None,
    partition: str | None,
    state: str | None,
    limit: int,
    before_id: int | None,
    as_json: bool,
) -> None:
    """List materializations, newest first.

    DURATION is that of the last attempt; the time since the first one started is beside it.

    With --json a list of objects: id, run_id, asset, partition, partition_shown, state, attempt,
    max_attempts, requested_at, available_at, waiting_for, started_at (of the first attempt),
    attempt_started_at (of the last one, if there are several), finished_at, duration,
    total_duration, error, metadata.
    """
    from flowstone_core.model.materialization import MaterializationState

    found = session.listing().materializations.latest(
        asset=asset,
        partition=None if partition is None else typed_partition(session, partition, asset),
        state=None if state is None else MaterializationState(state),
        limit=limit,
        before_id=before_id,
    )
    rows = map(_row, found) if as_json else map(_cells, found)
    print_listing(rows, COLUMNS, as_json=as_json, empty="no materializations")


@materializations.command()
@click.argument("number", type=int, metavar="ID")
@json_option
@pass_session
def show(session: Session, *, number: int, as_json: bool) -> None:
    """Show one materialization with its attempts and the events that requested it.

    With --json an object: the fields of 'materializations list', and attempts (number, started_at,
    finished_at, outcome, error, runner_id) and events (with the fields of 'events list').
    """
    flow = session.listing()
    found = _row(flow.materializations.get(number))
    attempts = [asdict(attempt) for attempt in flow.materializations.attempts(number)]
    events = [event_row(event) for event in flow.materializations.events(number)]
    if as_json:
        print_json({**found, "attempts": attempts, "events": events})
        return
    facts = {**found, "partition": found["partition_shown"], "partition_shown": None}
    if facts["attempt_started_at"] is None:
        del facts["attempt_started_at"], facts["total_duration"]
    else:
        # A retry is requested after the first attempt: the order of the lines is that of time.
        facts["first_started_at"] = facts.pop("started_at")
        facts["last_started_at"] = facts.pop("attempt_started_at")
    print_facts({key.replace("_", " "): value for key, value in facts.items()})
    click.echo()
    print_table(attempts, ATTEMPT_COLUMNS, empty="no attempts yet")
    click.echo()
    print_table(events, EVENT_COLUMNS, empty="no events: a dependent asset requested it")


@materializations.command()
@click.argument("number", type=int, metavar="ID")
@pass_session
def retry(session: Session, *, number: int) -> None:
    """Retry a discarded or cancelled materialization, or start a waiting one now."""
    flow = session.changing(lambda flow: flow.materializations.retry(number))
    click.echo(_sentence(flow.materializations.retry(number)))


@materializations.command()
@click.argument("number", type=int, metavar="ID")
@pass_session
def cancel(session: Session, *, number: int) -> None:
    """Cancel an unfinished materialization; a running function's return value is discarded."""
    flow = session.changing(lambda flow: flow.materializations.cancel(number))
    click.echo(_sentence(flow.materializations.cancel(number)))


def _row(item: Materialization) -> dict[str, object]:
    """Return all fields of a materialization."""
    durations = {"duration": item.duration, "total_duration": item.total_duration}
    return {**asdict(item), **partition_fields(item.partition), **durations}


def _cells(item: Materialization) -> dict[str, object]:
    """Return the cells of a materialization in a table."""
    row = _row(item)
    if item.attempt_started_at is not None and item.duration is not None:
        row["duration"] = f"{shown(item.duration)} ({shown(item.total_duration)} in all)"
    return row


def _sentence(item: Materialization) -> str:
    partition = partition_fields(item.partition)["partition_shown"]
    return f"materialization {item.id} of {item.asset} {partition} is {item.state}"


def _payload(text: str | None) -> JsonObject | None:
    if text is None:
        return None
    import json

    try:
        value = json.loads(text)
    except ValueError as error:
        raise click.BadParameter(f"invalid JSON: {error}", param_hint="--payload") from None
    if not isinstance(value, dict):
        raise click.BadParameter("not a JSON object: write {...}", param_hint="--payload")
    return cast("JsonObject", value)

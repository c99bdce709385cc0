"""``flowstone events``."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from flowstone_core.cli.listing import listing_options, partition_fields, print_listing
from flowstone_core.cli.session import Session, pass_session

if TYPE_CHECKING:
    from flowstone_core.model.event import StoredEvent

COLUMNS = {
    "id": "ID",
    "created_at": "AT",
    "source": "SOURCE",
    "asset": "ASSET",
    "partition_shown": "PARTITION",
    "materialization_id": "MATERIALIZATION",
    "key": "KEY",
}


@click.group()
def events() -> None:
    """List events."""


@events.command("list")
@click.option(
    "--source",
    help="Show only events of this source: sensor:NAME, schedule:NAME, asset:NAME or manual.",
)
@click.option("--asset", help="Show only events for this asset.")
@listing_options
@pass_session
def list_events(
    session: Session,
    *,
    source: str | None,
    asset: str | None,
    limit: int,
    before_id: int | None,
    as_json: bool,
) -> None:
    """List events, newest first.

    With --json a list of objects: id, source, key, asset, partition, partition_shown, created_at,
    payload, materialization_id, tick_id.
    """
    found = session.listing().events(source=source, asset=asset, limit=limit, before_id=before_id)
    print_listing(map(event_row, found), COLUMNS, as_json=as_json, empty="no events")


def event_row(event: StoredEvent) -> dict[str, object]:
    """Return all fields of an event."""
    return {**asdict(event), **partition_fields(event.partition)}

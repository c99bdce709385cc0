"""Changes on disk that runners have not loaded, below the listings of sensors and schedules."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import cast

import click

from flowstone_core.cli.listing import Row


def print_not_loaded(rows: Iterable[Row]) -> None:
    """Print the changes of sensors or schedules on disk that runners have not loaded."""
    for row in rows:
        changes = cast("Sequence[str]", row["not_loaded"])
        if changes:
            text = "; ".join(changes)
            click.echo(f"changed on disk, not loaded by the runner: {row['name']}: {text}")

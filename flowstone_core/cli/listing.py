"""Listings: the same rows as a table for people and as JSON for programs.

In JSON, instants are ISO 8601 in UTC with offset, durations seconds, and partitions their text in
the store (``partition``) beside the form for people (``partition_shown``).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from enum import Enum
from typing import TypeAlias, TypeVar

import click

F = TypeVar("F", bound=Callable[..., object])
Row: TypeAlias = Mapping[str, object]

CELL_LIMIT = 100
"""Most characters of one cell; ``show`` has the whole."""


def listing_options(function: F) -> F:
    """Add ``--json``, ``--limit`` and ``--before`` to a command."""
    for option in (
        click.option("--before", "before_id", type=int, help="Only those with a smaller id."),
        click.option(
            "--limit",
            type=click.IntRange(1, 100_000),
            default=50,
            show_default=True,
            help="At most so many.",
        ),
        json_option,
    ):
        function = option(function)
    return function


def json_option(function: F) -> F:
    """Add ``--json`` to a command."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON instead.")(function)


def print_rows(
    rows: Iterable[Row],
    columns: Mapping[str, str],
    *,
    as_json: bool,
    empty: str,
    cell_limit: int = CELL_LIMIT,
) -> None:
    """Print a listing.

    Args:
        rows: All that there is to say of each; a program gets everything.
        columns: The keys that people are shown, and their headings.
        as_json: Whether a program reads it.
        empty: What people are told if there are no rows.
        cell_limit: Most characters of a cell that people are shown.
    """
    rows = list(rows)
    if as_json:
        print_json(rows)
    elif rows:
        click.echo(
            _table(
                [[_cell(row.get(key), cell_limit) for key in columns] for row in rows],
                list(columns.values()),
            ),
            nl=False,
        )
    else:
        click.echo(empty)


def print_json(value: object) -> None:
    """Print a value as JSON."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False, default=_plain))


def print_facts(facts: Row) -> None:
    """Print what is known of one thing, a line each; what is None is left out."""
    from flowstone_core.errors import printable

    width = max(len(key) for key in facts) + 2
    for key, value in facts.items():
        if value is not None:
            text = printable(str(_shown(value)), 100_000)
            first, *rest = text.splitlines() or [""]
            click.echo(f"{key.replace('_', ' ') + ':':<{width}}{first}")
            for line in rest:
                click.echo(" " * width + line)


def partition_fields(text: str) -> dict[str, str]:
    """Return a stored partition's fields of a row."""
    from flowstone_core.partition import decode_partition, format_partition

    return {"partition": text, "partition_shown": format_partition(decode_partition(text))}


def _cell(value: object, limit: int) -> str:
    from flowstone_core.errors import printable

    text = printable(" ".join(str(_shown(value)).split()), 10_000)
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _shown(value: object) -> object:
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M:%SZ")
    if isinstance(value, timedelta):
        from flowstone_core.duration import format_duration

        return format_duration(value)
    if isinstance(value, float):
        return f"{value:.2f}s"
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, (list, tuple)):
        return ", ".join(str(item) for item in value)
    if isinstance(value, dict):
        return json.dumps(value, ensure_ascii=False)
    return value


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    return str(value)


def _table(rows: Sequence[Sequence[str]], headings: Sequence[str]) -> str:
    from io import StringIO

    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        table.add_column(heading, no_wrap=not sys.stdout.isatty())
    for row in rows:
        table.add_row(*map(Text, row))
    out = StringIO()
    terminal = sys.stdout.isatty()
    # Piped, a table is as wide as it is: whoever reads it wants whole cells.
    console = Console(file=out, force_terminal=terminal, width=None if terminal else 10_000)
    console.print(table)
    return "".join(line.rstrip() + "\n" for line in out.getvalue().splitlines())

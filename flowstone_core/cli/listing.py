"""Listings: rows printed as a table for people or as JSON for programs.

In JSON, instants are ISO 8601 in UTC with offset, durations are seconds, and a partition is its
text in the store (``partition``) beside the form for people (``partition_shown``).
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
Columns: TypeAlias = Mapping[str, str]
"""Keys of the rows that a table shows, and their headings."""

CELL_LIMIT = 100
"""Most characters of one cell on a terminal; ``show`` and a pipe have the whole."""

TEXTS = {
    "default", "depends_on", "description", "error", "example", "last_error", "payload", "provides",
    "reason", "settings", "source_error", "waiting_for", "words",
}  # fmt: skip
"""Keys of the cells that may take several lines: sentences and lists. A name, an instant or an id
stays on one line, to be read and copied."""

TEXT_WIDTH = 16
"""Width that a column of texts has at least; with less room a table is printed as records."""


def listing_options(function: F) -> F:
    """Add ``--json``, ``--limit`` and ``--before`` to a command."""
    for option in (
        click.option(
            "--before",
            "before_id",
            type=click.IntRange(1),
            metavar="ID",
            help="Show only rows with a smaller id: the next page.",
        ),
        click.option(
            "--limit",
            type=click.IntRange(1, 100_000),
            default=50,
            show_default=True,
            help="Most rows to show.",
        ),
        json_option,
    ):
        function = option(function)
    return function


def json_option(function: F) -> F:
    """Add ``--json`` to a command."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(function)


def print_listing(rows: Iterable[Row], columns: Columns, *, as_json: bool, empty: str) -> None:
    """Print a listing.

    Args:
        rows: The rows; JSON contains all their fields.
        columns: The columns of the table.
        as_json: Print JSON instead of a table.
        empty: Printed instead of an empty table.
    """
    if as_json:
        print_json(list(rows))
    else:
        print_table(rows, columns, empty=empty)


def print_json(value: object) -> None:
    """Print a value as JSON in ASCII: the same in every locale, and safe for a terminal."""
    click.echo(json.dumps(value, indent=2, default=_plain))


def print_table(
    rows: Iterable[Row], columns: Columns, *, empty: str, cell_limit: int = CELL_LIMIT
) -> None:
    """Print a table for people: fitted to the width of a terminal, or whole for a pipe.

    Args:
        rows: The rows.
        columns: The columns.
        empty: Printed if there are no rows.
        cell_limit: Most characters of a cell on a terminal.
    """
    terminal = sys.stdout.isatty()
    limit = cell_limit if terminal else sys.maxsize
    cells = [[_cell(row.get(key), limit) for key in columns] for row in rows]
    if not cells:
        click.echo(empty)
    elif terminal:
        _print_fitted(cells, columns)
    else:
        click.echo(_aligned([list(columns.values()), *cells]))


def print_facts(facts: Row) -> None:
    """Print the fields of one thing, one line each, without those that are None."""
    width = max(map(len, facts)) + 2
    for key, value in facts.items():
        if value is not None:
            first, *rest = _text(value).splitlines() or [""]
            click.echo(f"{key + ':':<{width}}{first}".rstrip())
            for line in rest:
                click.echo(" " * width + line)


def partition_fields(text: str) -> dict[str, str]:
    """Return the fields of a stored partition in a row."""
    from flowstone_core.model.partition import show_partition

    return {"partition": text, "partition_shown": show_partition(text)}


def shown(value: object) -> str:
    """Return a value as a table shows it."""
    return _cell(value, sys.maxsize)


def _text(value: object) -> str:
    """Format a value for people, safe for a terminal; possibly in several lines."""
    from flowstone_core.model.safe_text import printable

    return printable(_raw_text(value), sys.maxsize)


def _raw_text(value: object) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case datetime():
            return value.strftime("%Y-%m-%d %H:%M:%SZ")
        case timedelta():
            from flowstone_core.model.duration import format_duration

            return format_duration(value)
        case float() if value < 60:
            return f"{value:.2f}s"
        case float():
            return _raw_text(timedelta(seconds=round(value)))
        case Enum():
            return str(value.value)
        case list() | tuple():
            return ", ".join(map(str, value))
        case dict():
            return json.dumps(value, ensure_ascii=False)
        case _:
            return str(value)


def _cell(value: object, limit: int) -> str:
    text = " ".join(_text(value).splitlines()).replace("\t", " ")
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat()
    return value.total_seconds() if isinstance(value, timedelta) else str(value)


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    """Return a table that is as wide as its cells: a pipe gets them whole."""
    cell_len: Callable[[str], int] = len
    if not all(cell.isascii() for row in rows for cell in row):
        from rich.cells import cell_len

    widths = [max(map(cell_len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell + " " * (width - cell_len(cell)) for cell, width in zip(row, widths, strict=True)
        ).rstrip()
        for row in rows
    )


def _print_fitted(rows: Sequence[Sequence[str]], columns: Columns) -> None:
    """Print a table on a terminal; as records, if a name would not fit into its column."""
    from rich.cells import cell_len
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    table = Table(box=None, pad_edge=False, header_style="bold")
    least = 2 * (len(columns) - 1)
    for (key, heading), cells in zip(columns.items(), zip(*rows, strict=True), strict=True):
        width = max(map(cell_len, (heading, *cells)))
        if key in TEXTS:
            width = min(width, max(TEXT_WIDTH, len(heading)))
        least += width
        table.add_column(heading, min_width=width, no_wrap=key not in TEXTS, overflow="fold")
    if least > console.width:
        headings = list(columns.values())
        records = (dict(zip(headings, row, strict=True)) for row in rows)
        for number, record in enumerate(records):
            if number:
                click.echo()
            print_facts({heading: text for heading, text in record.items() if text})
        return
    for row in rows:
        table.add_row(*map(Text, row))
    console.print(table)

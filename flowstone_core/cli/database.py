"""``flowstone db``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.exceptions import Exit

from flowstone_core.cli.listing import json_option, print_facts, print_json
from flowstone_core.cli.session import FAILED, Session, pass_session

if TYPE_CHECKING:
    from flowstone_core.store import Pruned


@click.group()
def db() -> None:
    """The store's database."""


@db.command()
@pass_session
def upgrade(session: Session) -> None:
    """Apply the migrations that are missing; a newer, foreign or corrupt store is left as it is.

    A store in SQLite is upgraded by whatever opens it; one in PostgreSQL only by this.
    """
    from flowstone_core.app.maintenance import upgrade_store

    before, after = upgrade_store(session.flow().project.run.store)
    if before == after:
        click.echo(f"the store has revision {after} already")
    else:
        click.echo(f"the store was upgraded from {before or 'nothing'} to revision {after}")


@db.command(short_help="Delete old history.")
@click.option(
    "--older-than",
    metavar="DURATION",
    help="What ended longer ago, such as 90d; by default the setting retention.",
)
@click.option("--dry-run", is_flag=True, help="Say what would be deleted, and delete nothing.")
@json_option
@pass_session
def prune(session: Session, *, older_than: str | None, dry_run: bool, as_json: bool) -> None:
    """Delete history that ended long ago, a few rows at a time, while runners go on.

    What is not finished stays, and so does the latest completed materialization of each partition
    of each asset: it says that the partition is up to date. Events stay as long as their keys are
    remembered (dedupe_for). If it is interrupted, the next time goes on.

    With --json an object: dry_run, events, materializations, attempts, ticks, skips, backfills,
    runners (how many of each were deleted), keys (forgotten: they may occur again), kept_events,
    kept_materializations.
    """
    pruned = session.flow().prune(older_than, dry_run=dry_run)
    if as_json:
        print_json({"dry_run": dry_run, **asdict(pruned)})
    else:
        _print_pruned(pruned, dry_run=dry_run)


@db.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--force", is_flag=True, help="Overwrite FILE if it is there.")
@json_option
@pass_session
def backup(session: Session, *, file: Path, force: bool, as_json: bool) -> None:
    """Copy the store to FILE, while runners go on; SQLite only.

    FILE appears when the copy is whole and has been checked. To restore it: stop the runners,
    delete the store's file and those beside it that end in -wal and -shm, and put FILE in its
    place.

    With --json an object: path, size (in bytes), revision.
    """
    from flowstone_core.app.maintenance import back_up_store

    made = back_up_store(session.flow().project.run.store, file, overwrite=force)
    if as_json:
        print_json(asdict(made))
    else:
        click.echo(f"{made.path}: {made.size:,} bytes, revision {made.revision}")


@db.command(short_help="Look whether the store is whole and fits together.")
@json_option
@pass_session
def check(session: Session, *, as_json: bool) -> None:
    """Look whether the store is whole, and whether what it says fits together.

    It reads everything, changes nothing, and may run beside runners.

    With --json an object: store, revision, journal_mode (null for PostgreSQL), complete (false if
    only the database was looked at, and not what it says), problems (a list of texts).

    Exit code 1: something is wrong.
    """
    from flowstone_core.app.maintenance import check_store

    found = check_store(session.flow().project.run.store)
    if as_json:
        print_json(asdict(found))
    else:
        mode = found.journal_mode
        print_facts({"store": found.store, "revision": found.revision, "journal mode": mode})
    if found.problems:
        session.fail(*found.problems)
        raise Exit(FAILED)
    if not found.complete:
        session.warn(
            f"this version of FlowStone does not know revision {found.revision}: only the "
            "database was looked at, and not what it says"
        )
    if not as_json:
        click.echo("the store is sound")


WORDS = {
    "events": ("event", "events"),
    "materializations": ("materialization", "materializations"),
    "attempts": ("attempt", "attempts"),
    "ticks": ("tick", "ticks"),
    "skips": ("skip", "skips"),
    "backfills": ("backfill", "backfills"),
    "runners": ("runner", "runners"),
}


def _print_pruned(pruned: Pruned, *, dry_run: bool) -> None:
    numbers: Mapping[str, int] = asdict(pruned)
    deleted = [_counted(numbers[what], *words) for what, words in WORDS.items() if numbers[what]]
    verb = "would delete" if dry_run else "deleted"
    click.echo(f"{verb}: {', '.join(deleted) or 'nothing'}")
    if pruned.keys:
        verb = "would forget" if dry_run else "forgot"
        keys = _counted(pruned.keys, "key", "keys")
        click.echo(f"{verb}: {keys} of events older than dedupe_for")
    kept = []
    if pruned.kept_materializations:
        one, many = "completed materialization", "completed materializations"
        kept.append(
            f"{_counted(pruned.kept_materializations, one, many)}, the latest of their partitions"
        )
    if pruned.kept_events:
        events = _counted(pruned.kept_events, "event", "events")
        kept.append(f"{events} whose keys are remembered (dedupe_for)")
    if kept:
        click.echo(f"kept: {'; '.join(kept)}")


def _counted(number: int, one: str, many: str) -> str:
    return f"{number:,} {one if number == 1 else many}"

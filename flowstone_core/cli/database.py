"""``flowstone db``."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.exceptions import Exit

from flowstone_core.cli.listing import json_option, print_facts, print_json
from flowstone_core.cli.session import FAILED, Session, pass_session

if TYPE_CHECKING:
    from flowstone_core.store import CopyProgress, Pruned


@click.group()
def db() -> None:
    """Upgrade, prune, back up, copy and check the store."""


@db.command()
@pass_session
def upgrade(session: Session) -> None:
    """Apply the missing migrations; a newer, foreign or corrupt store is left unchanged.

    Any command that opens an SQLite store upgrades it; only this command upgrades PostgreSQL.
    """
    from flowstone_core.app.maintenance import upgrade_store

    before, after = upgrade_store(session.flow().project.run.store)
    if before == after:
        click.echo(f"the store is up to date: revision {after}")
    else:
        click.echo(f"the store was upgraded from {before or 'nothing'} to revision {after}")


@db.command(short_help="Delete old history.")
@click.option(
    "--older-than",
    metavar="DURATION",
    help="Age to delete, such as 90d; the setting 'retention' by default.",
)
@click.option("--dry-run", is_flag=True, help="Count what would be deleted; delete nothing.")
@click.option(
    "--trust-clock",
    is_flag=True,
    help="Count the weeks in which no runner ran, too.",
)
@json_option
@pass_session
def prune(
    session: Session, *, older_than: str | None, dry_run: bool, trust_clock: bool, as_json: bool
) -> None:
    """Delete old history in small transactions, beside running runners.

    Unfinished materializations stay, and so does the latest completed materialization of each
    partition, which shows that the partition is up to date. Events stay while their keys are
    remembered (dedupe_for). An interrupted command can be repeated. Time in which no runner ran is
    not counted if it is longer than a week: the clock may be wrong.

    With --json an object: dry_run, events, materializations, attempts, ticks, skips, backfills,
    runners (the number of deleted rows), keys (forgotten: they may fire again), kept_events,
    kept_materializations.
    """
    pruned = session.listing().prune(older_than, dry_run=dry_run, trust_clock=trust_clock)
    if as_json:
        print_json({"dry_run": dry_run, **asdict(pruned)})
    else:
        _print_pruned(pruned, dry_run=dry_run)


@db.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--force", is_flag=True, help="Overwrite an existing FILE.")
@json_option
@pass_session
def backup(session: Session, *, file: Path, force: bool, as_json: bool) -> None:
    """Back up the store to FILE, beside running runners; SQLite only.

    FILE appears when the copy is complete and checked. To restore it: stop the runners, delete
    the store's file and its -wal and -shm files, and move FILE to its place.

    With --json an object: path, size (in bytes), revision.
    """
    from flowstone_core.app.maintenance import back_up_store

    made = back_up_store(session.flow().project.run.store, file, overwrite=force)
    if as_json:
        print_json(asdict(made))
    else:
        click.echo(f"{made.path}: {made.size:,} bytes, revision {made.revision}")


def _store_url(_: click.Context, __: click.Parameter, text: str | None) -> str | None:
    from flowstone_core.app.maintenance import display_url
    from flowstone_core.errors import ValidationError

    try:
        if text is not None:
            display_url(text)
    except ValidationError as error:
        raise click.BadParameter(error.message) from None
    return text


@db.command(short_help="Copy a store to another database.")
@click.argument("source", metavar="FROM", callback=_store_url)
@click.argument("target", metavar="[TO]", required=False, callback=_store_url)
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
@pass_session
def copy(session: Session, *, source: str, target: str | None, yes: bool, as_json: bool) -> None:
    """Copy the store FROM to the empty store TO, from SQLite to PostgreSQL or back.

    FROM and TO are URLs, as in the setting 'store'; TO is the configured store by default. The
    tables of a TO in PostgreSQL are made with 'flowstone db upgrade'; a file that does not exist is
    created.

    All is copied, or nothing: TO is written in one transaction, read again and compared, and stays
    empty if the command is interrupted. FROM is not changed. Stop the runners before: both stores
    are locked meanwhile, and a store with a living runner is refused. Running attempts are carried
    on by the first runner on TO, as those of a runner that was killed.

    With --json an object: source, target, revision, rows (the number of rows of each table).

    Exit code 1: nothing was copied.
    """
    from flowstone_core.app.maintenance import check_copy, copy_store, display_url

    target = target or session.flow().project.run.store
    shown = f"{display_url(source)} to {display_url(target)}"
    if not yes:
        check_copy(source, target)
        click.confirm(f"copy the store {shown}?", abort=True, err=True)
    with _watch(as_json=as_json) as watch:
        copied = copy_store(source, target, watch=watch)
    if as_json:
        print_json(asdict(copied))
    else:
        print_facts({what: f"{rows:,}" for what, rows in copied.rows.items()})
        click.echo(f"copied {shown}; revision {copied.revision}")


@contextmanager
def _watch(*, as_json: bool) -> Iterator[Callable[[CopyProgress], object]]:
    """Yield a function that shows a progress on a terminal."""
    if as_json or not sys.stdout.isatty():
        yield lambda _: None
        return
    from rich.console import Console

    with Console(highlight=False, markup=False).status("") as status:
        yield lambda at: status.update(f"{at.what}: {at.done:,} of {at.total:,}")


@db.command(short_help="Check the integrity of the store.")
@json_option
@pass_session
def check(session: Session, *, as_json: bool) -> None:
    """Check the integrity of the database and the consistency of its rows.

    The command reads everything, changes nothing, and may run beside runners.

    With --json an object: store, revision, journal_mode (null for PostgreSQL), complete (false if
    the rows were not checked), problems (a list of texts).

    Exit code 1: a problem was found.
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
            f"unknown revision {found.revision}: only the database was checked, not its rows "
            "(use the version of FlowStone that wrote it)"
        )
    if not as_json:
        click.echo("no problems found")


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

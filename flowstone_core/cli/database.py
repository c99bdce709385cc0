"""``flowstone db``."""

from __future__ import annotations

import click

from flowstone_core.cli.session import Session, pass_session


@click.group()
def db() -> None:
    """The store's database."""


@db.command()
@pass_session
def upgrade(session: Session) -> None:
    """Apply the migrations that are missing; a newer, foreign or corrupt store is left as it is.

    A store in SQLite is upgraded by whatever opens it; one in PostgreSQL only by this.
    """
    from flowstone_core.app import upgrade_store

    before, after = upgrade_store(session.flow().settings.run.store)
    if before == after:
        click.echo(f"the store has revision {after} already")
    else:
        click.echo(f"the store was upgraded from {before or 'nothing'} to revision {after}")

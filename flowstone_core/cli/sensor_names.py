"""``flowstone sensors rename`` and ``remove``: sensors whose names are no longer declared."""

from __future__ import annotations

import click

from flowstone_core.cli.session import Session, pass_session


def add_rename_and_remove(group: click.Group) -> None:
    """Add the two commands to the group of sensors."""

    @group.command()
    @click.argument("old")
    @click.argument("new")
    @pass_session
    def rename(session: Session, *, old: str, new: str) -> None:
        """Continue sensor OLD as NEW: with its state, its history and the keys of its events.

        Rename its section or its declaration first, with the runner stopped. Without this command
        NEW starts from the beginning, and fires again for everything that OLD has found.
        """
        flow = session.changing(lambda flow: flow.sensors.rename(old, new))
        flow.sensors.rename(old, new)
        click.echo(f"sensor {old} is renamed to {new}")

    @group.command()
    @click.argument("name")
    @pass_session
    def remove(session: Session, *, name: str) -> None:
        """Remove a sensor that is no longer declared, with its state; its history is kept."""
        flow = session.changing(lambda flow: flow.sensors.remove(name))
        flow.sensors.remove(name)
        click.echo(f"sensor {name} is removed")

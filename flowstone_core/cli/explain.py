"""``flowstone explain``."""

from __future__ import annotations

from dataclasses import asdict

import click

from flowstone_core.cli.listing import json_option, print_json
from flowstone_core.cli.session import Session, pass_session


@click.command(short_help="Explain the state of a sensor, a schedule or a materialization.")
@click.argument("name")
@json_option
@pass_session
def explain(session: Session, *, name: str, as_json: bool) -> None:
    """Explain the state of a sensor, a schedule or a materialization, and what comes next.

    NAME is the name of a sensor or a schedule (if both have it, both are explained), or the number
    of a materialization. The explanation gives the reason why it fired, was skipped or suppressed,
    is late or is quarantined.

    With --json a list of objects: subject and facts (a list of sentences).
    """
    from flowstone_core.model.safe_text import printable

    flow = session.listing()
    found = flow.explain(name)
    if as_json:
        print_json([asdict(each) for each in found])
        return
    for number, each in enumerate(found):
        click.echo(f"{chr(10) if number else ''}{printable(each.subject)}")
        for fact in each.facts:
            click.echo(f"  {printable(flow.project.redactor(' '.join(fact.split())), 10_000)}")

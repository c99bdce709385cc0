"""What a command line says of a schedule: its options, and what they mean to the API."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import click

if TYPE_CHECKING:
    from flowstone_core.scheduling.schedule import Triggers

F = TypeVar("F", bound=Callable[..., object])


def setting_options(function: F) -> F:
    """Add an option for each setting of a schedule to a command."""
    catchup = click.Choice(["none", "latest", "all"])
    overlap = click.Choice(["skip", "buffer_one", "buffer_all", "allow"])
    options = [
        click.option("--cron", metavar="EXPR", help="When it fires: '30 2 * * *'."),
        click.option("--every", metavar="TEXT", help="Or: '10 minutes', 'day at 10:30', '30s'."),
        click.option(
            "--trigger",
            nargs=2,
            metavar="NAME TEXT",
            help="Or: a trigger that a plugin provides, and what it is made of.",
        ),
        click.option("--timezone", metavar="TZ", help="An IANA name; UTC by default."),
        click.option(
            "--partition",
            metavar="TEMPLATE",
            help="Such as '${year}-${month}'; the instant's date by default.",
        ),
        click.option("--catchup", type=catchup, help="Which missed instants are caught up."),
        click.option("--catchup-window", metavar="DURATION", help="How long ago at most."),
        click.option("--overlap", type=overlap, help="What to do while the last one runs."),
        click.option("--jitter", metavar="DURATION", help="Fire at most so long after."),
        click.option("--start", metavar="ISO", help="Do not fire before."),
        click.option("--end", metavar="ISO", help="Do not fire after."),
        click.option(
            "--pause-on-failure/--no-pause-on-failure",
            default=None,
            help="Pause it when a materialization is discarded.",
        ),
        click.option("--enabled/--disabled", default=None, help="Whether it fires at all."),
        click.option(
            "--metadata",
            multiple=True,
            metavar="KEY=VALUE",
            help="Your own notes on it; may be given several times.",
        ),
    ]
    for option in reversed(options):
        function = option(function)
    return function


def given_settings(options: dict[str, object], triggers: Triggers) -> dict[str, object]:
    """Return the settings that a command line names, as the API takes them.

    Args:
        options: What `setting_options` gives a command.
        triggers: The trigger classes there are.

    Raises:
        ValidationError: If there is no trigger of the name that is given.
    """
    given = {key: value for key, value in options.items() if value is not None}
    trigger = given.pop("trigger", None)
    if isinstance(trigger, tuple):
        kind, text = trigger
        _check_trigger(kind, triggers)
        if kind in given:
            raise click.UsageError(f"--trigger {kind} and --{kind} both say when it fires")
        given[kind] = text
    metadata = given.pop("metadata", ())
    if isinstance(metadata, tuple) and metadata:
        given["metadata"] = "\n".join(metadata)
    for key in ("partition", "start", "end"):
        if given.get(key) == "":
            given[key] = None
    return given


def _check_trigger(kind: str, triggers: Triggers) -> None:
    from flowstone_core.errors import Problem, ValidationError, did_you_mean

    if kind not in triggers:
        hint = did_you_mean(kind, triggers) or f"known: {', '.join(sorted(triggers))}"
        message = f"no installed plugin provides a trigger {kind!r:.80}"
        raise ValidationError(Problem(message, hint=hint))

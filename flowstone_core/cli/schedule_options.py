"""Options for the settings of a schedule, and their values as the API takes them."""

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
        click.option("--cron", metavar="EXPR", help="Cron expression, such as '30 2 * * *'."),
        click.option(
            "--every", metavar="TEXT", help="Or interval: '10 minutes', 'day at 10:30', '30s'."
        ),
        click.option(
            "--trigger",
            nargs=2,
            metavar="NAME TEXT",
            help="Or a trigger that a plugin provides, and its text.",
        ),
        click.option("--timezone", metavar="TZ", help="IANA time zone; UTC by default."),
        click.option(
            "--partition",
            metavar="TEMPLATE",
            help="Partition, such as '${year}-${month}'; the date of the instant by default.",
        ),
        click.option("--catchup", type=catchup, help="Missed instants that fire."),
        click.option("--catchup-window", metavar="DURATION", help="Greatest age of such instants."),
        click.option("--overlap", type=overlap, help="Action while the previous one runs."),
        click.option("--jitter", metavar="DURATION", help="Greatest random delay of an instant."),
        click.option("--start", metavar="ISO", help="Do not fire before."),
        click.option("--end", metavar="ISO", help="Do not fire after."),
        click.option(
            "--pause-on-failure/--no-pause-on-failure",
            default=None,
            help="Pause the schedule when a materialization is discarded.",
        ),
        click.option("--enabled/--disabled", default=None, help="Switch the schedule on or off."),
        click.option("--metadata", multiple=True, metavar="KEY=VALUE", help="Note; repeatable."),
    ]
    for option in reversed(options):
        function = option(function)
    return function


def given_settings(options: dict[str, object], triggers: Triggers) -> dict[str, object]:
    """Return the settings of a command line as the API takes them.

    Args:
        options: The values of the options of `setting_options`.
        triggers: The trigger classes by name.

    Raises:
        ValidationError: If the trigger is unknown.
    """
    given = {key: value for key, value in options.items() if value is not None}
    trigger = given.pop("trigger", None)
    if isinstance(trigger, tuple):
        kind, text = trigger
        _check_trigger(kind, triggers)
        if kind in given:
            raise click.UsageError(f"give either --trigger {kind} or --{kind}")
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
        message = f"unknown trigger {kind!r:.80}"
        raise ValidationError(Problem(message, hint=hint))

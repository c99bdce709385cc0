"""The root command: global options, errors as messages, exit codes, and plugins' commands."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import click

from flowstone_core.cli.session import LogFormat, Session
from flowstone_core.errors import (
    FlowstoneError,
    PluginError,
    ValidationError,
    describe,
    describe_traceback,
)

DONE, FAILED, WRONG = 0, 1, 2
"""Exit codes: done, failed, wrong use or wrong configuration."""


class Root(click.Group):
    """Turns errors into messages and exit codes, and finds the commands of plugins.

    A plugin's command is looked for only when a name is none of FlowStone's own: finding out
    what is installed costs more than all the rest of ``--help``.
    """

    def main(self, args: Sequence[str] | None = None, *rest: Any, **options: Any) -> NoReturn:
        """Run a command and end the process with its exit code."""
        options["standalone_mode"] = False
        try:
            code = super().main(args, *rest, **options)
            sys.stdout.flush()
        except click.ClickException as error:
            error.show()
            code = error.exit_code
        except (click.Abort, KeyboardInterrupt):
            code = 130
        except ValidationError as error:
            for problem in error.problems:
                click.echo(f"error: {problem}", err=True)
            code = WRONG
        except FlowstoneError as error:
            click.echo(f"error: {error}", err=True)
            code = FAILED
        except BrokenPipeError:
            # Whoever read the output has gone, as `head` does; Python would complain at its end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            code = FAILED
        except Exception as error:  # noqa: BLE001 - shown, redacted, and told by the exit code
            _report(error)
            code = FAILED
        sys.exit(code if isinstance(code, int) else DONE)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command of FlowStone's own, or else one of a plugin."""
        own = super().get_command(ctx, cmd_name)
        if own is not None or ctx.resilient_parsing:
            return own
        from flowstone_core.plugins import discover

        try:
            return discover().commands().get(cmd_name)
        except PluginError as error:
            click.echo(f"warning: {error}", err=True)
            return None


def _report(error: Exception) -> None:
    """Show an error that should not have happened, without a secret."""
    context = click.get_current_context(silent=True)
    session = context.find_object(Session) if context is not None else None
    redact = session.redactor if session is not None else str
    click.echo(f"error: {describe(error, redact)}", err=True)
    click.echo(redact(describe_traceback(error)), err=True)
    click.echo("This is a fault of FlowStone or of a plugin: please report it.", err=True)


def _show_version(context: click.Context, _: click.Parameter, wanted: bool) -> None:  # noqa: FBT001 - click's own signature
    if not wanted or context.resilient_parsing:
        return
    from importlib.metadata import version

    python = ".".join(map(str, sys.version_info[:3]))
    click.echo(f"flowstone {version('flowstone-core')} (Python {python}, plugin API 1)")
    context.exit()


@click.group(cls=Root, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    help="The configuration file; setup.cfg or flowstone.cfg of this folder by default.",
)
@click.option(
    "--log-format",
    type=click.Choice(["keyvalue", "json"]),
    default="keyvalue",
    show_default=True,
    help="How log lines are written, to standard error.",
)
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default=None,
    help="The least level that is logged; info for 'run', warning for the others.",
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_show_version,
    help="Show the versions of FlowStone, Python and the plugin API.",
)
@click.pass_context
def root(
    context: click.Context, config: Path | None, log_format: LogFormat, log_level: str | None
) -> None:
    """Turn "something happened" into "this partition of this asset is up to date".

    Exit codes: 0 done, 1 failed, 2 wrong use or wrong configuration.
    """
    session = Session(config, log_format, log_level)
    context.obj = session
    context.call_on_close(session.close)

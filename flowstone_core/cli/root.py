"""The root command: global options, errors as messages, exit codes, and plugins' commands."""

from __future__ import annotations

import errno
import io
import platform
import sys
from pathlib import Path
from typing import Any

import click
from click.exceptions import Exit

from flowstone_core.cli.session import FAILED, WRONG, LogFormat, Session
from flowstone_core.errors import FlowstoneError, ValidationError
from flowstone_core.model.safe_text import describe, describe_traceback

PLUGIN_API = 1
"""`hookspecs.API_VERSION`, which costs an import of pluggy; a test compares them."""


class Root(click.Group):
    """Turns errors into messages and exit codes, and finds the commands of plugins.

    A plugin's command is looked for only when a name is none of FlowStone's own: finding out
    what is installed costs more than all the rest of ``--help``.
    """

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; what it raises becomes a message and an exit code."""
        session = ctx.obj = Session(**ctx.params)
        ctx.call_on_close(session.close)
        if isinstance(sys.stdout, io.TextIOWrapper):
            # What a terminal or a pipe cannot write is shown escaped.
            sys.stdout.reconfigure(errors="backslashreplace")
        try:
            return super().invoke(ctx)
        except ValidationError as error:
            session.fail(*map(str, error.problems))
            raise Exit(WRONG) from None
        except FlowstoneError as error:
            session.fail(str(error))
            raise Exit(FAILED) from None
        except Exception as error:
            if _is_clicks_own(error):
                raise
            session.fail(describe(error, session.redact))
            click.echo(session.redact(describe_traceback(error)), err=True)
            click.echo("This is a fault of FlowStone or of a plugin: please report it.", err=True)
            raise Exit(FAILED) from None

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command of FlowStone's own, or else one of a plugin."""
        own = super().get_command(ctx, cmd_name)
        session = ctx.find_object(Session)
        if own is not None or session is None:
            return own
        commands, problems = session.plugins().commands()
        command = commands.get(cmd_name)
        if command is None:
            session.warn(*problems)
        return command


def _is_clicks_own(error: Exception) -> bool:
    """Say whether click knows best what to do: wrong use, an end, a reader who went away."""
    known = isinstance(error, click.ClickException | Exit | click.Abort | EOFError)
    return known or (isinstance(error, OSError) and error.errno == errno.EPIPE)


@click.group("flowstone", cls=Root, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--config",
    "path",
    metavar="FILE",
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
    help="The least level that is logged; info for 'run', warning for the others by default.",
)
@click.version_option(
    package_name="flowstone-core",
    message=f"flowstone %(version)s (Python {platform.python_version()}, plugin API {PLUGIN_API})",
    help="Show the versions of FlowStone, Python and the plugin API.",
)
def root(path: Path | None, log_format: LogFormat, log_level: str | None) -> None:
    """Turn "something happened" into "this partition of this asset is up to date".

    Commands of plugins are not listed here, but by 'flowstone plugins list'.

    Exit codes: 0 done, 1 failed, 2 wrong use or wrong configuration.
    """
    # The options make the session, in `Root.invoke`: it must be there before a command is found.
    del path, log_format, log_level

"""Root command: global options, errors as messages and exit codes, and commands of plugins."""

from __future__ import annotations

import errno
import io
import platform
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.exceptions import Exit

from flowstone_core.cli.commands import SHORT_HELP, LazyCommands
from flowstone_core.cli.session import FAILED, WRONG, LogFormat, Session

if TYPE_CHECKING:
    from importlib.metadata import Distribution

PLUGIN_API = 1
"""`hookspecs.API_VERSION`, which costs an import of pluggy; a test compares them."""


WITHOUT_COMMANDS = {"flowstone-core", "flowstone-db", "flowstone-http", "flowstone-s3"}
"""Distributions whose plugins have no commands: with these alone ``--help`` imports no plugin."""

GLOBAL_OPTIONS = ("--config", "--log-format", "--log-level")


class Root(click.Group):
    """Root group: turns errors into messages and exit codes, and finds the commands of plugins.

    A plugin's command is looked up only when FlowStone itself has no command of the name, or for
    ``--help``: discovering plugins costs more than all the rest.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the arguments; global options may also stand after one of FlowStone's commands."""
        return super().parse_args(ctx, _global_first(args))

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; an exception becomes a message and an exit code."""
        session = ctx.obj = Session(**ctx.params)
        ctx.call_on_close(session.close)
        if isinstance(sys.stdout, io.TextIOWrapper):
            # What a terminal or a pipe cannot write is shown escaped.
            sys.stdout.reconfigure(errors="backslashreplace")
        try:
            return super().invoke(ctx)
        except Exception as error:
            if _is_clicks_own(error):
                raise
            raise Exit(_report(session, error)) from None

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return one of FlowStone's own commands, or else one of a plugin."""
        own = super().get_command(ctx, cmd_name)
        session = ctx.find_object(Session)
        if own is not None or session is None:
            return own
        commands, problems = session.plugins().commands()
        command = commands.get(cmd_name)
        if command is None:
            session.warn(*problems)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands without importing them, then those of plugins."""
        with formatter.section("Commands"):
            formatter.write_dl(sorted(SHORT_HELP.items()))
        session = ctx.find_object(Session) or Session(None, "keyvalue", None)
        found = session.plugins().commands()[0] if _foreign_plugins() else {}
        others = sorted(found.keys() - SHORT_HELP.keys())
        if others:
            with formatter.section("Commands of plugins"):
                formatter.write_dl([(name, found[name].get_short_help_str(70)) for name in others])


def _foreign_plugins() -> bool:
    """Return True if a plugin is installed that may have a command; none is imported."""
    from importlib.metadata import distributions

    def readable(distribution: Distribution) -> bool:
        try:
            # To parse the entry points of every distribution would take half of the time.
            if "flowstone" not in (distribution.read_text("entry_points.txt") or ""):
                return False
            points = distribution.entry_points.select(group="flowstone")
            return bool(points) and distribution.name not in WITHOUT_COMMANDS
        except Exception:  # noqa: BLE001 - metadata of any kind; 'plugins list' reports it
            return False

    return any(map(readable, distributions()))


def _global_first(args: list[str]) -> list[str]:
    """Move global options to the front, from behind one of FlowStone's own commands.

    A plugin's command may have options of the same names.
    """
    moved: list[str] = []
    rest: list[str] = []
    queue = list(args)
    while queue and queue[0] != "--":
        word = queue.pop(0)
        name, equals, _ = word.partition("=")
        if name in GLOBAL_OPTIONS and (equals or queue):
            moved += [word] if equals else [word, queue.pop(0)]
        else:
            rest.append(word)
    command = next((word for word in rest if not word.startswith("-")), "")
    if command not in SHORT_HELP:
        return args
    if rest[-1] in GLOBAL_OPTIONS:
        raise click.UsageError(f"Option {rest[-1]!r} requires an argument.")
    return [*moved, *rest, *queue]


def _report(session: Session, error: Exception) -> int:
    """Print an error and return its exit code."""
    from flowstone_core.errors import FlowstoneError, ValidationError
    from flowstone_core.model.safe_text import describe, describe_traceback

    if isinstance(error, ValidationError):
        session.fail(*map(str, error.problems))
        return WRONG
    if isinstance(error, FlowstoneError):
        session.fail(str(error))
        return FAILED
    session.fail(describe(error, session.redact))
    click.echo(session.redact(describe_traceback(error)), err=True)
    click.echo("This is a bug in FlowStone or in a plugin: please report it.", err=True)
    return FAILED


def _is_clicks_own(error: Exception) -> bool:
    """Return True if click handles the error: wrong use, an exit, a reader that went away."""
    known = isinstance(error, click.ClickException | Exit | click.Abort | EOFError)
    return known or (isinstance(error, OSError) and error.errno == errno.EPIPE)


@click.group(
    "flowstone",
    cls=Root,
    commands=LazyCommands(),
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.option(
    "--config",
    "path",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Configuration file; setup.cfg or flowstone.cfg in the current folder by default.",
)
@click.option(
    "--log-format",
    type=click.Choice(["keyvalue", "json"]),
    default="keyvalue",
    show_default=True,
    help="Format of the log lines on standard error.",
)
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    help="Lowest level to log; by default info for 'run', warning for other commands.",
)
@click.version_option(
    package_name="flowstone-core",
    message=f"flowstone %(version)s (Python {platform.python_version()}, plugin API {PLUGIN_API})",
    help="Show the versions of FlowStone, Python and the plugin API.",
)
def root(path: Path | None, log_format: LogFormat, log_level: str | None) -> None:
    """Turn "something happened" into "this partition of this asset is up to date".

    Exit codes: 0 done, 1 failed, 2 wrong use or wrong configuration.
    """
    # The options make the session, in `Root.invoke`: it must exist before a command is looked up.
    del path, log_format, log_level

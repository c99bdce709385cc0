"""Session of one command line: its configuration, its log and its open Flowstone."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

import click

if TYPE_CHECKING:
    from flowstone_core.app.flowstone import Flowstone
    from flowstone_core.cli.log_writer import LogWriter
    from flowstone_core.config.project import Project
    from flowstone_core.plugin.registry import Plugins

LogFormat: TypeAlias = Literal["keyvalue", "json"]

DONE, FAILED, WRONG = 0, 1, 2
"""Exit codes: done, failed, wrong use or wrong configuration."""


class Session:
    """Session of one command line, made by the root command; for the main thread only.

    Args:
        path: The configuration file, if one was named.
        log_format: Format of the log lines on standard error.
        log_level: The lowest level to log, if one was named.

    Attributes:
        redact: Hides the secrets that are known so far.
        missing_store: URL of the configured store, if a listing shows an empty one in its place.
    """

    def __init__(self, path: Path | None, log_format: LogFormat, log_level: str | None) -> None:
        self._path = path
        self._log_format = log_format
        self._log_level = log_level
        self._flow: Flowstone | None = None
        self._writer: LogWriter | None = None
        self.redact: Callable[[str], str] = str
        self.missing_store: str | None = None

    def flow(
        self, *, log_level: str = "warning", preload_log: bool = False, warn_if_empty: bool = True
    ) -> Flowstone:
        """Return the configured Flowstone; its store is opened on first use.

        Args:
            log_level: The lowest level to log unless the command line names one.
            warn_if_empty: Warn if there is no configuration.
            preload_log: For commands that run for long: no log line blocks them; see
                `log_output.configure`.

        Raises:
            ValidationError: If the configuration is invalid; lists every problem.
        """
        if self._flow is None:
            from flowstone_core.app.flowstone import Flowstone
            from flowstone_core.config.file.reader import load
            from flowstone_core.model.redaction import Redactor, secrets_of

            self._log(log_level, Redactor(secrets_of(os.environ)))
            config = load(self._path, os.environ)
            self._flow = Flowstone(config=config)
            self._log(log_level, self._flow.project.redactor, preload=preload_log)
            if config.empty and warn_if_empty:
                store = self._flow.project.run.store
                self.warn(f"no configuration found; using the store {store}")
        return self._flow

    def listing(self, *, log_level: str = "warning") -> Flowstone:
        """Return the configured Flowstone for a command that only reads.

        An SQLite store that does not exist yet is not created: an empty one in memory stands for
        it, so that what is declared is listed.

        Args:
            log_level: See `flow`.
        """
        from flowstone_core.app.maintenance import store_exists

        flow = self.flow(log_level=log_level)
        if self.missing_store is None and not store_exists(flow.project.run.store):
            self.missing_store = flow.project.redactor(flow.project.run.store)
            flow.project = _in_memory(flow.project)
        return flow

    def changing(self, change: Callable[[Flowstone], object]) -> Flowstone:
        """Return the configured Flowstone for a command that changes what exists.

        An SQLite store that does not exist yet is created only if the change succeeds on an empty
        one in memory: a name that is not known makes no file.

        Args:
            change: The change; it is made here on a store in memory only.

        Raises:
            FlowstoneError: If the change fails there.
        """
        from flowstone_core.app.maintenance import store_exists

        flow = self.flow()
        project = flow.project
        if not store_exists(project.run.store):
            flow.project = _in_memory(project)
            try:
                change(flow)
            finally:
                flow.close()
                flow.project = project
        return flow

    def plugins(self) -> Plugins:
        """Discover the allowed plugins; all of them if the configuration cannot be read."""
        from flowstone_core.app.maintenance import installed_plugins
        from flowstone_core.config.file.reader import Config, load
        from flowstone_core.errors import ValidationError

        try:
            config = load(self._path, os.environ)
        except ValidationError as error:
            self.warn(*map(str, error.problems))
            config = Config()
        return installed_plugins(config)

    def warn(self, *warnings: str) -> None:
        """Print warnings, a line each, to standard error."""
        for warning in warnings:
            self._complain("warning", warning)

    def fail(self, *errors: str) -> None:
        """Print errors, a line each, to standard error."""
        for error in errors:
            self._complain("error", error)

    def close(self) -> None:
        """Close the store, if it is open, and write the last log lines."""
        if self._flow is not None:
            self._flow.close()
        if self._writer is not None:
            self._writer.flush()

    def _log(self, level: str, redact: Callable[[str], str], *, preload: bool = False) -> None:
        from flowstone_core.cli.log_output import configure
        from flowstone_core.cli.log_writer import LogWriter

        self.redact = redact
        level = (self._log_level or level).upper()
        writer = LogWriter(sys.stderr, background=preload)
        configure(self._log_format, level, redact, writer, preload=preload)
        self._writer = writer if preload else None

    def _complain(self, kind: str, text: str) -> None:
        from flowstone_core.model.safe_text import printable

        one_line = " ".join(line.strip() for line in text.splitlines())
        line = f"{kind}: {printable(self.redact(one_line), 10_000)}"
        if self._writer is None:
            click.echo(line, err=True)
        else:  # in order with the log lines, and without a wait for a stream that nobody reads
            self._writer.write(f"{line}\n")
            self._writer.flush()


def _in_memory(project: Project) -> Project:
    """Return a project with an empty store in memory."""
    return replace(project, run=project.run.model_copy(update={"store": "sqlite://"}))


pass_session = click.make_pass_decorator(Session)


def command_flowstone() -> Flowstone:
    """Return the Flowstone of the running command, with the configuration that ``--config`` chose.

    For commands of plugins; FlowStone closes its store when the command ends.

    Raises:
        PluginError: If no ``flowstone`` command is running.
        ValidationError: If the configuration is invalid; lists every problem.
    """
    from flowstone_core.errors import PluginError

    context = click.get_current_context(silent=True)
    session = None if context is None else context.find_object(Session)
    if session is None:
        raise PluginError("command_flowstone() must be called in a command of 'flowstone'")
    return session.flow()

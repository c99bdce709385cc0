"""What one command line works with: its configuration, its log, and the open Flowstone."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

import click

if TYPE_CHECKING:
    from flowstone_core.app.flowstone import Flowstone
    from flowstone_core.plugin.registry import Plugins

LogFormat: TypeAlias = Literal["keyvalue", "json"]

DONE, FAILED, WRONG = 0, 1, 2
"""Exit codes: done, failed, wrong use or wrong configuration."""


class Session:
    """Made by the root command and handed to every other; the main thread's alone.

    Args:
        path: The configuration file, if one was named.
        log_format: How log lines are written, to standard error.
        log_level: The least level that is logged, if one was named.

    Attributes:
        redact: Hides secrets, as far as they are known yet.
    """

    def __init__(self, path: Path | None, log_format: LogFormat, log_level: str | None) -> None:
        self._path = path
        self._log_format = log_format
        self._log_level = log_level
        self._flow: Flowstone | None = None
        self.redact: Callable[[str], str] = str

    def flow(self, *, log_level: str = "warning") -> Flowstone:
        """Return the configured Flowstone; its store is opened when it is first used.

        Args:
            log_level: The least level that is logged unless the command line names one.

        Raises:
            ValidationError: If anything is wrong with the configuration.
        """
        if self._flow is None:
            from flowstone_core.app.flowstone import Flowstone
            from flowstone_core.config.file.reader import load
            from flowstone_core.model.redaction import Redactor

            self._log(log_level, Redactor())
            config = load(self._path, os.environ)
            self._flow = Flowstone(config=config)
            self._log(log_level, self._flow.project.redactor)
            if config.empty:
                store = self._flow.project.run.store
                self.warn(f"nothing is configured here; the store is {store}")
        return self._flow

    def plugins(self) -> Plugins:
        """Find what is installed; where the configuration cannot be read, all of it."""
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
        """Close what is open."""
        if self._flow is not None:
            self._flow.close()

    def _log(self, level: str, redact: Callable[[str], str]) -> None:
        from flowstone_core.cli.log_format import configure

        self.redact = redact
        configure(self._log_format, (self._log_level or level).upper(), redact, sys.stderr)

    def _complain(self, kind: str, text: str) -> None:
        from flowstone_core.model.safe_text import printable

        one_line = " ".join(line.strip() for line in text.splitlines())
        click.echo(f"{kind}: {printable(self.redact(one_line), 10_000)}", err=True)


pass_session = click.make_pass_decorator(Session)

"""What one command line works with: its configuration, its log, and the open Flowstone."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

import click

if TYPE_CHECKING:
    from flowstone_core.app import Flowstone
    from flowstone_core.config import Config


LogFormat: TypeAlias = Literal["keyvalue", "json"]


class Session:
    """Made by the root command and handed to every other.

    Args:
        path: The configuration file, if one was named.
        log_format: ``keyvalue`` or ``json``.
        log_level: The least level that is logged, if one was named.
    """

    def __init__(self, path: Path | None, log_format: LogFormat, log_level: str | None) -> None:
        self._path = path
        self._log_format = log_format
        self._log_level = log_level
        self._flow: Flowstone | None = None
        self.redactor: Callable[[str], str] = str

    def config(self) -> Config:
        """Read the configuration file.

        Raises:
            ValidationError: If it cannot be read at all.
        """
        from flowstone_core.config import load

        return load(self._path, os.environ)

    def flow(self, *, log_level: str = "warning") -> Flowstone:
        """Return the configured Flowstone, the log set up.

        Args:
            log_level: The least level that is logged unless the command line names one.

        Raises:
            ValidationError: If anything is wrong with the configuration.
        """
        if self._flow is None:
            from flowstone_core.app import Flowstone
            from flowstone_core.logs import configure

            self._flow = Flowstone(config=self.config())
            self.redactor = self._flow.settings.redactor
            configure(
                self._log_format,
                (self._log_level or log_level).upper(),
                self._flow.settings.redactor,
                sys.stderr,
            )
        return self._flow

    def close(self) -> None:
        """Close what is open."""
        if self._flow is not None:
            self._flow.close()


pass_session = click.make_pass_decorator(Session)

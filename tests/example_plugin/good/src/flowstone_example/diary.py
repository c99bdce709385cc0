"""A watcher that keeps a diary of all there is to watch."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from flowstone_core import hookimpl

if TYPE_CHECKING:
    from flowstone_core.plugin_api import Materialization, RunnerInfo, StoredEvent, Tick

FLOWSTONE_API = 1

DIARY = "FLOWSTONE_EXAMPLE_DIARY"
"""Environment variable: the file that is written to; without it no diary is kept."""


@hookimpl
def flowstone_runner_started(runner: RunnerInfo) -> None:
    """Write a line for each start."""
    _write(f"runner {runner.pid} started")


@hookimpl
def flowstone_tick_finished(tick: Tick) -> None:
    """Write a line for each tick."""
    _write(f"tick of {tick.source}")


@hookimpl
def flowstone_triggered(event: StoredEvent) -> None:
    """Write a line for each event."""
    _write(f"event for {event.asset}")


@hookimpl
def flowstone_materialization_changed(materialization: Materialization) -> None:
    """Write a line for each state of each materialization."""
    _write(f"{materialization.asset} is {materialization.state.value}")


@hookimpl
def flowstone_runner_stopping(runner: RunnerInfo) -> None:
    """Write a line for each end."""
    _write(f"runner {runner.pid} stopping")


def _write(line: str) -> None:
    path = os.environ.get(DIARY)
    if path:
        with Path(path).open("a", encoding="utf-8") as diary:
            diary.write(f"{line}\n")

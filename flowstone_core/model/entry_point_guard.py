"""Guard of entry points: a foreign distribution that cannot be read, or a plugin of a library.

`importlib.metadata.entry_points` raises for everybody if one ``entry_points.txt`` of the
environment has a line without ``=`` or bytes that are not UTF-8. pydantic calls it for the first
model, Alembic on import, SQLAlchemy for a dialect: none of them contains the error, and pydantic
and Alembic load what they find. `flowstone_core.plugin.entry_points` reads and reports by itself.
"""

from __future__ import annotations

import importlib.metadata
import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import Distribution, EntryPoint, EntryPoints, distributions
from typing import Any

from flowstone_core.model.safe_text import describe

logger = logging.getLogger("flowstone.plugins")

PYDANTIC_SWITCH = "PYDANTIC_DISABLE_PLUGINS"
"""pydantic's own environment variable: the plugins of pydantic to disable."""

_original = importlib.metadata.entry_points


def guard_entry_points() -> None:
    """Let every reader of this process skip the distributions that cannot be read.

    What can be read is returned as before, by the original function.
    """
    importlib.metadata.entry_points = _readable  # type: ignore[assignment]  # not its overloads


def guard_pydantic() -> None:
    """Disable the plugins of pydantic if one of them cannot be loaded.

    pydantic loads them for the first model or adapter of a process, which most exceptions of a
    plugin then end. Called before FlowStone's first model is defined.
    """
    from pydantic import TypeAdapter

    try:
        TypeAdapter(int)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - a plugin of pydantic may raise anything
        os.environ[PYDANTIC_SWITCH] = "__all__"
        logger.warning("plugins of pydantic disabled: one of them raised %s", describe(error))


@contextmanager
def hidden_group(group: str) -> Iterator[None]:
    """Hide a group of entry points, for a library that would load all of it on import."""
    readable = importlib.metadata.entry_points

    def without(**wanted: Any) -> object:
        return EntryPoints() if wanted.get("group") == group else readable(**wanted)

    importlib.metadata.entry_points = without  # type: ignore[assignment]  # same arguments
    try:
        yield
    finally:
        importlib.metadata.entry_points = readable


def _readable(**wanted: Any) -> object:
    try:
        return _original(**wanted)
    except Exception:  # noqa: BLE001 - any of many, and none tells the distribution
        return EntryPoints(_points()).select(**wanted)


def _points() -> Iterator[EntryPoint]:
    """Yield the entry points of each readable distribution; of two copies the first counts."""
    seen: set[str] = set()
    for distribution in distributions():
        try:
            points = distribution.entry_points
        except Exception:  # noqa: BLE001, S112 - `flowstone plugins list` shows it
            continue
        name = _name(distribution)
        if name not in seen:
            yield from points
        if name:
            seen.add(name)


def _name(distribution: Distribution) -> str:
    try:
        return re.sub(r"[-_.]+", "-", distribution.name or "").lower()
    except Exception:  # noqa: BLE001 - missing or broken METADATA
        return ""

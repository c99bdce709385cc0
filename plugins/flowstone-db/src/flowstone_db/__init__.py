"""FlowStone sensors for SQL databases: a value that changes, rows that are new or changed."""

from __future__ import annotations

from flowstone_core import hookimpl
from flowstone_db.change import DatabaseChange

__all__ = ["FLOWSTONE_API", "DatabaseChange", "flowstone_sensors"]

FLOWSTONE_API = 1
"""The version of the plugin contract that this plugin was written for."""


@hookimpl
def flowstone_sensors() -> dict[str, type[DatabaseChange]]:
    """Offer the sensors of this plugin; see the hook's contract in FlowStone."""
    return {"database_change": DatabaseChange}

"""FlowStone sensors for SQL databases: a value that changes, new or changed rows, and NOTIFY."""

from __future__ import annotations

from flowstone_core import hookimpl
from flowstone_db.change import DatabaseChange
from flowstone_db.notify import PostgresNotify
from flowstone_db.rows import DatabaseRows

__all__ = [
    "FLOWSTONE_API",
    "DatabaseChange",
    "DatabaseRows",
    "PostgresNotify",
    "flowstone_sensors",
]

FLOWSTONE_API = 1
"""The version of the plugin contract that this plugin was written for."""


@hookimpl
def flowstone_sensors() -> dict[str, type[DatabaseChange | DatabaseRows | PostgresNotify]]:
    """Return the sensors of this plugin; see the hook's contract in FlowStone."""
    return {
        "database_change": DatabaseChange,
        "database_rows": DatabaseRows,
        "postgres_notify": PostgresNotify,
    }

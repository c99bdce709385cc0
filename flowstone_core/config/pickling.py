"""..."""

from __future__ import annotations

from multiprocessing.reduction import ForkingPickler

from flowstone_core.model.safe_text import describe


def send_problem(*values: object) -> str | None:
    """Say why values cannot be sent to a child, or None if they can be."""
    for value in values:
        try:
            ForkingPickler.dumps(value)
        except Exception as error:  # noqa: BLE001 - a foreign __reduce__ may raise anything
            return describe(error)
    return None

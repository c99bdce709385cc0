"""FlowStone sensor for URLs: fires when a URL is ready, or has changed."""

from __future__ import annotations

from flowstone_core import hookimpl
from flowstone_http.response import Facts
from flowstone_http.sensor import Webhook

__all__ = ["FLOWSTONE_API", "Facts", "Webhook", "flowstone_sensors"]

FLOWSTONE_API = 1
"""The version of the plugin contract that this plugin was written for."""


@hookimpl
def flowstone_sensors() -> dict[str, type[Webhook]]:
    """Return the sensors of this plugin; see the hook's contract in FlowStone."""
    return {"webhook": Webhook}

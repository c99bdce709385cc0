"""A watcher that keeps a diary of what was triggered."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from flowstone_core import hookimpl

if TYPE_CHECKING:
    from flowstone_core.event import StoredEvent

logger = logging.getLogger("flowstone_example")


@hookimpl
def flowstone_triggered(event: StoredEvent) -> None:
    """Write a line for each event."""
    logger.info("dear diary, %s came today", event.asset)

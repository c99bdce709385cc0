"""A FlowStone plugin: a sensor, a trigger and a command; the watcher is a plugin of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowstone_core import hookimpl
from flowstone_example.business_days import BusinessDays
from flowstone_example.countdown import Countdown

if TYPE_CHECKING:
    import click

FLOWSTONE_API = 1


@hookimpl
def flowstone_sensors() -> dict[str, type[Countdown]]:
    """Offer the sensor."""
    return {"countdown": Countdown}


@hookimpl
def flowstone_triggers() -> dict[str, type[BusinessDays]]:
    """Offer the trigger."""
    return {"business_days": BusinessDays}


@hookimpl
def flowstone_commands() -> dict[str, click.Command]:
    """Offer the command; click is imported only when somebody runs it."""
    from flowstone_example.greeting import greet

    return {"greet": greet}

"""Stored states, of whatever sensor: those that this version cannot read break the sensor."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from flowstone_core import SensorBroken

T = TypeVar("T")


def read_stored(
    state: Mapping[str, Any], version: int, parse: Callable[[Mapping[str, Any]], T], fires: str
) -> T:
    """Read what was stored.

    Args:
        version: The one that this code writes, and the only one it reads.
        parse: Reads a state of this version.
        fires: What the sensor fires for after it has been reset.

    Raises:
        SensorBroken: If it is of another version, or ``parse`` cannot read it.
    """
    reset = f"reset the sensor by 'flowstone sensors reset'; it then fires for {fires}"
    try:
        found: object = state["version"]
        if found == version:
            return parse(state)
    except (KeyError, TypeError, ValueError) as error:
        raise SensorBroken(
            f"the stored state cannot be read ({type(error).__name__}): {reset}"
        ) from None
    raise SensorBroken(
        f"the stored state has version {found!r:.40}, and this flowstone-db reads version "
        f"{version}: install the flowstone-db that wrote it, or {reset}"
    )

"""Decoder for the stored state of any sensor; an unreadable state breaks the sensor."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from flowstone_core import SensorBroken

T = TypeVar("T")


def decode_state(
    state: Mapping[str, Any], version: int, parse: Callable[[Mapping[str, Any]], T], fires: str
) -> T:
    """Decode a stored state.

    Args:
        version: The only supported version.
        parse: Decodes a state of this version.
        fires: The things that the sensor fires for after a reset, for the message.

    Raises:
        SensorBroken: If the state has another version, or ``parse`` cannot decode it.
    """
    reset = f"reset the sensor with 'flowstone sensors reset'; it then fires for {fires}"
    try:
        found: object = state["version"]
        if found == version:
            return parse(state)
    except (KeyError, TypeError, ValueError) as error:
        raise SensorBroken(
            f"cannot read the stored state ({type(error).__name__}): {reset}"
        ) from None
    raise SensorBroken(
        f"unsupported state version {found!r:.40} (this flowstone-db reads version {version}): "
        f"install the flowstone-db that wrote it, or {reset}"
    )

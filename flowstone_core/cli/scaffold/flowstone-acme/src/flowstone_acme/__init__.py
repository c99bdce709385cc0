"""FlowStone plugin: its sensors by their ``type`` in the configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flowstone_acme.sensor import AcmeFiles
from flowstone_core import Sensor, hookimpl

FLOWSTONE_API = 1

__all__ = ["AcmeFiles"]


@hookimpl
def flowstone_sensors() -> Mapping[str, type[Sensor[Any, Any]]]:
    """Return the sensors of this plugin."""
    return {"acme_files": AcmeFiles}

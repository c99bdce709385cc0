"""FlowStone sensors for Amazon S3 and compatible object stores."""

from __future__ import annotations

from flowstone_core import hookimpl
from flowstone_s3.queue_sensor import S3EventQueue
from flowstone_s3.sensor import S3FileArrival

__all__ = ["FLOWSTONE_API", "S3EventQueue", "S3FileArrival", "flowstone_sensors"]

FLOWSTONE_API = 1
"""The version of the plugin contract that this plugin was written for."""


@hookimpl
def flowstone_sensors() -> dict[str, type[S3EventQueue | S3FileArrival]]:
    """Return the sensors of this plugin; see the hook's contract in FlowStone."""
    return {"s3_event_queue": S3EventQueue, "s3_file_arrival": S3FileArrival}

"""The sensor itself: what one poll of a bucket amounts to."""

from __future__ import annotations

import fnmatch
import re

from flowstone_core import NotTriggered, Outcome, PollContext, Sensor, Triggered
from flowstone_s3.arrival import arrival_events
from flowstone_s3.bucket import Bucket
from flowstone_s3.config import S3FileArrivalConfig
from flowstone_s3.memory import Memory, SeenState, empty_state
from flowstone_s3.partitioning import partition_function


class S3FileArrival(Sensor[S3FileArrivalConfig, SeenState]):
    """Fires for every new or overwritten object of an S3 bucket, by the partition in its key.

    Each poll lists everything below the prefix, so an object is found whenever it arrives and
    wherever its key sorts. It is new if its key was never listed with this ETag. All new objects
    of a poll become events, grouped by partition; the asset function finds them in the payload:
    ``{"bucket": ..., "objects": [{"key", "etag", "size", "last_modified"}, ...]}``.

    By default the partition is the last date in the key. A poll that fails, at whatever page,
    changes nothing.
    """

    Config = S3FileArrivalConfig

    def __init__(self, config: S3FileArrivalConfig, context: PollContext | None = None) -> None:
        super().__init__(config, context)
        self._bucket = Bucket(config)
        self._matches = re.compile(fnmatch.translate(config.glob or "*")).match
        self._partition_of = partition_function(config)

    def init(self) -> SeenState:
        """See `Sensor.init`."""
        return empty_state()

    def poll(self, state: SeenState) -> Outcome[SeenState]:
        """See `Sensor.poll`.

        Raises:
            S3Error: If the listing fails.
            PartitionError: If a new object has no partition.
            SensorBroken: If the state is not one that this version can read.
        """
        memory = Memory(state, self.context.clock.now())
        fresh = [
            item
            for item in self._bucket.objects()
            if self._wanted(item.key) and memory.observe(item.key, item.etag, item.last_modified)
        ]
        events = list(arrival_events(self.config.bucket, fresh, self._partition_of))
        return Triggered(events, memory.state()) if events else NotTriggered(memory.state())

    def cleanup(self) -> None:
        """See `Sensor.cleanup`."""
        self._bucket.close()

    def _wanted(self, key: str) -> bool:
        return key.endswith(self.config.suffix) and self._matches(key) is not None

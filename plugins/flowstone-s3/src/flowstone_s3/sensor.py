"""The sensor itself: what one poll of a bucket amounts to."""

from __future__ import annotations

import fnmatch
import re

from flowstone_core import NotTriggered, Outcome, PollContext, Sensor, Triggered
from flowstone_s3.bucket import Bucket
from flowstone_s3.config import S3FileArrivalConfig
from flowstone_s3.events import arrival_events
from flowstone_s3.listing import S3Object
from flowstone_s3.partitioning import partition_function
from flowstone_s3.seen_objects import Memory, Rules
from flowstone_s3.state import SeenState, empty_state


class S3FileArrival(Sensor[S3FileArrivalConfig, SeenState]):
    """Fires for every new or overwritten object of an S3 bucket, by the partition in its key.

    Each poll lists everything below the prefix, so an object is found whenever it arrives and
    wherever its key sorts. All that a poll finds becomes events, grouped by partition; the asset
    function finds the objects in the payload:
    ``{"bucket": ..., "objects": [{"key", "etag", "size", "last_modified"}, ...]}``.

    By default the partition is the last date in the key. A poll that fails, at whatever page,
    changes nothing.
    """

    Config = S3FileArrivalConfig

    def __init__(self, config: S3FileArrivalConfig, context: PollContext | None = None) -> None:
        super().__init__(config, context)
        self._bucket = Bucket(config, self.context)
        self._rules = Rules(config.on, config.settle, config.window)
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
        now = self.context.clock.now()
        memory = Memory(state, now, self._rules)
        fresh: dict[str, S3Object] = {}
        for answer in self._bucket.answers(self.config.prefixes(now)):
            for item in answer.objects:
                if self._wanted(item.key) and memory.observe(item, answer.at):
                    fresh[item.key] = item
        events = list(arrival_events(self.config.bucket, fresh.values(), self._partition_of))
        return Triggered(events, memory.state()) if events else NotTriggered(memory.state())

    def connect(self) -> None:
        """See `Sensor.connect`: one key is asked for, whatever the bucket's size.

        Raises:
            S3Error: If the bucket cannot be listed.
        """
        self._bucket.reach(self.config.prefixes(self.context.clock.now())[-1])

    def cleanup(self) -> None:
        """See `Sensor.cleanup`."""
        self._bucket.close()

    def _wanted(self, key: str) -> bool:
        return key.endswith(self.config.suffix) and self._matches(key) is not None

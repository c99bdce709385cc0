"""Sensor `s3_file_arrival`: fires for new and changed objects of a bucket."""

from __future__ import annotations

from flowstone_core import NotTriggered, Outcome, PollContext, Sensor, Triggered
from flowstone_s3.bucket import Bucket
from flowstone_s3.config import S3FileArrivalConfig
from flowstone_s3.events import object_events
from flowstone_s3.key_filter import key_filter
from flowstone_s3.listing import S3Object
from flowstone_s3.partitioning import partition_function
from flowstone_s3.seen_objects import DetectionRules, SeenObjects
from flowstone_s3.state import SeenState, empty_state


class S3FileArrival(Sensor[S3FileArrivalConfig, SeenState]):
    """Sensor that fires for every new or overwritten object of an S3 bucket, by partition.

    Each poll lists everything below the prefix, so an object is found at any time of arrival and
    at any position of its key. New objects become events, grouped by partition; the asset
    function finds the objects in the payload:
    ``{"bucket": ..., "objects": [{"key", "etag", "size", "last_modified"}, ...]}``.

    By default the partition is the last date in the key. A failed poll, at any page, changes
    nothing.
    """

    Config = S3FileArrivalConfig
    asset_required = True

    def __init__(self, config: S3FileArrivalConfig, context: PollContext | None = None) -> None:
        super().__init__(config, context)
        self._bucket = Bucket(config, self.context)
        self._rules = DetectionRules(config.on, config.settle, config.window)
        self._passes = key_filter(config.suffix, config.glob)
        self._partition_of = partition_function(config)

    def init(self) -> SeenState:
        """See `Sensor.init`."""
        return empty_state()

    def poll(self, state: SeenState) -> Outcome[SeenState]:
        """See `Sensor.poll`.

        Raises:
            S3Error: If the listing fails.
            PartitionError: If a new object has no partition.
            SensorBroken: If the state has another version, or is damaged.
        """
        now = self.context.clock.now()
        seen = SeenObjects(state, now, self._rules)
        fresh: dict[str, S3Object] = {}
        for page in self._bucket.list_pages(self.config.prefixes(now)):
            for item in page.objects:
                if self._passes(item.key) and seen.observe(item, page.at):
                    fresh[item.key] = item
        events = list(object_events(self.config.bucket, fresh.values(), self._partition_of))
        return Triggered(events, seen.state()) if events else NotTriggered(seen.state())

    def connect(self) -> None:
        """See `Sensor.connect`: requests one key, independently of the bucket's size.

        Raises:
            S3Error: If the bucket cannot be listed.
        """
        self._bucket.check_access(self.config.prefixes(self.context.clock.now())[-1])

    def cleanup(self) -> None:
        """See `Sensor.cleanup`."""
        self._bucket.close()

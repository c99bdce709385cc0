"""Sensor `s3_file_arrival`: fires for new and changed objects of a bucket."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from zoneinfo import ZoneInfo

from flowstone_core import NotTriggered, Outcome, Partition, PollContext, Sensor, Triggered
from flowstone_s3.bucket import Bucket
from flowstone_s3.config import S3FileArrivalConfig
from flowstone_s3.events import group_objects
from flowstone_s3.key_filter import bracket_hint, key_filter
from flowstone_s3.listing import S3Object
from flowstone_s3.listing_plan import ListingPlan, ListingWalk, Part
from flowstone_s3.partitioning import KeyPartitions
from flowstone_s3.prefixes import Prefixes
from flowstone_s3.seen_objects import OBJECT_LIMIT, DetectionRules, SeenObjects
from flowstone_s3.state import SeenState, empty_state, listed_since, with_listed_since
from flowstone_s3.unreadable import SkippedKeys


class S3FileArrival(Sensor[S3FileArrivalConfig, SeenState]):
    """Sensor that fires for every new or overwritten object of an S3 bucket, by partition.

    Each poll lists everything below the prefix, so an object is found at any time of arrival and
    at any position of its key. New objects become events, grouped by partition; the asset
    function finds the objects in the payload:
    ``{"bucket": ..., "objects": [{"key", "etag", "size", "last_modified"}, ...]}``.

    By default the partition is the date in the key. A failed poll, at any page, changes nothing.
    """

    Config = S3FileArrivalConfig
    asset_required = True

    def __init__(self, config: S3FileArrivalConfig, context: PollContext | None = None) -> None:
        super().__init__(config, context)
        self._bucket = Bucket(config, self.context)
        self._rules = DetectionRules(config.on, config.settle, config.window)
        self._passes = key_filter(config.suffix, config.glob)
        self._partitions = KeyPartitions(config)
        self._prefixes = Prefixes(config.prefix)
        self._zone = ZoneInfo(config.timezone)
        # After a restart the settings may be others: what was set aside is tried again, until the
        # state comes back that this instance has left.
        self._aside: str | None = None
        # After a listing that failed the backlog is listed alone, so that each poll gets on.
        self._part: Part = "all"

    def init(self) -> SeenState:
        """See `Sensor.init`."""
        return empty_state()

    def poll(self, state: SeenState) -> Outcome[SeenState]:
        """See `Sensor.poll`.

        Raises:
            S3Error: If the listing fails.
            PartitionError: If a new object has no partition, and ``unreadable_keys`` is ``fail``.
            SensorBroken: If the state has another version, or is damaged.
        """
        now = self.context.clock.now()
        seen = SeenObjects(state, now, self._rules, retry=state.get("aside", "") != self._aside)
        plan = self._plan(state, now)
        walk = ListingWalk(plan, self._part, self._budget(seen), lambda: seen.settling)
        # Until it has ended, for it may be given up without an exception.
        self._part = "backlog" if plan.backlog else "all"
        fresh: dict[str, S3Object] = {}
        passed = listed = 0
        for page in self._bucket.list_pages(walk):
            listed += len(page.objects)
            for item in page.objects:
                if self._passes(item.key):
                    passed += 1
                    if seen.observe(item, page.at):
                        fresh[item.key] = item
        self._part = walk.next_part()
        outcome = self._outcome(fresh, seen, walk, now)
        if walk.listed == "all":
            self._aside = outcome.state.get("aside", "")
        if isinstance(outcome, NotTriggered) and listed and not passed:
            return NotTriggered(outcome.state, outcome.skipped, self._nothing_passes(listed))
        return outcome

    def connect(self) -> None:
        """See `Sensor.connect`: requests one key, independently of the bucket's size.

        Raises:
            S3Error: If the bucket cannot be listed.
        """
        self._bucket.check_access(self.config.prefixes(self.context.clock.now())[-1])

    def cleanup(self) -> None:
        """See `Sensor.cleanup`."""
        self._bucket.close()

    def _plan(self, state: SeenState, now: datetime) -> ListingPlan:
        lookback = self.config.lookback
        since = listed_since(state) or now - lookback
        return ListingPlan.of(self._prefixes, lookback, self._zone, now, since)

    def _budget(self, seen: SeenObjects) -> Callable[[], bool]:
        clock = self.context.clock
        limit = min(self.config.poll_timeout.total_seconds(), self.context.seconds_left())
        until = clock.monotonic() + limit / 2
        return lambda: clock.monotonic() < until and len(seen) < OBJECT_LIMIT // 2

    def _outcome(
        self, fresh: dict[str, S3Object], seen: SeenObjects, walk: ListingWalk, now: datetime
    ) -> Outcome[SeenState]:
        found = group_objects(fresh.values(), lambda key: self._partition(key, now))
        if self.config.unreadable_keys == "fail":
            found.refuse_unreadable()
        skipped = SkippedKeys()
        for item, error in found.unreadable:
            if seen.set_aside(item.key):
                skipped.add(item.key, error)
        self._partitions.log_choice(self.context)
        after = seen.state(walk.leaves)
        if self._prefixes.dated:
            after = with_listed_since(after, walk.since)
        told = skipped.summary() + (seen.late() if walk.listed == "all" else [])
        events = list(found.events(self.config.bucket))
        return Triggered(events, after, told) if events else NotTriggered(after, told)

    def _partition(self, key: str, now: datetime) -> Partition | None:
        # A partition_fn may take long.
        self.context.check_deadline()
        return self._partitions.partition(key, now)

    def _nothing_passes(self, listed: int) -> str:
        hint = bracket_hint(self.config.glob)
        return f"none of {listed:,} listed keys matches suffix and glob{hint}"

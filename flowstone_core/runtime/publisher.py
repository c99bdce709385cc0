"""Publisher: reports committed changes to the log and to the plugins that watch."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TypeAlias

from flowstone_core.model.event import StoredEvent
from flowstone_core.model.materialization import Materialization, MaterializationState
from flowstone_core.model.partition import show_partition
from flowstone_core.model.tick import Skip, Tick
from flowstone_core.plugin.hook_dispatcher import HookDispatcher
from flowstone_core.store import TickResult

logger = logging.getLogger("flowstone")

Watch: TypeAlias = Callable[[Tick | Materialization], None]
"""Called with each tick that is not quiet, and with each changed materialization."""

_LEVELS = {
    MaterializationState.DISCARDED: logging.ERROR,
    MaterializationState.RETRYING: logging.WARNING,
}


class Publisher:
    """Publishes committed changes; any thread, returns at once, never raises.

    Args:
        dispatcher: Calls the watching hooks of plugins.
        watch: Called in the thread that publishes.
    """

    def __init__(self, dispatcher: HookDispatcher, watch: Watch = lambda _: None) -> None:
        self._dispatcher = dispatcher
        self._watch = watch

    def result(self, result: TickResult) -> None:
        """Publish everything that a tick's transaction wrote."""
        if result.tick is not None:
            self.tick(result.tick, result.skips)
        for event in result.events:
            self.event(event)
        for materialization in result.materializations:
            self.materialization(materialization)

    def tick(self, tick: Tick, skips: Sequence[Skip] = ()) -> None:
        """Publish a committed tick, and what it skipped."""
        extra: dict[str, object] = {
            "source": tick.source,
            "tick": tick.id,
            "outcome": tick.outcome.value,
            "events": tick.events,
            "duplicates": tick.duplicates,
        }
        if tick.skipped:
            extra["skipped"] = tick.skipped
            reasons = [skip.reason.value for skip in skips]
            extra["reasons"] = ", ".join(reasons + [str(item) for item in tick.skipped_items])
        if tick.error:
            extra["error"] = tick.error
        complete = tick.outcome.good and not tick.skipped
        logger.log(logging.INFO if complete else logging.WARNING, "tick", extra=extra)
        self._watch(tick)
        self._dispatcher.dispatch("flowstone_tick_finished", tick=tick)

    def stale(self, sensor: str, since: datetime) -> None:
        """Publish that a sensor is stale: no good poll since ``since``."""
        extra = {"sensor": sensor, "since": since.isoformat(timespec="seconds")}
        logger.warning("sensor stale: no good poll within its limit", extra=extra)
        self._dispatcher.dispatch("flowstone_sensor_stale", sensor=sensor, since=since)

    def event(self, event: StoredEvent) -> None:
        """Publish a committed event."""
        logger.info(
            "event",
            extra={
                "source": event.source,
                "event_id": event.id,
                "asset": event.asset,
                "partition": show_partition(event.partition),
                "materialization": event.materialization_id,
            },
        )
        self._dispatcher.dispatch("flowstone_triggered", event=event)

    def materialization(self, materialization: Materialization) -> None:
        """Publish the new state of a materialization."""
        extra: dict[str, object] = {
            "materialization": materialization.id,
            "asset": materialization.asset,
            "partition": show_partition(materialization.partition),
            "state": materialization.state.value,
            "attempt": materialization.attempt,
            "run_id": materialization.run_id,
        }
        if materialization.waiting_for:
            extra["waiting_for"] = materialization.waiting_for
        if materialization.error:
            extra["error"] = materialization.error
        level = _LEVELS.get(materialization.state, logging.INFO)
        logger.log(level, "materialization", extra=extra)
        self._watch(materialization)
        self._dispatcher.dispatch(
            "flowstone_materialization_changed", materialization=materialization
        )

"""A sandbox for a sensor: a pipeline with it, and a store to run it on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from flowstone_core.app.flowstone import Flowstone
from flowstone_core.config.pipeline import Pipeline
from flowstone_core.errors import ValidationError
from flowstone_core.model.asset import Context
from flowstone_core.model.clock import Clock
from flowstone_core.model.json_document import PAYLOAD_LIMIT, dump_document
from flowstone_core.model.materialization import MaterializationState
from flowstone_core.model.sensor import AnySensor
from flowstone_core.model.tick import NewEvent
from flowstone_core.testing.contract.driver import NAME
from flowstone_core.testing.contract.violation import Violation

_MOST_RUNS = 50
_ALL = 100_000


class Sandbox:
    """A pipeline with the sensor, and a store in a file.

    Args:
        pipeline: The pipeline.
        store: The store's URL.
        clock: Reads the time.
        settle: Called before each run but the first of a row.
    """

    def __init__(
        self, pipeline: Pipeline, store: str, clock: Clock, settle: Callable[[], None]
    ) -> None:
        self._pipeline = pipeline
        self._store = store
        self._clock = clock
        self._settle = settle

    @contextmanager
    def flow(self) -> Iterator[Flowstone]:
        """Start anew, with what is stored."""
        with Flowstone(self._pipeline, store=self._store, clock=self._clock) as flow:
            yield flow

    def run(self) -> None:
        """Open a new Flowstone, and run it until nothing more is found."""
        with self.flow() as flow:
            before = -1
            for _ in range(_MOST_RUNS):
                flow.run(once=True)
                found = len(flow.events(limit=_ALL))
                if found == before:
                    return
                before = found

    def run_until(self, enough: Callable[[Sequence[NewEvent]], bool]) -> None:
        """Start anew, and run until there are enough events, or no more of them come."""
        idle = 0
        with self.flow() as flow:
            before = len(flow.events(limit=_ALL))
            for _ in range(_MOST_RUNS):
                flow.run(once=True)
                events = _read(flow)
                idle = idle + 1 if len(events) == before else 0
                before = len(events)
                if enough(events) or idle == 2:
                    return
                self._settle()

    def events(self) -> list[NewEvent]:
        """Return the events that are stored."""
        with self.flow() as flow:
            return _read(flow)

    def unfinished(self) -> list[str]:
        """Return the partitions that were not made."""
        with self.flow() as flow:
            return [
                each.partition
                for each in flow.materializations.latest(limit=_ALL)
                if each.state is not MaterializationState.COMPLETED
            ]

    def trouble(self) -> str:
        """Return the error of the last failed tick, for a message."""
        with self.flow() as flow:
            errors = [tick.error for tick in flow.ticks() if tick.error]
        return f"; its last failed poll says: {errors[0]}" if errors else ""


def declared(
    sensor: AnySensor, options: Mapping[str, object] | None = None, assets: Sequence[str] = ()
) -> Pipeline:
    """Make a pipeline with a sensor of the class and the settings of an instance.

    Raises:
        Violation: If its own settings are refused.
    """
    try:
        return _pipeline(sensor, options or {}, assets)
    except ValidationError as error:
        raise Violation(
            f"the settings that make_sensor uses are refused in a pipeline: {error}.",
            why="A sensor must take in a pipeline what it takes in its tests.",
            remedy="Make the config by its model, as Config(...), of settings that its "
            "validators accept as they are.",
        ) from None


def refusal(sensor: AnySensor, changes: Mapping[str, object]) -> str | None:
    """Return what a pipeline says of an instance's settings with changes; None if they are right.

    Args:
        changes: The settings to replace; ``...`` leaves one out.
    """
    try:
        _pipeline(sensor, changes)
    except ValidationError as error:
        return str(error)
    return None


def _pipeline(
    sensor: AnySensor, changes: Mapping[str, object], assets: Sequence[str] = ()
) -> Pipeline:
    pipeline = Pipeline("contract")
    for asset in (NAME, *assets):
        pipeline.asset(name=asset)(_make)
    fields = type(sensor.config).model_fields
    settings: dict[str, Any] = {
        fields[name].alias or name: getattr(sensor.config, name)
        for name in fields
        if name in sensor.config.model_fields_set
    }
    settings |= changes
    options = {name: value for name, value in settings.items() if value is not ...}
    pipeline.sensor(NAME, type(sensor), asset=NAME, **options)
    return pipeline


def _make(context: Context) -> None:
    """Make nothing: what is checked is that it is called."""


def _read(flow: Flowstone) -> list[NewEvent]:
    """Return the events that are stored, oldest first."""
    return [
        NewEvent(
            event.key,
            event.asset,
            event.partition,
            None
            if event.payload is None
            else dump_document(event.payload, what="the payload", limit=PAYLOAD_LIMIT),
        )
        for event in reversed(flow.events(limit=_ALL))
    ]

"""Invariants of a store when everything has come to rest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import timedelta

from flowstone_core.app.flowstone import Flowstone
from flowstone_core.app.schedule_factory import ScheduleFactory
from flowstone_core.app.status import ScheduleHealth, SensorHealth
from flowstone_core.model.event import StoredEvent
from flowstone_core.model.json_document import PAYLOAD_LIMIT, dump_document
from flowstone_core.model.partition import Partition
from flowstone_core.model.tick import NewEvent
from flowstone_core.scheduling.schedule_decision import instant_text
from flowstone_core.store import Store
from flowstone_core.testing.concurrency.operations import Hands
from flowstone_core.testing.concurrency.report import ConcurrencyReport
from flowstone_core.testing.contract.identity import identifies

_ALL = 1_000_000
_MOMENT = timedelta(minutes=1)
"""An instant due for less may have become due since the last tick."""


class Invariants:
    """Judges a store.

    Args:
        flow: A Flowstone on it.
        store: The store.
        hands: The record of the threads' operations.

    Attributes:
        expected: Partitions or texts that an event must have, beside the changes of the world.
    """

    def __init__(self, flow: Flowstone, store: Store, hands: Hands) -> None:
        self._flow = flow
        self._store = store
        self._hands = hands
        self.expected: tuple[Partition, ...] = ()

    def found(self) -> int:
        """Return how many events of sensors there are: those of schedules never end."""
        return sum(len(self._events(f"sensor:{name}")) for name in self._hands.sensors)

    def unrest(self) -> str:
        """Return what has not come to an end, or fails; an empty text if nothing does."""
        waiting = [
            row for row in self._store.materializations.latest(limit=_ALL) if not row.state.ended
        ]
        parts = [f"materialization {row.id} of {row.asset} is {row.state}" for row in waiting[:3]]
        return "; ".join([*parts, *self.failing()])

    def failing(self) -> list[str]:
        """Return the sensors and schedules that fail."""
        parts = [
            f"sensor {each.name!r} fails: {each.last_error}"
            for each in self._flow.sensors.all()
            if each.failures or each.health is SensorHealth.BROKEN
        ]
        parts += [
            f"schedule {each.name!r} fails: {each.error}"
            for each in self._flow.list_schedules()
            if each.failures or each.health is ScheduleHealth.BROKEN
        ]
        return parts

    def unseen(self) -> list[Partition]:
        """Return the changes of the world that are in no event."""
        return [change for change, count in self._counted() if not count]

    def report(self, seed: int) -> ConcurrencyReport:
        """Check all invariants, and return the report of the run."""
        recorder = self._hands.recorder
        recorder.look(self._store, _ALL)
        recorder.check_calls()
        for problem in (*self._of_events(), *self._of_changes(), *self._of_schedules()):
            recorder.blame(problem)
        states = Counter(str(row.state) for row in self._store.materializations.latest(limit=_ALL))
        return ConcurrencyReport(
            seed,
            dict(recorder.operations),
            dict(recorder.errors),
            dict(Counter(str(tick.outcome) for tick in self._store.ticks.latest(limit=_ALL))),
            len(self._hands.changes),
            len(self._events()),
            dict(states),
            recorder.calls,
            recorder.problems,
        )

    def _events(self, source: str | None = None) -> list[StoredEvent]:
        return self._store.events.latest(source=source, limit=_ALL)

    def _of_events(self) -> Iterator[str]:
        rows = {row.id: row for row in self._store.materializations.latest(limit=_ALL)}
        events = self._events()
        for (source, key), count in Counter((each.source, each.key) for each in events).items():
            if count > 1:
                yield f"{source} has {count} events of the key {key!r}"
        for event in events:
            row = rows.get(event.materialization_id or 0)
            what = f"event {event.id} of {event.source} (key {event.key!r})"
            if row is None:
                yield f"{what} has no materialization"
            elif (row.asset, row.partition) != (event.asset, event.partition):
                yield f"{what} has the materialization of another partition, {row.id}"
            elif not row.state.ended:
                yield f"materialization {row.id}, for {what}, is {row.state} and did not end"

    def _of_changes(self) -> Iterator[str]:
        most = 1 + self._hands.resets.total()
        for change, count in self._counted():
            if not count:
                yield f"the change {change!r} is in no event: it is lost"
            elif count > most:
                yield f"the change {change!r} is in {count} events, after {most - 1} resets"

    def _counted(self) -> Iterator[tuple[Partition, int]]:
        """Yield each change that must be found, and how many events it is in."""
        events = [
            _as_found(event)
            for name in self._hands.sensors
            for event in self._events(f"sensor:{name}")
        ]
        changes = (change for change in list(self._hands.changes) if change is not None)
        for change in dict.fromkeys((*changes, *self.expected)):
            yield change, sum(identifies(change, event) for event in events)

    def _of_schedules(self) -> Iterator[str]:
        hands = self._hands
        factory = ScheduleFactory(self._flow.project)
        until = hands.clock.now() - _MOMENT
        for name in hands.schedules:
            record = self._store.schedules.get(name)
            schedule = factory.make(record)
            fired = {event.key for event in self._events(f"schedule:{name}")}
            skips = [each.skip for each in self._store.skips.latest(name, _ALL, None)]
            instant = schedule.next_instant(record.created_at)
            while instant is not None and schedule.due_at(instant) <= until:
                skipped = any(skip.first <= instant <= skip.last for skip in skips)
                if instant_text(instant) not in fired and not skipped:
                    yield f"schedule {name!r} passed over {instant}: no event, and not skipped"
                instant = schedule.next_instant(instant)


def _as_found(event: StoredEvent) -> NewEvent:
    payload = event.payload
    text = None if payload is None else dump_document(payload, what="it", limit=PAYLOAD_LIMIT)
    return NewEvent(event.key, event.asset, event.partition, text)

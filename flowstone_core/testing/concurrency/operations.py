"""Operations of the harness's threads."""

from __future__ import annotations

import itertools
import threading
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from datetime import timedelta
from random import Random
from typing import TypeAlias

from flowstone_core.app.flowstone import Flowstone
from flowstone_core.model.materialization import Materialization
from flowstone_core.model.partition import Partition
from flowstone_core.store import Store
from flowstone_core.testing.concurrency.recorder import Recorder
from flowstone_core.testing.fake_clock import FakeClock

Operation: TypeAlias = Callable[[], object]

WAITING = timedelta(minutes=45)
"""The most that threads let time pass together: less than a runner's lease, which is an hour."""

_SHARES = {
    "tick": 6, "change": 4, "wait": 2, "pause": 1, "resume": 2, "reset": 1, "edit": 1,
    "materialize": 1, "cancel": 1, "retry": 1,
}  # fmt: skip


class Hands:
    """State that all threads of a run share.

    Args:
        flows: The Flowstones, each with one runner.
        store: A separate connection, for reading.
        recorder: Sees what happens.
        change: Changes the world.
        step: The most that time is let pass at once.
        assets: Their names.

    Attributes:
        sensors: The names of the sensors.
        schedules: The names of the schedules.
        changes: The partition or text of each change of the world, in order.
        resets: How often each sensor was reset.
        over: True once hanging threads are no longer waited for; they do nothing more.
    """

    def __init__(
        self,
        flows: Sequence[Flowstone],
        store: Store,
        clock: FakeClock,
        recorder: Recorder,
        change: Callable[[int], Partition | None] | None,
        step: timedelta,
        assets: Sequence[str],
    ) -> None:
        self.flows = flows
        self.store = store
        self.clock = clock
        self.recorder = recorder
        self.assets = assets
        self.step = step
        self.sensors = sorted(flows[0].project.sensors)
        self.schedules = sorted(flows[0].project.schedules)
        self.changes: list[Partition | None] = []
        self.resets: Counter[str] = Counter()
        self.over = False
        self._change = change
        self._left = WAITING
        self._lock = threading.Lock()
        self._world = threading.Lock()
        self._running = [threading.Lock() for _ in flows]
        self._numbers = itertools.count(1)

    @property
    def changeable(self) -> bool:
        """True if the world can be changed."""
        return self._change is not None

    def change(self) -> None:
        """Change the world."""
        assert self._change is not None  # noqa: S101 - for the type checker
        with self._world:
            self.changes.append(self._change(len(self.changes) + 1))

    def tick(self, number: int) -> None:
        """Tick everything once with a runner, and run what is due; one at a time for each."""
        with self._running[number]:
            self.flows[number].run(once=True)

    def wait(self, assignment: float) -> None:
        """Let time pass, while some of it is left."""
        with self._lock:
            by = min(self.step * assignment, self._left)
            self._left -= by
        self.clock.advance(by)

    def reset(self, flow: Flowstone, sensor: str) -> None:
        """Reset a sensor."""
        with self._lock:
            self.resets[sensor] += 1
        flow.sensors.reset(sensor)

    def edit(self, flow: Flowstone, schedule: str) -> None:
        """Change something of a schedule that does not matter."""
        with self._lock:
            number = next(self._numbers)
        flow.schedules.update(schedule, metadata={"edit": number})

    def versions(self) -> dict[str, int]:
        """Return the versions of what is stored."""
        found = {
            f"sensor {each.name!r}": each.checkpoint.version for each in self.store.sensors.all()
        }
        schedules = self.store.schedules.all()
        return found | {f"schedule {each.name!r}": each.checkpoint.version for each in schedules}


class Operations:
    """Draws one thread's operations.

    Args:
        hands: The state that all threads share.
        chosen: Makes the choices.
        without: The operations to leave out.
    """

    def __init__(self, hands: Hands, chosen: Random, without: Collection[str]) -> None:
        self._hands = hands
        self._chosen = chosen
        needs = {"change": hands.changeable, "reset": hands.sensors, "edit": hands.schedules}
        assignments = {
            name: assignment
            for name, assignment in _SHARES.items()
            if name not in without and needs.get(name, True)
        }
        self._names, self._weights = list(assignments), list(assignments.values())

    @staticmethod
    def names() -> set[str]:
        """Return the names of all operations."""
        return set(_SHARES)

    def draw(self) -> tuple[str, Operation]:
        """Choose what to do next: its name, and how."""
        (name,) = self._chosen.choices(self._names, self._weights)
        make: Callable[[Flowstone], Operation] = getattr(self, f"_{name}")
        return name, make(self._chosen.choice(self._hands.flows))

    def _tick(self, flow: Flowstone) -> Operation:
        number = self._hands.flows.index(flow)
        return lambda: self._hands.tick(number)

    def _change(self, flow: Flowstone) -> Operation:
        del flow
        return self._hands.change

    def _wait(self, flow: Flowstone) -> Operation:
        del flow
        assignment = self._chosen.random()
        return lambda: self._hands.wait(assignment)

    def _pause(self, flow: Flowstone) -> Operation:
        kind, name = self._source()
        return lambda: (flow.sensors if kind == "sensor" else flow.schedules).pause(name)

    def _resume(self, flow: Flowstone) -> Operation:
        kind, name = self._source()
        return lambda: (flow.sensors if kind == "sensor" else flow.schedules).resume(name)

    def _reset(self, flow: Flowstone) -> Operation:
        name = self._chosen.choice(self._hands.sensors)
        return lambda: self._hands.reset(flow, name)

    def _edit(self, flow: Flowstone) -> Operation:
        name = self._chosen.choice(self._hands.schedules)
        return lambda: self._hands.edit(flow, name)

    def _materialize(self, flow: Flowstone) -> Operation:
        asset = self._chosen.choice(self._hands.assets)
        partition = f"by hand {self._chosen.randrange(5)}"
        return lambda: flow.materialize(asset, partition)

    def _cancel(self, flow: Flowstone) -> Operation:
        place = self._chosen.random()

        def cancel() -> None:
            for row in self._some(flow, place):
                self._hands.recorder.cancelling(row.run_id)
                flow.materializations.cancel(row.id)

        return cancel

    def _retry(self, flow: Flowstone) -> Operation:
        place = self._chosen.random()

        def retry() -> None:
            for row in self._some(flow, place):
                flow.materializations.retry(row.id)

        return retry

    def _some(self, flow: Flowstone, place: float) -> Sequence[Materialization]:
        """Return one of the newest materializations; none if there is none."""
        rows = flow.materializations.latest(limit=10)
        return rows[int(place * len(rows)) :][:1]

    def _source(self) -> tuple[str, str]:
        hands = self._hands
        sources = [("sensor", name) for name in hands.sensors]
        sources += [("schedule", name) for name in hands.schedules]
        return self._chosen.choice(sources)

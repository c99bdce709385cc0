"""Which sensors are this runner's: claiming them, and noticing what others did to them."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection, Iterable
from itertools import count

from flowstone_core.clock import Clock
from flowstone_core.errors import StoreError, describe
from flowstone_core.store import Store
from flowstone_core.tick import SensorMemory

logger = logging.getLogger("flowstone.roster")

LOOK_INTERVAL = 1.0
"""Seconds between looks at what operators and other runners did."""

TAKEOVER_LOOKS = 10
"""Every so many looks, sensors whose runner is not heard of any more are looked for too."""


class Roster:
    """Claims sensors, and looks once a second which were taken away and which are free.

    An operator who pauses, resumes or resets a sensor takes it from its runner; so one look at
    the sensors that nobody owns shows everything that happened, and costs the same however many
    sensors there are.

    Args:
        runner_id: As registered by the heartbeat.
        names: The sensors that this runner can tick.
        on_claimed: Called with each sensor that is this runner's from now on.
        on_lost: Called with each one that is not any more.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        runner_id: str,
        names: Collection[str],
        on_claimed: Callable[[str, SensorMemory], None],
        on_lost: Callable[[str], None],
    ) -> None:
        self._store = store
        self._clock = clock
        self._runner_id = runner_id
        self._names = frozenset(names)
        self._on_claimed = on_claimed
        self._on_lost = on_lost
        self._owned: set[str] = set()
        self._forgotten: set[str] = set()
        self._looks = count(1)
        self._down = False
        self._stopping = False
        self._waker = clock.waker()
        self._thread = threading.Thread(target=self._run, name="flowstone-roster", daemon=True)

    def open(self) -> None:
        """Make the sensors known to the store and claim what is free.

        Raises:
            StoreError: If the store cannot be used.
        """
        self._store.declare_sensors(sorted(self._names), self._clock.now())
        self._claim(self._names)

    def start(self) -> None:
        """Begin to look, in a thread of its own."""
        self._thread.start()

    def look(self) -> None:
        """Look once: say what is lost, claim what is free.

        Raises:
            StoreError: If the store cannot be used.
        """
        free = self._store.unowned_sensors() & self._names
        for name in free & self._owned:
            self._owned.discard(name)
            self._on_lost(name)
        wanted = free | self._forgotten
        self._forgotten -= wanted
        if next(self._looks) % TAKEOVER_LOOKS == 0:
            wanted |= self._names - self._owned
        self._claim(wanted)

    def forget(self, name: str) -> None:
        """Hear that a commit was refused: the sensor is looked at anew. Any thread."""
        self._owned.discard(name)
        self._forgotten.add(name)
        self._on_lost(name)

    def stop(self) -> None:
        """End the thread."""
        self._stopping = True
        self._waker.set()
        if self._thread.is_alive():
            self._thread.join(timeout=5)

    def _claim(self, names: Iterable[str]) -> None:
        wanted = sorted(names)
        if not wanted:
            return
        taken = self._store.claim_sensors(self._runner_id, wanted, self._clock.now())
        for name, memory in taken.items():
            self._owned.add(name)
            self._on_claimed(name, memory)

    def _run(self) -> None:
        while not self._stopping:
            self._waker.wait(LOOK_INTERVAL)
            try:
                self.look()
                self._down = False
            except StoreError as error:
                if not self._down:
                    logger.error(  # noqa: TRY400 - once for each outage, the cause in the text
                        "the store cannot be looked at", extra={"error": describe(error)}
                    )
                self._down = True
            except Exception:
                logger.exception("the look at the store failed; the next one follows")

"""Being known to live: one row that says so, renewed while the process does its work."""

from __future__ import annotations

import logging
import os
import socket
import threading
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from importlib.metadata import version
from pathlib import Path

from flowstone_core.errors import StoreError
from flowstone_core.model.clock import Clock
from flowstone_core.model.engine import RunnerInfo
from flowstone_core.runtime.coordination.store_outage import StoreOutage
from flowstone_core.store import Store

logger = logging.getLogger("flowstone.heartbeat")

PROBE_INTERVAL = 1.0
"""Seconds between two beats while the store cannot be used: the first that succeeds says it can."""


class Heartbeat:
    """Registers this process in the store and renews its lease.

    A runner whose lease ends loses its sensors and its materializations to whoever looks next.
    One that was killed on this machine need not be waited for: its process is seen to be gone.

    Args:
        lease: How long the row is good for; it is renewed three times as often.

    Attributes:
        runner: This process, as the store knows it.
        outage: Whether the store can be used; it ends with a beat at the latest.
        count_stuck: Says how many threads of this process are left behind; told with each beat.
    """

    def __init__(self, store: Store, clock: Clock, lease: timedelta) -> None:
        self._store = store
        self._clock = clock
        self._lease = lease
        self._waker = clock.waker()
        self._stopping = False
        self.count_stuck: Callable[[], int] = lambda: 0
        self.outage = StoreOutage()
        self.outage.listen(self._waker.set)
        self._thread = threading.Thread(target=self._run, name="flowstone-heartbeat", daemon=True)
        now = clock.now()
        self.runner = RunnerInfo(
            id=uuid.uuid4().hex,
            host=socket.gethostname(),
            pid=os.getpid(),
            machine=machine_id(),
            version=version("flowstone-core"),
            started_at=now,
            lease_until=now + lease,
        )

    def start(self) -> None:
        """Register, take the dead of this machine off the list, and begin to renew.

        Raises:
            StoreError: If the store cannot be written.
        """
        self._store.runners.register(self.runner)
        self.retire_dead()
        self._thread.start()

    def beat(self) -> None:
        """Renew the lease once; a runner that was taken for dead registers again."""
        now = self._clock.now()
        try:
            stuck = self.count_stuck()
            if not self._store.runners.renew(self.runner.id, now + self._lease, stuck):
                logger.warning("this runner was taken for dead; it begins anew")
                self._store.runners.register(self._renewed())
            self.outage.end()
        except StoreError as error:
            self.outage.begin(error)

    def retire_dead(self) -> None:
        """Mark the runners of this machine whose process is gone as stopped."""
        now = self._clock.now()
        for other in self._store.runners.all(machine=self.runner.machine, alive_at=now):
            if other.id != self.runner.id and not _process_lives(other.pid):
                logger.warning(
                    "a runner died; its work is taken over",
                    extra={"runner": other.id, "pid": other.pid},
                )
                self._store.runners.stop(other.id, now)

    def stop(self) -> None:
        """Sign off: what this runner owned is free at once."""
        self._stopping = True
        self._waker.set()
        if self._thread.is_alive():
            self._thread.join(timeout=5)
        with suppress(StoreError):  # its lease ends by itself
            self._store.runners.stop(self.runner.id, self._clock.now())

    def _run(self) -> None:
        period = self._lease.total_seconds() / 3
        while not self._stopping:
            was_on = self.outage.on
            self._waker.wait(PROBE_INTERVAL if was_on else period)
            # Woken because an outage has just begun, it gives the store its second first.
            if not self._stopping and self.outage.on is was_on:
                self.beat()

    def _renewed(self) -> RunnerInfo:
        return replace(self.runner, lease_until=self._clock.now() + self._lease)


def machine_id() -> str:
    """Name this machine as far as process ids are concerned.

    Two processes with the same name see each other's ids. A container has its own, hence the
    namespace; a restart of the machine makes all ids new, hence the boot id (proc(5)).
    """
    parts = [socket.gethostname()]
    for path in ("/proc/sys/kernel/random/boot_id", "/proc/self/ns/pid"):
        with suppress(OSError):
            found = Path(path)
            parts.append(str(found.readlink()) if found.is_symlink() else found.read_text().strip())
    return " ".join(parts)


def _process_lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True

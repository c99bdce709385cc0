"""Session: a runner's registration in the store, and what all its parts need of it."""

from __future__ import annotations

from dataclasses import dataclass, field

from flowstone_core.model.clock import Clock
from flowstone_core.runtime.coordination.commit_watch import CommitWatch
from flowstone_core.runtime.coordination.lease import Lease
from flowstone_core.runtime.coordination.store_outage import StoreOutage
from flowstone_core.store import Store


@dataclass(frozen=True, slots=True)
class RunnerSession:
    """A runner's session with the store, from its registration to its stop.

    Attributes:
        store: The store that the runner is registered in.
        runner_id: The id by which the store knows what the runner owns.
        clock: The clock of the runner's leases and ticks.
        outage: The circuit breaker that all threads of the runner share.
        lease: The lease, as far as the runner knows it without the store.
        commits: The watch of the commit in progress, which the heartbeat reads.
    """

    store: Store
    runner_id: str
    clock: Clock
    outage: StoreOutage
    lease: Lease
    commits: CommitWatch = field(default_factory=CommitWatch)

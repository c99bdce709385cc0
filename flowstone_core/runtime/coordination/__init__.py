"""Coordination: which runner owns which sensor and schedule, and which runners are alive.

A runner is alive while its lease has not expired. It owns what it has claimed in the store, and
loses it when the lease expires or when an operator changes it.

Modules:
    session: a runner's registration: store, runner id, clock and circuit breaker.
    heartbeat: registers the runner and renews its lease; retires dead runners of this machine.
    workload: the assets, sensors and schedules that a runner is able to run.
    assignment: the sensors, or schedules, that a runner owns; claims free ones.
    reconciler: keeps the assignments in step with the store, once a second.
    registration: declares schedules to the store; counts the instants that a change skips.
    store_outage: circuit breaker for the store.
    commit_watch: how long the commit in progress has lasted.
"""

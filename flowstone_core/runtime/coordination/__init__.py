"""Coordination: which runner owns which sensor and schedule, and which runners are alive.

A runner is alive while its lease has not expired. It owns what it has claimed in the store, and
loses it when the lease expires or when an operator changes it.

Modules:
    session: a runner's registration: store, runner id, clock and circuit breaker.
    heartbeat: registers the runner and renews its lease.
    lease: the runner's lease by its own clock; steps down before the lease can end.
    clock_watch: sets the clock to the time of the store, and warns of a wrong one.
    retirement: retires dead runners.
    workload: the assets, sensors and schedules that a runner is able to run.
    tickable: the names of all that a runner is able to tick.
    shares: how many sensors and schedules each runner may own.
    assignment: what a runner owns; claims its share of the free ones, hands over a surplus.
    sensor_assignment, schedule_assignment: the assignment of sensors, and of schedules.
    reconciler: keeps the assignments in step with the store, once a second.
    registration: declares schedules to the store; counts the instants that a change skips.
    store_outage: circuit breaker for the store.
    commit_watch: how long the commit in progress has lasted.
"""

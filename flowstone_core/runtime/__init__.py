"""Runtime: the process that runs sensors, schedules, materializations and backfills.

The supervisor starts the parts of a runner process and stops them; the runner ticks the sensors
and schedules that are assigned to it, and an engine runs the materializations. Nothing is
re-exported here: only `flowstone_core.app.wiring` builds the parts.

Modules:
    supervisor: starts the parts of a runner process, waits for its end, stops them in order.
    runner: wires assignments, scheduler and committer together; starts and stops them.
    builtin_plugin: registers the triggers and the engine of the core.
    ticking: when a sensor or schedule ticks, what runs in a tick, and its commit.
    engine: how a claimed materialization is run.
    backfill: how a range of partitions is materialized.
    publisher: reports committed changes to the log and to the plugins that watch.
    pruner: deletes old history and the keys of old events, once an hour.
    coordination: which runner owns what, and which runners are alive.
    isolation: foreign code in threads and processes that can be given up.
    periodic_thread: the loop protocol of all periodic daemon threads.
    signals: the handlers of SIGINT and SIGTERM.
"""

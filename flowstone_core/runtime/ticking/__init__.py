"""Ticking: when a sensor or schedule ticks, what runs in a tick, and how ticks are committed.

A tick belongs to four threads in turn: the scheduler starts it when it is due, a thread of the
pool calls the sensor and decides, the committer writes the decision, and the scheduler arms the
next tick.

Modules:
    scheduler: heap of due times; starts the ticks that are due and gives up the late ones.
    ticker: base class of the tickers; one tick at a time, with a deadline.
    sensor_ticker: polls one sensor and decides what the tick commits.
    schedule_ticker: evaluates one schedule and fires for its due instants.
    sensor_host: calls a sensor's code, in a thread or in a child process.
    pool_calls: the calls that the thread pool makes for a ticker.
    committer: writes ticks; ticks that end together share one transaction.
    quiet_reasons: records why polls find nothing.
    staleness: reports sensors without a good poll for longer than their limit.
"""

"""Framework of the benchmarks: declares, runs, records, prints, draws and compares them.

Modules:
    benchmark: what a benchmark declares: cases, arms, metrics, targets.
    metrics: those that several benchmarks have.
    span: a measured stretch of an arm: seconds, and CPU of the process and of PostgreSQL.
    scratch: an empty folder or PostgreSQL database for an arm.
    arm_process: runs an arm in a separate process.
    rounds: runs the arms of a benchmark in turns.
    machine: the machine, and the versions of all that took part.
    result: a run: the samples of each arm, their medians, spreads and ratios; as JSON.
    table: a run as a table: rows of text, for the terminal and for the page.
    plot: a run as a plot of how cost grows.
    comparison: what became worse than the recorded run.
    page: docs/performance.md, from the recorded runs.
"""

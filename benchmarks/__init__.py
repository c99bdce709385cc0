"""Benchmarks: FlowStone beside its peers and its limits, interleaved in one run.

    make bench                      every benchmark
    make bench NAME=jobs            one of them
    make bench NAME=jobs RECORD=1   one of them, and keep it as the recorded run
    make bench-compare              measure anew; exit code 1 if something became worse
    make bench-page                 write docs/performance.md from the recorded runs

A benchmark is a module of this package, or a package where one file would be too long, with a
`Benchmark` called ``BENCHMARK``: the cases (how large), the arms (FlowStone, its peers, the limit),
the metrics, and the targets. An arm is a function that takes a case and returns a value for each
metric; each of its runs is a separate process. In each round every arm runs once, in turns: arm A,
B, C, then B, C, A. So a slow minute of the machine falls on all of them, and a ratio is taken
between runs of the same round.

The smallest benchmark:

    def bare(case: Case) -> Sample:
        with Span() as span:
            for _ in range(case["calls"]):
                pass
        return span.sample(case["calls"])

    BENCHMARK = Benchmark(
        name="calls",
        title="Calls",
        about="An empty loop.",
        metrics=(RATE, CPU),
        cases=(Case("100 calls", x=100, values={"calls": 100}),),
        arms=(Arm("flowstone", "FlowStone", bare), Arm("loop", "bare loop", bare, role="limit")),
    )

Packages of peers are imported inside the arms, and named in ``Arm.needs``: an arm whose package
is missing is reported as missing. An arm reads the time with `Span` or ``time.perf_counter``,
gets a folder from `scratch_folder` and an empty PostgreSQL database from `postgresql_database`.
"""

"""Rounds: run the arms of a benchmark in turns."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime

from benchmarks.framework.arm_process import ArmError, missing_packages, run_arm
from benchmarks.framework.benchmark import Arm, Benchmark, Case, Sample
from benchmarks.framework.machine import commit, describe_machine, describe_versions
from benchmarks.framework.result import Result
from benchmarks.framework.scratch import cache_folder, postgresql_server


def measure(
    benchmark: Benchmark,
    cases: Sequence[Case],
    arms: Sequence[Arm],
    rounds: int,
    run: Callable[[Benchmark, Arm, Case], Sample] = run_arm,
) -> Result:
    """Run each arm once in each round, beginning with another one each time.

    Args:
        benchmark: The benchmark.
        cases: Those of its cases to measure.
        arms: Those of its arms to run.
        rounds: How often each arm runs.
        run: Runs an arm once; in a separate process if not given.
    """
    result = Result(
        benchmark.name,
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        commit(),
        rounds,
        describe_machine(),
        {},
    )
    for arm in arms:
        missing = missing_packages(arm)
        if missing:
            result.missing[arm.name] = f"not installed: {', '.join(missing)}"
    present = [arm for arm in arms if arm.name not in result.missing]
    with ExitStack() as stack:
        stack.enter_context(cache_folder())
        if any(case.postgresql for case in cases):
            cases = _with_server(cases, stack, result)
        result.versions.update(describe_versions(present))
        for case in cases:
            _measure_case(benchmark, case, [arm for arm in present if arm.takes(case)], result, run)
    return result


def _with_server(cases: Sequence[Case], stack: ExitStack, result: Result) -> Sequence[Case]:
    try:
        stack.enter_context(postgresql_server())
    except Exception as error:  # noqa: BLE001 - whatever it is, the other cases can be measured
        result.missing["PostgreSQL"] = f"the server does not start: {error}"
        return [case for case in cases if not case.postgresql]
    return cases


def _measure_case(
    benchmark: Benchmark,
    case: Case,
    arms: Sequence[Arm],
    result: Result,
    run: Callable[[Benchmark, Arm, Case], Sample],
) -> None:
    samples: dict[str, list[Sample | None]] = {arm.name: [] for arm in arms}
    result.samples[case.name] = samples
    for number in range(min(result.rounds, case.rounds or result.rounds)):
        first = number % max(1, len(arms))
        for arm in (*arms[first:], *arms[:first]):
            say(f"{benchmark.name}, {case.name}, round {number + 1}: {arm.title}")
            try:
                samples[arm.name].append(run(benchmark, arm, case))
            except ArmError as error:
                samples[arm.name].append(None)
                result.missing.setdefault(arm.name, f"failed at {case.name}: {error}")
                say(f"{arm.title} failed: {error}\n")
    say("")


def say(text: str) -> None:
    """Show what runs, on a terminal in one line that is overwritten."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)
    elif text:
        print(text, file=sys.stderr, flush=True)

"""Command line of the benchmarks: measure, record, compare, and write the page."""

from __future__ import annotations

import argparse
import importlib.util
import signal
import sys
from pathlib import Path

from rich.console import Console

from benchmarks.framework.arm_process import run_here
from benchmarks.framework.benchmark import Benchmark, Case, benchmark_names, load_benchmark
from benchmarks.framework.comparison import compare
from benchmarks.framework.result import LAST, RECORDED, Result
from benchmarks.framework.rounds import measure
from benchmarks.framework.table import print_result


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="benchmarks; all if none is given")
    parser.add_argument("--rounds", type=int, default=5, help="runs of each arm (default: 5)")
    parser.add_argument("--case", action="append", help="only cases with this text in their name")
    parser.add_argument("--arm", action="append", help="only arms with this text in their name")
    parser.add_argument(
        "--smoke", action="store_true", help="the smallest sizes, once, in this process: to try"
    )
    parser.add_argument("--folder", type=Path, default=LAST, help=f"of the run (default: {LAST})")
    parser.add_argument("--full", action="store_true", help="the cases that take long, too")
    parser.add_argument("--record", action="store_true", help="keep the run as the recorded one")
    parser.add_argument(
        "--compare", action="store_true", help="compare with the recorded run; exit code 1 if worse"
    )
    parser.add_argument("--page", action="store_true", help="write docs/performance.md, and end")
    parser.add_argument("--list", action="store_true", help="list the benchmarks, and end")
    return parser


def main() -> int:
    """Do as the arguments say; return the exit code."""
    parser = _parser()
    given = parser.parse_args()
    known = benchmark_names()
    names = given.names or known
    unknown = sorted(set(names) - set(known))
    if unknown:
        parser.error(f"unknown benchmark: {unknown[0]} (known: {', '.join(known)})")
    if given.record and (given.case or given.arm or given.smoke):
        parser.error("--record: needs every case and arm (leave out --case, --arm and --smoke)")
    if given.list:
        for name in known:
            print(f"{name:<12} {load_benchmark(name).title}")
        return 0
    if given.page:
        from benchmarks.framework.page import write_page

        print(write_page())
        return 0
    # A database server must not stay behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    became_worse = [_run(load_benchmark(name), given) for name in names]
    return int(any(became_worse))


def _run(benchmark: Benchmark, given: argparse.Namespace) -> bool:
    """Measure one benchmark; return True if it was compared and became worse."""
    console = Console(width=None if sys.stdout.isatty() else 200)
    cases = _chosen_cases(benchmark, given)
    arms = [arm for arm in benchmark.arms if _matches(arm.name, given.arm)]
    if given.compare:  # with the limits, which are quick
        arms = [arm for arm in arms if arm.role != "peer"]
    before = Result.load(RECORDED, benchmark.name) if given.compare else None
    if given.compare and before is None:
        console.print(f"{benchmark.name}: no recorded run", markup=False)
        return False
    if given.smoke:
        result = measure(benchmark, cases, arms, 1, run_here)
    else:
        result = measure(benchmark, cases, arms, given.rounds)
    print_result(benchmark, result, console)
    result.save(given.folder)
    if not given.smoke:
        _draw(benchmark, result, given.folder, console)
    if given.record:
        console.print(f"recorded: {result.save(RECORDED)}", markup=False)
    return before is not None and _print_changes(benchmark, before, result, console)


def _chosen_cases(benchmark: Benchmark, given: argparse.Namespace) -> list[Case]:
    if given.smoke:
        return list(benchmark.smoke)
    return [
        case
        for case in benchmark.cases
        if _matches(case.name, given.case) and (given.full or not case.full)
    ]


def _matches(name: str, texts: list[str] | None) -> bool:
    return texts is None or any(text in name for text in texts)


def _draw(benchmark: Benchmark, result: Result, folder: Path, console: Console) -> None:
    if importlib.util.find_spec("matplotlib") is None:
        console.print(
            "no plots: matplotlib is not installed (make bench installs it)", markup=False
        )
        return
    from benchmarks.framework.plot import draw

    for path in draw(benchmark, result, folder):
        console.print(f"plot: {path}", markup=False)


def _print_changes(benchmark: Benchmark, before: Result, after: Result, console: Console) -> bool:
    changes = list(compare(benchmark, before, after))
    worse = [change for change in changes if change.worse]
    for change in worse:
        console.print(f"worse: {change}", style="red", markup=False)
    compared = f"{len(changes)} figures compared with the run of {before.date}"
    console.print(f"{benchmark.name}: {compared}, {len(worse)} worse\n", markup=False)
    return bool(worse)


if __name__ == "__main__":
    sys.exit(main())

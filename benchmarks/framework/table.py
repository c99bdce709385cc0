"""Table: a run as rows of text, and printed to the terminal."""

from __future__ import annotations

import math
from collections.abc import Iterator

from rich.console import Console
from rich.table import Table

from benchmarks.framework.benchmark import Benchmark, Metric
from benchmarks.framework.metrics import SERVER_CPU
from benchmarks.framework.result import Result, Spread, met


def columns(benchmark: Benchmark) -> list[str]:
    """Return the headings of the table of a run."""
    headings = ["case", "arm"]
    for metric in benchmark.metrics:
        headings.append(metric.title)
        if _has_ratio(benchmark, metric):
            headings.append("FlowStone ÷ it")
    return headings


def rows(benchmark: Benchmark, result: Result) -> Iterator[list[str]]:
    """Yield a row for each case and arm that was measured."""
    for case in (*benchmark.cases, *benchmark.smoke):
        samples = result.samples.get(case.name, {})
        measured = [arm for arm in benchmark.arms if any(samples.get(arm.name, ()))]
        ours = next((arm.name for arm in measured if arm.role == "flowstone"), "")
        shown = case.name
        for arm in measured:
            row = [shown, arm.title + (" (limit)" if arm.role == "limit" else "")]
            for metric in benchmark.metrics:
                if metric is SERVER_CPU and not case.postgresql:
                    row.append("")  # the server of the other cases was idle: not this arm's CPU
                    continue
                row.append(_shown(result.spread(case.name, arm.name, metric.name), metric))
                if _has_ratio(benchmark, metric):
                    ratio = result.ratio(case.name, ours, arm.name, metric.name)
                    row.append("" if ratio is None or arm.name == ours else number(ratio.median))
            shown = ""
            yield row


def target_rows(benchmark: Benchmark, result: Result) -> Iterator[list[str]]:
    """Yield the text, the wanted value, the measured one and the verdict for each target."""
    for target in benchmark.targets:
        wanted = "≥ " if target.at_least is not None else "≤ "
        wanted += number(target.at_least or target.at_most or 0.0)
        value = result.reached(target)
        if value is None:
            yield [target.text, wanted, "", "not measured"]
        else:
            verdict = "met" if met(target, value) else "missed"
            yield [target.text, wanted, number(value), verdict]


def missing_lines(benchmark: Benchmark, result: Result) -> list[str]:
    """Return a line for each arm that did not run, or not to its end."""
    titles = {arm.name: arm.title for arm in benchmark.arms}
    return [f"{titles.get(name, name)}: {text}" for name, text in result.missing.items()]


def print_result(benchmark: Benchmark, result: Result, console: Console) -> None:
    """Print the table of a run, its targets, the machine and the versions."""
    table = Table(title=benchmark.title, title_justify="left", title_style="bold")
    for position, heading in enumerate(columns(benchmark)):
        table.add_column(heading, justify="left" if position < 2 else "right")
    for row in rows(benchmark, result):
        table.add_row(*row)
    console.print(table)
    for text, wanted, value, verdict in target_rows(benchmark, result):
        reached = f"{value}, {verdict}" if value else verdict
        console.print(f"target: {text} ({wanted}): {reached}", markup=False)
    for line in missing_lines(benchmark, result):
        console.print(f"missing: {line}", markup=False)
    console.print(
        f"median of {result.rounds} (lowest to highest); {about_run(result)}\n", markup=False
    )


def about_run(result: Result) -> str:
    """Return when and where a run was measured, in one line."""
    machine = ", ".join(f"{name} {text}" for name, text in result.machine.items())
    versions = ", ".join(f"{name} {text}" for name, text in result.versions.items())
    return f"{result.date}, commit {result.commit}; {machine}; {versions}"


def number(value: float) -> str:
    """Return a number with three digits, and all of its digits if it is large."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    rounded = float(f"{value:.3g}")
    return f"{rounded:,.{max(0, 2 - math.floor(math.log10(abs(rounded))))}f}"


def _has_ratio(benchmark: Benchmark, metric: Metric) -> bool:
    return metric.ratio and len(benchmark.arms) > 1


def _shown(spread: Spread | None, metric: Metric) -> str:
    if spread is None:
        return ""
    unit = f" {metric.unit}" if metric.unit else ""
    if spread.low == spread.high:
        return f"{number(spread.median)}{unit}"
    return f"{number(spread.median)}{unit} ({number(spread.low)} to {number(spread.high)})"

"""Comparison: what became worse than the recorded run, by more than the noise of both.

A slow day of the machine makes everything slow. So FlowStone's ratio to the limit, or else to a
peer, is compared, and the value itself only where there is neither. Worse means that not one of the
new rounds is as good as the worst of the recorded ones, and that the median is worse by a tenth.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from benchmarks.framework.benchmark import Arm, Benchmark, Case, Metric
from benchmarks.framework.result import Result, Spread
from benchmarks.framework.table import number

LEAST = 1.1
"""Smaller changes of the median are noise, whatever the spreads are."""


@dataclass(frozen=True)
class Change:
    """A figure of FlowStone in the recorded run and in the new one."""

    case: str
    figure: str
    before: Spread
    after: Spread
    worse: bool

    def __str__(self) -> str:
        """Return it in one line."""
        before, after = (
            f"{number(each.median)} ({number(each.low)} to {number(each.high)})"
            for each in (self.before, self.after)
        )
        return f"{self.case}, {self.figure}: {before}, now {after}"


def compare(benchmark: Benchmark, before: Result, after: Result) -> Iterator[Change]:
    """Yield each figure of FlowStone that both runs have."""
    for case in benchmark.cases:
        for arm in benchmark.arms:
            if arm.role == "flowstone" and arm.takes(case):
                for metric in benchmark.metrics:
                    change = _change(benchmark, case, arm, metric, before, after)
                    if change is not None:
                        yield change


def _change(
    benchmark: Benchmark, case: Case, arm: Arm, metric: Metric, before: Result, after: Result
) -> Change | None:
    others = sorted(
        (other for other in benchmark.arms if other.role != "flowstone" and other.takes(case)),
        key=lambda other: other.role != "limit",
    )
    for other in others if metric.ratio else ():
        old = before.ratio(case.name, arm.name, other.name, metric.name)
        new = after.ratio(case.name, arm.name, other.name, metric.name)
        if old is not None and new is not None:
            figure = f"{metric.title} of {arm.title} ÷ {other.title}"
            return Change(case.name, figure, old, new, _worse(metric, old, new))
    old, new = (run.spread(case.name, arm.name, metric.name) for run in (before, after))
    if old is None or new is None:
        return None
    figure = f"{metric.title} of {arm.title}"
    return Change(case.name, figure, old, new, _worse(metric, old, new))


def _worse(metric: Metric, old: Spread, new: Spread) -> bool:
    if metric.higher_is_better:
        return new.high < old.low and new.median * LEAST < old.median
    return new.low > old.high and new.median > old.median * LEAST

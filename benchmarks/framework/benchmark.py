"""Benchmark: what it declares, which is its cases, arms, metrics and targets."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import benchmarks

Sample: TypeAlias = dict[str, float]
"""One run of an arm: a value for each metric."""


@dataclass(frozen=True)
class Case:
    """One size at which every arm of a benchmark is measured.

    Attributes:
        name: Unique in its benchmark.
        x: The size, on the horizontal axis of the plot.
        values: What the arms need to know: numbers and words that JSON can carry.
        group: The cases that belong to one line of the plot, such as a database; may be empty.
        postgresql: True if its arms need a PostgreSQL server.
        full: True if it takes long or needs much disk, and runs with ``--full`` only.
        rounds: How often at most each arm runs; None for the number asked for.
    """

    name: str
    x: float
    values: Mapping[str, int | float | str] = field(default_factory=dict)
    group: str = ""
    postgresql: bool = False
    full: bool = False
    rounds: int | None = None

    def __getitem__(self, key: str) -> int:
        """Return a whole number of the values."""
        return int(self.values[key])

    def number(self, key: str) -> float:
        """Return a number of the values."""
        return float(self.values[key])

    def text(self, key: str) -> str:
        """Return a text of the values."""
        return str(self.values[key])


@dataclass(frozen=True)
class Arm:
    """One of the programs that are compared.

    Attributes:
        name: Unique in its benchmark; that of FlowStone is ``flowstone`` where there is only one.
        title: Its name in tables and plots.
        run: Measures one case, in a separate process.
        role: ``flowstone``, ``peer``, or ``limit``: the bare operations, which nothing can beat.
        needs: Distributions that it imports.
        groups: The groups of the cases that it runs; None for all.
        largest: The largest ``x`` that it runs: beyond, it would take minutes.
    """

    name: str
    title: str
    run: Callable[[Case], Sample]
    role: Literal["flowstone", "peer", "limit"] = "flowstone"
    needs: tuple[str, ...] = ()
    groups: tuple[str, ...] | None = None
    largest: float = float("inf")

    def takes(self, case: Case) -> bool:
        """Return True if it runs this case."""
        return case.x <= self.largest and (self.groups is None or case.group in self.groups)


@dataclass(frozen=True)
class Metric:
    """A value that each run of an arm has.

    Attributes:
        name: Its key in a sample.
        title: Its column in tables, and axis in plots.
        unit: Written after each value.
        higher_is_better: True for rates, False for costs.
        ratio: True if the tables show FlowStone's ratio to each other arm.
    """

    name: str
    title: str
    unit: str = ""
    higher_is_better: bool = False
    ratio: bool = True


@dataclass(frozen=True)
class Target:
    """A ratio, or a value, that a benchmark is to reach.

    A ratio is that of FlowStone's value to the one of another arm in the same case, or to its
    own in another case. With several cases it is the geometric mean of theirs.

    Attributes:
        text: The target in words.
        metric: Name of the metric.
        cases: Names of the cases.
        arm: FlowStone's arm.
        against: The other arm; None for the value itself.
        against_case: The other case of FlowStone's arm; None for the same one.
        at_least: The lowest good ratio.
        at_most: The highest good ratio.
    """

    text: str
    metric: str
    cases: tuple[str, ...]
    arm: str = "flowstone"
    against: str | None = None
    against_case: str | None = None
    at_least: float | None = None
    at_most: float | None = None


@dataclass(frozen=True)
class Benchmark:
    """A benchmark, as its module or package declares it.

    Attributes:
        name: That of its module or package.
        title: Its heading.
        about: Paragraphs of Markdown: what is measured, and what the figures do and do not
            compare.
        metrics: The columns of its table; the first is the one that is drawn.
        smoke: Cases that take less than a second together, for the test that it runs at all.
        x_title: The horizontal axis of its plot; without one there is no plot.
        draw: The metric that is drawn; the first if not given.
    """

    name: str
    title: str
    about: str
    metrics: tuple[Metric, ...]
    cases: tuple[Case, ...]
    arms: tuple[Arm, ...]
    targets: tuple[Target, ...] = ()
    smoke: tuple[Case, ...] = ()
    x_title: str = ""
    draw: str | None = None

    def arm(self, name: str) -> Arm:
        """Return an arm by its name."""
        return next(arm for arm in self.arms if arm.name == name)

    def case(self, name: str) -> Case:
        """Return a case by its name, be it one of the smoke test."""
        return next(case for case in (*self.cases, *self.smoke) if case.name == name)

    def metric(self, name: str) -> Metric:
        """Return a metric by its name."""
        return next(metric for metric in self.metrics if metric.name == name)


NOT_BENCHMARKS = ("__main__", "framework")


def benchmark_names() -> list[str]:
    """Return the names of all benchmarks."""
    modules = pkgutil.iter_modules(benchmarks.__path__)
    return [module.name for module in modules if module.name not in NOT_BENCHMARKS]


def load_benchmark(name: str) -> Benchmark:
    """Import the module or package of a benchmark, and return the benchmark."""
    found = importlib.import_module(f"benchmarks.{name}").BENCHMARK
    assert isinstance(found, Benchmark)  # noqa: S101 - for the type checker
    return found

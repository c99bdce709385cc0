"""Plot: a run as lines of how cost grows, as PNG and SVG; needs matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.framework.benchmark import Arm, Benchmark, Metric
from benchmarks.framework.result import Result, Spread
from benchmarks.framework.table import number

STYLES = {"flowstone": ("-", 2.5), "peer": ("--", 1.2), "limit": (":", 1.8)}


@dataclass(frozen=True)
class Line:
    """The line of an arm, from the smallest case of a group to its largest."""

    arm: Arm
    points: Sequence[tuple[float, Spread]]


def panels_of(benchmark: Benchmark, result: Result) -> dict[str, list[Line]]:
    """Return the lines for each group of cases.

    An arm that was measured at one size shows no growth: the table has its figure, the plot has
    no line for it, and a group without lines has no panel.
    """
    if not benchmark.x_title:
        return {}
    metric = drawn_metric(benchmark)
    panels: dict[str, list[Line]] = {}
    for group in dict.fromkeys(case.group for case in benchmark.cases):
        cases = [case for case in benchmark.cases if case.group == group]
        for arm in benchmark.arms:
            found = {
                case.x: spread
                for case in cases
                if (spread := result.spread(case.name, arm.name, metric.name)) is not None
            }
            if len(found) > 1:
                panels.setdefault(group, []).append(Line(arm, sorted(found.items(), key=_size)))
    return panels


def drawn_metric(benchmark: Benchmark) -> Metric:
    """Return the metric on the vertical axis."""
    return benchmark.metric(benchmark.draw or benchmark.metrics[0].name)


def draw(benchmark: Benchmark, result: Result, folder: Path) -> list[Path]:
    """Draw the plots of a run, one panel for each group of cases; return their files."""
    lines_of = panels_of(benchmark, result)
    if not lines_of:
        return []
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot

    mpl.rcParams["svg.hashsalt"] = "flowstone"  # else each run gives its elements other names
    figure, panels = pyplot.subplots(
        1,
        len(lines_of),
        figsize=(1.5 + 4.5 * len(lines_of), 4.2),
        squeeze=False,
        sharey=True,
        layout="constrained",
    )
    legend: dict[str, Any] = {}
    for panel, (group, lines) in zip(panels[0], lines_of.items(), strict=True):
        panel.set(title=group, xlabel=benchmark.x_title, xscale="log", yscale="log")
        for line in lines:
            # One colour for an arm in all panels, so that one legend serves all of them.
            colour = f"C{benchmark.arms.index(line.arm)}"
            legend[line.arm.title] = _draw_line(panel, line, colour)
        _mark_axes(panel, sorted({x for line in lines for x, _ in line.points}))
    metric = drawn_metric(benchmark)
    panels[0][0].set_ylabel(f"{metric.title} ({metric.unit})" if metric.unit else metric.title)
    figure.suptitle(benchmark.title)
    figure.legend(
        legend.values(), legend.keys(), loc="outside lower center", ncols=len(legend), fontsize=8
    )
    folder.mkdir(exist_ok=True)
    paths = [folder / f"{benchmark.name}.{kind}" for kind in ("png", "svg")]
    figure.savefig(paths[0], dpi=110)
    figure.savefig(paths[1], metadata={"Date": None})
    pyplot.close(figure)
    return paths


def _draw_line(panel: Any, line: Line, colour: str) -> Any:
    style, width = STYLES[line.arm.role]
    return panel.errorbar(
        [x for x, _ in line.points],
        [spread.median for _, spread in line.points],
        yerr=[
            [spread.median - spread.low for _, spread in line.points],
            [spread.high - spread.median for _, spread in line.points],
        ],
        color=colour,
        linestyle=style,
        linewidth=width,
        marker="o",
        markersize=4,
        capsize=2,
    )


def _mark_axes(panel: Any, sizes: Sequence[float]) -> None:
    """Label the measured sizes, and plain numbers on the vertical axis, not powers of ten."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    panel.set_xticks(sizes, labels=[f"{size:,.0f}" for size in sizes])
    panel.xaxis.set_minor_locator(NullLocator())
    panel.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    panel.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _plain(value)))
    panel.yaxis.set_minor_locator(NullLocator())
    panel.grid(visible=True, alpha=0.3)


def _plain(value: float) -> str:
    return f"{value:,.0f}" if value >= 1 else number(value)


def _size(point: tuple[float, Spread]) -> float:
    return point[0]

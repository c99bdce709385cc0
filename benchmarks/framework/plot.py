"""Plot: a run as lines of how cost grows, as PNG and SVG; needs matplotlib."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.framework.benchmark import Benchmark
from benchmarks.framework.result import Result

STYLES = {"flowstone": ("-", 2.5), "peer": ("--", 1.2), "limit": (":", 1.8)}


def draw(benchmark: Benchmark, result: Result, folder: Path) -> list[Path]:
    """Draw the plots of a run, one panel for each group of cases; return their files."""
    if not benchmark.x_title:
        return []
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot

    mpl.rcParams["svg.hashsalt"] = "flowstone"  # else each run gives its elements other names
    metric = benchmark.metric(benchmark.draw or benchmark.metrics[0].name)
    groups = list(
        dict.fromkeys(case.group for case in benchmark.cases if case.name in result.samples)
    )
    figure, panels = pyplot.subplots(
        1, len(groups), figsize=(1.5 + 4.5 * len(groups), 4), squeeze=False, sharey=True
    )
    for panel, group in zip(panels[0], groups, strict=True):
        _draw_group(panel, benchmark, result, group, metric.name)
        panel.set(title=group, xlabel=benchmark.x_title, xscale="log", yscale="log")
        panel.grid(visible=True, which="major", alpha=0.3)
        panel.legend(fontsize=8)
    panels[0][0].set_ylabel(f"{metric.title} ({metric.unit})" if metric.unit else metric.title)
    figure.suptitle(benchmark.title)
    figure.tight_layout()
    folder.mkdir(exist_ok=True)
    paths = [folder / f"{benchmark.name}.{kind}" for kind in ("png", "svg")]
    figure.savefig(paths[0], dpi=110)
    figure.savefig(paths[1], metadata={"Date": None})
    pyplot.close(figure)
    return paths


def _draw_group(panel: Any, benchmark: Benchmark, result: Result, group: str, metric: str) -> None:
    for arm in benchmark.arms:
        found = {
            case.x: spread
            for case in benchmark.cases
            if case.group == group
            and (spread := result.spread(case.name, arm.name, metric)) is not None
        }
        points = sorted(found.items(), key=lambda point: point[0])
        if not points:
            continue
        line, width = STYLES[arm.role]
        sizes = [x for x, _ in points]
        medians = [spread.median for _, spread in points]
        below = [spread.median - spread.low for _, spread in points]
        above = [spread.high - spread.median for _, spread in points]
        panel.errorbar(
            sizes,
            medians,
            yerr=[below, above],
            linestyle=line,
            linewidth=width,
            marker="o",
            markersize=4,
            capsize=2,
            label=arm.title,
        )

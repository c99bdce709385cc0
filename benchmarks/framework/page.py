"""Page: docs/performance.md, made from the recorded runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.framework.benchmark import Benchmark, benchmark_names, load_benchmark
from benchmarks.framework.plot import draw, panels_of
from benchmarks.framework.result import RECORDED, Result
from benchmarks.framework.table import columns, missing_lines, rows, target_rows

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGE = DOCS / "performance.md"
PLOTS = DOCS / "performance"

INTRODUCTION = """\
# Performance

The speed of FlowStone beside its peers and beside its limits, and how cost grows. `make bench-page`
writes this page from the recorded runs in `benchmarks/results`; nothing here is written by hand.
To measure on another machine:

```sh
make bench
make bench NAME=quiet
make bench-compare
```

`make bench` runs every benchmark, `make bench NAME=quiet` one of them. `make bench-compare`
measures again and lists the figures that became worse than the recorded ones by more than the noise
of both runs. Peers are packages by others, installed with the extra `bench`; one that is missing is
named below its table.

## How to read the tables

* **FlowStone** is measured through its own code paths, with durable commits: SQLite in WAL mode
  with `synchronous=FULL`, PostgreSQL with `fsync` and `synchronous_commit` on. A **peer** is a
  package that does a part of the same job. A **limit** is the same job as bare operations: nothing
  built on them can be faster.
* Each run of an arm has a process to itself, and the arms take turns in every round, so that a slow
  minute of the machine falls on all of them. A figure is the median of the rounds, with the lowest
  and the highest in parentheses; a ratio is the median of the ratios within each round. The largest
  cases run less often: a figure without parentheses was measured once.
* **FlowStone ÷ it** is FlowStone's figure divided by that of the row. For a rate, above 1 means
  that FlowStone is faster; for a cost, such as CPU or latency, below 1 means that it is cheaper.
* Compare ratios, not figures of different tables: the machine is shared, and its speed drifts. CPU
  is that of the measuring process; a PostgreSQL server's is in another column where there is one.
"""


def page_text(loaded: Sequence[tuple[Benchmark, Result]]) -> str:
    """Return the page for these runs."""
    parts = [INTRODUCTION, "## Targets\n\n" + "\n".join(_target_table(loaded)) + "\n"]
    absent = sorted(set(benchmark_names()) - {benchmark.name for benchmark, _ in loaded})
    if absent:
        named = ", ".join(f"`{name}`" for name in absent)
        parts.append(f"Without a recorded run, thus not on this page: {named}.\n")
    parts += ["\n".join(_section(benchmark, result)) + "\n" for benchmark, result in loaded]
    return "\n".join(parts)


def recorded() -> list[tuple[Benchmark, Result]]:
    """Return the benchmarks that have a recorded run, each with its run."""
    pairs = ((load_benchmark(name), Result.load(RECORDED, name)) for name in benchmark_names())
    return [(benchmark, result) for benchmark, result in pairs if result is not None]


def write_page() -> Path:
    """Write the page, and the plots where matplotlib is installed."""
    loaded = recorded()
    for benchmark, result in loaded:
        draw(benchmark, result, PLOTS)
    PAGE.write_text(page_text(loaded), "utf-8")
    return PAGE


def _target_table(loaded: Sequence[tuple[Benchmark, Result]]) -> Iterator[str]:
    yield "| target | wanted | measured | verdict |"
    yield "| --- | ---: | ---: | --- |"
    for benchmark, result in loaded:
        link = f"[{benchmark.title}](#{_anchor(benchmark.title)})"
        for text, *others in target_rows(benchmark, result):
            yield _row([f"{link}: {text}", *others])


def _section(benchmark: Benchmark, result: Result) -> Iterator[str]:
    yield f"## {benchmark.title}\n"
    yield benchmark.about.strip() + "\n"
    headings = columns(benchmark)
    yield _row(headings)
    yield _row(["---", "---", *["---:"] * (len(headings) - 2)])
    yield from (_row(cells) for cells in rows(benchmark, result))
    yield ""
    lines = missing_lines(benchmark, result)
    if lines:
        yield "Not measured: " + "; ".join(line.splitlines()[0] for line in lines) + ".\n"
    if panels_of(benchmark, result):
        yield f"![{benchmark.title}: how cost grows](performance/{benchmark.name}.svg)\n"
    yield "```sh"
    yield f"make bench NAME={benchmark.name}"
    yield "```\n"
    machine = ", ".join(f"{name} {text}" for name, text in result.machine.items())
    versions = ", ".join(f"{name} {text}" for name, text in result.versions.items())
    yield (
        f"Measured {result.date} at commit `{result.commit}`, {result.rounds} rounds. "
        f"Machine: {machine}. Versions: {versions}."
    )


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _anchor(title: str) -> str:
    kept = "".join(each for each in title.lower() if each.isalnum() or each in " -")
    return kept.replace(" ", "-")

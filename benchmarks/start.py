"""Start of commands: from the start of the process to its end, beside bare Python."""

from __future__ import annotations

import os
import sys
import time
from functools import partial
from pathlib import Path

from benchmarks.framework.benchmark import Arm, Benchmark, Case, Metric, Sample, Target
from benchmarks.framework.scratch import scratch_folder

RUNS = 3
"""Processes in one run of an arm; the quickest is taken, after one that fills the caches."""

FLOWSTONE = Path(sys.executable).with_name("flowstone")

PIPELINE = """from flowstone_core import Pipeline
pipeline = Pipeline("bench")

@pipeline.asset
def orders(context):
    pass
"""
SECTION = """
[flowstone:sensor:feed_{number}]
type = s3_file_arrival
asset = orders
every = 30s
bucket = shop
prefix = feeds/{number}/
"""


def run_command(command: list[str], folder: Path) -> tuple[float, float]:
    """Run a command to its end; return its milliseconds and those of its CPU.

    Raises:
        RuntimeError: If it fails.
    """
    environment = os.environ | {"PYTHONPATH": str(folder)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # else each start may compile everything
    output = os.open(os.devnull, os.O_RDWR)
    begin = time.perf_counter()
    pid = os.posix_spawn(
        command[0],
        command,
        environment,
        file_actions=[(os.POSIX_SPAWN_DUP2, output, 1)],
    )
    _, status, used = os.wait4(pid, 0)
    seconds = time.perf_counter() - begin
    os.close(output)
    if status:
        raise RuntimeError(f"{' '.join(command)} failed")
    return 1e3 * seconds, 1e3 * (used.ru_utime + used.ru_stime)


def write_project(folder: Path, sensors: int) -> None:
    """Write a project with one asset and a number of sensors."""
    (folder / "bench_pipeline.py").write_text(PIPELINE, "utf-8")
    sections = "".join(SECTION.format(number=number) for number in range(sensors))
    (folder / "setup.cfg").write_text(
        f"[flowstone]\npipelines = bench_pipeline:pipeline\nstore = sqlite:///f.db\n{sections}",
        "utf-8",
    )


def started(arguments: list[str], case: Case, *, python: bool = False) -> Sample:
    """Run a command several times; return the quickest of each."""
    with scratch_folder() as folder:
        write_project(folder, case["sensors"])
        os.chdir(folder)
        command = [sys.executable if python else str(FLOWSTONE), *arguments]
        try:
            run_command(command, folder)
            taken = [run_command(command, folder) for _ in range(RUNS)]
        finally:
            os.chdir(Path(__file__).parents[1])
    return {"seconds": min(ms for ms, _ in taken), "cpu": min(cpu for _, cpu in taken)}


def flowstone(case: Case) -> Sample:
    """Run the command of the case."""
    return started(case.text("command").split(), case)


BARE = Case("--help", 1, {"command": "--help", "sensors": 1})
VERSION = Case("--version", 1, {"command": "--version", "sensors": 1})
SMALL = Case("check, 3 sensors", 3, {"command": "check", "sensors": 3}, "check")
MIDDLE = Case("check, 100 sensors", 100, {"command": "check", "sensors": 100}, "check")
LARGE = Case("check, 1,000 sensors", 1_000, {"command": "check", "sensors": 1_000}, "check")

BENCHMARK = Benchmark(
    name="start",
    title="Start of commands",
    about="""
Whole commands, from the start of the process to its end, with warm caches: the quickest of three
in each round. `check` reads the configuration, imports the pipeline and the sensors' class, and
validates every section. The limits are Python that does nothing, and Python that imports
asyncio.""",
    metrics=(Metric("cpu", "CPU", "ms"), Metric("seconds", "by the clock", "ms")),
    cases=(BARE, VERSION, SMALL, MIDDLE, LARGE),
    arms=(
        Arm("flowstone", "FlowStone", flowstone, needs=("flowstone-s3",)),
        Arm(
            "asyncio",
            "python -c 'import asyncio'",
            partial(started, ["-c", "import asyncio"], python=True),
            "limit",
        ),
        Arm("python", "python -c pass", partial(started, ["-c", "pass"], python=True), "limit"),
    ),
    targets=(
        Target(
            "`--help` at most 2 times the CPU of `import asyncio`",
            "cpu",
            (BARE.name,),
            against="asyncio",
            at_most=2.0,
        ),
    ),
    smoke=(Case("--version, smoke", 1, {"command": "--version", "sensors": 1}),),
    x_title="sensors",
)

"""Arm process: runs an arm in a separate process, and reads its sample.

    python -m benchmarks.framework.arm_process BENCHMARK ARM CASE

The sample is the last line of its output, as JSON.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
import sys
from pathlib import Path

from benchmarks.framework.benchmark import Arm, Benchmark, Case, Sample, load_benchmark
from benchmarks.framework.span import SERVER_PID

ROOT = Path(__file__).resolve().parents[2]

TIMEOUT_SECONDS = 900.0


class ArmError(Exception):
    """A run of an arm has failed; its text is the end of what the process wrote."""


def missing_packages(arm: Arm) -> list[str]:
    """Return the distributions that an arm needs and that are not installed."""
    missing = []
    for name in arm.needs:
        try:
            importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            missing.append(name)
    return missing


def run_arm(benchmark: Benchmark, arm: Arm, case: Case) -> Sample:
    """Run an arm once in a separate process.

    Raises:
        ArmError: If it fails.
    """
    command = [sys.executable, "-m", __name__, benchmark.name, arm.name, case.name]
    environment = dict(os.environ)
    if not case.postgresql:
        environment.pop(SERVER_PID, None)  # the server is there, and has nothing to do
    try:
        done = subprocess.run(  # noqa: S603 - ourselves
            command,
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ArmError(f"did not end within {TIMEOUT_SECONDS:g} s") from None
    if done.returncode:
        raise ArmError("\n".join(done.stderr.strip().splitlines()[-5:]) or "it wrote nothing")
    return read_sample(done.stdout)


def run_here(_: Benchmark, arm: Arm, case: Case) -> Sample:
    """Run an arm once in this process: quicker, and no measurement.

    Raises:
        ArmError: If it fails.
    """
    try:
        return arm.run(case)
    except Exception as error:
        raise ArmError(f"{type(error).__name__}: {error}") from error


def read_sample(output: str) -> Sample:
    """Read the sample in the last line of what an arm wrote."""
    sample: Sample = json.loads(output.strip().splitlines()[-1])
    return sample


def main() -> None:
    """Run one arm on one case, and print its sample."""
    name, arm, case = sys.argv[1:]
    benchmark = load_benchmark(name)
    print(json.dumps(benchmark.arm(arm).run(benchmark.case(case))), flush=True)


if __name__ == "__main__":
    main()

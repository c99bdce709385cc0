"""The benchmarks run: each at its smallest size, without a look at how fast it was."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.framework.benchmark import benchmark_names, load_benchmark
from benchmarks.framework.result import Result
from tests import forked
from tests.conftest import PostgresqlServer

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("name", benchmark_names())
def test_benchmark_at_its_smallest_measures_every_arm(
    name: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    benchmark = load_benchmark(name)
    environment = dict(os.environ)
    if any(case.postgresql for case in benchmark.smoke):
        server: PostgresqlServer = request.getfixturevalue("postgresql")
        environment["BENCH_POSTGRESQL"] = server.url("postgres")
    ended = forked.run(
        [sys.executable, "-m", "benchmarks", name, "--smoke", "--folder", str(tmp_path)],
        cwd=ROOT,
        env=environment | {"COLUMNS": "300"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ended.returncode == 0, ended.stderr
    result = Result.load(tmp_path, name)
    assert result is not None
    absent = {arm for arm, reason in result.missing.items() if reason.startswith("not installed")}
    assert absent == result.missing.keys(), ended.stdout
    for case in benchmark.smoke:
        expected = {arm.name for arm in benchmark.arms if arm.takes(case)} - absent
        assert result.samples[case.name].keys() == expected
        for arm, samples in result.samples[case.name].items():
            known = {metric.name for metric in benchmark.metrics}
            assert samples[0] is not None
            assert samples[0].keys() & known, arm
            assert benchmark.arm(arm).title in ended.stdout
    ours = {arm.name for arm in benchmark.arms if arm.role == "flowstone"}
    assert ours & {arm for samples in result.samples.values() for arm in samples}


@pytest.mark.parametrize("name", benchmark_names())
def test_benchmark_targets_name_what_it_measures(name: str) -> None:
    benchmark = load_benchmark(name)
    names = [case.name for case in (*benchmark.cases, *benchmark.smoke)]
    assert len(set(names)) == len(names)
    for target in benchmark.targets:
        benchmark.metric(target.metric)
        for case in target.cases:
            cases = [case, target.against_case or case]
            for arm in filter(None, [target.arm, target.against]):
                assert all(benchmark.arm(arm).takes(benchmark.case(each)) for each in cases)
    if benchmark.draw is not None:
        benchmark.metric(benchmark.draw)


def test_make_runs_records_and_compares_a_benchmark() -> None:
    # Below another make, it would tell of each folder that it enters.
    outside = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}

    def commands(*words: str) -> str:
        made = subprocess.run(
            ["make", "--dry-run", *words],
            cwd=ROOT,
            env=outside,
            capture_output=True,
            text=True,
            check=True,
        )
        assert made.stderr == ""
        return made.stdout.splitlines()[-1]

    assert commands("bench", "NAME=cron", "RECORD=1").endswith("-m benchmarks cron --record ")
    assert commands("bench-compare", "NAME=cron").endswith("-m benchmarks cron --compare ")
    assert commands("bench-page").endswith("-m benchmarks --page")

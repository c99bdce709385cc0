"""The framework of the benchmarks: turns, ratios, targets, comparison, and the page."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks.framework.arm_process import ArmError, read_sample, run_arm
from benchmarks.framework.benchmark import (
    Arm,
    Benchmark,
    Case,
    Metric,
    Sample,
    Target,
    load_benchmark,
)
from benchmarks.framework.comparison import compare
from benchmarks.framework.metrics import CPU, RATE, SERVER_CPU
from benchmarks.framework.page import PAGE, page_text, recorded
from benchmarks.framework.plot import panels_of
from benchmarks.framework.result import Result, met
from benchmarks.framework.rounds import measure
from benchmarks.framework.table import columns, missing_lines, number, rows, target_rows


def never(case: Case) -> Sample:
    raise AssertionError(case)


LARGE = Case("large", 10)
SMALL = Case("small", 1)
TARGET = Target("half of the limit", "rate", ("small",), against="limit", at_least=0.5)
BENCHMARK = Benchmark(
    name="made_up",
    title="Made up",
    about="Nothing.",
    metrics=(RATE, CPU, Metric("late", "late", "ms", ratio=False)),
    cases=(SMALL, LARGE),
    arms=(
        Arm("flowstone", "FlowStone", never),
        Arm("peer", "A peer", never, "peer", ("no-such-distribution",)),
        Arm("limit", "Bare", never, "limit", largest=1),
    ),
    targets=(TARGET,),
)


def result_of(ours: list[float], limits: list[float]) -> Result:
    samples: dict[str, list[Sample | None]] = {
        "flowstone": [{"rate": rate, "cpu": 1.0} for rate in ours],
        "limit": [{"rate": rate, "cpu": 1.0} for rate in limits],
    }
    return Result("made_up", "then", "0", len(ours), {}, {}, {"small": samples})


def test_arms_run_in_turns_and_a_missing_one_is_named() -> None:
    order: list[tuple[str, str]] = []

    def run(_: Benchmark, arm: Arm, case: Case) -> Sample:
        order.append((case.name, arm.name))
        return {"rate": float(len(order)), "cpu": 1.0}

    result = measure(BENCHMARK, BENCHMARK.cases, BENCHMARK.arms, 2, run)
    assert order == [
        ("small", "flowstone"), ("small", "limit"), ("small", "limit"), ("small", "flowstone"),
        ("large", "flowstone"), ("large", "flowstone"),
    ]  # fmt: skip
    assert missing_lines(BENCHMARK, result) == ["A peer: not installed: no-such-distribution"]
    assert result.values("small", "flowstone", "rate") == {0: 1.0, 1: 4.0}


def test_arm_that_fails_is_named_and_the_others_go_on() -> None:
    def run(_: Benchmark, arm: Arm, case: Case) -> Sample:
        if arm.name == "limit":
            raise ArmError("out of luck")
        return {"rate": 1.0}

    result = measure(BENCHMARK, [SMALL], BENCHMARK.arms, 1, run)
    assert result.missing["limit"] == "failed at small: out of luck"
    assert result.spread("small", "limit", "rate") is None
    assert [row[1] for row in rows(BENCHMARK, result)] == ["FlowStone"]


def test_arm_process_that_fails_raises_its_last_words() -> None:
    cron = load_benchmark("cron")
    unknown = replace(cron.arms[0], name="nobody")
    with pytest.raises(ArmError, match="StopIteration"):
        run_arm(cron, unknown, cron.smoke[0])


def test_sample_is_the_last_line_of_the_output() -> None:
    assert read_sample('a warning\n{"rate": 2.5}\n') == {"rate": 2.5}


def test_ratio_is_taken_within_each_round() -> None:
    result = result_of([10.0, 100.0, 10.0], [20.0, 200.0, 40.0])
    ratio = result.ratio("small", "flowstone", "limit", "rate")
    assert ratio is not None
    assert (ratio.low, ratio.median, ratio.high) == (0.25, 0.5, 0.5)
    (ours, limit) = rows(BENCHMARK, result)
    assert ours[:4] == ["small", "FlowStone", "10.0 /s (10.0 to 100)", ""]
    assert limit[:4] == ["", "Bare (limit)", "40.0 /s (20.0 to 200)", "0.500"]
    assert len(ours) == len(columns(BENCHMARK))


def test_cpu_of_an_idle_server_is_not_that_of_an_arm() -> None:
    result = result_of([10.0], [20.0])
    result.samples["small"]["flowstone"] = [{"server_cpu": 5.0}]
    for case, shown in ((SMALL, ""), (replace(SMALL, postgresql=True), "5.00 µs")):
        benchmark = replace(BENCHMARK, metrics=(SERVER_CPU,), cases=(case,))
        assert next(rows(benchmark, result)) == ["small", "FlowStone", shown]


def test_plot_has_no_line_for_an_arm_of_one_size() -> None:
    result = result_of([10.0], [40.0])
    drawn = replace(BENCHMARK, x_title="size")
    assert panels_of(drawn, result) == {}
    assert "![" not in page_text([(drawn, result)])
    result.samples["large"] = {"flowstone": [{"rate": 40.0}]}
    assert panels_of(BENCHMARK, result) == {}
    assert "![" in page_text([(drawn, result)])
    (line,) = panels_of(drawn, result)[""]
    assert line.arm.name == "flowstone"
    assert [(x, spread.median) for x, spread in line.points] == [(1, 10.0), (10, 40.0)]


def test_target_has_a_value_and_a_verdict() -> None:
    result = result_of([10.0], [20.0])
    assert list(target_rows(BENCHMARK, result)) == [
        ["half of the limit", "≥ 0.500", "0.500", "met"]
    ]
    assert not met(TARGET, 0.4)
    assert not met(replace(TARGET, at_least=None, at_most=0.3), 0.4)
    nothing = Result("made_up", "then", "0", 1, {}, {})
    assert list(target_rows(BENCHMARK, nothing)) == [
        ["half of the limit", "≥ 0.500", "", "not measured"]
    ]


def test_target_of_several_cases_is_their_geometric_mean() -> None:
    result = result_of([10.0], [40.0])
    result.samples["large"] = {"flowstone": [{"rate": 40.0}], "limit": [{"rate": 40.0}]}
    assert result.reached(replace(TARGET, cases=("small", "large"))) == pytest.approx(0.5)
    own = replace(TARGET, against=None, against_case="large")
    assert result.reached(own) == pytest.approx(0.25)
    assert result.reached(replace(own, against_case=None)) == pytest.approx(10.0)


def test_comparison_names_what_is_worse_by_more_than_the_noise() -> None:
    before = result_of([10.0, 11.0, 12.0], [20.0, 20.0, 20.0])
    slower_machine = result_of([5.0, 5.5, 6.0], [10.0, 10.0, 10.0])
    noisy = result_of([5.0, 11.0, 9.0], [20.0, 20.0, 20.0])
    worse = result_of([5.0, 6.0, 7.0], [20.0, 20.0, 20.0])

    def worse_in(after: Result) -> list[str]:
        return [str(change) for change in compare(BENCHMARK, before, after) if change.worse]

    assert worse_in(before) == worse_in(slower_machine) == worse_in(noisy) == []
    (line,) = worse_in(worse)
    assert line == (
        "small, a second of FlowStone ÷ Bare: 0.550 (0.500 to 0.600), now 0.300 (0.250 to 0.350)"
    )


def test_comparison_of_costs_takes_more_as_worse() -> None:
    before, after = result_of([1.0], [1.0]), result_of([1.0], [1.0])
    after.samples["small"]["flowstone"] = [{"rate": 1.0, "cpu": 1.5}]
    found = {change.figure: change.worse for change in compare(BENCHMARK, before, after)}
    assert found == {"a second of FlowStone ÷ Bare": False, "CPU each of FlowStone ÷ Bare": True}


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (0.012345, "0.0123"), (1.5, "1.50"), (99.96, "100"), (123_456.0, "123,000")],
)
def test_number_has_three_digits(value: float, text: str) -> None:
    assert number(value) == text


def test_page_is_what_the_recorded_runs_make() -> None:
    """After a change of either: make bench-page."""
    assert PAGE.read_text("utf-8") == page_text(recorded())

"""Mistakes in a configuration file (faults C1 to C7), through the whole validation."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from flowstone_core import Flowstone, ValidationError, decode_partition, encode_partition
from flowstone_core.config.file.reader import load
from flowstone_core.config.pipeline import Pipeline
from flowstone_core.config.project import Project
from flowstone_core.config.validation import validate
from flowstone_core.errors import Problem
from flowstone_core.model.partition import format_partition
from flowstone_core.plugin.discovery import discover
from flowstone_core.plugin.registry import Plugins
from tests import forked

PATIENCE = 300
CANARY = "c4n4ry-5e1f-Zq9"
SHOP = """
from flowstone_core import NotTriggered, Pipeline, Sensor, SensorConfig, Triggered

pipeline = Pipeline("shop")
pipeline.asset(name="report")(lambda context: None)


class Counting(Sensor[SensorConfig, int]):
    def init(self):
        return 0

    def poll(self, state):
        return Triggered(f"n{state}", state + 1)


pipeline.sensor("here", Counting, asset="report")
pipeline.sensor("there", Counting, asset="report", isolation="process")
"""


RUNNER = """
import sys
from flowstone_core import Flowstone

if __name__ == "__main__":
    with Flowstone(config="setup.cfg") as flow:
        for line in sys.stdin:
            flow.run(once=True)
            for name in ("here", "there"):
                print(len(flow.events(source=f"sensor:{name}")), end=" ")
            print(flush=True)
"""


@pytest.fixture(scope="module")
def plugins() -> Plugins:
    return discover()


@pytest.fixture
def checked(tmp_path: Path, plugins: Plugins) -> Callable[[str], Project]:
    """Validate the text of a setup.cfg beside an asset 'report'."""

    def checked(text: str) -> Project:
        path = tmp_path / "setup.cfg"
        path.write_text(text, "utf-8")
        pipeline = Pipeline("shop")
        pipeline.asset(name="report")(lambda context: None)
        return validate(load(path, {}), pipelines=[pipeline], plugins=plugins)

    return checked


def problems_of(check: Callable[[], object]) -> list[Problem]:
    with pytest.raises(ValidationError) as caught:
        check()
    return list(caught.value.problems)


def lines_of(problems: list[Problem]) -> list[int]:
    return [int(problem.where.rpartition(":")[2]) for problem in problems]


# -- C1 to C3 --------------------------------------------------------------------------------------


def test_C1_all_problems_are_reported_at_once_with_their_lines(
    checked: Callable[[str], Project],
) -> None:
    text = f"""\
[flowstone]
poll_threads = none
grace = 10 apples
[flowstone:sensor:hook]
type = webhook
asset = raport
url = http://me:{CANARY}@host:port/
bearer_token = {CANARY}
evry = 5s
[flowstone:schedule:daily]
asset = report
cron = 0 25 * * *
timezone = Europe/Warsow
"""
    problems = problems_of(lambda: checked(text))
    assert set(lines_of(problems)) >= {2, 3, 6, 9, 12, 13}
    said = "\n".join(map(str, problems))
    for part in ("poll_threads", "10 apples", "'report'", "'every'", "hour", "Europe/Warsaw"):
        assert part in said, said
    assert CANARY not in said


@pytest.mark.parametrize("value", ["100%", "%(here)s", "%%", "a%b%c", "%", "%s"])
def test_C1_percent_sign_is_literal(checked: Callable[[str], Project], value: str) -> None:
    text = "[flowstone:schedule:daily]\nasset = report\ncron = @daily\nmetadata =\n    note = "
    project = checked(f"{text}{value.replace('%', '%%')}\n")
    metadata = project.schedules["daily"].spec["metadata"]
    assert metadata == {"note": value}


MISTAKES = {
    "a setting of another section": ("[flowstone]\nstore = sqlite://\nevery = 5s\n", "every"),
    "a section in the plural": ("[flowstone:sensors:a]\n", "[flowstone:sensor:a]"),
    "a section in capitals": ("[Flowstone]\n", "[flowstone]"),
    "a section with dots": ("[tool.flowstone.sensor.a]\n", "[flowstone:sensor:a]"),
    "an indented section": ("[flowstone]\n [flowstone:sensor:a]\n", "remove the blanks before it"),
    "an indented setting": ("[flowstone]\nstore = sqlite://\n  grace = 5s\n", "grace"),
    "a colon without a blank": ("[flowstone]\nstore:sqlite://\n", "write '=' or ': '"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_C2_misspelt_section_or_setting_gets_a_suggestion(
    checked: Callable[[str], Project], mistake: str
) -> None:
    text, meant = MISTAKES[mistake]
    (problem,) = problems_of(lambda: checked(text))
    assert meant in str(problem)


def test_C2_inline_comment_and_defaults_are_warnings(
    checked: Callable[[str], Project],
) -> None:
    project = checked(
        "[DEFAULT]\nevery = 5s\n"
        "[flowstone:schedule:daily]\nasset = report\ncron = @daily\npartition = all # of them\n"
    )
    said = [str(warning) for warning in project.warnings]
    assert any("[DEFAULT]" in each and "has no effect" in each for each in said)
    assert any("inline comment is part of the value" in each for each in said)


@pytest.mark.parametrize(
    "line", [CANARY, f"= {CANARY}", f"password {CANARY}", f"[{CANARY}", f"Pass Word = {CANARY}"]
)
def test_C3_invalid_line_is_reported_by_number_only(
    checked: Callable[[str], Project], line: str
) -> None:
    text = f"[flowstone]\nstore = sqlite://\n[flowstone:sensor:a]\n{line}\n"
    if line.startswith("["):
        text = text.replace(f"[{CANARY}", f"[flowstone:sensor:b = {CANARY}")
    problems = problems_of(lambda: checked(text))
    assert 4 in lines_of(problems)
    assert CANARY not in "\n".join(map(str, problems))


# -- C4 --------------------------------------------------------------------------------------------

SECTIONS = 1_000


def section(number: int, **changed: str) -> str:
    given = {"type": "webhook", "asset": "report", "url": f"http://host/{number}", "every": "1m"}
    settings = {**given, "partition": "day", **changed}
    lines = "".join(f"{key} = {value}\n" for key, value in settings.items())
    return f"[flowstone:sensor:s{number}]\n{lines}"


def test_C4_thousand_sections_are_read_with_their_lines(
    checked: Callable[[str], Project],
) -> None:
    project = checked("".join(map(section, range(SECTIONS))))
    assert len(project.sensors) == SECTIONS
    assert project.sensors["s999"].where.endswith(f"setup.cfg:{999 * 6 + 1}")


def test_C4_problems_among_a_thousand_sections_are_named(
    checked: Callable[[str], Project],
) -> None:
    sections = [section(number) for number in range(SECTIONS)]
    sections[500] = section(499)
    sections[700] = section(700).replace("url = http://host/700\n", "")
    sections[800] = section(800, asset="raport")
    problems = problems_of(lambda: checked("".join(sections)))
    twice, missing, misspelt = problems
    assert lines_of(problems)[0] == 500 * 6 + 1
    assert "duplicate section" in str(twice)
    assert f"first declared on line {499 * 6 + 1}" in str(twice)
    assert lines_of([missing]) == [700 * 6 + 1]
    assert "[flowstone:sensor:s700] url" in str(missing)
    assert "[flowstone:sensor:s800] asset" in str(misspelt)
    assert "did you mean 'report'?" in str(misspelt)


# -- C5 and C6 -------------------------------------------------------------------------------------

HOSTILE = [
    "../../etc/passwd", "/etc/passwd", "C:\\x", "{0.__class__}", "%(x)s", "%s%n", "{{ 7 * 7 }}",
    "'; DROP TABLE flowstone_events; --", "$(reboot)", "`id`", "<script>alert(1)</script>",
    "${year}", "a\x00b", "\x1b[2J", "x\u202ey", "x" * 2_000,
]  # fmt: skip


def test_C5_hostile_partition_is_stored_as_data(tmp_path: Path) -> None:
    made = []
    pipeline = Pipeline("shop")
    pipeline.asset(name="report")(lambda context: made.append(context.partition))
    with Flowstone(pipeline, store=f"sqlite:///{tmp_path / 'flowstone.db'}") as flow:
        for value in HOSTILE:
            flow.materialize("report", value)
        flow.run(once=True)
        rows = flow.materializations.latest(limit=100)
        assert sorted(decode_partition(row.partition) for row in rows) == sorted(HOSTILE)
        assert [len(flow.materializations.latest(partition=value)) for value in HOSTILE] == [1] * 16
    assert sorted(made) == sorted(HOSTILE)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["flowstone.db"]
    for value in HOSTILE:
        assert format_partition(value).isprintable()


def test_C5_partition_case_counts_and_length_is_limited(tmp_path: Path) -> None:
    pipeline = Pipeline("shop")
    pipeline.asset(name="report")(lambda context: None)
    with Flowstone(pipeline, store=f"sqlite:///{tmp_path / 'flowstone.db'}") as flow:
        numbers = {flow.materialize("report", value).id for value in ("X", "x", "ẋ", "Ẋ")}
        assert len(numbers) == 4
        with pytest.raises(ValidationError, match="at most 2,000 are allowed"):
            flow.materialize("report", "x" * 2_001)


@pytest.mark.parametrize(
    "text",
    ["d:20250115", "d:2025-W03-3", "d:2025-1-15", "s:YQ==", "s:YR", "t:W10", "dt:2025-01-15"],
)
def test_C6_noncanonical_partition_is_refused(text: str) -> None:
    with pytest.raises(ValidationError):
        decode_partition(text)


@pytest.mark.parametrize("value", ["2025-01-15", "123", "d:2025-01-15", "null"])
def test_C6_text_partition_stays_a_text_in_the_store(tmp_path: Path, value: str) -> None:
    seen = []
    pipeline = Pipeline("shop")
    pipeline.asset(name="report")(lambda context: seen.append(context.partition))
    with Flowstone(pipeline, store=f"sqlite:///{tmp_path / 'flowstone.db'}") as flow:
        flow.materialize("report", value)
        flow.run(once=True)
    assert seen == [value]
    assert decode_partition(encode_partition(value)) == value


# -- C7 --------------------------------------------------------------------------------------------


def test_C7_runner_continues_when_its_configuration_file_breaks(
    tmp_path: Path,
) -> None:
    """A runner reads its file once; a command that starts beside it fails and harms nothing."""
    path = tmp_path / "setup.cfg"
    (tmp_path / "shop_of_c7.py").write_text(SHOP)
    right = "[flowstone]\npipelines = shop_of_c7:pipeline\nstore = sqlite:///flowstone.db\n"
    path.write_text(right)
    (tmp_path / "runner.py").write_text(RUNNER)
    environ = os.environ | {"PYTHONPATH": str(tmp_path)}
    with forked.Popen(
        [sys.executable, "runner.py"],
        cwd=tmp_path, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as runner:  # fmt: skip
        assert runner.stdin is not None
        assert runner.stdout is not None

        def run() -> str:
            runner.stdin.write("\n")
            runner.stdin.flush()
            return runner.stdout.readline().strip()

        assert run() == "1 1"
        for broken in ("[flowstone\n", "[flowstone]\nengien = local\n", "\0", None):
            path.unlink(missing_ok=True)
            if broken is not None:
                path.write_text(broken)
            beside = forked.run(
                [sys.executable, "-m", "flowstone_core", "--config", "setup.cfg", "status"],
                cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=PATIENCE,
                check=False,
            )  # fmt: skip
            assert beside.returncode == 2, beside.stderr
            assert "Traceback" not in beside.stderr
        assert run() == "2 2"
        path.write_text(right)
        runner.stdin.close()
        assert runner.wait(PATIENCE) == 0

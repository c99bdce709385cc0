"""The example plugins, installed by pip for real and seen from a process of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent
from typing import TypeAlias

import pytest

from tests import forked

PATIENCE = 300
EXAMPLES = Path(__file__).resolve().parents[1] / "example_plugin"
FLOWSTONE = Path(sys.executable).parent / "flowstone"

Reports: TypeAlias = dict[tuple[str, str], dict[str, object]]


@dataclass
class House:
    """A folder that plugins are installed into, and processes that see them."""

    folder: Path

    def __post_init__(self) -> None:
        self.site = self.folder / "site"
        self.cache = self.folder / "cache"
        self.variables: dict[str, str] = {}

    def install(self, project: str | Path) -> None:
        """Install a project beside what is there."""
        self.pip("install", "--target", self.site, "--upgrade", EXAMPLES / project)

    def uninstall(self, distribution: str) -> None:
        """Remove what the distribution's own record lists, as pip does."""
        (info,) = self.site.glob(f"{distribution.replace('-', '_')}-*.dist-info")
        for line in (info / "RECORD").read_text().splitlines():
            (self.site / line.split(",")[0]).unlink(missing_ok=True)

    def pip(self, command: str, *arguments: str | Path) -> None:
        options = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--no-compile"]
        self.python("-m", "pip", "--disable-pip-version-check", command, *options, *arguments)

    def python(self, *arguments: str | Path) -> str:
        """Run Python, which must have nothing to complain about, and return what it prints."""
        run = subprocess.run if "pip" in arguments else forked.run
        ended = run(
            [sys.executable, *arguments],
            cwd=self.folder,
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        assert (ended.returncode, ended.stderr) == (0, ""), ended
        return ended.stdout

    def environment(self) -> dict[str, str]:
        own = {name: value for name, value in os.environ.items() if "FLOWSTONE" not in name}
        ways = {"PYTHONPATH": str(self.site), "XDG_CACHE_HOME": str(self.cache)}
        return own | ways | self.variables

    def flowstone(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return forked.run(
            [FLOWSTONE, *arguments],
            cwd=self.folder,
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )

    def reports(self) -> Reports:
        """Ask the installed command."""
        return _reports(self.python(FLOWSTONE, "plugins", "list", "--json"))

    def discover(self, arguments: str = "") -> Reports:
        """Ask the function, called with these arguments."""
        program = f"""
            import json
            from dataclasses import asdict
            from flowstone_core.plugin.discovery import discover

            print(json.dumps([asdict(each) for each in discover({arguments}).reports]))
            """
        return _reports(self.python("-c", dedent(program)))


def _reports(listed: str) -> Reports:
    return {(each["distribution"], each["name"]): each for each in json.loads(listed)}


def statuses(reports: Reports, distribution: str) -> set[object]:
    return {found["status"] for (whose, _), found in reports.items() if whose == distribution}


@pytest.fixture(scope="module")
def make_house(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., House]:
    """Make a house with a copy of what is installed once."""
    built: dict[str, Path] = {}

    def make(*projects: str) -> House:
        house = House(tmp_path_factory.mktemp("house"))
        house.site.mkdir()
        for project in projects:
            if project not in built:
                once = House(tmp_path_factory.mktemp(project))
                once.install(project)
                built[project] = once.site
            shutil.copytree(built[project], house.site, dirs_exist_ok=True)
        return house

    return make


def test_the_good_plugin_provides_all_it_has(make_house: Callable[..., House]) -> None:
    house = make_house("good")
    found = house.reports()["flowstone-example", "example"]
    assert (found["version"], found["status"], found["error"]) == ("1.2.3", "ok", None)
    assert found["sensors"] == ["countdown"]
    assert found["triggers"] == ["business_days"]
    watcher = house.reports()["flowstone-example", "diary"]
    assert (watcher["status"], watcher["watches"]) == (
        "ok",
        [
            "flowstone_materialization_changed",
            "flowstone_runner_started",
            "flowstone_runner_stopping",
            "flowstone_tick_finished",
            "flowstone_triggered",
        ],
    )
    greeted = house.flowstone("greet", "world")
    assert (greeted.stdout, greeted.stderr) == ("Hello, world!\n", "")
    shown = house.flowstone("plugins", "show", "countdown").stdout
    assert "Fires once, when its count has reached zero." in shown
    assert "how many polls until it fires" in shown
    assert "no holiday" in house.flowstone("plugins", "show", "business_days").stdout


@pytest.mark.parametrize("projects", [("good",), ("good", "broken")])
def test_the_sensor_fires_and_the_watcher_is_told(
    make_house: Callable[..., House], projects: tuple[str, ...]
) -> None:
    house = make_house(*projects)
    house.variables["FLOWSTONE_EXAMPLE_DIARY"] = str(house.folder / "diary")
    program = """
        import logging, os
        from flowstone_core import Flowstone, Pipeline
        from flowstone_example.countdown import Countdown

        logging.basicConfig(level="INFO", format="%(name)s %(message)s", filename="log")
        pipeline = Pipeline("rocket")
        pipeline.asset(name="rocket")(lambda context: print("made", context.partition))
        pipeline.sensor("clock", Countdown, asset="rocket", start=1)
        with Flowstone(pipeline, store="sqlite:///flowstone.db") as flow:
            flow.run(once=True)
        print("by", os.getpid())
        """
    said, pid = house.python("-c", dedent(program)).split("\nby ")
    assert said == "made lift-off"
    first, *lines, last = (house.folder / "diary").read_text().splitlines()
    assert (first, last) == (f"runner {pid.strip()} started", f"runner {pid.strip()} stopping")
    # Two threads publish, what is committed and what is made: each in its own order.
    committed = ["tick of sensor:clock", "event for rocket", "rocket is pending"]
    made = ["rocket is running", "rocket is completed"]
    assert [line for line in lines if line not in made] == committed
    assert [line for line in lines if line not in committed] == made
    log = (house.folder / "log").read_text()
    assert ("watching hook failed" in log) is ("broken" in projects)


BROKEN = {
    "abstract_sensor": (
        "flowstone_sensors: 'unfinished' is "
        "<class 'flowstone_example_broken.abstract_sensor.Unfinished'>, not a sensor class: "
        "it must derive from Sensor and have init, poll and a Config"
    ),
    "asserts": "cannot be imported: AssertionError: this module needs a GPU",
    "async_watcher": (
        "invalid hook implementation: 'flowstone_triggered' is a generator or an async function, "
        "which nothing would run"
    ),
    "exits": "cannot be imported: SystemExit: no licence",
    "future_api": "unsupported API 999: this core supports API 1",
    "list_of_sensors": "flowstone_sensors returned a value of type list; it must return a mapping",
    "interrupts": "cannot be imported: Halt: nobody catches this",
    "misspelt_hook": (
        "invalid hook implementation: unknown hook 'flowstone_sensor', "
        "did you mean 'flowstone_sensors'?"
    ),
    "missing_dependency": (
        "cannot be imported: ModuleNotFoundError: No module named 'flowstone_example_dependency'"
    ),
    "missing_object": (
        "cannot be imported: AttributeError: module 'flowstone_example_broken' has no "
        "attribute 'nothing_of_that_name'"
    ),
    "no_api": "missing FLOWSTONE_API: this core supports API 1",
    "no_sensor": (
        "flowstone_sensors: 'dictionary' is <class 'dict'>, not a sensor class: "
        "it must derive from Sensor and have init, poll and a Config"
    ),
    "no_trigger": (
        "flowstone_triggers: 'unfinished' is "
        "<class 'flowstone_example_broken.no_trigger.Unfinished'>, not a trigger class: "
        "it must derive from Trigger and have next_fire; "
        "flowstone_triggers: 'text' is '* * * * *', not a trigger class: "
        "it must derive from Trigger and have next_fire; "
        "flowstone_triggers: every schedule has a setting 'timezone'; choose another name"
    ),
    "raising_hook": "flowstone_sensors raised SystemExit: no sensors today",
    "syntax_error": "cannot be imported: SyntaxError: invalid syntax (syntax_error.py, line 3)",
    "wrong_command": (
        "flowstone_commands: 'shout' is <built-in function print>, not a click command"
    ),
    "wrong_signature": (
        "invalid hook implementation: PluginValidationError: Plugin 'wrong_signature' for hook "
        "'flowstone_triggered' hookimpl definition: flowstone_triggered(event, registry) "
        "Argument(s) {'registry'} are declared in the hookimpl but can not be found in the "
        "hookspec"
    ),
}


def test_P12_P13_P15_each_broken_plugin_is_reported_and_harms_no_other(
    make_house: Callable[..., House],
) -> None:
    alone = make_house("good").reports()
    house = make_house("good", "broken")
    beside = house.reports()
    broken = {key: beside.pop(key) for key in list(beside) if "broken" in key[0]}
    assert beside == alone
    for (whose, name), found in house.discover().items():
        listed = (beside | broken)[whose, name]
        # Only the command line asks for commands, and sees what is wrong with them.
        assert found == {key: listed[key] for key in found} or name == "wrong_command"
    # That it raises when something happens, discovery cannot know.
    for sound_so_far in ("raising_watcher", "contested"):
        assert broken.pop(("flowstone-example-broken", sound_so_far))["status"] == "ok"
    assert {name: found["error"] for (_, name), found in broken.items()} == BROKEN
    assert {(found["version"], found["status"]) for found in broken.values()} == {
        ("4.5.6", "broken")
    }
    sound = {name: found["sensors"] for (_, name), found in broken.items() if found["sensors"]}
    assert sound == {"no_sensor": ["silence"]}
    assert broken["flowstone-example-broken", "no_trigger"]["triggers"] == ["elapsed"]
    greeted = house.flowstone("greet", "world")
    assert (greeted.stdout, greeted.stderr) == ("Hello, world!\n", "")


OFFICE = """
from flowstone_core import Pipeline
pipeline = Pipeline("office")
@pipeline.asset
def mail(context): return {}
"""


def test_the_trigger_can_be_used_in_a_file_and_in_a_pipeline(
    make_house: Callable[..., House],
) -> None:
    house = make_house("good")
    by_pipeline = 'pipeline.schedule("mail", business_days="17:30", timezone="Asia/Tokyo")\n'
    (house.folder / "office.py").write_text(OFFICE + by_pipeline)
    (house.folder / "setup.cfg").write_text(
        "[flowstone]\npipelines = office:pipeline\n"
        "[flowstone:schedule:early]\nasset = mail\nbusiness_days = 08:00\n"
        "timezone = Europe/Warsaw\n"
    )
    listed = json.loads(house.flowstone("schedules", "list", "--json").stdout)
    assert [(each["name"], each["trigger"], each["words"]) for each in listed] == [
        ("early", "business_days", "At 08:00 on business days"),
        ("mail", "business_days", "At 17:30 on business days"),
    ]
    # Good Friday is none of its holidays; a Saturday, a Sunday, and clocks that go forward between.
    coming = ("schedules", "next", "early", "--after", "2026-03-27T12:00", "--count", "2", "--json")
    assert [each["at"] for each in json.loads(house.flowstone(*coming).stdout)] == [
        "2026-03-30T08:00:00+02:00",
        "2026-03-31T08:00:00+02:00",
    ]
    added = house.flowstone(
        "schedules", "add", "mail", "--name", "x", "--trigger", "business_days", "09:15"
    )
    assert (added.returncode, added.stderr) == (0, "")
    assert "At 09:15 on business days (UTC)" in added.stdout


def test_problem_of_a_plugins_trigger_is_reported_with_its_line(
    make_house: Callable[..., House],
) -> None:
    house = make_house("good")
    (house.folder / "office.py").write_text(
        OFFICE + 'pipeline.schedule("mail", business_days="8 o\'clock")\n'
        'pipeline.schedule("mail", name="b", busines_days="08:00")\n'
    )
    (house.folder / "setup.cfg").write_text(
        "[flowstone]\npipelines = office:pipeline\n"
        "[flowstone:schedule:early]\nasset = mail\nbusiness_days = 25:00\n"
    )
    ended = house.flowstone("check")
    assert ended.returncode == 2
    first, *others = ended.stderr.splitlines()
    assert first == (
        "error: setup.cfg:5: [flowstone:schedule:early] business_days: "
        "'25:00' is no time of a day; write it as 08:00"
    )
    text = "\n".join(others)
    assert "office.py:6: schedule 'mail' business_days: \"8 o'clock\" is no time of a day" in text
    assert "office.py:7: schedule 'b'" in text
    assert "did you mean 'business_days'?" in text


def test_a_schedule_whose_plugin_is_gone_is_kept_and_says_so(
    make_house: Callable[..., House],
) -> None:
    house = make_house("good")
    (house.folder / "office.py").write_text(OFFICE)
    (house.folder / "setup.cfg").write_text("[flowstone]\npipelines = office:pipeline\n")
    add = ("schedules", "add", "mail", "--trigger", "business_days", "09:15")
    assert house.flowstone(*add).returncode == 0
    house.uninstall("flowstone-example")
    (listed,) = json.loads(house.flowstone("schedules", "list", "--json").stdout)
    assert (listed["health"], listed["next_at"]) == ("broken", None)
    assert "unknown trigger 'business_days'" in listed["error"]
    mended = house.flowstone("schedules", "update", "mail", "--cron", "15 9 * * 1-5")
    assert mended.returncode == 0
    assert "cannot count skipped instants" in mended.stderr
    (listed,) = json.loads(house.flowstone("schedules", "list", "--json").stdout)
    assert (listed["health"], listed["trigger"]) == ("ok", "cron")


def test_P17_a_watcher_that_raises_is_named_and_the_run_goes_on(
    make_house: Callable[..., House],
) -> None:
    house = make_house("good", "broken")
    (house.folder / "rocket.py").write_text(
        "from flowstone_core import Pipeline\n"
        "pipeline = Pipeline('rocket')\n"
        "@pipeline.asset\n"
        "def rocket(context): return {}\n"
    )
    (house.folder / "setup.cfg").write_text(
        "[flowstone]\npipelines = rocket:pipeline\n"
        "[flowstone:sensor:clock]\ntype = countdown\nasset = rocket\nstart = 1\n"
    )
    ended = house.flowstone("run", "--once")
    assert ended.returncode == 0, ended
    assert "the pager has no battery" in ended.stderr
    assert "raising_watcher" in ended.stderr
    listed = json.loads(house.flowstone("materializations", "list", "--json").stdout)
    assert [(each["asset"], each["state"]) for each in listed] == [("rocket", "completed")]


def test_P14_names_that_two_plugins_take_are_nobodys(make_house: Callable[..., House]) -> None:
    house = make_house("good", "rival")
    found = house.reports()
    rival = "plugin 'rival' of flowstone-example-rival 7.8.9"
    example = "plugin 'example' of flowstone-example 1.2.3"
    countdown = f"duplicate sensor 'countdown': provided by {example} and {rival}"
    s3 = found["flowstone-s3", "s3"]
    arrival = "duplicate sensor 's3_file_arrival': provided by "
    arrival += f"{rival} and plugin 's3' of flowstone-s3 {s3['version']}"
    core = found["flowstone-core", "builtin"]
    local = "duplicate engine 'local': provided by "
    local += f"plugin 'builtin' of flowstone-core {core['version']} and {rival}"
    assert s3["error"] == arrival
    days = f"duplicate trigger 'business_days': provided by {example} and {rival}"
    cron = "duplicate trigger 'cron': provided by "
    cron += f"plugin 'builtin' of flowstone-core {core['version']} and {rival}"
    assert found["flowstone-example", "example"]["error"] == f"{countdown}; {days}"
    errors = [countdown, arrival, days, cron, local]
    assert found["flowstone-example-rival", "rival"]["error"] == "; ".join(errors)
    assert found["flowstone-example-rival", "rival"]["triggers"] == []
    assert found["flowstone-example-rival", "rival"]["engines"] == []
    assert found["flowstone-example-rival", "rival"]["sensors"] == ["stillness"]
    again = found["flowstone-example-rival", "rival_again"]["error"]
    assert again == f"duplicate plugin: same module or object as {rival}"
    assert (core["status"], core["engines"]) == ("ok", ["local"])
    assert core["triggers"] == ["cron", "every"]
    taken = "duplicate plugin name 'builtin': provided by "
    taken += f"flowstone-core {core['version']} and flowstone-example-rival 7.8.9"
    assert found["flowstone-example-rival", "builtin"]["error"] == taken


def test_P14_an_entry_point_that_two_distributions_name_is_nobodys(
    make_house: Callable[..., House],
) -> None:
    found = make_house("broken", "rival").discover()
    said = "duplicate plugin name 'contested': provided by "
    said += "flowstone-example-broken 4.5.6 and flowstone-example-rival 7.8.9"
    for distribution in ("flowstone-example-broken", "flowstone-example-rival"):
        assert found[distribution, "contested"]["error"] == said


def test_plugin_not_in_the_setting_plugins_is_not_imported(
    make_house: Callable[..., House],
) -> None:
    house = make_house("good", "broken")
    (house.folder / "only.cfg").write_text("[flowstone]\nplugins = flowstone_example\n")
    listing = ("--config", "only.cfg", "plugins", "list", "--json")
    for found in (
        house.discover("allow=['flowstone_example']"),
        house.discover("disabled=['Flowstone.Example.Broken', 's3']"),
        _reports(house.python(FLOWSTONE, *listing)),
    ):
        assert statuses(found, "flowstone-core") == statuses(found, "flowstone-example") == {"ok"}
        assert statuses(found, "flowstone-example-broken") == {"blocked"}
        assert statuses(found, "flowstone-s3") == {"blocked"}
    house.variables["FLOWSTONE_DISABLE_PLUGINS"] = "flowstone-example-broken, diary"
    found = house.reports()
    assert statuses(found, "flowstone-example-broken") == {"blocked"}
    assert found["flowstone-example", "diary"]["error"] == "it is disabled"
    assert found["flowstone-example", "example"]["sensors"] == ["countdown"]


def test_plugin_installed_or_removed_a_moment_ago_is_noticed(
    make_house: Callable[..., House], tmp_path: Path
) -> None:
    house = make_house()
    assert ("flowstone-example", "example") not in house.reports()
    house.install("good")
    assert ("flowstone-example", "example") in house.reports()

    # The same version again, with another entry point: nothing but the file's content changes.
    project = shutil.copytree(EXAMPLES / "good", tmp_path / "good")
    settings = project / "pyproject.toml"
    settings.write_text(settings.read_text().replace("example = ", "renamed = "))
    house.install(project)
    found = house.reports()
    assert found["flowstone-example", "renamed"]["sensors"] == ["countdown"]
    assert ("flowstone-example", "example") not in found

    house.uninstall("flowstone-example")
    assert not [key for key in house.reports() if key[0] == "flowstone-example"]
    assert not house.cache.exists()

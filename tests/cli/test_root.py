"""The root command: what it costs, what it says of errors, and the commands of plugins."""

import json
import os
import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from flowstone_core.cli import main
from flowstone_core.cli.commands import SHORT_HELP
from flowstone_core.errors import PluginError
from flowstone_core.plugin.hookspecs import API_VERSION
from flowstone_core.plugin_api import command_flowstone

HEAVY = {
    "alembic", "asyncio", "boto3", "botocore", "cron_descriptor", "croniter", "dateutil", "difflib",
    "pluggy", "pydantic", "rich", "schedule", "sqlalchemy", "stevedore", "structlog",
}  # fmt: skip
OURS = [
    "backfill", "check", "db", "events", "explain", "materializations", "materialize", "new-plugin",
    "plugins", "run", "schedules", "sensors", "status",
]  # fmt: skip
SAY_WHAT_IS_IMPORTED = """
import atexit, sys
from flowstone_core.cli import main
atexit.register(lambda: print(*sys.modules, file=sys.stderr))
main()
"""


def imported_by(folder, *arguments):
    command = [sys.executable, "-c", SAY_WHAT_IS_IMPORTED, *arguments]
    ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    modules = set(ended.stderr.split())
    return modules | {name.partition(".")[0] for name in modules}


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--version"],
        ["run", "--help"],
        ["sensors", "--help"],
        ["materializations", "list", "--help"],
        ["schedules", "add", "--help"],
        ["schedules", "next", "--help"],
    ],
    ids=" ".join,
)
def test_help_and_version_import_nothing_heavy(tmp_path, arguments):
    assert imported_by(tmp_path, *arguments) & HEAVY == set()


def test_help_and_version_import_no_command(tmp_path):
    commands = {f"flowstone_core.cli.{name}" for name in ("run", "check", "sensors", "listing")}
    for option in ("--help", "--version"):
        assert imported_by(tmp_path, option) & commands == set()
    assert "flowstone_core.cli.check" not in imported_by(tmp_path, "sensors", "--help")


def test_check_imports_no_database_and_no_log_renderer(tmp_path):
    (tmp_path / "setup.cfg").write_text("[flowstone]\nplugins = flowstone-core\n")
    unused = {"alembic", "asyncio", "rich", "sqlalchemy", "structlog"}
    assert imported_by(tmp_path, "check", "--allow-empty") & unused == set()


def test_help_lists_the_short_help_of_each_command():
    assert {name: command.get_short_help_str(100) for name, command in main.commands.items()} == (
        SHORT_HELP
    )


def test_heavy_modules_are_found_where_they_are_used(tmp_path):
    assert {"pydantic", "sqlalchemy"} <= imported_by(tmp_path, "status")


def test_versions(shop):
    assert shop.run("--version").stdout == (
        f"flowstone {version('flowstone-core')} "
        f"(Python {platform.python_version()}, plugin API {API_VERSION})\n"
    )


def test_help_lists_every_command_and_the_exit_codes(shop):
    text = shop.run("--help").stdout
    for name in OURS:
        assert f"\n  {name} " in text
    assert "0 done, 1 failed, 2 wrong use or wrong configuration" in text


def test_installed_command_and_module_are_the_same(shop):
    ended = subprocess.run(
        [Path(sys.executable).with_name("flowstone"), "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    as_module, _ = shop.process("--help").communicate()
    assert ended.stdout == as_module
    assert as_module.startswith("Usage: flowstone ")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["sensor", "list"], "Did you mean"),
        (["sensors", "lisst"], "No such command 'lisst'"),
        (["--confg", "x", "status"], "No such option"),
        (["events", "list", "--limit", "0"], "0 is not in the range"),
        (["--log-level", "loud", "status"], "loud"),
        ([], "Usage:"),
    ],
    ids=str,
)
def test_wrong_use_exits_2_with_a_hint(shop, arguments, said):
    result = shop.run(*arguments, code=2)
    assert said in result.stderr
    assert result.stdout == ""


def test_each_configuration_problem_is_one_line_without_secrets(shop):
    shop.write(
        settings="engien = local\n[flowstone:sensor:new]\ntype = nothing\nsecret_key = hunter2!\n"
    )
    for command in (["run"], ["check"], ["status"], ["events", "list"], ["db", "upgrade"]):
        result = shop.run(*command, code=2)
        lines = result.stderr.splitlines()
        assert len(lines) == 2, lines
        assert lines[0].startswith("error: setup.cfg:3: [flowstone] engien: unknown setting")
        assert "did you mean 'engine'?" in lines[0]
        assert lines[1].startswith("error: setup.cfg:5: [flowstone:sensor:new] type")
        assert "hunter2" not in result.output
    assert not (shop.folder / "flowstone.db").exists()


def test_unreadable_file_is_reported_without_traceback(shop):
    (shop.folder / "other.cfg").write_bytes(b"[flowstone]\nstore = \xff\xfe\x00\n")
    assert shop.run("--config", "other.cfg", "check", code=2).stderr.startswith("error: other.cfg")
    missing = shop.run("--config", "missing.cfg", "run", code=2)
    assert missing.stderr.startswith("error: missing.cfg: file not found")


def test_failing_import_is_reported_without_traceback(shop):
    shop.write(pipeline="import sys\nsys.exit('no\\nway')\n")
    result = shop.run("check", code=2)
    assert len(result.stderr.splitlines()) == 1
    assert "setup.cfg:2" in result.stderr


def test_config_option_names_the_file(shop):
    (shop.folder / "setup.cfg").rename(shop.folder / "other.cfg")
    assert "feed" in shop.run("--config", "other.cfg", "check").stdout


def test_refused_store_exits_1(shop):
    (shop.folder / "flowstone.db").write_text("this is no database, but somebody's diary")
    before = (shop.folder / "flowstone.db").read_bytes()
    for command in (["run"], ["status"], ["check", "--connect"], ["db", "upgrade"]):
        result = shop.run(*command, code=1)
        assert result.stderr.startswith("error: ")
        assert "flowstone.db" in result.stderr
    assert (shop.folder / "flowstone.db").read_bytes() == before


def test_missing_configuration_warns_which_store_is_used(empty_folder):
    result = empty_folder.run("materializations", "list")
    assert result.stdout == "no materializations\n"
    assert result.stderr == (
        "warning: no configuration found; using the store sqlite:///flowstone.db\n"
    )


def test_unexpected_error_has_a_traceback_and_no_secret(shop):
    shop.write(
        pipeline="""
from flowstone_core import Pipeline

class Doc:
    def strip(self):
        raise RuntimeError("cannot log in with hunter2-secret\\x1b[2J")

def raw_orders(context): ...
raw_orders.__doc__ = Doc()
pipeline = Pipeline("shop")
pipeline.asset(raw_orders)
""",
        settings="store = sqlite:///flowstone.db?password=hunter2-secret\n",
    )
    result = shop.run("check", code=1)
    first, *rest = result.stderr.splitlines()
    assert first == "error: RuntimeError: cannot log in with ***"
    assert f"{shop.module}.py:6 in strip" in result.stderr
    assert "report" in rest[-1]


@pytest.mark.parametrize("arguments", [["check"], ["events", "list", "--json"], ["--help"]])
def test_closed_output_is_not_an_error(made, arguments):
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as nowhere:
        process = made.process(*arguments, stdout=nowhere)
        _, stderr = process.communicate()
    assert stderr == ""
    assert process.returncode == 1


def test_unencodable_output_is_escaped(shop):
    latin = {"PYTHONIOENCODING": "latin-1"}
    process = shop.process("materialize", "raw_orders", "日本", environ=latin)
    stdout, stderr = process.communicate()
    assert stdout == "materialization 1 of raw_orders \\u65e5\\u672c is pending\n"
    assert stderr == ""


COMMANDS = """
import click
from flowstone_core import hookimpl, FlowstoneError

@click.command()
@click.argument("name")
@click.option("--fail", is_flag=True)
@click.option("--refuse", is_flag=True)
def greet(name, fail, refuse):
    if fail:
        raise RuntimeError("no greeting")
    if refuse:
        raise FlowstoneError("not today", hint="come again")
    click.echo(f"hello {name}")
    return 7

@hookimpl
def flowstone_commands():
    return {"greet": greet, "status": greet}
"""


def test_plugin_command_is_found(shop):
    shop.install("flowstone-greeter", "greeter", COMMANDS)
    assert shop.run("greet", "you").stdout == "hello you\n"
    assert "Usage: flowstone greet" in shop.run("greet", "--help").stdout
    listed = shop.run("--help").stdout.partition("Commands of plugins:\n")[2]
    assert listed.split()[0] == "greet"
    assert shop.run("greet", "you", "--refuse", code=1).stderr == (
        "error: not today (come again)\n"
    )
    assert shop.run("greet", "you", "--fail", code=1).stderr.startswith(
        "error: RuntimeError: no greeting\n"
    )


def test_plugin_command_cannot_replace_an_own_command(shop):
    shop.install("flowstone-greeter", "greeter", COMMANDS)
    assert shop.run("status").stdout.startswith("store: ")


def test_broken_plugin_command_harms_no_other(shop):
    shop.install("flowstone-greeter", "greeter", COMMANDS)
    broken = """
from flowstone_core import hookimpl
@hookimpl
def flowstone_commands():
    raise SystemExit("no commands today")
"""
    shop.install("flowstone-broken", "broken", broken)
    assert shop.run("greet", "you").stdout == "hello you\n"
    unknown = shop.run("gret", "you", code=2)
    assert "warning: " in unknown.stderr
    assert "'broken'" in unknown.stderr
    assert "no commands today" in unknown.stderr


def test_commands_of_blocked_plugins_are_unknown(shop):
    shop.install("flowstone-greeter", "greeter", COMMANDS)
    shop.write(settings="plugins =\n    flowstone-s3\n")
    assert "No such command 'greet'" in shop.run("greet", "you", code=2).stderr


def test_plugin_command_works_with_an_invalid_configuration(shop):
    shop.install("flowstone-greeter", "greeter", COMMANDS)
    shop.write(settings="engien = x\n")
    assert shop.run("greet", "you").stdout == "hello you\n"


def test_log_lines_go_to_standard_error_in_the_chosen_format(shop):
    result = shop.run("--log-format", "json", "run", "--once")
    assert result.stdout == ""
    records = [json.loads(line) for line in result.stderr.splitlines()]
    assert {"runner started", "tick", "event", "materialization"} <= {
        record["event"] for record in records
    }
    quiet = shop.run("--log-level", "error", "run", "--once")
    assert quiet.stderr == ""


@pytest.mark.parametrize(
    "arguments",
    [
        ["check", "--config", "other.cfg"],
        ["check", "--config=other.cfg", "--connect"],
        ["--config", "setup.cfg", "check", "--config", "other.cfg"],
        ["sensors", "list", "--config", "other.cfg", "--log-format=json"],
        ["sensors", "--log-level", "debug", "list", "--config", "other.cfg"],
    ],
)
def test_N18_global_option_after_a_command_is_accepted(shop, arguments):
    (shop.folder / "other.cfg").write_text("[flowstone]\npol_threads = 5\n")
    result = shop.run(*arguments, code=2)
    assert result.stderr.startswith("error: other.cfg:2: [flowstone] pol_threads: unknown setting")


def test_N18_log_level_after_run_is_accepted(shop):
    assert "level=info" in shop.run("run", "--once").stderr
    assert shop.run("run", "--once", "--log-level", "error").stderr == ""


def test_N18_global_option_without_its_value_is_refused(shop):
    assert "Option '--config' requires an argument" in shop.run("check", "--config", code=2).stderr


def test_N18_words_behind_a_double_dash_are_arguments(shop):
    result = shop.run("materialize", "raw_orders", "--", "--config")
    assert "raw_orders --config is pending" in result.stdout


COUNT = """
import click
from flowstone_core import hookimpl
from flowstone_core.plugin_api import command_flowstone

@click.command()
def count():
    \"\"\"Count the events.\"\"\"
    flow = command_flowstone()
    click.echo(f"{flow.project.file}: {len(flow.events())}")

@hookimpl
def flowstone_commands():
    return {"count": count, "status": count}
"""


def test_U6_plugin_command_is_listed_under_its_heading(shop):
    shop.install("flowstone-counter", "counter", COUNT)
    own, _, others = shop.run("--help").stdout.partition("Commands of plugins:\n")
    assert others == "  count  Count the events.\n"
    assert "\n  status " in own
    assert "count" not in own.split("Commands:")[1]


def test_U6_plugin_command_gets_the_flowstone_that_config_chose(shop):
    shop.install("flowstone-counter", "counter", COUNT)
    (shop.folder / "other.cfg").write_text("[flowstone]\nstore = sqlite:///other.db\n")
    assert shop.run("--config", "other.cfg", "count").stdout == "other.cfg: 0\n"
    assert (shop.folder / "other.db").exists()
    (shop.folder / "other.cfg").write_text("[flowstone]\nstoer = x\n")
    assert "did you mean 'store'" in shop.run("--config", "other.cfg", "count", code=2).stderr


def test_U6_flowstone_of_a_command_needs_a_command():
    with pytest.raises(PluginError, match="in a command of 'flowstone'"):
        command_flowstone()


def test_U6_help_beside_a_broken_plugin_lists_the_commands(shop):
    shop.install("flowstone-broken", "broken", "raise SystemExit")
    text = shop.run("--help").stdout
    assert "\n  run " in text
    assert "Commands of plugins" not in text

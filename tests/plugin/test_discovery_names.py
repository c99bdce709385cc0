"""Discovery of duplicate, disabled and damaged distributions, and of commands."""

from __future__ import annotations

import sys

import click
import pytest

from flowstone_core.plugin.discovery import discover
from flowstone_core.plugin.entry_points import DISABLE_VARIABLE, PluginReport
from tests.plugin.toys import API, COMMANDS, SENSORS, broken, report

# -- names taken twice -----------------------------------------------------------------------


def test_P14_duplicate_sensor_is_left_out(site) -> None:
    site.install("ants", "1.1", ant=SENSORS.format(names="{'shared': still, 'own': still}"))
    site.install("bees", "2.2", bee=SENSORS.format(names="{'shared': still, 'other': still}"))
    plugins = discover()
    assert "shared" not in plugins.sensors
    assert {"own", "other"} <= set(plugins.sensors)
    for name, left in (("ant", ("own",)), ("bee", ("other",))):
        found = report(plugins, name)
        assert (found.status, found.sensors) == ("broken", left)
        assert found.error == (
            "duplicate sensor 'shared': provided by "
            "plugin 'ant' of ants 1.1 and plugin 'bee' of bees 2.2"
        )
        assert found.hint == "uninstall one of them, or disable it with FLOWSTONE_DISABLE_PLUGINS"


def test_P14_core_engine_cannot_be_replaced(site) -> None:
    hook = """
from flowstone_core.runtime.engine.local_engine import LocalEngine
@hookimpl
def flowstone_engines():
    return {"local": LocalEngine, "turbo": LocalEngine}
"""
    error = broken(site, API + hook)
    assert error.startswith("duplicate engine 'local': provided by plugin 'builtin' of ")
    plugins = discover()
    assert plugins.engines["local"].distribution == "flowstone-core"
    assert report(plugins, "builtin").status == "ok"
    assert plugins.engines["turbo"].plugin == "toy"
    assert report(plugins, "toy").engines == ("turbo",)


def test_P14_duplicate_plugin_name_is_refused(site) -> None:
    site.install("ants", "1.1", ants__twin=SENSORS.format(names="{'a': still}"))
    site.install("bees", "2.2", bees__twin=SENSORS.format(names="{'b': still}"))
    plugins = discover()
    assert not {"a", "b"} & set(plugins.sensors)
    for distribution in ("ants", "bees"):
        found = report(plugins, "twin", distribution)
        assert found.error == "duplicate plugin name 'twin': provided by ants 1.1 and bees 2.2"
    assert not {"ants__twin", "bees__twin"} & set(sys.modules)


def test_duplicate_plugin_name_of_one_module_is_refused(site) -> None:
    site.module("shelf", SENSORS.format(names="{'a': still}"))
    site.metadata("ants", "1.1", "[flowstone]\ntwin = shelf\n")
    site.metadata("bees", "2.2", "[flowstone]\ntwin = shelf\n")
    plugins = discover()
    assert "a" not in plugins.sensors
    assert {report(plugins, "twin", each).status for each in ("ants", "bees")} == {"broken"}
    plugins = discover(disabled=["bees"])
    assert plugins.sensors["a"].distribution == "ants"
    assert report(plugins, "twin", "ants").status == "ok"


def test_P14_core_plugin_name_cannot_be_taken(site) -> None:
    site.install("toys", builtin=SENSORS.format(names="{'a': still}"))
    plugins = discover()
    assert "local" in plugins.engines
    assert report(plugins, "builtin", "flowstone-core").status == "ok"
    taken = report(plugins, "builtin", "toys")
    assert str(taken.error).startswith("duplicate plugin name 'builtin': provided by ")
    assert "a" not in plugins.sensors


# -- what is not to be loaded ----------------------------------------------------------------


def test_only_allowed_distributions_are_imported(site) -> None:
    site.install("Big_Toys", toy=SENSORS.format(names="{'a': still}"))
    site.install("neighbours", neighbour="raise SystemExit")
    plugins = discover(allow=["BIG.toys"])
    assert "a" in plugins.sensors
    blocked = report(plugins, "neighbour")
    assert (blocked.status, blocked.error) == (
        "blocked",
        "its distribution is not in 'plugins'",
    )
    assert report(plugins, "s3").status == "blocked"
    assert "local" in plugins.engines


@pytest.mark.parametrize("name", ["toy", "Big.Toys", " big_toys ", "big-_-toys"])
def test_plugin_is_disabled_by_name_or_distribution(
    site, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    site.install("big-toys", toy="raise SystemExit")
    blocked = PluginReport("toy", "big-toys", "1.0", "blocked", "it is disabled")
    assert report(discover(disabled=[name]), "toy") == blocked
    monkeypatch.setenv(DISABLE_VARIABLE, f"something,{name},flowstone-core,builtin")
    plugins = discover()
    assert report(plugins, "toy") == blocked
    assert "toy" not in sys.modules
    assert report(plugins, "builtin").status == "ok"


# -- metadata --------------------------------------------------------------------------------


@pytest.mark.parametrize("text", [b"[flowstone]\nno equals sign\n", b"\xff\xfe\x00"])
def test_P16_unreadable_entry_points_are_reported(site, text: bytes) -> None:
    site.install("neighbours", neighbour=SENSORS.format(names="{'near': still}"))
    site.metadata("toys", "2.5", text)
    plugins = discover()
    found = report(plugins, "?", "toys")
    assert (found.version, found.status) == ("2.5", "broken")
    assert str(found.error).startswith("its entry_points.txt cannot be read: ")
    assert found.hint == "install toys again"
    assert "near" in plugins.sensors


def test_P16_distribution_without_metadata_is_named_by_its_folder(site) -> None:
    for name in ("toys", "games"):
        site.module(name, SENSORS.format(names=f"{{'{name}': still}}"))
        info = site.metadata(name, "1.0", f"[flowstone]\n{name} = {name}\n")
        (info / "METADATA").unlink()
    plugins = discover()
    assert report(plugins, "toys") == PluginReport("toys", "toys", "1.0", sensors=("toys",))
    assert report(plugins, "games") == PluginReport("games", "games", "1.0", sensors=("games",))


def test_P16_unreadable_metadata_is_named_by_its_folder(site) -> None:
    site.module("toys", SENSORS.format(names="{'a': still}"))
    info = site.metadata("toys", "1.0", "[flowstone]\ntoy = toys\n")
    (info / "METADATA").write_bytes(b"Name: \xff")
    assert report(discover(), "toy") == PluginReport("toy", "toys", "1.0", sensors=("a",))


def test_first_of_two_copies_is_loaded(
    site, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = type(site)(tmp_path_factory.mktemp("behind"))
    other.install("Toys", "0.9", toy="raise SystemExit")
    site.install("toys", "1.0", toy=SENSORS.format(names="{'a': still}"))
    monkeypatch.setattr(sys, "path", [*sys.path, str(other.folder)])
    assert report(discover(), "toy").version == "1.0"


def test_copy_without_plugins_hides_a_later_copy(
    site, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.install("Big-Toys", "1.0", toy=API)
    first = type(site)(tmp_path_factory.mktemp("first"))
    first.metadata("big_toys", "2.0", "")
    monkeypatch.syspath_prepend(first.folder)
    assert "toy" not in {each.name for each in discover().reports}


def test_remains_of_an_upgrade_are_not_loaded_twice(site) -> None:
    site.install("toys", "1.0", toy=API)
    site.install("toys", "2.0", toy=API)
    found = report(discover(), "toy")
    assert (found.distribution, found.status) == ("toys", "ok")


def test_distribution_with_blank_name_is_harmless(site) -> None:
    info = site.metadata("\N{NO-BREAK SPACE}", "1.0", "[flowstone]\nodd = nothing\n")
    info.rename(info.with_name("boxes-1.0.dist-info"))
    assert report(discover(), "odd").status == "broken"


def test_distribution_in_folder_of_another_name_is_found(site) -> None:
    site.module("toy", API)
    info = site.metadata("toys", "1.0", "[flowstone]\ntoy = toy\n")
    info.rename(info.with_name("boxes-1.0.dist-info"))
    found = report(discover(), "toy")
    assert (found.distribution, found.status) == ("toys", "ok")


def test_discover_sees_changes_at_once(site) -> None:
    source = SENSORS.format(names="{'a': still}")
    site.install("toys", toy=source)
    assert "a" in discover().sensors
    site.install("toys", game=source.replace("'a'", "'b'"))
    plugins = discover()
    assert "b" in plugins.sensors
    assert "a" not in plugins.sensors


# -- commands --------------------------------------------------------------------------------


def test_commands_of_all_plugins_are_returned(site) -> None:
    site.install("ants", ant=COMMANDS.format(commands="{'greet': greet}"))
    site.install("bees", bee=COMMANDS.format(commands="{'wave': greet}"))
    commands, problems = discover().commands()
    assert sorted(commands) == ["greet", "wave"]
    assert all(isinstance(command, click.Command) for command in commands.values())
    assert problems == []


@pytest.mark.parametrize(
    ("returned", "said"),
    [
        ("exit(1)", "flowstone_commands raised SystemExit: 1"),
        ("'greet'", "flowstone_commands returned a value of type str; it must return a mapping"),
        ("{'greet': 1}", "flowstone_commands: 'greet' is 1, not a click command"),
    ],
)
def test_invalid_command_leaves_other_commands(site, returned: str, said: str) -> None:
    site.install("ants", ant=COMMANDS.format(commands=returned))
    site.install("bees", bee=COMMANDS.format(commands="{'wave': greet}"))
    commands, problems = discover().commands()
    assert list(commands) == ["wave"]
    assert problems == [f"plugin 'ant': {said}"]


def test_duplicate_command_is_left_out(site) -> None:
    site.install("ants", ant=COMMANDS.format(commands="{'greet': greet, 'bite': greet}"))
    site.install("bees", bee=COMMANDS.format(commands="{'greet': greet}"))
    commands, (problem,) = discover().commands()
    assert list(commands) == ["bite"]
    assert problem.startswith("duplicate command 'greet': provided by ")
    assert "'ant'" in problem
    assert "'bee'" in problem

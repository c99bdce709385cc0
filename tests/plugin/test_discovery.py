"""Discovery, with real modules and real metadata on ``sys.path``."""

from __future__ import annotations

import sys

import pytest

from flowstone_core.plugin.discovery import discover
from flowstone_core.plugin.entry_points import PluginReport
from flowstone_core.plugin.registry import Plugins
from flowstone_core.runtime.engine.local_engine import LocalEngine
from tests.plugin.toys import API, SENSORS, broken, report


def test_core_registers_its_engine_as_a_plugin() -> None:
    plugins = discover(allow=[])
    assert plugins.engines["local"].value is LocalEngine
    builtin = report(plugins, "builtin")
    assert (builtin.distribution, builtin.status) == ("flowstone-core", "ok")
    assert builtin.engines == ("local",)
    assert plugins.engines["local"].owner == builtin.owner


def test_plugin_provides_and_watches(site) -> None:
    more = "@hookimpl\ndef flowstone_triggered(event):\n    return event * 2\n"
    site.install("toys", "2.5", toy=SENSORS.format(names="{'b': still, 'a': still}") + more)
    plugins = discover()
    assert report(plugins, "toy") == PluginReport(
        "toy", "toys", "2.5", sensors=("a", "b"), watches=("flowstone_triggered",)
    )
    provided = plugins.sensors["a"]
    assert (provided.name, provided.plugin, provided.value.__name__) == ("a", "toy", "still")
    assert provided.owner == "plugin 'toy' of toys 2.5"
    [(name, call)] = plugins.watchers("flowstone_triggered")
    assert (name, call(event=21)) == ("toy", 42)
    assert plugins.watchers("flowstone_runner_started") == []


def test_object_is_accepted_as_plugin(site) -> None:
    site.module(
        "shelf",
        API
        + """
class Toys:
    FLOWSTONE_API = 1

    @hookimpl
    def flowstone_tick_finished(self, tick):
        return self, tick

toys = Toys()
""",
    )
    site.metadata("toys", "1.0", "[flowstone]\ntoy = shelf:toys\n")
    plugins = discover()
    assert report(plugins, "toy").status == "ok"
    [(_, call)] = plugins.watchers("flowstone_tick_finished")
    assert call(tick=1) == (sys.modules["shelf"].toys, 1)


def test_watcher_receives_requested_arguments(site) -> None:
    source = API + "@hookimpl\ndef flowstone_triggered():\n    return 'nothing asked'\n"
    site.install("toys", toy=source)
    [(_, call)] = discover().watchers("flowstone_triggered")
    assert call(event=1) == "nothing asked"


def test_reports_are_sorted_by_distribution_and_name(site) -> None:
    site.install("zebras", z=API, a=API)
    site.install("ants", x=API)
    order = [(each.distribution, each.name) for each in discover().reports]
    assert order == sorted(order)
    assert {("ants", "x"), ("zebras", "a"), ("zebras", "z")} <= set(order)


def test_empty_registry_has_no_watchers() -> None:
    assert Plugins().watchers("flowstone_triggered") == ()
    assert Plugins().commands() == ({}, [])


# -- what is wrong at import ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "cause"),
    [
        ("import sys; sys.exit('bye')", "cannot be imported: SystemExit: bye"),
        ("raise BaseException('odd')", "cannot be imported: BaseException: odd"),
        ("raise KeyboardInterrupt", "cannot be imported: KeyboardInterrupt"),
        ("raise AssertionError('no')", "cannot be imported: AssertionError: no"),
        ("raise OSError(28, 'full')", "cannot be imported: OSError: [Errno 28] full"),
        ("1 +", "cannot be imported: SyntaxError: invalid syntax (toy.py, line 1)"),
        (
            "class E(Exception):\n    def __str__(self): raise E\nraise E",
            "cannot be imported: E: <its str() raised E>",
        ),
    ],
)
def test_P12_failing_import_is_reported(site, source: str, cause: str) -> None:
    assert broken(site, source) == cause


def test_P12_missing_module_is_named(site) -> None:
    error = broken(site, "import nothing_of_that_name")
    assert error.endswith("ModuleNotFoundError: No module named 'nothing_of_that_name'")
    hint = report(discover(), "toy").hint
    assert hint == "install what provides the module 'nothing_of_that_name'"


@pytest.mark.parametrize("value", ["shelf:nothing", "not a reference!", "", "shelf:toys.lid"])
def test_P12_entry_point_without_target_is_reported(site, value: str) -> None:
    site.module("shelf", "toys = 1\n")
    site.metadata("toys", "2.5", f"[flowstone]\ntoy = {value}\n")
    found = report(discover(), "toy")
    assert found.status == "broken"
    assert "cannot be imported: " in str(found.error)
    assert "NoneType" not in str(found.error)


# -- what is wrong with what is registered ---------------------------------------------------


@pytest.mark.parametrize(
    ("states", "said"),
    [
        ("", "missing FLOWSTONE_API: this core supports API 1"),
        ("FLOWSTONE_API = 2", "unsupported API 2: this core supports API 1"),
        ("FLOWSTONE_API = '1'", "unsupported API '1': this core supports API 1"),
        (
            f"FLOWSTONE_API = '{'x' * 100}'",
            f"unsupported API '{'x' * 39}: this core supports API 1",
        ),
    ],
)
def test_P15_plugin_for_another_api_is_refused(site, states: str, said: str) -> None:
    assert broken(site, states) == said


@pytest.mark.parametrize(
    ("hooks", "said"),
    [
        (
            "def flowstone_sensor(): pass",
            "unknown hook 'flowstone_sensor', did you mean 'flowstone_sensors'?",
        ),
        ("def wholly_else(): pass", "unknown hook 'wholly_else'"),
        (
            "def flowstone_triggered(event): yield",
            "'flowstone_triggered' is a generator or an async function, which nothing would run",
        ),
        (
            "async def flowstone_triggered(event): pass",
            "'flowstone_triggered' is a generator or an async function, which nothing would run",
        ),
        (
            "async def flowstone_triggered(event): yield",
            "'flowstone_triggered' is a generator or an async function, which nothing would run",
        ),
        (
            (
                "def flowstone_sensors(): return {}\n"
                "@hookimpl(specname='flowstone_sensors')\ndef more(): return {}"
            ),
            "'flowstone_sensors' is implemented 2 times",
        ),
    ],
)
def test_P13_invalid_hook_is_refused(site, hooks: str, said: str) -> None:
    sound = "\n@hookimpl\ndef flowstone_runner_started(runner): pass\n"
    assert (
        broken(site, f"{API}@hookimpl\n{hooks}\n{sound}") == f"invalid hook implementation: {said}"
    )
    assert discover().watchers("flowstone_runner_started") == []


def test_P13_all_invalid_hooks_are_reported(site) -> None:
    error = broken(
        site,
        API + "@hookimpl\ndef flow(): pass\n@hookimpl\ndef stone(): pass\n@hookimpl\n"
        "def flowstone_engines(): yield\n",
    )
    assert all(repr(name) in error for name in ("flow", "stone", "flowstone_engines"))


def test_optional_unknown_hook_is_accepted(site) -> None:
    site.install("toys", toy=API + "@hookimpl(optionalhook=True)\ndef flowstone_future(): pass\n")
    assert report(discover(), "toy").status == "ok"


def test_P13_wrong_signature_names_hook_and_argument(site) -> None:
    error = broken(site, API + "@hookimpl\ndef flowstone_triggered(event, registry): pass\n")
    assert "flowstone_triggered(event, registry)" in error
    assert "Argument(s) {'registry'}" in error
    assert "\n" not in error


@pytest.mark.parametrize("kind", ["SystemExit", "KeyboardInterrupt"])
def test_plugin_with_failing_attributes_is_reported(site, kind: str) -> None:
    error = broken(site, f"def __getattr__(name): raise {kind}('do not look')")
    assert error == f"invalid hook implementation: {kind}: do not look"


def test_plugin_is_inspected_once(site) -> None:
    site.module(
        "shelf",
        API
        + """
class Toys:
    FLOWSTONE_API = 1
    looks = 0

    @hookimpl
    def flowstone_tick_finished(self, tick):
        return tick

    def __dir__(self):
        Toys.looks += 1
        assert Toys.looks == 1
        return super().__dir__()

toys = Toys()
""",
    )
    site.metadata("toys", "1.0", "[flowstone]\ntoy = shelf:toys\n")
    assert report(discover(), "toy").status == "ok"


def test_module_with_two_names_is_registered_once(site) -> None:
    site.module("shelf", SENSORS.format(names="{'a': still}"))
    site.metadata("toys", "1.0", "[flowstone]\none = shelf\ntwo = shelf\n")
    plugins = discover()
    assert report(plugins, "one").status == "ok"
    assert "a" in plugins.sensors
    error = report(plugins, "two").error
    assert error == "duplicate plugin: same module or object as plugin 'one' of toys 1.0"


# -- what is wrong with what is provided -----------------------------------------------------


@pytest.mark.parametrize(
    ("returned", "said"),
    [
        ("['a']", "flowstone_sensors returned a value of type list; it must return a mapping"),
        ("None", "flowstone_sensors returned a value of type NoneType; it must return a mapping"),
        ("{}[1]", "flowstone_sensors raised KeyError: 1"),
        ("exit('none today')", "flowstone_sensors raised SystemExit: none today"),
        ("interrupt()", "flowstone_sensors raised KeyboardInterrupt"),
        (
            "{'a': dict}",
            (
                "flowstone_sensors: 'a' is <class 'dict'>, "
                "not a sensor class: it must derive from Sensor and have init, poll and a Config"
            ),
        ),
        (
            "{'a': Sensor}",
            (
                "flowstone_sensors: 'a' is <class 'flowstone_core.model.sensor.Sensor'>, "
                "not a sensor class: it must derive from Sensor and have init, poll and a Config"
            ),
        ),
        (
            "{'a': 'A' * 300}",
            (
                f"flowstone_sensors: 'a' is '{'A' * 119} [182 more characters], "
                "not a sensor class: "
                "it must derive from Sensor and have init, poll and a Config"
            ),
        ),
        (
            "{'': still}",
            (
                "flowstone_sensors: invalid name '': "
                "must be letters, digits and _.- as in 's3_file_arrival'"
            ),
        ),
        (
            "{1: still}",
            (
                "flowstone_sensors: invalid name 1: "
                "must be letters, digits and _.- as in 's3_file_arrival'"
            ),
        ),
    ],
)
def test_invalid_sensors_are_reported(site, returned: str, said: str) -> None:
    assert broken(site, SENSORS.format(names=returned)) == said


def test_invalid_engines_are_reported(site) -> None:
    hook = "from flowstone_core.model.engine import Engine\n@hookimpl\ndef flowstone_engines():\n"
    error = broken(site, f"{API}{hook}    return {{'turbo': Engine}}\n")
    misfit = "not an engine class: it must derive from Engine and have all its methods"
    assert error.endswith(f"'turbo' is <class 'flowstone_core.model.engine.Engine'>, {misfit}")
    assert list(discover().engines) == ["local"]


def test_report_keeps_all_problems_and_first_hint() -> None:
    found = PluginReport("toy", "toys", "1.0")
    found.fault("it is blue", "paint it")
    found.fault("it is small")
    found.fault("it is loud", "feed it")
    assert (found.status, found.hint) == ("broken", "paint it")
    assert found.error == "it is blue; it is small; it is loud"


def test_broken_plugin_provides_valid_contributions(site) -> None:
    error = broken(site, SENSORS.format(names="{'good': still, 'bad': 1, 'worse': 2}"))
    assert "'bad'" in error
    assert "; flowstone_sensors: 'worse'" in error
    plugins = discover()
    assert plugins.sensors["good"].plugin == "toy"
    assert report(plugins, "toy").sensors == ("good",)

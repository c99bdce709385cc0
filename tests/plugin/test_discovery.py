"""Discovery, with real modules and real metadata on ``sys.path``."""

from __future__ import annotations

import importlib
import signal
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from textwrap import dedent
from types import ModuleType
from typing import cast

import click
import pytest

from flowstone_core.plugin.discovery import discover
from flowstone_core.plugin.entry_points import DISABLE_VARIABLE, PluginReport
from flowstone_core.plugin.registry import Plugins
from flowstone_core.plugin.time_limit import TimeLimit
from flowstone_core.runtime.engine.local_engine import LocalEngine
from flowstone_core.testing import FakeClock

PATIENCE = 60
API = "from flowstone_core import *\nfrom flowstone_core import hookimpl\nFLOWSTONE_API = 1\n"
SENSORS = API + dedent(
    """
    @function_sensor()
    def still(state):
        return NotTriggered(state)

    def interrupt():
        raise KeyboardInterrupt

    @hookimpl
    def flowstone_sensors():
        return {names}
    """
)


class Site:
    """A folder on ``sys.path`` in which distributions are installed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.modules: set[str] = set()

    def install(self, distribution: str, version: str = "1.0", **plugins: str) -> None:
        """Install a distribution; each plugin is a module of this source.

        Its name without what stands before a double underscore is the name of the entry point.
        """
        lines = []
        for module, source in plugins.items():
            self.module(module, source)
            lines.append(f"{module.rpartition('__')[2]} = {module}")
        self.metadata(distribution, version, "[flowstone]\n" + "\n".join(lines))

    def module(self, name: str, source: str) -> None:
        (self.folder / f"{name}.py").write_text(dedent(source))
        self.modules.add(name)
        importlib.invalidate_caches()

    def metadata(self, distribution: str, version: str, entry_points: str | bytes) -> Path:
        info = self.folder / f"{distribution.replace('-', '_')}-{version}.dist-info"
        info.mkdir(exist_ok=True)
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n"
        )
        if isinstance(entry_points, str):
            entry_points = entry_points.encode()
        (info / "entry_points.txt").write_bytes(entry_points)
        return info


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.delenv(DISABLE_VARIABLE, raising=False)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.syspath_prepend(tmp_path)
    site = Site(tmp_path)
    yield site
    for name in site.modules:
        sys.modules.pop(name, None)


def report(plugins: Plugins, name: str, distribution: str | None = None) -> PluginReport:
    (found,) = (
        each
        for each in plugins.reports
        if each.name == name and distribution in {None, each.distribution}
    )
    return found


def broken(site: Site, source: str) -> str:
    """Install a plugin of this source beside a sound one, and return what is said of it."""
    site.install("toys", "2.5", toy=source)
    site.install("neighbours", neighbour=SENSORS.format(names="{'near': still}"))
    plugins = discover()
    assert report(plugins, "neighbour").status == "ok"
    assert "near" in plugins.sensors
    found = report(plugins, "toy")
    assert (found.distribution, found.version, found.status) == ("toys", "2.5", "broken")
    assert found.error is not None
    return found.error


def test_the_core_registers_its_engine_like_any_plugin() -> None:
    plugins = discover(allow=[])
    assert plugins.engines["local"].value is LocalEngine
    builtin = report(plugins, "builtin")
    assert (builtin.distribution, builtin.status) == ("flowstone-core", "ok")
    assert builtin.engines == ("local",)
    assert plugins.engines["local"].owner == builtin.owner


def test_a_plugin_provides_and_watches(site: Site) -> None:
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


def test_an_object_can_be_a_plugin(site: Site) -> None:
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


def test_a_watcher_gets_the_arguments_that_it_asks_for(site: Site) -> None:
    source = API + "@hookimpl\ndef flowstone_triggered():\n    return 'nothing asked'\n"
    site.install("toys", toy=source)
    [(_, call)] = discover().watchers("flowstone_triggered")
    assert call(event=1) == "nothing asked"


def test_reports_are_sorted_by_distribution_and_name(site: Site) -> None:
    site.install("zebras", z=API, a=API)
    site.install("ants", x=API)
    order = [(each.distribution, each.name) for each in discover().reports]
    assert order == sorted(order)
    assert {("ants", "x"), ("zebras", "a"), ("zebras", "z")} <= set(order)


def test_plugins_that_nobody_looked_for_watch_nothing() -> None:
    assert Plugins().watchers("flowstone_triggered") == ()
    assert Plugins().commands() == ({}, [])


# -- what is wrong at import ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "cause"),
    [
        ("import sys; sys.exit('bye')", "it cannot be imported: SystemExit: bye"),
        ("raise BaseException('odd')", "it cannot be imported: BaseException: odd"),
        ("raise KeyboardInterrupt", "it cannot be imported: KeyboardInterrupt"),
        ("raise AssertionError('no')", "it cannot be imported: AssertionError: no"),
        ("raise OSError(28, 'full')", "it cannot be imported: OSError: [Errno 28] full"),
        ("1 +", "it cannot be imported: SyntaxError: invalid syntax (toy.py, line 1)"),
        (
            "class E(Exception):\n    def __str__(self): raise E\nraise E",
            "it cannot be imported: E: <its str() raised E>",
        ),
    ],
)
def test_P12_what_does_not_import_is_reported(site: Site, source: str, cause: str) -> None:
    assert broken(site, source) == cause


def test_P12_a_missing_module_is_named(site: Site) -> None:
    error = broken(site, "import nothing_of_that_name")
    assert error.endswith("ModuleNotFoundError: No module named 'nothing_of_that_name'")
    hint = report(discover(), "toy").hint
    assert hint == "install what provides the module 'nothing_of_that_name'"


@pytest.mark.parametrize("value", ["shelf:nothing", "not a reference!", "", "shelf:toys.lid"])
def test_P12_an_entry_point_that_names_nothing_is_reported(site: Site, value: str) -> None:
    site.module("shelf", "toys = 1\n")
    site.metadata("toys", "2.5", f"[flowstone]\ntoy = {value}\n")
    found = report(discover(), "toy")
    assert found.status == "broken"
    assert "it cannot be imported: " in str(found.error)


# -- what is wrong with what is registered ---------------------------------------------------


@pytest.mark.parametrize(
    ("states", "said"),
    [
        ("", "it states no FLOWSTONE_API, this core has API 1"),
        ("FLOWSTONE_API = 2", "it states API 2, this core has API 1"),
        ("FLOWSTONE_API = '1'", "it states API '1', this core has API 1"),
        (f"FLOWSTONE_API = '{'x' * 100}'", f"it states API '{'x' * 39}, this core has API 1"),
    ],
)
def test_P15_a_plugin_for_another_core_is_refused(site: Site, states: str, said: str) -> None:
    assert broken(site, states) == said


@pytest.mark.parametrize(
    ("hooks", "said"),
    [
        (
            "def flowstone_sensor(): pass",
            "there is no hook 'flowstone_sensor', did you mean 'flowstone_sensors'?",
        ),
        ("def wholly_else(): pass", "there is no hook 'wholly_else'"),
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
def test_P13_a_hook_that_does_not_fit_is_refused(site: Site, hooks: str, said: str) -> None:
    sound = "\n@hookimpl\ndef flowstone_runner_started(runner): pass\n"
    assert broken(site, f"{API}@hookimpl\n{hooks}\n{sound}") == f"its hooks do not fit: {said}"
    assert discover().watchers("flowstone_runner_started") == []


def test_P13_all_hooks_that_do_not_fit_are_named_at_once(site: Site) -> None:
    error = broken(
        site,
        API + "@hookimpl\ndef flow(): pass\n@hookimpl\ndef stone(): pass\n@hookimpl\n"
        "def flowstone_engines(): yield\n",
    )
    assert all(repr(name) in error for name in ("flow", "stone", "flowstone_engines"))


def test_a_hook_of_a_later_core_may_be_marked_optional(site: Site) -> None:
    site.install("toys", toy=API + "@hookimpl(optionalhook=True)\ndef flowstone_future(): pass\n")
    assert report(discover(), "toy").status == "ok"


def test_P13_a_wrong_signature_names_the_hook_and_the_argument(site: Site) -> None:
    error = broken(site, API + "@hookimpl\ndef flowstone_triggered(event, registry): pass\n")
    assert "flowstone_triggered(event, registry)" in error
    assert "Argument(s) {'registry'}" in error
    assert "\n" not in error


@pytest.mark.parametrize("kind", ["SystemExit", "KeyboardInterrupt"])
def test_a_plugin_that_cannot_be_looked_at_is_reported(site: Site, kind: str) -> None:
    error = broken(site, f"def __getattr__(name): raise {kind}('do not look')")
    assert error == f"its hooks do not fit: {kind}: do not look"


def test_a_plugin_is_looked_at_once(site: Site) -> None:
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


def test_the_same_module_under_two_names_is_registered_once(site: Site) -> None:
    site.module("shelf", SENSORS.format(names="{'a': still}"))
    site.metadata("toys", "1.0", "[flowstone]\none = shelf\ntwo = shelf\n")
    plugins = discover()
    assert report(plugins, "one").status == "ok"
    assert "a" in plugins.sensors
    error = report(plugins, "two").error
    assert error == "it names the same module or object as plugin 'one' of toys 1.0"


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
                "no sensor class: that derives from Sensor and has init, poll and a Config"
            ),
        ),
        (
            "{'a': Sensor}",
            (
                "flowstone_sensors: 'a' is <class 'flowstone_core.model.sensor.Sensor'>, "
                "no sensor class: that derives from Sensor and has init, poll and a Config"
            ),
        ),
        (
            "{'a': 'A' * 300}",
            (
                f"flowstone_sensors: 'a' is '{'A' * 119} [182 more characters], no sensor class: "
                "that derives from Sensor and has init, poll and a Config"
            ),
        ),
        (
            "{'': still}",
            "flowstone_sensors: '' is no name: letters, digits and _.- as in 's3_file_arrival'",
        ),
        (
            "{1: still}",
            "flowstone_sensors: 1 is no name: letters, digits and _.- as in 's3_file_arrival'",
        ),
    ],
)
def test_sensors_that_are_none_are_reported(site: Site, returned: str, said: str) -> None:
    assert broken(site, SENSORS.format(names=returned)) == said


def test_engines_that_are_none_are_reported(site: Site) -> None:
    hook = "from flowstone_core.model.engine import Engine\n@hookimpl\ndef flowstone_engines():\n"
    error = broken(site, f"{API}{hook}    return {{'turbo': Engine}}\n")
    misfit = "no engine class: that derives from Engine and has all its methods"
    assert error.endswith(f"'turbo' is <class 'flowstone_core.model.engine.Engine'>, {misfit}")
    assert list(discover().engines) == ["local"]


def test_a_report_keeps_all_that_is_wrong_and_the_first_hint() -> None:
    found = PluginReport("toy", "toys", "1.0")
    found.fault("it is blue", "paint it")
    found.fault("it is small")
    found.fault("it is loud", "feed it")
    assert (found.status, found.hint) == ("broken", "paint it")
    assert found.error == "it is blue; it is small; it is loud"


def test_what_is_sound_of_a_broken_plugin_is_provided(site: Site) -> None:
    error = broken(site, SENSORS.format(names="{'good': still, 'bad': 1, 'worse': 2}"))
    assert "'bad'" in error
    assert "; flowstone_sensors: 'worse'" in error
    plugins = discover()
    assert plugins.sensors["good"].plugin == "toy"
    assert report(plugins, "toy").sensors == ("good",)


# -- what hangs ------------------------------------------------------------------------------


class Swamp:
    """Where a plugin that imports it gets stuck; its clock goes past any deadline meanwhile."""

    def __init__(self, clock: FakeClock) -> None:
        self._clock = clock
        self.threads: list[threading.Thread] = []
        self.dry = threading.Event()

    def enter(self) -> None:
        self.threads.append(threading.current_thread())
        self._clock.wait_for_sleepers()
        self._clock.advance(30)
        assert self.dry.wait(PATIENCE)

    def leave(self) -> None:
        self.dry.set()
        for thread in self.threads:
            thread.join(PATIENCE)
            assert not thread.is_alive()


@pytest.fixture
def swamp(fake_clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> Iterator[Swamp]:
    swamp = Swamp(fake_clock)
    monkeypatch.setitem(sys.modules, "swamp", cast("ModuleType", swamp))
    yield swamp
    swamp.leave()


HANGS = {
    "import": (
        "import swamp\nswamp.enter()\n" + SENSORS.format(names="{'a': still}"),
        "it cannot be imported: it did not come back within 30 s",
    ),
    "look": (
        "import swamp\ndef __getattr__(name): swamp.enter()\n",
        "its hooks cannot be looked at: it did not come back within 30 s",
    ),
    "hook": (
        API + "import swamp\n@hookimpl\ndef flowstone_sensors(): swamp.enter()\n",
        "flowstone_sensors: it did not come back within 30 s",
    ),
    "what a hook returns": (
        API
        + dedent(
            """
            import swamp
            class Slow(dict):
                def items(self): swamp.enter()
            @hookimpl
            def flowstone_triggers(): return Slow()
            """
        ),
        "flowstone_triggers: it did not come back within 30 s",
    ),
}


@pytest.mark.parametrize(("source", "said"), HANGS.values(), ids=HANGS)
def test_P12_a_plugin_that_hangs_is_named_and_the_others_are_there(
    site: Site, swamp: Swamp, fake_clock: FakeClock, source: str, said: str
) -> None:
    site.install("toys", "2.5", toy=source)
    site.install("neighbours", neighbour=SENSORS.format(names="{'near': still}"))
    plugins = discover(deadline=TimeLimit(clock=fake_clock))
    found = report(plugins, "toy")
    assert (found.distribution, found.version, found.status) == ("toys", "2.5", "broken")
    assert found.error == said
    assert report(plugins, "neighbour").sensors == ("near",)
    (thread,) = swamp.threads
    assert thread.is_alive()
    assert thread.daemon


def test_P12_what_a_hung_import_does_when_it_ends_after_all_changes_nothing(
    site: Site, swamp: Swamp, fake_clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    site.install("toys", "2.5", toy=HANGS["import"][0])
    plugins = discover(deadline=TimeLimit(clock=fake_clock))
    before = replace(report(plugins, "toy"))
    assert before.hint == "if you do not need it: FLOWSTONE_DISABLE_PLUGINS=toy"
    assert caplog.messages == [
        "plugin 'toy' of toys 2.5 is waited for no longer: its import has not ended"
    ]
    swamp.leave()
    assert sys.modules["toy"].still, "it is there now"
    assert report(plugins, "toy") == before
    assert "a" not in plugins.sensors


def test_P12_a_command_that_hangs_hides_no_other(
    site: Site, swamp: Swamp, fake_clock: FakeClock
) -> None:
    hangs = API + "import swamp\n@hookimpl\ndef flowstone_commands(): swamp.enter()\n"
    site.install("ants", ant=hangs)
    site.install("bees", bee=COMMANDS.format(commands="{'wave': greet}"))
    commands, problems = discover().commands(TimeLimit(clock=fake_clock))
    assert list(commands) == ["wave"]
    assert problems == ["plugin 'ant': flowstone_commands: it did not come back within 30 s"]


@pytest.mark.parametrize(
    "source",
    [
        "{}",
        "def __getattr__(name):\n    {}",
        API + "@hookimpl\ndef flowstone_sensors():\n    {}",
    ],
    ids=["import", "look", "hook"],
)
def test_P12_who_does_not_want_to_wait_for_a_plugin_need_not(
    site: Site, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    let_go = threading.Event()

    def wait_for_ctrl_c() -> None:
        signal.pthread_kill(cast("int", threading.main_thread().ident), signal.SIGINT)
        assert let_go.wait(PATIENCE)

    monkeypatch.setattr(site, "wait_for_ctrl_c", wait_for_ctrl_c, raising=False)
    monkeypatch.setitem(sys.modules, "site_of_test", cast("ModuleType", site))
    call = "__import__('site_of_test').wait_for_ctrl_c()"
    site.install("toys", toy=source.format(call))
    with pytest.raises(KeyboardInterrupt):
        discover()
    let_go.set()


# -- names taken twice -----------------------------------------------------------------------


def test_P14_a_sensor_that_two_provide_is_nobodys(site: Site) -> None:
    site.install("ants", "1.1", ant=SENSORS.format(names="{'shared': still, 'own': still}"))
    site.install("bees", "2.2", bee=SENSORS.format(names="{'shared': still, 'other': still}"))
    plugins = discover()
    assert "shared" not in plugins.sensors
    assert {"own", "other"} <= set(plugins.sensors)
    for name, left in (("ant", ("own",)), ("bee", ("other",))):
        found = report(plugins, name)
        assert (found.status, found.sensors) == ("broken", left)
        assert found.error == (
            "the sensor 'shared' is provided by several: "
            "plugin 'ant' of ants 1.1 and plugin 'bee' of bees 2.2"
        )
        assert found.hint == "uninstall one of them, or disable it by FLOWSTONE_DISABLE_PLUGINS"


def test_P14_the_engine_of_the_core_cannot_be_displaced(site: Site) -> None:
    hook = """
from flowstone_core.runtime.engine.local_engine import LocalEngine
@hookimpl
def flowstone_engines():
    return {"local": LocalEngine, "turbo": LocalEngine}
"""
    error = broken(site, API + hook)
    assert error.startswith("the engine 'local' is provided by several: plugin 'builtin' of ")
    plugins = discover()
    assert plugins.engines["local"].distribution == "flowstone-core"
    assert report(plugins, "builtin").status == "ok"
    assert plugins.engines["turbo"].plugin == "toy"
    assert report(plugins, "toy").engines == ("turbo",)


def test_P14_a_name_that_two_distributions_take_is_nobodys(site: Site) -> None:
    site.install("ants", "1.1", ants__twin=SENSORS.format(names="{'a': still}"))
    site.install("bees", "2.2", bees__twin=SENSORS.format(names="{'b': still}"))
    plugins = discover()
    assert not {"a", "b"} & set(plugins.sensors)
    for distribution in ("ants", "bees"):
        found = report(plugins, "twin", distribution)
        assert (
            found.error == "the name 'twin' is taken by several plugins, of ants 1.1 and bees 2.2"
        )
    assert not {"ants__twin", "bees__twin"} & set(sys.modules)


def test_a_name_that_two_take_by_the_same_module_is_nobodys(site: Site) -> None:
    site.module("shelf", SENSORS.format(names="{'a': still}"))
    site.metadata("ants", "1.1", "[flowstone]\ntwin = shelf\n")
    site.metadata("bees", "2.2", "[flowstone]\ntwin = shelf\n")
    plugins = discover()
    assert "a" not in plugins.sensors
    assert {report(plugins, "twin", each).status for each in ("ants", "bees")} == {"broken"}
    plugins = discover(disabled=["bees"])
    assert plugins.sensors["a"].distribution == "ants"
    assert report(plugins, "twin", "ants").status == "ok"


def test_P14_the_name_of_the_cores_plugin_cannot_be_taken_away(site: Site) -> None:
    site.install("toys", builtin=SENSORS.format(names="{'a': still}"))
    plugins = discover()
    assert "local" in plugins.engines
    assert report(plugins, "builtin", "flowstone-core").status == "ok"
    taken = report(plugins, "builtin", "toys")
    assert str(taken.error).startswith("the name 'builtin' is taken by several plugins, of ")
    assert "a" not in plugins.sensors


# -- what is not to be loaded ----------------------------------------------------------------


def test_only_distributions_that_are_allowed_are_imported(site: Site) -> None:
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
def test_a_plugin_is_disabled_by_its_name_or_its_distributions(
    site: Site, monkeypatch: pytest.MonkeyPatch, name: str
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
def test_P16_metadata_that_cannot_be_read_is_reported(site: Site, text: bytes) -> None:
    site.install("neighbours", neighbour=SENSORS.format(names="{'near': still}"))
    site.metadata("toys", "2.5", text)
    plugins = discover()
    found = report(plugins, "?", "toys")
    assert (found.version, found.status) == ("2.5", "broken")
    assert str(found.error).startswith("its entry_points.txt cannot be read: ")
    assert found.hint == "install toys again"
    assert "near" in plugins.sensors


def test_P16_a_distribution_without_metadata_is_unknown(site: Site) -> None:
    for name in ("toys", "games"):
        site.module(name, SENSORS.format(names=f"{{'{name}': still}}"))
        info = site.metadata(name, "1.0", f"[flowstone]\n{name} = {name}\n")
        (info / "METADATA").unlink()
    plugins = discover()
    assert report(plugins, "toys") == PluginReport("toys", "?", "?", sensors=("toys",))
    assert report(plugins, "games") == PluginReport("games", "?", "?", sensors=("games",))


def test_P16_a_distribution_whose_metadata_cannot_be_read_is_unknown(site: Site) -> None:
    site.module("toys", SENSORS.format(names="{'a': still}"))
    info = site.metadata("toys", "1.0", "[flowstone]\ntoy = toys\n")
    (info / "METADATA").write_bytes(b"Name: \xff")
    assert report(discover(), "toy") == PluginReport("toy", "?", "?", sensors=("a",))


def test_the_first_of_two_copies_of_a_distribution_counts(
    site: Site, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Site(tmp_path_factory.mktemp("behind"))
    other.install("Toys", "0.9", toy="raise SystemExit")
    site.install("toys", "1.0", toy=SENSORS.format(names="{'a': still}"))
    monkeypatch.setattr(sys, "path", [*sys.path, str(other.folder)])
    assert report(discover(), "toy").version == "1.0"


def test_a_copy_without_plugins_hides_a_later_one_that_has_some(
    site: Site, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.install("Big-Toys", "1.0", toy=API)
    first = Site(tmp_path_factory.mktemp("first"))
    first.metadata("big_toys", "2.0", "")
    monkeypatch.syspath_prepend(first.folder)
    assert "toy" not in {each.name for each in discover().reports}


def test_what_an_upgrade_left_behind_in_the_same_folder_is_not_counted_twice(site: Site) -> None:
    site.install("toys", "1.0", toy=API)
    site.install("toys", "2.0", toy=API)
    found = report(discover(), "toy")
    assert (found.distribution, found.status) == ("toys", "ok")


def test_a_distribution_of_no_visible_name_harms_nobody(site: Site) -> None:
    info = site.metadata("\N{NO-BREAK SPACE}", "1.0", "[flowstone]\nodd = nothing\n")
    info.rename(info.with_name("boxes-1.0.dist-info"))
    assert report(discover(), "odd").status == "broken"


def test_a_distribution_in_a_folder_of_another_name_is_found(site: Site) -> None:
    site.module("toy", API)
    info = site.metadata("toys", "1.0", "[flowstone]\ntoy = toy\n")
    info.rename(info.with_name("boxes-1.0.dist-info"))
    found = report(discover(), "toy")
    assert (found.distribution, found.status) == ("toys", "ok")


def test_what_changes_is_seen_at_once(site: Site) -> None:
    source = SENSORS.format(names="{'a': still}")
    site.install("toys", toy=source)
    assert "a" in discover().sensors
    site.install("toys", game=source.replace("'a'", "'b'"))
    plugins = discover()
    assert "b" in plugins.sensors
    assert "a" not in plugins.sensors


# -- commands --------------------------------------------------------------------------------

COMMANDS = API + dedent(
    """
    import click

    @click.command()
    def greet(): pass

    @hookimpl
    def flowstone_commands():
        return {commands}
    """
)


def test_commands_are_those_of_all_plugins(site: Site) -> None:
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
        ("{'greet': 1}", "flowstone_commands: 'greet' is 1, no click command"),
    ],
)
def test_a_command_that_is_none_hides_no_other(site: Site, returned: str, said: str) -> None:
    site.install("ants", ant=COMMANDS.format(commands=returned))
    site.install("bees", bee=COMMANDS.format(commands="{'wave': greet}"))
    commands, problems = discover().commands()
    assert list(commands) == ["wave"]
    assert problems == [f"plugin 'ant': {said}"]


def test_a_command_that_two_provide_is_nobodys(site: Site) -> None:
    site.install("ants", ant=COMMANDS.format(commands="{'greet': greet, 'bite': greet}"))
    site.install("bees", bee=COMMANDS.format(commands="{'greet': greet}"))
    commands, (problem,) = discover().commands()
    assert list(commands) == ["bite"]
    assert problem.startswith("the command 'greet' is provided by several plugins: ")
    assert "'ant'" in problem
    assert "'bee'" in problem

"""Discovery of plugins that hang: each is reported, and the others are there."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from textwrap import dedent
from types import ModuleType
from typing import cast

import pytest

from flowstone_core.plugin.discovery import discover
from flowstone_core.plugin.time_limit import TimeLimit
from flowstone_core.testing import FakeClock
from tests.plugin.toys import API, COMMANDS, SENSORS, report

PATIENCE = 300


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
        "cannot be imported: timed out after 30 s",
    ),
    "look": (
        "import swamp\ndef __getattr__(name): swamp.enter()\n",
        "cannot read its hooks: timed out after 30 s",
    ),
    "hook": (
        API + "import swamp\n@hookimpl\ndef flowstone_sensors(): swamp.enter()\n",
        "flowstone_sensors: timed out after 30 s",
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
        "flowstone_triggers: timed out after 30 s",
    ),
}


@pytest.mark.parametrize(("source", "said"), HANGS.values(), ids=HANGS)
def test_P12_hanging_plugin_is_reported_others_load(
    site, swamp: Swamp, fake_clock: FakeClock, source: str, said: str
) -> None:
    site.install("toys", "2.5", toy=source)
    site.install("neighbours", neighbour=SENSORS.format(names="{'near': still}"))
    plugins = discover(limit=TimeLimit(clock=fake_clock))
    found = report(plugins, "toy")
    assert (found.distribution, found.version, found.status) == ("toys", "2.5", "broken")
    assert found.error == said
    assert report(plugins, "neighbour").sensors == ("near",)
    (thread,) = swamp.threads
    assert thread.is_alive()
    assert thread.daemon


def test_P12_late_result_of_hanging_import_is_discarded(
    site, swamp: Swamp, fake_clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    site.install("toys", "2.5", toy=HANGS["import"][0])
    plugins = discover(limit=TimeLimit(clock=fake_clock))
    before = replace(report(plugins, "toy"))
    assert before.hint == "to start without it: FLOWSTONE_DISABLE_PLUGINS=toy"
    assert caplog.messages == [
        "plugin 'toy' of toys 2.5: import timed out; starting without the plugin"
    ]
    swamp.leave()
    assert sys.modules["toy"].still, "it is there now"
    assert report(plugins, "toy") == before
    assert "a" not in plugins.sensors


def test_P12_hanging_command_hook_leaves_other_commands(
    site, swamp: Swamp, fake_clock: FakeClock
) -> None:
    hangs = API + "import swamp\n@hookimpl\ndef flowstone_commands(): swamp.enter()\n"
    site.install("ants", ant=hangs)
    site.install("bees", bee=COMMANDS.format(commands="{'wave': greet}"))
    commands, problems = discover().commands(TimeLimit(clock=fake_clock))
    assert list(commands) == ["wave"]
    assert problems == ["plugin 'ant': flowstone_commands: timed out after 30 s"]


@pytest.mark.parametrize(
    "source",
    [
        "{}",
        "def __getattr__(name):\n    {}",
        API + "@hookimpl\ndef flowstone_sensors():\n    {}",
    ],
    ids=["import", "look", "hook"],
)
def test_P12_ctrl_c_ends_the_wait_for_a_plugin(
    site, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    let_go = threading.Event()
    signals: list[int] = []

    def interrupt_once(number: int, frame: object) -> None:
        signals.append(number)
        if len(signals) == 1:
            raise KeyboardInterrupt

    def wait_for_ctrl_c() -> None:
        # A signal between the check and the wait of the main thread is not seen before the wait
        # ends, so it is sent until the main thread has raised.
        while not signals:
            signal.pthread_kill(cast("int", threading.main_thread().ident), signal.SIGINT)
            let_go.wait(0.05)
        assert let_go.wait(PATIENCE)

    before = signal.signal(signal.SIGINT, interrupt_once)
    threads = set(threading.enumerate())

    monkeypatch.setattr(site, "wait_for_ctrl_c", wait_for_ctrl_c, raising=False)
    monkeypatch.setitem(sys.modules, "site_of_test", cast("ModuleType", site))
    call = "__import__('site_of_test').wait_for_ctrl_c()"
    site.install("toys", toy=source.format(call))
    try:
        with pytest.raises(KeyboardInterrupt):
            discover()
    finally:
        let_go.set()
        for thread in set(threading.enumerate()) - threads:
            thread.join(PATIENCE)
        signal.signal(signal.SIGINT, before)

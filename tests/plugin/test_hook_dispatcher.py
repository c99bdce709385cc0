"""Watchers are called in order, each alone, and hold up nobody."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator

import pluggy
import pytest

from flowstone_core.plugin import hookspecs
from flowstone_core.plugin.hook_dispatcher import HookDispatcher
from flowstone_core.plugin.hookspecs import hookimpl
from flowstone_core.plugin.registry import Plugins

TIMEOUT = 30
"""Seconds after which a test that should have gone on has failed."""


class Watcher:
    """A plugin that does with each event what a test says."""

    def __init__(self, do: Callable[[object], object]) -> None:
        self.do = do

    @hookimpl
    def flowstone_triggered(self, event: object) -> None:
        self.do(event)


class Gate:
    """Holds up the calls that come to it until it is opened."""

    def __init__(self) -> None:
        self.reached = threading.Semaphore(0)
        self._open = threading.Event()

    def __call__(self, _: object) -> None:
        self.reached.release()
        assert self._open.wait(TIMEOUT)

    def open(self) -> None:
        self._open.set()


@pytest.fixture
def gate() -> Iterator[Gate]:
    gate = Gate()
    yield gate
    gate.open()


def watching(**watchers: Callable[[object], object]) -> Plugins:
    """Register plugins that watch; the last one given is called first."""
    manager = pluggy.PluginManager("flowstone")
    manager.add_hookspecs(hookspecs)
    for name, do in watchers.items():
        manager.register(Watcher(do), name=name)
    return Plugins(_manager=manager)


def fail(error: BaseException) -> Callable[[object], object]:
    def do(_: object) -> object:
        raise error

    return do


def said(caplog: pytest.LogCaptureFixture) -> list[tuple[int, str]]:
    return [(record.levelno, record.getMessage()) for record in caplog.records]


def test_watchers_are_called_in_order_in_one_thread() -> None:
    seen: list[object] = []
    threads = set()

    def note(event: object) -> None:
        seen.append(event)
        threads.add(threading.current_thread())

    dispatcher = HookDispatcher(watching(one=note, two=note))
    for number in range(100):
        dispatcher.dispatch("flowstone_triggered", event=number)
    assert dispatcher.flush(TIMEOUT)
    assert seen == [number for number in range(100) for _ in range(2)]
    (thread,) = threads
    assert thread is not threading.current_thread()
    assert thread.daemon
    assert dispatcher.close(TIMEOUT)
    thread.join(TIMEOUT)
    assert not thread.is_alive()


def test_hook_without_watchers_starts_no_thread() -> None:
    before = set(threading.enumerate())
    dispatcher = HookDispatcher(watching(one=print))
    dispatcher.dispatch("flowstone_tick_finished", tick=1)
    assert set(threading.enumerate()) <= before
    assert dispatcher.flush(0)
    assert dispatcher.close(0)


def test_dispatch_after_close_is_ignored() -> None:
    seen: list[object] = []
    dispatcher = HookDispatcher(watching(one=seen.append))
    dispatcher.dispatch("flowstone_triggered", event=1)
    assert dispatcher.close(TIMEOUT)
    dispatcher.dispatch("flowstone_triggered", event=2)
    assert dispatcher.flush(TIMEOUT)
    assert seen == [1]


@pytest.mark.parametrize(
    "error", [ValueError("no"), SystemExit("no"), KeyboardInterrupt("no"), GeneratorExit("no")]
)
def test_P17_failing_watcher_is_logged_once(
    error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[object] = []
    dispatcher = HookDispatcher(watching(before=seen.append, bad=fail(error), after=seen.append))
    for number in range(3):
        dispatcher.dispatch("flowstone_triggered", event=number)
    assert dispatcher.flush(TIMEOUT)
    assert seen == [0, 0, 1, 1, 2, 2]
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert (record.plugin, record.hook) == ("bad", "flowstone_triggered")
    assert record.error == f"{type(error).__name__}: no"
    assert record.exc_info is None
    caplog.clear()
    assert dispatcher.close(TIMEOUT)
    (record,) = caplog.records
    assert record.getMessage() == "watching hook failed repeatedly"
    assert (record.plugin, record.times) == ("bad", 3)
    assert record.kind == type(error).__name__


class NoTextError(Exception):
    def __str__(self) -> str:
        raise SystemExit("I have no text")


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (NoTextError(), "NoTextError: <its str() raised SystemExit>"),
        (OSError("\x1b[2Jred\x9b1m\rx"), "OSError: red\\x9b1m\\rx"),
        (OSError("x" * 10_000_000), f"OSError: {'x' * 2_000} [9998000 more characters]"),
    ],
    ids=["no text", "ansi", "long"],
)
def test_P19_error_of_a_watcher_is_logged_safely(
    error: BaseException, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    dispatcher = HookDispatcher(watching(bad=fail(error)))
    dispatcher.dispatch("flowstone_triggered", event=1)
    assert dispatcher.close(TIMEOUT)
    assert [record.error for record in caplog.records] == [text]


def test_failure_of_another_kind_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    errors = [ValueError("a"), KeyError("b"), ValueError("c")]
    dispatcher = HookDispatcher(watching(bad=lambda number: fail(errors[number])(None)))
    for number in range(3):
        dispatcher.dispatch("flowstone_triggered", event=number)
    assert dispatcher.flush(TIMEOUT)
    assert [record.error for record in caplog.records] == ["ValueError: a", "KeyError: 'b'"]
    caplog.clear()
    assert dispatcher.close(TIMEOUT)
    assert [(record.kind, record.times) for record in caplog.records] == [("ValueError", 2)]


def test_secret_in_error_of_a_watcher_is_redacted(caplog: pytest.LogCaptureFixture) -> None:
    plugins = watching(bad=fail(ValueError("password is hunter2")))
    dispatcher = HookDispatcher(plugins, redact=lambda text: text.replace("hunter2", "***"))
    dispatcher.dispatch("flowstone_triggered", event=1)
    assert dispatcher.close(TIMEOUT)
    assert [record.error for record in caplog.records] == ["ValueError: password is ***"]


def test_P17_hanging_watcher_blocks_neither_dispatch_nor_close(
    gate: Gate, caplog: pytest.LogCaptureFixture
) -> None:
    dispatcher = HookDispatcher(watching(stuck=gate))
    dispatcher.dispatch("flowstone_triggered", event=1)
    assert gate.reached.acquire(timeout=TIMEOUT)
    assert not dispatcher.flush(0)
    dispatcher.dispatch("flowstone_triggered", event=2)
    assert not dispatcher.flush(0)
    assert not dispatcher.close(0.01)
    (record,) = caplog.records
    assert record.getMessage() == "hook calls unfinished at the end; dropped"
    assert (record.plugin, record.dropped) == ("stuck", 1)
    gate.open()
    assert dispatcher.flush(TIMEOUT)
    assert not gate.reached.acquire(blocking=False)


def test_P17_oldest_calls_are_dropped_and_counted(
    gate: Gate, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    seen: list[object] = []
    dispatcher = HookDispatcher(watching(slow=gate, note=seen.append), waiting_limit=2)
    dispatcher.dispatch("flowstone_triggered", event="first")
    assert gate.reached.acquire(timeout=TIMEOUT)
    for number in range(5):
        dispatcher.dispatch("flowstone_triggered", event=number)
    too_slow = "hook queue full; oldest calls dropped"
    assert said(caplog) == [(logging.ERROR, too_slow)]
    (record,) = caplog.records
    assert (record.plugin, record.limit) == ("slow", 2)
    caplog.clear()
    gate.open()
    assert dispatcher.flush(TIMEOUT)
    assert seen == ["first", 3, 4]
    assert said(caplog) == [(logging.WARNING, "hook queue drained; calls no longer dropped")]
    assert caplog.records[0].dropped == 3
    assert dispatcher.close(TIMEOUT)


def test_close_counts_calls_lost_to_a_hanging_watcher(
    gate: Gate, caplog: pytest.LogCaptureFixture
) -> None:
    dispatcher = HookDispatcher(watching(stuck=gate), waiting_limit=2)
    dispatcher.dispatch("flowstone_triggered", event="first")
    assert gate.reached.acquire(timeout=TIMEOUT)
    for number in range(5):
        dispatcher.dispatch("flowstone_triggered", event=number)
    caplog.clear()
    assert not dispatcher.close(0)
    (record,) = caplog.records
    assert record.getMessage() == "hook calls unfinished at the end; dropped"
    assert (record.plugin, record.dropped) == ("stuck", 5)
    gate.open()
    assert dispatcher.flush(TIMEOUT)
    assert len(caplog.records) == 1


def test_queue_full_again_is_logged_again(caplog: pytest.LogCaptureFixture) -> None:
    gates: list[Gate] = []
    dispatcher = HookDispatcher(watching(slow=lambda number: gates[number](None)), waiting_limit=1)
    for number in range(2):
        gates += [Gate() for _ in range(4)]
        gate = gates[4 * number]
        dispatcher.dispatch("flowstone_triggered", event=4 * number)
        assert gate.reached.acquire(timeout=TIMEOUT)
        for late in range(1, 4):
            dispatcher.dispatch("flowstone_triggered", event=4 * number + late)
        for each in gates:
            each.open()
        assert dispatcher.flush(TIMEOUT)
    slow, again = "hook queue full", "hook queue drained"
    assert [text.partition(";")[0] for _, text in said(caplog)] == [slow, again, slow, again]
    assert dispatcher.close(TIMEOUT)


def test_dispatch_from_any_thread() -> None:
    seen: list[object] = []
    dispatcher = HookDispatcher(watching(one=seen.append))

    def tell(first: int) -> None:
        for number in range(first, first + 200):
            dispatcher.dispatch("flowstone_triggered", event=number)

    threads = [threading.Thread(target=tell, args=(200 * each,)) for each in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert dispatcher.close(TIMEOUT)
    assert sorted(map(str, seen)) == sorted(map(str, range(1600)))
    for each in range(8):
        own = [number for number in seen if isinstance(number, int) and number // 200 == each]
        assert own == sorted(own)


def test_dispatch_from_a_watcher() -> None:
    seen: list[object] = []

    def answer(event: object) -> None:
        seen.append(event)
        if event == "question":
            dispatcher.dispatch("flowstone_triggered", event="answer")

    dispatcher = HookDispatcher(watching(one=answer))
    dispatcher.dispatch("flowstone_triggered", event="question")
    assert dispatcher.flush(TIMEOUT)
    assert seen == ["question", "answer"]
    assert dispatcher.close(TIMEOUT)

"""A child process that foreign code forks ends where the code returns."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

import pytest

from flowstone_core.plugin.fork_guard import fork_guard
from flowstone_core.plugin.hook_dispatcher import HookDispatcher
from flowstone_core.plugin.time_limit import TimeLimit


class _Broken:
    def write(self, text: str) -> None:
        raise OSError("gone")

    flush = write


def fork(deed: Callable[[], object]) -> int:
    """Fork within the guard; return the exit code of a child that does the deed."""
    with fork_guard():
        child = os.fork()
        if child == 0:
            deed()
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) if child else os._exit(99)


def leave(code: object) -> Callable[[], object]:
    return lambda: sys.exit(code)  # type: ignore[arg-type]  # any object may be given


def fail_silently() -> None:
    sys.stderr = sys.stdout = _Broken()  # type: ignore[assignment]
    raise ValueError


@pytest.mark.parametrize(
    ("deed", "code"),
    [
        (int, 0),
        (leave(None), 0),
        (leave(7), 7),
        (leave("said"), 1),
        (lambda: {}["missing"], 1),
        (fail_silently, 0),
    ],
)
def test_S7_fork_guard_ends_the_child(deed: Callable[[], object], code: int) -> None:
    assert fork(deed) == code


def test_S7_fork_guard_lets_the_parent_raise() -> None:
    with pytest.raises(KeyError), fork_guard():
        raise KeyError


class _Watching:
    def __init__(self, watcher: Callable[..., None]) -> None:
        self.watcher = watcher

    def watchers(self, hook: str) -> list[tuple[str, Callable[..., None]]]:
        return [("watcher", self.watcher)]


def test_S7_watching_hook_may_fork() -> None:
    codes = []

    def watcher() -> None:
        child = os.fork()
        if child:
            codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))

    dispatcher = HookDispatcher(_Watching(watcher))  # type: ignore[arg-type]  # stands for plugins
    dispatcher.dispatch("told")
    assert dispatcher.close(60)
    assert codes == [0]


def test_S7_import_of_a_plugin_may_fork() -> None:
    def load() -> int:
        child = os.fork()
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) if child else 5

    assert TimeLimit(60).call(lambda: [load()]) == [0]

"""Dispatcher of watching hooks: calls each plugin separately, after the commit, in one thread.

A plugin that raises or hangs can neither delay nor undo what it watches.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from flowstone_core.model.report_once import ReportOnce
from flowstone_core.model.safe_text import describe
from flowstone_core.plugin.fork_guard import fork_guard
from flowstone_core.plugin.registry import Plugins

logger = logging.getLogger("flowstone.hooks")

WAITING_LIMIT = 10_000
"""Maximum number of waiting calls; beyond it the oldest is dropped."""

_Watchers: TypeAlias = Sequence[tuple[str, Callable[..., object]]]


class HookDispatcher:
    """Dispatcher: calls the watching hooks in the order of the commits.

    Args:
        plugins: The plugins whose watching hooks are called.
        redact: Hides secrets in the errors of hooks.
        waiting_limit: Maximum number of waiting calls.
    """

    def __init__(
        self,
        plugins: Plugins,
        redact: Callable[[str], str] = str,
        waiting_limit: int = WAITING_LIMIT,
    ) -> None:
        self._plugins = plugins
        self._redact = redact
        self._limit = waiting_limit
        self._watchers: dict[str, _Watchers] = {}
        self._calls: deque[tuple[str, Mapping[str, object]]] = deque()
        self._condition = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closed = False
        self._busy = False
        self._called = ""
        self._overflow = ReportOnce(
            logger,
            "hook queue full; oldest calls dropped",
            "hook queue drained; calls no longer dropped",
        )
        self._refusal = ReportOnce(
            logger,
            "cannot start the thread of the watching hooks; trying again at the next call",
            "thread of the watching hooks started",
        )
        self._failures: Counter[tuple[str, str, str]] = Counter()

    def dispatch(self, hook: str, **arguments: object) -> None:
        """Queue a call of a hook's implementations; any thread, returns at once.

        Args:
            hook: The hook, such as ``flowstone_tick_finished``.
            **arguments: The hook's arguments.
        """
        if not self._watching(hook):
            return
        with self._condition:
            if self._closed:
                return
            self._start()
            if len(self._calls) == self._limit:
                self._calls.popleft()
                self._overflow.begin(limit=self._limit, plugin=self._called)
            self._calls.append((hook, arguments))
            self._condition.notify_all()

    def flush(self, timeout: float) -> bool:
        """Wait until every queued call has been made.

        Args:
            timeout: Seconds of real time.

        Returns:
            False on timeout.
        """
        with self._condition:
            return self._condition.wait_for(lambda: not self._calls and not self._busy, timeout)

    def close(self, timeout: float) -> bool:
        """Make the waiting calls, then end; calls behind a hanging plugin are dropped.

        Args:
            timeout: Seconds of real time.

        Returns:
            True if every call was made in time.
        """
        done = self.flush(timeout)
        with self._condition:
            self._closed = True
            dropped = self._overflow.times + len(self._calls)
            self._calls.clear()
            failures, self._failures = self._failures, Counter()
            self._condition.notify_all()
        if not done:
            logger.warning(
                "hook calls unfinished at the end; dropped",
                extra={"plugin": self._called, "dropped": dropped},
            )
        for (plugin, hook, kind), times in failures.items():
            if times > 1:
                logger.warning(
                    "watching hook failed repeatedly",
                    extra={"plugin": plugin, "hook": hook, "kind": kind, "times": times},
                )
        return done

    def _start(self) -> None:
        """Start the thread, unless there is one; the next dispatch tries again if that fails."""
        if self._thread is not None:
            return
        thread = threading.Thread(target=self._run, name="flowstone-hooks", daemon=True)
        try:
            thread.start()
        except (RuntimeError, MemoryError) as error:
            self._refusal.begin(error=describe(error))
        else:
            self._thread = thread
            self._refusal.end()

    def _watching(self, hook: str) -> _Watchers:
        if hook not in self._watchers:
            self._watchers[hook] = self._plugins.watchers(hook)
        return self._watchers[hook]

    def _run(self) -> None:
        while True:
            with self._condition:
                self._busy = False
                self._condition.notify_all()
                self._condition.wait_for(lambda: self._calls or self._closed)
                if not self._calls:
                    return
                hook, arguments = self._calls.popleft()
                self._busy = True
                if not self._calls:
                    self._overflow.end(dropped=self._overflow.times)
            for plugin, watcher in self._watching(hook):
                self._called = plugin
                self._call(plugin, hook, watcher, arguments)

    def _call(
        self,
        plugin: str,
        hook: str,
        watcher: Callable[..., object],
        arguments: Mapping[str, object],
    ) -> None:
        try:
            with fork_guard():
                watcher(**arguments)
        except BaseException as error:  # noqa: BLE001 - a plugin may raise anything, SystemExit too
            kind = (plugin, hook, type(error).__qualname__)
            with self._condition:
                self._failures[kind] += 1
                first = self._failures[kind] == 1
            if first:
                logger.error(  # noqa: TRY400 - a foreign traceback may hold a secret
                    "watching hook failed; further failures of this kind are only counted",
                    extra={
                        "plugin": plugin,
                        "hook": hook,
                        "error": describe(error, self._redact),
                    },
                )

"""Named places at which a process kills itself, so that a test sees what survives."""

from __future__ import annotations

import functools
import os
import signal
import threading
from collections.abc import Callable

VARIABLE = "FLOWSTONE_CRASH_AT"
"""Environment variable: the name of the point to crash at; ``NAME*3`` at its third pass."""


class CrashPoint:
    """A place in a program that a process may be told not to survive.

    A test runs the program in a separate process with ``FLOWSTONE_CRASH_AT`` set to the name of
    one of its points, sees it die by SIGKILL, which nothing can catch or clean up after, runs it
    once more without, and looks at what became of everything.

    Args:
        name: The value of the environment variable that makes it crash here.

    Example:
        In the program, where ``upload`` is a function of yours, and ``Files`` a class::

            from flowstone_core.testing import CrashPoint

            uploaded = CrashPoint("uploaded")

            def asset(context):
                upload(context.partition)
                uploaded.reach()

            CrashPoint("before the commit").before(Files, "commit")

        In the test::

            environ = os.environ | {"FLOWSTONE_CRASH_AT": "uploaded"}
            ended = subprocess.run([sys.executable, "program.py"], env=environ)
            assert ended.returncode == -signal.SIGKILL
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._lock = threading.Lock()
        self._passes = 0

    def reach(self) -> None:
        """Kill this process if this is where, and when, it is to die; any thread."""
        wanted, _, count = os.environ.get(VARIABLE, "").partition("*")
        if wanted != self.name:
            return
        with self._lock:
            self._passes += 1
            if self._passes < int(count or 1):
                return
        os.kill(os.getpid(), signal.SIGKILL)

    def before(self, owner: object, attribute: str) -> None:
        """Reach this point before each call of a function of a class, a module or an object."""
        self._wrap(owner, attribute, self.reach, _pass)

    def after(self, owner: object, attribute: str) -> None:
        """Reach this point after each call of a function of a class, a module or an object."""
        self._wrap(owner, attribute, _pass, self.reach)

    def _wrap(
        self, owner: object, attribute: str, first: Callable[[], None], last: Callable[[], None]
    ) -> None:
        function: Callable[..., object] = getattr(owner, attribute)

        @functools.wraps(function)
        def wrapped(*arguments: object, **options: object) -> object:
            first()
            result = function(*arguments, **options)
            last()
            return result

        setattr(owner, attribute, wrapped)


def _pass() -> None:
    """Do nothing."""

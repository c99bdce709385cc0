"""Fork guard: ends a child process that foreign code forked, where the code returns to FlowStone.

A forked child is a copy of the whole process. Without the guard it would go on as the engine or
the scheduler of its parent, and write to the parent's store.
"""

from __future__ import annotations

import os
import sys
from contextlib import AbstractContextManager, suppress
from typing import NoReturn

from flowstone_core.model.safe_text import describe_traceback


def fork_guard() -> AbstractContextManager[None]:
    """Guard a call of foreign code: a child process that it forked never leaves the block.

    The child ends as a script would: with exit code 0 when the block is done, with the code of a
    `SystemExit`, or with a traceback and exit code 1.
    """
    return _ForkGuard()


class _ForkGuard(AbstractContextManager[None]):
    """Guard of one block; a class, because a generator costs a quiet tick twice as much."""

    __slots__ = ("_process",)

    def __enter__(self) -> None:
        self._process = os.getpid()

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if os.getpid() != self._process:
            _leave(error)


def _leave(error: BaseException | None) -> NoReturn:
    code = 0
    # Whatever fails here, the child must not go on.
    try:
        with suppress(Exception):
            code = _exit_code(error)
        for stream in (sys.stdout, sys.stderr):
            with suppress(Exception):
                stream.flush()
    finally:
        # No exit handler and no destructor runs: they belong to the parent.
        os._exit(code)


def _exit_code(error: BaseException | None) -> int:
    if error is None:
        return 0
    if isinstance(error, SystemExit):
        if error.code is None or isinstance(error.code, int):
            return (error.code or 0) & 0xFF
        sys.stderr.write(f"{error.code}\n")
        return 1
    # Without the error's text, which may hold a secret.
    kind = type(error).__qualname__
    sys.stderr.write(f"{kind} in a forked child process\n{describe_traceback(error)}\n")
    return 1

"""Where code reads the wall clock by itself."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from types import FrameType

_OF_TIME = {"time", "time_ns", "localtime", "gmtime", "ctime"}
_OF_DATES = {"now", "utcnow", "today"}


@contextmanager
def reads(module: str) -> Iterator[list[str]]:
    """Collect where a module, or another of its package, reads the wall clock.

    Only in this thread, and while the context lasts.
    """
    found: list[str] = []
    package = module.partition(".")[0]

    def watch(frame: FrameType, event: str, called: object) -> None:
        if event == "c_call" and _reads_clock(called):
            caller = str(frame.f_globals.get("__name__", ""))
            if caller == module or (package and caller.partition(".")[0] == package):
                name = getattr(called, "__name__", "")
                found.append(f"{name}() at {frame.f_code.co_filename}:{frame.f_lineno}")

    before = sys.getprofile()
    sys.setprofile(watch)
    try:
        yield found
    finally:
        sys.setprofile(before)


def _reads_clock(called: object) -> bool:
    name = getattr(called, "__name__", "")
    if name not in _OF_TIME | _OF_DATES:
        return False
    owner = getattr(called, "__self__", None)
    if isinstance(owner, type):
        return issubclass(owner, date) and name in _OF_DATES
    return owner is time and name in _OF_TIME

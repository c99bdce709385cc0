"""Fork server: the process that forks the child processes, and is silent when its runner is killed.

`child_process` has this module imported there. A runner that is killed while a child starts leaves
a broken pipe; multiprocessing prints a traceback for that, where nothing is wrong with the child.
"""

from __future__ import annotations

import sys
import traceback
from multiprocessing import spawn
from types import TracebackType

_show = sys.excepthook


def show_unless_orphaned(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    """Print an exception as Python does, except the end of a child whose parent has died."""
    frames = traceback.extract_tb(trace)
    starting = bool(frames) and frames[-1].filename == spawn.__file__
    if not (starting and issubclass(kind, EOFError)):
        _show(kind, error, trace)


sys.excepthook = show_unless_orphaned

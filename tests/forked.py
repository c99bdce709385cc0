"""Python processes that tests start: forked from one that has imported FlowStone already.

An interpreter that imports FlowStone takes most of a second of CPU, a fork of one some
milliseconds. `Popen` and `run` stand for those of `subprocess` where a command is Python with a
script, ``-c`` or ``-m``, or ``flowstone``. The process is as alone as one that is started anew: it
has its own memory, environment, folder, standard streams and exit code, and signals kill it.
Tests of what an interpreter does at its start use `subprocess`.
"""

from __future__ import annotations

import atexit
import ctypes
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

SERVER = Path(__file__).with_name("fork_server.py")
_PR_SET_CHILD_SUBREAPER = 36


class ForkServer:
    """A process that has imported FlowStone, and forks another one for each request."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._socket, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, SERVER, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                cwd="/",
            )
        self._libc = ctypes.CDLL(None, use_errno=True)

    def fork(self, request: Mapping[str, object], streams: Sequence[int]) -> int:
        """Start a process, as a child of this one; returns its number."""
        message = json.dumps(request).encode()
        with self._lock:
            # The parent that forked it ends at once, and it is handed on to this process.
            self._adopt(orphans=True)
            try:
                socket.send_fds(self._socket, [len(message).to_bytes(4)], streams)
                self._socket.sendall(message)
                return int(self._socket.recv(20))
            finally:
                self._adopt(orphans=False)

    def close(self) -> None:
        """End it."""
        self._socket.close()
        self._process.wait()

    def _adopt(self, *, orphans: bool) -> None:
        if self._libc.prctl(_PR_SET_CHILD_SUBREAPER, int(orphans), 0, 0, 0):
            raise OSError(ctypes.get_errno(), "prctl")


@cache
def _server(process: int) -> ForkServer:
    server = ForkServer()
    atexit.register(server.close)
    return server


class Popen(subprocess.Popen[str]):
    """A forked process, used as any other one."""

    def _execute_child(self, args: Sequence[object], *others: Any) -> None:
        # In the order of subprocess.Popen._execute_child, the same since Python 3.9.
        _, _, _, _, cwd, env, _, _, _, *pipes = others[:15]
        p2cread, p2cwrite, c2pread, c2pwrite, errread, errwrite = pipes
        request = {
            "argv": [str(arg) for arg in args],
            "cwd": str(cwd or Path.cwd()),
            "env": dict(os.environ if env is None else env),
        }
        streams = [
            own if given == -1 else given for own, given in enumerate((p2cread, c2pwrite, errwrite))
        ]
        self.pid = _server(os.getpid()).fork(request, streams)
        self._child_created = True
        self._close_pipe_fds(p2cread, p2cwrite, c2pread, c2pwrite, errread, errwrite)


def run(
    command: Sequence[object],
    *,
    timeout: float,
    check: bool = False,
    capture_output: bool = False,
    **options: Any,
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, as `subprocess.run` does."""
    if capture_output:
        options |= {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with Popen(command, **options) as process:
        try:
            said, errors = process.communicate(timeout=timeout)
        except BaseException:
            process.kill()
            raise
    ended = subprocess.CompletedProcess(command, process.returncode, said, errors)
    if check:
        ended.check_returncode()
    return ended

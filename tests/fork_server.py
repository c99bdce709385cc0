"""The process that `forked` forks others from: it imports all of FlowStone, once."""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import json
import os
import pkgutil
import runpy
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from typing import NoReturn

from coverage import Coverage

PRELOADED = ("flowstone_core", "flowstone_db", "flowstone_http", "flowstone_s3")
ALSO = (
    "alembic.command", "boto3", "psycopg", "rich.table", "sqlalchemy.dialects.postgresql.psycopg",
    "sqlalchemy.dialects.sqlite.pysqlite", "structlog",
)  # fmt: skip


def preload() -> None:
    for package in PRELOADED:
        found = importlib.import_module(package)
        for module in pkgutil.walk_packages(found.__path__, f"{package}."):
            if not module.name.endswith("__main__") and ".migrations" not in module.name:
                with contextlib.suppress(ImportError):
                    importlib.import_module(module.name)
    for name in ALSO:
        importlib.import_module(name)


def serve(line: socket.socket) -> tuple[dict[str, object], list[int]]:
    """Fork a process for each request; returns the request in the process that must do it."""
    while True:
        head, streams, _, _ = socket.recv_fds(line, 4, 3)
        if not head:
            os._exit(0)
        message = line.recv(int.from_bytes(head), socket.MSG_WAITALL)
        ours, theirs = os.pipe()
        parent = os.fork()
        if parent:
            for number in (*streams, theirs):
                os.close(number)
            os.waitpid(parent, 0)  # its child is the test's from now on
            line.sendall(os.read(ours, 20))
            os.close(ours)
            continue
        child = os.fork()
        if child:
            os.write(theirs, str(child).encode())
            signal.raise_signal(signal.SIGKILL)  # whatever is patched for coverage, or registered
        for number in (ours, theirs):
            os.close(number)
        line.close()
        return json.loads(message), streams


def become(request: dict[str, object], streams: list[int]) -> list[str]:
    """Take on folder, environment and streams; returns the words of the command."""
    for own, stream in enumerate(streams):
        os.dup2(stream, own)
    for stream in streams:
        os.close(stream)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.clear()
    os.environ.update(request["env"])
    encoding, _, errors = os.environ.get("PYTHONIOENCODING", "").partition(":")
    encoding, errors = encoding or "utf-8", errors or "strict"
    sys.stdin = sys.__stdin__ = open(0, encoding=encoding, errors=errors)  # noqa: SIM115
    sys.stdout = sys.__stdout__ = open(1, "w", encoding=encoding, errors=errors)  # noqa: SIM115
    errors = "backslashreplace"
    sys.stderr = sys.__stderr__ = open(2, "w", encoding=encoding, errors=errors)  # noqa: SIM115
    sys.stderr.reconfigure(line_buffering=True)
    time.tzset()
    os.chdir(request["cwd"])
    paths = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    sys.path[:] = ["", *paths, *sys.path[1:]]
    importlib.invalidate_caches()
    return request["argv"]


def run(executable: str, *words: str) -> None:
    if Path(executable).name == "flowstone":
        sys.argv = [executable, *words]
        sys.path[0] = str(Path(executable).parent)
        sys.exit(importlib.import_module("flowstone_core.cli").main())
    if words[0] == "-m":
        sys.path[0] = str(Path.cwd())
        sys.argv = list(words[1:])
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    elif words[0] == "-c":
        sys.argv = ["-c", *words[2:]]
        code = compile(words[1], "<string>", "exec")
        exec(code, {"__name__": "__main__"})  # noqa: S102 - it is what -c does
    else:
        sys.argv = list(words)
        sys.path[0] = str(Path(words[0]).resolve().parent)
        # Absolute, as Python makes it: multiprocessing imports it again in a child.
        runpy.run_path(str(Path(words[0]).resolve()), run_name="__main__")


def end(*command: str) -> NoReturn:
    """Run a command and end as an interpreter does, without taking the modules apart."""
    code = 0
    try:
        run(*command)
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        if isinstance(ended.code, str):
            sys.stderr.write(f"{ended.code}\n")
    except BaseException as error:  # noqa: BLE001 - as the interpreter reports it
        sys.excepthook(type(error), error, error.__traceback__)
        code = 128 + signal.SIGINT if isinstance(error, KeyboardInterrupt) else 1
    threading._shutdown()
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    preload()
    measured = Coverage.current()
    if measured is not None:
        measured.save()  # or else each fork would write again what the imports have covered
    gc.freeze()
    with socket.socket(fileno=int(sys.argv[1])) as line:
        request, streams = serve(line)
    del line
    end(*become(request, streams))

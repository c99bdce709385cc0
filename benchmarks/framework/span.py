"""Span: a measured stretch of an arm; its seconds, and the CPU that it took."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from benchmarks.framework.benchmark import Sample

SERVER_PID = "BENCH_POSTGRESQL_PID"
"""Variable with the process id of the PostgreSQL server, where its CPU is to be counted."""


class Span:
    """A measured stretch of an arm.

    Args:
        collect: Collect garbage first, so that the arm begins with as little as the others; False
            where threads run already, which would stand still meanwhile.

    Attributes:
        seconds: Its length by the clock.
        cpu: CPU seconds of this process, in user code and in the system.
        server_cpu: CPU seconds of the PostgreSQL server; zero without one.
    """

    def __init__(self, *, collect: bool = True) -> None:
        self._collect = collect
        self.seconds = self.cpu = self.server_cpu = 0.0

    def __enter__(self) -> Self:
        """Begin."""
        if self._collect:
            gc.collect()
        self._server = _server_cpu()
        self._cpu, self._begin = time.process_time(), time.perf_counter()
        return self

    def __exit__(self, *error: object) -> None:
        """End."""
        self.seconds = time.perf_counter() - self._begin
        self.cpu = time.process_time() - self._cpu
        self.server_cpu = _server_cpu() - self._server

    def sample(self, units: float) -> Sample:
        """Return ``rate`` (units a second) and ``cpu`` (microseconds for each).

        With a PostgreSQL server that worked meanwhile, ``server_cpu`` is among them.

        Raises:
            ValueError: If nothing was measured.
        """
        if not units:
            raise ValueError("nothing was measured")
        found = {"rate": units / self.seconds, "cpu": 1e6 * self.cpu / units}
        if self.server_cpu:
            found["server_cpu"] = 1e6 * self.server_cpu / units
        return found


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the value that this percentage of the values does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def _server_cpu() -> float:
    """Return the CPU seconds of the PostgreSQL server and its sessions, ended ones included."""
    server = os.environ.get(SERVER_PID)
    if not server:
        return 0.0
    ticks = 0
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text("utf-8").rpartition(") ")[2].split()
        except OSError:  # it has ended meanwhile
            continue
        if status.parent.name == server:
            ticks += sum(map(int, fields[11:15]))
        elif fields[1] == server:
            ticks += sum(map(int, fields[11:13]))
    return ticks / os.sysconf("SC_CLK_TCK")

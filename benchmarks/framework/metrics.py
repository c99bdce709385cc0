"""Metrics: those that several benchmarks have, which `Span.sample` measures."""

from __future__ import annotations

from benchmarks.framework.benchmark import Metric

RATE = Metric("rate", "a second", "/s", higher_is_better=True)
CPU = Metric("cpu", "CPU each", "µs")
SERVER_CPU = Metric("server_cpu", "CPU each of PostgreSQL", "µs", ratio=False)

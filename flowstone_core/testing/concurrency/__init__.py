"""Many threads at one sensor or schedule, and whether anything is lost, doubled or torn by it."""

from __future__ import annotations

from flowstone_core.testing.concurrency.harness import ConcurrencyHarness
from flowstone_core.testing.concurrency.report import ConcurrencyReport

__all__ = ["ConcurrencyHarness", "ConcurrencyReport"]

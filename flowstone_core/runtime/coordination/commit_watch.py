"""Watch of the commit in progress: a runner that cannot commit must not seem alive."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from flowstone_core.model.clock import Clock


class CommitWatch:
    """Measures the commit of ticks that is in progress; one thread commits, another one asks."""

    def __init__(self) -> None:
        self._began: float | None = None

    @contextmanager
    def measured(self, clock: Clock) -> Iterator[None]:
        """Measure a commit: the context."""
        self._began = clock.monotonic()
        try:
            yield
        finally:
            self._began = None

    def seconds(self, clock: Clock) -> float:
        """Return how long the commit in progress has lasted; 0 if there is none."""
        began = self._began
        return 0.0 if began is None else clock.monotonic() - began

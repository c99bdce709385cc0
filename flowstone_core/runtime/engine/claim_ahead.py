"""Claims ahead: how many attempts to claim before a thread is free for them.

A thread that ends an attempt should find the next one claimed, and not wait for two commits. An
attempt that is claimed and waits is kept from other runners: so only those are claimed ahead that
start at once, because the attempts before them are short.
"""

from __future__ import annotations

AHEAD_LIMIT = 100
"""Most attempts claimed ahead: as many as are written in one transaction."""

AHEAD_SECONDS = 0.05
"""The time that those claimed ahead may wait, if they take as long as recent ones."""

_MEMORY = 0.9
"""The share of a longest duration that is still expected after one more attempt."""


class ClaimAhead:
    """Pace of recent attempts: the longest duration, which each shorter attempt makes a bit less.

    Any thread may use it. Before the first attempt has ended, nothing is claimed ahead.
    """

    def __init__(self) -> None:
        self._expected: float | None = None

    def note(self, seconds: float) -> None:
        """Note how long an attempt took."""
        expected = self._expected
        self._expected = seconds if expected is None else max(seconds, expected * _MEMORY)

    def allowed(self, threads: int) -> int:
        """Return how many attempts to claim ahead.

        Args:
            threads: The threads that are free, or in an attempt that has not taken long so far.
        """
        if self._expected is None or threads <= 0:
            return 0
        if self._expected * AHEAD_LIMIT <= threads * AHEAD_SECONDS:
            return AHEAD_LIMIT
        return int(threads * AHEAD_SECONDS / self._expected)

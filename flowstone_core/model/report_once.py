"""Latch for log messages: reports a lasting condition when it begins and when it is over."""

from __future__ import annotations

import logging
import threading


class ReportOnce:
    """Latch that logs a lasting condition twice, not at each of its repetitions. Thread-safe.

    Args:
        logger: Where both messages are logged.
        begun: Logged when the condition begins.
        over: Logged as a warning when the condition is over; None logs nothing then.
        level: Level of ``begun``.

    Attributes:
        times: Number of calls of `begin` since the condition began; 0 while it does not last.

    Example:
        >>> report = ReportOnce(logging.getLogger("doctest"), "disk full", "disk writable again")
        >>> report.end(), report.begin(), report.begin(), report.times
        (False, True, False, 2)
        >>> report.end(), report.times
        (True, 0)
    """

    def __init__(
        self,
        logger: logging.Logger,
        begun: str,
        over: str | None = None,
        level: int = logging.ERROR,
    ) -> None:
        self._logger = logger
        self._begun = begun
        self._over = over
        self._level = level
        self._lock = threading.Lock()
        self.times = 0

    @property
    def on(self) -> bool:
        """True while the condition lasts."""
        return self.times > 0

    def begin(self, cause: BaseException | None = None, /, **extra: object) -> bool:
        """Count an occurrence of the condition; log the first.

        Args:
            cause: Error whose traceback is logged.
            **extra: Fields of the log line.

        Returns:
            True if the condition began by this call.
        """
        with self._lock:
            self.times += 1
            first = self.times == 1
        if first:
            self._logger.log(self._level, self._begun, exc_info=cause, extra=extra)
        return first

    def end(self, **extra: object) -> bool:
        """End the condition; log its end if the condition lasted.

        Args:
            **extra: Fields of the log line.

        Returns:
            True if the condition was over by this call.
        """
        if not self.times:  # nearly always
            return False
        with self._lock:
            lasted, self.times = self.times > 0, 0
        if lasted and self._over is not None:
            self._logger.warning(self._over, extra=extra)
        return lasted

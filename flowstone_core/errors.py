"""Errors: every error that FlowStone raises, and three for plugins and asset functions to raise.

One root, `FlowstoneError`. An error has a message (what failed), a ``context`` (where: sensor,
file, line, ...) and a ``hint`` (what to do). Errors that correspond to a built-in exception inherit
from it, so ``except ValueError`` works.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import ClassVar


class FlowstoneError(Exception):
    """Root of all errors of FlowStone.

    Args:
        message: The failure and the value, in one sentence.
        hint: The remedy, or None if there is no useful one.
        **context: Names and values for the log line: sensor, file, line, ...

    Attributes:
        retryable: True if the same call may succeed later without any change.
    """

    retryable: ClassVar[bool] = False

    def __init__(self, message: str, *, hint: str | None = None, **context: object) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.context = context

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


@dataclass(frozen=True, slots=True)
class Problem:
    """One problem of a configuration, a pipeline or a value.

    Attributes:
        message: The invalid value and the values that are allowed.
        where: ``file:line`` or another place a person can go to; empty if unknown.
        subject: The setting concerned, such as ``[flowstone:sensor:new_orders] every``; may be
            empty.
        hint: The remedy, such as ``did you mean 'bucket'?``; may be empty.
        quotes_nothing: True if no part of the value is quoted, so that the message may be shown
            even if the value is a secret.
    """

    message: str
    where: str = ""
    subject: str = ""
    hint: str = ""
    quotes_nothing: bool = False

    def __str__(self) -> str:
        place = ": ".join(part for part in (self.where, self.subject) if part)
        text = f"{place}: {self.message}" if place else self.message
        return f"{text} ({self.hint})" if self.hint else text


class ValidationError(FlowstoneError, ValueError):
    """Invalid value, configuration or pipeline; ``problems`` lists all problems.

    Args:
        problems: One message, one problem, or all problems.
    """

    def __init__(self, problems: str | Problem | Iterable[Problem]) -> None:
        if isinstance(problems, str):
            problems = (Problem(problems),)
        elif isinstance(problems, Problem):
            problems = (problems,)
        self.problems: Sequence[Problem] = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class InvalidSecretError(FlowstoneError, ValueError):
    """Invalid value of a secret setting; explained without any part of the value.

    A validator of a plugin raises it: the text of any other error of a secret setting is hidden.
    """


class NotFoundError(FlowstoneError, LookupError):
    """Unknown name or number: nothing is stored or declared under it."""


class ConflictError(FlowstoneError):
    """Conflict with the current state of a sensor, schedule, materialization or backfill."""


class PluginError(FlowstoneError):
    """A plugin violated its contract; the message names the plugin."""


class OutcomeError(PluginError):
    """A sensor returned an invalid outcome, or a state that is not JSON."""


class PollTimeoutError(FlowstoneError, TimeoutError):
    """A poll exceeded its deadline; its late result is discarded."""

    retryable = True


class AttemptTimeoutError(FlowstoneError, TimeoutError):
    """An attempt exceeded its asset's timeout; its late result is discarded."""

    retryable = True


class ChildDiedError(FlowstoneError):
    """A child process ended before it answered."""

    retryable = True


class StoreError(FlowstoneError):
    """The store cannot be used: newer, foreign, corrupt or misconfigured."""


class StoreUnavailableError(StoreError):
    """The store is unavailable at the moment: locked, full, or not reachable."""

    retryable = True


class StoreLostError(StoreError):
    """The SQLite file was deleted, replaced, damaged or made read-only.

    Retrying does not help; an operator must restore the file.
    """


class StaleAttemptError(FlowstoneError):
    """The attempt no longer holds the current token; nothing was written."""


class RetryLater(FlowstoneError):  # noqa: N818 - states an intent, and reads as one where it is raised
    """Raise in a sensor's ``poll`` or an asset function to be called again after ``delay``.

    This is not a failure: it uses up no attempt and does not count toward quarantine.

    Args:
        delay: Minimum delay; a number is seconds. A delay over 7 days is cut to 7 days.
        reason: The reason, for the log and the store.

    Raises:
        ValueError: If the delay is negative or not a number.
    """

    retryable = True

    def __init__(self, delay: timedelta | float, reason: str = "retry requested") -> None:
        super().__init__(reason)
        if not isinstance(delay, timedelta):
            # A server may request more than a timedelta can hold.
            delay = timedelta(seconds=min(delay, timedelta.max.days))
        if delay < timedelta(0):
            raise ValueError(f"invalid delay {delay}: must not be negative")
        self.delay = delay

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.delay, self.message), self.__dict__


class SensorBroken(FlowstoneError):  # noqa: N818
    """Raise in a sensor's ``init`` or ``poll`` to stop polling until an operator's reset.

    Args:
        reason: The failure and the remedy, for the operator.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)


class Discard(FlowstoneError):  # noqa: N818
    """Raise in an asset function if the partition cannot be materialized, to skip all retries.

    Args:
        reason: The reason, kept as the materialization's error.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)


def did_you_mean(name: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    """Return ``did you mean 'x'?`` for the most similar known name, or an empty text.

    Args:
        cutoff: The least similarity, from 0 to 1.
    """
    from difflib import get_close_matches

    near = get_close_matches(name, sorted(known), n=1, cutoff=cutoff)
    return f"did you mean {near[0]!r}?" if near else ""

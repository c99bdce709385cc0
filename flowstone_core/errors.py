"""Every error FlowStone raises, and the three by which an author's code states an intent.

One root, `FlowstoneError`. An error says what was wrong (its message), where (its ``context``:
sensor, file, line, ...) and what to do (its ``hint``). Kinds that Python already has a name for
inherit from that name too, so ``except ValueError`` works as anybody would expect.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from difflib import get_close_matches
from typing import ClassVar


class FlowstoneError(Exception):
    """The root of all errors of FlowStone.

    Args:
        message: What was wrong, in one sentence.
        hint: What to do about it, or None where nothing sensible can be said.
        **context: Where it was: names and values that a log line should carry.

    Attributes:
        retryable: Whether the same call may succeed later with nothing changed.
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
    """One thing that is wrong with a configuration, a pipeline or a value.

    Attributes:
        message: What is wrong and what is allowed.
        where: ``file:line`` or another place a person can go to; empty when there is none.
        subject: What it concerns, such as ``[flowstone:sensor:new_orders] every``; may be empty.
        hint: What to do, such as ``did you mean 'bucket'?``; may be empty.
    """

    message: str
    where: str = ""
    subject: str = ""
    hint: str = ""

    def __str__(self) -> str:
        place = ": ".join(part for part in (self.where, self.subject) if part)
        text = f"{place}: {self.message}" if place else self.message
        return f"{text} ({self.hint})" if self.hint else text


class ValidationError(FlowstoneError, ValueError):
    """A value, a configuration or a pipeline is wrong; `problems` lists everything that is.

    Args:
        problems: One message, one problem, or all of them.
    """

    def __init__(self, problems: str | Problem | Iterable[Problem]) -> None:
        if isinstance(problems, str):
            problems = (Problem(problems),)
        elif isinstance(problems, Problem):
            problems = (problems,)
        self.problems: Sequence[Problem] = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class NotFoundError(FlowstoneError, LookupError):
    """Something was asked for by a name or a number that nothing has."""


class ConflictError(FlowstoneError):
    """What was asked for cannot be done in the state that the thing is in now."""


class PluginError(FlowstoneError):
    """A plugin broke its side of the contract; the message names the plugin."""


class OutcomeError(PluginError):
    """A sensor returned something that is no valid outcome, or a state that is not JSON."""


class PollTimeoutError(FlowstoneError, TimeoutError):
    """A poll went past its deadline; whatever it still returns is discarded."""

    retryable = True


class AttemptTimeoutError(FlowstoneError, TimeoutError):
    """An attempt went past its asset's timeout; whatever it still returns is discarded."""

    retryable = True


class ChildDiedError(FlowstoneError):
    """A process that foreign code runs in has ended before it answered."""

    retryable = True


class StoreError(FlowstoneError):
    """The store cannot be used: refused (newer, foreign, corrupt) or misconfigured."""


class StoreUnavailableError(StoreError):
    """The store cannot be used at the moment: locked, full, or not reachable."""

    retryable = True


class StoreLostError(StoreError):
    """The store's file is gone, replaced, damaged or read-only: no waiting helps, a person must."""


class StaleTickError(FlowstoneError):
    """The sensor was changed by somebody else since this tick began; nothing was written."""

    retryable = True


class StaleAttemptError(FlowstoneError):
    """An attempt that no longer holds the current token tried to finish; nothing was written."""


class RetryLater(FlowstoneError):  # noqa: N818 - states an intent, and reads as one where it is raised
    """Raised by a sensor's ``poll`` or an asset function: not now, try again after ``delay``.

    It is no failure: it uses up no attempt and counts toward no quarantine.

    Args:
        delay: How long to wait at least; a number is taken as seconds. More than 7 days are
            honoured as 7 days.
        reason: Why, for the log and the store.

    Raises:
        ValueError: If the delay is negative or not a number.
    """

    retryable = True

    def __init__(self, delay: timedelta | float, reason: str = "asked to be retried later") -> None:
        super().__init__(reason)
        if not isinstance(delay, timedelta):
            # A server may ask for more than a timedelta holds; it gets no more than the limit.
            delay = timedelta(seconds=min(delay, timedelta.max.days))
        if delay < timedelta(0):
            raise ValueError(f"a delay cannot be negative, got {delay}")
        self.delay = delay

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.delay, self.message), self.__dict__


class SensorBroken(FlowstoneError):  # noqa: N818
    """Raised by a sensor's ``init`` or ``poll``: no retry will help until someone resets it.

    Args:
        reason: What is broken and what the operator should do.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)


class Discard(FlowstoneError):  # noqa: N818
    """Raised by an asset function: this partition cannot be made; do not try again.

    Args:
        reason: Why, kept as the materialization's error.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ``did you mean 'x'?`` for the nearest known name, or an empty text."""
    near = get_close_matches(name, sorted(known), n=1)
    return f"did you mean {near[0]!r}?" if near else ""

"""Result of an attempt: the pure decision from the return value or exception to the commit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from flowstone_core.errors import Discard, PluginError, ValidationError
from flowstone_core.model.backoff import honoured_delay
from flowstone_core.model.json_document import (
    PAYLOAD_LIMIT,
    dump_document,
    load_document,
    map_texts,
)
from flowstone_core.model.materialization import (
    AttemptOutcome,
    Materialization,
    MaterializationState,
)
from flowstone_core.model.safe_text import describe


@dataclass(frozen=True, slots=True)
class AttemptResult:
    """Result of an attempt and the new state of its materialization.

    Attributes:
        state: COMPLETED, RETRYING or DISCARDED.
        error: Error text, redacted; None for a completed attempt.
        metadata: JSON text of the asset function's return value, or None.
        retry_at: When the next attempt may start; set if the state is RETRYING.
        spared: True if the attempt does not count against ``max_attempts``.
    """

    outcome: AttemptOutcome
    state: MaterializationState
    error: str | None = None
    metadata: str | None = None
    retry_at: datetime | None = None
    spared: bool = False


def succeed(result: object, redact: Callable[[str], str] = str) -> AttemptResult:
    """Decide the result of an attempt whose asset function returned.

    Args:
        result: The return value of the function.
        redact: Hides secrets in the metadata.

    Raises:
        PluginError: If the function returned anything but None or a small JSON mapping.
    """
    metadata = None
    if result is not None:
        if not isinstance(result, Mapping):
            raise PluginError(
                f"the asset function returned a value of type {type(result).__qualname__}; "
                "it must return None or a small JSON mapping"
            )
        try:
            metadata = dump_document(
                dict(result), what="the returned metadata", limit=PAYLOAD_LIMIT
            )
        except ValidationError as error:
            raise PluginError(error.message) from None
        if redact(metadata) != metadata:
            document = map_texts(load_document(metadata), redact)
            metadata = dump_document(document, what="the metadata", limit=PAYLOAD_LIMIT)
    return AttemptResult(
        AttemptOutcome.COMPLETED, MaterializationState.COMPLETED, metadata=metadata
    )


def fail(
    materialization: Materialization,
    error: BaseException,
    now: datetime,
    backoff: Callable[[int], timedelta],
    redact: Callable[[str], str] = str,
) -> AttemptResult:
    """Decide the result of an attempt whose asset function raised.

    Args:
        materialization: The materialization as claimed; its ``attempt`` is the failed one.
        error: The exception.
        now: The current time.
        backoff: Returns the delay before the next attempt, from the number of attempts so far.
        redact: Hides secrets in the error's text.
    """
    text = describe(error, redact)
    if isinstance(error, Discard):
        return AttemptResult(AttemptOutcome.DISCARDED, MaterializationState.DISCARDED, text)
    delay = honoured_delay(error)
    if delay is not None:
        return AttemptResult(
            AttemptOutcome.RETRY_LATER,
            MaterializationState.RETRYING,
            text,
            retry_at=now + delay,
            spared=True,
        )
    if materialization.attempt >= materialization.max_attempts:
        return AttemptResult(AttemptOutcome.FAILED, MaterializationState.DISCARDED, text)
    return AttemptResult(
        AttemptOutcome.FAILED,
        MaterializationState.RETRYING,
        text,
        retry_at=now + backoff(materialization.attempt),
    )

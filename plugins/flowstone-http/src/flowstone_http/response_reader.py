"""What an answer says: which partitions are ready, what is watched, what is handed on."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from flowstone_core import Partition, RetryLater, SensorBroken
from flowstone_http.config import WebhookConfig
from flowstone_http.content import read_json
from flowstone_http.errors import ContentError, PartitionError
from flowstone_http.expression import Expression, is_true
from flowstone_http.partitioning import as_it_is, from_json, partitions_of
from flowstone_http.validators import Mark, etag_mark, last_modified_mark, value_mark

if TYPE_CHECKING:
    from pydantic import JsonValue

    from flowstone_http.response import Answer


@dataclass(frozen=True, slots=True)
class Reading:
    """What an answer says.

    Attributes:
        partitions: Those that are ready, by their texts; none if it is not ready.
        mark: What is watched for change; None where nothing is.
        value: What an expression took out of the body.
    """

    partitions: dict[str, Partition] = field(default_factory=dict)
    mark: Mark | None = None
    value: JsonValue = None


class Reader:
    """Reads answers as the settings say.

    Args:
        config: The settings.
    """

    def __init__(self, config: WebhookConfig) -> None:
        self._config = config
        self._check = _expression(config.check)
        self._partition = _expression(config.partition)
        by_header = config.on_change in {None, "etag", "last_modified", "body"}
        self._watched = None if by_header else _expression(config.on_change)
        functions = (config.check_fn, config.partition_fn)
        self._needs_json = config.method != "HEAD" and (
            any(item is not None for item in (self._check, self._watched, *functions))
            or (self._partition is not None and not self._partition.is_fixed)
        )

    def read(self, answer: Answer) -> Reading:
        """Read an answer whose status is a success.

        Raises:
            HttpError: If it is not what the settings expect.
            RetryLater: If a function of the settings raises it.
            SensorBroken: If a function of the settings raises it.
        """
        body = read_json(answer) if self._needs_json else None
        value = None
        if self._check is not None:
            value = self._check.search(body)
            if not is_true(value):
                return Reading()
        check_fn = self._config.check_fn
        if check_fn is not None and not _is_ready(_call("check_fn", check_fn, body, answer)):
            return Reading()
        if self._watched is not None:
            value = self._watched.search(body)
            if value is None:
                return Reading()
        return Reading(self._partitions(body, answer), self._mark(value, answer), value)

    def _mark(self, value: JsonValue, answer: Answer) -> Mark | None:
        match self._config.on_change:
            case None:
                return None
            case "etag":
                return etag_mark(answer)
            case "last_modified":
                return last_modified_mark(answer)
            case "body":
                return value_mark(answer.body, answer)
        return value_mark(value, answer)

    def _partitions(self, body: JsonValue, answer: Answer) -> dict[str, Partition]:
        function = self._config.partition_fn
        if function is not None:
            found = _call("partition_fn", function, body, answer)
            return partitions_of(found, "partition_fn", as_it_is)
        given = None if self._partition is None else self._partition.search(body)
        if given is None and (self._check or self._config.check_fn):
            raise PartitionError(
                "the answer says that it is ready, and partition finds nothing in it",
                hint="check partition against what the URL answers",
            )
        return partitions_of(given, "partition", from_json)


def _is_ready(found: object) -> bool:
    if found is None or isinstance(found, bool):
        return bool(found)
    raise ContentError(
        f"check_fn returns True or False, not a value of type {type(found).__qualname__}"
    )


def _expression(text: str | None) -> Expression | None:
    return None if text is None else Expression(text)


def _call(what: str, function: Callable[..., object], body: JsonValue, answer: Answer) -> object:
    try:
        return function(body, answer.facts)
    except (RetryLater, SensorBroken):
        raise
    except Exception as error:  # noqa: BLE001 - a function of the settings may raise anything
        frame = traceback.extract_tb(error.__traceback__)[-1]
        kind = type(error).__name__
    # Its text may quote the body, so it stays out, and the error with it.
    raise ContentError(
        f"{what} raised {kind} at {frame.filename}:{frame.lineno}",
        hint="its text is not shown, as it may quote the answer",
    )

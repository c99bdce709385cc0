"""Response reader: extracts partitions, validator and value from a response."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING

from flowstone_core import Partition, RetryLater, SensorBroken, encode_partition
from flowstone_core.plugin_api import PartitionTemplate, fit_function, load_zone
from flowstone_http.config import ARGUMENTS, WebhookConfig
from flowstone_http.content import read_json
from flowstone_http.errors import ContentError, PartitionError
from flowstone_http.expression import Expression, is_true, read_partition
from flowstone_http.partitioning import PARTITION_LIMIT, as_it_is, from_json, partitions_of
from flowstone_http.validators import (
    Validator,
    digest_validator,
    etag_validator,
    last_modified_validator,
)

if TYPE_CHECKING:
    from datetime import datetime

    from pydantic import JsonValue

    from flowstone_http.response import Response


@dataclass(frozen=True, slots=True)
class ParsedResponse:
    """The content of a response.

    Attributes:
        partitions: The ready partitions, by their texts; empty if not ready.
        validator: The validator, compared to detect a change; None without ``on_change``.
        value: The value of the expression.
        reason: The reason why there is no partition; empty if there is one.
    """

    partitions: dict[str, Partition] = field(default_factory=dict)
    validator: Validator | None = None
    value: JsonValue = None
    reason: str = ""


class ResponseReader:
    """Reader of responses, by the settings.

    Args:
        config: The settings.
        now: Returns the time, for a partition such as ``${date}``.
    """

    def __init__(self, config: WebhookConfig, now: Callable[[], datetime]) -> None:
        self._config = config
        self._now = now
        self._zone = load_zone(config.timezone)
        self._check = _expression(config.check)
        self._partition = None if config.partition is None else read_partition(config.partition)
        by_header = config.on_change in {None, "etag", "last_modified", "body"}
        self._watched = None if by_header else _expression(config.on_change)
        self._check_fn = _function(config.check_fn)
        self._partition_fn = _function(config.partition_fn)
        wanted = (self._check, self._watched, self._check_fn, self._partition_fn)
        self._needs_json = config.method != "HEAD" and (
            any(item is not None for item in wanted)
            or (isinstance(self._partition, Expression) and not self._partition.is_fixed)
        )

    def read(self, response: Response) -> ParsedResponse:
        """Read a response with a success status.

        Raises:
            HttpError: If the response is not as the settings expect.
            RetryLater: If a function of the settings raises it.
            SensorBroken: If a function of the settings raises it.
        """
        body = read_json(response) if self._needs_json else None
        value = None
        if self._check is not None:
            value = self._check.search(body)
            if not is_true(value):
                return ParsedResponse(reason="check is not true")
        check_fn = self._check_fn
        if check_fn is not None and not _is_ready(_call("check_fn", check_fn, body, response)):
            return ParsedResponse(reason="check_fn did not return True")
        if self._watched is not None:
            value = self._watched.search(body)
            if value is None:
                return ParsedResponse(reason="on_change finds nothing in the response")
        partitions = self._partitions(body, response)
        way = "partition finds nothing in the response"
        if self._partition_fn is not None:
            way = "partition_fn returned no partition"
        reason = "" if partitions else way
        return ParsedResponse(partitions, self._validator(value, response), value, reason)

    def _validator(self, value: JsonValue, response: Response) -> Validator | None:
        match self._config.on_change:
            case None:
                return None
            case "etag":
                return etag_validator(response)
            case "last_modified":
                return last_modified_validator(response)
            case "body":
                return digest_validator(response.body, response)
        return digest_validator(value, response)

    def _partitions(self, body: JsonValue, response: Response) -> dict[str, Partition]:
        function = self._partition_fn
        if function is not None:
            found = _call("partition_fn", function, body, response)
            return partitions_of(found, "partition_fn", as_it_is)
        if isinstance(self._partition, PartitionTemplate):
            partition = self._partition.partition(self._now().astimezone(self._zone))
            return {encode_partition(partition): partition}
        given = None if self._partition is None else self._partition.search(body)
        if given is None and (self._check or self._config.check_fn):
            raise PartitionError(
                "the response is ready, but partition finds nothing in it",
                hint="compare partition with the JSON of the response; partition = ${date} is the "
                "date of the poll",
            )
        return partitions_of(given, "partition", from_json)


def _is_ready(found: object) -> bool:
    if found is None or isinstance(found, bool):
        return bool(found)
    raise ContentError(
        f"check_fn must return True or False, not a value of type {type(found).__qualname__}"
    )


def _expression(text: str | None) -> Expression | None:
    return None if text is None else Expression(text)


def _function(function: Callable[..., object] | None) -> Callable[..., object] | None:
    return None if function is None else fit_function(function, *ARGUMENTS)


def _call(
    what: str, function: Callable[..., object], body: JsonValue, response: Response
) -> object:
    try:
        found = function(body, response.facts)
        # An iterator runs the function's code only here.
        return list(islice(found, PARTITION_LIMIT + 1)) if isinstance(found, Iterator) else found
    except (RetryLater, SensorBroken):
        raise
    except Exception as error:  # noqa: BLE001 - a function of the settings may raise anything
        frame = traceback.extract_tb(error.__traceback__)[-1]
        kind = type(error).__name__
    # The text of the error may quote the body, so neither is included.
    raise ContentError(
        f"{what} raised {kind} at {frame.filename}:{frame.lineno}",
        hint="its text is not shown, because it may quote the response",
    )

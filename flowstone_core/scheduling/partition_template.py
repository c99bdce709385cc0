"""Partition template: ``${year}-${month}-${day}``, filled with an instant in a time zone."""

from __future__ import annotations

import string
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from flowstone_core.errors import ValidationError, did_you_mean
from flowstone_core.model.partition import Partition, parse_partition
from flowstone_core.model.safe_text import printable

TOKENS: Mapping[str, Callable[[datetime], str]] = {
    "year": lambda at: f"{at:%Y}".zfill(4),
    "month": lambda at: f"{at:%m}",
    "day": lambda at: f"{at:%d}",
    "hour": lambda at: f"{at:%H}",
    "minute": lambda at: f"{at:%M}",
    "second": lambda at: f"{at:%S}",
    "date": lambda at: at.date().isoformat(),
    "offset": lambda at: at.isoformat()[-6:],
    "instant": lambda at: at.astimezone(UTC).replace(tzinfo=None).isoformat() + "Z",
}
"""Tokens of a template, with their values for a local time."""


class _Template(string.Template):
    idpattern = r"(?-i:[a-z_][a-z0-9_]*)"


class PartitionTemplate:
    """Partition template: returns the partition of an instant.

    The filled template is parsed as typed text (`flowstone_core.model.partition.parse_partition`):
    ``${year}-${month}-${day}`` gives a date, ``${date}T${hour}:00${offset}`` an aware datetime,
    ``week-${date}`` a string.

    Args:
        text: The template; ``$$`` is a ``$``.

    Raises:
        ValidationError: If the template has an unknown token or a stray ``$``, or the result is not
            a valid partition.

    Example:
        >>> from datetime import datetime, UTC
        >>> template = PartitionTemplate("${year}-${month}-${day}")
        >>> template.partition(datetime(2026, 1, 31, tzinfo=UTC))
        datetime.date(2026, 1, 31)
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self._template = _Template(text)
        allowed = ", ".join(f"${{{name}}}" for name in TOKENS)
        if not text:
            raise ValidationError(f"empty partition template; use {allowed}")
        if not self._template.is_valid():
            raise ValidationError(
                f"{printable(text, 80)!r} has a '$' without a token; use {allowed}, "
                "or '$$' for a '$'"
            )
        for name in self._template.get_identifiers():
            if name not in TOKENS:
                hint = did_you_mean(name, TOKENS) or f"use {allowed}"
                raise ValidationError(f"unknown token ${{{printable(name, 40)}}}: {hint}")
        self.partition(datetime(2000, 1, 31, 23, 59, 58, tzinfo=UTC))

    def partition(self, at: datetime) -> Partition:
        """Return the partition of an aware instant, by the local time of its zone.

        Raises:
            ValidationError: If the result is not a valid partition.
        """
        values = {name: TOKENS[name](at) for name in self._template.get_identifiers()}
        return parse_partition(self._template.substitute(values))

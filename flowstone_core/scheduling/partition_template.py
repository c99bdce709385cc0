"""Partition template: ``${year}-${month}-${day}``, filled with an instant in a time zone."""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from flowstone_core.errors import ValidationError, did_you_mean
from flowstone_core.model.partition import Partition, parse_partition
from flowstone_core.model.safe_text import printable

TOKENS: Mapping[str, Callable[[datetime], str]] = {
    "year": lambda at: f"{at.year:04}",
    "month": lambda at: f"{at.month:02}",
    "day": lambda at: f"{at.day:02}",
    "hour": lambda at: f"{at.hour:02}",
    "minute": lambda at: f"{at.minute:02}",
    "second": lambda at: f"{at.second:02}",
    "date": lambda at: at.date().isoformat(),
    "offset": lambda at: at.isoformat()[-6:],
    "instant": lambda at: at.astimezone(UTC).replace(tzinfo=None).isoformat() + "Z",
}
"""Tokens of a template, with their values for a local time."""


UNITS = ("year", "month", "day", "hour", "minute", "second")
"""Tokens of a calendar and a clock, from the longest."""

_FLOORS = (1, 1, 1, 0, 0, 0)
_FORMS = dict.fromkeys(UNITS, r"\d{2}") | {"year": r"\d{4}", "date": r"\d{4}-\d{2}-\d{2}"}


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
        return parse_partition(self._filled(at))

    @property
    def finest(self) -> str | None:
        """The shortest unit of the texts, such as ``month``; None if they are not local times.

        They are if the units go on without a gap from the year, as in ``${year}-${month}``, and
        nothing else varies.
        """
        names = set(self._template.get_identifiers())
        units = (names - {"date"}) | ({"year", "month", "day"} if "date" in names else set())
        found = [unit for unit in UNITS if unit in units]
        return found[-1] if found and units == set(UNITS[: len(found)]) else None

    def read(self, text: str) -> datetime | None:
        """Return the first local time that the template writes as a text; None if there is none.

        Example:
            >>> PartitionTemplate("${year}-${month}").read("2025-03")
            datetime.datetime(2025, 3, 1, 0, 0)
        """
        match = re.fullmatch(self._pattern(), text, re.ASCII) if self.finest else None
        if match is None:
            return None
        parts = match.groupdict()
        if "date" in parts:
            parts |= dict(zip(UNITS, parts["date"].split("-"), strict=False))
        values = [int(parts.get(unit, floor)) for unit, floor in zip(UNITS, _FLOORS, strict=True)]
        try:
            local = datetime(*values)  # type: ignore[arg-type]  # noqa: DTZ001 - six integers
        except ValueError:
            return None
        return local if self._filled(local) == text else None

    def _pattern(self) -> str:
        parts, end, seen = [], 0, set[str]()
        for found in self._template.pattern.finditer(self.text):
            parts.append(re.escape(self.text[end : found.start()]))
            end = found.end()
            name = found["named"] or found["braced"]
            if name is None:
                parts.append(r"\$")
            else:
                parts.append(f"(?P={name})" if name in seen else f"(?P<{name}>{_FORMS[name]})")
                seen.add(name)
        return "".join([*parts, re.escape(self.text[end:])])

    def _filled(self, at: datetime) -> str:
        values = {name: TOKENS[name](at) for name in self._template.get_identifiers()}
        return self._template.substitute(values)

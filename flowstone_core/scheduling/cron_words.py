"""Words for a cron expression: its fire times in English, where words can be right.

cron-descriptor has the words. It calls every step "every 45 minutes", also one that begins again
before it has come round (``*/45`` fires at :00 and :45): such fields are given to it as the times
that they stand for.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from flowstone_core.scheduling.cron_field import Field

LISTED = 10
"""Most values of a range with a step that are listed; the step of a longer one is named."""

_HOURS = re.compile(r", at (\d\d:00(?:, \d\d:00)*,? and \d\d:00)")


def in_words(grammar: Sequence[Field], fields: Sequence[str], values: Sequence[str]) -> str | None:
    """Return the fire times of an expression in English; None if the words would be wrong.

    Args:
        grammar: The six fields.
        fields: Their texts as the user wrote them.
        values: The numbers of each, as `Field.parse` lists them.
    """
    from cron_descriptor import Options, get_description

    *_, day, _, weekday = fields
    either = not (day.startswith("*") or weekday.startswith("*"))
    plain = [_plain(*each) for each in zip(grammar, fields, values, strict=True)]
    try:
        options = Options(locale_code="en_US", use_24hour_time_format=True)
        words = str(get_description(" ".join(plain).upper(), options))
    except Exception:  # noqa: BLE001 - the caller has the expression instead
        return None
    if either != (", or on " in words) or not _wordable(fields):
        return None
    # "Every 15 minutes, at 00:00 and 13:00" would be at two times; it is in two hours.
    return _HOURS.sub(r", in the hours of \1", words)


def _plain(field: Field, text: str, values: str) -> str:
    """Return a field without a step that does not come round evenly."""
    start, slash, step = text.partition("/")
    if not slash or "," in text or field.name == "day of week":
        return text
    numbers = values.split(",")
    if int(step) == 1:
        return start if start == "*" or "-" in start else f"{numbers[0]}-{numbers[-1]}"
    comes_round = len(numbers) * int(step) == field.high - field.low + 1
    many = "-" in start and len(numbers) > LISTED
    return text if len(numbers) > 1 and (comes_round or many) else values


def _wordable(fields: Sequence[str]) -> bool:
    """Return True if cron-descriptor has correct words for each field.

    There are none for a step in the day of week, nor in a list for anything but numbers, names and
    ranges.
    """
    lists = [field.upper().replace("JUL", "") for field in fields if "," in field]
    return "/" not in fields[-1] and not any(set("*/#L") & set(field) for field in lists)

"""Cron field: parses one field of a cron expression strictly, and writes it for croniter."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from flowstone_core.errors import Problem, ValidationError, did_you_mean
from flowstone_core.model.safe_text import printable

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_EVERY_OCCURRENCE = range(1, 6)

_ITEM = re.compile(
    r"(?:(?P<star>\*)|(?P<low>[0-9]+|[a-z]+)(?:-(?P<high>[0-9]+|[a-z]+))?)(?:/(?P<step>[0-9]+))?"
)
_LAST_WEEKDAY = re.compile(r"l?(?P<day>[0-9]+|[a-z]{3})l?")
_NTH_WEEKDAY = re.compile(r"(?P<day>[0-9]+|[a-z]+)#(?P<nth>[0-9]+)")

# Syntax of other crons that is not supported.
_FOREIGN = (
    (re.compile(r"\?"), "write *"),
    (re.compile(r"[hr](\([^)]*\))?(/.*)?"), "write a number: H and R mean a random one elsewhere"),
    (re.compile(r"[0-9]+w|w[0-9]+|lw|wl"), "the nearest working day cannot be written"),
    (re.compile(r"[0-9]*l[0-9]*(-[0-9]+)?"), "L is the last day of a month, 5L its last Friday"),
    (re.compile(r".*#.*"), "# is for the day of week: 5#2 is the second Friday of a month"),
)


@dataclass(frozen=True, slots=True)
class ParsedField:
    """Parsed field of a cron expression.

    Attributes:
        numbers: Its numbers, in ascending order.
        special: Its items that are not numbers, as croniter has them.
        full: True if the numbers are all that there are.
        starred: True if the field started with ``*``: cron treats such a field as unrestricted,
            even ``*/2``.
    """

    numbers: tuple[int, ...]
    special: tuple[str, ...]
    full: bool
    starred: bool

    @property
    def text(self) -> str:
        """The values as a list of each of them."""
        return ",".join([*map(str, self.numbers), *self.special])

    @property
    def canonical(self) -> str:
        """The same values for croniter, as short as can be."""
        return "*" if self.full else ",".join([*_shortest(self.numbers), *self.special])


@dataclass(frozen=True, slots=True)
class Field:
    """Grammar of one field.

    Attributes:
        name: The field's name.
        low: The smallest number.
        high: The largest number.
        allowed: The allowed values, for messages.
        names: Names of the numbers, beginning with ``low``.
    """

    name: str
    low: int
    high: int
    allowed: str
    names: tuple[str, ...] = ()

    def parse(self, text: str) -> ParsedField:
        """Read the field.

        Raises:
            ValidationError: If the field is invalid; the message names the field, value and
                allowed values.
        """
        items = text.split(",")
        numbers: set[int] = set()
        special: set[str] = set()
        for item in items:
            read = self._special(item)
            if read is None:
                numbers.update(self._numbers(item))
            else:
                special.add(read)
        return self._parsed(numbers, special, starred=text.startswith("*"))

    def _parsed(self, numbers: set[int], special: set[str], *, starred: bool) -> ParsedField:
        if self is WEEKDAY:
            numbers = {number % 7 for number in numbers}
            if special:  # croniter takes no number beside a # or an L
                special |= {f"{day}#{nth}" for day in numbers for nth in _EVERY_OCCURRENCE}
                numbers = set()
        full = len(numbers) == self._span
        return ParsedField(tuple(sorted(numbers)), tuple(sorted(special)), full, starred)

    @property
    def _span(self) -> int:
        return len(self.names) or self.high - self.low + 1  # Sunday counts once

    def _special(self, item: str) -> str | None:
        """Parse ``L`` and ``#`` items into croniter's form; return None for a set of numbers."""
        small = item.lower()
        if self is DAY and small == "l":
            return "l"
        if self is not WEEKDAY or small in self.names:
            return None
        if (match := _LAST_WEEKDAY.fullmatch(small)) and small.count("l") == 1:
            return f"l{self._number(match['day'], item) % 7}"
        if match := _NTH_WEEKDAY.fullmatch(small):
            if int(match["nth"]) not in _EVERY_OCCURRENCE:
                raise self._refusal(item, "has an invalid number after #; allowed are 1-5")
            return f"{self._number(match['day'], item) % 7}#{int(match['nth'])}"
        return None

    def _numbers(self, item: str) -> Iterator[int]:
        match = _ITEM.fullmatch(item.lower())
        if not match:
            what = "is not understood" if item else "is an empty item of a list"
            raise self._refusal(item, f"{what}; allowed are {self.allowed}", _foreign(item))
        step = self._step(item, match["step"])
        if match["star"]:
            return iter(range(self.low, self.high + 1, step))
        low = self._number(match["low"], item)
        high = low
        if match["high"]:
            high = self._number(match["high"], item)
            if self is WEEKDAY and match["high"] == "sun" and low > 0:
                high = 7
        elif match["step"]:
            high = self.high
        if high < low:
            split = "" if match["step"] else self._split(match["low"], match["high"])
            why = f"runs backwards; allowed are {self.allowed}"
            raise self._refusal(item, why, split)
        return iter(range(low, high + 1, step))

    def _step(self, item: str, text: str | None) -> int:
        step = 1 if text is None else int(text)
        if not 1 <= step <= self._span:
            raise self._refusal(item, f"has the step {step}; allowed are 1-{self._span}")
        return step

    def _number(self, text: str, item: str) -> int:
        if text in self.names:
            return self.low + self.names.index(text)
        if not text.isdecimal():
            hint = did_you_mean(text, self.names) or _foreign(item)
            raise self._refusal(item, f"is not understood; allowed are {self.allowed}", hint)
        number = int(text)
        if not self.low <= number <= self.high:
            raise self._refusal(item, f"is out of range; allowed are {self.allowed}")
        return number

    def _split(self, low: str, high: str) -> str:
        """Return a hint for a range that wraps around the end of the field."""
        end, begin = str(self.high), str(self.low)
        if self is WEEKDAY:
            end, begin = ("sun", "mon") if low in self.names else ("7", "1")
        elif low in self.names:
            end, begin = self.names[-1], self.names[0]
        ranges = [(low, end), (begin, high)]
        if self is WEEKDAY and high in ("0", "sun"):
            ranges.pop()
        return "write " + ",".join(a if a == b else f"{a}-{b}" for a, b in ranges)

    def _refusal(self, item: str, why: str, hint: str = "") -> ValidationError:
        shown = printable(repr(item), 80)
        return ValidationError(
            Problem(f"invalid cron expression: {self.name} {shown} {why}", hint=hint)
        )


def _shortest(numbers: Sequence[int]) -> Iterable[str]:
    """Return a range with a step for numbers that are evenly spaced, or else each of them."""
    if len(numbers) > 2:
        low, high, step = numbers[0], numbers[-1], numbers[1] - numbers[0]
        if numbers == tuple(range(low, high + 1, step)):
            return [f"{low}-{high}" if step == 1 else f"{low}-{high}/{step}"]
    return map(str, numbers)


def _foreign(item: str) -> str:
    return next((hint for pattern, hint in _FOREIGN if pattern.fullmatch(item.lower())), "")


SECOND = Field("second", 0, 59, "0-59")
MINUTE = Field("minute", 0, 59, "0-59")
HOUR = Field("hour", 0, 23, "0-23")
DAY = Field("day of month", 1, 31, "1-31 and L")
MONTH = Field("month", 1, 12, "1-12 and jan-dec", _MONTHS)
WEEKDAY = Field("day of week", 0, 7, "0-7 and sun-sat, 5L, 5#2", _WEEKDAYS)

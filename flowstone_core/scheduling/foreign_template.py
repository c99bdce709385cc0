"""Foreign template: a partition template in the language of another tool.

``{year}-{month}`` and ``%Y-%m-%d`` are texts here: a schedule with one of them would name the same
partition at each instant.
"""

from __future__ import annotations

import re

from flowstone_core.errors import Problem, ValidationError
from flowstone_core.model.date_text import looks_like_a_date
from flowstone_core.model.near_date import near_date
from flowstone_core.model.safe_text import printable
from flowstone_core.scheduling.partition_template import TOKENS

_STRFTIME = {
    "Y": "${year}",
    "m": "${month}",
    "d": "${day}",
    "H": "${hour}",
    "M": "${minute}",
    "S": "${second}",
    "F": "${date}",
    "z": "${offset}",
}
_WORDS = {
    "yyyy": "${year}",
    "mm": "${month}",
    "dd": "${day}",
    "hh": "${hour}",
    "ds": "${date}",
    "today": "${date}",
    "now": "${instant}",
} | {name: f"${{{name}}}" for name in TOKENS}
_NAME = "|".join(sorted(_WORDS, key=len, reverse=True))

_BRACED = (
    # {year}, {{ year }}, {date:%Y}, %(year)s, <year>, [year], %Y; not ${year}, and not $${year}.
    re.compile(rf"(?<!\$)\{{+\s*(?P<name>{_NAME})\b[^{{}}]*\}}+", re.IGNORECASE),
    re.compile(rf"%\((?P<name>{_NAME})\)[sd]?", re.IGNORECASE),
    re.compile(rf"[<\[]\s*(?P<name>{_NAME})\s*[>\]]", re.IGNORECASE),
    # Not the bytes of a percent-encoded text: %d0%F0.
    re.compile(r"(?<!\d)%-?(?P<code>[YmHMSz]|[dF](?![0-9A-Fa-f]))"),
)
# YYYY-MM-DD, and names alone: date, year-month.
_LETTERS = re.compile(r"(?<![a-z$])yyyy(?=[^a-z]|mm|$)", re.IGNORECASE)
_LETTER = re.compile(r"(?P<name>yyyy|mm|dd|hh)", re.IGNORECASE)
_BARE = re.compile(
    rf"\s*(?:date|instant|today|now|ds|(?:{_NAME})(?:[-_/. T:]+(?:{_NAME}))+)\s*", re.IGNORECASE
)
_BARE_NAME = re.compile(rf"(?P<name>{_NAME})", re.IGNORECASE)


def foreign_template(text: str) -> str | None:
    """Return the template that a text means in the language of another tool; None if it is none.

    A look-alike of a token after ``$$``, which is a ``$``, is a text.

    Example:
        >>> foreign_template("orders/{year}/%m/"), foreign_template("orders/${year}/")
        ('orders/${year}/${month}/', None)
    """
    meant = text
    for form in _BRACED:
        meant = form.sub(_token, meant)
    if _LETTERS.search(meant):
        meant = _LETTER.sub(_token, meant)
    return meant if meant != text else None


def refuse_foreign(text: str) -> None:
    """Raise if a partition template is not written with tokens, and looks as if it should be.

    A text without a token, such as ``all``, is a constant and allowed.

    Raises:
        ValidationError: The hint has the template to write.
    """
    meant = foreign_template(text)
    if meant is None and _BARE.fullmatch(text):
        meant = _BARE_NAME.sub(_token, text)
    if meant is not None:
        raise ValidationError(
            Problem(
                f"invalid partition template {printable(text, 80)!r}: a token is written ${{year}}",
                hint=f"write {printable(meant, 120)}",
            )
        )
    if looks_like_a_date(text) or near_date(text) is not None:
        raise ValidationError(
            Problem(
                f"invalid partition template {printable(text, 80)!r}: one date at every instant",
                hint="write ${date} for the date of the instant",
            )
        )


def _token(match: re.Match[str]) -> str:
    parts = match.groupdict()
    code, name = parts.get("code"), parts.get("name")
    return _STRFTIME[code] if code else _WORDS[str(name).lower()]

"""What of an answer is watched for change, and what is asked of the server to that end."""

from __future__ import annotations

import hashlib
import json
import re
from datetime import datetime
from typing import TYPE_CHECKING, TypedDict

from flowstone_http.client import Condition
from flowstone_http.errors import ContentError
from flowstone_http.retry_after import read_date

if TYPE_CHECKING:
    from pydantic import JsonValue

    from flowstone_http.response import Answer

_ETAG = re.compile(r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]{0,1000}"')


class Mark(TypedDict):
    """What was watched, as it was when the sensor last fired.

    Attributes:
        by: The kind of what is watched: ``etag``, ``last_modified``, or ``value`` (a digest).
        value: What tells it from another.
        sent: The header as it came, to be sent back; None where it is not.
        source: The digest of the URL that it came from.
    """

    by: str
    value: str
    sent: str | None
    source: str


def etag_mark(answer: Answer) -> Mark:
    """Return the ETag of an answer; a weak one is the same as the strong one with its text.

    Raises:
        ContentError: If there is none.
    """
    text = answer.header("etag").strip()
    if not text:
        raise _missing("etag", "ETag")
    sent = text if _ETAG.fullmatch(text) else None
    # Long or odd ones are compared all the same.
    value = text.removeprefix("W/")
    return Mark(by="etag", value=value if sent else digest(value), sent=sent, source=answer.source)


def last_modified_mark(answer: Answer) -> Mark:
    """Return the time of modification of an answer.

    Raises:
        ContentError: If there is none that can be read.
    """
    text = answer.header("last-modified").strip()
    moment = read_date(text)
    if moment is None:
        raise _missing("last_modified", "Last-Modified")
    return Mark(by="last_modified", value=moment.isoformat(), sent=text[:100], source=answer.source)


def value_mark(value: JsonValue | bytes, answer: Answer) -> Mark:
    """Return the digest of a value."""
    return Mark(by="value", value=digest(value), sent=None, source=answer.source)


def has_changed(mark: Mark, before: Mark | None) -> bool:
    """Say whether something else is there now.

    An earlier ``Last-Modified`` than before is no change: servers behind one name differ, and
    one that lags must not make it fire again and again.
    """
    if before is None or before["by"] != mark["by"]:
        return True
    if mark["by"] == "last_modified":
        now, then = (datetime.fromisoformat(each["value"]) for each in (mark, before))
        return now > then
    return mark["value"] != before["value"]


def condition_of(mark: Mark | None, on_change: str | None) -> Condition | None:
    """Return what a request says so that the server need not send what is known."""
    if mark is None or mark["sent"] is None or mark["by"] != on_change:
        return None
    name = "if-none-match" if on_change == "etag" else "if-modified-since"
    return Condition(mark["source"], {name: mark["sent"]})


def digest(value: JsonValue | bytes) -> str:
    """Return what tells a value from another, and nothing of it."""
    if not isinstance(value, bytes):
        value = json.dumps(value, sort_keys=True).encode()
    return hashlib.sha256(value).hexdigest()[:32]


def _missing(setting: str, header: str) -> ContentError:
    return ContentError(
        f"the answer has no {header} that can be read, and on_change = {setting}",
        hint="use on_change = body, or JMESPath over what is in it",
    )

"""Validators (ETag, Last-Modified, digest): detect changes, and build conditional requests."""

from __future__ import annotations

import hashlib
import json
import re
from datetime import datetime
from typing import TYPE_CHECKING, TypedDict

from flowstone_http.client import Condition
from flowstone_http.errors import ContentError
from flowstone_http.retry_after import parse_http_date

if TYPE_CHECKING:
    from pydantic import JsonValue

    from flowstone_http.response import Response

_ETAG = re.compile(r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]{0,1000}"')


class Validator(TypedDict):
    """Validator of a response. Its keys are persisted and must not change.

    Attributes:
        by: Its kind: ``etag``, ``last_modified``, or ``value`` (a digest).
        value: The compared value.
        sent: The header to send back; None if it cannot be sent.
        source: The digest of the URL of the response.
    """

    by: str
    value: str
    sent: str | None
    source: str


def etag_validator(response: Response) -> Validator:
    """Return the ETag of a response; a weak ETag equals the strong one with its text.

    Raises:
        ContentError: If the response has no ETag.
    """
    text = response.header("etag").strip()
    if not text:
        raise _missing("etag", "ETag")
    sent = text if _ETAG.fullmatch(text) else None
    # Long or malformed ETags are compared, but not sent.
    value = text.removeprefix("W/")
    return Validator(
        by="etag", value=value if sent else digest(value), sent=sent, source=response.source
    )


def last_modified_validator(response: Response) -> Validator:
    """Return the time of modification of a response.

    Raises:
        ContentError: If the response has no valid ``Last-Modified``.
    """
    text = response.header("last-modified").strip()
    moment = parse_http_date(text)
    if moment is None:
        raise _missing("last_modified", "Last-Modified")
    return Validator(
        by="last_modified", value=moment.isoformat(), sent=text[:100], source=response.source
    )


def digest_validator(value: JsonValue | bytes, response: Response) -> Validator:
    """Return the digest of a value."""
    return Validator(by="value", value=digest(value), sent=None, source=response.source)


def has_changed(validator: Validator, before: Validator | None) -> bool:
    """Return True if the validator has changed.

    An earlier ``Last-Modified`` than before is not a change: servers behind one name differ, and
    a lagging one must not fire again and again.
    """
    if before is None or before["by"] != validator["by"]:
        return True
    if validator["by"] == "last_modified":
        now, then = (datetime.fromisoformat(each["value"]) for each in (validator, before))
        return now > then
    return validator["value"] != before["value"]


def condition_for(validator: Validator | None, on_change: str | None) -> Condition | None:
    """Return the condition under which the server need not send the body again."""
    if validator is None or validator["sent"] is None or validator["by"] != on_change:
        return None
    name = "if-none-match" if on_change == "etag" else "if-modified-since"
    return Condition(validator["source"], {name: validator["sent"]})


def digest(value: JsonValue | bytes) -> str:
    """Return the digest of a value, which reveals nothing of it."""
    if not isinstance(value, bytes):
        value = json.dumps(value, sort_keys=True).encode()
    return hashlib.sha256(value).hexdigest()[:32]


def _missing(setting: str, header: str) -> ContentError:
    return ContentError(
        f"missing or invalid {header} in the response, and on_change = {setting}",
        hint="use on_change = body, or a JMESPath over the body",
    )

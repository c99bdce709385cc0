"""What S3 tells of objects that arrived, read out of the messages that carry it.

Three envelopes are known: S3's own, which Amazon describes in "Event message structure" of the S3
User Guide; the same within one of SNS; and that of EventBridge, in "EventBridge event message
structure" there.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import unquote_plus

if TYPE_CHECKING:
    from pydantic import JsonValue

LONGEST = 4_096
"""Most characters of a text in a message; a key of S3 has 1,024 bytes, thrice that when encoded."""

_SHOWN = 80


class NoticeError(ValueError):
    """A message is not what S3 sends; its text quotes nothing of it."""


@dataclass(frozen=True, slots=True)
class Notice:
    """An object that arrived, as S3 tells of it.

    Attributes:
        key: Exactly what it was uploaded as.
        at: When, as S3 wrote it (ISO 8601); empty if it did not say.
        version: Its version; empty in a bucket without them.
        sequencer: What tells one upload of a key from another, by S3's own order; empty if it is
            not S3 that tells.
    """

    bucket: str
    key: str
    etag: str
    size: int
    at: str
    version: str = ""
    sequencer: str = ""

    @property
    def event_key(self) -> str:
        """What one upload is known by, however often, and in whatever envelope, it is told of."""
        which = self.sequencer or f"{self.etag} {self.at}"
        whole = json.dumps([self.bucket, self.key, self.version, which])
        digest = hashlib.sha256(whole.encode()).hexdigest()[:32]
        end = self.key[-_SHOWN:]
        return f"{end}@{digest}" if end.isprintable() else f"@{digest}"

    @property
    def entry(self) -> dict[str, JsonValue]:
        """The object in a payload, as `s3_file_arrival` writes it."""
        found: dict[str, JsonValue] = {
            "key": self.key,
            "etag": self.etag,
            "size": self.size,
            "last_modified": self.at,
        }
        return found | {"version_id": self.version} if self.version else found


def read_notices(body: str) -> Iterator[Notice]:
    """Read a message.

    Args:
        body: As it came from the queue.

    Yields:
        What arrived. It may be nothing: the message that S3 sends to try a queue, an object that
        was removed, and other things that S3 tells of.

    Raises:
        NoticeError: If it is not from S3, or something in it not in a form that is known here;
            at the end, when all the rest of it was yielded.
    """
    message = _object(_json(body), "the message")
    if message.get("Type") == "Notification" and isinstance(message.get("Message"), str):
        message = _object(_json(str(message["Message"])), "the message within that of SNS")
    if message.get("Event") == "s3:TestEvent":
        return
    if "Records" in message:
        yield from _plain(message["Records"])
    elif message.get("source") == "aws.s3":
        yield from _event_bridge(message)
    else:
        raise NoticeError(
            "it is no notification of S3: neither Records nor source = aws.s3 is in it"
        )


def _plain(records: JsonValue) -> Iterator[Notice]:
    if not isinstance(records, list):
        raise NoticeError("its Records are no list")
    wrong = None
    for number, item in enumerate(records, 1):
        try:
            yield from _record(item, f"record {number}")
        except NoticeError as error:
            wrong = wrong or error
    if wrong is not None:
        raise wrong


def _record(item: JsonValue, where: str) -> Iterator[Notice]:
    record = _object(item, where)
    name = _text(record, "eventName", where).removeprefix("s3:")
    # Other services of Amazon write records too, of which nobody should think they were read.
    about = _object(record.get("s3"), f"s3 of {where}")
    if not name.startswith("ObjectCreated:"):
        return
    found = _object(about.get("object"), f"the object of {where}")
    yield _notice(
        _object(about.get("bucket"), f"the bucket of {where}"),
        # Only here: a key in an event of EventBridge is as it is.
        found | {"key": _decoded(_text(found, "key", where), where)},
        at=_optional(record, "eventTime", where),
        etag=_optional(found, "eTag", where),
        version=_optional(found, "versionId", where),
    )


def _event_bridge(message: Mapping[str, JsonValue]) -> Iterator[Notice]:
    kind = _text(message, "detail-type", "the message")
    if not kind.startswith("Object "):
        raise NoticeError("it is of EventBridge, but not what S3 itself tells of an object")
    if kind != "Object Created":
        return
    detail = _object(message.get("detail"), "its detail")
    item = _object(detail.get("object"), "the object of its detail")
    yield _notice(
        _object(detail.get("bucket"), "the bucket of its detail"),
        item,
        at=_optional(message, "time", "the message"),
        etag=_optional(item, "etag", "its object"),
        version=_optional(item, "version-id", "its object"),
    )


def _notice(
    bucket: Mapping[str, JsonValue],
    item: Mapping[str, JsonValue],
    *,
    at: str,
    etag: str,
    version: str,
) -> Notice:
    size = item.get("size", 0)
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size < 2**63:
        raise NoticeError("the size of its object is no number")
    key = _text(item, "key", "its object")
    name = _text(bucket, "name", "its bucket")
    sequencer = _optional(item, "sequencer", "its object")
    return Notice(name, key, etag, size, at, version, sequencer)


def _json(text: str) -> JsonValue:
    try:
        value: JsonValue = json.loads(text)
    except (ValueError, RecursionError):
        raise NoticeError("it is no JSON") from None
    return value


def _object(value: JsonValue, what: str) -> dict[str, JsonValue]:
    if not isinstance(value, dict):
        raise NoticeError(f"{what} is no JSON object")
    return value


def _text(value: Mapping[str, JsonValue], name: str, where: str) -> str:
    found = value.get(name)
    if not isinstance(found, str) or not found:
        raise NoticeError(f"{where} has no {name}")
    if len(found) > LONGEST:
        raise NoticeError(f"the {name} of {where} is too long")
    try:
        found.encode()
    except UnicodeEncodeError:
        raise NoticeError(f"the {name} of {where} cannot be written in UTF-8") from None
    return found


def _decoded(text: str, where: str) -> str:
    try:
        return unquote_plus(text, errors="strict")
    except UnicodeDecodeError:
        raise NoticeError(f"the key of {where} is not in UTF-8") from None


def _optional(value: Mapping[str, JsonValue], name: str, where: str) -> str:
    return _text(value, name, where) if value.get(name) else ""

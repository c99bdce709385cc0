"""Parser for S3 event notifications.

Three envelopes are supported: S3's own ("Event message structure" in the S3 User Guide), the same
within an SNS notification, and EventBridge ("EventBridge event message structure" there).
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

TEXT_LIMIT = 4_096
"""Most characters of a text in a message; a key of S3 has 1,024 bytes, thrice that when encoded."""

_SHOWN = 80


class NotificationError(ValueError):
    """The message is not a valid S3 notification; the error quotes nothing of the message."""


class RecordError(NotificationError):
    """A valid record cannot be used.

    Args:
        text: The cause, with the key.
        reason: The cause, the same text for all keys.
        example: The key, with further facts.
    """

    def __init__(self, text: str, reason: str, example: str) -> None:
        super().__init__(text)
        self.reason = reason
        self.example = example


@dataclass(frozen=True, slots=True)
class ObjectNotification:
    """Notification of a created object.

    Attributes:
        key: Exactly the uploaded key.
        at: The time of the event as S3 wrote it (ISO 8601); empty if missing.
        version: The version id; empty in a bucket without versioning.
        sequencer: S3's sequencer, which tells one upload of a key from another; empty if the
            sender is not S3.
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
        """Key of the upload, the same for each delivery and each envelope."""
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


def parse_notifications(body: str) -> Iterator[ObjectNotification]:
    """Parse a message.

    Args:
        body: The body of the message.

    Yields:
        The created objects; none for S3's test event, a removed object and other event types.

    Raises:
        NotificationError: If the message is not from S3, or a record is invalid; raised at the
            end, after all valid records were yielded.
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
        raise NotificationError(
            "not an S3 notification: neither Records nor source = aws.s3 is in it"
        )


def _plain(records: JsonValue) -> Iterator[ObjectNotification]:
    if not isinstance(records, list):
        raise NotificationError("Records is not a list")
    wrong = None
    for number, item in enumerate(records, 1):
        try:
            yield from _record(item, f"record {number}")
        except NotificationError as error:
            wrong = wrong or error
    if wrong is not None:
        raise wrong


def _record(item: JsonValue, where: str) -> Iterator[ObjectNotification]:
    record = _object(item, where)
    name = _text(record, "eventName", where).removeprefix("s3:")
    # Other services of Amazon write records too; they must not pass for S3's.
    about = _object(record.get("s3"), f"s3 of {where}")
    if not name.startswith("ObjectCreated:"):
        return
    found = _object(about.get("object"), f"the object of {where}")
    yield _notification(
        _object(about.get("bucket"), f"the bucket of {where}"),
        # Only here: a key in an event of EventBridge is not URL-encoded.
        found | {"key": _decoded(_text(found, "key", where), where)},
        at=_optional(record, "eventTime", where),
        etag=_optional(found, "eTag", where),
        version=_optional(found, "versionId", where),
    )


def _event_bridge(message: Mapping[str, JsonValue]) -> Iterator[ObjectNotification]:
    kind = _text(message, "detail-type", "the message")
    if not kind.startswith("Object "):
        raise NotificationError("the EventBridge event is not an object event of S3")
    if kind != "Object Created":
        return
    detail = _object(message.get("detail"), "its detail")
    item = _object(detail.get("object"), "the object of its detail")
    yield _notification(
        _object(detail.get("bucket"), "the bucket of its detail"),
        item,
        at=_optional(message, "time", "the message"),
        etag=_optional(item, "etag", "its object"),
        version=_optional(item, "version-id", "its object"),
    )


def _notification(
    bucket: Mapping[str, JsonValue],
    item: Mapping[str, JsonValue],
    *,
    at: str,
    etag: str,
    version: str,
) -> ObjectNotification:
    size = item.get("size", 0)
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size < 2**63:
        raise NotificationError("the size of its object is not a valid number")
    key = _text(item, "key", "its object")
    name = _text(bucket, "name", "its bucket")
    sequencer = _optional(item, "sequencer", "its object")
    return ObjectNotification(name, key, etag, size, at, version, sequencer)


def _json(text: str) -> JsonValue:
    try:
        value: JsonValue = json.loads(text)
    except (ValueError, RecursionError):
        raise NotificationError("invalid JSON") from None
    return value


def _object(value: JsonValue, what: str) -> dict[str, JsonValue]:
    if not isinstance(value, dict):
        raise NotificationError(f"{what} is not a JSON object")
    return value


def _text(value: Mapping[str, JsonValue], name: str, where: str) -> str:
    found = value.get(name)
    if not isinstance(found, str) or not found:
        raise NotificationError(f"{where} has no {name}")
    if len(found) > TEXT_LIMIT:
        raise NotificationError(f"the {name} of {where} is too long")
    try:
        found.encode()
    except UnicodeEncodeError:
        raise NotificationError(f"the {name} of {where} cannot be written in UTF-8") from None
    return found


def _decoded(text: str, where: str) -> str:
    try:
        return unquote_plus(text, errors="strict")
    except UnicodeDecodeError:
        raise NotificationError(f"the key of {where} is not in UTF-8") from None


def _optional(value: Mapping[str, JsonValue], name: str, where: str) -> str:
    return _text(value, name, where) if value.get(name) else ""

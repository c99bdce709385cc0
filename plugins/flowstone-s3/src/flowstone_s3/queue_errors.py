"""What can go wrong with SQS, said so that a person knows what to do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flowstone_s3.errors import CredentialsError, Place, S3Error, S3UnavailableError, explain

if TYPE_CHECKING:
    from botocore.exceptions import ClientError


@dataclass(frozen=True, slots=True)
class QueuePlace(Place):
    """Where a queue is looked for; ``bucket`` is its URL."""

    def __str__(self) -> str:
        return f"queue {self.bucket!r}"


_RIGHTS = (
    "they need sqs:ReceiveMessage, sqs:DeleteMessage, sqs:ChangeMessageVisibility and "
    "sqs:GetQueueAttributes on it (on rejects_queue_url sqs:SendMessage), and kms:Decrypt if it "
    "is encrypted by a key of your own"
)
_DENIED = (
    CredentialsError,
    "access denied: the credentials may not use {place}",
    _RIGHTS,
)
_NO_QUEUE = (
    S3Error,
    "there is no such queue: {place}",
    "check queue_url, region and endpoint_url; polls go on, and succeed once it is there",
)
_OVERLOADED = (
    S3UnavailableError,
    "SQS asks for fewer requests: {place}",
    "polls go on with longer pauses; if it stays, poll less often",
)
_BY_CODE: Mapping[str, tuple[type[S3Error], str, str]] = {
    "AccessDenied": _DENIED,
    "AccessDeniedException": _DENIED,
    "KmsAccessDenied": _DENIED,
    "AWS.SimpleQueueService.NonExistentQueue": _NO_QUEUE,
    "QueueDoesNotExist": _NO_QUEUE,
    "InvalidAddress": _NO_QUEUE,
    "RequestThrottled": _OVERLOADED,
    "ThrottlingException": _OVERLOADED,
    "OverLimit": (
        S3UnavailableError,
        "too many messages of it are being read at once: {place}",
        "SQS allows 120,000; other readers may not delete what they have read",
    ),
}


def explain_queue(error: Exception, place: QueuePlace) -> S3Error:
    """Say what an exception of botocore means for a queue.

    Args:
        error: What botocore raised.
        place: Where the queue was looked for.

    Returns:
        The error to raise instead.
    """
    from botocore.exceptions import ClientError

    if isinstance(error, ClientError):
        code = error.response["Error"].get("Code", "")
        known = _BY_CODE.get(code.removeprefix("com.amazonaws.sqs#"))
        if known is not None:
            kind, message, hint = known
            return kind(message.format(place=place), hint=hint, queue=place.bucket, code=code)
        return _unknown(error, place, code)
    return explain(error, place)


def _unknown(error: ClientError, place: QueuePlace, code: str) -> S3Error:
    status = error.response["ResponseMetadata"]["HTTPStatusCode"]
    found = explain(error, place)
    # What is said of a bucket there, by its status alone, is not meant for a queue.
    if type(found) is S3Error and "S3" in str(found):
        text = error.response["Error"].get("Message", "")
        return S3Error(f"SQS refused: {place}: {code} {text!r:.300}", code=code, status=status)
    return found

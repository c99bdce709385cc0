"""Errors of an SQS queue: the table that translates botocore's exceptions into an `S3Error`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from flowstone_s3.errors import (
    CLOCK_SKEW,
    SHARED_CODES,
    SHARED_EXCEPTIONS,
    WRONG_SECRET,
    BucketLocation,
    CredentialsError,
    FailureKind,
    FailureTable,
    S3Error,
    S3UnavailableError,
)

if TYPE_CHECKING:
    from botocore.exceptions import ClientError


@dataclass(frozen=True, slots=True)
class QueueLocation(BucketLocation):
    """The location of a queue, for error messages; ``bucket`` is the queue's URL."""

    def __str__(self) -> str:
        return f"queue {self.bucket!r}"

    def facts(self) -> dict[str, str]:
        """Return the facts that every error about this queue carries."""
        return {"queue": self.bucket}


_DENIED = FailureKind(
    CredentialsError,
    "access denied: the credentials may not use {location}",
    "grant sqs:ReceiveMessage, sqs:DeleteMessage, sqs:ChangeMessageVisibility and "
    "sqs:GetQueueAttributes (on rejects_queue_url sqs:SendMessage and sqs:GetQueueAttributes), "
    "and kms:Decrypt for a queue encrypted with a customer key (to send, kms:GenerateDataKey)",
)
_UNKNOWN_KEY = FailureKind(
    CredentialsError,
    "unknown access key or session token: {location}",
    "check access_key and session_token, or the profile or environment that they come from",
)
_NO_QUEUE = FailureKind(
    S3Error,
    "queue not found: {location}",
    "check its URL, region and endpoint_url; polls go on, and succeed once the queue exists",
)
_NO_REGION = FailureKind(
    S3Error,
    "region is not set, and the URL names none: {location}",
    "set region",
)
_NOT_SQS = FailureKind(
    S3Error,
    "the endpoint does not speak the SQS protocol: {location}",
    "check endpoint_url; a proxy or a web page may be responding in its place",
)
_THROTTLED = FailureKind(
    S3UnavailableError,
    "SQS throttles requests: {location}",
    "polls go on with longer pauses; if this persists, poll less often",
)
_FAILING = FailureKind(
    S3UnavailableError,
    "SQS, or a proxy before it, fails or is overloaded: {location}",
    "polls go on; if this persists, check endpoint_url",
)
_OVER_LIMIT = FailureKind(
    S3UnavailableError,
    "too many messages in flight: {location}",
    "SQS allows 120,000; check that other consumers delete the messages that they receive",
)


def _refine(kind: FailureKind, error: ClientError, _: BucketLocation) -> FailureKind:
    # A signature of another time has no code.
    text = error.response["Error"].get("Message", "")
    return CLOCK_SKEW if text.startswith("Signature ") else kind


_SQS = FailureTable(
    "SQS",
    by_code={
        **SHARED_CODES,
        "AccessDenied": _DENIED,
        "AccessDeniedException": _DENIED,
        "KmsAccessDenied": _DENIED,
        "InvalidClientTokenId": _UNKNOWN_KEY,
        "UnrecognizedClientException": _UNKNOWN_KEY,
        "InvalidSignatureException": WRONG_SECRET,
        "AWS.SimpleQueueService.NonExistentQueue": _NO_QUEUE,
        "QueueDoesNotExist": _NO_QUEUE,
        "InvalidAddress": _NO_QUEUE,
        "RequestThrottled": _THROTTLED,
        "ThrottlingException": _THROTTLED,
        "OverLimit": _OVER_LIMIT,
    },
    by_status={401: _DENIED, 403: _DENIED, 429: _THROTTLED},
    by_exception={
        **SHARED_EXCEPTIONS,
        "NoRegionError": _NO_REGION,
        "ResponseParserError": _NOT_SQS,
    },
    overloaded=_FAILING,
    failing=_FAILING,
    foreign=_NOT_SQS,
    refine=_refine,
)
translate_queue_error = _SQS.translate


def not_sqs(location: QueueLocation) -> S3Error:
    """Return the error for a response that is not of SQS."""
    return _NOT_SQS.at(location)

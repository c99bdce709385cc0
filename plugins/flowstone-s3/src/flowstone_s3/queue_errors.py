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


_Kind = tuple[type[S3Error], str, str]

_DENIED: _Kind = (
    CredentialsError,
    "access denied: the credentials may not use {place}",
    (
        "they need sqs:ReceiveMessage, sqs:DeleteMessage, sqs:ChangeMessageVisibility and "
        "sqs:GetQueueAttributes on it (on rejects_queue_url sqs:SendMessage and "
        "sqs:GetQueueAttributes), and kms:Decrypt if it is encrypted by a key of your own (to "
        "send, kms:GenerateDataKey)"
    ),
)
_UNKNOWN_KEY: _Kind = (
    CredentialsError,
    "the access key, or its session token, is not known: {place}",
    "check access_key and session_token, or the profile or environment that they come from",
)
_CLOCK: _Kind = (
    S3Error,
    "the clock of this machine differs too much from the server's: {place}",
    "set the clock, for example by NTP",
)
_NO_QUEUE: _Kind = (
    S3Error,
    "there is no such queue: {place}",
    "check its URL, region and endpoint_url; polls go on, and succeed once it is there",
)
_NO_REGION: _Kind = (
    S3Error,
    "no region is set, and the URL names none: {place}",
    "set region",
)
_NOT_SQS: _Kind = (
    S3Error,
    "what answers does not speak the protocol of SQS: {place}",
    "check endpoint_url; a proxy or a web page may be answering in its place",
)
_THROTTLED: _Kind = (
    S3UnavailableError,
    "SQS asks for fewer requests: {place}",
    "polls go on with longer pauses; if it stays, poll less often",
)
_FAILING: _Kind = (
    S3UnavailableError,
    "SQS, or a proxy before it, fails or is overloaded: {place}",
    "polls go on; if it stays, check endpoint_url",
)
_BY_CODE: Mapping[str, _Kind] = {
    "AccessDenied": _DENIED,
    "AccessDeniedException": _DENIED,
    "KmsAccessDenied": _DENIED,
    "InvalidClientTokenId": _UNKNOWN_KEY,
    "UnrecognizedClientException": _UNKNOWN_KEY,
    "InvalidSignatureException": (
        CredentialsError,
        "the secret key does not belong to the access key: {place}",
        "check secret_key, or the profile or environment that it comes from",
    ),
    "AWS.SimpleQueueService.NonExistentQueue": _NO_QUEUE,
    "QueueDoesNotExist": _NO_QUEUE,
    "InvalidAddress": _NO_QUEUE,
    "RequestThrottled": _THROTTLED,
    "ThrottlingException": _THROTTLED,
    "OverLimit": (
        S3UnavailableError,
        "too many messages of it are being read at once: {place}",
        "SQS allows 120,000; other readers may not delete what they have read",
    ),
}
# What they say of a bucket is as true of a queue.
_SHARED = {"ExpiredToken", "ExpiredTokenException", "InvalidToken", "SignatureDoesNotMatch"}
_BY_EXCEPTION: Mapping[str, _Kind] = {
    "NoRegionError": _NO_REGION,
    "ResponseParserError": _NOT_SQS,
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
        return _explain_answer(error, place)
    for ancestor in type(error).__mro__:
        if ancestor.__name__ in _BY_EXCEPTION:
            return _fill(_BY_EXCEPTION[ancestor.__name__], place)
    return explain(error, place)


def not_sqs(place: QueuePlace) -> S3Error:
    """Return the error of an answer that is none of SQS's."""
    return _fill(_NOT_SQS, place)


def _explain_answer(error: ClientError, place: QueuePlace) -> S3Error:
    answer = error.response["Error"]
    status = error.response["ResponseMetadata"]["HTTPStatusCode"]
    code = (answer.get("Code") or str(status)).removeprefix("com.amazonaws.sqs#")
    text = answer.get("Message", "")
    # A signature of another time has no code of its own.
    if text.startswith("Signature ") or code == "RequestExpired":
        return _fill(_CLOCK, place, code=code)
    if code in _SHARED:
        return explain(error, place)
    kind = _BY_CODE.get(code) or _by_status(status, code)
    if kind is not None:
        return _fill(kind, place, code=code)
    message = f"SQS refused: {place}: {code} {text!r:.300}"
    return S3Error(message, queue=place.bucket, code=code, status=status)


def _by_status(status: int, code: str) -> _Kind | None:
    if status in {401, 403}:
        return _DENIED
    if status >= 500:
        return _FAILING
    if status == 429:
        return _THROTTLED
    # botocore gives the status as the code where the body has none, so it is none of SQS's.
    return _NOT_SQS if code.isdigit() else None


def _fill(kind: _Kind, place: QueuePlace, **facts: object) -> S3Error:
    error, message, hint = kind
    return error(message.format(place=place), hint=hint, queue=place.bucket, **facts)

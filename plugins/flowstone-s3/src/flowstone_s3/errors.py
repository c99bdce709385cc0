"""What can go wrong with S3, said so that a person knows what to do.

botocore's own texts name the operation, not the remedy. `explain` turns each of its exceptions
into an `S3Error` that says what was wrong, where, and what to do. No text of it holds a key or a
token: of what the server says only its code and, for what is not known here, its message is used.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from flowstone_core import FlowstoneError

if TYPE_CHECKING:
    from botocore.exceptions import ClientError


class S3Error(FlowstoneError):
    """A listing failed; nothing of it was kept, and the next poll tries again."""


class S3UnavailableError(S3Error):
    """The endpoint cannot be reached, is overloaded or too slow at the moment."""

    retryable = True


class CredentialsError(S3Error):
    """The credentials are missing, wrong, expired, or not allowed to list the bucket."""


class PartitionError(FlowstoneError):
    """No partition could be found for some of the new objects."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a bucket is looked for, for error texts."""

    bucket: str
    endpoint: str | None = None
    region: str | None = None
    owner: str | None = None

    def __str__(self) -> str:
        return f"bucket {self.bucket!r} at {self.endpoint or 'Amazon S3'}"


@dataclass(frozen=True, slots=True)
class _Kind:
    """What one kind of failure means; ``{place}`` and ``{region}`` are filled in."""

    error: type[S3Error]
    message: str
    hint: str


_NO_BUCKET = _Kind(
    S3Error,
    "there is no such bucket: {place}",
    "check bucket and endpoint_url; polls go on, and succeed once the bucket is there",
)
_DENIED = _Kind(
    CredentialsError,
    "access denied: the credentials may not list {place}",
    "they need s3:ListBucket on the bucket, for the prefix that is watched, and requester_pays = "
    "true if it makes those pay who ask",
)
_UNKNOWN_KEY = _Kind(
    CredentialsError,
    "the access key is not known: {place}",
    "check access_key, or the profile or environment that it comes from",
)
_WRONG_SECRET = _Kind(
    CredentialsError,
    "the secret key does not belong to the access key: {place}",
    "check secret_key, or the profile or environment that it comes from",
)
_EXPIRED = _Kind(
    CredentialsError,
    "the credentials have expired: {place}",
    "renew them; the next poll reads the profile or environment again, without a restart",
)
_BAD_TOKEN = _Kind(
    CredentialsError,
    "the session token is not valid: {place}",
    "check session_token, or sign in again; the next poll reads a profile again",
)
_SKEW = _Kind(
    S3Error,
    "the clock of this machine differs too much from the server's: {place}",
    "set the clock, for example by NTP",
)
_REGION = _Kind(
    S3Error,
    "the bucket is in another region than {region}: {place}",
    "set region to the bucket's own",
)
_FAILING = _Kind(
    S3UnavailableError,
    "the endpoint, or a proxy before it, fails: {place}",
    "polls go on; if it stays, check endpoint_url",
)
_NOT_S3 = _Kind(
    S3Error,
    "what answers does not speak the S3 protocol: {place}",
    "check endpoint_url; a proxy or a web page may be answering in its place",
)
_OVERLOADED = _Kind(
    S3UnavailableError,
    "S3 is overloaded or has an inner error: {place}",
    "polls go on with longer pauses; if it stays, poll less often or watch a narrower prefix",
)

_BY_CODE: Mapping[str, _Kind] = {
    "NoSuchBucket": _NO_BUCKET,
    "AccessDenied": _DENIED,
    "AllAccessDisabled": _DENIED,
    "AccountProblem": _DENIED,
    "InvalidAccessKeyId": _UNKNOWN_KEY,
    "SignatureDoesNotMatch": _WRONG_SECRET,
    "ExpiredToken": _EXPIRED,
    "ExpiredTokenException": _EXPIRED,
    "TokenRefreshRequired": _EXPIRED,
    "InvalidToken": _BAD_TOKEN,
    "RequestTimeTooSkewed": _SKEW,
    "RequestExpired": _SKEW,
    "PermanentRedirect": _REGION,
    "TemporaryRedirect": _REGION,
    "AuthorizationHeaderMalformed": _REGION,
    "IllegalLocationConstraintException": _REGION,
    "SlowDown": _OVERLOADED,
}
_BY_STATUS: Mapping[int, _Kind] = {301: _REGION, 307: _REGION, 403: _DENIED, 429: _OVERLOADED}

# By the name of the exception's class or one it derives from, the most special first: comparing
# names keeps botocore, which takes half a second to import, out of this module.
_BY_EXCEPTION: Mapping[str, _Kind] = {
    "NoCredentialsError": _Kind(
        CredentialsError,
        "no credentials were found: {place}",
        "set access_key and secret_key, or profile, or AWS_ACCESS_KEY_ID and "
        "AWS_SECRET_ACCESS_KEY in the environment",
    ),
    "PartialCredentialsError": _Kind(
        CredentialsError,
        "the credentials are incomplete: {place}",
        "an access key and its secret key go together",
    ),
    "ProfileNotFound": _Kind(
        CredentialsError,
        "the profile is not in the AWS configuration of this machine: {place}",
        "check profile against ~/.aws/config and ~/.aws/credentials of this user",
    ),
    "CredentialRetrievalError": _EXPIRED,
    "TokenRetrievalError": _EXPIRED,
    "SSOTokenLoadError": _EXPIRED,
    "UnauthorizedSSOTokenError": _EXPIRED,
    "SSLError": _Kind(
        S3Error,
        "no trusted connection could be made: {place}",
        "the certificate of endpoint_url is not trusted here; AWS_CA_BUNDLE names a file of more",
    ),
    "ConnectTimeoutError": _Kind(
        S3UnavailableError,
        "the endpoint did not accept a connection in time: {place}",
        "check endpoint_url, region and the network between, such as a firewall or a proxy",
    ),
    "ReadTimeoutError": _Kind(
        S3UnavailableError,
        "the endpoint did not answer in time: {place}",
        "polls go on; raise timeout if the endpoint is merely slow",
    ),
    "ConnectionError": _Kind(
        S3UnavailableError,
        "the endpoint cannot be reached: {place}",
        "check endpoint_url, region and the network between, such as a firewall or a proxy",
    ),
    "HTTPClientError": _Kind(
        S3UnavailableError,
        "the connection broke off: {place}",
        "polls go on",
    ),
    "ResponseParserError": _NOT_S3,
}


def explain(error: Exception, place: Place) -> S3Error:
    """Say what an exception of botocore means.

    Args:
        error: What botocore raised.
        place: Where the bucket was looked for.

    Returns:
        The error to raise instead.
    """
    from botocore.exceptions import ClientError

    if isinstance(error, ClientError):
        return _explain_answer(error, place)
    for ancestor in type(error).__mro__:
        if ancestor.__name__ in _BY_EXCEPTION:
            return _fill(_BY_EXCEPTION[ancestor.__name__], place)
    return S3Error(f"listing failed: {place}: {error}", bucket=place.bucket)


def not_s3(place: Place) -> S3Error:
    """Return the error of an answer that is no listing."""
    return _fill(_NOT_S3, place)


def _explain_answer(error: ClientError, place: Place) -> S3Error:
    answer, metadata = error.response["Error"], error.response["ResponseMetadata"]
    status = metadata["HTTPStatusCode"]
    code = answer.get("Code") or str(status)
    kind = _BY_CODE.get(code) or _BY_STATUS.get(status)
    if kind is None:
        # botocore gives the status as the code where the body has none, so it is none of S3's.
        foreign = code.isdigit()
        if status >= 500:
            kind = _FAILING if foreign else _OVERLOADED
        elif foreign:
            kind = _NOT_S3
        else:
            message = f"S3 refused the listing: {place}: {code} {answer.get('Message', '')!r:.300}"
            return S3Error(message, bucket=place.bucket, code=code, status=status)
    region = metadata.get("HTTPHeaders", {}).get("x-amz-bucket-region")
    hint = f"set region = {region}" if kind is _REGION and region else kind.hint
    if kind is _DENIED and place.owner is not None:
        hint += f"; and the bucket must belong to the account {place.owner}, see expected_owner"
    return _fill(replace(kind, hint=hint), place, code=code, status=status)


def _fill(kind: _Kind, place: Place, **facts: object) -> S3Error:
    message = kind.message.format(place=place, region=place.region or "the default one")
    return kind.error(message, hint=kind.hint, bucket=place.bucket, **facts)

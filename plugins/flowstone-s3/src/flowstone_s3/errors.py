"""Errors of the S3 plugin, and the table that translates botocore's exceptions into them.

botocore's own texts name the operation, not the remedy. `translate_error` returns an `S3Error` that
names the failure, the bucket and the remedy. No text of an `S3Error` holds a key or a token: of the
server's response only the error code and, where the code is unknown, the message are quoted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from flowstone_core import FlowstoneError

if TYPE_CHECKING:
    from botocore.exceptions import ClientError


class S3Error(FlowstoneError):
    """A request to S3 or SQS failed; the state is unchanged, and the next poll tries again."""


class S3UnavailableError(S3Error):
    """The endpoint is unreachable, overloaded or too slow at the moment."""

    retryable = True


class CredentialsError(S3Error):
    """The credentials are missing, invalid, expired, or lack a permission."""


class PartitionError(FlowstoneError):
    """Some of the new objects have no partition."""


@dataclass(frozen=True, slots=True)
class BucketLocation:
    """The location of a bucket, for error messages."""

    bucket: str
    endpoint: str | None = None
    region: str | None = None
    owner: str | None = None

    def __str__(self) -> str:
        return f"bucket {self.bucket!r} at {self.endpoint or 'Amazon S3'}"

    def facts(self) -> dict[str, str]:
        """Return the facts that every error about this location carries."""
        return {"bucket": self.bucket}


@dataclass(frozen=True, slots=True)
class FailureKind:
    """The error class, message and hint of one kind of failure.

    ``{location}`` and ``{region}`` in the message are filled in.
    """

    error: type[S3Error]
    message: str
    hint: str

    def at(self, location: BucketLocation, **facts: object) -> S3Error:
        """Return the error to raise for a location."""
        region = location.region or "the default one"
        message = self.message.format(location=location, region=region)
        return self.error(message, hint=self.hint, **location.facts(), **facts)


Refine = Callable[[FailureKind, "ClientError", BucketLocation], FailureKind]


@dataclass(frozen=True, slots=True)
class FailureTable:
    """The kinds of failure of one service.

    Attributes:
        service: Its name, for the message of an unknown error code.
        by_code: Kinds by the error code of the service.
        by_status: Kinds by HTTP status, for unknown codes.
        by_exception: Kinds by the class name of a botocore exception, or of one of its bases.
            Comparing names keeps botocore, which takes half a second to import, out of here.
        overloaded: The kind of an unknown 5xx with a code of the service.
        failing: The kind of a 5xx without one, such as a proxy's.
        foreign: The kind of any other response without a code of the service.
        refine: Adjusts a kind to the response.
    """

    service: str
    by_code: Mapping[str, FailureKind]
    by_status: Mapping[int, FailureKind]
    by_exception: Mapping[str, FailureKind]
    overloaded: FailureKind
    failing: FailureKind
    foreign: FailureKind
    refine: Refine

    def translate(self, error: Exception, location: BucketLocation) -> S3Error:
        """Return the error to raise instead of a botocore exception.

        Args:
            error: The exception of botocore.
            location: The bucket or queue of the failed request.
        """
        from botocore.exceptions import ClientError

        if isinstance(error, ClientError):
            return self._translate_response(error, location)
        for ancestor in type(error).__mro__:
            if ancestor.__name__ in self.by_exception:
                return self.by_exception[ancestor.__name__].at(location)
        return S3Error(f"{self.service} request failed: {location}: {error}", **location.facts())

    def _translate_response(self, error: ClientError, location: BucketLocation) -> S3Error:
        answer, status = (
            error.response["Error"],
            error.response["ResponseMetadata"]["HTTPStatusCode"],
        )
        code = (answer.get("Code") or str(status)).removeprefix("com.amazonaws.sqs#")
        kind = self.by_code.get(code) or self.by_status.get(status) or self._unknown(code, status)
        if kind is not None:
            return self.refine(kind, error, location).at(location, code=code, status=status)
        return S3Error(
            f"{self.service} refused the request: {location}: "
            f"{code} {answer.get('Message', '')!r:.300}",
            **location.facts(),
            code=code,
            status=status,
        )

    def _unknown(self, code: str, status: int) -> FailureKind | None:
        # botocore gives the status as the code where the body has none.
        foreign = code.isdigit()
        if status >= 500:
            return self.failing if foreign else self.overloaded
        return self.foreign if foreign else None


WRONG_SECRET = FailureKind(
    CredentialsError,
    "the secret key does not belong to the access key: {location}",
    "check secret_key, or the profile or environment that it comes from",
)
EXPIRED = FailureKind(
    CredentialsError,
    "the credentials have expired: {location}",
    "renew them; the next poll reads the profile or environment again, without a restart",
)
INVALID_TOKEN = FailureKind(
    CredentialsError,
    "invalid session token: {location}",
    "check session_token, or sign in again; the next poll reads a profile again",
)
CLOCK_SKEW = FailureKind(
    S3Error,
    "the clock of this machine differs too much from the server's: {location}",
    "set the clock, for example by NTP",
)
_NO_BUCKET = FailureKind(
    S3Error,
    "bucket not found: {location}",
    "check bucket and endpoint_url; polls go on, and succeed once the bucket exists",
)
_DENIED = FailureKind(
    CredentialsError,
    "access denied: the credentials may not list {location}",
    "grant s3:ListBucket on the bucket for the watched prefix, and set requester_pays = true for "
    "a bucket whose requesters pay",
)
_UNKNOWN_KEY = FailureKind(
    CredentialsError,
    "unknown access key: {location}",
    "check access_key, or the profile or environment that it comes from",
)
_REGION = FailureKind(
    S3Error,
    "the bucket is in another region than {region}: {location}",
    "set region to the bucket's region",
)
_FAILING = FailureKind(
    S3UnavailableError,
    "the endpoint, or a proxy before it, fails: {location}",
    "polls go on; if this persists, check endpoint_url",
)
_NOT_S3 = FailureKind(
    S3Error,
    "the endpoint does not speak the S3 protocol: {location}",
    "check endpoint_url; a proxy or a web page may be responding in its place",
)
_OVERLOADED = FailureKind(
    S3UnavailableError,
    "S3 is overloaded or has an internal error: {location}",
    "polls go on with longer pauses; if this persists, poll less often or watch a narrower prefix",
)

SHARED_CODES: Mapping[str, FailureKind] = {
    "SignatureDoesNotMatch": WRONG_SECRET,
    "ExpiredToken": EXPIRED,
    "ExpiredTokenException": EXPIRED,
    "InvalidToken": INVALID_TOKEN,
    "RequestExpired": CLOCK_SKEW,
}
"""Codes that S3 and SQS share."""

SHARED_EXCEPTIONS: Mapping[str, FailureKind] = {
    "NoCredentialsError": FailureKind(
        CredentialsError,
        "no credentials found: {location}",
        "set access_key and secret_key, or profile, or AWS_ACCESS_KEY_ID and "
        "AWS_SECRET_ACCESS_KEY in the environment",
    ),
    "PartialCredentialsError": FailureKind(
        CredentialsError,
        "incomplete credentials: {location}",
        "set both the access key and its secret key",
    ),
    "ProfileNotFound": FailureKind(
        CredentialsError,
        "profile not found in the AWS configuration of this machine: {location}",
        "check profile against ~/.aws/config and ~/.aws/credentials of this user",
    ),
    "CredentialRetrievalError": EXPIRED,
    "TokenRetrievalError": EXPIRED,
    "SSOTokenLoadError": EXPIRED,
    "UnauthorizedSSOTokenError": EXPIRED,
    "SSLError": FailureKind(
        S3Error,
        "the certificate of the endpoint is not trusted: {location}",
        "check endpoint_url, or name a file of further certificates in AWS_CA_BUNDLE",
    ),
    "ConnectTimeoutError": FailureKind(
        S3UnavailableError,
        "the endpoint did not accept a connection in time: {location}",
        "check endpoint_url, region and the network between, such as a firewall or a proxy",
    ),
    "ReadTimeoutError": FailureKind(
        S3UnavailableError,
        "the endpoint did not respond in time: {location}",
        "polls go on; raise timeout if the endpoint is merely slow",
    ),
    "ConnectionError": FailureKind(
        S3UnavailableError,
        "the endpoint cannot be reached: {location}",
        "check endpoint_url, region and the network between, such as a firewall or a proxy",
    ),
    "HTTPClientError": FailureKind(
        S3UnavailableError, "the connection broke off: {location}", "polls go on"
    ),
}
"""Exceptions of botocore that mean the same for S3 and SQS."""


def _refine(kind: FailureKind, error: ClientError, location: BucketLocation) -> FailureKind:
    headers = error.response["ResponseMetadata"].get("HTTPHeaders", {})
    region = headers.get("x-amz-bucket-region")
    if kind is _REGION and region:
        return replace(kind, hint=f"set region = {region}")
    if kind is _DENIED and location.owner is not None:
        owned = f"; and the bucket must belong to the account {location.owner}, see expected_owner"
        return replace(kind, hint=kind.hint + owned)
    return kind


_S3 = FailureTable(
    "S3",
    by_code={
        **SHARED_CODES,
        "NoSuchBucket": _NO_BUCKET,
        "AccessDenied": _DENIED,
        "AllAccessDisabled": _DENIED,
        "AccountProblem": _DENIED,
        "InvalidAccessKeyId": _UNKNOWN_KEY,
        "TokenRefreshRequired": EXPIRED,
        "RequestTimeTooSkewed": CLOCK_SKEW,
        "PermanentRedirect": _REGION,
        "TemporaryRedirect": _REGION,
        "AuthorizationHeaderMalformed": _REGION,
        "IllegalLocationConstraintException": _REGION,
        "SlowDown": _OVERLOADED,
    },
    by_status={301: _REGION, 307: _REGION, 403: _DENIED, 429: _OVERLOADED},
    by_exception={**SHARED_EXCEPTIONS, "ResponseParserError": _NOT_S3},
    overloaded=_OVERLOADED,
    failing=_FAILING,
    foreign=_NOT_S3,
    refine=_refine,
)
translate_error = _S3.translate


def not_s3(location: BucketLocation) -> S3Error:
    """Return the error for a response that is not a listing."""
    return _NOT_S3.at(location)

"""Each failure of botocore, by its real exception; those over HTTP are in test_bucket."""

from __future__ import annotations

import pytest
from botocore import exceptions
from botocore.exceptions import ClientError
from botocore.parsers import ResponseParserError
from flowstone_s3.errors import (
    BucketLocation,
    CredentialsError,
    S3Error,
    S3UnavailableError,
    translate_error,
)

PLACE = BucketLocation("shop", "http://minio:9000", "eu-west-1")


def answer(code: str, status: int) -> ClientError:
    return ClientError(
        {
            "Error": {"Code": code, "Message": "said by the server"},
            "ResponseMetadata": {"HTTPStatusCode": status},
        },
        "ListObjectsV2",
    )


@pytest.mark.parametrize(
    ("code", "status", "kind", "message"),
    [
        ("NoSuchBucket", 404, S3Error, "bucket not found"),
        ("AccessDenied", 403, CredentialsError, "access denied"),
        ("403", 403, CredentialsError, "access denied"),
        ("InvalidAccessKeyId", 403, CredentialsError, "unknown access key"),
        ("SignatureDoesNotMatch", 403, CredentialsError, "secret key does not belong"),
        ("ExpiredToken", 400, CredentialsError, "credentials have expired"),
        ("InvalidToken", 400, CredentialsError, "invalid session token"),
        ("RequestTimeTooSkewed", 403, S3Error, "the clock of this machine"),
        ("PermanentRedirect", 301, S3Error, "another region than eu-west-1"),
        ("AuthorizationHeaderMalformed", 400, S3Error, "another region than eu-west-1"),
        ("301", 301, S3Error, "another region than eu-west-1"),
        ("SlowDown", 503, S3UnavailableError, "overloaded"),
        ("InternalError", 500, S3UnavailableError, "overloaded"),
        ("502", 502, S3UnavailableError, "or a proxy before it, fails"),
        ("404", 404, S3Error, "does not speak the S3 protocol"),
        ("TooManyRequests", 429, S3UnavailableError, "overloaded"),
        ("Odd", 418, S3Error, "S3 refused the request"),
    ],
)
def test_error_response_is_translated(
    code: str, status: int, kind: type[S3Error], message: str
) -> None:
    found = translate_error(answer(code, status), PLACE)
    assert type(found) is kind
    assert message in str(found)
    assert "bucket 'shop' at http://minio:9000" in str(found)
    assert found.retryable == (kind is S3UnavailableError)
    assert found.context == {"bucket": "shop", "code": code, "status": status}
    assert bool(found.hint) == (code != "Odd")
    assert ("Odd 'said by the server'" in str(found)) == (code == "Odd")


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (exceptions.NoCredentialsError(), CredentialsError, "no credentials found"),
        (
            exceptions.PartialCredentialsError(provider="env", cred_var="x"),
            CredentialsError,
            "incomplete",
        ),
        (exceptions.ProfileNotFound(profile="x"), CredentialsError, "profile not found in"),
        (
            exceptions.CredentialRetrievalError(provider="process", error_msg="s3cret"),
            CredentialsError,
            "expired",
        ),
        (exceptions.UnauthorizedSSOTokenError(), CredentialsError, "expired"),
        (
            exceptions.SSLError(endpoint_url="x", error="y"),
            S3Error,
            "certificate of the endpoint is not trusted",
        ),
        (
            exceptions.ConnectTimeoutError(endpoint_url="x", error="y"),
            S3UnavailableError,
            "did not accept a connection in time",
        ),
        (
            exceptions.ReadTimeoutError(endpoint_url="x", error="y"),
            S3UnavailableError,
            "did not respond in time",
        ),
        (
            exceptions.EndpointConnectionError(endpoint_url="x", error="y"),
            S3UnavailableError,
            "cannot be reached",
        ),
        (
            exceptions.ProxyConnectionError(proxy_url="http://u:s3cret@x", error="y"),
            S3UnavailableError,
            "cannot be reached",
        ),
        (
            exceptions.ConnectionClosedError(endpoint_url="x", error="y"),
            S3UnavailableError,
            "broke off",
        ),
        (ResponseParserError("s3cret"), S3Error, "does not speak the S3 protocol"),
        (exceptions.PaginationError(message="same token twice"), S3Error, "same token twice"),
    ],
)
def test_error_of_botocore_is_translated(
    error: Exception, kind: type[S3Error], message: str
) -> None:
    found = translate_error(error, PLACE)
    assert type(found) is kind
    assert message in str(found)
    assert "bucket 'shop' at http://minio:9000" in str(found)
    assert found.context == {"bucket": "shop"}
    assert "s3cret" not in str(found)


def test_error_without_endpoint_names_amazon() -> None:
    text = str(translate_error(answer("PermanentRedirect", 301), BucketLocation("shop")))
    assert "another region than the default one: bucket 'shop' at Amazon S3" in text

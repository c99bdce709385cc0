from __future__ import annotations

import socket
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from flowstone_s3 import S3FileArrival
from flowstone_s3.bucket import ATTEMPTS, Bucket
from flowstone_s3.config import S3FileArrivalConfig
from flowstone_s3.errors import CredentialsError, S3Error, S3UnavailableError
from flowstone_s3.listing import S3Object

from flowstone_core import PollContext

ODD_KEYS = [
    " leading and trailing ",
    "a b+c%20d%2B&=?#.csv",
    "%",
    "line\nbreak\r\ttab",
    "\x01\x7f<>\"'",
    "😀/e\u0301/\u00e9",
    "/leading//double/../up",
    "é" * 512,
    "nul\0",
]
# What each of the faithful servers can store, and list so that it can be read.
KEYS_OF = {
    "moto": [key for key in ODD_KEYS if "\n" not in key],
    "s3rver": [*ODD_KEYS[:3], "line\nbreak\ttab", ODD_KEYS[5], ("é" * 100 + "/") * 5 + "%2B"],
}


def listed(options: dict[str, Any], attempts: int = 1, page_size: int = 1000) -> list[S3Object]:
    config = S3FileArrivalConfig.model_validate(options)
    bucket = Bucket(config, PollContext(), page_size, attempts)
    try:
        return all_objects(bucket, config.prefix)
    finally:
        bucket.close()


def all_objects(bucket: Bucket, *prefixes: str) -> list[S3Object]:
    return [item for answer in bucket.list_pages(prefixes or [""]) for item in answer.objects]


def test_bucket_lists_every_page(scripted: Any) -> None:
    for number in range(2_500):
        scripted.put(f"{number:04}")
    assert [found.key for found in listed(scripted.options)] == [f"{n:04}" for n in range(2_500)]
    assert len(scripted.requests) == 3


def test_S1_bucket_lists_every_page_of_real_server(bucket: Any) -> None:
    for number in range(25):
        bucket.put(f"orders/{number:02}")
    bucket.put("other/1")
    found = listed(bucket.options | {"prefix": "orders/"}, page_size=4)
    assert [item.key for item in found] == [f"orders/{number:02}" for number in range(25)]


def test_bucket_object_has_exact_attributes(bucket: Any) -> None:
    bucket.put("orders/1.csv", b"hello")
    (found,) = listed(bucket.options)
    written = bucket.last_modified("orders/1.csv")
    assert found == S3Object("orders/1.csv", "5d41402abc4b2a76b9719d911017c592", 5, written)


def test_S2_bucket_keys_are_exact(scripted: Any) -> None:
    for key in ODD_KEYS:
        scripted.put(key)
    assert [found.key for found in listed(scripted.options)] == ODD_KEYS


def test_S2_bucket_keys_of_real_server_are_exact(bucket: Any) -> None:
    keys = sorted(KEYS_OF[bucket.server.name])
    for key in keys:
        bucket.put(key)
    assert sorted(found.key for found in listed(bucket.options)) == keys


def test_S7_bucket_leaves_out_folder_markers(bucket: Any) -> None:
    bucket.put("orders/", b"")
    bucket.put("orders/empty", b"")
    bucket.put("orders/odd/", b"content")
    assert [found.key for found in listed(bucket.options)] == ["orders/empty", "orders/odd/"]


def test_bucket_empty_has_no_objects(bucket: Any) -> None:
    assert listed(bucket.options) == []


def test_S9_bucket_missing_is_reported(bucket: Any) -> None:
    with pytest.raises(S3Error, match="bucket not found: bucket 'no-such-bucket' at http"):
        listed(bucket.options | {"bucket": "no-such-bucket"})


@pytest.mark.parametrize(
    ("status", "code", "kind", "message"),
    [
        (403, "AccessDenied", CredentialsError, "access denied"),
        (403, "InvalidAccessKeyId", CredentialsError, "unknown access key"),
        (403, "SignatureDoesNotMatch", CredentialsError, "the secret key does not belong"),
        (400, "ExpiredToken", CredentialsError, "the credentials have expired"),
        (403, "RequestTimeTooSkewed", S3Error, "the clock of this machine"),
        (301, "PermanentRedirect", S3Error, "redirects without a target"),
        (400, "AuthorizationHeaderMalformed", S3Error, "in another region than eu-central-1"),
        (503, "SlowDown", S3UnavailableError, "overloaded"),
        (500, "InternalError", S3UnavailableError, "overloaded"),
        (418, "Odd", S3Error, "S3 refused the request"),
        (418, "", S3Error, "does not speak the S3 protocol"),
    ],
)
def test_S9_bucket_refusal_is_explained_without_secrets(
    scripted: Any, refusal: Any, status: int, code: str, kind: type[S3Error], message: str
) -> None:
    scripted.refuse_all = refusal(status, code)
    options = scripted.options | {"session_token": "temporary-token"}
    with pytest.raises(kind, match=message) as caught:
        listed(options)
    assert type(caught.value) is kind
    text = f"{caught.value} {caught.value.context}"
    for secret in (options["secret_key"], options["session_token"], options["access_key"]):
        assert secret not in text


def test_S8_bucket_overload_is_retried_within_poll(scripted: Any, refusal: Any) -> None:
    scripted.put("a")
    scripted.refusals = [refusal(503, "SlowDown")]
    assert len(listed(scripted.options, ATTEMPTS)) == 1
    assert len(scripted.requests) == 2


def test_S8_bucket_retries_are_limited(scripted: Any, refusal: Any) -> None:
    scripted.refuse_all = refusal(503, "SlowDown")
    with pytest.raises(S3UnavailableError):
        listed(scripted.options, 2)
    assert len(scripted.requests) == 2


def test_S1_bucket_failed_page_fails_listing(scripted: Any) -> None:
    for number in range(5):
        scripted.put(str(number))
    scripted.fail_after_page = 4
    with pytest.raises(CredentialsError, match="expired"):
        listed(scripted.options, page_size=2)
    assert len(scripted.requests) == 3


@pytest.mark.timeout(20)
def test_S8_bucket_silent_server_times_out(scripted: Any, refusal: Any) -> None:
    scripted.refuse_all = refusal(0, hang=True)
    with pytest.raises(S3UnavailableError, match=r"did not respond in time.*raise timeout"):
        listed(scripted.options | {"timeout": "100ms"})


def test_bucket_unreachable_server_is_reported(scripted: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(S3UnavailableError, match=f"cannot be reached.*127.0.0.1:{port}"):
        listed(scripted.options | {"endpoint_url": f"http://127.0.0.1:{port}"})


@pytest.mark.parametrize(
    ("endpoint", "told"),
    [("http://me:hunter2@127.0.0.1:9", "at http://127.0.0.1:9 "), (None, "at Amazon S3 ")],
)
def test_bucket_endpoint_of_the_environment_is_told(
    scripted: Any, monkeypatch: pytest.MonkeyPatch, endpoint: str | None, told: str
) -> None:
    if endpoint is not None:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", endpoint)
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    with pytest.raises(S3UnavailableError) as caught:
        listed(scripted.options | {"endpoint_url": None})
    assert told in str(caught.value)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (200, "<html><body>Welcome</body></html>", "does not speak the S3 protocol"),
        (200, "<html><br></html>", "the endpoint, or a proxy before it, fails"),
        (200, "", "does not speak the S3 protocol"),
        (404, "<html><br></html>", "does not speak the S3 protocol"),
        (502, "<html><br></html>", "the endpoint, or a proxy before it, fails"),
        (502, "<!DOCTYPE html><html><br></html>", "the endpoint, or a proxy before it, fails"),
        (404, "<!doctype html><html><br></html>", "does not speak the S3 protocol"),
        (200, "<ListBucketResult><IsTruncated>", "the endpoint, or a proxy before it, fails"),
        (200, "<!DOCTYPE x [<!ENTITY a 'b'>]><ListBucketResult/>", "declares a document type"),
        (503, "<!DOCTYPE x [<!ENTITY a 'b'>]><Error>&a;</Error>", "or a proxy before it, fails"),
    ],
)
def test_bucket_foreign_server_is_reported(
    scripted: Any, refusal: Any, status: int, body: str, message: str
) -> None:
    scripted.refuse_all = refusal(status, body=body)
    with pytest.raises(S3Error, match=f"{message}.*shop.*check endpoint_url"):
        listed(scripted.options)


def test_bucket_redirect_is_not_followed_forever(scripted: Any, refusal: Any) -> None:
    scripted.refuse_all = refusal(301, headers={"Location": "https://127.0.0.1/"})
    with pytest.raises(S3Error, match=r"redirects without a target.*https instead of http"):
        listed(scripted.options)
    assert len(scripted.requests) == 1


def test_S9_bucket_region_of_server_is_in_hint(scripted: Any, refusal: Any) -> None:
    region = {"x-amz-bucket-region": "eu-west-1"}
    scripted.refuse_all = refusal(301, "PermanentRedirect", headers=region)
    with pytest.raises(S3Error, match=r"than eu-central-1.*set region = eu-west-1"):
        listed(scripted.options)
    # Amazon names the region whatever is wrong.
    scripted.refuse_all = refusal(403, "AccessDenied", headers=region)
    with pytest.raises(CredentialsError, match="s3:ListBucket"):
        listed(scripted.options)


def test_bucket_error_in_status_200_is_an_error(scripted: Any, refusal: Any) -> None:
    scripted.put("a")
    body = "<Error><Code>InternalError</Code><Message>x</Message></Error>"
    scripted.refusals = [refusal(200, body=body)]
    assert len(listed(scripted.options, ATTEMPTS)) == 1
    assert len(scripted.requests) == 2
    scripted.refuse_all = refusal(200, body=body)
    with pytest.raises(S3UnavailableError, match="overloaded or has an internal error"):
        listed(scripted.options)


def test_bucket_unencoded_keys_are_unchanged(scripted: Any) -> None:
    scripted.encoded = False
    keys = ["a+b", "a%20b", "a b", "%"]
    for key in keys:
        scripted.put(key)
    assert [found.key for found in listed(scripted.options)] == keys


@pytest.mark.parametrize(
    ("date", "told"),
    [
        ("Wed, 15 Jan 2025 12:00:30 GMT", datetime(2025, 1, 15, 12, 0, 30, tzinfo=UTC)),
        ("yesterday", None),
        (None, None),
    ],
)
def test_bucket_server_time_is_returned(scripted: Any, date: str | None, told: object) -> None:
    scripted.date = date
    bucket = Bucket(S3FileArrivalConfig.model_validate(scripted.options), PollContext())
    assert [answer.at for answer in bucket.list_pages([""])] == [told]
    bucket.close()


def test_bucket_lists_each_prefix_completely(scripted: Any) -> None:
    for key in ("a1", "a2", "b1", "c1"):
        scripted.put(key)
    config = S3FileArrivalConfig.model_validate(scripted.options)
    bucket = Bucket(config, PollContext(), page_size=1)
    assert [item.key for item in all_objects(bucket, "c", "a", "d")] == ["c1", "a1", "a2"]
    bucket.close()


def test_bucket_check_access_requests_one_key(bucket: Any, scripted: Any) -> None:
    live = Bucket(S3FileArrivalConfig.model_validate(bucket.options), PollContext())
    live.check_access("")
    bucket.client.delete_bucket(Bucket=bucket.name)
    with pytest.raises(S3Error, match="bucket not found"):
        live.check_access("")
    live.close()
    for number in range(3):
        scripted.put(f"{number}")
    bucket = Bucket(S3FileArrivalConfig.model_validate(scripted.options), PollContext())
    bucket.check_access("in/")
    (asked,) = scripted.requests
    assert "max-keys=1&" in asked["path"] + "&"
    assert "prefix=in%2F" in asked["path"]
    bucket.close()


def test_bucket_truncated_page_without_token_is_error(scripted: Any) -> None:
    scripted.put("a")
    scripted.put("b")
    scripted.token = False
    with pytest.raises(S3Error, match="truncated without a continuation token"):
        listed(scripted.options, page_size=1)


@pytest.mark.parametrize("spell", [str.title, str.upper, lambda text: str(int(text == "True"))])
def test_F13_truncated_page_in_any_spelling_is_followed(scripted: Any, spell: Any) -> None:
    for name in "abc":
        scripted.put(name)
    scripted.spell = spell
    assert [item.key for item in listed(scripted.options, page_size=1)] == ["a", "b", "c"]


def test_F13_truncated_page_in_other_words_is_refused(scripted: Any) -> None:
    scripted.put("a")
    scripted.spell = lambda text: "perhaps"
    with pytest.raises(S3Error, match="invalid IsTruncated 'perhaps': bucket"):
        listed(scripted.options)


@pytest.mark.parametrize(
    "date",
    [
        "Wed, 15 Jan 2025 12:00:30 -0000",
        "Wed, 15 Jan 2025 12:00:30",
        "Wed, 15 Jan 2025 14:00:30 +0200",
        "15 Jan 2025 12:00:30 UT",
    ],
)
def test_F9_date_without_a_zone_is_utc(scripted: Any, date: str) -> None:
    scripted.date = date
    scripted.put("a")
    bucket = Bucket(S3FileArrivalConfig.model_validate(scripted.options), PollContext())
    (page,) = bucket.list_pages([""])
    assert page.at == datetime(2025, 1, 15, 12, 0, 30, tzinfo=UTC)
    bucket.close()


@pytest.mark.parametrize(
    "date",
    [
        "",
        "soon",
        "0 0 0 0:0:0 0",
        "Wed, 15 Jan 99999 12:00:30 GMT",
        "Wed, 32 Jan 2025 12:00:30 GMT",
        "Wed, 15 Jan 2025 12:00:30 +9999",
        "Wed, 15 Jan 0 12:00:30 GMT",
        "Mon, 01 Jan 0001 00:00 +2359",
    ],
)
def test_F9_date_that_is_none_is_unknown(scripted: Any, date: str) -> None:
    scripted.date = date
    scripted.put("a")
    config = S3FileArrivalConfig.model_validate(
        {**scripted.options, "window": "1d", "settle": "1m", "partition": "all"}
    )
    sensor = S3FileArrival(config)
    sensor.poll(sensor.init())
    sensor.cleanup()


@pytest.mark.parametrize("missing", ["ETag", "LastModified", "Size"])
def test_bucket_incomplete_object_is_an_error(scripted: Any, missing: str) -> None:
    scripted.put("a")
    scripted.leave_out = missing
    with pytest.raises(S3Error, match=f"lacks {missing} for 'a'"):
        listed(scripted.options)


KEYLESS = ("access_key", "secret_key")


def without_keys(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if name not in KEYLESS}


def test_S9_credentials_missing_are_reported(scripted: Any) -> None:
    with pytest.raises(CredentialsError, match=r"no credentials found.*AWS_ACCESS_KEY_ID"):
        listed(without_keys(scripted.options))


def test_credentials_missing_profile_is_reported(scripted: Any) -> None:
    with pytest.raises(CredentialsError, match="profile not found in the AWS configuration"):
        listed(without_keys(scripted.options) | {"profile": "absent"})


def test_credentials_come_from_the_profile(scripted: Any, aws_home: Path) -> None:
    (aws_home / "credentials").write_text(
        "[reader]\naws_access_key_id = AKIAPROFILE\naws_secret_access_key = x\n"
    )
    listed(without_keys(scripted.options) | {"profile": "reader"})
    listed(scripted.options | {"session_token": "temporary"})
    by_profile, by_keys = scripted.requests
    assert "Credential=AKIAPROFILE/" in by_profile["Authorization"]
    assert "X-Amz-Security-Token" not in by_profile
    assert "Credential=AKIATEST/" in by_keys["Authorization"]
    assert "/eu-central-1/s3/" in by_keys["Authorization"]
    assert by_keys["X-Amz-Security-Token"] == "temporary"


def test_credentials_come_from_the_environment(
    scripted: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAENVIRON")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    listed(without_keys(scripted.options))
    listed(scripted.options)
    by_environment, by_keys = scripted.requests
    assert "Credential=AKIAENVIRON/" in by_environment["Authorization"]
    assert "Credential=AKIATEST/" in by_keys["Authorization"]


def test_credentials_come_from_an_assumed_role(
    scripted: Any, moto_endpoint: str, aws_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", moto_endpoint)
    (aws_home / "config").write_text(
        "[profile reader]\nrole_arn = arn:aws:iam::111122223333:role/reader\n"
        "source_profile = person\nregion = eu-central-1\n"
        "[profile person]\naws_access_key_id = AKIAPERSON\naws_secret_access_key = x\n"
    )
    listed(without_keys(scripted.options) | {"profile": "reader"})
    (asked,) = scripted.requests
    # STS gives keys that begin with ASIA, and a token beside them.
    assert "Credential=ASIA" in asked["Authorization"]
    assert asked["X-Amz-Security-Token"]


def test_S9_credentials_renewed_without_restart(
    scripted: Any, refusal: Any, aws_home: Path
) -> None:
    scripted.put("a")
    config = S3FileArrivalConfig.model_validate(without_keys(scripted.options))
    bucket = Bucket(config, PollContext(), attempts=1)
    form = "[default]\naws_access_key_id = {}\naws_secret_access_key = x\n"
    (aws_home / "credentials").write_text(form.format("OLD"))
    scripted.refusals = [refusal(400, "ExpiredToken")]
    with pytest.raises(CredentialsError):
        all_objects(bucket)
    (aws_home / "credentials").write_text(form.format("NEW"))
    assert len(all_objects(bucket)) == 1
    assert "Credential=NEW/" in scripted.requests[-1]["Authorization"]
    bucket.close()


def test_bucket_client_is_reused_and_reopened(scripted: Any) -> None:
    bucket = Bucket(S3FileArrivalConfig.model_validate(scripted.options), PollContext())
    bucket.close()
    all_objects(bucket)
    client = bucket._client
    all_objects(bucket)
    assert bucket._client is client
    scripted.leave_out = "ETag"
    scripted.put("a")
    with pytest.raises(S3Error, match="lacks ETag"):
        all_objects(bucket)
    assert bucket._client is None
    scripted.leave_out = ""
    scripted.delete("a")
    all_objects(bucket)
    bucket.close()
    bucket.close()
    assert all_objects(bucket) == []
    bucket.close()

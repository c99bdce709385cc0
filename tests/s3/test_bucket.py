from __future__ import annotations

import socket
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
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


def test_every_page_is_read(scripted: Any) -> None:
    for number in range(2_500):
        scripted.put(f"{number:04}")
    assert [found.key for found in listed(scripted.options)] == [f"{n:04}" for n in range(2_500)]
    assert len(scripted.requests) == 3


def test_S1_every_page_of_a_faithful_server_is_read(bucket: Any) -> None:
    for number in range(25):
        bucket.put(f"orders/{number:02}")
    bucket.put("other/1")
    found = listed(bucket.options | {"prefix": "orders/"}, page_size=4)
    assert [item.key for item in found] == [f"orders/{number:02}" for number in range(25)]


def test_an_object_is_told_as_it_is(bucket: Any) -> None:
    bucket.put("orders/1.csv", b"hello")
    (found,) = listed(bucket.options)
    written = bucket.last_modified("orders/1.csv")
    assert found == S3Object("orders/1.csv", "5d41402abc4b2a76b9719d911017c592", 5, written)


def test_S2_keys_stay_exactly_what_they_are(scripted: Any) -> None:
    for key in ODD_KEYS:
        scripted.put(key)
    assert [found.key for found in listed(scripted.options)] == ODD_KEYS


def test_S2_keys_of_a_faithful_server_stay_exactly_what_they_are(bucket: Any) -> None:
    keys = sorted(KEYS_OF[bucket.server.name])
    for key in keys:
        bucket.put(key)
    assert sorted(found.key for found in listed(bucket.options)) == keys


def test_S7_folder_markers_are_left_out(bucket: Any) -> None:
    bucket.put("orders/", b"")
    bucket.put("orders/empty", b"")
    bucket.put("orders/odd/", b"content")
    assert [found.key for found in listed(bucket.options)] == ["orders/empty", "orders/odd/"]


def test_an_empty_bucket_has_no_objects(bucket: Any) -> None:
    assert listed(bucket.options) == []


def test_S9_a_bucket_that_is_not_there(bucket: Any) -> None:
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
def test_S9_a_refusal_is_explained_without_secrets(
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


def test_S8_an_overloaded_server_is_asked_again_within_the_poll(
    scripted: Any, refusal: Any
) -> None:
    scripted.put("a")
    scripted.refusals = [refusal(503, "SlowDown")]
    assert len(listed(scripted.options, ATTEMPTS)) == 1
    assert len(scripted.requests) == 2


def test_S8_it_is_asked_a_few_times_and_not_for_ever(scripted: Any, refusal: Any) -> None:
    scripted.refuse_all = refusal(503, "SlowDown")
    with pytest.raises(S3UnavailableError):
        listed(scripted.options, 2)
    assert len(scripted.requests) == 2


def test_S1_a_page_that_fails_fails_the_listing(scripted: Any) -> None:
    for number in range(5):
        scripted.put(str(number))
    scripted.fail_after_page = 4
    with pytest.raises(CredentialsError, match="expired"):
        listed(scripted.options, page_size=2)
    assert len(scripted.requests) == 3


@pytest.mark.timeout(20)
def test_S8_a_server_that_does_not_answer(scripted: Any, refusal: Any) -> None:
    scripted.refuse_all = refusal(0, hang=True)
    with pytest.raises(S3UnavailableError, match=r"did not respond in time.*raise timeout"):
        listed(scripted.options | {"timeout": "100ms"})


def test_a_server_that_is_not_there(scripted: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(S3UnavailableError, match=f"cannot be reached.*127.0.0.1:{port}"):
        listed(scripted.options | {"endpoint_url": f"http://127.0.0.1:{port}"})


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
def test_what_is_no_s3_is_said_to_be_none(
    scripted: Any, refusal: Any, status: int, body: str, message: str
) -> None:
    scripted.refuse_all = refusal(status, body=body)
    with pytest.raises(S3Error, match=f"{message}.*shop.*check endpoint_url"):
        listed(scripted.options)


def test_a_redirect_to_another_place_is_not_followed_without_end(
    scripted: Any, refusal: Any
) -> None:
    scripted.refuse_all = refusal(301, headers={"Location": "https://127.0.0.1/"})
    with pytest.raises(S3Error, match=r"redirects without a target.*https instead of http"):
        listed(scripted.options)
    assert len(scripted.requests) == 1


def test_S9_the_region_that_the_server_names_is_told(scripted: Any, refusal: Any) -> None:
    region = {"x-amz-bucket-region": "eu-west-1"}
    scripted.refuse_all = refusal(301, "PermanentRedirect", headers=region)
    with pytest.raises(S3Error, match=r"than eu-central-1.*set region = eu-west-1"):
        listed(scripted.options)
    # Amazon names the region whatever is wrong.
    scripted.refuse_all = refusal(403, "AccessDenied", headers=region)
    with pytest.raises(CredentialsError, match="s3:ListBucket"):
        listed(scripted.options)


def test_an_error_in_an_answer_that_seems_good_is_an_error(scripted: Any, refusal: Any) -> None:
    scripted.put("a")
    body = "<Error><Code>InternalError</Code><Message>x</Message></Error>"
    scripted.refusals = [refusal(200, body=body)]
    assert len(listed(scripted.options, ATTEMPTS)) == 1
    assert len(scripted.requests) == 2
    scripted.refuse_all = refusal(200, body=body)
    with pytest.raises(S3UnavailableError, match="overloaded or has an internal error"):
        listed(scripted.options)


def test_keys_that_a_server_does_not_encode_stay_what_they_are(scripted: Any) -> None:
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
def test_the_time_of_the_server_is_told(scripted: Any, date: str | None, told: object) -> None:
    scripted.date = date
    bucket = Bucket(S3FileArrivalConfig.model_validate(scripted.options), PollContext())
    assert [answer.at for answer in bucket.list_pages([""])] == [told]
    bucket.close()


def test_each_prefix_is_listed_to_its_end(scripted: Any) -> None:
    for key in ("a1", "a2", "b1", "c1"):
        scripted.put(key)
    config = S3FileArrivalConfig.model_validate(scripted.options)
    bucket = Bucket(config, PollContext(), page_size=1)
    assert [item.key for item in all_objects(bucket, "c", "a", "d")] == ["c1", "a1", "a2"]
    bucket.close()


def test_to_reach_a_bucket_one_key_is_asked_for(bucket: Any, scripted: Any) -> None:
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


def test_an_answer_that_is_cut_off_and_cannot_be_continued_is_an_error(scripted: Any) -> None:
    scripted.put("a")
    scripted.put("b")
    scripted.token = False
    with pytest.raises(S3Error, match="truncated without a continuation token"):
        listed(scripted.options, page_size=1)


@pytest.mark.parametrize("missing", ["ETag", "LastModified", "Size"])
def test_an_object_of_which_something_is_missing_is_an_error(scripted: Any, missing: str) -> None:
    scripted.put("a")
    scripted.leave_out = missing
    with pytest.raises(S3Error, match=f"lacks {missing} for 'a'"):
        listed(scripted.options)


KEYLESS = ("access_key", "secret_key")


def without_keys(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if name not in KEYLESS}


def test_S9_no_credentials_at_all(scripted: Any) -> None:
    with pytest.raises(CredentialsError, match=r"no credentials found.*AWS_ACCESS_KEY_ID"):
        listed(without_keys(scripted.options))


def test_a_profile_that_is_not_there(scripted: Any) -> None:
    with pytest.raises(CredentialsError, match="profile not found in the AWS configuration"):
        listed(without_keys(scripted.options) | {"profile": "absent"})


def test_credentials_come_from_where_they_are_configured(scripted: Any, aws_home: Path) -> None:
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


def test_credentials_come_from_a_role_that_a_profile_assumes(
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


def test_S9_renewed_credentials_count_without_a_restart(
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


def test_one_client_serves_many_listings_and_can_be_closed_at_any_time(scripted: Any) -> None:
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

"""Notifications as S3, SNS and EventBridge send them, and invalid ones."""

from __future__ import annotations

import json
from typing import Any

import pytest
from flowstone_s3.notifications import NotificationError, ObjectNotification, parse_notifications


def record(key: str = "orders/2025-01-15/a.csv", **options: Any) -> dict[str, Any]:
    """One record, as the S3 User Guide has it."""
    return {
        "eventVersion": "2.1",
        "eventSource": "aws:s3",
        "awsRegion": "us-west-2",
        "eventTime": "2025-01-15T08:30:00.000Z",
        "eventName": options.pop("name", "ObjectCreated:Put"),
        "s3": {
            "s3SchemaVersion": "1.0",
            "configurationId": "any",
            "bucket": {"name": "shop", "arn": "arn:aws:s3:::shop"},
            "object": {
                "key": key,
                "size": 1024,
                "eTag": "d41d8cd98f00b204e9800998ecf8427e",
                "versionId": "096fKKXTRTtl3on89fVO.nfljtsv6qko",
                "sequencer": "0055AED6DCD90281E5",
            }
            | options,
        },
    }


def plain(*records: dict[str, Any]) -> str:
    return json.dumps({"Records": list(records)})


def event_bridge(key: str = "orders/2025-01-15/a.csv", **options: Any) -> dict[str, Any]:
    """An event, as the S3 User Guide has it."""
    return {
        "version": "0",
        "id": "17793124-05d4-b198-2fde-7ededc63b103",
        "detail-type": "Object Created",
        "source": "aws.s3",
        "time": "2025-01-15T08:30:00Z",
        "detail": {
            "version": "0",
            "bucket": {"name": "shop"},
            "object": {
                "key": key,
                "size": 1024,
                "etag": "d41d8cd98f00b204e9800998ecf8427e",
                "version-id": "096fKKXTRTtl3on89fVO.nfljtsv6qko",
                "sequencer": "0055AED6DCD90281E5",
            },
            "reason": "PutObject",
        },
    } | options


def in_sns(message: str) -> str:
    return json.dumps({"Type": "Notification", "MessageId": "1", "Message": message})


def test_notification_is_parsed_from_each_envelope() -> None:
    (first,) = parse_notifications(plain(record()))
    assert first == ObjectNotification(
        "shop",
        "orders/2025-01-15/a.csv",
        "d41d8cd98f00b204e9800998ecf8427e",
        1024,
        "2025-01-15T08:30:00.000Z",
        "096fKKXTRTtl3on89fVO.nfljtsv6qko",
        "0055AED6DCD90281E5",
    )
    assert list(parse_notifications(in_sns(plain(record())))) == [first]
    (other,) = parse_notifications(json.dumps(event_bridge()))
    assert (other.bucket, other.key, other.size) == (first.bucket, first.key, first.size)
    assert other.event_key == first.event_key, "told of twice, it is one upload"
    assert first.event_key.startswith("orders/2025-01-15/a.csv@")
    assert list(parse_notifications(in_sns(json.dumps(event_bridge())))) == [other]


@pytest.mark.parametrize(
    ("written", "key"),
    [
        ("a+b%2Bc+%25.csv", "a b+c %.csv"),
        ("%F0%9F%8D%B5/%0A", "🍵/\n"),
        ("x" * 1024, "x" * 1024),
        ("%2F..%2Fa", "/../a"),
    ],
)
def test_S2_notification_key_is_decoded_once(written: str, key: str) -> None:
    (found,) = parse_notifications(plain(record(written)))
    assert found.key == key
    assert len(found.event_key) < 150
    assert found.event_key.isprintable()


def test_S2_notification_key_of_eventbridge_is_unchanged() -> None:
    (found,) = parse_notifications(json.dumps(event_bridge("a+b%2B c.csv")))
    assert found.key == "a+b%2B c.csv"


@pytest.mark.parametrize(
    "body",
    [
        json.dumps({"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "shop"}),
        in_sns(json.dumps({"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "shop"})),
        plain(),
        plain(record(name="ObjectRemoved:Delete"), record(name="ObjectRestore:Completed")),
        json.dumps(event_bridge(**{"detail-type": "Object Deleted", "detail": {}})),
    ],
)
def test_notification_of_another_event_yields_nothing(body: str) -> None:
    assert list(parse_notifications(body)) == []


def test_notification_event_key_is_unique_per_upload() -> None:
    different = [
        record(),
        record(sequencer="0055AED6DCD90281E6"),
        record(versionId="other"),
        record("b.csv"),
        record(sequencer=None),
        record(sequencer=None, eTag="other"),
    ]
    keys = {found.event_key for each in different for found in parse_notifications(plain(each))}
    assert len(keys) == len(different)
    other_bucket = record()
    other_bucket["s3"]["bucket"]["name"] = "other"
    (found,) = parse_notifications(plain(other_bucket))
    assert found.event_key not in keys


def test_notification_version_is_in_payload() -> None:
    (found,) = parse_notifications(plain(record()))
    assert found.entry["version_id"] == "096fKKXTRTtl3on89fVO.nfljtsv6qko"
    (found,) = parse_notifications(plain(record(versionId=None)))
    assert set(found.entry) == {"key", "etag", "size", "last_modified"}


def without(*path: str) -> str:
    whole: dict[str, Any] = record()
    inner = whole
    for step in path[:-1]:
        inner = inner[step]
    del inner[path[-1]]
    return plain(whole)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("", "invalid JSON"),
        ("hello", "invalid JSON"),
        ("[" * 100_000, "invalid JSON"),
        ("[]", "the message is not a JSON object"),
        ("7", "the message is not a JSON object"),
        ("{}", "not an S3 notification"),
        (json.dumps({"Type": "SubscriptionConfirmation"}), "not an S3 notification"),
        (in_sns("hello"), "invalid JSON"),
        (in_sns("[]"), "the message within that of SNS is not a JSON object"),
        (json.dumps({"source": "aws.ec2"}), "not an S3 notification"),
        (json.dumps({"Records": {}}), "Records is not a list"),
        (json.dumps({"Records": [7]}), "record 1 is not a JSON object"),
        (without("eventName"), "record 1 has no eventName"),
        (without("s3"), "s3 of record 1 is not a JSON object"),
        (without("s3", "bucket"), "the bucket of record 1 is not a JSON object"),
        (without("s3", "bucket", "name"), "its bucket has no name"),
        (without("s3", "object", "key"), "record 1 has no key"),
        (plain(record(size="many")), "the size of its object is not a valid number"),
        (plain(record(size=True)), "the size of its object is not a valid number"),
        (plain(record(size=2**63)), "the size of its object is not a valid number"),
        (plain(record(size=-1)), "the size of its object is not a valid number"),
        (plain(record("x" * 4097)), "the key of record 1 is too long"),
        (plain(record(eTag="x" * 4097)), "the eTag of record 1 is too long"),
        (plain(record(eTag="\ud800")), "the eTag of record 1 cannot be written in UTF-8"),
        (plain(record(versionId=7)), "record 1 has no versionId"),
        (plain(record(sequencer="\udfff")), "the sequencer of its object cannot be written"),
        (plain({"eventSource": "aws:dynamodb", "eventName": "INSERT"}), "s3 of record 1"),
        (json.dumps(event_bridge(time="\ud800")), "the time of the message cannot be written"),
        (
            json.dumps(event_bridge(**{"detail-type": "AWS API Call via CloudTrail"})),
            "not an object event of S3",
        ),
        (json.dumps({"source": "aws.s3"}), "the message has no detail-type"),
        (plain(record("%FF")), "the key of record 1 is not in UTF-8"),
        (plain(record("\ud800")), "cannot be written in UTF-8"),
        (json.dumps(event_bridge(detail=7)), "its detail is not a JSON object"),
        (json.dumps(event_bridge(detail={"object": 7})), "the object of its detail"),
    ],
)
def test_notification_invalid_names_the_fault(body: str, said: str) -> None:
    with pytest.raises(NotificationError, match=said):
        list(parse_notifications(body))


def test_notification_valid_records_after_invalid_are_yielded() -> None:
    notices = parse_notifications(
        plain(record(size=-1), record("2025-01-16/b.csv"), record(size=2**63))
    )
    assert next(notices).key == "2025-01-16/b.csv"
    with pytest.raises(NotificationError, match="the size of its object is not a valid number"):
        next(notices)


def test_notification_longest_encoded_key_is_parsed() -> None:
    (found,) = parse_notifications(plain(record("%2B" * 1024)))
    assert found.key == "+" * 1024

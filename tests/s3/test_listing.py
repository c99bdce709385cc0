from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from flowstone_s3.listing import ForeignListingError, Page, S3Object, parse_page

AT = datetime(2025, 1, 15, 12, 0, 30, tzinfo=UTC)
NAMESPACE = ' xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'


def entry(key: str = "a", **facts: str) -> str:
    told = {
        "Key": key,
        "LastModified": "2025-01-15T12:00:30.000Z",
        "ETag": "&quot;e&quot;",
        "Size": "7",
    } | facts
    return f"<Contents>{''.join(f'<{n}>{text}</{n}>' for n, text in told.items())}</Contents>"


def listing(*entries: str, encoded: bool = True, space: str = NAMESPACE) -> bytes:
    encoding = "<EncodingType>url</EncodingType>" if encoded else ""
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<ListBucketResult{space}><Name>shop</Name>'
        f"<IsTruncated>false</IsTruncated>{''.join(entries)}{encoding}</ListBucketResult>"
    ).encode()


def objects(body: bytes) -> list[S3Object]:
    page = parse_page(body)
    assert page is not None
    return page.objects


def test_page_has_objects_and_token() -> None:
    body = (
        b"<ListBucketResult><IsTruncated>true</IsTruncated><NextContinuationToken>a&amp;b"
        b"</NextContinuationToken></ListBucketResult>"
    )
    assert parse_page(body) == Page([], truncated=True, token="a&b")
    assert parse_page(listing(entry())) == Page(
        [S3Object("a", "e", 7, AT)], truncated=False, token=None
    )
    assert parse_page(b"<ListBucketResult/>") == Page([], truncated=None, token=None)


@pytest.mark.parametrize(
    ("written", "key"),
    [
        ("a+b%2Bc%20d", "a b+c d"),
        ("%2520", "%20"),
        ("%C3%A9", "é"),
        ("%0A%00", "\n\0"),
        ("a/b", "a/b"),
        ("&lt;%26amp;", "<&amp;"),
    ],
)
def test_page_encoded_key_is_decoded_once(written: str, key: str) -> None:
    assert [item.key for item in objects(listing(entry(written)))] == [key]


@pytest.mark.parametrize("key", ["a+b%2Bc", "%zz", " ", "😀"])
def test_page_unencoded_key_is_unchanged(key: str) -> None:
    assert [item.key for item in objects(listing(entry(key), encoded=False))] == [key]


def test_page_long_key_is_complete() -> None:
    key = "é&amp;" * 20_000
    assert objects(listing(entry(key), encoded=False))[0].key == "é&" * 20_000


def test_page_nested_elements_are_ignored() -> None:
    spaced = listing(entry()).replace(b"><", b">\n  <")
    assert objects(spaced) == [S3Object("a", "e", 7, AT)]
    owner = "<Owner><ID>1</ID><DisplayName>x</DisplayName></Owner><StorageClass>y</StorageClass>"
    assert objects(listing(entry().replace("</Contents>", owner + "</Contents>"), entry("b"))) == [
        S3Object("a", "e", 7, AT),
        S3Object("b", "e", 7, AT),
    ]


@pytest.mark.parametrize("space", ["", ' xmlns="urn:other"', NAMESPACE])
def test_page_any_namespace_is_accepted(space: str) -> None:
    assert len(objects(listing(entry(), space=space))) == 1


def test_page_namespace_prefix_is_accepted() -> None:
    body = listing(entry(), space=NAMESPACE.replace("xmlns", "xmlns:s3")).decode()
    body = body.replace("</", "</s3:").replace("<s3:", "<s3:")
    for name in ("ListBucketResult", "Name", "IsTruncated", "Contents", "Key", "LastModified"):
        body = body.replace(f"<{name}", f"<s3:{name}")
    for name in ("ETag", "Size", "EncodingType"):
        body = body.replace(f"<{name}", f"<s3:{name}")
    assert objects(body.encode()) == [S3Object("a", "e", 7, AT)]


@pytest.mark.parametrize(
    ("written", "at"),
    [
        ("2025-01-15T12:00:30Z", AT),
        ("2025-01-15T12:00:30.123Z", AT + timedelta(milliseconds=123)),
        ("2025-01-15T12:00:30", AT),
        ("2025-01-15T14:00:30+02:00", AT.astimezone(timezone(timedelta(hours=2)))),
    ],
)
def test_page_times_are_aware(written: str, at: datetime) -> None:
    (found,) = objects(listing(entry(LastModified=written)))
    assert found.last_modified == at
    assert found.last_modified.tzinfo is not None


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"no xml",
        b"<ListBucketResult><Contents>",
        b"<Error><Code>SlowDown</Code></Error>",
        b"<html><ListBucketResult/></html>",
        b"<NotListBucketResult/>",
        b"<ListBucketResult>\xff</ListBucketResult>",
        b"<ListBucketResult>&undefined;</ListBucketResult>",
    ],
)
def test_page_of_another_document_is_none(body: bytes) -> None:
    assert parse_page(body) is None


@pytest.mark.parametrize(
    ("facts", "complaint"),
    [
        ({"Key": "%FF"}, "has a key that is not UTF-8: '%FF'"),
        ({"Size": "many"}, "cannot be read: .*'many'.*for 'a'"),
        ({"LastModified": "yesterday"}, "cannot be read: .*'yesterday'.*for 'a'"),
    ],
)
def test_page_invalid_object_names_the_fault(facts: dict[str, str], complaint: str) -> None:
    with pytest.raises(ForeignListingError, match=complaint):
        parse_page(listing(entry(**facts)))


@pytest.mark.parametrize(
    "doctype",
    [
        "<!DOCTYPE ListBucketResult>",
        '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">]>',
        '<!DOCTYPE x [<!ENTITY secret SYSTEM "file:///etc/passwd">]>',
        '<!DOCTYPE x SYSTEM "http://127.0.0.1/x.dtd">',
    ],
)
def test_page_with_doctype_is_refused(doctype: str) -> None:
    with pytest.raises(ForeignListingError, match="declares a document type"):
        parse_page(listing(entry("&b;")).replace(b"\n", doctype.encode()))


@pytest.mark.parametrize(
    ("text", "truncated"),
    [
        *((text, True) for text in ("true", "True", "TRUE", "1", " tRue\n")),
        *((text, False) for text in ("false", "False", "FALSE", "0")),
    ],
)
def test_F13_listing_truncated_in_any_spelling_is_read(text: str, truncated: bool) -> None:
    body = f"<ListBucketResult><IsTruncated>{text}</IsTruncated></ListBucketResult>"
    page = parse_page(body.encode())
    assert page is not None
    assert page.truncated is truncated


@pytest.mark.parametrize("text", ["", "yes", "2", "truefalse", "wahr"])
def test_F13_listing_truncated_in_other_words_is_refused(text: str) -> None:
    body = f"<ListBucketResult><IsTruncated>{text}</IsTruncated></ListBucketResult>"
    with pytest.raises(ForeignListingError, match=f"invalid IsTruncated '{text}'"):
        parse_page(body.encode())
